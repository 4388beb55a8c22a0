"""Batches through the real job: the ledger, the tables, the files, and nothing of a person anywhere else."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest
from autopsy_bench import AutopsyBench, materialized
from comsa_queries import SEED_QUERIES
from run_results import checks, everything_told, failure

from genomics_assets.drops import DropKind
from genomics_assets.verbal_autopsy.partitions import VA_DROPS
from genomics_assets.verbal_autopsy.synthetic_reference import synthetic_batch
from sensors.drain import drain
from sensors.va_reference import va_reference_changes

PLANTED = {
    "congenital_malformation": 0.1, "pneumonia": 0.12, "sepsis_meningitis_inf": 0.28, "ipre": 0.22, "other": 0.05,
    "prematurity": 0.23,
}  # fmt: skip
PIPELINE = {
    "job_type": "pipeline", "algorithm": ["InterVA", "EAVA"], "age_group": "neonate", "country": "Exampleland",
    "ensemble": True, "n_mcmc": 4800, "n_burn": 150,
}  # fmt: skip
ONLY = {"job_type": "openva_only", "algorithm": "InterVA", "age_group": "neonate", "country": "Exampleland"}
FIXED = {
    "job_type": "vacalibration", "algorithm": "eava", "age_group": "child", "country": "Exampleland",
    "calib_model_type": "Mmatfixed", "n_mcmc": 1600, "n_burn": 80,
}  # fmt: skip
CAUSES_ALONE = {**PIPELINE, "job_type": "vacalibration", "algorithm": "EAVA", "ensemble": False}
CHILDREN = [
    *["Malaria"] * 30, *["Measles"] * 20, *["Severe malnutrition"] * 12, *["Diarrhea/Dysentery"] * 14,
    *["Pneumonia"] * 25, *["AIDS"] * 9, *["Injury"] * 11, *["Preterm"] * 7,
]  # fmt: skip
SECRET = "Jane-Doe-1984"


def causes_csv(causes: list[str]) -> str:
    return "ID,cause\n" + "".join(f"d{number},{cause}\n" for number, cause in enumerate(causes))


@pytest.fixture(scope="module")
def bench(
    postgres_url: str, reference: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AutopsyBench]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENOMICS_VA_REFERENCE", str(reference))
        bench = AutopsyBench(tmp_path_factory.mktemp("autopsies"), postgres_url)
        yield bench
        bench.resources["postgres"].close()


@pytest.fixture(scope="module")
def pipeline(bench: AutopsyBench) -> dg.ExecuteInProcessResult:
    return bench.take("newborns", synthetic_batch(PLANTED, 200).csv, PIPELINE)


def test_the_planted_fractions_are_found_again_by_each_algorithm_and_the_ensemble(
    bench: AutopsyBench, pipeline: dg.ExecuteInProcessResult
) -> None:
    assert pipeline.success, failure(pipeline)
    rows = bench.table("calibrated_csmf", "newborns").to_pylist()
    assert {row["label"] for row in rows} == {"interva", "eava", "ensemble"}
    moved = [row for row in rows if row["is_calibrated"]]
    assert len(moved) >= 12
    for row in moved:
        planted = PLANTED[row["cause"]]
        assert row["calibrated_lower"] <= planted <= row["calibrated_upper"], row
    assert sum(row["calibrated_deaths"] for row in rows if row["label"] == "interva") == 200


def test_the_job_is_completed_with_its_result_and_files(
    bench: AutopsyBench, pipeline: dg.ExecuteInProcessResult
) -> None:
    job = bench.job("newborns")
    assert (job["status"], job["type"], job["algorithm"]) == ("completed", "pipeline", "InterVA,EAVA")
    assert (job["age_group"], job["country"], job["calib_model_type"]) == (
        "neonate",
        "Exampleland",
        "Mmatprior",
    )
    assert job["ensemble"] is True
    assert job["progress"] == 1
    result = job["result"]
    assert result["n_records"] == 200
    assert result["ensemble"] is True
    assert set(result["per_algorithm"]) == {"interva", "eava", "ensemble"}
    assert set(result["reference"]) == {"probbase", "eava_rules", "misclassification"}
    outputs = bench.files(job["id"], "output")
    assert set(outputs) == set(result["files"].values()) == {
        "causes.csv", "calibration_summary.csv", "misclass_matrix_interva.csv", "misclass_matrix_eava.csv",
        "posterior_draws.parquet",
    }  # fmt: skip
    assert set(bench.files(job["id"], "input")) == {"newborns.csv", "newborns.yaml"}
    causes = list(csv.DictReader(io.StringIO(outputs["causes.csv"].decode())))
    assert len(causes) == 400
    draws = pq.read_table(io.BytesIO(outputs["posterior_draws.parquet"]))
    assert len(draws) == 3 * 4800
    assert draws.column_names[:3] == ["label", "chain", "draw"]
    messages = [row["message"] for row in bench.query("SELECT message FROM job_logs ORDER BY id")]
    assert "Data loaded: 200 records" in messages
    assert "Calibration complete" in messages


@pytest.mark.parametrize("name", SEED_QUERIES)
def test_the_queries_of_the_dashboards_documentation_find_what_was_loaded(
    bench: AutopsyBench, pipeline: dg.ExecuteInProcessResult, name: str
) -> None:
    if name == "recent failures":
        bench.take("failing", "", ONLY)
    job_id = str(bench.job("newborns")["id"])
    found = bench.query(SEED_QUERIES[name].replace("YOUR-JOB-ID", job_id))
    assert found
    told = json.dumps(found, default=str)
    expected = {
        "job with logs": "Calibration complete",
        "job with files": f"comsa/jobs/{job_id}/output/calibration_summary.csv",
        "jobs by status": '"completed"',
        "jobs by algorithm": '"InterVA,EAVA", "country": "Exampleland"',
        "recent failures": '"error_message": "failing.csv',
    }
    assert expected.get(name, job_id) in told


def test_every_check_of_the_pipeline_passes_but_that_of_the_reference(
    pipeline: dg.ExecuteInProcessResult,
) -> None:
    found = checks(pipeline)
    assert not found.pop("reference_is_real")
    assert set(found) >= {"records_reconcile", "few_rejected", "fractions_sum_to_one", "chains_converged"}
    assert all(found.values()), found


def test_the_mapping_to_broad_causes_can_be_looked_at(pipeline: dg.ExecuteInProcessResult) -> None:
    assert "| InterVA | Birth asphyxia |" in materialized(pipeline)["csmf"]["mapping"]


def test_agreement_of_the_two_algorithms_is_told(
    bench: AutopsyBench, pipeline: dg.ExecuteInProcessResult
) -> None:
    [row] = bench.table("algorithm_agreement", "newborns").to_pylist()
    assert (row["first"], row["second"]) == ("interva", "eava")
    assert row["kappa"] > 0.95


def test_pictures_are_on_the_asset(pipeline: dg.ExecuteInProcessResult) -> None:
    told = materialized(pipeline)["calibrated_csmf"]
    assert told["fractions"].startswith("![cause-specific mortality fractions](data:image/png;base64,")
    assert told["misclassification"].startswith("![misclassification")
    assert told["r_hat"] < 1.01


def test_fractions_before_calibration_are_exact(
    bench: AutopsyBench, pipeline: dg.ExecuteInProcessResult
) -> None:
    rows = bench.table("csmf", "newborns").to_pylist()
    broad = {row["cause"]: row for row in rows if row["level"] == "broad" and row["algorithm"] == "interva"}
    assert sum(row["deaths"] for row in broad.values()) == 200
    calibrated = [
        r for r in bench.table("calibrated_csmf", "newborns").to_pylist() if r["label"] == "interva"
    ]
    assert {r["cause"]: r["uncalibrated"] for r in calibrated} == {c: r["fraction"] for c, r in broad.items()}


def test_causes_alone_end_with_their_fractions(bench: AutopsyBench) -> None:
    result = bench.take("only", synthetic_batch(PLANTED, 40).csv, ONLY)
    assert result.success, failure(result)
    assert set(materialized(result)) == {"cause_of_death", "csmf"}
    job = bench.job("only")
    assert job["status"] == "completed"
    assert job["result"]["n_records"] == 40
    assert sum(job["result"]["cause_counts"].values()) == 40
    assert set(bench.files(job["id"], "output")) == {"causes.csv"}


def test_causes_of_a_file_are_calibrated_even_with_undetermined_and_unspecified_ones(
    bench: AutopsyBench,
) -> None:
    """The original stops at an Undetermined child and at an Unspecified death in a pipeline."""
    text = causes_csv([*CHILDREN, *["Undetermined"] * 4, *["Unspecified"] * 8])
    result = bench.take("children", text, FIXED)
    assert result.success, failure(result)
    found = bench.job("children")["result"]
    assert found["uncalibrated_csmf"]["other"] == pytest.approx(4 / 132, abs=1e-4)
    assert sum(found["calibrated_csmf"].values()) == pytest.approx(1, abs=1e-3)
    assert "n_records" not in found
    assert "causes" not in found["files"]


def test_the_choice_of_the_country_can_be_looked_at(bench: AutopsyBench) -> None:
    text = causes_csv([*CHILDREN, *["Undetermined"] * 4])
    settings = {**FIXED, "n_mcmc": 1000, "n_burn": 50}
    assert bench.take("abroad", text, settings).success
    result = bench.materialize("country_sensitivity", "abroad", {"countries": ["Sampleland"]})
    assert result.success
    away = bench.table("country_sensitivity", "abroad").to_pylist()
    home = bench.table("calibrated_csmf", "abroad").to_pylist()
    assert {row["country"] for row in away} == {"Sampleland"}
    assert [row["cause"] for row in away] == [row["cause"] for row in home]
    moved = [abs(a["calibrated_mean"] - h["calibrated_mean"]) for a, h in zip(away, home, strict=True)]
    assert max(moved) > 0.01


def test_a_cause_without_deaths_is_reported_and_the_bounds_left_out(bench: AutopsyBench) -> None:
    text = causes_csv(["Pneumonia"] * 30 + ["Preterm"] * 40 + ["Intrapartum"] * 30 + ["Sepsis"] * 25)
    settings = {**CAUSES_ALONE, "n_mcmc": 1000, "n_burn": 50}
    result = bench.take("stalled", text, settings)
    assert result.success, failure(result)
    assert checks(result)["path_correction_moved"] is False
    found = bench.job("stalled")["result"]
    assert found["path_correction_stalled"] is found["ci_unreliable"] is True
    assert "calibrated_ci_lower" not in found
    assert set(bench.table("calibrated_csmf", "stalled")["calibrated_lower"].to_pylist()) == {None}


def test_a_raw_export_is_converted_on_the_way(bench: AutopsyBench) -> None:
    questions = [f"Id10{n}" for n in range(120, 190)]
    lines = [",".join(["KEY", "Id10019", "Id10022", "Id10077", "Id10999", *questions])]
    # Five symptoms of birth asphyxia; of each cause's symptoms the last counts where it is no.
    for number in range(6):
        answers = ["yes" if (165 <= n < 170) != (n % 5 == 4) else "no" for n in range(120, 190)]
        lines.append(",".join([f"k{number}", "male", "3", "no", "yes", *answers]))
    result = bench.take("odk", "\n".join(lines) + "\n", ONLY)
    assert result.success, failure(result)
    assert bench.job("odk")["result"]["cause_counts"] == {"Birth asphyxia": 6}


BAD: list[tuple[str, Any, Any, str]] = [
    ("no_sidecar", synthetic_batch(PLANTED, 5).csv, None, "no sidecar says what is to be done"),
    ("no_id", synthetic_batch(PLANTED, 5).csv.replace("ID,", "name,", 1), ONLY, "no column ID"),
    ("empty", b"", ONLY, "the file is empty"),
    ("country", synthetic_batch(PLANTED, 5).csv, {**PIPELINE, "country": "Examplelandia"}, "no misclassification matrices"),
    ("algorithm", synthetic_batch(PLANTED, 5).csv, {**PIPELINE, "algorithm": ["InterVA", "Tariff"]}, "algorithm is 'Tariff'"),
    ("age", synthetic_batch(PLANTED, 5).csv, {**ONLY, "age_group": "child"}, "age_group is child, and 5 of 5 records"),
    (
        "unmapped",
        "ID,cause\na,Flue\nb,Malaria\n",
        CAUSES_ALONE,
        "1 deaths have causes that belong to no broad cause",
    ),
    (
        "unspecified",
        "ID,cause\na,Unspecified\nb,Unspecified\n",
        CAUSES_ALONE,
        "all 2 deaths are Unspecified",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "settings", "sentence"), BAD, ids=[case[0] for case in BAD])
def test_a_batch_that_cannot_be_taken_fails_with_one_sentence_and_so_does_its_job(
    bench: AutopsyBench, name: str, content: Any, settings: Any, sentence: str
) -> None:
    result = bench.take(name, content, settings)
    assert not result.success
    assert sentence in failure(result)
    assert "Remedy: " in failure(result)
    job = bench.job(name)
    assert job["status"] == "failed"
    assert sentence in job["error"]["message"]
    assert job["error"]["kind"] == "input"
    assert not bench.files(job["id"], "output")


def test_repeated_ids_and_odd_cells_never_reach_log_metadata_or_ledger(bench: AutopsyBench) -> None:
    rows = list(csv.reader(io.StringIO(synthetic_batch(PLANTED, 12).csv)))
    rows[3][0] = rows[4][0] = SECRET
    text = "\n".join(",".join(row) for row in rows) + "\n"
    repeated = bench.take("repeated", text, ONLY)
    assert not repeated.success
    rows[4][0] = "other"
    rows[5][rows[0].index("i125o")] = SECRET
    taken = bench.take("taken", "\n".join(",".join(row) for row in rows) + "\n", ONLY)
    assert taken.success, failure(taken)
    told = materialized(taken)["cause_of_death"]
    assert (told["records"], told["rejected"]) == (12, 1)
    assert "unknown_symptom_cell" in told["rejects"]
    ledger = bench.query("SELECT * FROM jobs") + bench.query("SELECT * FROM job_logs")
    for place in (everything_told(repeated), everything_told(taken), json.dumps(ledger, default=str)):
        assert SECRET not in place
    assert bench.files(bench.job("taken")["id"], "output")["causes.csv"].count(SECRET.encode()) == 1


def test_real_data_is_refused_with_the_made_up_reference(bench: AutopsyBench) -> None:
    header = "ID,i004a,i019a,i019b,i022g\n"
    result = bench.take("real", header + "d1,.,y,.,y\n", ONLY)
    assert "the reference in use is made up" in failure(result)
    assert "GENOMICS_VA_REFERENCE" in failure(result)
    settings = {
        **PIPELINE,
        "job_type": "vacalibration",
        "algorithm": "EAVA",
        "ensemble": False,
        "country": "Kenya",
    }
    assert "made up" in failure(bench.take("kenya", "ID,cause\na,Sepsis\n", settings))


def test_reference_files_are_registered_with_version_and_hash(bench: AutopsyBench, reference: Path) -> None:
    for asset, name in (
        ("probbase", "probbase_synthetic.csv"),
        ("misclassification_matrices", "misclassification_synthetic.csv"),
    ):
        result = bench.materialize(asset, None)
        assert result.success
        told = materialized(result)[asset]
        assert "synthetic-1" in told["version"]
        assert told["size"] == (reference / name).stat().st_size
        assert told["synthetic"] is True
        assert f"{told['sha256']}  {name}" in (reference / "SHA256SUMS").read_text()


def test_a_changed_reference_is_asked_for_once(bench: AutopsyBench, monkeypatch: pytest.MonkeyPatch) -> None:
    first = va_reference_changes(dg.build_sensor_context())
    again = va_reference_changes(dg.build_sensor_context())
    assert isinstance(first, dg.SensorResult)
    assert isinstance(again, dg.SensorResult)
    keys = [request.run_key for request in first.run_requests or []]
    assert keys == [request.run_key for request in again.run_requests or []]
    assert len(set(keys)) == 2
    monkeypatch.delenv("GENOMICS_VA_REFERENCE")
    assert isinstance(va_reference_changes(dg.build_sensor_context()), dg.SkipReason)


def test_a_dropped_batch_is_drained_and_its_job_opened_beforehand(
    bench: AutopsyBench, tmp_path: Path
) -> None:
    folder = tmp_path / "inbox" / "verbal_autopsy"
    folder.mkdir(parents=True)
    (folder / "drained.csv").write_text(synthetic_batch(PLANTED, 20).csv)
    (folder / "drained.yaml").write_text(json.dumps(ONLY))
    lines: list[str] = []
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        drain(bench.definitions, instance, inbox=str(tmp_path / "inbox"), out=lines.append)
    assert any(line.startswith("ok") and "verbal_autopsy/drained.csv" in line for line in lines), lines
    job = bench.job("drained")
    assert job["status"] == "completed"
    assert job["run_key"].startswith("verbal_autopsy:drained")


def test_the_seeds_queries_return_the_jobs(bench: AutopsyBench, pipeline: dg.ExecuteInProcessResult) -> None:
    by_status = {
        row["status"]: row["count"]
        for row in bench.query("SELECT status, COUNT(*) as count FROM jobs GROUP BY status")
    }
    assert by_status["completed"] >= 1
    [detail] = bench.query(
        "SELECT j.id, json_agg(json_build_object('type', f.file_type, 'name', f.file_name, 'path', f.file_path, "
        "'size', f.file_size)) as files FROM jobs j LEFT JOIN job_files f ON j.id = f.job_id WHERE j.id = %s GROUP BY j.id",
        bench.job("newborns")["id"],
    )
    assert {file["type"] for file in detail["files"]} == {"input", "output"}


def test_sidecars_of_a_batch_belong_to_it() -> None:
    assert isinstance(VA_DROPS, DropKind)
    assert VA_DROPS.ending_of("run/newborns.CSV") == ".CSV"
