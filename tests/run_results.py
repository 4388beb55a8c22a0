"""What a run shows of itself: its failure, the metadata of its assets, its checks, its events."""

from __future__ import annotations

import re
from typing import Any

import dagster as dg


def failure(result: dg.ExecuteInProcessResult) -> str:
    """The sentence that a failed run shows on its partition."""
    events = [event for event in result.all_events if event.event_type_value == "STEP_FAILURE"]
    assert events, "the run did not fail"
    data = events[0].step_failure_data
    assert data.user_failure_data is not None, data.error
    return str(data.user_failure_data.description)


def metadata_of(result: dg.ExecuteInProcessResult, *key: str) -> dict[str, Any]:
    """The metadata of an asset's materialization."""
    found = [
        event.materialization.metadata
        for event in result.all_events
        if event.event_type_value == "ASSET_MATERIALIZATION" and event.asset_key == dg.AssetKey(key)
    ]
    assert len(found) == 1, [str(event) for event in result.all_events if event.is_failure]
    return {name: value.value for name, value in found[0].items()}


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    """Whether each asset check passed."""
    return {each.check_name: each.passed for each in result.get_asset_check_evaluations()}


def everything_told(result: dg.ExecuteInProcessResult) -> str:
    """All that Dagster keeps of a run, pictures left out."""
    told = "\n".join(repr(event) for event in result.all_events)
    return re.sub(r"base64,[A-Za-z0-9+/=]+", "", told)
