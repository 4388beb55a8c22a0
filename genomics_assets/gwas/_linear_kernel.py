"""The sums over samples that a linear test needs, straight from two-bit rows; compiled, imported inside functions only.

The dosages of two neighbouring samples are one of 16 combinations, so the sum of both contributions is looked up, not
computed: a table for each pair of samples, sixteen entries of eight sums each, small enough for the first cache.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from genomics_assets.gwas.compilation import compiled

LANES = 8
# Bytes of a row that are summed before the next variant's: their tables fill half of a first-level cache.
_TILE = 8


@compiled()
def fill_tables(weights: Any, values: Any, tables: Any) -> None:
    """Tables of the sums of value times weight over two samples.

    Args:
        weights: float64 (samples, columns): rows a multiple of 32, columns one of `LANES`.
        values: float64 (columns, 4): what each of the four codes counts in each column.
        tables: float64 (columns / LANES, samples / 2, 16, LANES), filled.
    """
    for group in range(tables.shape[0]):
        for pair in range(tables.shape[1]):
            for entry in range(16):
                for lane in range(LANES):
                    column = group * LANES + lane
                    tables[group, pair, entry, lane] = (
                        values[column, entry & 3] * weights[2 * pair, column]
                        + values[column, entry >> 2] * weights[2 * pair + 1, column]
                    )


@compiled(reorder=True)
def dosage_sums(rows: Any, tables: Any, sums: Any) -> None:
    """Add to `sums`, float64 (variants, columns), what the tables give for each row of whole 8-byte words."""
    # Flat and unsigned: no index is tested for being negative, and eight sums stay in two registers.
    flat, stride = tables.reshape(-1), np.uint64(tables.shape[1] * 16 * LANES)
    entry = np.uint64(LANES)
    for group in range(tables.shape[0]):
        for begin in range(0, rows.shape[1], _TILE):
            for j in range(rows.shape[0]):
                row, total = rows[j], sums[j, group * LANES : group * LANES + LANES]
                s0, s1, s2, s3 = total[0], total[1], total[2], total[3]
                s4, s5, s6, s7 = total[4], total[5], total[6], total[7]
                for place in range(begin, begin + _TILE):
                    byte, pairs = (
                        np.uint64(row[place]),
                        np.uint64(group) * stride + np.uint64(place) * np.uint64(32) * entry,
                    )
                    low = pairs + (byte & np.uint64(15)) * entry
                    high = pairs + (np.uint64(16) + (byte >> np.uint64(4))) * entry
                    s0 += flat[low] + flat[high]
                    s1 += flat[low + np.uint64(1)] + flat[high + np.uint64(1)]
                    s2 += flat[low + np.uint64(2)] + flat[high + np.uint64(2)]
                    s3 += flat[low + np.uint64(3)] + flat[high + np.uint64(3)]
                    s4 += flat[low + np.uint64(4)] + flat[high + np.uint64(4)]
                    s5 += flat[low + np.uint64(5)] + flat[high + np.uint64(5)]
                    s6 += flat[low + np.uint64(6)] + flat[high + np.uint64(6)]
                    s7 += flat[low + np.uint64(7)] + flat[high + np.uint64(7)]
                total[0], total[1], total[2], total[3] = s0, s1, s2, s3
                total[4], total[5], total[6], total[7] = s4, s5, s6, s7


@compiled(reorder=True)
def missing_sums(words: Any, weights: Any, sums: Any) -> None:
    """Add to `sums`, float64 (variants, columns), the weights of the samples whose call is missing.

    Args:
        words: uint64 (variants, row words).
        weights: float64 (samples, columns).
        sums: what is added to.
    """
    low = np.uint64(0x5555555555555555)
    columns = weights.shape[1]
    for j in range(words.shape[0]):
        total = sums[j]
        for place in range(words.shape[1]):
            word = words[j, place]
            bits = word & ~(word >> np.uint64(1)) & low
            sample = 32 * place
            while bits:
                byte = bits & np.uint64(0xFF)
                if byte:
                    for within in range(4):
                        if (byte >> np.uint64(2 * within)) & np.uint64(1):
                            weight = weights[sample + within]
                            for column in range(columns):
                                total[column] += weight[column]
                bits >>= np.uint64(8)
                sample += 4


@compiled()
def complete_case_terms(
    sums: Any,
    gone: Any,
    squares: Any,
    has_missing: Any,
    covariates: int,
    traits: int,
    num: Any,
    den: Any,
    left: Any,
) -> None:
    """Numerators, denominators and residual sums of squares of y on g given the covariates, over complete cases.

    With Q orthonormal over all samples, leaving out the samples M whose call is missing changes Q'Q to I - sum over M of
    qq', and likewise Q'y, which is 0 over all, and y'y, which is 1.

    Args:
        sums: (variants, columns): g'Q, then g'y for each trait.
        gone: (variants, columns): over the missing samples the upper triangle of qq', then q y for each trait, then yy.
        squares: (variants,) g'g.
        has_missing: (variants,) whether `gone` counts.
        covariates: k, columns of Q.
        traits: t.
        num: (variants, t), filled with g'My, where M projects on what the covariates leave.
        den: (variants,), filled with g'Mg; NaN where the covariates are collinear among the complete cases.
        left: (variants, t), filled with y'My.
    """
    k = covariates
    lower = np.empty((k, k))
    solved_g, solved_y = np.empty(k), np.empty(k)
    pairs = k * (k + 1) // 2
    for j in range(sums.shape[0]):
        if not has_missing[j]:
            total = squares[j]
            for a in range(k):
                total -= sums[j, a] * sums[j, a]
            den[j] = total
            for trait in range(traits):
                num[j, trait] = sums[j, k + trait]
                left[j, trait] = 1.0
            continue
        # Cholesky of Q'Q over the complete cases, then half-solves: products of those are quadratic forms.
        at = 0
        for a in range(k):
            for b in range(a, k):
                lower[b, a] = (1.0 if a == b else 0.0) - gone[j, at]
                at += 1
        definite = True
        for a in range(k):
            pivot = lower[a, a]
            for b in range(a):
                pivot -= lower[a, b] * lower[a, b]
            if not pivot > 1e-9:
                definite = False
                break
            pivot = math.sqrt(pivot)
            lower[a, a] = pivot
            for c in range(a + 1, k):
                value = lower[c, a]
                for b in range(a):
                    value -= lower[c, b] * lower[a, b]
                lower[c, a] = value / pivot
        if not definite:
            den[j] = np.nan
            for trait in range(traits):
                num[j, trait] = np.nan
                left[j, trait] = np.nan
            continue
        total = squares[j]
        for a in range(k):
            value = sums[j, a]
            for b in range(a):
                value -= lower[a, b] * solved_g[b]
            solved_g[a] = value / lower[a, a]
            total -= solved_g[a] * solved_g[a]
        den[j] = total
        for trait in range(traits):
            top, rest = sums[j, k + trait], 1.0 - gone[j, pairs + k * traits + trait]
            for a in range(k):
                value = -gone[j, pairs + k * trait + a]
                for b in range(a):
                    value -= lower[a, b] * solved_y[b]
                solved_y[a] = value / lower[a, a]
                top -= solved_g[a] * solved_y[a]
                rest -= solved_y[a] * solved_y[a]
            num[j, trait] = top
            left[j, trait] = rest
