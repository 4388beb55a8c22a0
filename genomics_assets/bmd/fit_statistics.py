"""What is told of each fit beside its BMD: how well it fits, how far it goes, whether it is a step.

As BMDExpress-3 defines them, over the means of the dose groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from genomics_assets.bmd.best_model import BestModels
from genomics_assets.bmd.design import LOG_BASES
from genomics_assets.bmd.fitting import FitFlag, ModelFits
from genomics_assets.bmd.models import MODELS, model_mean

if TYPE_CHECKING:
    import pyarrow as pa

STEP_THRESHOLD = 0.75


@dataclass(frozen=True, eq=False)
class FitStatistics:
    """Statistics of M models on P probes over J doses; NaN and False where there is no fit.

    Attributes:
        residuals: (P, M, J) group mean less curve.
        r_squared: (P, M) of the curve on the group means, each dose counting once.
        z_score: (P, M) change from control to the highest dose over its standard error (delta method).
        bmr_counts_to_top: (P, M) largest change over the doses, in benchmark responses.
        fold_change_to_top: (P, M) fold change from control to the dose of the largest change, at least 1 in size,
            negative where it falls.
        is_step_function: (P, M) one step between neighbouring doses makes up three quarters of the whole change.
        is_step_below_lowest: (P, M) a step, with its BMD below the lowest dose above zero.
        bmd_low_dose_ratio, bmd_high_dose_ratio: (P, M) BMD over the lowest dose above zero, over the highest dose.
    """

    residuals: NDArray[np.float64]
    r_squared: NDArray[np.float64]
    z_score: NDArray[np.float64]
    bmr_counts_to_top: NDArray[np.float64]
    fold_change_to_top: NDArray[np.float64]
    is_step_function: NDArray[np.bool_]
    is_step_below_lowest: NDArray[np.bool_]
    bmd_low_dose_ratio: NDArray[np.float64]
    bmd_high_dose_ratio: NDArray[np.float64]


def fit_statistics(fits: ModelFits, step_threshold: float = STEP_THRESHOLD) -> FitStatistics:
    """Statistics of every fit; see `FitStatistics`."""
    curves = np.stack(
        [model_mean(name, fits.parameters[:, i], fits.doses) for i, name in enumerate(fits.models)], axis=1
    )
    means = fits.group_means[:, None, :]
    residuals = means - curves
    spread = ((means - means.mean(axis=2, keepdims=True)) ** 2).sum(axis=2)
    change = curves - curves[:, :, :1]
    with np.errstate(divide="ignore", invalid="ignore"):
        top = np.nan_to_num(np.abs(change)).argmax(axis=2)[:, :, None]
        largest = np.take_along_axis(change, top, axis=2)[:, :, 0]
        steps = np.abs(np.diff(curves, axis=2)).max(axis=2)
        is_step = steps / (curves.max(axis=2) - curves.min(axis=2)) >= step_threshold
        lowest = fits.doses[fits.doses > 0][0]
        return FitStatistics(
            residuals=residuals,
            r_squared=np.where(spread > 0, 1 - (residuals**2).sum(axis=2) / spread, np.nan),
            z_score=_z_scores(fits),
            bmr_counts_to_top=np.abs(largest) / _benchmark_change(fits, curves),
            fold_change_to_top=_fold_change(fits, curves[:, :, 0], curves[:, :, 0] + largest),
            is_step_function=is_step,
            is_step_below_lowest=is_step & (fits.bmd < lowest),
            bmd_low_dose_ratio=fits.bmd / lowest,
            bmd_high_dose_ratio=fits.bmd / fits.doses[-1],
        )


def _benchmark_change(fits: ModelFits, curves: NDArray[np.float64]) -> NDArray[np.float64]:
    bmr = fits.settings.bmr
    if bmr.type == "sd":
        return bmr.factor * fits.sigma
    if fits.log_transformation == "NONE":
        return np.asarray(bmr.factor * np.abs(curves[:, :, 0]))
    return np.full_like(fits.sigma, np.log1p(bmr.factor) / np.log(LOG_BASES[fits.log_transformation]))


def _fold_change(
    fits: ModelFits, control: NDArray[np.float64], top: NDArray[np.float64]
) -> NDArray[np.float64]:
    sign = np.where(top < control, -1.0, 1.0)
    if fits.log_transformation == "NONE":
        return np.asarray(sign * np.maximum(control, top) / np.minimum(control, top))
    with np.errstate(over="ignore"):
        return np.asarray(sign * LOG_BASES[fits.log_transformation] ** np.abs(top - control))


def _z_scores(fits: ModelFits) -> NDArray[np.float64]:
    """(f(highest) - f(0)) / se, with the covariance sigma²·(J'J)⁻¹ of the curve's parameters."""
    weights = np.sqrt(fits.group_sizes)[:, None]
    scores = np.full(fits.bmd.shape, np.nan)
    for model, name in enumerate(fits.models):
        free = [i for i, parameter in enumerate(MODELS[name].parameters) if parameter != "sign"]
        parameters = fits.parameters[:, model]
        slopes = []
        for i in free:
            step = np.maximum(np.abs(parameters[:, i]) * 1e-5, 1e-12)
            above, below = parameters.copy(), parameters.copy()
            above[:, i] += step
            below[:, i] -= step
            slopes.append(
                (model_mean(name, above, fits.doses) - model_mean(name, below, fits.doses))
                / (2 * step[:, None])
            )
        jacobian = np.stack(slopes, axis=-1)
        usable = np.isfinite(jacobian).all(axis=(1, 2))
        jacobian = jacobian[usable]
        contrast = jacobian[:, -1] - jacobian[:, 0]
        scale = np.sqrt((jacobian**2).sum(axis=1)) + 1e-300
        weighted = jacobian / scale[:, None, :] * weights
        normal = np.einsum("pji,pjk->pik", weighted, weighted) + 1e-10 * np.eye(len(free))
        solved = np.linalg.solve(normal, (contrast / scale)[:, :, None])[:, :, 0]
        variance = (solved * contrast / scale).sum(axis=1)
        curve = model_mean(name, parameters[usable], fits.doses[[0, -1]])
        with np.errstate(divide="ignore", invalid="ignore"):
            scores[usable, model] = (curve[:, 1] - curve[:, 0]) / (
                fits.sigma[usable, model] * np.sqrt(variance)
            )
    return np.where(np.isfinite(scores), scores, np.nan)


def probe_stats_table(
    probe_ids: Sequence[str], fits: ModelFits, best: BestModels, statistics: FitStatistics | None = None
) -> pa.Table:
    """One row for each probe and model, with the columns of `probe_stat_results`; null where there is no number.

    The winner's row carries the BMD, BMDL and BMDU of the choice, which the treatment of Hill curves may have changed.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    told = statistics or fit_statistics(fits)
    probes, models = fits.bmd.shape
    is_best = best.model[:, None] == np.arange(models)
    hill = np.array([name == "hill" for name in fits.models])
    names = pa.array(fits.models, pa.string())
    ids = pa.array(probe_ids, pa.string())
    lengths = np.array(
        [sum(parameter != "sign" for parameter in MODELS[name].parameters) for name in fits.models], np.int32
    )
    kept = np.arange(fits.parameters.shape[2]) < lengths[:, None]
    fitted = np.isfinite(fits.log_likelihood).ravel()

    def numbers(values: NDArray[Any]) -> pa.Array:
        flat = np.where(np.isfinite(values), values, np.nan).ravel()
        return pa.array(flat, pa.float64(), from_pandas=True)

    def truths(values: NDArray[np.bool_]) -> pa.Array:
        return pa.array(values.ravel())

    def lists(flat: NDArray[np.float64], each: NDArray[np.int32]) -> pa.Array:
        offsets = np.concatenate([[0], np.cumsum(np.tile(each, probes))]).astype(np.int32)
        array = pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat, from_pandas=True))
        return pc.if_else(pa.array(fitted), array, None)

    direction = np.repeat(fits.direction, models)
    return pa.table(
        {
            "probe_id": ids.take(pa.array(np.repeat(np.arange(probes), models))),
            "model": names.take(pa.array(np.tile(np.arange(models), probes))),
            "is_best": truths(is_best),
            "is_best_poly": truths(
                (best.best_poly[:, None] == np.arange(models)) & fitted.reshape(probes, models)
            ),
            "bmd": numbers(np.where(is_best, best.bmd[:, None], fits.bmd)),
            "bmdl": numbers(np.where(is_best, best.bmdl[:, None], fits.bmdl)),
            "bmdu": numbers(np.where(is_best, best.bmdu[:, None], fits.bmdu)),
            "fit_p_value": numbers(fits.fit_p_value(best.settings.compat)),
            "fit_log_likelihood": numbers(fits.log_likelihood),
            "aic": numbers(fits.aic(best.settings.compat)),
            "adverse_direction": pa.array(direction, pa.int16()),
            "success": truths(
                (fits.flags & (FitFlag.NOT_CONVERGED | FitFlag.NOT_FITTED | FitFlag.NO_BMD)) == 0
            ),
            "k_flag": pa.array(np.where(hill, best.k_flag[:, None], 0).ravel(), pa.int16()),
            "curve_parameters": lists(fits.parameters[:, kept].ravel(), lengths),
            "other_parameters": lists(fits.sigma.ravel(), np.ones(models, np.int32)),
            "covariances": pa.nulls(probes * models, pa.list_(pa.float64())),
            "residuals": lists(told.residuals.ravel(), np.full(models, fits.doses.size, np.int32)),
            "r_squared": numbers(told.r_squared),
            "z_score": numbers(told.z_score),
            "bmr_counts_to_top": numbers(told.bmr_counts_to_top),
            "fold_change_to_top": numbers(told.fold_change_to_top),
            "is_step_function": truths(told.is_step_function),
            "is_step_below_lowest": truths(told.is_step_below_lowest),
            "bmd_low_dose_ratio": numbers(told.bmd_low_dose_ratio),
            "bmd_high_dose_ratio": numbers(told.bmd_high_dose_ratio),
            "w_auc": pa.nulls(probes * models, pa.float32()),
        }
    )
