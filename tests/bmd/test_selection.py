"""The best model: order of decisions, flagged Hill curves, convergence; and averages over models."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from genomics_assets.bmd.best_model import (
    HillFlag,
    SelectionOutcome,
    SelectionSettings,
    select_best_models,
)
from genomics_assets.bmd.fit_statistics import fit_statistics, probe_stats_table
from genomics_assets.bmd.fitting import FitFlag, FitSettings, ModelFits, fit_models
from genomics_assets.bmd.model_averaging import average_models
from genomics_assets.bmd.planted import PlantedExperiment, planted_experiment

MODELS = ("hill", "power", "linear", "poly2", "exp3", "exp5")
HILL, POWER, LINEAR, POLY2, EXP3, EXP5 = range(6)


@pytest.fixture(scope="module")
def experiment() -> PlantedExperiment:
    return planted_experiment(300, replicates=6)


@pytest.fixture(scope="module")
def fits(experiment: PlantedExperiment) -> ModelFits:
    return fit_models(experiment.sample_doses, experiment.responses, "BASE2", FitSettings(models=MODELS))


def stated(log_likelihood: list[list[float]], bmd: list[list[float]], k: float = 5.0) -> ModelFits:
    """Fits with likelihoods and BMDs as given: doses 0, 3, 10; Hill curves of one k; four or more free parameters."""
    ll, dose = np.array(log_likelihood), np.array(bmd)
    shape = ll.shape
    parameters = np.full((*shape, 5), 1.0)
    parameters[:, HILL, 2] = k
    return ModelFits(
        settings=FitSettings(models=MODELS),
        log_transformation="BASE2",
        doses=np.array([0.0, 3.0, 10.0]),
        group_sizes=np.array([8, 8, 8]),
        group_means=np.zeros((shape[0], 3)),
        within=np.ones((shape[0], 3)),
        probe_flags=np.zeros(shape[0], np.uint8),
        direction=np.ones(shape[0], np.int8),
        flags=np.zeros(shape, np.uint8),
        bounded=np.zeros(shape, np.int8),
        bmd=dose,
        bmdl=dose / 2,
        bmdu=dose * 2,
        log_likelihood=ll,
        sigma=np.ones(shape),
        parameters=parameters,
    )


def test_the_lowest_aic_wins_and_a_polynomial_wins_a_tie() -> None:
    # Free parameters: 5, 4, 3, 4, 4, 5. AIC = 2K - 2LL.
    fits = stated([[-20, -20, -20, -20, -20, -20], [-10, -14, -20, -20, -20, -20], [-20, -19, -18, -20, -20, -20]],
                  [[4.0] * 6] * 3)  # fmt: skip
    best = select_best_models(fits)
    assert best.model.tolist() == [LINEAR, HILL, LINEAR]
    tie = stated([[-20, -10, -9, -20, -20, -20]], [[4.0] * 6])
    tie.log_likelihood[0, POWER] = tie.log_likelihood[0, LINEAR] + 1
    assert select_best_models(tie).model.tolist() == [LINEAR]


def test_a_model_counts_only_with_the_limits_that_are_put_to_use() -> None:
    fits = stated([[-10, -20, -23, -25, -30, -30]] * 2, [[4.0] * 6] * 2)
    fits.bmdl[0, HILL] = np.nan
    fits.bmdu[1, HILL] = np.nan
    chosen = {
        use: select_best_models(fits, SelectionSettings(bmdl_bmdu=use)).model.tolist()  # type: ignore[arg-type]
        for use in (
            "compute_and_utilize_bmd_bmdl",
            "compute_and_utilize",
            "compute_but_ignore",
            "do_not_compute",
        )
    }
    assert chosen == {
        "compute_and_utilize_bmd_bmdl": [POWER, HILL],
        "compute_and_utilize": [POWER, POWER],
        "compute_but_ignore": [HILL, HILL],
        "do_not_compute": [HILL, HILL],
    }


def test_a_chain_of_tests_stops_at_the_degree_that_does_not_fit_better() -> None:
    better, hardly = [-90, -90, -20, -17, -90, -90], [-90, -90, -20, -19, -90, -90]
    fits = stated([better, hardly], [[4.0] * 6] * 2)
    best = select_best_models(fits, SelectionSettings(best_poly="nested_chi_squared"))
    assert best.best_poly.tolist() == [POLY2, LINEAR]


@pytest.mark.parametrize(
    ("treatment", "model", "bmd", "flag"),
    [
        ("include", HILL, 4.0, HillFlag.FLAGGED),
        ("exclude_flagged", POWER, 5.0, HillFlag.FLAGGED),
        ("exclude_all_hill", POWER, 5.0, HillFlag.FLAGGED),
        ("modify", HILL, 0.5 * 6.0, HillFlag.MODIFIED),
        ("next_best", POWER, 5.0, HillFlag.NEXT_BEST),
    ],
)
def test_flagged_hill_curves_are_dealt_with_as_asked(
    treatment: str, model: int, bmd: float, flag: HillFlag
) -> None:
    # Probe 0 has a flagged Hill curve, probe 1 one that is not; both have Hill as the best.
    fits = stated([[-10, -12.5, -30, -30, -30, -30]] * 2, [[4.0, 5, 5, 5, 5, 5], [6.0, 5, 5, 5, 5, 5]])
    fits.parameters[0, HILL, 2] = 0.9
    within = np.full((2, 3), 1.0)
    ample = dataclasses.replace(fits, within=within, stated_p_value=np.full((2, 6), 0.2))
    best = select_best_models(ample, SelectionSettings(flagged_hill=treatment))  # type: ignore[arg-type]
    assert (best.model[0], best.bmd[0], best.k_flag[0]) == (model, bmd, flag)
    assert best.k_flag[1] == HillFlag.NONE
    assert best.model[1] == (POWER if treatment == "exclude_all_hill" else HILL)


def test_next_best_falls_back_on_the_modified_bmd_where_no_other_model_fits() -> None:
    fits = stated([[-10, -12.5, -30, -30, -30, -30]] * 2, [[4.0] * 6, [6.0] * 6])
    fits.parameters[0, HILL, 2] = 0.9
    poor = dataclasses.replace(fits, stated_p_value=np.full((2, 6), 0.01))
    best = select_best_models(poor, SelectionSettings(flagged_hill="next_best"))
    assert (best.model[0], best.bmd[0], best.bmdl[0], best.k_flag[0]) == (HILL, 3.0, 3.0, HillFlag.MODIFIED)


def test_a_probe_without_a_model_says_why() -> None:
    fits = stated([[-10.0] * 6] * 2, [[np.nan] * 6, [4.0] * 6])
    fits.flags[1] = FitFlag.NOT_FITTED
    best = select_best_models(fits)
    assert best.model.tolist() == [-1, -1]
    assert best.outcome.tolist() == [SelectionOutcome.NOT_CONVERGED, SelectionOutcome.NOT_FITTED]
    assert np.isnan(best.bmd).all()


def test_statistics_of_a_planted_step_and_of_a_straight_line() -> None:
    doses = np.repeat([0.0, 1, 10, 100], 4)
    noise = np.tile([-0.1, 0.05, 0.1, -0.05], 4)
    step = np.where(doses >= 10, 3.0, 0.0) + noise + 8
    line = doses / 100 * 3 + noise + 8
    fits = fit_models(doses, np.stack([step, line]), "BASE2", FitSettings(models=MODELS))
    told = fit_statistics(fits)
    assert told.is_step_function[0, HILL]
    assert not told.is_step_function[0, LINEAR] or told.r_squared[0, LINEAR] < 0.7
    assert told.r_squared[1, LINEAR] == pytest.approx(1, abs=1e-9)
    assert told.fold_change_to_top[1, LINEAR] == pytest.approx(8, rel=0.01)
    # The slope's standard error, by the textbook.
    slope_error = fits.sigma[1, LINEAR] / np.sqrt(((doses - doses.mean()) ** 2).sum())
    assert told.z_score[1, LINEAR] == pytest.approx(fits.parameters[1, LINEAR, 1] / slope_error, rel=1e-3)


def test_the_table_of_statistics_marks_one_winner_for_each_probe(fits: ModelFits) -> None:
    best = select_best_models(fits)
    table = probe_stats_table([f"p{i}" for i in range(len(fits))], fits, best)
    assert table.num_rows == len(fits) * len(MODELS)
    winners = table.filter(table["is_best"])
    assert winners.num_rows == (best.model >= 0).sum()
    np.testing.assert_allclose(winners["bmd"].to_numpy(), best.bmd[best.model >= 0])
    residuals = table["residuals"][LINEAR].as_py()
    assert len(residuals) == fits.doses.size


def test_an_average_of_one_model_is_that_model_and_weights_sum_to_one(fits: ModelFits) -> None:
    alone = average_models(fits, ["linear"])
    known = np.isfinite(fits.bmdl[:, LINEAR]) & np.isfinite(fits.bmdu[:, LINEAR])
    assert known.sum() > 100
    for name in ("bmd", "bmdl", "bmdu"):
        np.testing.assert_allclose(getattr(alone, name)[known], getattr(fits, name)[known, LINEAR], rtol=1e-9)
    all_models = average_models(fits)
    some = np.isfinite(all_models.weights[:, 0])
    np.testing.assert_allclose(all_models.weights[some].sum(axis=1), 1)
    inside = np.isfinite(all_models.bmdl) & np.isfinite(all_models.bmdu)
    assert (all_models.bmdl[inside] < all_models.bmd[inside]).all()


def test_planted_benchmark_doses_lie_in_their_averaged_intervals(
    experiment: PlantedExperiment, fits: ModelFits
) -> None:
    average = average_models(fits)
    lower, upper = np.nan_to_num(average.bmdl, nan=0.0), np.nan_to_num(average.bmdu, nan=np.inf)
    responsive = np.isfinite(experiment.bmd)
    inside = (lower <= experiment.bmd) & (experiment.bmd <= upper)
    # Nominally 90 %; 150 probes stray from it by 2.4 %.
    assert inside[responsive].mean() >= 0.85
