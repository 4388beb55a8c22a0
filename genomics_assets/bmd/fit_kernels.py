"""Compiled kernels of `fitting`: maximum likelihood and exact profile-likelihood limits, probe by probe.

Imported inside functions only, because numba is slow to import. Compiled code is kept on disk beside this file (or in
`NUMBA_CACHE_DIR`), so that a machine compiles once.

Every model is a linear combination of a constant and one shape, `mean = g + v·h(x; t1, t2)`, or a pure multiple of a
shape, `mean = a·h(x; t1, t2)`; polynomials are linear altogether. What is linear is eliminated in closed form (variable
projection: Golub and Pereyra 1973, with the Jacobian of Kaufman 1975), so that the search has at most two dimensions.

Limits follow from the likelihood itself. With the benchmark dose held at x0, the change at x0 is known: c·sigma for a
benchmark response in standard deviations, so `mean = g + sigma·w(x)`, where `w = ±c·h(x)/h(x0)`. With u = 1/sigma the
negative log-likelihood is `(u²·Syy - 2u·Syw + Sww)/2 - N·log u`, whose minimum in u solves a quadratic equation. A
limit is the first x0 away from the benchmark dose at which twice the loss of log-likelihood is the quantile asked for.
"""

# mypy: disable-error-code="untyped-decorator, no-untyped-def"
# ruff: noqa: N803, N806, SIM109, SIM300 - N, S and F as in the formulae above; kinds are compared as machines do

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

HILL, POWER, EXP2, EXP3, EXP4, EXP5, POLYNOMIAL = 0, 1, 2, 3, 4, 5, 6
MAXIMUM, SD, ABSOLUTE, RELATIVE = 0, 1, 2, 3
NOT_CONVERGED, NO_BMD, NO_LOWER, NO_UPPER, AT_BOUND = 1, 2, 4, 8, 16

# Columns of `found`, one row for a probe and model; doses are in units of the highest dose.
BMD, BMDL, BMDU, LOG_LIKELIHOOD, SIGMA, PARAMETERS = 0, 1, 2, 3, 4, 5
FOUND_COLUMNS = PARAMETERS + 5

_NO_DOSE = -1e299
_LARGEST_EXPONENT = 3.9
_LOWEST_BELOW, _HIGHEST = 14.0, 8.0
_CLOSE_ENOUGH = 3e-4
_MOST_STARTS = 2
# A profile above the maximum by this much shows a better maximum; below it moves a deviance by less than 0.01.
_BETTER_BY = 4e-3
_ATTEMPTS = 6
_FLATTEST = 1e-3


class Plan(NamedTuple):
    """What all probes of an experiment share.

    J dose groups, M models, G points of the starting grid; polynomial tables are indexed by the set of powers in use
    (bit k: power k + 1).
    """

    log_dose: NDArray[np.float64]  # (J,), -1e300 for dose 0
    sizes: NDArray[np.float64]  # (J,)
    kinds: NDArray[np.int64]  # (M,)
    degrees: NDArray[np.int64]  # (M,)
    monotonic: NDArray[np.bool_]  # (M,)
    bounds: NDArray[np.float64]  # (M, 4): lower and upper of t1, of t2
    points: NDArray[np.int64]  # (M,): how many of the G points are the model's
    columns: NDArray[np.int64]  # (M,): how many of them differ in t2 alone
    grid: NDArray[np.float64]  # (M, G, 2)
    grid_shape: NDArray[np.float64]  # (M, 2, G, J): sizes · (h - mean of h); falling, rising
    grid_square: NDArray[np.float64]  # (M, 2, G): sum of sizes · (h - mean of h)²
    grid_mean: NDArray[np.float64]  # (M, 2, G)
    basis: NDArray[np.float64]  # (16, 5, J): orthonormal under the group sizes, the constant first
    triangle: NDArray[np.float64]  # (16, 5, 5): inverse of R
    terms: NDArray[np.int64]  # (16, 5): the power of each column
    goals: NDArray[np.int64]  # (2,): `MAXIMUM`, and what the limits hold fixed
    change: float
    quantile: float
    restart: bool


_native = njit(cache=True, nogil=True, error_model="numpy")


@_native
def _is_centred(kind):
    return kind != EXP3 and kind != EXP2


@_native
def _has_second(kind):
    return kind == HILL or kind == EXP5 or kind == EXP3


