"""Dose-response expression matrices become benchmark doses, gene set results and a point of departure."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg


def definitions() -> "dg.Definitions":
    """Assets, checks, the jobs that take one drop through all of them, and the sensors that ask for them."""
    import warnings

    import dagster as dg

    with warnings.catch_warnings():
        # Backfill policies (beta) and checks of partitions (preview) are used on purpose.
        warnings.simplefilter("ignore", category=dg.BetaWarning)
        warnings.simplefilter("ignore", category=dg.PreviewWarning)
        from genomics_assets.bmd.assets import (
            assets,
            bmd_results,
            experiment_assets,
            gene_sets,
            platforms,
            storage_janitor,
        )
        from genomics_assets.bmd.checks import checks
    from genomics_assets.bmd.partitions import (
        EXPERIMENT_DROPS,
        GENE_SET_DROPS,
        PLATFORM_DROPS,
        experiment_partitions,
        gene_set_partitions,
        platform_partitions,
    )
    from genomics_assets.run_sizes import run_size
    from resources.bmd_run_jobs import open_job
    from sensors.file_drops import JobOpener, file_drop_sensor

    analyze_experiment = dg.define_asset_job(
        "analyze_experiment",
        selection=dg.AssetSelection.assets(*experiment_assets),
        tags=run_size("large"),
        description="Takes one dropped matrix from its numbers to points of departure.",
    )
    reselect_best_models = dg.define_asset_job(
        "reselect_best_models",
        selection=dg.AssetSelection.assets(bmd_results).downstream(),
        description="Chooses best models anew from fits that are there, with options of one's own; nothing is fitted.",
    )
    load_platform = dg.define_asset_job(
        "load_platform",
        selection=dg.AssetSelection.assets(platforms),
        description="Takes one dropped platform: which probe stands for which genes.",
    )
    load_gene_sets = dg.define_asset_job(
        "load_gene_sets",
        selection=dg.AssetSelection.assets(gene_sets),
        description="Takes one dropped collection of gene sets.",
    )
    inspect_storage = dg.define_asset_job(
        "inspect_storage",
        selection=dg.AssetSelection.assets(storage_janitor),
        description="Compares the objects of dose-response analyses with the rows that name them.",
    )
    return dg.Definitions(
        assets=assets,
        asset_checks=checks,
        jobs=[analyze_experiment, reselect_best_models, load_platform, load_gene_sets, inspect_storage],
        # A drain takes the kinds in this order: what experiments refer to comes first.
        sensors=[
            file_drop_sensor(
                PLATFORM_DROPS,
                job=load_platform,
                partitions_def=platform_partitions,
                minimum_interval_seconds=20,
            ),
            file_drop_sensor(
                GENE_SET_DROPS,
                job=load_gene_sets,
                partitions_def=gene_set_partitions,
                minimum_interval_seconds=20,
            ),
            file_drop_sensor(
                EXPERIMENT_DROPS,
                job=analyze_experiment,
                partitions_def=experiment_partitions,
                job_opener=JobOpener(open_job, frozenset({"bmd_run_jobs"})),
            ),
        ],
        schedules=[
            dg.ScheduleDefinition(
                name="inspect_storage_nightly",
                job=inspect_storage,
                cron_schedule="47 3 * * *",
                default_status=dg.DefaultScheduleStatus.RUNNING,
                description="Every night at 03:47.",
            )
        ],
    )
