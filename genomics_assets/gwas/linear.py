"""Linear regression of quantitative traits on each variant, exact over the samples whose call is known.

Frisch and Waugh's theorem on sums over two-bit rows: with Q an orthonormal basis of the covariates, the effect of g is
g'y / g'g after Q has been projected out of both. Calls that are missing change Q'Q and Q'y by a few rows, which is
solved for each variant. Several traits of the same samples share all sums over g and Q.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genomics_assets.gwas.association import Block, Found, Samples, Untested, products, without_result
from genomics_assets.gwas.genotype_matrix import CallCounts, Counts, Floats, count_calls
from genomics_assets.gwas.job_settings import Missing
from genomics_assets.gwas.phenotypes import Trait
from genomics_assets.gwas.tails import two_sided_t

# Of g'g, that the covariates must leave: less is rounding.
_LEFT_OVER = 1e-8
_NAME = "linear"


class LinearTest:
    """Tests of some traits that are known in the same samples.

    Args:
        traits: what is regressed.
        samples: who is analysed; each trait is known in all of them.
        missing: `complete` leaves out samples whose call is missing, `mean` takes the mean dosage for them.
    """

    def __init__(self, traits: Sequence[Trait], samples: Samples, missing: Missing) -> None:
        from genomics_assets.gwas import _linear_kernel as kernel

        self.names = [trait.name for trait in traits]
        self._samples = samples
        self._imputed = missing == "mean"
        basis = samples.basis
        self._k = basis.shape[1]
        y = np.column_stack([np.where(samples.used, trait.values, 0.0) for trait in traits])
        y -= basis @ (basis.T @ y)
        # Twice is enough for residuals that are orthogonal to the last bit.
        y -= basis @ (basis.T @ y)
        self._scale = np.linalg.norm(y, axis=0)
        y /= np.where(self._scale > 0, self._scale, 1.0)
        weights = samples.padded(np.column_stack([basis, y]))
        values = np.tile(np.array([2.0, 0.0, 1.0, 0.0]), (weights.shape[1], 1))
        self._tables = np.empty((weights.shape[1] // kernel.LANES, len(weights) // 2, 16, kernel.LANES))
        kernel.fill_tables(weights, values, self._tables)
        self._columns = weights.shape[1]
        gone = [products(basis), *(basis * y[:, [trait]] for trait in range(len(traits))), y**2]
        self._gone = weights if self._imputed else samples.padded(np.column_stack(gone))

    def run(self, block: Block) -> list[Found]:
        """Results for each trait."""
        from genomics_assets.gwas import _linear_kernel as kernel

        counts = count_calls(block.rows, self._samples.mask)
        sums = np.zeros((len(block), self._columns))
        kernel.dosage_sums(block.rows, self._tables, sums)
        gone = np.zeros((len(block), self._gone.shape[1]))
        if counts.missing.any():
            kernel.missing_sums(block.rows.view(np.uint64), self._gone, gone)
        squares: Floats = np.asarray(4.0 * counts.two + counts.one, dtype=np.float64)
        with_missing = counts.missing > 0
        if self._imputed:
            mean = counts.copies / np.maximum(counts.called, 1)
            sums += mean[:, None] * gone
            squares = np.asarray(squares + mean**2 * counts.missing)
            with_missing[:] = False
        shape = (len(block), len(self.names))
        num, den, left = np.empty(shape), np.empty(len(block)), np.empty(shape)
        kernel.complete_case_terms(sums, gone, squares, with_missing, self._k, shape[1], num, den, left)
        return self._found(block, counts, squares, num, den, left)

    def _found(
        self, block: Block, counts: CallCounts, squares: Floats, num: Floats, den: Floats, left: Floats
    ) -> list[Found]:
        n: Counts = np.full(len(block), self._samples.count) if self._imputed else counts.called
        freedom = n - self._k - 1
        constant = (counts.copies == 0) | (counts.two == counts.called) | (counts.one == counts.called)
        too_few = freedom < 1
        collinear = ~(den > _LEFT_OVER * squares)
        reason = np.select(
            [too_few, constant, collinear],
            [Untested.TOO_FEW.value, Untested.NO_VARIATION.value, Untested.COLLINEAR.value],
            "",
        ).astype(object)
        failed = too_few | constant | collinear
        frequency = self._samples.frequency(block, counts)
        # One copy of a haploid call is written as two.
        one_copy = np.where(block.haploid, 2.0, 1.0)
        results = []
        for trait, scale in enumerate(self._scale):
            with np.errstate(divide="ignore", invalid="ignore"):
                beta = num[:, trait] / den
                rest = np.maximum(left[:, trait] - beta * num[:, trait], 0.0)
                se = np.sqrt(rest / freedom / den)
                t = without_result(beta / se, failed)
            results.append(
                Found(
                    beta=without_result(beta * scale * one_copy, failed),
                    se=without_result(se * scale * one_copy, failed),
                    statistic=t,
                    tail=two_sided_t(t, np.maximum(freedom, 1)),
                    n=n,
                    frequency=frequency,
                    test=np.full(len(block), _NAME, dtype=object),
                    reason=reason,
                )
            )
        return results
