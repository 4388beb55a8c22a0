"""Prefilters against scipy, against BMDExpress-3's own table, and on planted responses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from genomics_assets.bmd.design import Design
from genomics_assets.bmd.planted import PlantedExperiment, planted_experiment
from genomics_assets.bmd.prefilters import (
    PrefilterOutcome,
    PrefilterSettings,
    false_discovery_rate,
    fold_changes_of,
    notel_lotel_p_values,
    one_way_anova,
    prefilter,
)

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "bmd"


@pytest.fixture(scope="module")
def experiment() -> PlantedExperiment:
    return planted_experiment(60, replicates=4, seed=3)


def groups(experiment: PlantedExperiment, row: int) -> list[np.ndarray]:
    responses = experiment.responses[row].astype(float)
    return [responses[experiment.sample_doses == dose] for dose in np.unique(experiment.sample_doses)]


def test_analysis_of_variance_is_that_of_scipy(experiment: PlantedExperiment) -> None:
    test = one_way_anova(Design.of(experiment.sample_doses), experiment.responses)
    expected = [stats.f_oneway(*groups(experiment, row)) for row in range(60)]
    np.testing.assert_allclose(test.statistic, [result.statistic for result in expected], rtol=1e-9)
    np.testing.assert_allclose(test.p_value, [result.pvalue for result in expected], rtol=1e-8)
    assert (test.df1, test.df2) == (7, 24)


def test_analysis_of_variance_matches_the_table_of_bmdexpress() -> None:
    if not SHARED.exists():
        pytest.skip("the real matrix is not on this machine")
    lines = [line.split("\t") for line in (SHARED / "heparg_s1500_example_1.txt").read_text().splitlines()]
    table = [
        line.split("\t")
        for line in (SHARED / "heparg_s1500_example_1.anova.tsv").read_text().splitlines()[1:]
    ]
    doses = np.array(lines[1][1:], float)
    ids = [line[0] for line in lines[2:]]
    responses = np.array([line[1:] for line in lines[2:]], np.float32)
    settings = PrefilterSettings(fold_change=1.5, lotel_test="welch")
    found = prefilter(doses, responses, ids, "BASE2", settings)
    assert ids == [row[0] for row in table]
    np.testing.assert_allclose(found.p_value, [float(row[4]) for row in table], atol=1e-8)
    np.testing.assert_allclose(found.best_fold_change, [float(row[6]) for row in table], rtol=1e-5)
    assert found.kept.sum() == 1315


def test_corrected_p_values_are_those_of_scipy() -> None:
    p = np.random.default_rng(1).uniform(size=200) ** 2
    np.testing.assert_allclose(false_discovery_rate(p), stats.false_discovery_control(p))


def test_welch_is_that_of_scipy_and_dunnett_close_to_it(experiment: PlantedExperiment) -> None:
    design = Design.of(experiment.sample_doses)
    welch = notel_lotel_p_values(design, experiment.responses, PrefilterSettings(lotel_test="welch"))
    expected = [
        [
            stats.ttest_ind(group, groups(experiment, row)[0], equal_var=False).pvalue
            for group in groups(experiment, row)[1:]
        ]
        for row in range(60)
    ]
    np.testing.assert_allclose(welch, expected, rtol=1e-6)
    dunnett = notel_lotel_p_values(design, experiment.responses, PrefilterSettings())
    quiet = groups(experiment, 59)
    np.testing.assert_allclose(dunnett[59], stats.dunnett(*quiet[1:], control=quiet[0]).pvalue, atol=0.02)


def test_fold_changes_have_a_size_of_at_least_one_and_a_sign() -> None:
    design = Design.of([0, 0, 1, 1, 2, 2])
    log2 = np.array([[8, 8, 9, 9, 6, 6]], np.float32)
    assert fold_changes_of(design, log2, "BASE2").tolist() == [[2.0, -4.0]]
    plain = np.array([[10, 10, 20, 20, 5, 5]], np.float32)
    assert fold_changes_of(design, plain, "NONE").tolist() == [[2.0, -2.0]]


@pytest.mark.parametrize("method", ["anova", "williams", "oriogen", "curve_fit"])
def test_planted_responses_are_kept_and_flat_probes_mostly_not(
    method: str, experiment: PlantedExperiment
) -> None:
    settings = PrefilterSettings(
        method=method, fold_change=None, permutations=400, max_bootstraps=500, models=("hill", "linear")
    )  # type: ignore[arg-type]
    found = prefilter(experiment.sample_doses, experiment.responses, experiment.probe_ids, "BASE2", settings)
    assert found.kept[:30].all()
    assert found.kept[30:].mean() < (0.9 if method == "curve_fit" else 0.2)
    assert (found.p_value[np.isfinite(found.p_value)] <= 1).all()
    again = prefilter(
        experiment.sample_doses, experiment.responses, experiment.probe_ids, "BASE2", settings, threads=1
    )
    np.testing.assert_array_equal(found.p_value, again.p_value)


def test_the_trend_test_has_uniform_p_values_where_there_is_no_trend() -> None:
    draw = np.random.default_rng(8)
    doses = np.repeat([0.0, 1, 2, 4, 8], 4)
    noise = draw.standard_normal((300, 20))
    settings = PrefilterSettings(method="williams", permutations=500, fold_change=None)
    p = prefilter(doses, noise, [f"p{i}" for i in range(300)], "BASE2", settings).p_value
    assert stats.kstest(p, "uniform").pvalue > 0.001


def test_reasons_come_in_the_order_of_the_filters() -> None:
    doses = np.repeat([0.0, 1, 10], 3)
    noise = np.tile([-0.1, 0, 0.1], 3)
    up = np.repeat([0.0, 0.5, 3], 3) + noise + 5
    small = np.repeat([0.0, 0.2, 0.45], 3) + noise / 3 + 5
    responses = np.stack([up, up, small, noise + 5, np.full(9, 5.0), np.where(doses == 1, np.nan, 5.0)])
    ids = ["A", "AFFX-1", "B", "C", "D", "E"]
    found = prefilter(doses, responses, ids, "BASE2", PrefilterSettings(fold_change=2))
    assert [PrefilterOutcome(int(outcome)).name for outcome in found.outcome] == [
        "KEPT", "CONTROL_PROBE", "FOLD_CHANGE", "P_VALUE", "NOT_TESTABLE", "NOT_TESTABLE",
    ]  # fmt: skip
    assert (found.notel_dose[0], found.lotel_dose[0]) == (1.0, 10.0)
    assert np.isnan(found.lotel_dose[3])
    chained = prefilter(doses, responses, ids, "BASE2", PrefilterSettings(fold_change=2), within=found.kept)
    assert chained.outcome.tolist()[1:] == [PrefilterOutcome.NOT_IN_UPSTREAM] * 5
    table = found.table(ids)
    assert table["outcome"].to_pylist()[1] == "control_probe"
    assert found.take(found.kept).table(["A"])["df2"].to_pylist() == [6]
