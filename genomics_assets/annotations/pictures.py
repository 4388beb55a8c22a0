"""Pictures of what sources say and of what they changed, as PNG bytes small enough for the event log.

Colours are those of Okabe and Ito (2008). The same counts give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from genomics_assets.figure import as_png, drawn, headline, plain, say_nothing
from genomics_assets.variants.pictures import COLOURS

_MOST_BARS = 12
_LONGEST_LABEL = 34


def coverage_picture(source: str, rows: int, present: Mapping[str, int]) -> bytes:
    """Bars: which part of a source's rows has a value, by column; a PNG."""
    shown = list(present.items())[:_MOST_BARS]
    with drawn(9.6, 1.6 + 0.32 * max(len(shown), 2)) as (figure, axes):
        headline(axes, f"Columns of {source}", f"{rows:,} rows; the part that has a value")
        if not rows or not shown:
            return as_png(say_nothing(figure, axes))
        places = range(len(shown))
        bars = axes.barh(
            places, [100 * count / rows for _, count in shown], color=COLOURS["snp"], height=0.72
        )
        axes.bar_label(bars, [f"{100 * count / rows:.1f} %" for _, count in shown], padding=4, fontsize=9)
        axes.set_yticks(list(places), [_label(name) for name, _ in shown])
        axes.invert_yaxis()
        axes.set_xlim(0, 112)
        axes.set_xlabel("% of rows")
        return as_png(figure)


def change_picture(changes: Sequence[tuple[str | None, str | None, int]], what: str) -> bytes:
    """Bars: variants that the warehouse holds, by how a source's value changed, most first; a PNG."""
    total = sum(count for *_, count in changes)
    shown = list(changes[:_MOST_BARS])
    with drawn(9.6, 1.6 + 0.36 * max(len(shown), 2)) as (figure, axes):
        headline(axes, f"{what} of variants that you hold", f"{total:,} variants changed")
        if not shown:
            return as_png(say_nothing(figure, axes))
        places = range(len(shown))
        bars = axes.barh(places, [count for *_, count in shown], color=COLOURS["indel"], height=0.72)
        axes.bar_label(bars, [f"{count:,}" for *_, count in shown], padding=4, fontsize=9)
        axes.set_yticks(
            list(places), [f"{_label(old or 'none')} → {_label(new or 'none')}" for old, new, _ in shown]
        )
        axes.invert_yaxis()
        axes.set_xlim(0, max(count for *_, count in shown) * 1.12)
        axes.set_xlabel("variants")
        return as_png(figure)


def _label(text: str) -> str:
    return plain(text, _LONGEST_LABEL).replace("_", " ")
