"""The average of several models' benchmark doses, from fits that are already made.

Models are weighted by AIC (Akaike 1978; Buckland et al. 1997). A model's BMD has the distribution that its profile
likelihood stands for: the signed root of the deviance is standard normal, 0 at the BMD and ±1.645 at BMDL and BMDU, and
linear in the logarithm of the dose between them. The average's BMD, BMDL and BMDU are quantiles of the mixture, so that
they tell of the choice of a model as well as of the noise. A model without a limit puts half of its weight beyond all doses
on that side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from genomics_assets.bmd.fitting import Compat, FitFlag, ModelFits
from genomics_assets.bmd.models import ModelName

if TYPE_CHECKING:
    import pyarrow as pa

_STEPS = 48
_FAR = 12.0


@dataclass(frozen=True, eq=False)
class AveragedModels:
    """The average for P probes over M models.

    Attributes:
        models: what was averaged.
        weights: (P, M), summing to 1; 0 for models without a BMD; NaN where no model has one.
        bmd, bmdl, bmdu: (P,) quantiles of the mixture, NaN where there is none.
    """

    models: tuple[ModelName, ...]
    weights: NDArray[np.float64]
    bmd: NDArray[np.float64]
    bmdl: NDArray[np.float64]
    bmdu: NDArray[np.float64]

    def table(self, probe_ids: Sequence[str]) -> pa.Table:
        """One row for each probe: BMD, BMDL, BMDU and each model's weight."""
        import pyarrow as pa

        columns = {"probe_id": pa.array(probe_ids, pa.string())}
        for name in ("bmd", "bmdl", "bmdu"):
            columns[name] = pa.array(getattr(self, name), from_pandas=True)
        for i, model in enumerate(self.models):
            columns[f"weight_{model}"] = pa.array(self.weights[:, i], from_pandas=True)
        return pa.table(columns)


def average_models(
    fits: ModelFits, models: Sequence[ModelName] | None = None, compat: Compat | None = None
) -> AveragedModels:
    """Average some models of every probe, all of them by default; nothing is fitted."""
    names = tuple(models or fits.models)
    columns = [fits.models.index(name) for name in names]
    usable = np.isfinite(fits.bmd[:, columns]) & ((fits.flags[:, columns] & FitFlag.NOT_CONVERGED) == 0)
    aic = np.where(usable, fits.aic(compat)[:, columns], np.inf)
    with np.errstate(invalid="ignore", divide="ignore"):
        weights = np.exp(-0.5 * (aic - aic.min(axis=1, keepdims=True)))
        weights /= weights.sum(axis=1, keepdims=True)
        place = np.log(fits.bmd[:, columns])
        below = (place - np.log(fits.bmdl[:, columns])) / _root(fits)
        above = (np.log(fits.bmdu[:, columns]) - place) / _root(fits)
    some = usable.any(axis=1)
    weights[~some] = np.nan
    quantiles = np.full((3, len(fits)), np.nan)
    tail = 1 - fits.settings.confidence
    for row, share in enumerate((tail, 0.5, 1 - tail)):
        quantiles[row, some] = _quantile(
            share, weights[some], usable[some], place[some], below[some], above[some]
        )
    return AveragedModels(names, weights, bmd=quantiles[1], bmdl=quantiles[0], bmdu=quantiles[2])


def _root(fits: ModelFits) -> float:
    return float(np.sqrt(fits.settings.quantile))


def _quantile(
    share: float,
    weights: NDArray[np.float64],
    usable: NDArray[np.bool_],
    place: NDArray[np.float64],
    below: NDArray[np.float64],
    above: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The dose below which lies so large a share of the mixture, by bisection on its logarithm; NaN beyond all doses."""
    from scipy.special import ndtr

    far = np.where(
        usable, _FAR * np.nanmax(np.stack([np.nan_to_num(below), np.nan_to_num(above)]), axis=0) + 1, 0
    )
    low = np.where(usable, place - far, np.inf).min(axis=1)
    high = np.where(usable, place + far, -np.inf).max(axis=1)

    def mixture(x: NDArray[np.float64]) -> NDArray[np.float64]:
        distance = x[:, None] - place
        with np.errstate(invalid="ignore", divide="ignore"):
            z = distance / np.where(distance < 0, below, above)
        cumulated = np.where(np.isfinite(z), ndtr(np.nan_to_num(z)), 0.5)
        return np.asarray(np.where(usable, weights * cumulated, 0).sum(axis=1))

    reached = (mixture(low) <= share) & (mixture(high) >= share)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        before = mixture(middle) < share
        low, high = np.where(before, middle, low), np.where(before, high, middle)
    return np.where(reached, np.exp((low + high) / 2), np.nan)
