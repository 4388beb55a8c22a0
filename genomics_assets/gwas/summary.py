"""What an association table says: counts of significant variants, inflation, lead loci, and the data of its plots.

Bonferroni divides 0.05 by the number of tested variants; the false discovery rate is Benjamini and Hochberg's (1995).
The inflation is the median chi-square of one degree of freedom over its expectation (Devlin and Roeder 1999).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from genomics_assets.gwas.dataset import chromosome_number
from genomics_assets.variants.summary import chromosome_order

if TYPE_CHECKING:
    import pyarrow as pa

    from genomics_assets.gwas.dataset import GenotypeDataset
    from genomics_assets.gwas.genotype_matrix import Bools

GENOME_WIDE, SUGGESTIVE = 5e-8, 1e-5
ALPHA = 0.05
# The median of chi-square with one degree of freedom.
MEDIAN_CHI_SQUARE = 0.454936423119572
LOCUS_DISTANCE = 500_000
LINKED = 0.1
MOST_TOP_HITS = 100
_THINNED_BELOW = 2.0
_EACH = 10
_QQ_TOP, _QQ_POINTS = 200, 1000
_NORMAL_975 = 1.959963984540054

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Lead:
    """The strongest variant of a locus.

    Attributes:
        row: its row of the association table.
        variants: how many variants of the locus reach the threshold, itself included.
        start: first position of those.
        end: last position of those.
    """

    row: int
    variants: int
    start: int
    end: int


@dataclass(frozen=True)
class AssociationSummary:
    """A table of associations in numbers.

    Attributes:
        tested: variants with a p value.
        untested: variants without one, by reason.
        bonferroni: variants at 0.05 over `tested`.
        fdr: variants at a false discovery rate of 0.05.
        genome_wide: variants at 5e-8.
        inflation: lambda GC; NaN where nothing was tested.
        mean_chi_square: NaN likewise.
        median_p: NaN likewise.
        leads: lead variants of the loci at 5e-8, or at Bonferroni's threshold where that is laxer; strongest first.
        tests: rows by test.
    """

    tested: int
    untested: dict[str, int]
    bonferroni: int
    fdr: int
    genome_wide: int
    inflation: float
    mean_chi_square: float
    median_p: float
    leads: list[Lead]
    tests: dict[str, int]

    @property
    def threshold(self) -> float:
        """-log10 p that a lead has at least."""
        return lead_threshold(self.tested)

    def lead_rows(self, table: pa.Table) -> list[dict[str, Any]]:
        """Rows of the table that was summarized, of the lead variants in their order."""
        import pyarrow as pa

        rows: list[dict[str, Any]] = table.take(
            pa.array([lead.row for lead in self.leads], pa.int64())
        ).to_pylist()
        return rows

    def as_document(self) -> dict[str, Any]:
        """The summary as a result's document keeps it."""
        return {
            "total_snps_tested": self.tested,
            "untested_snps": self.untested,
            "significant_snps_bonferroni": self.bonferroni,
            "significant_snps_fdr": self.fdr,
            "significant_snps_genome_wide": self.genome_wide,
            "genomic_inflation_lambda": _finite(self.inflation),
            "mean_chi_square": _finite(self.mean_chi_square),
            "median_p_value": _finite(self.median_p),
            "lead_loci": len(self.leads),
            "tests": self.tests,
        }


def summarize(
    table: pa.Table, cohort: GenotypeDataset | None = None, samples: Bools | None = None
) -> AssociationSummary:
    """Summarize a table of `association.association_schema`.

    Args:
        table: one trait's associations.
        cohort: where given, variants linked to a stronger one are of its locus at any distance up to ten times that of
            clumping by distance.
        samples: bool, those of the cohort that linkage is measured in.
    """
    strength = _strengths(table)
    known = strength[np.isfinite(strength)]
    return AssociationSummary(
        tested=len(known),
        untested=_value_counts(table["reason"]),
        bonferroni=int((known >= -math.log10(ALPHA / max(len(known), 1))).sum()),
        fdr=discoveries(known),
        genome_wide=int((known >= -math.log10(GENOME_WIDE)).sum()),
        inflation=inflation(known),
        mean_chi_square=float(_chi_squares(known).mean()) if len(known) else math.nan,
        median_p=float(10 ** -np.median(known)) if len(known) else math.nan,
        leads=lead_variants(table, lead_threshold(len(known)), linked=_linkage(table, cohort, samples)),
        tests=_value_counts(table["test"]),
    )


def lead_threshold(tested: int) -> float:
    """-log10 p from which a variant can lead a locus: 5e-8, or Bonferroni's threshold where that is laxer."""
    return -math.log10(max(GENOME_WIDE, ALPHA / max(tested, 1)))


