"""The code location: `build_definitions` merges the domains, and tests call it with resources of their own.

A domain is a package and one line here.
"""

import dagster as dg


def build_definitions(**overrides: object) -> dg.Definitions:
    """Every asset, check, sensor, schedule and resource of the project.

    Args:
        overrides: resources that stand in for the default ones, by key.
    """
    return dg.Definitions(executor=dg.in_process_executor)


@dg.definitions
def defs() -> dg.Definitions:
    """What `dagster` loads."""
    return build_definitions()
