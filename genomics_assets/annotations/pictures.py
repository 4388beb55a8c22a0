"""Pictures of what sources say and of what they changed, as PNG bytes small enough for the event log.

Colours are those of Okabe and Ito (2008). The same counts give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genomics_assets.figure import FAINT, INK, as_png, drawn, headline, plain, say_nothing
from genomics_assets.variants.pictures import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_BARS = 12
_LONGEST_LABEL = 34
_MOST_ORIGINS = 24


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


@dataclass(frozen=True)
class Origin:
    """A column of a source that fills a column of the variants."""

    source: str
    version: str
    column: str


def lineage_picture(origins: Mapping[str, Sequence[Origin]]) -> bytes:
    """Columns of sources on the left, each joined to the column of `genomics.variants` that it fills; a PNG.

    Args:
        origins: by column of the variants what fills it, the one that goes first at the head.
    """
    # In the order of what they fill, so that few lines cross.
    sources = list(dict.fromkeys(origin for found in origins.values() for origin in found))[:_MOST_ORIGINS]
    rows = max(len(sources), len(origins), 1)
    filled = sum(map(bool, origins.values()))
    with drawn(9.6, 1.5 + 0.42 * rows) as (figure, axes):
        headline(
            axes,
            "Where columns come from",
            f"{filled} of {len(origins)} columns have a source; what no source knows is what the variant's own file said",
        )
        say_nothing(figure, axes, "")
        axes.set_xlim(0, 1)
        axes.set_ylim(rows - 0.5, -0.5)
        left = {origin: _spread(place, len(sources), rows) for place, origin in enumerate(sources)}
        for origin, height in left.items():
            name = f"{plain(origin.source, 22)} {plain(origin.version, 14)}  ·  {plain(origin.column, 22)}"
            _box(axes, 0.0, 0.46, height, name, COLOURS["snp"])
        for place, (column, found) in enumerate(origins.items()):
            height = _spread(place, len(origins), rows)
            _box(axes, 0.74, 0.26, height, column, COLOURS["mnp"] if found else FAINT)
            for order, origin in enumerate(found):
                if origin not in left:
                    continue
                axes.annotate(
                    "",
                    xy=(0.735, height),
                    xytext=(0.465, left[origin]),
                    arrowprops={"arrowstyle": "-|>", "color": INK, "linestyle": ":" if order else "-"},
                )
        return as_png(figure)


def _spread(place: int, of: int, rows: int) -> float:
    """The height of one of `of` boxes, spread evenly over so many rows."""
    return (place + 0.5) * rows / of - 0.5


def _box(axes: Axes, left: float, width: float, height: float, text: str, colour: str) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(
        Rectangle((left, height - 0.36), width, 0.72, facecolor="white", edgecolor=colour, linewidth=1.4)
    )
    axes.text(left + 0.012, height, text, va="center", color=INK, fontsize=9.5)


def _label(text: str) -> str:
    return plain(text, _LONGEST_LABEL).replace("_", " ")
