"""Logistic regression of a trait on one variant after another; compiled, imported inside functions only.

Newton's method on the log-likelihood, and Firth's (1993, doi:10.1093/biomet/80.1.27) on the one penalised by half the
logarithm of the information's determinant (Heinze and Schemper 2002, doi:10.1002/sim.1047), with step-halving.
Samples are worked on in pieces that stay in the first cache.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from genomics_assets.gwas.compilation import compiled

CONVERGED, DIVERGED = 0, 1

_PIECE = 512
# A log odds ratio beyond this means that the trait is separated.
_FARTHEST = 30.0
_LONGEST_STEP = 5.0
_LOG2_E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 6.93145751953125e-1, 1.42860682030941723212e-6
_ROUNDED = 6755399441055744.0


@compiled()
def _exp_of_negative(eta: Any, out: Any, bits: Any, floats: Any, size: int) -> None:
    """Make out = exp(-eta), vectorised: Cody and Waite's reduction, a Taylor polynomial, and the exponent's bits."""
    for i in range(size):
        x = min(max(-eta[i], -700.0), 700.0)
        n = np.floor(x * _LOG2_E + 0.5)
        floats[i] = n + _ROUNDED
        r = x - n * _LN2_HIGH - n * _LN2_LOW
        p = 1 / 39916800.0
        p = p * r + 1 / 3628800.0
        p = p * r + 1 / 362880.0
        p = p * r + 1 / 40320.0
        p = p * r + 1 / 5040.0
        p = p * r + 1 / 720.0
        p = p * r + 1 / 120.0
        p = p * r + 1 / 24.0
        p = p * r + 1 / 6.0
        p = p * r + 0.5
        p = p * r + 1.0
        out[i] = p * r + 1.0
    for i in range(size):
        bits[i] = (bits[i] << 52) + (1023 << 52)
    for i in range(size):
        out[i] *= floats[i]


@compiled(reorder=True)
def _predict(b: Any, x: Any, g: Any, k: int, begin: int, size: int, eta: Any) -> None:
    effect = b[k]
    for i in range(size):
        eta[i] = effect * g[begin + i]
    for a in range(k):
        weight, row = b[a], x[a]
        for i in range(size):
            eta[i] += weight * row[begin + i]


@compiled(reorder=True)
def _weigh(e: Any, y: Any, seen: Any, g: Any, begin: int, size: int, w: Any, wg: Any, r: Any) -> None:
    """From e = exp(-eta): weights, weighted dosages and residuals of the samples that are seen."""
    for i in range(size):
        mu = 1.0 / (1.0 + e[i])
        s = seen[begin + i]
        w[i] = mu * (1.0 - mu) * s
        r[i] = (y[begin + i] - mu) * s
    for i in range(size):
        wg[i] = w[i] * g[begin + i]


@compiled(reorder=True)
def _dot(u: Any, v: Any, begin: int, size: int) -> float:
    total = 0.0
    for i in range(size):
        total += u[i] * v[begin + i]
    return total


@compiled(reorder=True)
def _dot_four(u: Any, rows: Any, first: int, begin: int, size: int, totals: Any) -> None:
    r0, r1, r2, r3 = rows[first], rows[first + 1], rows[first + 2], rows[first + 3]
    t0 = t1 = t2 = t3 = 0.0
    for i in range(size):
        value = u[i]
        t0 += value * r0[begin + i]
        t1 += value * r1[begin + i]
        t2 += value * r2[begin + i]
        t3 += value * r3[begin + i]
    totals[first] += t0
    totals[first + 1] += t1
    totals[first + 2] += t2
    totals[first + 3] += t3


@compiled()
def _evaluate(
    b: Any, x: Any, xx: Any, y: Any, seen: Any, g: Any, k: int, h: Any, u: Any, work: Any, bits: Any, kept_w: Any,
    kept_r: Any,
) -> None:  # fmt: skip
    """Information `h` and score `u` at `b`; weights and residuals of all samples where `kept_w` has room."""
    n, pairs = len(y), xx.shape[0]
    eta, e, w, wg, r = work[0], work[1], work[2], work[3], work[4]
    floats = bits.view(np.float64)
    sums = np.zeros(pairs)
    sums_g, sums_r = np.zeros(x.shape[0]), np.zeros(x.shape[0])
    hgg = ug = 0.0
    for begin in range(0, n, _PIECE):
        size = min(_PIECE, n - begin)
        _predict(b, x, g, k, begin, size, eta)
        _exp_of_negative(eta, e, bits, floats, size)
        _weigh(e, y, seen, g, begin, size, w, wg, r)
        hgg += _dot(wg, g, begin, size)
        ug += _dot(r, g, begin, size)
        for first in range(0, pairs, 4):
            _dot_four(w, xx, first, begin, size, sums)
        for first in range(0, x.shape[0], 4):
            _dot_four(wg, x, first, begin, size, sums_g)
            _dot_four(r, x, first, begin, size, sums_r)
        if len(kept_w):
            for i in range(size):
                kept_w[begin + i] = w[i]
                kept_r[begin + i] = r[i]
    at = 0
    for a in range(k):
        for c in range(a, k):
            h[a, c] = h[c, a] = sums[at]
            at += 1
        h[a, k] = h[k, a] = sums_g[a]
        u[a] = sums_r[a]
    h[k, k] = hgg
    u[k] = ug


@compiled()
def _factorize(h: Any, lower: Any, size: int) -> bool:
    """Cholesky's factor of h; False where h is not positive definite."""
    for j in range(size):
        pivot = h[j, j]
        for t in range(j):
            pivot -= lower[j, t] * lower[j, t]
        if not pivot > 1e-11 * h[j, j]:
            return False
        pivot = math.sqrt(pivot)
        lower[j, j] = pivot
        for i in range(j + 1, size):
            value = h[i, j]
            for t in range(j):
                value -= lower[i, t] * lower[j, t]
            lower[i, j] = value / pivot
    return True