@_native
def _shape(kind, s, lx, t1, p):
    """The shape at log dose lx and its slopes in t1, t2 and lx; p is the exponent (n or d)."""
    if kind == HILL:
        if lx < _NO_DOSE:
            return 0.0, 0.0, 0.0, 0.0
        z = p * (lx - t1)
        e = math.exp(-abs(z))
        q = e / ((1 + e) * (1 + e))
        h = 1 / (1 + e) if z > 0 else e / (1 + e)
        return h, -p * q, z * q, p * q
    if kind == POWER:
        if lx < _NO_DOSE:
            return 0.0, 0.0, 0.0, 0.0
        h = math.exp(p * lx)
        return h, p * lx * h, 0.0, p * h
    if kind == EXP5 or kind == EXP4:
        if lx < _NO_DOSE:
            return 0.0, 0.0, 0.0, 0.0
        z = p * (t1 + lx)
        zz = math.exp(min(z, _LARGEST_EXPONENT))
        e = math.exp(-zz)
        h = 1 - e if zz > 1e-3 else -math.expm1(-zz)
        return h, p * zz * e, z * zz * e, p * zz * e
    # EXP3 and EXP2: t1 is the logarithm of the exponent at the highest dose.
    if lx < _NO_DOSE:
        return 1.0, 0.0, 0.0, 0.0
    zz = math.exp(min(t1 + p * lx, _LARGEST_EXPONENT))
    m = math.exp(s * zz)
    return m, s * zz * m, s * zz * m * p * lx, s * zz * m * p


@_native
def _best_u(Syw, Syy, N):
    """The positive root of Syy·u² - Syw·u - N = 0."""
    q = math.sqrt(Syw * Syw + 4 * N * Syy)
    return (Syw + q) / (2 * Syy) if Syw >= 0 else 2 * N / (q - Syw)


@_native
def _objective(goal, kind, s, signed, c, lx, n, N, y, Syy, lx0, t1, t2, work):
    """Negative log-likelihood (without its constant) at t1, t2, all else at its best.

    Returns it, the linear coefficient (`MAXIMUM`: v or a), its slope in lx0, gradient and Gauss-Newton Hessian.
    `y` is centred where the model has a constant of its own that is eliminated, and raw otherwise.
    """
    m = lx.size
    h, d1, d2 = work[0], work[1], work[2]
    p = math.exp(t1) if kind == POWER else math.exp(t2)
    centred = _is_centred(kind)
    if goal == RELATIVE and not centred:
        return _relative_exponential(s, c, lx, n, N, y, Syy, lx0, p, work)
    for j in range(m):
        h[j], d1[j], d2[j], _ = _shape(kind, s, lx[j], t1, p)
    slope = 0.0
    if goal != MAXIMUM:
        a0, b0, c0, e0 = _shape(kind, s, lx0, t1, p)
        change = a0 if centred else a0 - 1.0
        if abs(change) < 1e-280:
            return 1e300, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0
        f, r1, r2, slope = c / change, b0 / change, c0 / change, e0 / change
        for j in range(m):
            w = f * h[j]
            h[j] = w
            d1[j] = f * d1[j] - w * r1
            d2[j] = f * d2[j] - w * r2
    if goal == RELATIVE:
        for j in range(m):
            work[3, j] = -slope * h[j]
            h[j] += 1.0
        return _projected(False, 0.0, n, N, y, Syy, work)
    if centred:
        mh, m1, m2 = 0.0, 0.0, 0.0
        for j in range(m):
            mh += n[j] * h[j]
            m1 += n[j] * d1[j]
            m2 += n[j] * d2[j]
        mh /= N
        m1 /= N
        m2 /= N
        for j in range(m):
            h[j] -= mh
            d1[j] -= m1
            d2[j] -= m2
    if goal == MAXIMUM:
        return _projected(True, signed, n, N, y, Syy, work)
    Syw, Sww, y1, y2, w1, w2, q11, q12, q22 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(m):
        w, a, b, yn = n[j] * h[j], n[j] * d1[j], n[j] * d2[j], y[j]
        Syw += yn * w
        Sww += h[j] * w
        y1 += yn * a
        y2 += yn * b
        w1 += h[j] * a
        w2 += h[j] * b
        q11 += d1[j] * a
        q12 += d1[j] * b
        q22 += d2[j] * b
    if goal == SD:
        u = _best_u(Syw, Syy, N)
        F = 0.5 * (u * u * Syy - 2 * u * Syw + Sww) - N * math.log(u)
        k = Syy + N / (u * u)
        return (
            F, u, slope * (u * Syw - Sww), w1 - u * y1, w2 - u * y2,
            q11 - y1 * y1 / k, q12 - y1 * y2 / k, q22 - y2 * y2 / k,
        )  # fmt: skip
    SS = max(Syy - 2 * Syw + Sww, 1e-300)
    k = N / SS
    return (
        0.5 * N * (math.log(SS / N) + 1),
        1.0,
        k * slope * (Syw - Sww),
        k * (w1 - y1),
        k * (w2 - y2),
        k * q11,
        k * q12,
        k * q22,
    )


