"""COMSA: causes of death from verbal autopsies, and cause-specific mortality fractions calibrated for their errors."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg


def definitions() -> "dg.Definitions":
    """Assets, checks, the job that takes one batch through all of them, and the sensors that ask for it."""
    import warnings

    import dagster as dg

    with warnings.catch_warnings():
        # Backfill policies (beta) and checks of partitions (preview) are used on purpose.
        warnings.simplefilter("ignore", category=dg.BetaWarning)
        warnings.simplefilter("ignore", category=dg.PreviewWarning)
        from genomics_assets.verbal_autopsy.assets import (
            algorithm_agreement,
            assets,
            calibrated_csmf,
            cause_of_death,
            csmf,
        )
        from genomics_assets.verbal_autopsy.checks import checks
    from genomics_assets.run_sizes import run_size
    from genomics_assets.verbal_autopsy.batch_job import open_job
    from genomics_assets.verbal_autopsy.partitions import VA_DROPS, va_partitions
    from sensors.file_drops import JobOpener, file_drop_sensor
    from sensors.va_reference import va_reference_changes

    code_batch = dg.define_asset_job(
        "code_va_batch",
        selection=dg.AssetSelection.assets(cause_of_death, csmf, algorithm_agreement, calibrated_csmf),
        tags=run_size("large"),
        description="Takes one dropped batch of verbal autopsies to causes of death and calibrated fractions.",
    )
    return dg.Definitions(
        assets=assets,
        asset_checks=checks,
        jobs=[code_batch],
        sensors=[
            file_drop_sensor(
                VA_DROPS,
                job=code_batch,
                partitions_def=va_partitions,
                job_opener=JobOpener(open_job, frozenset({"inbox", "comsa_jobs"})),
            ),
            va_reference_changes,
        ],
    )
