"""How all pictures of the project are drawn: one style, PNG bytes small enough for the event log.

What a picture shows belongs to the domains' `pictures` modules. The same drawing gives the same bytes: no date, no
version and no setting of the user's matplotlib enters.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, GRID = "#222222", "#666666", "#E3E3E3"
# Enough for every flat colour and its softened edges, and a third of the bytes of full colour.
_PALETTE_SIZE = 64
_SHADES, _ALMOST_WHITE = 12, 235


@contextmanager
def drawn(width: float, height: float, *, dpi: int = 100) -> Iterator[tuple[Figure, Axes]]:
    """A figure of so many inches with one pair of axes, in the style of all pictures."""
    with drawn_panels(width, height, 1, 1, dpi=dpi) as (figure, [axes]):
        yield figure, axes


@contextmanager
def drawn_panels(
    width: float, height: float, rows: int, columns: int, *, dpi: int = 100
) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure of so many inches with several pairs of axes, row by row, in the style of all pictures."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Asking for the backend's default would load pyplot and choose one.
    settings = {name: mpl.rcParamsDefault[name] for name in mpl.rcParamsDefault if "backend" not in name}
    with mpl.rc_context(settings | {"font.family": "DejaVu Sans", "font.size": 10}):
        figure = Figure(figsize=(width, height), dpi=dpi, facecolor="white")
        figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.12)
        FigureCanvasAgg(figure)
        panels = list(figure.subplots(rows, columns, squeeze=False).ravel())
        for axes in panels:
            axes.spines[["top", "right", "left"]].set_visible(False)
            axes.spines["bottom"].set_color(FAINT)
            axes.tick_params(colors=INK, length=0, which="both")
            axes.grid(axis="y", color=GRID, linewidth=0.8)
            axes.set_axisbelow(True)
        yield figure, panels


def headline(axes: Axes, title: str, subtitle: str) -> None:
    """Write the title, and what it counts below it."""
    axes.set_title(plain(title), loc="left", fontsize=13, fontweight="bold", color=INK, pad=26)
    axes.annotate(subtitle, (0, 1), (0, 9), xycoords="axes fraction", textcoords="offset points", color=FAINT)


def say_nothing(figure: Figure, axes: Axes, what: str = "nothing to show") -> Figure:
    """Draw that there is nothing to draw."""
    axes.grid(visible=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.text(0.5, 0.5, what, transform=axes.transAxes, ha="center", color=FAINT, fontsize=12)
    return figure


def plain(text: str, longest: int | None = None) -> str:
    """Words as there is room for them, free of signs that matplotlib reads as formulae.

    >>> plain("scaffold_12", longest=8)
    'scaffol…'
    """
    short = text if longest is None or len(text) <= longest else text[: longest - 1] + "…"
    return short.replace("$", r"\$")


def as_png(figure: Figure, colours: Sequence[str] = ()) -> bytes:
    """The figure as a PNG of few colours.

    Args:
        figure: as `drawn` gives it.
        colours: the colours that are in it, as `#RRGGBB`. A palette made from the picture, which is what there is
            without them, loses a colour that only a few dots have.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    rgba = canvas.buffer_rgba()  # type: ignore[no-untyped-call]
    pixels = Image.frombuffer("RGBA", canvas.get_width_height(), rgba).convert("RGB")
    palette = None
    if colours:
        palette = Image.new("P", (1, 1))
        palette.putpalette([255] * 3 + [part for colour in colours for part in _shades(colour)])
    png = io.BytesIO()
    few = pixels.quantize(_PALETTE_SIZE, palette=palette, dither=Image.Dither.NONE)
    few.save(png, "PNG", optimize=True)
    return png.getvalue()


def _shades(colour: str) -> list[int]:
    """A colour and its way to white, as red, green and blue: what softened edges are made of."""
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    shades = [[round(255 - (255 - part) * step / _SHADES) for part in rgb] for step in range(_SHADES, 0, -1)]
    # What is almost white would be taken for white.
    return [part for shade in shades if min(shade) < _ALMOST_WHITE for part in shade]
