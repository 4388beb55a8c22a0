"""Zygotrix: users, traits, conversations, courses and the documents of GWAS, in MongoDB."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg


def definitions() -> "dg.Definitions":
    """Assets, checks, a job and sensors for each collection that is dropped, and what looks after the store."""
    import warnings

    import dagster as dg

    with warnings.catch_warnings():
        # Backfill policies (beta) and checks of partitions (preview) are used on purpose.
        warnings.simplefilter("ignore", category=dg.BetaWarning)
        warnings.simplefilter("ignore", category=dg.PreviewWarning)
        from genomics_assets.zygotrix import assets
        from genomics_assets.zygotrix.checks import checks
    from genomics_assets.zygotrix.partitions import EXPORTS, TRAITS
    from genomics_assets.zygotrix.upkeep import delete_dataset_job, repair_store
    from sensors.file_drops import file_drop_sensor

    catalogue = dg.AssetSelection.assets(assets.collections, assets.traits, assets.trait_crosses)
    loaded: dict[str, dg.AssetSelection] = {
        export.collection: dg.AssetSelection.assets(f"zygotrix/{export.collection}") for export in EXPORTS
    }
    # Dropped traits are crossed together with the bundled ones.
    loaded[TRAITS.collection] = catalogue | dg.AssetSelection.assets(assets.dropped_traits)
    loads = {
        export.collection: dg.define_asset_job(
            f"load_{export.collection}",
            selection=loaded[export.collection],
            description=f"Takes one dropped export into the collection {export.collection}.",
        )
        for export in EXPORTS
    }
    look_after_store = dg.define_asset_job(
        "look_after_store",
        selection=catalogue | dg.AssetSelection.assets(assets.integrity, assets.usage),
        description="Brings collections and catalogue up to date, checks the whole store, and counts what users used.",
    )
    nightly = dg.ScheduleDefinition(
        name="look_after_store_nightly",
        job=look_after_store,
        cron_schedule="37 2 * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Every night at 02:37.",
    )
    return dg.Definitions(
        assets=assets.assets,
        asset_checks=checks,
        jobs=[*loads.values(), look_after_store, delete_dataset_job, repair_store],
        schedules=[nightly],
        sensors=[
            file_drop_sensor(
                kind,
                job=loads[export.collection],
                partitions_def=export.partitions,
                # Exports come now and then, and each look costs the code server something.
                minimum_interval_seconds=20,
            )
            for export in EXPORTS
            for kind in export.kinds
        ],
    )
