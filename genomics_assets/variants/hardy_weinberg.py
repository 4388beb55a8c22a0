"""Exact test of Hardy-Weinberg equilibrium, for many variants at once.

The test of Wigginton, Cutler and Abecasis (2005), doi:10.1086/429864: given the number of copies of the rarer
allele, the number of heterozygotes has a known distribution; the p value is the summed probability of every
number that is no more likely than the one observed. The paper walks outward from the most likely number; here
the walk starts at the observed one, so that all rows take their steps together and no distribution is kept.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# Numbers as likely as the observed one count too, and each step of a walk rounds by about 1e-16.
_AS_LIKELY = 1 + 1e-11
# Relative to the observed number; what lies beyond cannot change a double.
_NEGLIGIBLE = 1e-20

_Counts = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]


def exact_p(het: npt.ArrayLike, hom_alt: npt.ArrayLike, hom_ref: npt.ArrayLike) -> _Floats:
    """Two-sided exact p values of Hardy-Weinberg equilibrium.

    The two homozygotes may change places. A p value below the smallest double is 0.

    Args:
        het: heterozygous diploid calls of each variant, shape (variants,), integers.
        hom_alt: homozygous calls of one allele, same shape.
        hom_ref: homozygous calls of the other allele, same shape.

    Returns:
        Shape (variants,), float64 in [0, 1]; NaN where a variant has no diploid call.

    Raises:
        ValueError: the shapes differ, or a count is negative.

    >>> exact_p([2, 0], [0, 1], [1, 0]).round(6).tolist()
    [1.0, 1.0]
    >>> exact_p([4], [0], [0])  # 4 heterozygotes of 4: 16/70 of the arrangements; 0 of 4: 6/70
    array([0.31428571])
    """
    hets, homs, other_homs = (np.asarray(counts, dtype=np.int64) for counts in (het, hom_alt, hom_ref))
    if not hets.shape == homs.shape == other_homs.shape or hets.ndim != 1:
        raise ValueError(
            f"genotype counts of shapes {hets.shape}, {homs.shape}, {other_homs.shape} are not one a variant"
        )
    if not hets.size:
        return np.empty(0)
    if (hets < 0).any() or (homs < 0).any() or (other_homs < 0).any():
        raise ValueError("a genotype count is negative")
    rare, common = np.minimum(homs, other_homs), np.maximum(homs, other_homs)
    # A pair fits 64 bits where a triple would not.
    base = int(np.maximum(hets, common).max()) + 1
    _, pair = np.unique(hets * base + rare, return_inverse=True)
    _, first, row = np.unique(pair * base + common, return_index=True, return_inverse=True)
    p = _p_of_distinct(hets[first], rare[first], common[first])
    return p[row]


def _p_of_distinct(het: _Counts, rare: _Counts, common: _Counts) -> _Floats:
    more_likely, no_more_likely = np.zeros(het.size), np.ones(het.size)
    for step in (+1, -1):
        _walk(step, het, rare, common, more_likely, no_more_likely)
    p = no_more_likely / (no_more_likely + more_likely)
    p[het + rare + common == 0] = np.nan
    return p


def _walk(
    step: int, het: _Counts, rare: _Counts, common: _Counts, more_likely: _Floats, no_more_likely: _Floats
) -> None:
    """Add up the likelihoods of more (step 1) or fewer (step -1) heterozygotes; the observed number has 1."""
    rows: _Counts = np.arange(het.size)
    weight: _Floats = np.ones(het.size)
    # Floats: products of counts pass 2**53 only where a rounding does no harm, and never overflow.
    hets, rares, commons = het.astype(np.float64), rare.astype(np.float64), common.astype(np.float64)
    while True:
        room = (rares > 0) if step > 0 else (hets > 1)
        # The distribution has one peak: once a weight is negligible, so is all that follows; an infinite one
        # leaves p at 0 whatever follows.
        keep = room & (weight > _NEGLIGIBLE) & (weight < np.inf)
        if not keep.all():
            rows, weight = rows[keep], weight[keep]
            hets, rares, commons = hets[keep], rares[keep], commons[keep]
        if not rows.size:
            return
        with np.errstate(over="ignore"):
            if step > 0:
                weight = weight * (4 * rares * commons / ((hets + 2) * (hets + 1)))
            else:
                weight = weight * (hets * (hets - 1) / (4 * (rares + 1) * (commons + 1)))
            hets, rares, commons = hets + 2 * step, rares - step, commons - step
            likely = weight > _AS_LIKELY
            more_likely[rows] += np.where(likely, weight, 0.0)
            no_more_likely[rows] += np.where(likely, 0.0, weight)
