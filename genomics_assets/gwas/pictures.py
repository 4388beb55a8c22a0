"""Manhattan and QQ plots, as PNG bytes.

Colours are those of Okabe and Ito (2008). The same table gives the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from genomics_assets.figure import FAINT, GRID, INK, as_png, drawn, headline, plain, say_nothing
from genomics_assets.gwas.summary import (
    GENOME_WIDE,
    SUGGESTIVE,
    AssociationSummary,
    expected_strengths,
    qq_rows,
)
from genomics_assets.variants.summary import chromosome_order

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

_EVEN, _ODD, _LEAD, _BAND = "#0072B2", "#56B4E9", "#D55E00", "#D9E6F2"
_COLOURS = (INK, FAINT, GRID, _EVEN, _ODD, _LEAD, _BAND)
_MOST_LABELS = 20
_MOST_POINTS = 60_000

Floats = npt.NDArray[np.float64]


def manhattan_picture(table: pa.Table, summary: AssociationSummary, title: str) -> bytes:
    """-log10 p along the genome, with the lead variants of the loci labelled; a PNG of 300 dots an inch."""
    strength = np.asarray(table["neg_log10_p"].to_numpy(), dtype=np.float64)
    with _figure(8.6, 4.2) as (figure, axes):
        headline(axes, title, _subtitle(summary))
        place, ticks, labels, shade = _along_genome(table)
        if not np.isfinite(strength).any():
            return as_png(say_nothing(figure, axes), _COLOURS)
        shown = _visible(strength)
        top = max(float(strength[np.isfinite(strength)].max()), -math.log10(GENOME_WIDE)) * 1.12 + 0.6
        for parity, colour in ((0, _EVEN), (1, _ODD)):
            rows = shown[shade[shown] % 2 == parity]
            axes.scatter(place[rows], strength[rows], s=5, color=colour, linewidths=0, rasterized=True)
        for limit, style in ((GENOME_WIDE, "-"), (SUGGESTIVE, ":")):
            axes.axhline(-math.log10(limit), color=FAINT, linewidth=0.8, linestyle=style, zorder=1)
        leads = [lead.row for lead in summary.leads]
        if leads:
            axes.scatter(place[leads], strength[leads], s=22, color=_LEAD, linewidths=0, zorder=4)
        axes.set_xlim(-0.01 * place.max(), 1.01 * place.max() + 1)
        axes.set_ylim(0, top)
        axes.set_xticks(ticks, labels)
        axes.set_xlabel("chromosome", color=FAINT)
        axes.set_ylabel("−log₁₀ p", color=FAINT)
        names = [row["rsid"] for row in summary.lead_rows(table)[:_MOST_LABELS]]
        _label(
            figure, axes, [(place[row], strength[row], name) for row, name in zip(leads, names, strict=False)]
        )
        return as_png(figure, _COLOURS)


def qq_picture(table: pa.Table, summary: AssociationSummary, title: str) -> bytes:
    """Observed against expected -log10 p, with the band that holds 95 % of tests of nothing; a PNG."""
    from scipy.special import betaincinv

    strength = np.asarray(table["neg_log10_p"].to_numpy(), dtype=np.float64)
    observed = np.sort(strength[np.isfinite(strength)])[::-1]
    with _figure(5.6, 5.6) as (figure, axes):
        told = (
            f"λ = {summary.inflation:.3f}, {summary.tested:,} variants"
            if summary.tested
            else "nothing was tested"
        )
        headline(axes, title, told)
        if not len(observed):
            return as_png(say_nothing(figure, axes), _COLOURS)
        n = len(observed)
        rows = qq_rows(n, 4000)
        expected = expected_strengths(n)
        rank = rows + 1.0
        # The i-th smallest of n uniform numbers is Beta(i, n + 1 - i).
        low, high = (-np.log10(betaincinv(rank, n + 1 - rank, part)) for part in (0.975, 0.025))
        axes.fill_between(expected[rows], low, high, color=_BAND, linewidth=0, zorder=1)
        end = float(expected[0]) * 1.03
        axes.plot([0, end], [0, end], color=FAINT, linewidth=1, zorder=2)
        axes.scatter(expected[rows], observed[rows], s=9, color=_EVEN, linewidths=0, zorder=3)
        axes.set_xlim(0, end)
        axes.set_ylim(0, max(float(observed[0]), float(high[0])) * 1.05)
        axes.set_xlabel("expected −log₁₀ p", color=FAINT)
        axes.set_ylabel("observed −log₁₀ p", color=FAINT)
        return as_png(figure, _COLOURS)


def _subtitle(summary: AssociationSummary) -> str:
    loci = len(summary.leads)
    return (
        f"{summary.tested:,} variants, {summary.genome_wide:,} below 5 × 10⁻⁸, "
        f"{loci} lead {'locus' if loci == 1 else 'loci'}, λ = {summary.inflation:.3f}"
    )


def _along_genome(table: pa.Table) -> tuple[Floats, list[float], list[str], npt.NDArray[np.int64]]:
    """Place of each row on one axis, ticks and labels of the chromosomes, and each row's chromosome number on it."""
    column = table["chromosome"].cast("string").combine_chunks().dictionary_encode()
    names, codes = column.dictionary.to_pylist(), column.indices.to_numpy()
    position = table["position"].to_numpy().astype(np.float64)
    order = sorted(range(len(names)), key=lambda code: chromosome_order(names[code]))
    longest = np.zeros(len(names))
    np.maximum.at(longest, codes, position)
    gap = 0.006 * longest.sum()
    begin, shade, at = np.zeros(len(names)), np.zeros(len(names), dtype=np.int64), 0.0
    ticks, labels = [], []
    for number, code in enumerate(order):
        begin[code], shade[code] = at, number
        ticks.append(at + longest[code] / 2)
        labels.append(_short(names[code]))
        at += longest[code] + gap
    return position + begin[codes], ticks, _thinned_labels(ticks, labels, at), shade[codes]


