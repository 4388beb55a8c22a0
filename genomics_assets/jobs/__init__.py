"""Jobs: one state machine behind the ledgers of verbal autopsy, dose-response and association jobs."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg


def definitions() -> "dg.Definitions":
    """The sensor that closes what nobody else closes."""
    import dagster as dg

    from sensors.jobs import job_liveness

    return dg.Definitions(sensors=[job_liveness])
