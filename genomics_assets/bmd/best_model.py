"""Chooses one model for each probe from fits that are already made.

The order of decisions is that of BMDExpress-3 (`BMDSTool.selectBestModels`):

1. the best polynomial, by AIC or by a chain of likelihood ratio tests;
2. the best of the other models, by AIC;
3. the better of the two; the polynomial wins a tie;
4. Hill curves whose k lies far below the tested doses are flagged, and dealt with as asked;
5. a winner that did not converge is no winner.

A model converged when its BMD is a number, and so are those of BMDL and BMDU that the settings put to use.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from genomics_assets.bmd.fitting import Compat, FitFlag, ModelFits
from genomics_assets.bmd.models import POLYNOMIALS
from genomics_assets.input_error import InputError

LimitUse = Literal[
    "compute_and_utilize_bmd_bmdl", "compute_and_utilize", "compute_but_ignore", "do_not_compute"
]
FlaggedHill = Literal["include", "exclude_flagged", "exclude_all_hill", "modify", "next_best"]

_NEXT_BEST_P_VALUE = 0.05


class SelectionOutcome(IntEnum):
    """Why a probe has a best model or none."""

    SELECTED = 0
    NOT_FITTED = 1
    """The probe is constant or not finite."""
    NOT_CONVERGED = 2
    """No model that was allowed converged."""


class HillFlag(IntEnum):
    """What the Hill flag did to a probe (`k_flag`)."""

    NONE = 0
    FLAGGED = 1
    NEXT_BEST = 3
    """Another model was taken in the place of a flagged Hill curve."""
    MODIFIED = 4
    """A flagged Hill curve stayed, with half of the smallest BMD of the Hill curves that are not flagged."""


@dataclass(frozen=True)
class SelectionSettings:
    """How the best model is chosen.

    Attributes:
        best_poly: `lowest_aic`, or `nested_chi_squared`: a higher degree must fit better by a test with one degree of
            freedom.
        poly_p_value_cutoff: of that test.
        bmdl_bmdu: which limits must be numbers for a fit to count as converged.
        flag_hill: whether Hill curves are flagged at all.
        hill_k_ratio: flagged when k is below this share of the lowest dose above zero.
        flagged_hill: what becomes of them. `next_best`: the best other model with a fit p-value above 0.05, and
            `modify` where there is none.
        compat: whose counting of parameters the AIC uses; None: that of the fits.
    """

    best_poly: Literal["lowest_aic", "nested_chi_squared"] = "lowest_aic"
    poly_p_value_cutoff: float = 0.05
    bmdl_bmdu: LimitUse = "compute_and_utilize_bmd_bmdl"
    flag_hill: bool = True
    hill_k_ratio: float = 1 / 3
    flagged_hill: FlaggedHill = "next_best"
    compat: Compat | None = None

    def __post_init__(self) -> None:
        for name in ("poly_p_value_cutoff", "hill_k_ratio"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name):g}", remedy="write a number above 0")


@dataclass(frozen=True, eq=False)
class BestModels:
    """The choice for P probes.

    Attributes:
        settings: how it was made.
        model: (P,) int8, index into the fits' models, -1 for none.
        best_poly: (P,) int8, likewise; the best polynomial whether or not it won.
        bmd, bmdl, bmdu: (P,) float64 of the winner, after the treatment of flagged Hill curves; NaN for none.
        k_flag: (P,) int8 of `HillFlag`.
        outcome: (P,) int8 of `SelectionOutcome`.
    """

    settings: SelectionSettings
    model: NDArray[np.int8]
    best_poly: NDArray[np.int8]
    bmd: NDArray[np.float64]
    bmdl: NDArray[np.float64]
    bmdu: NDArray[np.float64]
    k_flag: NDArray[np.int8]
    outcome: NDArray[np.int8]

    def of_winner(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(P, M) -> (P,): the winner's value, NaN where there is no winner."""
        picked = np.take_along_axis(values, np.maximum(self.model, 0)[:, None].astype(np.intp), axis=1)[:, 0]
        return np.where(self.model >= 0, picked, np.nan)