def _short(name: str) -> str:
    bare = name.removeprefix("chr")
    return plain(bare, 4)


def _thinned_labels(ticks: Sequence[float], labels: Sequence[str], end: float) -> list[str]:
    """Labels, emptied where they would touch the one before."""
    kept, last = [], -math.inf
    for tick, label in zip(ticks, labels, strict=True):
        wide = 0.011 * max(len(label), 1.4) * end
        kept.append(label if tick - last >= wide else "")
        last = tick if kept[-1] else last
    return kept


def _visible(strength: Floats) -> npt.NDArray[np.int64]:
    """Rows to draw: all that matter, and as many of the others as can be told apart."""
    strong = np.flatnonzero(strength > 2)
    weak = np.flatnonzero(strength <= 2)
    return np.concatenate([weak[:: max(1, -(-len(weak) // _MOST_POINTS))], strong])


def _label(figure: Figure, axes: Axes, points: list[tuple[float, float, str]]) -> None:
    """Names above their points, moved up or sideways until they touch neither one another nor the frame's edge."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)  # noqa: S101 - `drawn` made it
    canvas.draw()  # type: ignore[no-untyped-call]
    renderer: Any = canvas.get_renderer()  # type: ignore[no-untyped-call]
    frame = axes.get_window_extent(renderer)
    boxes: list[Bbox] = []
    # Highest first: a label that has to give way goes where there is room.
    for x, y, name in sorted(points, key=lambda point: -point[1]):
        for shift in _SHIFTS:
            text = axes.annotate(plain(name), (x, y), shift, **_LABEL,
                                 arrowprops=None if shift == _SHIFTS[0] else _ARROW)  # fmt: skip
            text.update_positions(renderer)
            # The words alone: an arrow may cross what it likes.
            box = Text.get_window_extent(text, renderer).padded(1.5)
            inside = box.x0 >= frame.x0 and box.x1 <= frame.x1 and box.y1 <= frame.y1
            if inside and not any(box.overlaps(other) for other in boxes):
                boxes.append(box)
                break
            text.remove()


_LABEL: dict[str, Any] = {
    "textcoords": "offset points", "fontsize": 8, "color": INK, "ha": "center", "va": "bottom", "zorder": 5,
    "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.8},
}  # fmt: skip
_ARROW = {"arrowstyle": "-", "color": FAINT, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2}
# Right above the point first, then further off.
_SHIFTS = [(0, 4), *((x, y) for y in (6, 16, 26, 36) for x in (0, 24, -24, 48, -48))]


@contextmanager
def _figure(width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    """Both axes of these plots are measures, so both have a line. The UI shows pictures of up to some 880 pixels whole."""
    with drawn(width, height) as (figure, axes):
        axes.spines["left"].set(visible=True, color=FAINT)
        yield figure, axes