@_native
def _projected(maximum, signed, n, N, y, Syy, work):
    """Mean v·w: v and sigma eliminated, for w, dw/dt1, dw/dt2 and dw/dlx0 in `work`."""
    h, d1, d2, d0 = work[0], work[1], work[2], work[3]
    A, B, p1, p2 = 0.0, 0.0, 0.0, 0.0
    for j in range(y.size):
        a = n[j] * h[j]
        A += a * h[j]
        B += a * y[j]
        p1 += a * d1[j]
        p2 += a * d2[j]
    if A < 1e-300:
        return 0.5 * N * (math.log(Syy / N) + 1), 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0
    v = B / A
    if v * signed < 0:
        return 0.5 * N * (math.log(Syy / N) + 1), 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0
    p1 /= A
    p2 /= A
    between, Syb, g0, g1, g2, h11, h12, h22 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(y.size):
        r = n[j] * (y[j] - v * h[j])
        j1, j2 = -v * (d1[j] - h[j] * p1), -v * (d2[j] - h[j] * p2)
        between += r * (y[j] - v * h[j])
        Syb += n[j] * y[j] * y[j]
        if not maximum:
            g0 -= v * r * d0[j]
        g1 += r * j1
        g2 += r * j2
        h11 += n[j] * j1 * j1
        h12 += n[j] * j1 * j2
        h22 += n[j] * j2 * j2
    SS = max(between + (Syy - Syb), 1e-300)
    k = N / SS
    return 0.5 * N * (math.log(SS / N) + 1), v, k * g0, k * g1, k * g2, k * h11, k * h12, k * h22


@_native
def _relative_exponential(s, c, lx, n, N, y, Syy, lx0, p, work):
    """a·exp(s·z0·(x/x0)^d), where exp(s·z0) = 1 + c: with x0 held, only d is left."""
    z0 = s * math.log1p(c)
    for j in range(lx.size):
        work[0, j], work[1, j], work[2, j], work[3, j] = 1.0, 0.0, 0.0, 0.0
        if lx[j] > _NO_DOSE:
            power = p * (lx[j] - lx0)
            zz = z0 * math.exp(min(power, 6.0))
            w = math.exp(min(s * zz, 300.0))
            work[0, j] = w
            work[2, j] = w * s * zz * power
            work[3, j] = -w * s * zz * p
    return _projected(False, 0.0, n, N, y, Syy, work)


