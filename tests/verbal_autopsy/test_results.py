"""Broad causes, agreement, the documents that a job leaves behind, its settings, and its pictures."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from genomics_assets.input_error import InputError
from genomics_assets.verbal_autopsy.agreement import agreements, cohens_kappa
from genomics_assets.verbal_autopsy.batch_settings import BatchSidecar, batch_settings, read_batch_settings
from genomics_assets.verbal_autopsy.broad_causes import (
    assign_broad_causes,
    broad_cause,
    mapping_report,
)
from genomics_assets.verbal_autopsy.calibration import (
    ENSEMBLE,
    CalibratedFractions,
)
from genomics_assets.verbal_autopsy.csmf import whole_deaths
from genomics_assets.verbal_autopsy.pictures import csmf_picture, matrices_picture
from genomics_assets.verbal_autopsy.result_documents import (
    AssignedCauses,
    assignment_result,
    calibration_result,
    causes_csv,
    matrix_csv,
    primary_label,
    summary_csv,
)

# -- broad causes --------------------------------------------------------------------------------------------------


def test_undetermined_is_other_and_unspecified_is_left_out() -> None:
    found = assign_broad_causes(["Undetermined", "Unspecified", "Malaria", "malaria"], "child")
    assert found.of_death.tolist() == [found.causes.index("other"), -1, 0, 0]
    assert (found.undetermined, found.unspecified) == (1, 1)
    assert found.counts.sum() == 3


@pytest.mark.parametrize("word", ["sepsis_meningitis_inf", "Sepsis meningitis-inf", "SEPSIS_MENINGITIS_INF"])
def test_broad_names_map_to_themselves(word: str) -> None:
    assert broad_cause(word, "neonate") == "sepsis_meningitis_inf"


def test_stillbirths_are_other_and_a_childs_neonatal_causes_have_a_place() -> None:
    assert (
        broad_cause("Fresh stillbirth", "neonate") == broad_cause("Macerated stillbirth", "child") == "other"
    )
    assert broad_cause("Birth asphyxia", "child") == "nn_causes"


def test_unmapped_causes_are_refused_with_counts_and_a_suggestion() -> None:
    with pytest.raises(InputError) as refused:
        assign_broad_causes(["Malarria", "Malarria", "Malaria", "Jane Doe of Beira"], "child")
    sentence = str(refused.value)
    assert "3 deaths have causes" in sentence
    assert "'Malarria' (2, did you mean 'malaria'?)" in sentence
    assert "a cell (1)" in sentence
    assert "Jane" not in sentence


def test_causes_of_the_other_age_group_are_told_to_be_so() -> None:
    with pytest.raises(InputError, match="these are all causes of age group neonate"):
        assign_broad_causes(["NNT", "Sepsis"], "child")


def test_nothing_but_unspecified_deaths_is_refused() -> None:
    with pytest.raises(InputError, match="all 2 deaths are Unspecified"):
        assign_broad_causes(["Unspecified", "unspecified"], "neonate")


def test_the_mapping_can_be_looked_at_first() -> None:
    report = mapping_report(["Malaria", "Malaria", "Unspecified", "Flu"], "child")
    assert report == [("Malaria", 2, "malaria"), ("Unspecified", 1, "excluded"), ("Flu", 1, "unmapped")]


# -- agreement and fractions -----------------------------------------------------------------------------------------


def test_kappa_of_deaths_that_both_gave_a_cause() -> None:
    one = (["a", "b", "c", "d"], np.array([0, 0, 1, -1]))
    two = (["d", "c", "b", "a"], np.array([1, 1, 1, 0]))
    [found] = agreements(("x", "y"), {"InterVA": one, "EAVA": two})
    assert found.deaths == 3
    assert found.table.tolist() == [[1, 1], [0, 1]]
    assert found.share == pytest.approx(2 / 3)
    assert found.kappa == pytest.approx(0.4)
    assert cohens_kappa(np.array([[5, 0], [0, 0]])) is None
    assert cohens_kappa(np.diag([3, 4])) == 1


def test_whole_deaths_sum_to_the_whole() -> None:
    shares = np.array([0.3333, 0.3333, 0.3334])
    assert whole_deaths(shares, 10).tolist() == [3, 3, 4]
    assert whole_deaths(np.array([0.3, 0.7]), 10).tolist() == [3, 7]


# -- settings --------------------------------------------------------------------------------------------------------


def test_the_dashboards_words_are_understood() -> None:
    told = BatchSidecar("openva", ["interva", "InSilicoVA", "INTERVA"], "Child", "Sierra  Leone", "prior")
    found = batch_settings(told)
    assert (found.job_type, found.algorithms, found.age_group) == (
        "openva_only",
        ("InterVA", "InSilicoVA"),
        "child",
    )
    assert (found.country, found.model) == ("Sierra Leone", "Mmatprior")
    assert found.assigns
    assert not found.calibrates


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"algorithm": "InterVa5"}, "algorithm is 'InterVa5'.*write 'InterVA'"),
        ({"algorithm": []}, "empty list"),
        ({"age_group": "neonates"}, "age_group is 'neonates'.*write 'neonate'"),
        ({"job_type": "ensemble"}, "job_type: pipeline and ensemble: true"),
        ({"ensemble": True}, "there is one algorithm"),
        ({"age_group": "adult"}, "neither expert rules nor calibration"),
        ({"calib_model_type": "Mmat"}, "the choices are Mmatprior, Mmatfixed"),
        ({"n_thin": 0}, "n_thin is 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change: dict[str, object], sentence: str) -> None:
    told = BatchSidecar("pipeline", "InterVA", "neonate", "Mozambique")
    with pytest.raises(InputError, match=sentence):
        batch_settings(replace(told, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["job_type", "algorithm", "age_group", "country"])
def test_what_decides_on_the_result_is_never_guessed(tmp_path: Path, key: str) -> None:
    keys = {"job_type": "pipeline", "algorithm": "InterVA", "age_group": "child", "country": "Kenya"}
    del keys[key]
    path = tmp_path / "b.yaml"
    path.write_text("".join(f"{name}: {value}\n" for name, value in keys.items()))
    with pytest.raises(InputError, match=f"no {key}"):
        read_batch_settings(path, "b.csv")
    with pytest.raises(InputError, match=r"b\.csv: no sidecar"):
        read_batch_settings(None, "b.csv")


def test_progress_has_a_phase_for_each_piece_of_work() -> None:
    told = BatchSidecar("pipeline", ["EAVA", "InterVA"], "child", "Mali", ensemble=True)
    assert batch_settings(told).phases == [
        "causes by EAVA", "causes by InterVA", "calibration of eava", "calibration of interva", "calibration of ensemble",
    ]  # fmt: skip
    assert batch_settings(replace(told, job_type="vacalibration")).phases[0] == "calibration of eava"


def test_draws_are_shared_out_among_the_chains() -> None:
    settings = batch_settings(BatchSidecar("pipeline", "EAVA", "child", "Mali", n_mcmc=5000, n_burn=2000))
    chains = settings.calibration.chains
    assert chains.chains * chains.draws >= 5000 > chains.chains * (chains.draws - 1)
    assert chains.warm_up == 2000


# -- documents -------------------------------------------------------------------------------------------------------


def assigned(name: str) -> AssignedCauses:
    return AssignedCauses(
        name, ["d1", "d2"], ["Malaria", "Undetermined"], {"Malaria": 0.7, "Stroke": 0.0, "Undetermined": 0.3}
    )


def test_causes_are_long_where_there_are_several_algorithms() -> None:
    assert causes_csv([assigned("InterVA")]) == "ID,cause1\nd1,Malaria\nd2,Undetermined\n"
    assert causes_csv([assigned("InterVA"), assigned("EAVA")]).splitlines()[3] == "d1,Malaria,eava"


def test_the_result_of_an_assignment() -> None:
    result = assignment_result([assigned("InterVA")], {"causes": "causes.csv"})
    assert result == {
        "n_records": 2,
        "algorithm": "interva",
        "cause_counts": {"Malaria": 1, "Undetermined": 1},
        "csmf": {"Malaria": 0.7, "Undetermined": 0.3},
        "files": {"causes": "causes.csv"},
    }


def test_the_result_of_a_pipeline_has_every_key_of_the_dashboard(
    fitted: dict[str, CalibratedFractions],
) -> None:
    result = calibration_result(
        fitted,
        age_group="neonate",
        country="Exampleland",
        files={"summary": "s.csv"},
        assigned=[assigned("InterVA")],
    )
    assert set(result) >= {
        "algorithm", "age_group", "country", "ensemble", "uncalibrated_csmf", "calibrated_csmf", "calibrated_ci_lower",
        "calibrated_ci_upper", "path_correction_stalled", "ci_unreliable", "cause_display_names", "cause_order",
        "per_algorithm", "misclassification_matrix", "files", "n_records", "openva_csmf", "cause_counts",
    }  # fmt: skip
    assert primary_label(fitted) == ENSEMBLE
    assert result["calibrated_csmf"]["ipre"] == round(float(fitted[ENSEMBLE].mean[3]), 4)
    assert sum(result["calibrated_csmf"].values()) == pytest.approx(1, abs=0.001)
    assert set(result["per_algorithm"]) == {"interva", "insilicova", ENSEMBLE}
    matrix = result["misclassification_matrix"]["interva"]
    assert "other" in matrix["not_calibrated"]
    assert len(matrix["matrix"]) == len(matrix["champs_causes"]) == 5
    assert all(sum(row) == pytest.approx(1, abs=0.001) for row in matrix["matrix"])
    json.dumps(result, allow_nan=False)


def test_the_summary_lists_the_largest_cause_first(fitted: dict[str, CalibratedFractions]) -> None:
    rows = list(csv.DictReader(io.StringIO(summary_csv(fitted["interva"]))))
    means = [float(row["calibrated_mean"]) for row in rows]
    assert means == sorted(means, reverse=True)
    assert list(rows[0]) == [
        "cause", "uncalibrated", "calibrated_mean", "calibrated_lower", "calibrated_upper", "lambda_calibpath",
    ]  # fmt: skip
    assert all(float(r["calibrated_lower"]) <= float(r["calibrated_mean"]) for r in rows)
    assert matrix_csv(fitted["interva"]).startswith("CHAMPS_Cause,congenital_malformation,")


def test_unsound_bounds_are_left_out_everywhere(stalled: dict[str, CalibratedFractions]) -> None:
    result = calibration_result({"interva": stalled["interva"]}, age_group="neonate", country="x", files={})
    assert result["path_correction_stalled"] is result["ci_unreliable"] is True
    assert "calibrated_ci_lower" not in result
    assert result["lambda_calibpath"] == 0.99
    rows = list(csv.DictReader(io.StringIO(summary_csv(stalled["interva"]))))
    assert {row["calibrated_lower"] for row in rows} == {row["calibrated_upper"] for row in rows} == {""}
    assert all("path correction stalled" in row["ci_omitted_reason"] for row in rows)


# -- pictures --------------------------------------------------------------------------------------------------------


def test_pictures_are_small_and_the_same_each_time(fitted: dict[str, CalibratedFractions]) -> None:
    bars, matrices = csmf_picture(fitted), matrices_picture(fitted)
    for png in (bars, matrices):
        assert png.startswith(b"\x89PNG")
        assert len(png) < 50_000
    assert csmf_picture(fitted) == bars
    assert csmf_picture({"interva": fitted["interva"]}) != bars
