from __future__ import annotations

import io
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from genomics_assets.variants.pictures import COLOURS, chromosome_picture, frequency_picture
from genomics_assets.variants.summary import FREQUENCY_EDGES, Cell, LoadSummary

HUMAN = [f"chr{name}" for name in [*range(1, 23), "X", "Y", "M"]]


def summary_of(
    counts: dict[tuple[str, str], int], frequencies: dict[float, int] | None = None
) -> LoadSummary:
    summary = LoadSummary({key: Cell(variants=n) for key, n in counts.items()})
    for edge, n in (frequencies or {}).items():
        summary.frequencies[FREQUENCY_EDGES.index(edge)] = n
    return summary


def painted(png: bytes, colour: str) -> np.ndarray:
    """Where a picture has this colour, below the legend; booleans of shape (height, width)."""
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    found: np.ndarray = np.abs(pixels - wanted).max(axis=2) <= 12
    found[:55] = False
    return found


def bars(png: bytes, colour: str) -> list[int]:
    """Heights in pixels of the bars of a colour, from left to right."""
    columns = painted(png, colour).sum(axis=0)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], columns > 2, [0]]).astype(int)))
    return [int(np.median(columns[left:right])) for left, right in edges.reshape(-1, 2)]


def test_bars_are_as_high_as_their_counts_in_the_chromosomes_natural_order() -> None:
    png = chromosome_picture(summary_of({("chr10", "snp"): 50, ("chr9", "snp"): 100, ("chrX", "snp"): 25}))
    nine, ten, x = bars(png, COLOURS["snp"])
    assert nine > 200
    assert ten == pytest.approx(nine / 2, abs=2)
    assert x == pytest.approx(nine / 4, abs=2)


def test_types_are_stacked_each_in_its_colour() -> None:
    png = chromosome_picture(summary_of({("chr1", "snp"): 60, ("chr1", "indel"): 30, ("chr1", "sv"): 10}))
    (snp,), (indel,), (sv,) = (bars(png, COLOURS[kind]) for kind in ("snp", "indel", "sv"))
    assert indel == pytest.approx(snp / 2, abs=2)
    assert sv == pytest.approx(snp / 6, abs=2)
    rows = [np.flatnonzero(painted(png, COLOURS[kind]).any(axis=1)) for kind in ("sv", "indel", "snp")]
    assert rows[0].max() < rows[1].min() < rows[1].max() < rows[2].min()


def test_many_contigs_become_thirty_and_other() -> None:
    contigs = {(f"scaffold_{n}", "snp"): 1000 if n < 30 else 10 for n in range(130)}
    heights = bars(chromosome_picture(summary_of(contigs)), COLOURS["snp"])
    assert len(heights) == 31
    assert max(heights) - min(heights) <= 2


def test_a_fragmented_assembly_does_not_press_its_chromosomes_flat() -> None:
    contigs = {(f"scaffold_{n}", "snp"): 1000 if n < 30 else 30 for n in range(130)}
    heights = bars(chromosome_picture(summary_of(contigs)), COLOURS["snp"])
    assert len(heights) == 30
    assert min(heights) > 150


def test_frequencies_stand_in_their_bins_on_a_logarithmic_scale() -> None:
    png = frequency_picture(summary_of({("chr1", "snp"): 1011}, {0.001: 1000, 0.1: 10, 0.9: 1}))
    thousand, ten, one = bars(png, COLOURS["snp"])
    # Two decades between the first two bars, one between the last two.
    assert (thousand - ten) / (ten - one) == pytest.approx(2, rel=0.05)
    places = np.flatnonzero(painted(png, COLOURS["snp"]).any(axis=0))
    assert places.max() > 850


@pytest.mark.parametrize("picture", [chromosome_picture, frequency_picture])
def test_pictures_fit_the_event_log_and_are_the_same_each_time(picture) -> None:  # type: ignore[no-untyped-def]
    kinds = [*COLOURS, "odd"]
    counts = {(chrom, kind): 10_000 + 137 * i for i, chrom in enumerate(HUMAN) for kind in kinds}
    counts |= {(f"HLA-A*{n:02}:01:$x$", "snp"): n for n in range(1, 40)}
    summary = summary_of(counts, {edge: 10 ** (i % 6) for i, edge in enumerate(FREQUENCY_EDGES[:-1])})
    first = picture(summary)
    assert first.startswith(b"\x89PNG")
    assert len(first) < 20_000
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "savefig.dpi": 300}):
        assert picture(summary) == first


@pytest.mark.parametrize("picture", [chromosome_picture, frequency_picture])
@pytest.mark.parametrize("counts", [{}, {("chr1", "snp"): 1}])
def test_little_or_nothing_still_gives_a_picture(picture, counts) -> None:  # type: ignore[no-untyped-def]
    png = picture(summary_of(counts))
    assert Image.open(io.BytesIO(png)).size == (960, 420)
    assert painted(png, COLOURS["snp"]).any() == (bool(counts) and picture is chromosome_picture)


def test_matplotlib_is_loaded_when_drawing_and_pyplot_never() -> None:
    script = (
        "import sys\n"
        "from genomics_assets.variants.pictures import chromosome_picture\n"
        "assert 'matplotlib' not in sys.modules\n"
        "from genomics_assets.variants.summary import LoadSummary\n"
        "chromosome_picture(LoadSummary())\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
