"""Whether chains of draws have converged: split R-hat and effective sample size.

Source: Gelman et al., Bayesian Data Analysis, 3rd edition, section 11.4; Geyer (1992), Statistical Science 7:473, for
where the autocorrelations are cut.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LARGEST_R_HAT = 1.01
LEAST_SAMPLE_SIZE = 400.0


@dataclass(frozen=True)
class Convergence:
    """The worst of all parameters: `r_hat` is 1 and `sample_size` the number of draws where chains are perfect."""

    r_hat: float
    sample_size: float

    @property
    def reached(self) -> bool:
        """Whether both are good enough to report the draws."""
        return self.r_hat < LARGEST_R_HAT and self.sample_size > LEAST_SAMPLE_SIZE


def convergence(draws: np.ndarray) -> Convergence:
    """Of (chains, draws, parameters); parameters that never move are passed over, and nothing moving is perfect."""
    chains, count, parameters = draws.shape
    found = [
        _of_one(draws[:, :, at]) for at in range(parameters) if np.ptp(draws[:, :, at]) > 1e-12 and count >= 4
    ]
    if not found:
        return Convergence(1.0, float(chains * count))
    return Convergence(max(r_hat for r_hat, _ in found), min(size for _, size in found))


def _of_one(draws: np.ndarray) -> tuple[float, float]:
    chains, count = draws.shape
    half = count // 2
    split = draws[:, : 2 * half].reshape(chains * 2, half)
    within = split.var(axis=1, ddof=1).mean()
    between = half * split.mean(axis=1).var(ddof=1)
    pooled = (half - 1) / half * within + between / half
    if within <= 0:
        return float("inf"), 0.0
    centred = split - split.mean(axis=1, keepdims=True)
    spectrum = np.fft.rfft(centred, 2 * half, axis=1)
    covariance = np.fft.irfft(spectrum * np.conj(spectrum), axis=1)[:, :half].mean(axis=0) / half
    correlation = 1 - (within - covariance * half / (half - 1)) / pooled
    pairs = correlation[1 : 1 + 2 * ((half - 1) // 2)].reshape(-1, 2).sum(axis=1)
    negative = np.flatnonzero(pairs < 0)
    taken = pairs[: negative[0]] if len(negative) else pairs
    size = split.size / max(1 + 2 * taken.sum(), 1e-12)
    return float(np.sqrt(pooled / within)), float(min(size, split.size))
