"""Compiled kernels of `prefilters`: permutation and resampling statistics, probe by probe.

Imported inside functions only, because numba is slow to import; see `fit_kernels` for where compiled code is kept.
"""

# mypy: disable-error-code="untyped-decorator, no-untyped-def"

from __future__ import annotations

import math

import numpy as np
from numba import njit

_native = njit(cache=True, nogil=True, error_model="numpy")


@_native
def _williams(sums, sizes, count, squares):
    """Two-sided Williams statistic from the sums of each group of centred responses.

    The amalgamated (isotonic) mean of the highest dose is the largest of the means of the last one, two ... groups.
    """
    groups = sizes.size
    within = squares
    for j in range(groups):
        within -= sums[j] * sums[j] / sizes[j]
    variance = max(within, 1e-300) / (count - groups)
    total, weight, highest, lowest = 0.0, 0.0, -np.inf, np.inf
    for j in range(groups - 1, 0, -1):
        total += sums[j]
        weight += sizes[j]
        highest = max(highest, total / weight)
        lowest = min(lowest, total / weight)
    control = sums[0] / sizes[0]
    error = math.sqrt(variance * (1 / sizes[groups - 1] + 1 / sizes[0]))
    return max(highest - control, control - lowest) / error


@_native
def williams_p(responses, orders, sizes, statistics, p_values):
    """Williams statistic and its permutation p-value for each probe; probes that are constant keep NaN.

    Args:
        responses: (P, N) float64, samples sorted by group.
        orders: (B, N) int32 permutations of the samples, shared by all probes.
        sizes: (J,) float64 group sizes.
        statistics: (P,), written.
        p_values: (P,), written: (hits + 1) / (B + 1).
    """
    groups, count, permutations = sizes.size, responses.shape[1], orders.shape[0]
    sums, centred = np.zeros(groups), np.zeros(count)
    for p in range(responses.shape[0]):
        mean = responses[p].mean()
        squares, raw = 0.0, 0.0
        for k in range(count):
            centred[k] = responses[p, k] - mean
            squares += centred[k] * centred[k]
            raw += responses[p, k] * responses[p, k]
        if squares <= 1e-20 * raw:
            continue
        hits = 0
        for b in range(-1, permutations):
            k = 0
            for j in range(groups):
                total = 0.0
                for _ in range(int(sizes[j])):
                    total += centred[k] if b < 0 else centred[orders[b, k]]
                    k += 1
                sums[j] = total
            value = _williams(sums, sizes, count, squares)
            if b < 0:
                statistics[p] = value
            elif value >= statistics[p] * (1 - 1e-12):
                hits += 1
        p_values[p] = (hits + 1) / (permutations + 1)


@_native
def _pool(means, weights, rising, first, last, fitted, level, mass, length):
    """Weighted isotonic regression (pool adjacent violators) of means[first:last] into fitted."""
    blocks = 0
    for j in range(first, last):
        level[blocks], mass[blocks], length[blocks] = means[j], weights[j], 1
        blocks += 1
        while (
            blocks > 1
            and (level[blocks - 2] > level[blocks - 1]) == rising
            and level[blocks - 2] != level[blocks - 1]
        ):
            together = mass[blocks - 2] + mass[blocks - 1]
            level[blocks - 2] = (
                level[blocks - 2] * mass[blocks - 2] + level[blocks - 1] * mass[blocks - 1]
            ) / together
            mass[blocks - 2] = together
            length[blocks - 2] += length[blocks - 1]
            blocks -= 1
    j = first
    for block in range(blocks):
        for _ in range(length[block]):
            fitted[j] = level[block]
            j += 1


@_native
def best_profile(means, weights, error, fitted, level, mass, length):
    """The order-restricted profile that fits the group means best, and its statistic.

    Profiles: 0 rising, 1 falling, 2 + 2i up to group i + 1 and down after it, 3 + 2i down and then up. The statistic is
    the largest difference between two fitted means that the profile orders, over `error`.
    """
    groups = means.size
    best, at, statistic = np.inf, 0, 0.0
    for profile in range(2 * (groups - 1)):
        turn = groups - 1 if profile < 2 else profile // 2
        rising = profile % 2 == 0
        if turn < groups - 1:
            # The turning point belongs to the side that fits it better.
            _pool(means, weights, rising, 0, turn + 1, fitted, level, mass, length)
            _pool(means, weights, not rising, turn + 1, groups, fitted, level, mass, length)
            if (fitted[turn + 1] > fitted[turn]) == rising and fitted[turn + 1] != fitted[turn]:
                continue
        else:
            _pool(means, weights, rising, 0, groups, fitted, level, mass, length)
        loss, lowest, highest = 0.0, np.inf, -np.inf
        for j in range(groups):
            loss += weights[j] * (means[j] - fitted[j]) ** 2
            lowest = min(lowest, fitted[j])
            highest = max(highest, fitted[j])
        if loss < best - 1e-12:
            best, at, statistic = loss, profile, (highest - lowest) / error
    return at, statistic


@_native
def oriogen_p(responses, orders, sizes, first, most, fudge, profiles, statistics, p_values):
    """ORIOGEN-style statistic, profile and bootstrap p-value for each probe.

    Under the null hypothesis residuals are exchangeable between groups, so that samples of them, drawn with replacement,
    stand for the data. A probe that is clear after `first` draws (p above 0.1) is not drawn again.
    """
    groups, count = sizes.size, responses.shape[1]
    means, sums = np.zeros(groups), np.zeros(groups)
    fitted, level, mass = np.zeros(groups), np.zeros(groups), np.zeros(groups)
    length = np.zeros(groups, np.int64)
    residuals = np.zeros(count)
    for p in range(responses.shape[0]):
        if not np.isfinite(statistics[p]):
            continue
        k = 0
        within = 0.0
        for j in range(groups):
            total = 0.0
            start = k
            for _ in range(int(sizes[j])):
                total += responses[p, k]
                k += 1
            means[j] = total / sizes[j]
            for i in range(start, k):
                residuals[i] = responses[p, i] - means[j]
                within += residuals[i] * residuals[i]
        error = math.sqrt(within / (count - groups)) + fudge
        if not error > 0:
            statistics[p] = np.nan
            continue
        profiles[p], statistics[p] = best_profile(means, sizes, error, fitted, level, mass, length)
        hits, drawn = 0, 0
        for b in range(most):
            if b == first and hits > 0.1 * first:
                break
            k = 0
            squares = 0.0
            for j in range(groups):
                total = 0.0
                for _ in range(int(sizes[j])):
                    value = residuals[orders[b, k]]
                    total += value
                    squares += value * value
                    k += 1
                sums[j] = total / sizes[j]
                squares -= sums[j] * sums[j] * sizes[j]
            spread = math.sqrt(max(squares, 0.0) / (count - groups)) + fudge
            _, value = best_profile(sums, sizes, spread, fitted, level, mass, length)
            drawn += 1
            if value >= statistics[p] * (1 - 1e-12):
                hits += 1
        p_values[p] = (hits + 1) / (drawn + 1)