def discoveries(neg_log10_p: Floats, rate: float = ALPHA) -> int:
    """How many tests are discoveries at a false discovery rate, by Benjamini and Hochberg's step-up procedure.

    >>> discoveries(-np.log10([0.001, 0.02, 0.03, 0.9]))
    3
    """
    if not len(neg_log10_p):
        return 0
    ordered = np.sort(neg_log10_p)[::-1]
    limits = -np.log10(rate * np.arange(1, len(ordered) + 1) / len(ordered))
    below = np.flatnonzero(ordered >= limits - 1e-12)
    return int(below[-1]) + 1 if len(below) else 0


def inflation(neg_log10_p: Floats) -> float:
    """Lambda GC; NaN where nothing was tested.

    >>> round(inflation(-np.log10(np.arange(1, 1000) / 1000)), 6)
    1.0
    """
    return float(np.median(_chi_squares(neg_log10_p)) / MEDIAN_CHI_SQUARE) if len(neg_log10_p) else math.nan


def _chi_squares(neg_log10_p: Floats) -> Floats:
    """Chi-squares of one degree of freedom with the given tail probabilities, right beyond the range of doubles."""
    from scipy.special import log_ndtr, ndtri

    log_half = -neg_log10_p * math.log(10) - math.log(2)
    z = ndtri(np.exp(np.maximum(log_half, -700)))
    far = log_half < -700
    if far.any():
        # Newton on log_ndtr, whose slope far out is -z.
        z[far] = -np.sqrt(-2 * log_half[far])
        for _ in range(20):
            z[far] += (log_half[far] - log_ndtr(z[far])) / -z[far]
    return np.asarray(z * z)


def lead_variants(
    table: pa.Table,
    threshold: float,
    *,
    distance: int = LOCUS_DISTANCE,
    linked: Callable[[int, Places], npt.NDArray[np.bool_]] | None = None,
) -> list[Lead]:
    """Lead variants of the loci: the strongest variant takes all near it, then the strongest of the rest, and so on.

    Args:
        table: associations.
        threshold: -log10 p that a variant has at least.
        distance: bases within which a weaker variant belongs to a stronger one.
        linked: tells for a row, and rows of its chromosome, which of these are in linkage disequilibrium with it; they
            belong to it up to ten times the distance.
    """
    strength = _strengths(table)
    rows = np.flatnonzero(strength >= threshold)
    if not len(rows):
        return []
    chosen = table.select(["chromosome", "position"]).take(rows)
    names = chosen["chromosome"].cast("string").to_pylist()
    chromosome = np.array(names, dtype=object)
    position = chosen["position"].to_numpy()
    order = sorted(
        range(len(rows)), key=lambda i: (-strength[rows[i]], chromosome_order(names[i]), position[i])
    )
    free = np.ones(len(rows), dtype=bool)
    leads = []
    for place in order:
        if not free[place]:
            continue
        away = np.abs(position - position[place])
        same = free & (chromosome == chromosome[place])
        mine = same & (away <= distance)
        further = np.flatnonzero(same & ~mine & (away <= 10 * distance))
        if linked is not None and len(further):
            mine[further] = linked(int(rows[place]), rows[further])
        free[mine] = False
        leads.append(
            Lead(int(rows[place]), int(mine.sum()), int(position[mine].min()), int(position[mine].max()))
        )
    return leads


def _linkage(
    table: pa.Table, cohort: GenotypeDataset | None, samples: Bools | None
) -> Callable[[int, Places], npt.NDArray[np.bool_]] | None:
    if cohort is None:
        return None
    from genomics_assets.gwas.genotype_matrix import dosages

    place = _row_finder(table, cohort)
    chosen = np.ones(cohort.matrix.samples, dtype=bool) if samples is None else samples

    def linked(row: int, others: Places) -> npt.NDArray[np.bool_]:
        calls = dosages(cohort.matrix.take(place(np.append(others, row))), cohort.matrix.samples)[:, chosen]
        mean = np.nanmean(calls, axis=1, keepdims=True)
        centred = np.nan_to_num(calls - mean)
        with np.errstate(invalid="ignore", divide="ignore"):
            scaled = centred / np.linalg.norm(centred, axis=1, keepdims=True)
        return np.asarray((scaled[:-1] @ scaled[-1]) ** 2 >= LINKED)

    return linked


