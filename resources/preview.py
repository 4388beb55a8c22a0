"""What the UI shows of a table: a few rows as Markdown, small enough for the event log, and its columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from genomics_assets.markdown import markdown_table

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


def preview_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, cell: int = 40) -> str:
    """Rows of data as Markdown; cells longer than `cell` characters end in an ellipsis.

    >>> print(preview_table([{"a": 1, "b": None}], ["a", "b"]))
    | a | b |
    | --- | --- |
    | 1 |  |
    """
    shown = [["" if row.get(name) is None else str(row[name]) for name in columns] for row in rows]
    return markdown_table(
        [_as_text(name, cell) for name in columns], [[_as_text(text, cell) for text in row] for row in shown]
    )


def picture(png: bytes, title: str) -> dg.MarkdownMetadataValue:
    """A PNG that the UI shows."""
    from base64 import b64encode

    import dagster as dg

    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{b64encode(png).decode()})")


def _as_text(text: str, length: int) -> str:
    """Data as a cell: not too long, on one line, and no Markdown."""
    text = " ".join(text.split())
    if len(text) > length:
        text = text[: length - 1] + "…"
    return text.replace("\\", "\\\\").replace("`", "\\`").replace("<", "&lt;")
