"""Annotation sources, and the cohorts that are cut out of the warehouse by them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg


def definitions() -> "dg.Definitions":
    """The asset that cuts cohorts and its job, and the downloads that are configured."""
    import dagster as dg

    from genomics_assets.annotations.cohort_assets import assets, filter_cohort
    from genomics_assets.annotations.refresh_assets import refresh_definitions

    return dg.Definitions.merge(dg.Definitions(assets=assets, jobs=[filter_cohort]), refresh_definitions())
