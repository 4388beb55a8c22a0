"""A few rows as a Markdown table, small enough to live in Dagster's event log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def markdown_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, cell: int = 40) -> str:
    """The rows as Markdown; cells longer than `cell` characters end in an ellipsis.

    >>> print(markdown_table([{"a": 1, "b": None}], ["a", "b"]))
    | a | b |
    | --- | --- |
    | 1 |  |
    """
    lines = [_line(columns, cell), _line(["---"] * len(columns), cell)]
    lines += [_line(["" if row.get(name) is None else row[name] for name in columns], cell) for row in rows]
    return "\n".join(lines)


def _line(values: Sequence[Any], cell: int) -> str:
    return "| " + " | ".join(_shortened(str(value), cell) for value in values) + " |"


def _shortened(text: str, length: int) -> str:
    text = " ".join(text.split())
    if len(text) > length:
        text = text[: length - 1] + "…"
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("`", "\\`").replace("<", "&lt;")
