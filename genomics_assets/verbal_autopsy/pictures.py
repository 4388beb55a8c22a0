"""Pictures of a calibration, as PNG bytes small enough for the event log.

Bars are shares of deaths on an axis from zero to one half or one, calibrated beside uncalibrated, with 95 % intervals where
these are sound; heat maps are misclassification matrices with the diagonal framed. Colours are those of Okabe and Ito
(2008). The same numbers give the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from genomics_assets.verbal_autopsy.broad_causes import DISPLAY_NAMES
from genomics_assets.verbal_autopsy.calibration import ENSEMBLE, CalibratedFractions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

UNCALIBRATED = "#B8C4CC"
COLOURS = {"interva": "#0072B2", "insilicova": "#E69F00", "eava": "#009E73", ENSEMBLE: "#CC79A7"}
LABELS = {"interva": "InterVA", "insilicova": "InSilicoVA", "eava": "EAVA", ENSEMBLE: "Ensemble"}
_INK, _FAINT, _GRID = "#222222", "#666666", "#E3E3E3"
_PALETTE_SIZE = 40


def csmf_picture(fitted: Mapping[str, CalibratedFractions]) -> bytes:
    """Grouped bars: the share of each broad cause, uncalibrated and calibrated by each fit, largest first; a PNG."""
    primary = fitted[ENSEMBLE] if ENSEMBLE in fitted else next(iter(fitted.values()))
    order = np.argsort(-primary.mean, kind="stable")
    with _figure(9.6, 0.21 * len(order) * (len(fitted) + 2) + 1.6, 1) as (figure, [axes]):
        deaths = int(primary.counts.sum())
        said = f"{deaths:,} assigned causes" if ENSEMBLE in fitted else f"{deaths:,} deaths"
        _title(axes, "Cause-specific mortality fractions", f"{said}; whiskers are 95 % credible intervals")
        before = "uncalibrated" + (", all together" if ENSEMBLE in fitted else "")
        height = 0.84 / (len(fitted) + 1)
        base = np.arange(len(order), dtype=float)
        axes.barh(base, primary.uncalibrated[order], height, color=UNCALIBRATED, label=before)
        for row, (label, one) in enumerate(fitted.items(), 1):
            places = base + row * height
            name = LABELS.get(label, label) + (" (interval unsound)" if one.ci_unreliable else "")
            axes.barh(places, one.mean[order], height, color=COLOURS.get(label, _FAINT), label=name)
            if not one.ci_unreliable:
                low, high = one.bounds
                axes.hlines(places, low[order], high[order], color=_INK, linewidth=1.3)
        axes.set_yticks(
            base + height * len(fitted) / 2, [DISPLAY_NAMES.get(primary.causes[at], "") for at in order]
        )
        axes.set_ylim(len(order) - 0.1, -0.35)
        highest = max(float(one.bounds[1].max()) for one in fitted.values())
        axes.set_xlim(0, 0.5 if highest <= 0.5 else 1.0)
        axes.set_xlabel("share of deaths", color=_FAINT, labelpad=6)
        axes.grid(axis="x", color=_GRID, linewidth=0.8)
        axes.legend(loc="lower right", frameon=False, labelcolor=_INK, handlelength=0.9, handleheight=0.9)
        return _png(figure)


def matrices_picture(fitted: Mapping[str, CalibratedFractions]) -> bytes:
    """Heat maps of each algorithm's misclassification matrix: as modelled above, given the data below; a PNG."""
    shown = [one for one in fitted.values() if one.prior_matrix is not None and one.calibrated.any()]
    with _figure(max(5.2 * len(shown), 6.0), 9.6, max(2 * len(shown), 1)) as (figure, panels):
        if not shown:
            panels[0].axis("off")
            panels[0].text(0.5, 0.5, "nothing was calibrated", ha="center", color=_FAINT, fontsize=12)
            return _png(figure)
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
        return _png(figure)


def _heat_map(axes: Axes, block: np.ndarray, causes: Sequence[str], title: str) -> None:
    from matplotlib.patches import Rectangle

    shares = block / block.sum(axis=1, keepdims=True)
    axes.imshow(shares, cmap="Greys", vmin=0, vmax=1.15, aspect="equal")
    names = [DISPLAY_NAMES.get(cause, cause).split(",")[0] for cause in causes]
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    for row, values in enumerate(shares):
        for column, value in enumerate(values):
            ink = "white" if value > 0.55 else _INK
            axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", color=ink, fontsize=8)
        axes.add_patch(Rectangle((row - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="#0072B2", linewidth=2))
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=_INK)
    axes.set_xlabel("cause by verbal autopsy, %", color=_FAINT, fontsize=9)
    axes.set_ylabel("true cause", color=_FAINT, fontsize=9)


@contextmanager
def _figure(width: float, height: float, panels: int) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure of one panel, or of two rows of them."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Asking for the backend's default would load pyplot and choose one.
    plain: Any = {name: mpl.rcParamsDefault[name] for name in mpl.rcParamsDefault if "backend" not in name}
    with mpl.rc_context(plain | {"font.family": "DejaVu Sans", "font.size": 10}):
        figure = Figure(figsize=(width, height), dpi=80, facecolor="white")
        figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.12)
        FigureCanvasAgg(figure)
        rows = 1 if panels == 1 else 2
        axes = [figure.add_subplot(rows, panels // rows, place + 1) for place in range(panels)]
        for one in axes:
            one.spines[["top", "right", "left", "bottom"]].set_visible(False)
            one.tick_params(colors=_INK, length=0)
            one.set_axisbelow(True)
        yield figure, axes


def _title(axes: Axes, title: str, subtitle: str) -> None:
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold", color=_INK, pad=26)
    axes.annotate(
        subtitle, (0, 1), (0, 9), xycoords="axes fraction", textcoords="offset points", color=_FAINT
    )


def _png(figure: Figure) -> bytes:
    from PIL import Image

    canvas: Any = figure.canvas
    canvas.draw()
    pixels = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba()).convert("RGB")
    png = io.BytesIO()
    pixels.quantize(_PALETTE_SIZE, dither=Image.Dither.NONE).save(png, "PNG", optimize=True)
    return png.getvalue()
