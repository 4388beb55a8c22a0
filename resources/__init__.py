"""Connections to the stores, and the IO managers that write to them. Nothing else talks to a store."""

from typing import Any


def default_resources(
    *,
    postgres_url: str | None = None,
    mongo_url: str | None = None,
    inbox_url: str | None = None,
    object_store_url: str | None = None,
) -> dict[str, Any]:
    """The resources by the keys that assets name; nothing is connected to or started here.

    Args:
        postgres_url: None for what the environment configures; so are the others.
        mongo_url: `mongodb://host:port/database`.
        inbox_url: a folder or `s3://…`.
        object_store_url: `file://…` or `s3://…`.
    """
    from resources.alert_channels import AlertChannels
    from resources.annotation_downloads import AnnotationDownloads
    from resources.annotation_io_manager import AnnotationIOManager
    from resources.annotation_warehouse import AnnotationWarehouse
    from resources.bmd_io_managers import (
        ExperimentIOManager,
        FitsIOManager,
        ResultFilesIOManager,
        ResultIOManager,
        ResultRowsIOManager,
    )
    from resources.bmd_reference import BmdReference
    from resources.bmd_run_jobs import BmdRunJobs
    from resources.bmd_store import BmdStore
    from resources.cohort_store import CohortStore
    from resources.compute_pool import ComputePool
    from resources.drop_ledger import DropLedgerResource
    from resources.gwas_store import GwasStore
    from resources.inbox import InboxResource
    from resources.jobs import BmdJobs, ComsaJobs, GwasJobs
    from resources.mongo import MongoResource
    from resources.mongo_io_manager import MongoIOManager
    from resources.object_store import ObjectStoreResource
    from resources.object_store_io_manager import ObjectStoreIOManager
    from resources.postgres import PostgresResource
    from resources.postgres_io_manager import PostgresIOManager
    from resources.variant_io_managers import LakeIOManager, LoadIOManager, VariantIOManager
    from resources.variant_lake import VariantLake
    from resources.variant_warehouse import VariantWarehouse
    from resources.zygotrix_store import ZygotrixStore

    postgres = PostgresResource(url=postgres_url)
    mongo = MongoResource(url=mongo_url)
    objects = ObjectStoreResource(url=object_store_url)
    ledger = DropLedgerResource(postgres=postgres)
    warehouse = VariantWarehouse(postgres=postgres)
    annotations = AnnotationWarehouse(postgres=postgres)
    lake = VariantLake(objects=objects)
    inbox = InboxResource(url=inbox_url, drop_ledger=ledger)
    gwas_jobs = GwasJobs(postgres=postgres, mongo=mongo)
    zygotrix = ZygotrixStore(mongo=mongo, objects=objects)
    bmd_jobs = BmdJobs(postgres=postgres)
    bmd_store = BmdStore(postgres=postgres, objects=objects)
    bmd_run_jobs = BmdRunJobs(jobs=bmd_jobs, store=bmd_store)
    return {
        "postgres": postgres,
        "mongo": mongo,
        "objects": objects,
        "alert_channels": AlertChannels(),
        "compute": ComputePool(),
        "drop_ledger": ledger,
        "inbox": inbox,
        "annotation_downloads": AnnotationDownloads(postgres=postgres, inbox=inbox),
        "warehouse": warehouse,
        "lake": lake,
        "comsa_jobs": ComsaJobs(postgres=postgres, objects=objects),
        "cohorts": CohortStore(postgres=postgres, objects=objects),
        "annotation_warehouse": annotations,
        "annotations_io": AnnotationIOManager(annotation_warehouse=annotations),
        "gwas_jobs": gwas_jobs,
        "zygotrix": zygotrix,
        "gwas": GwasStore(zygotrix=zygotrix, objects=objects, gwas_jobs=gwas_jobs),
        "bmd_jobs": bmd_jobs,
        "bmd_store": bmd_store,
        "bmd_reference": BmdReference(postgres=postgres),
        "bmd_run_jobs": bmd_run_jobs,
        "bmd_experiment_io": ExperimentIOManager(store=bmd_store, run_jobs=bmd_run_jobs),
        "bmd_results_io": ResultIOManager(store=bmd_store, run_jobs=bmd_run_jobs),
        "bmd_fits_io": FitsIOManager(store=bmd_store, run_jobs=bmd_run_jobs),
        "bmd_rows_io": ResultRowsIOManager(store=bmd_store, run_jobs=bmd_run_jobs),
        "bmd_files_io": ResultFilesIOManager(store=bmd_store, run_jobs=bmd_run_jobs),
        "postgres_io": PostgresIOManager(postgres=postgres),
        "mongo_io": MongoIOManager(mongo=mongo),
        "objects_io": ObjectStoreIOManager(objects=objects),
        "variants_io": VariantIOManager(postgres=postgres, warehouse=warehouse),
        "load_io": LoadIOManager(postgres=postgres, warehouse=warehouse),
        "lake_io": LakeIOManager(lake=lake, warehouse=warehouse),
    }
