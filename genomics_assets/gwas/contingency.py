"""Tests of a binary trait on tables of counts: without covariates, with one row for each variant.

`chi_square`: alleles by cases and controls, one degree of freedom. `trend`: Cochran and Armitage's test with weights 0,
1, 2. `genotypic`: genotypes by cases and controls, two degrees of freedom. `fisher`: Fisher's exact test of alleles,
two-sided, the sum of all tables that are no more likely than the one observed.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from genomics_assets.gwas.association import Block, Found, Samples, Untested, without_result
from genomics_assets.gwas.genotype_matrix import Bools, CallCounts, Counts, Floats, count_calls, sample_mask
from genomics_assets.gwas.job_settings import AnalysisType
from genomics_assets.gwas.phenotypes import Trait
from genomics_assets.gwas.tails import Tail, chi_square_1, chi_square_2

# Tables as likely as the observed one count too, and each step of a walk rounds by about 1e-16.
_AS_LIKELY = 1 + 1e-11
_NEGLIGIBLE = 1e-20
_LOG10_E = 0.43429448190325182765


class ContingencyTest:
    """The test of one binary trait.

    Args:
        trait: 0 for controls, 1 for cases.
        samples: who is analysed.
        kind: which test.
    """

    def __init__(self, trait: Trait, samples: Samples, kind: AnalysisType) -> None:
        self.names = [trait.name]
        self._samples = samples
        self._kind = kind
        cases = samples.used & (trait.values == 1)
        self._cases = sample_mask(cases)
        self._male_cases = sample_mask(cases & (samples.sex == 1))

    def run(self, block: Block) -> list[Found]:
        """Results for the trait."""
        counts, cases = count_calls(block.rows, self._samples.mask), count_calls(block.rows, self._cases)
        frequency = self._samples.frequency(block, counts)
        reason = _reasons(counts, cases)
        if self._kind in ("trend", "genotypic"):
            reason[(reason == "") & (block.haploid_in_males | block.haploid)] = Untested.HAPLOID.value
        failed = reason != ""
        alleles = self._alleles(block, counts, cases)
        nothing = np.full(len(block), np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            if self._kind == "genotypic":
                statistic = genotypic(counts, cases)
                tail, beta, se = chi_square_2(without_result(statistic, failed)), nothing, nothing
            else:
                beta, se = log_odds_ratio(alleles)
                statistic = trend(counts, cases) if self._kind == "trend" else allelic(alleles)
                tail = chi_square_1(without_result(statistic, failed))
        if self._kind == "fisher":
            statistic = nothing
            tail = _masked(fisher_exact(alleles), failed)
        return [
            Found(
                beta=without_result(beta, failed | ~np.isfinite(beta)),
                se=without_result(se, failed | ~np.isfinite(se)),
                statistic=without_result(statistic, failed),
                tail=tail,
                n=counts.called,
                frequency=frequency,
                test=np.full(len(block), self._kind, dtype=object),
                reason=reason,
            )
        ]

    def _alleles(self, block: Block, counts: CallCounts, cases: CallCounts) -> Counts:
        """Effect and other alleles of cases, then of controls; (variants, 4). Haploid calls hold one."""
        table = _allele_table(counts, cases)
        if block.haploid_in_males.any():
            males = count_calls(block.rows, self._samples.males)
            male_cases = count_calls(block.rows, self._male_cases)
            # Of two written alleles one is there.
            surplus = _allele_table(males, male_cases) // 2
            table = np.where(block.haploid_in_males[:, None], table - surplus, table)
        return np.where(block.haploid[:, None], table // 2, table)


def _reasons(counts: CallCounts, cases: CallCounts) -> npt.NDArray[np.object_]:
    n = counts.called
    one_class = (cases.called == 0) | (cases.called == n)
    constant = (counts.copies == 0) | (counts.two == n) | (counts.one == n)
    return np.select(
        [n == 0, one_class, constant],
        [Untested.TOO_FEW.value, Untested.ONE_CLASS.value, Untested.NO_VARIATION.value],
        "",
    ).astype(object)


def _allele_table(counts: CallCounts, cases: CallCounts) -> Counts:
    controls = counts.copies - cases.copies
    called = counts.called - cases.called
    return np.stack([cases.copies, 2 * cases.called - cases.copies, controls, 2 * called - controls], axis=1)


def allelic(table: Counts) -> Floats:
    """Pearson's chi-square of 2 x 2 tables, without correction; table (variants, 4), row by row.

    >>> allelic(np.array([[10, 20, 30, 40]])).round(4).tolist()
    [0.7937]
    """
    a, b, c, d = table.T.astype(np.float64)
    return np.asarray((a + b + c + d) * (a * d - b * c) ** 2 / ((a + b) * (c + d) * (a + c) * (b + d)))


def log_odds_ratio(table: Counts) -> tuple[Floats, Floats]:
    """Logarithm of the odds ratio and its standard error (Woolf 1955); infinite where a cell is empty."""
    a, b, c, d = table.T.astype(np.float64)
    return np.log(a * d / (b * c)), np.sqrt(1 / a + 1 / b + 1 / c + 1 / d)


def trend(counts: CallCounts, cases: CallCounts) -> Floats:
    """Cochran and Armitage's chi-square with weights 0, 1, 2."""
    n, r = counts.called.astype(np.float64), cases.called.astype(np.float64)
    copies = counts.copies.astype(np.float64)
    squares = 4.0 * counts.two + counts.one
    above = n * cases.copies - r * copies
    return np.asarray(n * above**2 / (r * (n - r) * (n * squares - copies**2)))