@_native
def _minimise(goal, kind, s, signed, c, lx, n, N, y, Syy, lx0, t1, t2, bounds, work, tolerance):
    """Levenberg-Marquardt within bounds; returns F, linear coefficient, slope in lx0, t1, t2."""
    lo1, hi1, lo2, hi2 = bounds[0], bounds[1], bounds[2], bounds[3]
    two = _has_second(kind)
    damping = 1e-4
    F, v, dx = np.inf, 0.0, 0.0
    g1, g2, h11, h12, h22 = 0.0, 0.0, 1.0, 0.0, 1.0
    n1, n2 = t1, t2
    for _ in range(150):
        F2, v2, dx2, k1, k2, b11, b12, b22 = _objective(
            goal, kind, s, signed, c, lx, n, N, y, Syy, lx0, n1, n2, work
        )
        if F2 < F:
            small = F - F2 < tolerance and max(abs(n1 - t1), abs(n2 - t2)) < 1e-2
            F, v, dx, t1, t2 = F2, v2, dx2, n1, n2
            g1, g2, h11, h12, h22 = k1, k2, b11, b12, b22
            damping = max(damping * 0.15, 1e-10)
            if small:
                break
        else:
            damping = max(damping * 8, 1e-4)
            if not damping < 1e12:
                break
        free1 = not ((t1 <= lo1 and g1 > 0) or (t1 >= hi1 and g1 < 0))
        free2 = two and not ((t2 <= lo2 and g2 > 0) or (t2 >= hi2 and g2 < 0))
        # A direction in which nothing happens, as of a curve at its power-like end, must not use up the whole step.
        ridge = _FLATTEST * max(h11, h22)
        a11 = h11 + damping * max(h11, ridge) + 1e-14
        a22 = h22 + damping * max(h22, ridge) + 1e-14
        s1, s2 = 0.0, 0.0
        det = a11 * a22 - h12 * h12
        if free1 and free2 and det > 1e-300:
            s1, s2 = (h12 * g2 - a22 * g1) / det, (h12 * g1 - a11 * g2) / det
        else:
            if free1:
                s1 = -g1 / a11
            if free2:
                s2 = -g2 / a22
        longest = max(abs(s1), abs(s2))
        if longest < 0.1 and -(g1 * s1 + g2 * s2) < tolerance:
            break
        if longest > 1.5:
            s1 *= 1.5 / longest
            s2 *= 1.5 / longest
        n1, n2 = min(max(t1 + s1, lo1), hi1), min(max(t2 + s2, lo2), hi2) if two else t2
        if abs(n1 - t1) < 1e-11 and abs(n2 - t2) < 1e-11:
            break
    return F, v, dx, t1, t2


