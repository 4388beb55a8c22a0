"""The code location: `build_definitions` merges the domains, and tests call it with resources of their own.

A domain is a package and one entry in `DOMAINS`.
"""

from functools import cache

import dagster as dg

from genomics_assets import annotations, bmd, gwas, jobs, variants, verbal_autopsy, zygotrix
from resources import default_resources
from sensors.alerts import alerts
from sensors.automation import automation
from sensors.maintenance import maintenance, maintenance_nightly

DOMAINS = (variants, annotations, gwas, zygotrix, bmd, verbal_autopsy, jobs)


def build_definitions(**overrides: object) -> dg.Definitions:
    """Every asset, check, sensor, schedule and resource of the project.

    Args:
        overrides: resources that stand in for the default ones, by key.
    """
    domains = [domain.definitions() for domain in DOMAINS]
    return dg.Definitions.merge(
        *domains,
        dg.Definitions(
            jobs=[maintenance],
            schedules=[maintenance_nightly],
            sensors=[automation, alerts],
            resources={**default_resources(), **overrides},
            executor=dg.in_process_executor,
        ),
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What `dagster` loads."""
    return _project()


@cache
def _project() -> dg.Definitions:
    """Built once a process, and once for all workers that are forked from it."""
    return build_definitions()