def genotypic(counts: CallCounts, cases: CallCounts) -> Floats:
    """Pearson's chi-square of genotypes by cases and controls; an empty genotype adds nothing."""
    n, r = counts.called.astype(np.float64), cases.called.astype(np.float64)
    total = np.zeros(len(n))
    for of_all, of_cases in zip(counts[:3], cases[:3], strict=True):
        expected = of_all * r / n
        part = (of_cases - expected) ** 2 * (1 / expected + 1 / (of_all - expected))
        total += np.where(of_all > 0, part, 0.0)
    return total


def fisher_exact(table: Counts) -> Tail:
    """Fisher's exact test of 2 x 2 tables, two-sided; table (variants, 4), row by row.

    >>> fisher_exact(np.array([[8, 2, 1, 5]])).p.round(6).tolist()
    [0.034965]
    """
    from scipy.special import gammaln

    tables, row = np.unique(table, axis=0, return_inverse=True)
    a, b, c, d = tables.T.astype(np.float64)
    n = a + b + c + d

    def log_factorial(x: Floats) -> Floats:
        return np.asarray(gammaln(x + 1))

    observed = (
        log_factorial(a + b) + log_factorial(c + d) + log_factorial(a + c) + log_factorial(b + d)
        - log_factorial(n) - log_factorial(a) - log_factorial(b) - log_factorial(c) - log_factorial(d)
    )  # fmt: skip
    likely, unlikely = np.zeros(len(tables)), np.ones(len(tables))
    for step in (1, -1):
        _walk(step, tables.astype(np.float64), likely, unlikely)
    # The observed table has weight 1, so the tail is its share of all, or its own logarithm where all overflows.
    neg_log10 = np.where(
        np.isfinite(likely),
        np.log10(unlikely + likely) - np.log10(unlikely),
        -(observed + np.log(unlikely)) * _LOG10_E,
    )
    neg_log10 = np.maximum(neg_log10, 0.0)
    row = row.reshape(-1)
    return Tail(np.power(10.0, -neg_log10)[row], neg_log10[row])


def _walk(step: int, table: Floats, likely: Floats, unlikely: Floats) -> None:
    """Add up the weights of the tables with a larger (step 1) or smaller (step -1) first cell."""
    rows = np.arange(len(table))
    weight = np.ones(len(table))
    a, b, c, d = table.T.copy()
    while True:
        room = np.minimum(b, c) > 0 if step > 0 else np.minimum(a, d) > 0
        keep = room & (weight > _NEGLIGIBLE) & (weight < np.inf)
        rows, weight, a, b, c, d = (part[keep] for part in (rows, weight, a, b, c, d))
        if not rows.size:
            return
        with np.errstate(over="ignore"):
            weight = weight * (b * c / ((a + 1) * (d + 1)) if step > 0 else a * d / ((b + 1) * (c + 1)))
        a, b, c, d = a + step, b - step, c - step, d + step
        more = weight > _AS_LIKELY
        likely[rows] += np.where(more, weight, 0.0)
        unlikely[rows] += np.where(more, 0.0, weight)


def _masked(tail: Tail, failed: Bools) -> Tail:
    return Tail(without_result(tail.p, failed), without_result(tail.neg_log10, failed))
