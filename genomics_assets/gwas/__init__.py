"""Genome-wide association: a dropped cohort becomes a quality report, association tables and plots."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg


def definitions() -> "dg.Definitions":
    """Assets, the job that takes one dataset through all of them, and the sensor that asks for it."""
    import warnings

    import dagster as dg

    with warnings.catch_warnings():
        # Backfill policies (beta) and checks of partitions (preview) are used on purpose.
        warnings.simplefilter("ignore", category=dg.BetaWarning)
        warnings.simplefilter("ignore", category=dg.PreviewWarning)
        from genomics_assets.gwas.assets import assets
    from genomics_assets.gwas.partitions import GWAS_DROPS, gwas_partitions
    from genomics_assets.run_sizes import run_size
    from sensors.file_drops import file_drop_sensor

    run_gwas = dg.define_asset_job(
        "run_gwas",
        selection=dg.AssetSelection.groups("gwas"),
        tags=run_size("large"),
        description="Takes one dropped dataset through quality control and association.",
    )
    return dg.Definitions(
        assets=assets,
        jobs=[run_gwas],
        sensors=[file_drop_sensor(GWAS_DROPS, job=run_gwas, partitions_def=gwas_partitions)],
    )
