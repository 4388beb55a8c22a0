"""Pictures of a dose-response analysis, as PNG bytes small enough for the event log.

Colours are those of Okabe and Ito (2008), told apart by colour-blind readers too. The same results give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genomics_assets.bmd.best_model import BestModels
from genomics_assets.bmd.categories import CategoryResults
from genomics_assets.bmd.fitting import ModelFits
from genomics_assets.bmd.gene_bmds import GeneBmds
from genomics_assets.bmd.models import MODELS, model_mean
from genomics_assets.bmd.points_of_departure import PointOfDeparture
from genomics_assets.figure import FAINT, GRID, INK, as_png, drawn, drawn_panels, headline, plain, say_nothing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS: dict[str, str] = {
    "hill": "#0072B2", "power": "#D55E00", "linear": "#009E73", "poly2": "#E69F00", "poly3": "#CC79A7",
    "poly4": "#F0E442", "exp2": "#8C8C8C", "exp3": "#56B4E9", "exp4": "#4D4D4D", "exp5": "#9467BD",
}  # fmt: skip
_BLUE, _ORANGE, _RED, _NONE = "#0072B2", "#E69F00", "#D55E00", "#D9D9D9"
_COLUMNS = 3
_MOST_SETS = 20
_LONGEST_TITLE = 42


def dose_response_picture(
    probe_ids: Sequence[str],
    sample_doses: ArrayLike,
    responses: NDArray[np.floating],
    fits: ModelFits,
    best: BestModels,
    most: int = 6,
) -> bytes:
    """Responses, best curve, BMD and its interval of the probes with the lowest BMD within the tested doses; a PNG.

    Args:
        probe_ids: names of the P probes of `fits`.
        sample_doses: (N,).
        responses: (P, N).
        fits: what was fitted.
        best: the choice of models.
        most: how many probes.
    """
    shown = np.flatnonzero(best.bmd <= fits.doses[-1])
    shown = shown[np.argsort(best.bmd[shown], kind="stable")][:most]
    rows = max(-(-len(shown) // _COLUMNS), 1)
    with drawn_panels(9.6, 2.75 * rows + 0.4, rows, _COLUMNS if len(shown) else 1) as (figure, axes):
        figure.suptitle(
            "Dose response of the most sensitive probes",
            x=0.012,
            ha="left",
            fontsize=13,
            fontweight="bold",
            color=INK,
        )
        if not len(shown):
            return as_png(say_nothing(figure, axes[0]))
        doses = np.asarray(sample_doses, np.float64)
        floor = fits.doses[fits.doses > 0][0] / np.sqrt(10)
        for place, probe in zip(axes, shown.tolist(), strict=False):
            _draw_curve(place, probe_ids[probe], doses, responses[probe], fits, best, probe, floor)
        for unused in axes[len(shown) :]:
            unused.set_axis_off()
        return as_png(figure)


def _draw_curve(
    axes: Axes,
    name: str,
    doses: NDArray[np.float64],
    responses: NDArray[np.floating],
    fits: ModelFits,
    best: BestModels,
    probe: int,
    floor: float,
) -> None:
    model = fits.models[best.model[probe]]
    colour = COLOURS[model]
    _dose_axis(axes)
    bmd, bmdl, bmdu = (float(values[probe]) for values in (best.bmd, best.bmdl, best.bmdu))
    left, right = min(floor, bmdl if bmdl > 0 else floor, bmd) / 1.4, float(fits.doses[-1]) * 1.4
    axes.axvspan(max(bmdl, left) if np.isfinite(bmdl) else left, min(bmdu, right) if np.isfinite(bmdu) else right,
                 color=colour, alpha=0.16, linewidth=0)  # fmt: skip
    axes.axvline(bmd, color=colour, linewidth=1.2, linestyle=(0, (4, 2)))
    x = np.geomspace(left, right, 190)
    axes.plot(x, model_mean(model, fits.parameters[probe, best.model[probe]], x), color=colour, linewidth=1.8)
    # The control has no place on a logarithmic axis; it stands a step left of the lowest dose.
    axes.plot(
        np.where(doses > 0, doses, floor),
        responses,
        "o",
        color=INK,
        markersize=3.2,
        alpha=0.55,
        markeredgewidth=0,
    )
    group_places = np.where(fits.doses > 0, fits.doses, floor)
    axes.plot(group_places, fits.group_means[probe], "_", color=INK, markersize=11)
    axes.set_xlim(left, right)
    axes.set_title(plain(name, 22), loc="left", fontsize=10, fontweight="bold", color=INK, pad=16)
    interval = f"{_number(bmdl)} to {_number(bmdu)}"
    axes.annotate(
        f"{MODELS[model].title}, BMD {_number(bmd)} ({interval})", (0, 1), (0, 5), xycoords="axes fraction",
        textcoords="offset points", color=FAINT, fontsize=8,
    )  # fmt: skip
    axes.tick_params(labelsize=8)


def accumulation_picture(genes: GeneBmds, points: Sequence[PointOfDeparture] = ()) -> bytes:
    """How many genes have responded up to each dose, with the points of departure; a PNG."""
    with drawn(9.6, 4.2) as (figure, axes):
        bmd = np.sort(genes.bmd[genes.survives])
        headline(axes, "Accumulation of gene BMDs", f"{bmd.size:,} genes with a BMD")
        if not bmd.size:
            return as_png(say_nothing(figure, axes))
        _dose_axis(axes)
        count = np.arange(1, bmd.size + 1)
        for limit, label in ((genes.bmdl, "BMDL"), (genes.bmdu, "BMDU")):
            values = np.sort(limit[genes.survives & np.isfinite(limit)])
            axes.step(
                values, np.arange(1, values.size + 1), where="post", color=GRID, linewidth=1.6, label=label
            )
        axes.step(bmd, count, where="post", color=_BLUE, linewidth=2, label="BMD")
        axes.set_ylim(0, bmd.size * 1.04)
        known = [point for point in points if point.value is not None]
        palette = ("#D55E00", "#E69F00", "#009E73", "#56B4E9", "#CC79A7", "#4D4D4D")
        for point, colour in zip(known, palette, strict=False):
            assert point.value is not None  # noqa: S101 - chosen above
            axes.axvline(point.value, color=colour, linewidth=1.4, linestyle=(0, (4, 2)),
                         label=f"{point.method.replace('_', ' ')}: {_number(point.value)}")  # fmt: skip
        axes.set_xlabel("dose", color=FAINT)
        axes.set_ylabel("genes", color=FAINT)
        axes.legend(frameon=False, fontsize=8.5, loc="upper left", bbox_to_anchor=(1.0, 1.0), labelcolor=INK)
        return as_png(figure)


def best_model_picture(fits: ModelFits, best: BestModels) -> bytes:
    """How many probes each model describes best, and how many have none; a PNG."""
    with drawn(9.6, 0.42 * (len(fits.models) + 1) + 1.3) as (figure, axes):
        counts = [int((best.model == i).sum()) for i in range(len(fits.models))]
        none = int((best.model < 0).sum())
        headline(axes, "Best models", f"{len(fits):,} probes")
        if not len(fits):
            return as_png(say_nothing(figure, axes))
        order = sorted(range(len(counts)), key=lambda i: -counts[i])
        labels = [*(MODELS[fits.models[i]].title for i in order), "none"]
        values = [*(counts[i] for i in order), none]
        colours = [*(COLOURS[fits.models[i]] for i in order), _NONE]
        bars = axes.barh(range(len(values)), values, color=colours, height=0.72)
        share = [f"{value:,}  ({100 * value / len(fits):.0f} %)" if value else "0" for value in values]
        axes.bar_label(bars, share, padding=4, color=FAINT, fontsize=9)
        axes.set_yticks(range(len(values)), labels)
        axes.invert_yaxis()
        axes.set_xlim(0, max(values) * 1.18)
        axes.set_xticks([])
        axes.grid(visible=False)
        axes.spines["bottom"].set_visible(False)
        return as_png(figure)


def category_bubble_picture(categories: CategoryResults) -> bytes:
    """Sets by median BMD and enrichment, as large as the genes with a BMD; a PNG."""
    with drawn(9.6, 4.6) as (figure, axes):
        headline(axes, "Gene sets", f"{len(categories):,} sets; size: genes with a BMD; colour: direction")
        if not len(categories):
            return as_png(say_nothing(figure, axes))
        _dose_axis(axes)
        colours = {"UP": _RED, "DOWN": _BLUE, "CONFLICT": "#8C8C8C"}
        largest = max(row["genes_with_bmd"] for row in categories.rows)
        for direction, colour in colours.items():
            rows = [row for row in categories.rows if row["direction"] == direction]
            if rows:
                axes.scatter(
                    [row["bmd_median"] for row in rows], [_enrichment(row) for row in rows],
                    s=[20 + 480 * row["genes_with_bmd"] / largest for row in rows],
                    color=colour, alpha=0.55, edgecolors="white", linewidths=0.8, label=direction.lower(),
                )  # fmt: skip
        for row in sorted(categories.rows, key=_enrichment, reverse=True)[:3]:
            axes.annotate(plain(row["title"], 30), (row["bmd_median"], _enrichment(row)), (6, 5),
                          textcoords="offset points", fontsize=8, color=INK)  # fmt: skip
        axes.set_xlabel("median BMD", color=FAINT)
        axes.set_ylabel("-log10 p (Fisher, two tails)", color=FAINT)
        axes.margins(x=0.12, y=0.15)
        legend = axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), labelcolor=INK)
        for handle in legend.legend_handles:
            handle.set_sizes([60])  # type: ignore[union-attr]
        return as_png(figure)


def category_range_picture(categories: CategoryResults) -> bytes:
    """The sets with the lowest medians: median BMD between median BMDL and BMDU; a PNG."""
    lowest = sorted(categories.rows, key=lambda row: (row["bmd_median"], row["category_id"]))[:_MOST_SETS]
    with drawn(9.6, 0.3 * max(len(lowest), 6) + 1.5) as (figure, axes):
        headline(
            axes, "Range of the most sensitive gene sets", "median BMDL, BMD and BMDU of the genes with a BMD"
        )
        if not lowest:
            return as_png(say_nothing(figure, axes))
        _dose_axis(axes)
        for place, row in enumerate(lowest):
            ends = [row["bmdl_median"] or row["bmd_median"], row["bmdu_median"] or row["bmd_median"]]
            axes.plot(ends, [place, place], color=_ORANGE, linewidth=3, solid_capstyle="round")
            axes.plot([row["bmd_median"]], [place], "o", color=_BLUE, markersize=6)
        names = [f"{plain(row['title'], _LONGEST_TITLE)}  ({row['genes_with_bmd']})" for row in lowest]
        axes.set_yticks(range(len(lowest)), names, fontsize=8.5)
        axes.invert_yaxis()
        axes.grid(axis="x", color=GRID, linewidth=0.8)
        axes.set_xlabel("dose", color=FAINT)
        return as_png(figure)


def _enrichment(row: dict[str, Any]) -> float:
    return float(-np.log10(max(row["fishers_two_tail"], 1e-300)))


def _number(value: float) -> str:
    return f"{value:.3g}" if np.isfinite(value) else "none"


def _dose_axis(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda dose, _: f"{dose:g}"))
    axes.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.2, 0.5)))
