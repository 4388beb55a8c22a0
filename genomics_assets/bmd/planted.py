"""Synthetic experiments with known answers: curves of the models, planted in normal noise.

For tests, the bundled example and the benchmarks. All of it follows from the seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genomics_assets.bmd.models import ModelName, model_mean

DOSES = (0.0, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
_SHAPES: tuple[ModelName, ...] = ("hill", "power", "exp5", "linear")


@dataclass(frozen=True, eq=False)
class PlantedExperiment:
    """A synthetic experiment on a scale of log2.

    Attributes:
        sample_doses: (N,) float64, ascending.
        probe_ids: P names; the responsive ones come first.
        responses: (P, N) float32.
        model: (P,) the planted model, "" for probes that do not respond.
        bmd: (P,) the dose at which the mean has changed by `bmr` standard deviations, NaN for those that do not.
        sigma: of the noise.
    """

    sample_doses: NDArray[np.float64]
    probe_ids: tuple[str, ...]
    responses: NDArray[np.float32]
    model: tuple[str, ...]
    bmd: NDArray[np.float64]
    sigma: float


def planted_experiment(
    probes: int,
    responsive: float = 0.5,
    replicates: int = 6,
    doses: tuple[float, ...] = DOSES,
    sigma: float = 0.2,
    bmr: float = 1.349,
    seed: int = 20260,
) -> PlantedExperiment:
    """Plant Hill, power, exponential and straight curves, up and down, and leave the other probes flat."""
    draw = np.random.default_rng(seed)
    sample_doses = np.repeat(doses, replicates)
    count = round(probes * responsive)
    means = np.repeat(draw.uniform(6, 10, probes)[:, None], sample_doses.size, axis=1)
    truth = np.full(probes, np.nan)
    names = [""] * probes
    for probe in range(count):
        names[probe] = _SHAPES[probe % len(_SHAPES)]
        parameters = _parameters(names[probe], draw, doses, sigma, bmr)
        parameters[0] = means[probe, 0]
        if names[probe] == "exp5":
            # c is relative to the control: the planted change stays the same.
            parameters[2] = 1 + parameters[2] / parameters[0]
        means[probe] = model_mean(names[probe], parameters, sample_doses)
        truth[probe] = _planted_bmd(names[probe], parameters, bmr * sigma)
    responses = means + sigma * draw.standard_normal(means.shape)
    return PlantedExperiment(
        sample_doses=sample_doses,
        probe_ids=tuple(f"PROBE_{i + 1:05d}" for i in range(probes)),
        responses=responses.astype(np.float32),
        model=tuple(names),
        bmd=truth,
        sigma=sigma,
    )


def _parameters(
    name: str, draw: np.random.Generator, doses: tuple[float, ...], sigma: float, bmr: float
) -> list[float]:
    """Parameters but for the control: the whole change is 6 to 15 benchmark responses."""
    change = draw.choice((-1.0, 1.0)) * draw.uniform(6, 15) * bmr * sigma
    lowest, highest = np.log(doses[1]), np.log(doses[-1])
    middle = float(np.exp(draw.uniform(lowest + 1.5, highest - 1.5)))
    if name == "hill":
        return [0.0, change, middle, draw.uniform(1.2, 3)]
    if name == "power":
        n = draw.uniform(1.1, 2)
        return [0.0, change / doses[-1] ** n, n]
    if name == "linear":
        return [0.0, change / doses[-1]]
    return [0.0, 1 / middle, change, draw.uniform(1, 2)]


def _planted_bmd(name: str, parameters: list[float], change: float) -> float:
    """The dose at which the planted curve has changed by `change`, by bisection on its logarithm."""
    low, high = 1e-6, 1e6
    start = float(model_mean(name, parameters, [0.0])[0])
    for _ in range(200):
        middle = float(np.sqrt(low * high))
        if abs(float(model_mean(name, parameters, [middle])[0]) - start) < change:
            low = middle
        else:
            high = middle
    return float(np.sqrt(low * high))
