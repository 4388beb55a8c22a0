"""Which partitions an output or an input spans, for IO managers that take several of them in one run.

A run of one partition hands over its value; a run of several hands over `{partition_key: value}`, and
reads back the same. Nothing here talks to a store.
"""

import collections.abc
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg


class SliceError(ValueError):
    """What an asset returned does not fit the partitions of its run."""


def asset_label(context: dg.OutputContext | dg.InputContext) -> str:
    """The asset's key as people write it; the step's name where the value belongs to no asset.

    An input is named by the upstream asset.
    """
    if context.has_asset_key:
        return context.asset_key.to_user_string()
    return context.name or "a value without a name"


def output_slices(context: dg.OutputContext, value: Any) -> list[tuple[str | None, Any]]:
    """Pairs of partition key and value; the key is None for an asset without partitions.

    Raises:
        SliceError: a run of several partitions returned something else than one value for each of them.
    """
    if not context.has_asset_partitions:
        return [(None, value)]
    keys = list(context.asset_partition_keys)
    if len(keys) == 1 and not (isinstance(value, Mapping) and set(value) == set(keys)):
        return [(keys[0], value)]
    if not isinstance(value, Mapping):
        raise SliceError(
            f"{asset_label(context)}: this run has {len(keys)} partitions and got one {type(value).__name__}"
            ". Remedy: return a dict {partition_key: value} with one entry for each partition."
        )
    missing, unknown = sorted(set(keys) - set(value)), sorted(set(map(str, value)) - set(keys))
    if missing or unknown:
        raise SliceError(
            f"{asset_label(context)}: the returned dict does not match the run's {len(keys)} partitions "
            f"(missing: {_few(missing)}; not in this run: {_few(unknown)}). "
            "Remedy: return exactly one entry for each key of context.partition_keys."
        )
    return [(key, value[key]) for key in keys]


def input_partitions(context: dg.InputContext) -> Sequence[str] | None:
    """The upstream partitions to read; None where the upstream asset has no partitions."""
    return list(context.asset_partition_keys) if context.has_asset_partitions else None


def wanted_type(context: dg.InputContext) -> tuple[bool, Any]:
    """Whether the input wants a dict by partition, and the type it wants for one partition.

    An input over several partitions always gets a dict; so does one annotated `dict[str, T]`.
    """
    annotation = context.dagster_type.typing_type
    origin = typing.get_origin(annotation)
    if context.has_asset_partitions and origin in (dict, collections.abc.Mapping):
        return True, typing.get_args(annotation)[1]
    return context.has_asset_partitions and len(context.asset_partition_keys) != 1, annotation


def never_materialized(context: dg.InputContext, partition: str | None) -> bool:
    """Whether the instance knows of no materialization; False where there is no instance to ask."""
    try:
        instance = context.instance
    except dg.DagsterInvariantViolationError:
        return False
    if partition is None:
        return instance.get_latest_materialization_event(context.asset_key) is None
    return partition not in instance.get_materialized_partitions(context.asset_key)


def _few(keys: list[str]) -> str:
    if not keys:
        return "none"
    return ", ".join(repr(key) for key in keys[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")
