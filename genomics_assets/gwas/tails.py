"""Tail probabilities of test statistics, with -log10 p beside p: that one is right where p is too small for a double.

Student's t beyond the range of doubles: the incomplete beta function's series (DLMF 8.17.8,
https://dlmf.nist.gov/8.17.E8). The normal's: scipy's `log_ndtr`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Where p is smaller, its logarithm is computed by itself.
_SMALLEST = 1e-290
_LOG10_E = 0.43429448190325182765
_MOST_TERMS = 2000


class Tail(NamedTuple):
    """p values and their negative decadic logarithms; float64, NaN where the statistic is."""

    p: Floats
    neg_log10: Floats


def two_sided_t(t: npt.ArrayLike, freedom: npt.ArrayLike) -> Tail:
    """Two-sided p of Student's t.

    >>> tail = two_sided_t([0.0, 2.0, 1000.0], [10, 10, 1000])
    >>> tail.p.round(6).tolist(), tail.neg_log10.round(2).tolist()
    ([1.0, 0.073388, 0.0], [0.0, 1.13, 1501.81])
    """
    from scipy.special import stdtr

    size = np.abs(np.asarray(t, dtype=np.float64))
    df = np.broadcast_to(np.asarray(freedom, dtype=np.float64), size.shape)
    p = 2 * stdtr(df, -size)
    return _with_logarithms(p, lambda far: _log10_t(size[far], df[far]))


def two_sided_normal(z: npt.ArrayLike) -> Tail:
    """Two-sided p of a standard normal statistic.

    >>> [round(float(part[0]), 4) for part in two_sided_normal([40.0])]
    [0.0, 349.136]
    """
    from scipy.special import log_ndtr, ndtr

    size = -np.abs(np.asarray(z, dtype=np.float64))
    return _with_logarithms(2 * ndtr(size), lambda far: (log_ndtr(size[far]) + np.log(2)) * _LOG10_E)


def chi_square_1(x: npt.ArrayLike) -> Tail:
    """Upper tail of chi-square with one degree of freedom."""
    return two_sided_normal(np.sqrt(np.asarray(x, dtype=np.float64)))


def chi_square_2(x: npt.ArrayLike) -> Tail:
    """Upper tail of chi-square with two degrees of freedom, exp(-x / 2)."""
    half = np.asarray(x, dtype=np.float64) / 2
    return Tail(np.exp(-half), half * _LOG10_E)


def _with_logarithms(p: Floats, log10_of: object) -> Tail:
    far = ~(p > _SMALLEST) & ~np.isnan(p)
    with np.errstate(divide="ignore"):
        logarithms = -np.log10(p)
    if far.any():
        logarithms[far] = -log10_of(far)  # type: ignore[operator]
    return Tail(p, logarithms + 0.0)


def _log10_t(size: Floats, df: Floats) -> Floats:
    """log10 of the two-sided p, I_x(a, 1/2) with a = df / 2 and x = df / (df + t^2), by its hypergeometric series."""
    from scipy.special import gammaln

    a, b = df / 2, 0.5
    x = df / (df + size * size)
    term, total = np.ones_like(x), np.ones_like(x)
    for k in range(_MOST_TERMS):
        term = term * (a + b + k) / (a + 1 + k) * x
        total += term
        if np.all(term < 1e-17 * total):
            break
    log_beta = gammaln(a) + gammaln(b) - gammaln(a + b)
    return np.asarray((a * np.log(x) + b * np.log1p(-x) - np.log(a) - log_beta + np.log(total)) * _LOG10_E)
