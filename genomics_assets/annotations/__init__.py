"""Annotation sources, and the cohorts that are cut out of the warehouse by them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg


def definitions() -> "dg.Definitions":
    """The asset that cuts cohorts, and its job."""
    import dagster as dg

    from genomics_assets.annotations.cohort_assets import assets, filter_cohort

    return dg.Definitions(assets=assets, jobs=[filter_cohort])
