"""What must hold of results that are right, worked out apart from the engine that made them.

`profile_deviance` maximises the likelihood anew with the BMD held fixed, by another road than `fit_kernels`: a grid over
the curve's shape, all linear parameters in closed form, then a simplex search. At the BMDL and the BMDU of a one-sided
95 % limit the deviance is 2.7055, the 90 % quantile of chi-squared with one degree of freedom.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from genomics_assets.bmd.design import LOG_BASES
from genomics_assets.bmd.fitting import FitFlag, ModelFits
from genomics_assets.bmd.models import MODELS, model_mean

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

# Of twice the log-likelihood that a limit gives away, and of a log-likelihood.
DEVIANCE_TOLERANCE = 0.02
LIKELIHOOD_TOLERANCE = 0.01

# The columns of `bmd.probe_stat_results` that say whether limits are in order, and of what.
LIMITS = ("probe_id", "model", "bmdl", "bmd", "bmdu")
# Shapes whose profile is checked; the other polynomials have a sign for each coefficient.
PROFILED = ("hill", "power", "linear", "exp4", "exp5")
_STEPS = (240, 80)
_STARTS = 3


@dataclass(frozen=True)
class Disorder:
    """Numbers that contradict each other: how many were looked at, how many do, and the first of them."""

    checked: int
    wrong: int
    examples: list[dict[str, Any]] = field(default_factory=list)


def limits_out_of_order(statistics: pa.Table) -> Disorder:
    """Fits whose BMDL, BMD and BMDU, as far as they are there, are not in this order."""
    lower, bmd, upper = (statistics[name].to_numpy() for name in ("bmdl", "bmd", "bmdu"))
    # What is not there is NaN, and no comparison with that holds.
    wrong = statistics.filter((lower > bmd) | (bmd > upper) | (lower > upper))
    return Disorder(statistics.num_rows, wrong.num_rows, wrong.select(LIMITS).slice(0, 5).to_pylist())


def likelihoods_out_of_order(fits: ModelFits, probes: Sequence[str]) -> Disorder:
    """Fits that are less likely than a special case of their model, or likelier than a mean for each dose."""
    found = _likelihoods_out_of_order(fits)
    checked, wrong = 0, []
    for rows, label in found:
        checked += len(fits)
        wrong += [{"probe_id": probes[row], "likelihoods": label} for row in np.flatnonzero(rows).tolist()]
    return Disorder(checked, len(wrong), wrong[:5])


def _likelihoods_out_of_order(fits: ModelFits) -> Iterator[tuple[NDArray[np.bool_], str]]:
    sound = (fits.flags & (FitFlag.NOT_CONVERGED | FitFlag.NOT_FITTED)) == 0
    within = fits.within.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        full = -0.5 * fits.samples * (np.log(2 * np.pi * within / fits.samples) + 1)
    for place, name in enumerate(fits.models):
        likelihood = fits.log_likelihood[:, place]
        yield (
            sound[:, place] & (within > 0) & (likelihood > full + LIKELIHOOD_TOLERANCE),
            f"{name} > saturated",
        )
        for special in MODELS[name].contains:
            if special in fits.models:
                other = fits.models.index(special)
                both = sound[:, place] & sound[:, other]
                lower = likelihood < fits.log_likelihood[:, other] - LIKELIHOOD_TOLERANCE
                yield both & lower, f"{name} < {special}"


def limits_off_profile(fits: ModelFits, probes: Sequence[str], *, most: int = 50, seed: int = 7) -> Disorder:
    """Limits of a random sample of fits at which the deviance is not what their confidence says.

    Args:
        fits: of all probes.
        probes: their ids.
        most: how many limits are looked at.
        seed: of the sample.
    """
    limits = [
        (row, model, side)
        for model, name in enumerate(fits.models)
        if name in PROFILED
        for side in ("bmdl", "bmdu")
        for row in np.flatnonzero(np.isfinite(getattr(fits, side)[:, model])).tolist()
    ]
    if len(limits) > most:
        chosen = np.random.default_rng(seed).choice(len(limits), most, replace=False)
        limits = [limits[place] for place in sorted(chosen.tolist())]
    wrong = []
    for row, model, side in limits:
        deviance = profile_deviance(fits, row, model, float(getattr(fits, side)[row, model]))
        if abs(deviance - fits.settings.quantile) > DEVIANCE_TOLERANCE:
            wrong.append(
                {
                    "probe_id": probes[row],
                    "model": fits.models[model],
                    "limit": side,
                    "deviance": round(deviance, 4),
                }
            )
    return Disorder(len(limits), len(wrong), wrong[:5])


def profile_deviance(fits: ModelFits, row: int, model: int, bmd: float) -> float:
    """Twice the log-likelihood that is lost when the BMD of one fit is held at a dose.

    Args:
        fits: what was fitted.
        row: the probe.
        model: index of one of `PROFILED` in `fits.models`.
        bmd: the dose, in the unit of the doses.
    """
    from scipy.optimize import minimize

    profile = _Profile.of(fits, row, fits.models[model], bmd)
    best = -np.inf
    for grid in profile.grids():
        values = profile.log_likelihood(grid.reshape(math.prod(grid.shape[:-1]), grid.shape[-1])).reshape(
            grid.shape[:-1]
        )
        best = max(best, float(values.max()))
        for start in grid[_peaks(values)] if grid.shape[-1] else ():
            found = minimize(
                lambda theta: -float(profile.log_likelihood(theta[None])[0]),
                start,
                bounds=profile.bounds,
                method="Nelder-Mead",
                options={"xatol": 1e-7, "fatol": 1e-9, "maxiter": 2000},
            )
            best = max(best, -float(found.fun))
    return 2 * (float(fits.log_likelihood[row, model]) - best)


def _peaks(values: NDArray[np.float64]) -> tuple[NDArray[np.intp], ...]:
    """Where a grid has its highest local maxima."""
    from scipy.ndimage import maximum_filter

    peak = (maximum_filter(values, 3, mode="nearest") == values) & (values > values.max() - 3)
    places = np.argwhere(peak)
    highest = places[np.argsort(-values[peak], kind="stable")[:_STARTS]]
    return tuple(highest.T)


@dataclass(frozen=True)
class _Profile:
    """The likelihood of one probe with the BMD held at a dose, as a function of the curve's shape alone."""

    name: str
    doses: NDArray[np.float64]
    sizes: NDArray[np.float64]
    means: NDArray[np.float64]
    within: float
    bmd: float
    sign: float
    change: float
    kind: str
    bounds: list[tuple[float, float]]

    @classmethod
    def of(cls, fits: ModelFits, row: int, name: str, bmd: float) -> _Profile:
        scaled = fits.doses / fits.doses[-1]
        ends = model_mean(name, fits.parameters[row, fits.models.index(name)], fits.doses[[0, -1]])
        bmr = fits.settings.bmr
        kind, change = "sd", bmr.factor
        if bmr.type == "relative":
            kind = "relative" if fits.log_transformation == "NONE" else "absolute"
            if kind == "absolute":
                change = math.log1p(bmr.factor) / math.log(LOG_BASES[fits.log_transformation])
        lowest = math.log(scaled[scaled > 0].min())
        steep = math.log(18.0)
        flattest = math.log(0.05) if fits.settings.compat == "bmdexpress3" else 0.0
        bounds = {
            "linear": [],
            "power": [(0.0, steep)],
            "hill": [(math.log(1e-6), math.log(5)), (0.0, steep)],
            "exp4": [(-12.0, math.log(20) - lowest + 5)],
            "exp5": [(-12.0, math.log(20) - lowest + 5), (flattest, steep)],
        }[name]
        return cls(
            name=name,
            doses=scaled,
            sizes=fits.group_sizes.astype(np.float64),
            means=fits.group_means[row],
            within=float(fits.within[row].sum()),
            bmd=bmd / float(fits.doses[-1]),
            # Of the curve, for some models may go against the direction of the means.
            sign=1.0 if ends[1] >= ends[0] else -1.0,
            change=change,
            kind=kind,
            bounds=bounds,
        )

    def grids(self) -> Iterator[NDArray[np.float64]]:
        """Where maxima are looked for: (..., parameters of the shape). Steep curves turn within a hair of the dose."""
        axes = [
            np.linspace(low, high, steps) for (low, high), steps in zip(self.bounds, _STEPS, strict=False)
        ]
        if not axes:
            yield np.zeros((1, 0))
            return
        yield np.stack(np.meshgrid(*axes, indexing="ij"), -1)
        if len(axes) == 2:
            turn, steepness = np.meshgrid(np.linspace(-12, 6, 60), axes[1], indexing="ij")
            place = (1 if self.name == "hill" else -1) * (math.log(self.bmd) - turn / np.exp(steepness))
            yield np.stack([np.clip(place, *self.bounds[0]), steepness], -1)

    def log_likelihood(self, theta: NDArray[np.float64]) -> NDArray[np.float64]:
        """(T, parameters of the shape) -> (T,): maximised over control, size of the effect and sigma."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            shape = self._shape(theta, self.doses) / self._shape(theta, np.array([self.bmd]))
        shape = np.where(np.isfinite(shape), shape, 1e9)
        n = float(self.sizes.sum())
        effect = self.sign * self.change * shape
        if self.kind == "relative":
            return self._scaled(1 + effect, n)
        centred = self.means - self.sizes @ self.means / n
        moved = effect - (effect @ self.sizes / n)[:, None]
        if self.kind == "absolute":
            squares = self.within + ((centred - moved) ** 2) @ self.sizes
            return -0.5 * n * (np.log(2 * np.pi * squares / n) + 1)
        syy = self.within + float((self.sizes * centred) @ centred)
        syw, sww = (moved * centred) @ self.sizes, (moved**2) @ self.sizes
        # One over sigma solves syy u² - syw u - n = 0.
        u = np.maximum((syw + np.sqrt(syw**2 + 4 * n * syy)) / (2 * syy), 1e-300)
        return n * np.log(u) - 0.5 * (syy * u**2 - 2 * syw * u + sww) - 0.5 * n * math.log(2 * math.pi)

    def _scaled(self, curve: NDArray[np.float64], n: float) -> NDArray[np.float64]:
        """A relative change of the control's mean scales the whole curve."""
        control = (curve * self.means) @ self.sizes / ((curve**2) @ self.sizes)
        squares = self.within + ((self.means - control[:, None] * curve) ** 2) @ self.sizes
        return -0.5 * n * (np.log(2 * np.pi * squares / n) + 1)

    def _shape(self, theta: NDArray[np.float64], doses: NDArray[np.float64]) -> NDArray[np.float64]:
        """(T, D): the curve's shape, 0 at dose 0."""
        x = np.broadcast_to(doses, (len(theta), doses.size))
        if self.name == "linear":
            return np.asarray(x, np.float64)
        if self.name == "power":
            return np.asarray(x ** np.exp(theta[:, :1]))
        if self.name == "hill":
            power = np.exp(theta[:, 1:2])
            return np.asarray(1 / (1 + (np.exp(theta[:, :1]) / np.maximum(x, 1e-300)) ** power))
        power = np.exp(theta[:, 1:2]) if self.name == "exp5" else np.ones((len(theta), 1))
        return np.asarray(-np.expm1(-((np.exp(theta[:, :1]) * x) ** power)))