@_native
def _choose_starts(values, points, columns, starts):
    """Write the grid's lowest local minima into `starts`, the lowest first; returns how many there are."""
    count = 0
    for g in range(points):
        value = values[g]
        if not value < 1e299:
            continue
        row, column = g // columns, g % columns
        lowest = True
        for i in range(max(row - 1, 0), min(row + 2, points // columns)):
            for j in range(max(column - 1, 0), min(column + 2, columns)):
                other = i * columns + j
                if values[other] < value or (values[other] == value and other < g):
                    lowest = False
        if not lowest:
            continue
        at = count
        while at > 0 and values[starts[at - 1]] > value:
            at -= 1
        if at >= _MOST_STARTS:
            continue
        count = min(count + 1, _MOST_STARTS)
        for k in range(count - 1, at, -1):
            starts[k] = starts[k - 1]
        starts[at] = g
    return count


@_native
def _grid_profile(goal, kind, c, plan, model, side, q, ymean, N, Syy, lx0, values):
    """F at each point of the grid with the benchmark dose at lx0; the sums over doses are known already."""
    centred = _is_centred(kind)
    for g in range(plan.points[model]):
        values[g] = 1e300
        t1, t2 = plan.grid[model, g, 0], plan.grid[model, g, 1]
        s = 1.0 if side == 1 else -1.0
        a0, _, _, _ = _shape(kind, s, lx0, t1, math.exp(t1) if kind == POWER else math.exp(t2))
        change = a0 if centred else a0 - 1.0
        if abs(change) < 1e-200:
            continue
        f = c / change
        if goal == SD:
            Syw, Sww = f * q[g], f * f * plan.grid_square[model, side, g]
            u = _best_u(Syw, Syy, N)
            values[g] = 0.5 * (N - u * Syw + Sww) - N * math.log(u)
            continue
        if goal == RELATIVE:
            mean = plan.grid_mean[model, side, g]
            Syw = N * ymean + f * (q[g] + ymean * N * mean)
            SS = Syy - Syw * Syw / (
                N + 2 * f * N * mean + f * f * (plan.grid_square[model, side, g] + N * mean * mean)
            )
        else:
            SS = Syy - 2 * f * q[g] + f * f * plan.grid_square[model, side, g]
        values[g] = 0.5 * N * (math.log(max(SS, 1e-300) / N) + 1)


@_native
def _polynomial_sums(plan, y, degree, z, sse, beta):
    """For each set of powers up to `degree`: coefficients in the orthonormal basis, SSE between groups, estimates."""
    Syy = 0.0
    for j in range(y.size):
        Syy += plan.sizes[j] * y[j] * y[j]
    for powers in range(1 << degree):
        rest = Syy
        for i in range(5):
            z[powers, i] = 0.0
            if i > 0 and plan.terms[powers, i] == 0:
                continue
            total = 0.0
            for j in range(y.size):
                total += plan.sizes[j] * plan.basis[powers, i, j] * y[j]
            z[powers, i] = total
            rest -= total * total
        sse[powers] = max(rest, 0.0)
        for i in range(5):
            total = 0.0
            for k in range(i, 5):
                total += plan.triangle[powers, i, k] * z[powers, k]
            beta[powers, i] = total


@_native
def _polynomial_profile(goal, s, c, plan, degree, monotonic, N, ssw, lx0, sse, beta, work):
    """As `_objective` for a polynomial with the benchmark dose at lx0: returns F and its slope in lx0.

    With monotonic coefficients the optimum is that of the set of powers it uses, so every set is tried, and those whose
    own optimum breaks a sign are left out.
    """
    best, best_slope = 1e300, 0.0
    whole = (1 << degree) - 1
    x0 = math.exp(lx0)
    a, back = work[0], work[1]
    for powers in range(1 if monotonic else whole, whole + 1):
        # G⁻¹a by way of the triangle; D is what the estimates without the constraint say of the change at x0.
        a[0] = -c if goal == RELATIVE else 0.0
        D = a[0] * beta[powers, 0]
        dD = 0.0
        for i in range(1, 5):
            k = plan.terms[powers, i]
            a[i] = x0**k if k > 0 else 0.0
            D += a[i] * beta[powers, i]
            dD += k * a[i] * beta[powers, i]
        V = 0.0
        for k in range(5):
            total = 0.0
            for i in range(k + 1):
                total += plan.triangle[powers, i, k] * a[i]
            back[k] = total
            V += total * total
        dV = 0.0
        for i in range(5):
            total = 0.0
            for k in range(i, 5):
                total += plan.triangle[powers, i, k] * back[k]
            work[2, i] = total
            dV += 2 * plan.terms[powers, i] * a[i] * total
        rest = sse[powers] + ssw
        if goal == SD:
            Syy, Syw, Sww = rest + D * D / V, c * D / V, c * c / V
            u = _best_u(Syw, Syy, N)
            F = 0.5 * (u * u * Syy - 2 * u * Syw + Sww) - N * math.log(u)
            e = u * D - c
            slope = e / V * (u * dD - 0.5 * dV * e / V)
            wanted = c / u
        else:
            wanted = 0.0 if goal == RELATIVE else c
            e = D - wanted
            SS = max(rest + e * e / V, 1e-300)
            F = 0.5 * N * (math.log(SS / N) + 1)
            slope = N / SS * (e / V) * (dD - 0.5 * dV * e / V)
        if F >= best:
            continue
        fits = True
        if monotonic:
            for i in range(1, 5):
                k = plan.terms[powers, i]
                if k > 0 and s * (beta[powers, i] + work[2, i] * (wanted - D) / V) * a[i] < -1e-12 * abs(
                    wanted - D
                ):
                    fits = False
        if fits:
            best, best_slope = F, slope
    return best, best_slope


@_native
def _log_bmd(kind, s, v, change, t1, t2):
    """Log of the dose at which |v·h| (or |a·(h - 1)|) is `change`; NaN where it never is."""
    if v == 0 or not change > 0:
        return np.nan
    q = change / abs(v)
    if kind == POWER:
        return math.log(q) / math.exp(t1)
    if kind == HILL:
        return np.nan if q >= 1 else t1 + (math.log(q) - math.log1p(-q)) / math.exp(t2)
    if kind == EXP5 or kind == EXP4:
        return np.nan if q >= 1 else math.log(-math.log1p(-q)) / math.exp(t2) - t1
    if s < 0:
        return np.nan if q >= 1 else (math.log(-math.log1p(-q)) - t1) / math.exp(t2)
    return (math.log(math.log1p(q)) - t1) / math.exp(t2)


@_native
def _polynomial_log_bmd(beta, terms, change):
    """Log of the smallest dose at which |polynomial - constant| is `change`, and the sign of the change there."""
    if not change > 0:
        return np.nan, 1.0
    rising, falling = False, False
    start = np.inf
    for i in range(1, 5):
        if terms[i] > 0 and beta[i] != 0:
            rising |= beta[i] > 0
            falling |= beta[i] < 0
            start = min(start, (math.log(change) - math.log(abs(beta[i]))) / terms[i])
    if not (rising or falling):
        return np.nan, 1.0
    if rising and falling:
        return _parabola_log_bmd(beta[1], beta[2], change)
    # The log of a sum of rising powers is convex in log dose, and `start` is right of the root: Newton cannot miss.
    x = start
    for _ in range(40):
        total, slope = 0.0, 0.0
        for i in range(1, 5):
            if terms[i] > 0 and beta[i] != 0:
                part = abs(beta[i]) * math.exp(terms[i] * x)
                total += part
                slope += terms[i] * part
        step = math.log(total / change) * total / slope
        x -= step
        if abs(step) < 1e-13:
            break
    return x, 1.0 if rising else -1.0


@_native
def _parabola_log_bmd(b1, b2, change):
    best, sign = np.inf, 1.0
    for side in (1.0, -1.0):
        root = b1 * b1 + 4 * b2 * side * change
        if root < 0:
            continue
        q = -0.5 * (b1 + math.copysign(math.sqrt(root), b1))
        for x in (q / b2, -side * change / q):
            if 0 < x < best:
                best, sign = x, side
    return (math.log(best) if best < np.inf else np.nan), sign


@_native
def _signed_root(loss):
    return math.sqrt(2 * loss) if loss > 0 else -math.sqrt(-2 * loss)


@_native
def _limit(
    plan, kind, model, s, side, c, N, y, Syy, ssw, q, ymean, lbmd, t1, t2, F_hat, outward, sums, spare
):
    """Where the profile leaves the confidence region, from the benchmark dose outward.

    Newton on the signed root of the deviance, kept inside a bracket once there is one. With `restart`, a limit counts only
    when searches from the best points of the grid find no better optimum there; where they do, it goes on outward.

    Returns the log dose (NaN: none within reach), t1 and t2 there, and whether they are a better maximum than F_hat.
    """
    goal = plan.goals[1]
    sse, beta = sums
    work, values, starts = spare
    target = math.sqrt(plan.quantile)
    reach = lbmd - _LOWEST_BELOW if outward < 0 else max(lbmd + 3.0, _HIGHEST)
    inner, outer = lbmd, np.nan
    x, step = lbmd + outward * 0.3, 0.3
    for _ in range(100):
        if outward * (x - reach) > 0:
            x = reach
        F, slope, a1, a2 = np.inf, 0.0, t1, t2
        r = 0.0
        tries, trial, best_trial = 1, 0, 0
        b1, b2 = t1, t2
        while trial < tries:
            if kind == POLYNOMIAL:
                F2, slope2 = _polynomial_profile(
                    goal, s, c, plan, plan.degrees[model], plan.monotonic[model], N, ssw, x, sse, beta, work
                )
            else:
                F2, _, slope2, b1, b2 = _minimise(
                    goal,
                    kind,
                    s,
                    0.0,
                    c,
                    plan.log_dose,
                    plan.sizes,
                    N,
                    y,
                    Syy,
                    x,
                    b1,
                    b2,
                    plan.bounds[model],
                    work,
                    2e-6,
                )
            if F2 < F:
                if F2 < F - 1e-4:
                    best_trial = trial
                F, slope, a1, a2 = F2, slope2, b1, b2
                r = _signed_root(F - F_hat)
            closed = abs(r - target) < _CLOSE_ENOUGH or (outer == outer and abs(outer - inner) < 1e-6)
            if trial == 0 and closed and plan.restart and kind != POLYNOMIAL:
                if goal == RELATIVE and not _is_centred(kind):
                    starts[0] = plan.points[model] // 2
                    tries = 2
                else:
                    _grid_profile(goal, kind, c, plan, model, side, q, ymean, N, Syy, x, values)
                    tries = 1 + _choose_starts(values, plan.points[model], plan.columns[model], starts)
                    while tries > 1 and values[starts[tries - 2]] > F + 1.0:
                        tries -= 1
            if trial < tries - 1:
                b1, b2 = plan.grid[model, starts[trial], 0], plan.grid[model, starts[trial], 1]
            trial += 1
        if F < F_hat - _BETTER_BY:
            return np.nan, a1, a2, True
        if closed and (best_trial == 0 or abs(r - target) < _CLOSE_ENOUGH):
            return x, a1, a2, False
        if r < target:
            if x == reach:
                return np.nan, a1, a2, False
            # The next search starts from here: beyond the limit the best curve may be of another kind.
            inner, t1, t2 = x, a1, a2
            if best_trial > 0:
                outer, step = np.nan, 0.1
        else:
            outer = x
        steep = outward * slope / r if r > 1e-3 else 0.0
        newton = (target - r) / steep if steep > 1e-6 else np.inf
        if outer != outer:
            step = min(max(newton * 1.02, 0.02), max(4 * step, 0.5), 1.6)
            x += outward * step
        else:
            x += outward * newton
            if not (min(inner, outer) < x < max(inner, outer)):
                x = 0.5 * (inner + outer)
    return np.nan, t1, t2, False


@_native
def _curve_maximum(plan, kind, model, s, side, signed, N, y, Syy, q, spare, t1, t2, attempt):
    """The maximum of the likelihood of one model with a shape: F, v, t1, t2; after the first attempt from t1, t2 alone."""
    work, values, starts = spare
    count = 1
    if attempt == 0:
        for g in range(plan.points[model]):
            total = 0.0
            for j in range(y.size):
                total += plan.grid_shape[model, side, g, j] * y[j]
            q[g] = total
            square = plan.grid_square[model, side, g]
            values[g] = -total * total / square if square > 1e-200 and total * signed >= 0 else 1e300
        count = max(_choose_starts(values, plan.points[model], plan.columns[model], starts), 1)
    best, v, best1, best2 = np.inf, 0.0, t1, t2
    for k in range(count):
        if attempt == 0:
            t1, t2 = plan.grid[model, starts[k], 0], plan.grid[model, starts[k], 1]
        F, v2, _, t1, t2 = _minimise(
            plan.goals[0],
            kind,
            s,
            signed,
            0.0,
            plan.log_dose,
            plan.sizes,
            N,
            y,
            Syy,
            0.0,
            t1,
            t2,
            plan.bounds[model],
            work,
            1e-9,
        )
        if F < best:
            best, v, best1, best2 = F, v2, t1, t2
    return best, v, best1, best2


@_native
def _polynomial_maximum(plan, model, rising, N, ssw, sse, beta):
    """The set of powers whose estimates have the smallest SSE among those of allowed signs, and its F."""
    at = (1 << plan.degrees[model]) - 1
    if plan.monotonic[model]:
        whole, at = at, 0
        for powers in range(1, whole + 1):
            fits = sse[powers] < sse[at]
            for i in range(1, 5):
                if plan.terms[powers, i] > 0 and beta[powers, i] * rising < 0:
                    fits = False
            if fits:
                at = powers
    return at, 0.5 * N * (math.log(max(sse[at] + ssw, 1e-300) / N) + 1)


@_native
def _fit_model(plan, model, rising, N, centred_y, raw_y, ssw, ymean, q, sums, spare, row):
    """One model on one probe; writes its row, returns its flags and how many parameters lie on a bound."""
    kind = plan.kinds[model]
    sse, beta = sums
    centred = _is_centred(kind)
    # A negative control falls when its exponential rises.
    s = rising if centred or ymean >= 0 else -rising
    side = 1 if s > 0 else 0
    signed = rising if centred and kind != POWER else 0.0
    y, Syy = centred_y if centred else raw_y
    profile_y, profile_Syy = raw_y if plan.goals[1] == RELATIVE or not centred else centred_y
    t1, t2, v, bounded, flags = 0.0, 0.0, 0.0, 0, 0
    for attempt in range(_ATTEMPTS):
        if kind == POLYNOMIAL:
            at, F = _polynomial_maximum(plan, model, rising, N, ssw, sse, beta)
            control = beta[at, 0]
        else:
            F, v, t1, t2 = _curve_maximum(
                plan, kind, model, s, side, signed, N, y, Syy, q, spare, t1, t2, attempt
            )
            control = v
            if centred:
                control = ymean
                p = math.exp(t1) if kind == POWER else math.exp(t2)
                for j in range(y.size):
                    control -= v * plan.sizes[j] * _shape(kind, s, plan.log_dose[j], t1, p)[0] / N
        sigma = math.exp(F / N - 0.5)
        change = plan.change
        if plan.goals[1] == SD:
            change *= sigma
        elif plan.goals[1] == RELATIVE:
            change *= abs(control)
        if kind == POLYNOMIAL:
            lbmd, sign = _polynomial_log_bmd(beta[at], plan.terms[at], change)
            s = sign
        else:
            lbmd, sign = _log_bmd(kind, s, v, change, t1, t2), math.copysign(1.0, v) * (1.0 if centred else s)
        for k in range(row.size):
            row[k] = np.nan
        row[LOG_LIKELIHOOD], row[SIGMA] = -F - 0.5 * N * math.log(2 * math.pi), sigma
        flags, better = 0, False
        if -30 < lbmd < 12:
            row[BMD] = math.exp(lbmd)
            c = sign * plan.change
            if plan.goals[1] == RELATIVE and control < 0:
                c = -c
            for which in range(2):
                x, a1, a2, better = _limit(
                    plan, kind, model, s, side, c, N, profile_y, profile_Syy, ssw, q, ymean, lbmd, t1, t2, F,
                    2.0 * which - 1.0, sums, spare,
                )  # fmt: skip
                if better:
                    if attempt < _ATTEMPTS - 1:
                        t1, t2 = a1, a2
                    flags |= NOT_CONVERGED
                    break
                row[BMDL + which] = math.exp(x)
                if x != x:
                    flags |= NO_LOWER << which
        else:
            flags = NO_BMD | NO_LOWER | NO_UPPER
        if not better or kind == POLYNOMIAL:
            break
    row[PARAMETERS] = control
    if kind == POLYNOMIAL:
        bounded = plan.degrees[model]
        for k in range(bounded):
            row[PARAMETERS + 1 + k] = 0.0
        for i in range(1, 5):
            if plan.terms[at, i] > 0:
                bounded -= 1
                row[PARAMETERS + plan.terms[at, i]] = beta[at, i]
    else:
        row[PARAMETERS + 1], row[PARAMETERS + 2], row[PARAMETERS + 3] = v, t1, t2
        bounds = plan.bounds[model]
        bounded = int(t1 <= bounds[0] + 1e-7 or t1 >= bounds[1] - 1e-7) + int(v == 0 and signed != 0)
        if _has_second(kind):
            bounded += int(t2 <= bounds[2] + 1e-7 or t2 >= bounds[3] - 1e-7)
    return flags | (AT_BOUND if bounded else 0), bounded


@_native
def fit_probes(plan, means, within, direction, fitted, found, flags, bounded):
    """Fit all models to all probes.

    Args:
        plan: what the probes share.
        means: (P, J) group means.
        within: (P,) sum of squares within groups.
        direction: (P,) +1 or -1.
        fitted: (P,) False leaves a probe out.
        found: (P, M, `FOUND_COLUMNS`), written.
        flags: (P, M), written.
        bounded: (P, M), number of parameters on a bound, written.
    """
    m = plan.sizes.size
    N = 0.0
    for j in range(m):
        N += plan.sizes[j]
    points = max(plan.grid.shape[1], 1)
    spare = (np.zeros((4, max(m, 5))), np.zeros(points), np.zeros(_MOST_STARTS, np.int64))
    q = np.zeros(points)
    z = np.zeros((16, 5))
    sums = (np.zeros(16), np.zeros((16, 5)))
    yc = np.zeros(m)
    top = 0
    for model in range(plan.kinds.size):
        top = max(top, plan.degrees[model])
    for p in range(means.shape[0]):
        if not fitted[p]:
            continue
        yr, ssw = means[p], within[p]
        ymean, Sr, Sc = 0.0, ssw, ssw
        for j in range(m):
            ymean += plan.sizes[j] * yr[j] / N
        for j in range(m):
            yc[j] = yr[j] - ymean
            Sr += plan.sizes[j] * yr[j] * yr[j]
            Sc += plan.sizes[j] * yc[j] * yc[j]
        if top > 0:
            _polynomial_sums(plan, yc, top, z, sums[0], sums[1])
            for powers in range(1 << top):
                sums[1][powers, 0] += ymean
        for model in range(plan.kinds.size):
            flags[p, model], bounded[p, model] = _fit_model(
                plan, model, direction[p], N, (yc, Sc), (yr, Sr), ssw, ymean, q, sums, spare, found[p, model]
            )


@_native
def grid_shapes(kind, s, log_dose, grid, shapes):
    """Fill `shapes` (G, J) with the model's shape at each point of `grid` (G, 2)."""
    for g in range(grid.shape[0]):
        t1, t2 = grid[g, 0], grid[g, 1]
        p = math.exp(t1) if kind == POWER else math.exp(t2)
        for j in range(log_dose.size):
            shapes[g, j] = _shape(kind, s, log_dose[j], t1, p)[0]
