"""What `demo` prints at its end: what was loaded from each file, and what each check said."""

from collections.abc import Callable
from typing import Any

import dagster as dg

NOT_CHECKED = "not run"
Out = Callable[[str], object]


def print_report(instance: dg.DagsterInstance, definitions: dg.Definitions, out: Out = print) -> bool:
    """Print a table of files and a table of checks.

    Returns:
        Whether every check passed or only warned.
    """
    graph = definitions.resolve_asset_graph()
    for root in sorted(graph.root_materializable_asset_keys, key=str):
        partitions = sorted(instance.get_materialized_partitions(root))
        if not partitions:
            continue
        below = _downstream(graph, root) or [root]
        rows = [[name, *(_row_count(instance, key, name) for key in below)] for name in partitions]
        out("")
        out(f"{root.to_user_string()}: {len(partitions)} partitions")
        _print_table(["", *(key.path[-1] for key in below)], rows, out)
    return _print_checks(instance, graph, out)


def _downstream(graph: Any, root: dg.AssetKey) -> list[dg.AssetKey]:
    """Every asset that is made from a root, by the same partitions, in alphabetical order."""
    partitions = graph.get(root).partitions_def
    found: set[dg.AssetKey] = set()
    waiting = [root]
    while waiting:
        for key in graph.get(waiting.pop()).child_keys - found:
            found.add(key)
            waiting.append(key)
    return sorted((key for key in found if graph.get(key).partitions_def == partitions), key=str)


def _row_count(instance: dg.DagsterInstance, key: dg.AssetKey, partition: str) -> str:
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition]), limit=1
    ).records
    if not records or records[0].asset_materialization is None:
        return "failed"
    count = records[0].asset_materialization.metadata.get("dagster/partition_row_count")
    return "done" if count is None else f"{count.value:,}"


def _print_checks(instance: dg.DagsterInstance, graph: Any, out: Out) -> bool:
    keys = sorted(graph.asset_check_keys, key=lambda key: (key.asset_key.path, key.name))
    found = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    sound = True
    out("")
    out("checks (of the file that was loaded last)")
    for key in keys:
        record = found.get(key)
        evaluation = record.event.asset_check_evaluation if record and record.event else None
        if evaluation is None:
            verdict = NOT_CHECKED
        elif evaluation.passed:
            verdict = "passed"
        else:
            verdict = evaluation.severity.value.lower()
            sound = sound and evaluation.severity is dg.AssetCheckSeverity.WARN
        said = (evaluation.description or "") if evaluation else ""
        out(f"  {verdict:8}{key.asset_key.to_user_string()}: {key.name}  {said}".rstrip())
    return sound


def _print_table(titles: list[str], rows: list[list[str]], out: Out) -> None:
    lines = [titles, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    for line in lines:
        out("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
