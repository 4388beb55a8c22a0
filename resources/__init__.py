"""Connections to the stores, and the IO managers that write to them. Nothing else talks to a store."""

from typing import Any


def default_resources() -> dict[str, Any]:
    """The resources that the environment configures, by the keys that assets name.

    Nothing is connected to or started here.
    """
    from resources.drop_ledger import DropLedgerResource
    from resources.inbox import InboxResource
    from resources.mongo import MongoResource
    from resources.mongo_io_manager import MongoIOManager
    from resources.object_store import ObjectStoreResource
    from resources.object_store_io_manager import ObjectStoreIOManager
    from resources.postgres import PostgresResource
    from resources.postgres_io_manager import PostgresIOManager
    from resources.variant_io_managers import LakeIOManager, LoadIOManager, VariantIOManager
    from resources.variant_lake import VariantLake
    from resources.variant_warehouse import VariantWarehouse

    postgres = PostgresResource()
    mongo = MongoResource()
    objects = ObjectStoreResource()
    ledger = DropLedgerResource(postgres=postgres)
    warehouse = VariantWarehouse(postgres=postgres)
    lake = VariantLake(objects=objects)
    return {
        "postgres": postgres,
        "mongo": mongo,
        "objects": objects,
        "drop_ledger": ledger,
        "inbox": InboxResource(drop_ledger=ledger),
        "warehouse": warehouse,
        "lake": lake,
        "postgres_io": PostgresIOManager(postgres=postgres),
        "mongo_io": MongoIOManager(mongo=mongo),
        "objects_io": ObjectStoreIOManager(objects=objects),
        "variants_io": VariantIOManager(postgres=postgres, warehouse=warehouse),
        "load_io": LoadIOManager(postgres=postgres, warehouse=warehouse),
        "lake_io": LakeIOManager(lake=lake, warehouse=warehouse),
    }
