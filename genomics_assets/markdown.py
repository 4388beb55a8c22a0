"""Tables in Markdown, which is what the UI shows of metadata."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def markdown_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    r"""A Markdown table.

    Args:
        titles: of the columns.
        rows: cells that are Markdown; a bar in them does not end a cell.

    >>> print(markdown_table(["a", "b"], [("1", "x|y")]))
    | a | b |
    | --- | --- |
    | 1 | x\|y |
    """
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(_one_cell(cell) for cell in line)} |" for line in lines)


def _one_cell(text: str) -> str:
    return text.replace("|", "\\|")
