"""What the UI shows of a table: a few rows as Markdown, small enough for the event log, and its columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import dagster as dg

    from resources.postgres_catalogue import PostgresColumn


def column_schema(columns: Iterable[PostgresColumn]) -> dg.TableSchema:
    """The columns of a table, with PostgreSQL's types and the comments of the migrations."""
    import dagster as dg

    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                type=column.type_name,
                description=column.comment,
                constraints=dg.TableColumnConstraints(nullable=not column.not_null),
            )
            for column in columns
        ]
    )


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


def picture(png: bytes, title: str) -> dg.MarkdownMetadataValue:
    """A PNG that the UI shows."""
    from base64 import b64encode

    import dagster as dg

    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{b64encode(png).decode()})")


def _line(values: Sequence[Any], cell: int) -> str:
    return "| " + " | ".join(_shortened(str(value), cell) for value in values) + " |"


def _shortened(text: str, length: int) -> str:
    text = " ".join(text.split())
    if len(text) > length:
        text = text[: length - 1] + "…"
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("`", "\\`").replace("<", "&lt;")
