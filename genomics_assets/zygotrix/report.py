"""What the document store tells its readers: tables in Markdown, made of counts and names of fields alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genomics_assets.zygotrix.integrity import Finding
    from genomics_assets.zygotrix.jsonl import CollectionDrop
    from genomics_assets.zygotrix.store_layout import Drift


def drift_table(drift: Iterable[Drift]) -> str:
    """Differences between the store and its layout, with the remedy of each."""
    rows = [(d.collection, d.kind.replace("_", " "), d.what, d.remedy) for d in drift]
    return _table(("collection", "kind", "what", "remedy"), rows) if rows else "The store is as it should be."


def rejects_table(drop: CollectionDrop) -> str:
    """Why lines were rejected: counts, meanings, and the first line of each reason."""
    from genomics_assets.zygotrix.jsonl import REASONS

    rows = [
        (reason, f"{count:,}", REASONS[reason], f"{drop.first[reason]:,}")
        for reason, count in drop.rejected.most_common()
    ]
    return (
        _table(("reason", "lines", "meaning", "first line"), rows)
        if rows
        else "Every line became a document."
    )


def findings_summary(found: Iterable[Finding]) -> str:
    """How often each kind was found, what it means, and what the repair job would do."""
    from genomics_assets.zygotrix.integrity import RULES, by_kind

    counts = by_kind(found)
    rows = [
        (rule.check, f"{counts[kind]:,}", rule.meaning, rule.repair or "a person must decide")
        for kind, rule in RULES.items()
        if kind in counts
    ]
    return _table(("check", "found", "meaning", "repair"), rows) if rows else "Everything fits together."


def counts(numbers: Mapping[str, int]) -> str:
    """Counts as one phrase.

    >>> counts({"not_json": 2, "wrong_type": 1})
    '2 not_json, 1 wrong_type'
    """
    return ", ".join(f"{count:,} {name}" for name, count in numbers.items()) or "none"


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    from resources.preview import preview_table

    return preview_table([dict(zip(titles, row, strict=True)) for row in rows], titles, cell=300)
