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
from genomics_assets.gwas.genotype_matrix import CODES, MISSING

CONVERGED, DIVERGED = 0, 1

_PIECE = 512
# A log odds ratio beyond this means that the trait is separated.
_FARTHEST = 30.0
_LONGEST_STEP = 5.0
_LOG2_E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 6.93145751953125e-1, 1.42860682030941723212e-6
_ROUNDED = 6755399441055744.0
# By byte of four codes: copies, and whether the call is missing.
_DOSAGES = np.array([2.0, 0.0, 1.0, 0.0])[CODES]
_UNKNOWN = (CODES == MISSING).astype(np.float64)

# Pieces are slices: an index that is a sum could be negative for all that the compiler knows, and such loops stay scalar.


@compiled()
def _exp_of_negative(eta: Any, out: Any, bits: Any, floats: Any, size: int) -> None:
    """Make out = exp(-eta) to 1e-11, vectorised: Cody and Waite's reduction, a Taylor polynomial, the exponent's bits."""
    for i in range(size):
        x = min(max(-eta[i], -700.0), 700.0)
        shifted = x * _LOG2_E + _ROUNDED
        floats[i] = shifted
        n = shifted - _ROUNDED
        r = x - n * _LN2_HIGH - n * _LN2_LOW
        p = 1 / 362880.0
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
    effect, dosage = b[k], g[begin : begin + size]
    for i in range(size):
        eta[i] = effect * dosage[i]
    for a in range(0, k - 1, 2):
        b0, b1 = b[a], b[a + 1]
        x0, x1 = x[a, begin : begin + size], x[a + 1, begin : begin + size]
        for i in range(size):
            eta[i] += b0 * x0[i] + b1 * x1[i]
    if k % 2:
        b0, x0 = b[k - 1], x[k - 1, begin : begin + size]
        for i in range(size):
            eta[i] += b0 * x0[i]


@compiled(reorder=True)
def _weigh(e: Any, y: Any, seen: Any, g: Any, w: Any, wg: Any, r: Any) -> None:
    """From e = exp(-eta): weights, weighted dosages and residuals of the samples that are seen."""
    for i in range(len(y)):
        mu = 1.0 / (1.0 + e[i])
        s = seen[i]
        w[i] = mu * (1.0 - mu) * s
        r[i] = (y[i] - mu) * s
        wg[i] = w[i] * g[i]


@compiled(reorder=True)
def _dot_both(u: Any, v: Any, row: Any) -> tuple[float, float]:
    of_u = of_v = 0.0
    for i in range(len(row)):
        of_u += u[i] * row[i]
        of_v += v[i] * row[i]
    return of_u, of_v


@compiled(reorder=True)
def _add_four(u: Any, rows: Any, first: int, begin: int, size: int, totals: Any) -> None:
    """Add the products of u with four rows to their totals."""
    end = begin + size
    r0, r1 = rows[first, begin:end], rows[first + 1, begin:end]
    r2, r3 = rows[first + 2, begin:end], rows[first + 3, begin:end]
    t0 = t1 = t2 = t3 = 0.0
    for i in range(size):
        value = u[i]
        t0 += value * r0[i]
        t1 += value * r1[i]
        t2 += value * r2[i]
        t3 += value * r3[i]
    totals[first] += t0
    totals[first + 1] += t1
    totals[first + 2] += t2
    totals[first + 3] += t3


@compiled(reorder=True)
def _add_two_of_both(
    u: Any, v: Any, rows: Any, first: int, begin: int, size: int, totals_u: Any, totals_v: Any
) -> None:
    """Add the products of u and of v with two rows to their totals."""
    end = begin + size
    r0, r1 = rows[first, begin:end], rows[first + 1, begin:end]
    u0 = u1 = v0 = v1 = 0.0
    for i in range(size):
        of_u, of_v, at_0, at_1 = u[i], v[i], r0[i], r1[i]
        u0 += of_u * at_0
        u1 += of_u * at_1
        v0 += of_v * at_0
        v1 += of_v * at_1
    totals_u[first] += u0
    totals_u[first + 1] += u1
    totals_v[first] += v0
    totals_v[first + 1] += v1


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
        end = begin + size
        _predict(b, x, g, k, begin, size, eta)
        _exp_of_negative(eta, e, bits, floats, size)
        _weigh(e, y[begin:end], seen[begin:end], g[begin:end], w, wg, r)
        of_g = _dot_both(wg, r, g[begin:end])
        hgg += of_g[0]
        ug += of_g[1]
        for first in range(0, pairs, 4):
            _add_four(w, xx, first, begin, size, sums)
        for first in range(0, k, 2):
            _add_two_of_both(wg, r, x, first, begin, size, sums_g, sums_r)
        if len(kept_w):
            kept_w[begin:end] = w[:size]
            kept_r[begin:end] = r[:size]
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
    unknown = filler if filled else 0.0
    for place in range(len(g) // 4):
        byte = row[place]
        for within in range(4):
            g[4 * place + within] = _DOSAGES[byte, within] + unknown * _UNKNOWN[byte, within]
    now_seen[:] = seen
    if filled:
        return
    for place in range(len(g) // 4):
        byte = row[place]
        for within in range(4):
            now_seen[4 * place + within] *= 1.0 - _UNKNOWN[byte, within]


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
