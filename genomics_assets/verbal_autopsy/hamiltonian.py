"""Hamiltonian Monte Carlo for many chains at once, in numpy alone.

All chains take the same number of leapfrog steps, so that one evaluation of the density serves all of them. Step size by
dual averaging (Hoffman and Gelman 2014, JMLR 15:1593), scales of the parameters from the first draws, number of steps
jittered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

# (chains, parameters) -> (chains,) log density and (chains, parameters) gradient
LogDensity = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
Progress = Callable[[float], None]

STEPS = 24
ACCEPTANCE_WANTED = 0.85
ITERATIONS_A_WORD = 20
_FIRST_STEP, _RESTARTED_STEP = 0.05, 0.3
_STEADINESS, _DECAY, _DELAY = 0.05, 0.75, 10


@dataclass(frozen=True)
class ChainSettings:
    """How much is sampled: `draws` kept of each of `chains`, each `thin`-th, after `warm_up` that are not."""

    chains: int = 32
    warm_up: int = 300
    draws: int = 300
    thin: int = 1


def hamiltonian_draws(
    density: LogDensity,
    start: np.ndarray,
    settings: ChainSettings,
    rng: np.random.Generator,
    progress: Progress = lambda share: None,
) -> Iterator[np.ndarray]:
    """Draws after the warm-up, one (chains, parameters) array after the other.

    Args:
        density: log density up to a constant, and its gradient.
        start: (parameters,) float64, where all chains begin, apart from a little noise.
        settings: how much is sampled.
        rng: the source of randomness.
        progress: told the share that is done, now and then.
    """
    x = start + 0.1 * rng.normal(size=(settings.chains, len(start)))
    log_density, gradient = density(x)
    step, scale = _StepSize(_FIRST_STEP), np.ones(len(start))
    seen: list[np.ndarray] = []
    rescaled_at = (settings.warm_up // 2, int(settings.warm_up * 0.75))
    iterations = settings.warm_up + settings.draws * settings.thin
    for iteration in range(iterations):
        if iteration % ITERATIONS_A_WORD == 0:
            progress(iteration / iterations)
        warming = iteration < settings.warm_up
        size = (step.trial if warming else step.settled) * rng.uniform(0.8, 1.2) * scale
        steps = max(1, int(rng.uniform(0.5, 1.5) * STEPS))
        momentum = rng.normal(size=x.shape)
        new, new_density, new_gradient, energy = _leapfrog(density, x, gradient, momentum, size, steps)
        gain = energy - (log_density - 0.5 * (momentum**2).sum(axis=1))
        chance = np.exp(np.minimum(0.0, np.where(np.isfinite(gain), gain, -np.inf)))
        accepted = rng.random(settings.chains) < chance
        x = np.where(accepted[:, None], new, x)
        log_density = np.where(accepted, new_density, log_density)
        gradient = np.where(accepted[:, None], new_gradient, gradient)
        if not warming:
            if (iteration - settings.warm_up + 1) % settings.thin == 0:
                yield x
            continue
        step.learn(float(chance.mean()))
        if iteration > settings.warm_up // 5:
            seen.append(x)
        if iteration in rescaled_at and seen:
            scale = np.concatenate(seen).std(axis=0) + 1e-6
            seen, step = [], _StepSize(_RESTARTED_STEP)


def _leapfrog(
    density: LogDensity,
    x: np.ndarray,
    gradient: np.ndarray,
    momentum: np.ndarray,
    size: np.ndarray,
    steps: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    momentum = momentum + 0.5 * size * gradient
    # A path that leaves the range of numbers is refused like any other that loses its energy.
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(steps):
            x = x + size * momentum
            log_density, gradient = density(x)
            momentum = momentum + (size if step < steps - 1 else 0.5 * size) * gradient
        energy = log_density - 0.5 * (momentum**2).sum(axis=1)
    return x, log_density, gradient, energy


class _StepSize:
    """Dual averaging: `trial` is what to try next, `settled` what the trials come to."""

    def __init__(self, first: float) -> None:
        self.trial = self.settled = first
        self._centre = float(np.log(10 * first))
        self._error = 0.0
        self._log_settled = float(np.log(first))
        self._count = 0

    def learn(self, acceptance: float) -> None:
        self._count += 1
        share = 1 / (self._count + _DELAY)
        self._error = (1 - share) * self._error + share * (ACCEPTANCE_WANTED - acceptance)
        log_trial = self._centre - np.sqrt(self._count) / _STEADINESS * self._error
        weight = self._count**-_DECAY
        self._log_settled = weight * log_trial + (1 - weight) * self._log_settled
        self.trial, self.settled = float(np.exp(log_trial)), float(np.exp(self._log_settled))
