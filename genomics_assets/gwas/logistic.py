"""Logistic regression of a binary trait on each variant: Wald's test, with Firth's correction where that fails.

As in PLINK 2 (`--glm firth-fallback`), Firth's penalised likelihood takes over where a cell of the 2 x 2 table of
alleles by cases and controls is empty, or where Newton's method does not converge.
"""

from __future__ import annotations

import numpy as np

from genomics_assets.gwas.association import Block, Found, Samples, Untested, products, without_result
from genomics_assets.gwas.genotype_matrix import (
    Bools,
    CallCounts,
    Counts,
    Floats,
    count_calls,
    sample_mask,
)
from genomics_assets.gwas.job_settings import Missing
from genomics_assets.gwas.phenotypes import Trait
from genomics_assets.gwas.tails import two_sided_normal

_TOLERANCE = 1e-6
_NULL_TOLERANCE = 1e-12
_MOST_STEPS, _MOST_FIRTH_STEPS = 25, 100
_WALD, _FIRTH = "logistic", "firth"
# Codes' values in sums over dosages and over their squares.
_DOSAGE, _SQUARE = (2.0, 0.0, 1.0, 0.0), (4.0, 0.0, 1.0, 0.0)


class LogisticTest:
    """The test of one binary trait.

    Args:
        trait: 0 for controls, 1 for cases.
        samples: who is analysed; the trait is known in all of them.
        missing: `complete` leaves out samples whose call is missing, `mean` takes the mean dosage for them.
    """

    def __init__(self, trait: Trait, samples: Samples, missing: Missing) -> None:
        from genomics_assets.gwas import _linear_kernel as kernel

        self.names = [trait.name]
        self._samples = samples
        self._imputed = missing == "mean"
        cases = samples.used & (trait.values == 1)
        self._cases = sample_mask(cases)
        x = samples.basis * np.sqrt(max(samples.count, 1))
        self._k = k = x.shape[1]
        self._null = _null_model(x[samples.used], cases[samples.used].astype(np.float64))
        mu = np.where(samples.used, 1 / (1 + np.exp(-x @ self._null)), 0.0)
        weight, residual = mu * (1 - mu), cases - mu
        # Sums for the first step from the model without genotypes: g'Wx, g'r, and g'Wg in a column of squares.
        columns = samples.padded(np.column_stack([weight[:, None] * x, residual, weight]))
        values = np.tile(np.array(_DOSAGE), (columns.shape[1], 1))
        values[k + 1] = _SQUARE
        self._tables = np.empty((columns.shape[1] // kernel.LANES, len(columns) // 2, 16, kernel.LANES))
        kernel.fill_tables(columns, values, self._tables)
        self._width = columns.shape[1]
        self._gone = samples.padded(
            np.column_stack(
                [weight[:, None] * products(x), residual[:, None] * x, columns[: len(x), : k + 2]]
            )
        )
        self._information = (x * weight[:, None]).T @ x
        self._x = _by_fours(samples.padded(x)[:, :k])
        self._xx = _by_fours(samples.padded(products(x))[:, : k * (k + 1) // 2])
        self._y = samples.padded(cases[:, None].astype(np.float64))[:, 0].copy()
        self._seen = samples.padded(samples.used[:, None].astype(np.float64))[:, 0].copy()

    def run(self, block: Block) -> list[Found]:
        """Results for the trait."""
        from genomics_assets.gwas import _logistic_kernel as kernel

        counts = count_calls(block.rows, self._samples.mask)
        in_cases = count_calls(block.rows, self._cases)
        mean = counts.copies / np.maximum(counts.called, 1)
        untestable, reason = self._untestable(counts, in_cases)
        beta, se = np.full(len(block), np.nan), np.full(len(block), np.nan)
        state = np.full(len(block), kernel.DIVERGED, dtype=np.int8)
        start = self._first_step(block, counts, mean, untestable)
        firth = _has_empty_cell(counts, in_cases) & ~untestable
        arguments = (self._x, self._xx, self._y, self._seen, self._k, mean, self._imputed)
        plain = np.flatnonzero(~untestable & ~firth)
        kernel.newton(block.rows, plain, *arguments, start, _TOLERANCE, _MOST_STEPS, beta, se, state)
        firth[plain] = (state[plain] != kernel.CONVERGED) | ~np.isfinite(se[plain])
        start[firth] = np.append(self._null, 0.0)
        kernel.firth(
            block.rows,
            np.flatnonzero(firth),
            *arguments,
            start,
            _TOLERANCE,
            _MOST_FIRTH_STEPS,
            beta,
            se,
            state,
        )
        unfinished = ~untestable & ((state != kernel.CONVERGED) | ~np.isfinite(se))
        reason[unfinished] = Untested.NO_CONVERGENCE.value
        failed = untestable | unfinished
        z = without_result(beta / se, failed)
        one_copy = np.where(block.haploid, 2.0, 1.0)
        return [
            Found(
                beta=without_result(beta * one_copy, failed),
                se=without_result(se * one_copy, failed),
                statistic=z,
                tail=two_sided_normal(z),
                n=np.full(len(block), self._samples.count) if self._imputed else counts.called,
                frequency=self._samples.frequency(block, counts),
                test=np.where(firth, _FIRTH, _WALD).astype(object),
                reason=reason,
            )
        ]

    def _untestable(
        self, counts: CallCounts, in_cases: CallCounts
    ) -> tuple[Bools, np.ndarray[tuple[int], np.dtype[np.object_]]]:
        n: Counts = counts.called
        constant = (counts.copies == 0) | (counts.two == n) | (counts.one == n)
        one_class = (in_cases.called == 0) | (in_cases.called == n)
        too_few = n < self._k + 2
        reason = np.select(
            [too_few, one_class, constant],
            [Untested.TOO_FEW.value, Untested.ONE_CLASS.value, Untested.NO_VARIATION.value],
            "",
        ).astype(object)
        return constant | one_class | too_few, reason

    def _first_step(self, block: Block, counts: CallCounts, mean: Floats, untestable: Bools) -> Floats:
        """Coefficients after one step of Newton's method from the model without genotypes; (variants, k + 1)."""
        from genomics_assets.gwas import _linear_kernel as kernel

        k, pairs = self._k, self._k * (self._k + 1) // 2
        sums = np.zeros((len(block), self._width))
        kernel.dosage_sums(block.rows, self._tables, sums)
        information = np.empty((len(block), k + 1, k + 1))
        information[:, :k, :k] = self._information
        score = np.zeros((len(block), k + 1))
        if counts.missing.any():
            gone = np.zeros((len(block), self._gone.shape[1]))
            kernel.missing_sums(block.rows.view(np.uint64), self._gone, gone)
            if self._imputed:
                added = gone[:, pairs + k : pairs + 2 * k + 2]
                sums[:, : k + 1] += mean[:, None] * added[:, : k + 1]
                sums[:, k + 1] += mean**2 * added[:, k + 1]
            else:
                first, second = np.triu_indices(k)
                information[:, first, second] -= gone[:, :pairs]
                information[:, second, first] = information[:, first, second]
                score[:, :k] = -gone[:, pairs : pairs + k]
        information[:, :k, k] = information[:, k, :k] = sums[:, :k]
        information[:, k, k] = sums[:, k + 1]
        score[:, k] = sums[:, k]
        information[untestable] = np.eye(k + 1)
        try:
            step = np.linalg.solve(information, score[:, :, None])[:, :, 0]
        except np.linalg.LinAlgError:
            step = np.zeros_like(score)
        # A step that leads too far is no better a beginning than none.
        step[~(np.abs(step).max(axis=1) < 5)] = 0.0
        step[:, :k] += self._null
        return np.ascontiguousarray(step)


def _has_empty_cell(counts: CallCounts, in_cases: CallCounts) -> Bools:
    """Whether cases or controls lack one of the alleles."""
    other, other_called = counts.copies - in_cases.copies, counts.called - in_cases.called
    return np.asarray(
        (in_cases.copies == 0)
        | (in_cases.copies == 2 * in_cases.called)
        | (other == 0)
        | (other == 2 * other_called)
    )


def _null_model(x: Floats, y: Floats) -> Floats:
    """Coefficients of the model without genotypes; zeros where it has no finite maximum."""
    b = np.zeros(x.shape[1])
    for _ in range(_MOST_STEPS):
        mu = 1 / (1 + np.exp(-x @ b))
        weight = mu * (1 - mu)
        try:
            step = np.linalg.solve((x * weight[:, None]).T @ x, x.T @ (y - mu))
        except np.linalg.LinAlgError:
            return np.zeros_like(b)
        b += step
        if np.abs(step).max(initial=0.0) < _NULL_TOLERANCE:
            break
    return b if np.all(np.abs(b) < 30) else np.zeros_like(b)


def _by_fours(columns: Floats) -> Floats:
    """Columns as rows, with rows of 0 up to a multiple of 4."""
    rows = np.zeros((-(-columns.shape[1] // 4) * 4, len(columns)))
    rows[: columns.shape[1]] = columns.T
    return rows


__all__ = ["LogisticTest"]
