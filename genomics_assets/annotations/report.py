"""What a source and an annotation pass tell their readers: tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from genomics_assets.annotations.source_records import REJECTED, VALUE_OF_ANOTHER_TYPE, SourceTally
from genomics_assets.markdown import markdown_table
from genomics_assets.variants.report import REASONS


def reasons_table(tally: SourceTally) -> str:
    """What was rejected and what was tolerated, by reason."""
    meanings = {
        **REASONS,
        **REJECTED,
        VALUE_OF_ANOTHER_TYPE: "value that is not of its column's type, stored as NULL",
    }
    rows = [("rejected", reason, count) for reason, count in sorted(tally.rejected.items()) if count]
    rows += [("kept", reason, count) for reason, count in sorted(tally.noted.items())]
    if not rows:
        return "Every record was loaded as written."
    return markdown_table(
        ["", "reason", "count", "meaning"],
        [(fate, f"`{reason}`", f"{count:,}", meanings.get(reason, "")) for fate, reason, count in rows],
    )


def rows_table(rows: int, present: Mapping[str, int]) -> str:
    """How many rows have a value, by column.

    >>> print(rows_table(4, {"af": 3}))
    | column | rows with a value | % |
    | --- | --- | --- |
    | af | 3 | 75.0 |
    """
    return markdown_table(
        ["column", "rows with a value", "%"],
        [
            (column, f"{count:,}", f"{100 * count / rows:.1f}" if rows else "")
            for column, count in present.items()
        ],
    )


def changes_sentences(changes: Iterable[tuple[str, str | None, str | None, str, int]]) -> str:
    """What versions changed, one line for each source and column.

    >>> print(changes_sentences([("clinvar", "1", "2", "clinvar_sig", 3)]))
    - **clinvar** (1 → 2) changed `clinvar_sig` of 3 variants that you hold
    """
    lines = [
        f"- **{source}** ({old or 'before'} → {new or 'now'}) changed `{column}` of {count:,} "
        f"variant{'' if count == 1 else 's'} that you hold"
        for source, old, new, column, count in changes
    ]
    return "\n".join(lines) if lines else "No source changed anything of the variants that you hold."


def values_table(rows: Iterable[tuple[str | None, str | None, int]]) -> str:
    """Old and new values with the number of variants.

    >>> print(values_table([("Benign", None, 2)]))
    | from | to | variants |
    | --- | --- | --- |
    | Benign | none | 2 |
    """
    return markdown_table(
        ["from", "to", "variants"], [(old or "none", new or "none", f"{count:,}") for old, new, count in rows]
    )
