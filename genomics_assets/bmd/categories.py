"""Gene sets with the BMDs of their genes, and whether they hold more of them than chance would put there.

As BMDExpress-3's category analysis. Enrichment is Fisher's exact test of

===================  =====================  =====================
                     in the set             in other sets
===================  =====================  =====================
with a BMD           a                      b
without              c                      d
===================  =====================  =====================

over the platform's genes that are in a kept set. BMDExpress-3 counts the header of its map files as one more gene; so
does `compat="bmdexpress3"`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from genomics_assets.bmd.fitting import Compat
from genomics_assets.bmd.gene_bmds import GeneBmds
from genomics_assets.bmd.gene_sets import GeneSet, GeneSets
from genomics_assets.bmd.platform_annotation import PlatformAnnotation

if TYPE_CHECKING:
    import pyarrow as pa

CategoryType = Literal["GO", "PATHWAY", "DEFINED", "GENE"]

_SAME_PROBABILITY = 1 + 1e-7


@dataclass(frozen=True)
class CategorySettings:
    """Which sets are kept.

    Attributes:
        category_type: what the collection is, for the record.
        min_genes, max_genes: of the set on the platform, with or without a BMD.
        min_genes_with_bmd: sets with fewer are left out.
        deduplicate: of sets with the same genes with a BMD, keep that with the highest percentage, then the deepest.
        agreement: the share of genes in one direction from which on a set has that direction.
        conflict_correlation: a gene whose probes correlate less than this is counted as in conflict.
        compat: `bmdexpress3` counts one gene more in Fisher's test.
    """

    category_type: CategoryType = "DEFINED"
    min_genes: int | None = None
    max_genes: int | None = None
    min_genes_with_bmd: int = 1
    deduplicate: bool = False
    agreement: float = 0.6
    conflict_correlation: float = 0.5
    compat: Compat = "bmds"


@dataclass(frozen=True)
class CategoryResults:
    """Results of sets, the most enriched first: `rows` of plain values, ready for JSON."""

    settings: CategorySettings
    rows: tuple[dict[str, Any], ...]

    def __len__(self) -> int:
        return len(self.rows)

    def table(self) -> pa.Table:
        """One row for each set."""
        import pyarrow as pa

        columns = {
            name: [row[name] for row in self.rows]
            for name in (self.rows[0] if self.rows else ("category_id",))
        }
        return pa.table({name: pa.array(values, _arrow_type(name)) for name, values in columns.items()})


def gene_categories(annotation: PlatformAnnotation) -> GeneSets:
    """The analysis by gene: a set of one for every gene of the platform."""
    genes = sorted(annotation.genes)
    return GeneSets("gene", tuple(GeneSet(gene, annotation.symbol(gene), (gene,)) for gene in genes))


def analyse_categories(
    genes: GeneBmds,
    gene_sets: GeneSets,
    annotation: PlatformAnnotation,
    settings: CategorySettings | None = None,
) -> CategoryResults:
    """Summarise the BMDs of every gene set.

    Args:
        genes: BMDs of genes.
        gene_sets: the collection.
        annotation: the platform; genes of a set that are not on it do not count.
        settings: which sets are kept.
    """
    settings = settings or CategorySettings()
    place = {gene: i for i, gene in enumerate(genes.genes)}
    kept: list[tuple[GeneSet, list[str], NDArray[np.intp]]] = []
    for gene_set in gene_sets.sets:
        on_platform = [gene for gene in gene_set.genes if gene in annotation.genes]
        if settings.min_genes is not None and len(on_platform) < settings.min_genes:
            continue
        if settings.max_genes is not None and len(on_platform) > settings.max_genes:
            continue
        rows = np.array([place[gene] for gene in on_platform if gene in place], np.intp)
        if on_platform and genes.survives[rows].sum() >= max(settings.min_genes_with_bmd, 1):
            kept.append((gene_set, on_platform, rows))
    everything = {gene for _, on_platform, _ in kept for gene in on_platform}
    total = len(everything) + (settings.compat == "bmdexpress3")
    with_bmd = len({row for _, _, rows in kept for row in rows[genes.survives[rows]].tolist()})
    results = [
        _result(genes, gene_set, len(on_platform), rows, with_bmd, total, settings)
        for gene_set, on_platform, rows in kept
    ]
    if settings.deduplicate:
        results = _deduplicated(results)
    return CategoryResults(
        settings,
        tuple(
            sorted(results, key=lambda row: (row["fishers_two_tail"], row["bmd_median"], row["category_id"]))
        ),
    )


def _result(
    genes: GeneBmds,
    gene_set: GeneSet,
    on_platform: int,
    rows: NDArray[np.intp],
    with_bmd: int,
    total: int,
    settings: CategorySettings,
) -> dict[str, Any]:
    alive = rows[genes.survives[rows]]
    alive = alive[np.argsort(genes.bmd[alive], kind="stable")]
    a = alive.size
    b, c = with_bmd - a, on_platform - a
    left, right, two = fisher_exact(a, b, c, total - a - b - c)
    row: dict[str, Any] = {
        "category_id": gene_set.id,
        "title": gene_set.title,
        "level": gene_set.level,
        "genes_in_set": len(gene_set.genes),
        "genes_on_platform": on_platform,
        "genes_with_bmd": a,
        "percentage": round(100 * a / on_platform, 2),
        "fishers_a": a,
        "fishers_b": b,
        "fishers_c": c,
        "fishers_d": total - a - b - c,
        "fishers_left_tail": left,
        "fishers_right_tail": right,
        "fishers_two_tail": two,
    }
    for after, name in enumerate(genes.filters):
        row[f"genes_after_{name}"] = int((genes.passed[rows] > after).sum())
    weights = genes.fit_p_value[alive]
    for name in ("bmd", "bmdl", "bmdu"):
        row |= {
            f"{name}_{key}": value
            for key, value in summary(getattr(genes, name)[alive], weights, on_platform).items()
        }
    row |= _directions(genes, alive, settings.agreement)
    row["genes_in_conflict"] = int((genes.correlation[alive] < settings.conflict_correlation).sum())
    row["genes"] = [genes.genes[i] for i in alive]
    row["symbols"] = [genes.symbols[i] for i in alive]
    return row


def summary(
    values: NDArray[np.float64], weights: NDArray[np.float64], genes_in_set: int
) -> dict[str, float | None]:
    """Mean, median, minimum, standard deviations and low percentiles of a set's values; missing ones do not count.

    Args:
        values: (n,).
        weights: (n,) of the weighted mean and standard deviation.
        genes_in_set: all genes of the set, with or without a value; percentiles are of these.
    """
    known = np.isfinite(values)
    values, weights = values[known], np.nan_to_num(weights[known])
    if not values.size:
        return dict.fromkeys(
            ("mean", "median", "minimum", "sd", "wmean", "wsd", "5th_percentile", "10th_percentile")
        )
    wmean, wsd = None, None
    if weights.sum() > 0:
        wmean = float((weights * values).sum() / weights.sum())
        if values.size > 1:
            n = values.size
            wsd = float(np.sqrt((weights * (values - wmean) ** 2).sum() / ((n - 1) / n * weights.sum())))
    return {
        "mean": float(values.mean()),
        "median": float(np.median(values)),
        "minimum": float(values.min()),
        "sd": float(values.std(ddof=1)) if values.size > 1 else None,
        "wmean": wmean,
        "wsd": wsd,
        "5th_percentile": percentile_of_total(values, genes_in_set, 0.05),
        "10th_percentile": percentile_of_total(values, genes_in_set, 0.10),
    }


def percentile_of_total(values: NDArray[np.float64], genes_in_set: int, share: float) -> float | None:
    """The value at which so large a share of all genes of a set has responded; None where it never is.

    With values sorted, the first i for which (i + 1) / genes >= share: its value where that is equal or i is 0, else the
    middle between it and the one before.

    >>> percentile_of_total(np.array([1.0, 2.0, 4.0]), 20, 0.10), percentile_of_total(np.array([1.0, 2.0, 4.0]), 25, 0.10)
    (2.0, 3.0)
    """
    ordered = np.sort(values)
    reached = np.arange(1, ordered.size + 1) / genes_in_set
    found = np.flatnonzero(reached >= share)
    if not found.size:
        return None
    i = int(found[0])
    if i == 0 or reached[i] == share:
        return float(ordered[i])
    return float((ordered[i - 1] + ordered[i]) / 2)


def _directions(genes: GeneBmds, alive: NDArray[np.intp], agreement: float) -> dict[str, Any]:
    direction = genes.direction[alive]
    told: dict[str, Any] = {}
    for word, sign in (("up", 1), ("down", -1)):
        bmds = genes.bmd[alive[direction == sign]]
        told[f"genes_{word}"] = int(bmds.size)
        told[f"bmd_{word}_mean"] = float(bmds.mean()) if bmds.size else None
        told[f"bmd_{word}_median"] = float(np.median(bmds)) if bmds.size else None
    told["direction"] = "CONFLICT"
    for word in ("up", "down"):
        if told[f"genes_{word}"] >= agreement * alive.size:
            told["direction"] = word.upper()
    sizes = np.abs(genes.fold_change[alive])
    sizes = sizes[np.isfinite(sizes) & (sizes > 0)]
    told["mean_fold_change"] = float(np.exp(np.log(sizes).mean())) if sizes.size else None
    return told


def _deduplicated(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    best: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in sorted(
        results, key=lambda row: (-row["percentage"], -(row["level"] or 0), row["category_id"])
    ):
        best.setdefault(tuple(sorted(row["genes"])), row)
    return list(best.values())


def fisher_exact(a: int, b: int, c: int, d: int) -> tuple[float, float, float]:
    """Fisher's exact test of a 2 x 2 table: p-values of the left tail, the right tail and both.

    Both: the probabilities of all tables that are no likelier than this one (as R's `fisher.test` and scipy).

    >>> tuple(round(p, 4) for p in fisher_exact(8, 2, 1, 5))
    (0.9991, 0.0245, 0.035)
    """
    from scipy.special import gammaln

    def choose(n: Any, k: Any) -> Any:
        return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)

    inside, drawn, total = a + c, a + b, a + b + c + d
    x = np.arange(max(0, inside + drawn - total), min(inside, drawn) + 1)
    p = np.exp(choose(inside, x) + choose(total - inside, drawn - x) - choose(total, drawn))
    p /= p.sum()
    here = a - int(x[0])
    both = p[p <= p[here] * _SAME_PROBABILITY].sum()
    return min(float(p[: here + 1].sum()), 1.0), min(float(p[here:].sum()), 1.0), min(float(both), 1.0)


def _arrow_type(name: str) -> Any:
    import pyarrow as pa

    if name in ("genes", "symbols"):
        return pa.list_(pa.string())
    if name in ("category_id", "title", "direction"):
        return pa.string()
    whole = name.startswith(("genes_", "fishers_")) and not name.endswith("_tail")
    return pa.int64() if whole or name == "level" else pa.float64()
