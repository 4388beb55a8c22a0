"""Pictures of a calibration, as PNG bytes small enough for the event log.

Bars are shares of deaths on an axis from zero to one half or one, calibrated beside uncalibrated, with 95 % intervals where
these are sound; heat maps are misclassification matrices with the diagonal framed. Colours are those of Okabe and Ito
(2008). The same numbers give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from genomics_assets.figure import FAINT, GRID, INK, as_png, drawn, drawn_panels, headline, say_nothing
from genomics_assets.verbal_autopsy.broad_causes import DISPLAY_NAMES
from genomics_assets.verbal_autopsy.calibration import ENSEMBLE, CalibratedFractions

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNCALIBRATED = "#B8C4CC"
COLOURS = {"interva": "#0072B2", "insilicova": "#E69F00", "eava": "#009E73", ENSEMBLE: "#CC79A7"}
LABELS = {"interva": "InterVA", "insilicova": "InSilicoVA", "eava": "EAVA", ENSEMBLE: "Ensemble"}
_DPI = 80


def csmf_picture(fitted: Mapping[str, CalibratedFractions]) -> bytes:
    """Grouped bars: the share of each broad cause, uncalibrated and calibrated by each fit, largest first; a PNG."""
    primary = fitted[ENSEMBLE] if ENSEMBLE in fitted else next(iter(fitted.values()))
    order = np.argsort(-primary.mean, kind="stable")
    with drawn(9.6, 0.21 * len(order) * (len(fitted) + 2) + 1.6, dpi=_DPI) as (figure, axes):
        _bare([axes])
        deaths = int(primary.counts.sum())
        said = f"{deaths:,} assigned causes" if ENSEMBLE in fitted else f"{deaths:,} deaths"
        headline(axes, "Cause-specific mortality fractions", f"{said}; whiskers are 95 % credible intervals")
        before = "uncalibrated" + (", all together" if ENSEMBLE in fitted else "")
        height = 0.84 / (len(fitted) + 1)
        base = np.arange(len(order), dtype=float)
        axes.barh(base, primary.uncalibrated[order], height, color=UNCALIBRATED, label=before)
        for row, (label, one) in enumerate(fitted.items(), 1):
            places = base + row * height
            name = LABELS.get(label, label) + (" (interval unsound)" if one.ci_unreliable else "")
            axes.barh(places, one.mean[order], height, color=COLOURS.get(label, FAINT), label=name)
            if not one.ci_unreliable:
                low, high = one.bounds
                axes.hlines(places, low[order], high[order], color=INK, linewidth=1.3)
        axes.set_yticks(
            base + height * len(fitted) / 2, [DISPLAY_NAMES.get(primary.causes[at], "") for at in order]
        )
        axes.set_ylim(len(order) - 0.1, -0.35)
        highest = max(float(one.bounds[1].max()) for one in fitted.values())
        axes.set_xlim(0, 0.5 if highest <= 0.5 else 1.0)
        axes.set_xlabel("share of deaths", color=FAINT, labelpad=6)
        axes.grid(axis="x", color=GRID, linewidth=0.8)
        axes.legend(loc="lower right", frameon=False, labelcolor=INK, handlelength=0.9, handleheight=0.9)
        return as_png(figure)


def matrices_picture(fitted: Mapping[str, CalibratedFractions]) -> bytes:
    """Heat maps of each algorithm's misclassification matrix: as modelled above, given the data below; a PNG."""
    shown = [one for one in fitted.values() if one.prior_matrix is not None and one.calibrated.any()]
    width = max(5.2 * len(shown), 6.0)
    with drawn_panels(width, 9.6, 2 if shown else 1, max(len(shown), 1), dpi=_DPI) as (figure, panels):
        _bare(panels)
        if not shown:
            return as_png(say_nothing(figure, panels[0], "nothing was calibrated"))
        for column, one in enumerate(shown):
            name = LABELS.get(one.label, one.label)
            kept = np.flatnonzero(one.calibrated)
            causes = [one.causes[at] for at in kept]
            for row, (when, matrix) in enumerate(
                (("prior mean", one.prior_matrix), ("posterior mean", one.posterior_matrix))
            ):
                assert matrix is not None  # noqa: S101 - both are there or none
                block = matrix[np.ix_(kept, kept)]
                _heat_map(panels[row * len(shown) + column], block, causes, f"{name}: {when}")
        return as_png(figure)


def _heat_map(axes: Axes, block: np.ndarray, causes: Sequence[str], title: str) -> None:
    from matplotlib.patches import Rectangle

    shares = block / block.sum(axis=1, keepdims=True)
    axes.imshow(shares, cmap="Greys", vmin=0, vmax=1.15, aspect="equal")
    names = [DISPLAY_NAMES.get(cause, cause).split(",")[0] for cause in causes]
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    for row, values in enumerate(shares):
        for column, value in enumerate(values):
            ink = "white" if value > 0.55 else INK
            axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", color=ink, fontsize=8)
        axes.add_patch(Rectangle((row - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="#0072B2", linewidth=2))
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.set_xlabel("cause by verbal autopsy, %", color=FAINT, fontsize=9)
    axes.set_ylabel("true cause", color=FAINT, fontsize=9)


def _bare(panels: Sequence[Axes]) -> None:
    """Nothing but what is drawn: no frame, no lines behind it."""
    for axes in panels:
        axes.spines["bottom"].set_visible(False)
        axes.grid(visible=False)