def select_best_models(fits: ModelFits, settings: SelectionSettings | None = None) -> BestModels:
    """Choose a model for each probe; nothing is fitted."""
    settings = settings or SelectionSettings()
    convergent = _convergent(fits, settings)
    aic = fits.aic(settings.compat)
    best_poly = _best_polynomial(fits, aic, convergent, settings)
    others = [i for i, name in enumerate(fits.models) if name not in POLYNOMIALS]
    allowed = convergent.copy()
    flagged = _flagged_hill(fits, settings)
    hill = fits.models.index("hill") if "hill" in fits.models else None
    if hill is not None and settings.flag_hill:
        if settings.flagged_hill == "exclude_all_hill":
            allowed[:, hill] = False
        elif settings.flagged_hill == "exclude_flagged":
            allowed[:, hill] &= ~flagged
    winner = _better(aic, allowed, best_poly, _best_in_order(aic, allowed, others))
    k_flag = np.where(flagged, HillFlag.FLAGGED, HillFlag.NONE).astype(np.int8)
    won_flagged = flagged & (winner == hill) if hill is not None else np.zeros(len(fits), np.bool_)
    if hill is not None and settings.flagged_hill == "next_best":
        passing = convergent & (fits.fit_p_value(settings.compat) > _NEXT_BEST_P_VALUE)
        passing[:, hill] = False
        poly = np.where(_at(passing, best_poly), best_poly, -1)
        second = _better(aic, passing, poly, _best_in_order(aic, passing, others))
        replaced = won_flagged & (second >= 0)
        winner = np.where(replaced, second, winner)
        k_flag[replaced] = HillFlag.NEXT_BEST
        won_flagged &= ~replaced
    values = {name: _pick(getattr(fits, name), winner) for name in ("bmd", "bmdl", "bmdu")}
    if hill is not None and settings.flagged_hill in ("modify", "next_best"):
        plain = (winner == hill) & ~flagged
        if plain.any() and won_flagged.any():
            k_flag[won_flagged] = HillFlag.MODIFIED
            half = 0.5 * float(values["bmd"][plain].min())
            for name in values:
                values[name][won_flagged] = half
    outcome = np.where(winner >= 0, SelectionOutcome.SELECTED, SelectionOutcome.NOT_CONVERGED)
    outcome[(fits.flags == FitFlag.NOT_FITTED).all(axis=1)] = SelectionOutcome.NOT_FITTED
    return BestModels(
        settings=settings,
        model=winner.astype(np.int8),
        best_poly=best_poly.astype(np.int8),
        k_flag=k_flag,
        outcome=outcome.astype(np.int8),
        **values,
    )


def _convergent(fits: ModelFits, settings: SelectionSettings) -> NDArray[np.bool_]:
    needed = [fits.bmd]
    if settings.bmdl_bmdu in ("compute_and_utilize_bmd_bmdl", "compute_and_utilize"):
        needed.append(fits.bmdl)
    if settings.bmdl_bmdu == "compute_and_utilize":
        needed.append(fits.bmdu)
    good = (fits.flags & (FitFlag.NOT_CONVERGED | FitFlag.NOT_FITTED)) == 0
    for values in needed:
        good &= np.isfinite(values) & (values > 0)
    return np.asarray(good)


def _flagged_hill(fits: ModelFits, settings: SelectionSettings) -> NDArray[np.bool_]:
    if "hill" not in fits.models or not settings.flag_hill:
        return np.zeros(len(fits), np.bool_)
    k = fits.parameters[:, fits.models.index("hill"), 2]
    lowest = fits.doses[fits.doses > 0][0]
    return np.asarray(k < settings.hill_k_ratio * lowest)


def _best_polynomial(
    fits: ModelFits, aic: NDArray[np.float64], convergent: NDArray[np.bool_], settings: SelectionSettings
) -> NDArray[np.intp]:
    """(P,): index of the best polynomial; one that did not converge only where none did, -1 where there is none."""
    degrees = [fits.models.index(name) for name in POLYNOMIALS if name in fits.models]
    best = np.full(len(fits), degrees[0] if degrees else -1, np.intp)
    if settings.best_poly == "lowest_aic":
        for b in degrees[1:]:
            best = np.where(_wins(aic, convergent, best, b), b, best)
        return best
    from scipy.special import chdtrc

    stopped = np.zeros(len(fits), np.bool_)
    for a, b in pairwise(degrees):
        p = chdtrc(1, np.maximum(2 * (fits.log_likelihood[:, b] - fits.log_likelihood[:, a]), 0))
        better = p < settings.poly_p_value_cutoff
        stopped |= np.where(better, ~convergent[:, b], convergent[:, a])
        best = np.where(stopped, best, b)
    return best


def _best_in_order(
    aic: NDArray[np.float64], convergent: NDArray[np.bool_], models: list[int]
) -> NDArray[np.intp]:
    best = np.full(len(aic), -1, np.intp)
    for b in models:
        best = np.where(_wins(aic, convergent, best, b), b, best)
    return best


def _better(
    aic: NDArray[np.float64], convergent: NDArray[np.bool_], poly: NDArray[np.intp], other: NDArray[np.intp]
) -> NDArray[np.intp]:
    """The better of two choices, the first on a tie; -1 where neither converged."""
    poly_is_good, other_is_good = _at(convergent, poly), _at(convergent, other)
    lower = _pick(aic, other) < _pick(aic, poly)
    winner = np.where(other_is_good & (lower | ~poly_is_good), other, poly)
    return np.where(poly_is_good | other_is_good, winner, -1)


def _wins(
    aic: NDArray[np.float64], convergent: NDArray[np.bool_], a: NDArray[np.intp], b: int
) -> NDArray[np.bool_]:
    """Whether model b takes the place of a: it converged, and has the lower AIC or the only BMD."""
    return np.asarray(convergent[:, b] & ((aic[:, b] < _pick(aic, a)) | ~_at(convergent, a)))


def _at(values: NDArray[np.bool_], model: NDArray[np.intp]) -> NDArray[np.bool_]:
    return np.asarray((model >= 0) & np.take_along_axis(values, np.maximum(model, 0)[:, None], axis=1)[:, 0])


def _pick(values: NDArray[np.float64], model: NDArray[np.intp]) -> NDArray[np.float64]:
    picked = np.take_along_axis(values, np.maximum(model, 0)[:, None], axis=1)[:, 0]
    return np.where(model >= 0, picked, np.nan)
