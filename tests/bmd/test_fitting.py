"""Fits against their own definition, against each other, and against answers that are known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.optimize import minimize

from genomics_assets.bmd.fitting import (
    BenchmarkResponse,
    FitFlag,
    FitSettings,
    ModelFits,
    ProbeFlag,
    fit_models,
)
from genomics_assets.bmd.models import MODEL_NAMES, MODELS, model_mean
from genomics_assets.bmd.planted import PlantedExperiment, planted_experiment
from genomics_assets.input_error import InputError

QUANTILE = 2.705543454095404
BOUNDS = {
    "hill": [(np.log(1e-6), np.log(5)), (0, np.log(18))],
    "exp5": [(-12.0, 14.0), (0, np.log(18))],
    "exp4": [(-12.0, 14.0), (0, 0)],
    "power": [(0, np.log(18)), (0, 0)],
    "exp3": [(-20.0, np.log(12)), (0, np.log(18))],
    "exp2": [(-20.0, np.log(12)), (0, 0)],
    "linear": [(0, 0), (0, 0)],
    "poly2": [(0, 1), (0, 0)],
}


@pytest.fixture(scope="module")
def experiment() -> PlantedExperiment:
    return planted_experiment(80, replicates=4, seed=7)


@pytest.fixture(scope="module")
def fits(experiment: PlantedExperiment) -> ModelFits:
    settings = FitSettings(models=MODEL_NAMES, monotonic_poly2=True)
    return fit_models(experiment.sample_doses, experiment.responses, "BASE2", settings)


def shape(name: str, theta: np.ndarray, x: np.ndarray, x0: float, sign: float) -> np.ndarray:
    """The change from control in units of the change at x0, written down once more and otherwise."""
    first, second = theta
    if name == "hill":
        change = lambda x: x ** np.exp(second) / (np.exp(first) ** np.exp(second) + x ** np.exp(second))  # noqa: E731
    elif name in ("exp4", "exp5"):
        change = lambda x: 1 - np.exp(-((np.exp(first) * x) ** np.exp(second)))  # noqa: E731
    elif name in ("exp2", "exp3"):
        change = lambda x: np.exp(sign * np.exp(first) * x ** np.exp(second)) - 1  # noqa: E731
    elif name == "power":
        change = lambda x: x ** np.exp(first)  # noqa: E731
    elif name == "poly2":
        return first * x / x0 + (1 - first) * (x / x0) ** 2
    else:
        return x / x0
    return change(x) / change(np.array(x0))


def deviance(
    name: str, fits: ModelFits, row: int, bmd: float, responses: np.ndarray, doses: np.ndarray
) -> float:
    """Twice the loss of log-likelihood when the BMD is held, by a search of its own over the plain likelihood."""
    column = fits.models.index(name)
    x, x0 = doses / doses.max(), bmd / doses.max()
    at = model_mean(name, fits.parameters[row, column], [0, fits.bmd[row, column]])
    sign = float(np.sign(at[1] - at[0]))
    c = sign * fits.settings.bmr.factor

    def loss(theta: np.ndarray) -> float:
        w = shape(name, theta, x, x0, sign)
        # mean = g + sigma·c·w; for a·exp(...) the control follows from the change, a·(m0 - 1) = c·sigma.
        if name in ("exp2", "exp3"):
            m0 = np.exp(sign * np.exp(theta[0]) * x0 ** np.exp(theta[1]))
            mean_in_sigma, free = c / (m0 - 1) + c * w, False
        else:
            mean_in_sigma, free = c * w, True
        y = responses - responses.mean() if free else responses
        z = mean_in_sigma - mean_in_sigma.mean() if free else mean_in_sigma
        a, b, n = y @ y, y @ z, len(y)
        u = (b + np.sqrt(b * b + 4 * n * a)) / (2 * a)
        return 0.5 * (u * u * a - 2 * u * b + z @ z) - n * np.log(u) + 0.5 * n * np.log(2 * np.pi)

    bounds = BOUNDS[name]
    grid = [np.linspace(low, high, 60 if high > low else 1) for low, high in bounds]
    with np.errstate(all="ignore"):
        tried = [(loss(np.array([i, j])), i, j) for i in grid[0] for j in grid[1]]
        starts = sorted(start for start in tried if np.isfinite(start[0]))[:4]
        found = [starts[0][0]]
        for _, i, j in starts:
            found.append(
                minimize(
                    loss, [i, j], bounds=bounds, method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-9}
                ).fun
            )
    return 2 * (min(found) + fits.log_likelihood[row, column])


@pytest.mark.parametrize("name", sorted(BOUNDS))
def test_both_limits_lie_where_the_profile_likelihood_loses_the_quantile(
    name: str, experiment: PlantedExperiment, fits: ModelFits
) -> None:
    column = fits.models.index(name)
    usable = np.flatnonzero(np.isfinite(fits.bmdl[:, column]) & np.isfinite(fits.bmdu[:, column]))
    rows = np.random.default_rng(5).choice(usable, 5, replace=False)
    for row in rows:
        for limit in (fits.bmdl, fits.bmdu):
            found = deviance(
                name,
                fits,
                row,
                limit[row, column],
                experiment.responses[row].astype(float),
                experiment.sample_doses,
            )
            assert found == pytest.approx(QUANTILE, abs=0.02), (name, row)


def test_limits_enclose_the_bmd_and_nested_models_are_ordered(fits: ModelFits) -> None:
    known = np.isfinite(fits.bmdl)
    assert known.sum() > 300
    assert (fits.bmdl[known] <= fits.bmd[known]).all()
    known = np.isfinite(fits.bmdu)
    assert (fits.bmd[known] <= fits.bmdu[known]).all()
    same_direction = np.sign(fits.parameters[:, fits.models.index("linear"), 1]) == fits.direction
    for name, model in MODELS.items():
        for inner in model.contains:
            gain = (
                fits.log_likelihood[:, fits.models.index(name)]
                - fits.log_likelihood[:, fits.models.index(inner)]
            )
            assert gain[same_direction].min() > -1e-4, (name, inner)


def test_the_likelihood_is_that_of_the_curve(experiment: PlantedExperiment, fits: ModelFits) -> None:
    n = experiment.sample_doses.size
    for column, name in enumerate(fits.models):
        curves = model_mean(name, fits.parameters[:, column], experiment.sample_doses)
        squares = ((experiment.responses - curves) ** 2).sum(axis=1)
        sigma2 = fits.sigma[:, column] ** 2
        direct = -0.5 * n * np.log(2 * np.pi * sigma2) - squares / (2 * sigma2)
        np.testing.assert_allclose(direct, fits.log_likelihood[:, column], atol=2e-5, err_msg=name)


def test_the_curve_changes_by_the_benchmark_response_at_the_bmd(fits: ModelFits) -> None:
    for column, name in enumerate(fits.models):
        known = np.isfinite(fits.bmd[:, column])
        ends = np.stack(
            [
                model_mean(name, fits.parameters[i, column], [0, fits.bmd[i, column]])
                for i in np.flatnonzero(known)
            ]
        )
        np.testing.assert_allclose(
            np.abs(ends[:, 1] - ends[:, 0]), 1.349 * fits.sigma[known, column], rtol=1e-6, err_msg=name
        )


@pytest.mark.parametrize("log_transformation", ["NONE", "BASE2"])
def test_a_relative_response_is_a_share_of_the_control(
    experiment: PlantedExperiment, log_transformation: str
) -> None:
    settings = FitSettings(models=("hill", "exp3", "poly2"), bmr=BenchmarkResponse("relative", 0.05))
    fits = fit_models(experiment.sample_doses, experiment.responses[:20], log_transformation, settings)  # type: ignore[arg-type]
    assert np.isfinite(fits.bmdl).sum() > 30
    for column, name in enumerate(fits.models):
        for row in np.flatnonzero(np.isfinite(fits.bmd[:, column])):
            control, there = model_mean(name, fits.parameters[row, column], [0, fits.bmd[row, column]])
            change = 0.05 * control if log_transformation == "NONE" else np.log2(1.05)
            assert abs(there - control) == pytest.approx(change, rel=1e-6)
    known = np.isfinite(fits.bmdl) & np.isfinite(fits.bmdu)
    assert ((fits.bmdl <= fits.bmd) & (fits.bmd <= fits.bmdu))[known].all()


def test_probes_that_cannot_be_fitted_are_flagged_and_disturb_no_other(experiment: PlantedExperiment) -> None:
    responses = experiment.responses[:6].copy()
    settings = FitSettings(models=("hill", "linear"))
    alone = fit_models(experiment.sample_doses, responses, "BASE2", settings)
    responses[1] = 3.322
    responses[2, 5] = np.nan
    responses[3, 5] = np.inf
    responses[4, experiment.sample_doses == 0] = 3.322
    fits = fit_models(experiment.sample_doses, responses, "BASE2", settings)
    assert [ProbeFlag(int(flag)) for flag in fits.probe_flags] == [
        0, ProbeFlag.CONSTANT, ProbeFlag.NOT_FINITE, ProbeFlag.NOT_FINITE, ProbeFlag.ZERO_VARIANCE_GROUP, 0,
    ]  # fmt: skip
    assert (fits.flags[1:4] == FitFlag.NOT_FITTED).all()
    assert np.isnan(fits.bmd[1:4]).all()
    assert np.isfinite(fits.log_likelihood[4]).all()
    np.testing.assert_array_equal(fits.bmdl[[0, 5]], alone.bmdl[[0, 5]])


def test_a_design_without_replicates_is_fitted_and_has_no_test_of_fit(experiment: PlantedExperiment) -> None:
    first = np.unique(experiment.sample_doses, return_index=True)[1]
    fits = fit_models(
        experiment.sample_doses[first],
        experiment.responses[:8, first],
        "BASE2",
        FitSettings(models=("linear",)),
    )
    assert (fits.probe_flags == ProbeFlag.NO_REPLICATES).all()
    assert np.isfinite(fits.bmd).any()
    assert np.isnan(fits.fit_p_value()).all()


def test_results_depend_neither_on_threads_nor_on_the_order_of_samples(experiment: PlantedExperiment) -> None:
    settings = FitSettings(models=("hill", "exp5"))
    one = fit_models(experiment.sample_doses, experiment.responses, "BASE2", settings, threads=1)
    order = np.argsort(experiment.sample_doses, kind="stable")[::-1]
    two = fit_models(
        experiment.sample_doses[order], experiment.responses[:, order], "BASE2", settings, threads=2
    )
    np.testing.assert_allclose(one.bmd, two.bmd, rtol=1e-5)


def test_progress_ends_at_one_and_may_stop_the_work(experiment: PlantedExperiment) -> None:
    told: list[float] = []
    responses = np.repeat(experiment.responses, 12, axis=0)
    fit_models(experiment.sample_doses, responses, "BASE2", FitSettings(models=("linear",)), told.append)
    assert told == sorted(told)
    assert told[-1] == 1

    def stop(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_models(experiment.sample_doses, responses, "BASE2", FitSettings(models=("linear",)), stop)


def test_a_table_of_fits_gives_them_back_from_parquet(tmp_path, fits: ModelFits) -> None:  # type: ignore[no-untyped-def]
    ids = [f"p{i}" for i in range(len(fits))]
    pq.write_table(fits.table(ids), tmp_path / "fits.parquet")
    again, back = ModelFits.from_table(pq.read_table(tmp_path / "fits.parquet"))
    assert again == ids
    assert back.settings == fits.settings
    for f in dataclasses.fields(fits):
        value = getattr(fits, f.name)
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, getattr(back, f.name), err_msg=f.name)


def test_a_linear_fit_equals_least_squares() -> None:
    """A made-up data set by its summary: means, standard deviations and sizes."""
    doses, sizes = [0, 35, 105, 316, 625], 20
    means, deviations = [1.61, 1.66, 1.75, 1.81, 1.89], [0.12, 0.13, 0.11, 0.15, 0.13]
    noise = np.linspace(-1, 1, sizes)
    noise /= noise.std(ddof=1)
    responses = np.concatenate([m + s * noise for m, s in zip(means, deviations, strict=True)])
    fits = fit_models(
        np.repeat(doses, sizes),
        responses[None],
        "NONE",
        FitSettings(models=("linear",), bmr=BenchmarkResponse("sd", 1.0)),
    )
    slope, control = np.polyfit(np.repeat(doses, sizes), responses, 1)
    sigma = np.sqrt(((responses - control - slope * np.repeat(doses, sizes)) ** 2).mean())
    assert fits.bmd[0, 0] == pytest.approx(sigma / slope, rel=1e-9)


@pytest.mark.parametrize(
    ("model", "expected", "tolerance"),
    [
        ("power", (25.9, 24.4, 29.8), 0.005),
        ("hill", (28, 25, 32), 0.02),
        ("linear", (25.851, 24.412, 27.448), 1e-4),
    ],
)
def test_a_data_set_of_the_tests_of_pybmds_has_the_limits_that_are_expected_there(
    model: str, expected: tuple[float, float, float], tolerance: float
) -> None:
    """100 responses at each of five doses, by their means and standard deviations; BMR of one standard deviation."""
    doses, means, deviations = [0, 50, 100, 150, 200], [10, 20, 30, 40, 50], [3, 4, 5, 6, 7]
    noise = np.linspace(-1, 1, 100)
    noise /= noise.std(ddof=1)
    responses = np.concatenate([m + s * noise for m, s in zip(means, deviations, strict=True)])
    settings = FitSettings(models=(model,), bmr=BenchmarkResponse("sd", 1.0))  # type: ignore[arg-type]
    fits = fit_models(np.repeat(doses, 100), responses[None], "NONE", settings)
    found = [fits.bmd[0, 0], fits.bmdl[0, 0], fits.bmdu[0, 0]]
    np.testing.assert_allclose(found, expected, rtol=tolerance)


@pytest.mark.parametrize(
    ("doses", "problem"),
    [([0, 0, 1, 1], "2 distinct doses"), ([-1, 0, 1], "negative"), ([0, np.nan, 1], "not a finite number")],
)
def test_a_design_that_carries_no_curve_is_one_clear_error(doses: list[float], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        fit_models(doses, np.zeros((1, len(doses))), "NONE", FitSettings())


def test_counting_of_parameters_follows_the_switch(fits: ModelFits) -> None:
    bmds, express = fits.parameters_counted("bmds"), fits.parameters_counted("bmdexpress3")
    place = {name: i for i, name in enumerate(fits.models)}
    np.testing.assert_array_equal(express[:, place["exp3"]], bmds[:, place["exp3"]] + 1)
    assert (express[:, place["poly4"]] == 6).all()
    assert (bmds[:, place["poly4"]] < 6).any(), "coefficients on their bound are not counted"
    np.testing.assert_array_equal(express[:, place["hill"]], bmds[:, place["hill"]])
