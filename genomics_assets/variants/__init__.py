"""The variant warehouse: dropped VCF and BCF files become rows that can be trusted."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg


def definitions() -> "dg.Definitions":
    """Assets, checks, the job that takes one file through all of them, and the sensor that asks for it."""
    import warnings

    import dagster as dg

    with warnings.catch_warnings():
        # Backfill policies (beta) and checks of partitions (preview) are used on purpose.
        warnings.simplefilter("ignore", category=dg.BetaWarning)
        warnings.simplefilter("ignore", category=dg.PreviewWarning)
        from genomics_assets.variants.assets import assets, full_indexes
        from genomics_assets.variants.checks import checks
    from genomics_assets.run_sizes import run_size
    from genomics_assets.variants.partitions import VCF_DROPS, vcf_partitions
    from sensors.file_drops import file_drop_sensor

    load_vcf = dg.define_asset_job(
        "load_vcf",
        selection=dg.AssetSelection.assets(*assets) - dg.AssetSelection.assets(full_indexes),
        tags=run_size("standard"),
        description="Takes one dropped VCF or BCF file through the whole variant warehouse.",
    )
    return dg.Definitions(
        assets=assets,
        asset_checks=checks,
        jobs=[load_vcf],
        sensors=[file_drop_sensor(VCF_DROPS, job=load_vcf, partitions_def=vcf_partitions)],
    )