@compiled()
def _solve(lower: Any, u: Any, d: Any, size: int) -> None:
    for i in range(size):
        value = u[i]
        for t in range(i):
            value -= lower[i, t] * d[t]
        d[i] = value / lower[i, i]
    for i in range(size - 1, -1, -1):
        value = d[i]
        for t in range(i + 1, size):
            value -= lower[t, i] * d[t]
        d[i] = value / lower[i, i]


@compiled()
def _decode(row: Any, seen: Any, filler: float, filled: bool, g: Any, now_seen: Any) -> None:
    """Dosages of a row; a missing one is `filler` where it is to be filled, else its sample is not seen."""
    for place in range(len(g) // 4):
        byte = row[place]
        for within in range(4):
            code = (byte >> (2 * within)) & 3
            i = 4 * place + within
            g[i] = 2.0 if code == 0 else (1.0 if code == 2 else 0.0)
            now_seen[i] = seen[i]
            if code == 1:
                g[i] = filler if filled else 0.0
                now_seen[i] = seen[i] if filled else 0.0


@compiled()
def newton(
    rows: Any, which: Any, x: Any, xx: Any, y: Any, seen: Any, k: int, fillers: Any, filled: bool, start: Any,
    tolerance: float, most: int, beta: Any, se: Any, state: Any,
) -> None:  # fmt: skip
    """Maximum-likelihood estimates of the variants `which`, into beta, se and state at their places.

    Args:
        rows: uint8 (variants, samples / 4).
        which: int64, rows to fit.
        x: float64 (k filled up to a multiple of 4, samples): covariates.
        xx: float64 (k (k + 1) / 2 filled up to a multiple of 4, samples): their products.
        y: float64 (samples,).
        seen: float64 (samples,), 1 for the samples that are analysed.
        k: number of covariates.
        fillers: float64 (variants,), dosages for missing calls.
        filled: whether missing calls are filled; else their samples are left out.
        start: float64 (variants, k + 1), where to begin.
        tolerance: of the last step, relative.
        most: steps at most.
        beta: filled with the log odds ratio of one copy.
        se: filled with its standard error.
        state: filled with CONVERGED or DIVERGED.
    """
    n, size = len(y), k + 1
    g, now = np.empty(n), np.empty(n)
    h, lower = np.empty((size, size)), np.empty((size, size))
    u, d = np.empty(size), np.empty(size)
    work, bits, nothing = np.empty((5, _PIECE)), np.empty(_PIECE, np.int64), np.empty(0)
    for j in which:
        _decode(rows[j], seen, fillers[j], filled, g, now)
        b = start[j]
        state[j] = DIVERGED
        for _ in range(most):
            _evaluate(b, x, xx, y, now, g, k, h, u, work, bits, nothing, nothing)
            if not _factorize(h, lower, size):
                break
            _solve(lower, u, d, size)
            step = 0.0
            for a in range(size):
                b[a] += d[a]
                step = max(step, abs(d[a]) / (1 + abs(b[a])))
            beta[j], se[j] = b[k], 1.0 / lower[k, k]
            if not abs(b[k]) < _FARTHEST:
                break
            if step < tolerance:
                state[j] = CONVERGED
                break


@compiled()
def _penalized(b: Any, x: Any, y: Any, seen: Any, g: Any, k: int, lower: Any, work: Any) -> float:
    """The log-likelihood with half the logarithm of the information's determinant, given the information's factor."""
    total, eta = 0.0, work[0]
    for begin in range(0, len(y), _PIECE):
        size = min(_PIECE, len(y) - begin)
        _predict(b, x, g, k, begin, size, eta)
        for i in range(size):
            if seen[begin + i] > 0:
                value = eta[i] if y[begin + i] > 0.5 else -eta[i]
                total += -math.log1p(math.exp(-value)) if value > -30 else value
    for a in range(k + 1):
        total += math.log(lower[a, a])
    return total


@compiled()
def firth(
    rows: Any, which: Any, x: Any, xx: Any, y: Any, seen: Any, k: int, fillers: Any, filled: bool, start: Any,
    tolerance: float, most: int, beta: Any, se: Any, state: Any,
) -> None:  # fmt: skip
    """Estimates that maximise the penalised likelihood; the arguments are those of `newton`.

    The standard error is that of the inverse information at the maximum.
    """
    n, size = len(y), k + 1
    g, now, w, r = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    h, lower, inverse = np.empty((size, size)), np.empty((size, size)), np.empty((size, size))
    u, d, unit, xi, trial = np.empty(size), np.empty(size), np.empty(size), np.empty(size), np.empty(size)
    before = np.empty(size)
    work, bits = np.empty((5, _PIECE)), np.empty(_PIECE, np.int64)
    for j in which:
        _decode(rows[j], seen, fillers[j], filled, g, now)
        b = start[j].copy()
        state[j] = DIVERGED
        _evaluate(b, x, xx, y, now, g, k, h, u, work, bits, w, r)
        if not _factorize(h, lower, size):
            continue
        best = _penalized(b, x, y, now, g, k, lower, work)
        damping, before[:] = 1.0, 0.0
        for _ in range(most):
            for a in range(size):
                unit[:] = 0.0
                unit[a] = 1.0
                _solve(lower, unit, d, size)
                inverse[a] = d
            # Firth's score: residuals plus leverage times (1/2 - mu); y - mu is the residual, so mu = y - r.
            for i in range(n):
                if now[i] > 0:
                    for a in range(k):
                        xi[a] = x[a, i]
                    xi[k] = g[i]
                    leverage = 0.0
                    for a in range(size):
                        along = 0.0
                        for c in range(size):
                            along += inverse[a, c] * xi[c]
                        leverage += along * xi[a]
                    added = w[i] * leverage * (0.5 - (y[i] - r[i]))
                    for a in range(size):
                        u[a] += added * xi[a]
            _solve(lower, u, d, size)
            longest = along = earlier = 0.0
            for a in range(size):
                longest = max(longest, abs(d[a]))
                along += d[a] * before[a]
                earlier += before[a] * before[a]
                before[a] = d[a]
            # The penalty's own curvature is left out of the information: for an allele or two a full step goes
            # twice as far as it should, back and forth for ever.
            if along < -0.25 * earlier:
                damping *= 0.5
            beta[j], se[j] = b[k], 1.0 / lower[k, k]
            if longest < tolerance:
                state[j] = CONVERGED
                break
            scale = min(damping, _LONGEST_STEP / longest)
            improved = False
            for _halving in range(25):
                for a in range(size):
                    trial[a] = b[a] + scale * d[a]
                _evaluate(trial, x, xx, y, now, g, k, h, u, work, bits, w, r)
                if _factorize(h, lower, size):
                    now_best = _penalized(trial, x, y, now, g, k, lower, work)
                    if now_best >= best - 1e-10:
                        improved = True
                        break
                scale *= 0.5
            if not improved:
                break
            best = now_best
            b[:] = trial
