"""Points of departure of an experiment: the dose from which on its genes respond, by several customs.

- the BMD of the 20th and of the 25th lowest gene (NTP 2018; EPA ETAP, 2024),
- the 5th and the 10th percentile of the genes' BMDs (Farmahin et al. 2017),
- the first mode of their distribution (Pagé-Larivière et al. 2019),
- the lowest median BMD of a gene set with at least three genes and 5 % of its genes (Thomas et al. 2013).

Intervals are bootstrap percentiles over the genes, drawn with replacement.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from genomics_assets.bmd.categories import CategoryResults
from genomics_assets.bmd.gene_bmds import GeneBmds

if TYPE_CHECKING:
    import pyarrow as pa

Method = Literal[
    "20th_gene", "25th_gene", "5th_percentile", "10th_percentile", "first_mode", "lowest_category_median"
]

_FEWEST_FOR_PERCENTILES = 10
_BANDWIDTH_POINTS = 256
# Of the highest peak: a lower one is noise.
_SMALLEST_MODE = 0.1


@dataclass(frozen=True)
class PointOfDeparture:
    """A point of departure.

    Attributes:
        method: how it is defined.
        value: the dose, None where the data do not have one.
        bmdl: the same over the genes' BMDLs.
        lower, upper: the interval that holds 95 % of the bootstrap's values.
        genes: how many genes it stands on.
        basis: in words: which gene or which set.
    """

    method: Method
    value: float | None
    bmdl: float | None
    lower: float | None
    upper: float | None
    genes: int
    basis: str


def points_of_departure(
    genes: GeneBmds,
    categories: CategoryResults | None = None,
    draws: int = 1000,
    seed: int = 20180,
    least_genes: int = 3,
    least_percentage: float = 5.0,
    largest_fisher_p: float | None = None,
) -> tuple[PointOfDeparture, ...]:
    """Points of departure with bootstrap intervals; the same genes give the same numbers.

    Args:
        genes: BMDs of genes.
        categories: of the same genes, for the lowest median; None leaves it out.
        draws: of the bootstrap.
        seed: of the bootstrap.
        least_genes: with a BMD, that a set must have for its median to count.
        least_percentage: of its genes on the platform, that must have a BMD.
        largest_fisher_p: and how enriched it must be; None: any.
    """
    alive = np.flatnonzero(genes.survives)
    alive = alive[np.argsort(genes.bmd[alive], kind="stable")]
    bmd, bmdl = genes.bmd[alive], genes.bmdl[alive]
    draw = np.random.default_rng(seed)
    samples = _resampled(bmd, draws, draw)
    points = [
        _of_rank(genes, alive, bmd, bmdl, samples, 20),
        _of_rank(genes, alive, bmd, bmdl, samples, 25),
        _of_share(bmd, bmdl, samples, 5),
        _of_share(bmd, bmdl, samples, 10),
        _of_mode(bmd, bmdl, samples),
    ]
    if categories is not None:
        points.append(
            _of_categories(genes, categories, draws, draw, least_genes, least_percentage, largest_fisher_p)
        )
    return tuple(points)


def points_table(points: tuple[PointOfDeparture, ...]) -> pa.Table:
    """One row for each point of departure."""
    import pyarrow as pa

    columns = ("method", "value", "bmdl", "lower", "upper", "genes", "basis")
    types = (pa.string(), *[pa.float64()] * 4, pa.int64(), pa.string())
    return pa.table(
        {
            name: pa.array([getattr(point, name) for point in points], kind)
            for name, kind in zip(columns, types, strict=True)
        }
    )


def _resampled(bmd: NDArray[np.float64], draws: int, draw: np.random.Generator) -> NDArray[np.float64]:
    """(draws, n): genes drawn with replacement, sorted."""
    samples = np.empty((draws, bmd.size))
    if not bmd.size:
        return samples
    # Row by row, so that the drawn places of all draws never lie in memory beside what they point to.
    for sample in samples:
        sample[:] = bmd[draw.integers(0, bmd.size, bmd.size)]
        sample.sort()
    return samples


def _interval(values: NDArray[np.float64]) -> tuple[float | None, float | None]:
    known = values[np.isfinite(values)]
    if not known.size:
        return None, None
    lower, upper = np.quantile(known, [0.025, 0.975])
    return float(lower), float(upper)


def _of_rank(
    genes: GeneBmds,
    alive: NDArray[np.intp],
    bmd: NDArray[np.float64],
    bmdl: NDArray[np.float64],
    samples: NDArray[np.float64],
    rank: int,
) -> PointOfDeparture:
    method: Method = "20th_gene" if rank == 20 else "25th_gene"
    if bmd.size < rank:
        return PointOfDeparture(method, None, None, None, None, bmd.size, f"only {bmd.size} genes have a BMD")
    lower, upper = _interval(samples[:, rank - 1])
    return PointOfDeparture(
        method, float(bmd[rank - 1]), _nth(bmdl, rank), lower, upper, bmd.size, genes.symbols[alive[rank - 1]]
    )


def _nth(values: NDArray[np.float64], rank: int) -> float | None:
    known = np.sort(values[np.isfinite(values)])
    return float(known[rank - 1]) if known.size >= rank else None


def _of_share(
    bmd: NDArray[np.float64], bmdl: NDArray[np.float64], samples: NDArray[np.float64], percent: int
) -> PointOfDeparture:
    method: Method = "5th_percentile" if percent == 5 else "10th_percentile"
    if bmd.size < _FEWEST_FOR_PERCENTILES:
        return PointOfDeparture(method, None, None, None, None, bmd.size, f"only {bmd.size} genes have a BMD")
    lower, upper = _interval(np.quantile(samples, percent / 100, axis=1))
    known = bmdl[np.isfinite(bmdl)]
    return PointOfDeparture(
        method,
        float(np.quantile(bmd, percent / 100)),
        float(np.quantile(known, percent / 100)) if known.size else None,
        lower,
        upper,
        bmd.size,
        f"of {bmd.size} genes",
    )


def _of_mode(
    bmd: NDArray[np.float64], bmdl: NDArray[np.float64], samples: NDArray[np.float64]
) -> PointOfDeparture:
    value = first_mode(bmd)
    if value is None:
        return PointOfDeparture(
            "first_mode", None, None, None, None, bmd.size, f"only {bmd.size} genes have a BMD"
        )
    modes = np.array([first_mode(sample) or np.nan for sample in samples])
    lower, upper = _interval(modes)
    known = bmdl[np.isfinite(bmdl) & (bmdl > 0)]
    return PointOfDeparture(
        "first_mode", value, first_mode(known), lower, upper, bmd.size, "of the density of log BMD"
    )


def first_mode(values: NDArray[np.float64]) -> float | None:
    """The lowest peak of the density of the values' logarithms that is a tenth as high as the highest, or None.

    A Gaussian kernel with Silverman's (1986) rule of thumb, by a histogram of 256 cells.
    """
    logs = np.log(values[np.isfinite(values) & (values > 0)])
    if logs.size < _FEWEST_FOR_PERCENTILES:
        return None
    quartiles = np.quantile(logs, [0.25, 0.75])
    spread = min(float(logs.std(ddof=1)), float(quartiles[1] - quartiles[0]) / 1.34) or float(
        logs.std(ddof=1)
    )
    if spread == 0:
        return float(np.exp(logs[0]))
    width = 0.9 * spread * logs.size**-0.2
    edges = np.linspace(logs.min() - 3 * width, logs.max() + 3 * width, _BANDWIDTH_POINTS + 1)
    counts = np.histogram(logs, edges)[0]
    cell = edges[1] - edges[0]
    reach = int(np.ceil(4 * width / cell))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * cell / width) ** 2)
    density = np.convolve(counts, kernel)[reach : reach + counts.size]
    inner = density[1:-1]
    peaks = np.flatnonzero(
        (inner > density[:-2]) & (inner >= density[2:]) & (inner >= _SMALLEST_MODE * density.max())
    )
    at = int(peaks[0]) + 1 if peaks.size else int(density.argmax())
    return float(np.exp((edges[at] + edges[at + 1]) / 2))


def _of_categories(
    genes: GeneBmds,
    categories: CategoryResults,
    draws: int,
    draw: np.random.Generator,
    least_genes: int,
    least_percentage: float,
    largest_fisher_p: float | None,
) -> PointOfDeparture:
    eligible = [
        row
        for row in categories.rows
        if row["genes_with_bmd"] >= least_genes
        and row["percentage"] >= least_percentage
        and (largest_fisher_p is None or row["fishers_two_tail"] <= largest_fisher_p)
    ]
    if not eligible:
        return PointOfDeparture(
            "lowest_category_median", None, None, None, None, 0,
            f"no gene set has {least_genes} genes and {least_percentage:g} % of its genes with a BMD",
        )  # fmt: skip
    lowest = min(eligible, key=lambda row: (row["bmd_median"], row["category_id"]))
    place = {gene: i for i, gene in enumerate(genes.genes)}
    members = np.array([place[gene] for gene in lowest["genes"]])
    lower, upper = _interval(np.median(_resampled(genes.bmd[members], draws, draw), axis=1))
    return PointOfDeparture(
        "lowest_category_median", lowest["bmd_median"], lowest["bmdl_median"], lower, upper,
        lowest["genes_with_bmd"], lowest["title"],
    )  # fmt: skip