def _row_finder(table: pa.Table, cohort: GenotypeDataset) -> Callable[[Places], Places]:
    """Rows of the cohort for rows of an association table, which has the cohort's variants in their order."""
    names = ["chromosome", "position", "ref_allele", "alt_allele"]

    def find(rows: Places) -> Places:
        wanted = {
            tuple(row.values()): place for place, row in enumerate(table.select(names).take(rows).to_pylist())
        }
        found = np.full(len(rows), -1, dtype=np.int64)
        position = cohort.variants["position"].to_numpy()
        candidates = np.flatnonzero(np.isin(position, [key[1] for key in wanted]))
        for variant, row in zip(
            candidates, cohort.variants.select(names).take(candidates).to_pylist(), strict=True
        ):
            place = wanted.get(tuple(row.values()))
            if place is not None and found[place] < 0:
                found[place] = variant
        return found

    return find


# -- what is kept of a table beside it -----------------------------------------------------------------------------


def top_hits(table: pa.Table, most: int = MOST_TOP_HITS) -> list[dict[str, Any]]:
    """The strongest variants with p below 1e-5, at most `most`, as documents keep them; strongest first."""
    strength = np.nan_to_num(_strengths(table), nan=-1.0)
    rows = np.argsort(-strength, kind="stable")[:most]
    rows = rows[strength[rows] > -math.log10(SUGGESTIVE)]
    return [_hit(row) for row in table.take(rows).to_pylist()]


def _hit(row: dict[str, Any]) -> dict[str, Any]:
    hit = {key: value for key, value in row.items() if value is not None}
    hit["chromosome"] = chromosome_number(row["chromosome"]) or row["chromosome"]
    beta, se = row["beta"], row["se"]
    if beta is not None and se is not None and row["test"] != "linear" and abs(beta) + _NORMAL_975 * se < 700:
        hit["odds_ratio"] = math.exp(beta)
        hit["ci_lower"] = math.exp(beta - _NORMAL_975 * se)
        hit["ci_upper"] = math.exp(beta + _NORMAL_975 * se)
    return hit


def manhattan_data(table: pa.Table) -> dict[str, Any]:
    """Thinned data of a Manhattan plot: every variant with p below 0.01, and each tenth of the rest, by chromosome."""
    strength = _strengths(table)
    rows = np.flatnonzero(
        np.isfinite(strength) & ((strength > _THINNED_BELOW) | (np.arange(len(strength)) % _EACH == 0))
    )
    chosen = table.select(["chromosome", "position", "rsid", "p_value", "neg_log10_p"]).take(rows)
    names = np.array(chosen["chromosome"].cast("string").to_pylist(), dtype=object)
    chromosomes = []
    for name in sorted(set(names.tolist()), key=chromosome_order):
        part = chosen.take(np.flatnonzero(names == name))
        strong = part["neg_log10_p"].to_numpy() > -math.log10(SUGGESTIVE)
        ids = part["rsid"].to_pylist()
        chromosomes.append(
            {
                "chr": chromosome_number(name) or name,
                "positions": part["position"].to_pylist(),
                "p_values": part["p_value"].to_pylist(),
                "neg_log10_p": [round(value, 4) for value in part["neg_log10_p"].to_pylist()],
                "labels": [label if keep else "" for label, keep in zip(ids, strong, strict=True)],
            }
        )
    return {"chromosomes": chromosomes}


def qq_data(table: pa.Table) -> dict[str, Any]:
    """Thinned data of a QQ plot: -log10 p, expected and observed, the strongest 200 and others evenly."""
    strength = _strengths(table)
    observed = np.sort(strength[np.isfinite(strength)])[::-1]
    expected = expected_strengths(len(observed))
    rows = qq_rows(len(observed))
    return {
        "expected": expected[rows].round(5).tolist(),
        "observed": observed[rows].round(5).tolist(),
        "genomic_inflation_lambda": _finite(inflation(observed)),
    }


def expected_strengths(count: int) -> Floats:
    """-log10 p that `count` tests of nothing are expected to give, strongest first."""
    return np.asarray(-np.log10((np.arange(1, count + 1) - 0.5) / max(count, 1)))


def qq_rows(count: int, points: int = _QQ_POINTS) -> Places:
    """Which of `count` sorted tests a QQ plot shows."""
    top = np.arange(min(count, _QQ_TOP))
    if count <= points:
        return np.arange(count)
    return np.unique(
        np.concatenate([top, np.geomspace(_QQ_TOP, count - 1, points - _QQ_TOP).astype(np.int64)])
    )


def _strengths(table: pa.Table) -> Floats:
    return np.asarray(table["neg_log10_p"].to_numpy(), dtype=np.float64)


def _value_counts(column: pa.ChunkedArray) -> dict[str, int]:
    import pyarrow.compute as pc

    counted = pc.value_counts(column.cast("string")).to_pylist()
    return {pair["values"]: pair["counts"] for pair in counted if pair["values"] is not None}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
