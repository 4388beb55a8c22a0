"""A clock that was set back must not silence sensors.

Dagster looks at what time it was at a sensor's last look, and waits until the interval has gone by since: after a clock went
an hour back, for an hour.
"""

import dagster as dg
from dagster._core.scheduler.instigation import SensorInstigatorData
from dagster._time import get_current_timestamp

# Less is rounding, and goes by as fast.
MARGIN_SECONDS = 5


def forget_looks_to_come(instance: dg.DagsterInstance) -> list[str]:
    """Let the sensors look now whose last look, by the clock, is still to come; returns their names."""
    now = get_current_timestamp()
    names = []
    for state in instance.all_instigator_state():
        data = state.instigator_data
        if not isinstance(data, SensorInstigatorData):
            continue
        last = max(data.last_tick_timestamp or 0, data.last_tick_start_timestamp or 0)
        if last <= now + MARGIN_SECONDS:
            continue
        instance.update_instigator_state(
            state.with_data(
                data._replace(
                    last_tick_timestamp=min(data.last_tick_timestamp or 0, now),
                    last_tick_start_timestamp=min(data.last_tick_start_timestamp or 0, now),
                )
            )
        )
        names.append(state.instigator_name)
    return sorted(names)
