"""Jobs: one state machine behind the ledgers of verbal autopsy, dose-response and association jobs."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg


def definitions() -> "dg.Definitions":
    """The sensor that closes what nobody else closes, and the way from the file-based system into the ledger."""
    import warnings

    import dagster as dg

    with warnings.catch_warnings():
        # Backfill policies (beta) and checks of partitions (preview) are used on purpose.
        warnings.simplefilter("ignore", category=dg.BetaWarning)
        warnings.simplefilter("ignore", category=dg.PreviewWarning)
        from genomics_assets.jobs.assets import assets
        from genomics_assets.jobs.checks import checks
    from genomics_assets.jobs.partitions import LEGACY_DROPS, legacy_partitions
    from sensors.file_drops import file_drop_sensor
    from sensors.jobs import job_liveness

    migrate_comsa_jobs = dg.define_asset_job(
        "migrate_comsa_jobs",
        selection=dg.AssetSelection.groups("jobs"),
        description="Takes the jobs of a dropped file-based tree over into the COMSA ledger.",
    )
    return dg.Definitions(
        assets=assets,
        asset_checks=checks,
        jobs=[migrate_comsa_jobs],
        sensors=[
            job_liveness,
            file_drop_sensor(
                LEGACY_DROPS,
                job=migrate_comsa_jobs,
                partitions_def=legacy_partitions,
                minimum_interval_seconds=30,
            ),
        ],
    )
