"""Pictures of a load, as PNG bytes small enough for the event log.

Colours are those of Okabe and Ito (2008), told apart by colour-blind readers too. The same counts give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from genomics_assets.figure import FAINT, INK, as_png, drawn, headline, plain, say_nothing
from genomics_assets.variants.summary import FREQUENCY_EDGES, LoadSummary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {
    "snp": "#0072B2",
    "indel": "#E69F00",
    "mnp": "#009E73",
    "sv": "#CC79A7",
    "bnd": "#D55E00",
    "star": "#56B4E9",
    "non_ref": "#8C8C8C",
}
_UNKNOWN_TYPE = "#4D4D4D"
_LONGEST_LABEL = 14


def chromosome_picture(summary: LoadSummary) -> bytes:
    """Stacked bars: variants by chromosome and type, chromosomes in their natural order; a PNG.

    Beyond thirty contigs the smallest are one bar, `other`, or words where that bar would dwarf the rest.
    """
    with drawn(9.6, 4.2) as (figure, axes):
        counts = summary.counts_by_chromosome()
        total = summary.total.variants
        subtitle = f"{total:,} variant{'' if total == 1 else 's'}"
        if _dwarfs_the_rest(counts):
            left_out = sum(counts.pop("other").values())
            smaller = len(summary.chromosomes) - len(counts)
            subtitle += f", {left_out:,} of them on {smaller:,} smaller contigs not drawn"
        headline(axes, "Variants by chromosome and type", subtitle)
        if not counts:
            return as_png(say_nothing(figure, axes))
        places = range(len(counts))
        floor = [0] * len(counts)
        for kind in summary.types:
            heights = [by_type.get(kind, 0) for by_type in counts.values()]
            axes.bar(
                places,
                heights,
                bottom=floor,
                width=min(0.78, 0.1 * len(counts) + 0.1),
                color=COLOURS.get(kind, _UNKNOWN_TYPE),
                label=kind,
            )
            floor = [low + height for low, height in zip(floor, heights, strict=True)]
        labels = [_label(chrom) for chrom in counts]
        crowded = sum(map(len, labels)) > 75
        axes.set_xticks(list(places), labels)
        if crowded:
            axes.tick_params(axis="x", labelsize=8.5, pad=5)
            for text in axes.get_xticklabels():
                text.set(rotation=45, rotation_mode="anchor", ha="right", va="center")
        axes.set_xlim(-0.7, len(counts) - 0.3)
        axes.set_ylim(0, max(floor) * 1.04)
        _count_axis(axes, max(floor))
        _legend(axes, len(summary.types))
        return as_png(figure)


def frequency_picture(summary: LoadSummary) -> bytes:
    """Histogram of the alternate alleles' frequencies, counts on a logarithmic axis; a PNG."""
    with drawn(9.6, 4.2) as (figure, axes):
        counts = summary.frequencies.tolist()
        known = sum(counts)
        subtitle = f"{known:,} of {summary.total.variants:,} variants have a frequency"
        headline(axes, "Allele-frequency spectrum", subtitle)
        if not known:
            return as_png(say_nothing(figure, axes))
        axes.set_yscale("log")
        bars = axes.bar(range(len(counts)), counts, width=0.86, color=COLOURS["snp"])
        labels = axes.bar_label(bars, [f"{n:,}" if n else "" for n in counts], padding=3, color=FAINT)
        for label in labels:
            label.set(fontsize=8.5, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8})
        edges = [place - 0.5 for place in range(len(FREQUENCY_EDGES))]
        axes.set_xticks(edges, [f"{edge:g}" for edge in FREQUENCY_EDGES])
        axes.set_xlim(-0.6, len(counts) - 0.4)
        # A bar of one stands on the axis too; the top leaves room for its number.
        axes.set_ylim(0.7, max(10, max(counts) ** 1.08 * 2))
        axes.set_xlabel("frequency of the alternate allele", color=FAINT, labelpad=6)
        _count_axis(axes, max(counts))
        axes.set_ylabel("variants (log scale)", color=FAINT)
        return as_png(figure)


def _count_axis(axes: Axes, most: int) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

    if axes.get_yscale() == "linear":
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    else:
        axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:,.0f}"))
    axes.set_ylabel("variants", color=FAINT)


def _legend(axes: Axes, types: int) -> None:
    """Right of the title, above the subtitle, which may be long."""
    from matplotlib.transforms import ScaledTranslation

    figure = axes.get_figure(root=True)
    assert figure is not None  # noqa: S101 - the axes were made by their figure
    title_height = ScaledTranslation(0, 21 / 72, figure.dpi_scale_trans)
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1.005, 1.0),
        bbox_transform=axes.transAxes + title_height,
        ncols=types,
        frameon=False,
        handlelength=0.9,
        handleheight=0.9,
        columnspacing=1.2,
        handletextpad=0.5,
        labelcolor=INK,
        borderaxespad=0.2,
    )


def _dwarfs_the_rest(counts: Mapping[str, Mapping[str, int]]) -> bool:
    """Whether `other` gathers so much that no other bar could be read beside it."""
    heights = {chrom: sum(by_type.values()) for chrom, by_type in counts.items()}
    other = heights.pop("other", 0)
    return other > 2 * max(heights.values(), default=other)


def _label(chrom: str) -> str:
    """A chromosome's name as an axis has room for it, free of signs that matplotlib reads as formulae."""
    bare = chrom.removeprefix("chr") if len(chrom) <= 5 else chrom
    # Contigs of one assembly differ at the end of their names.
    short = bare if len(bare) <= _LONGEST_LABEL else f"{bare[:5]}…{bare[6 - _LONGEST_LABEL :]}"
    return plain(short)
