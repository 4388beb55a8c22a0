"""Annotation sources: a dropped ClinVar or gnomAD file becomes a table, whose fields variants carry and cohorts are cut by."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg


def definitions() -> "dg.Definitions":
    """Assets, checks, the jobs, the sensor that asks for a dropped source, and the downloads that are configured."""
    import warnings

    import dagster as dg

    with warnings.catch_warnings():
        # Backfill policies (beta) and checks of partitions (preview) are used on purpose.
        warnings.simplefilter("ignore", category=dg.BetaWarning)
        warnings.simplefilter("ignore", category=dg.PreviewWarning)
        from genomics_assets.annotations.assets import annotated_variants, annotation_source, assets
        from genomics_assets.annotations.checks import checks
        from genomics_assets.annotations.cohort_assets import cohort_assets, filter_cohort
        from genomics_assets.annotations.refresh_assets import refresh_definitions
    from genomics_assets.annotations.partitions import ANNOTATION_DROPS, annotation_partitions
    from genomics_assets.run_sizes import run_size
    from sensors.file_drops import file_drop_sensor

    load_annotation = dg.define_asset_job(
        "load_annotation",
        selection=dg.AssetSelection.assets(annotation_source),
        tags=run_size("standard"),
        description="Takes the newest version in a source's folder.",
    )
    annotate_variants = dg.define_asset_job(
        "annotate_variants",
        selection=dg.AssetSelection.assets(annotated_variants),
        tags=run_size("standard"),
        description="One annotation pass: all loads and versions of sources that wait.",
    )
    return dg.Definitions.merge(
        dg.Definitions(
            assets=[*assets, *cohort_assets],
            asset_checks=checks,
            jobs=[load_annotation, annotate_variants, filter_cohort],
            sensors=[
                file_drop_sensor(ANNOTATION_DROPS, job=load_annotation, partitions_def=annotation_partitions)
            ],
        ),
        refresh_definitions(),
    )
