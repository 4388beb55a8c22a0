from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cohort_harness import Cohort
from run_results import checks, everything_told, failure
from study_harness import Study, metadata

from benchmarks.cohort_generator import SyntheticCohort
from genomics_assets.zygotrix.models import GwasDataset, GwasJob, GwasResult
from resources.gwas_store import DatasetPlace


@pytest.fixture(scope="module")
def study(
    tmp_path_factory: pytest.TempPathFactory, postgres_url: str, module_mongo_url: str
) -> Iterator[Study]:
    """Every promise is kept by both kinds of document store, so every test runs on both."""
    study = Study(tmp_path_factory.mktemp("study"), postgres_url, module_mongo_url)
    yield study
    study.zygotrix.mongo.close()


def fileset(cohort: Cohort, **more: Any) -> dict[str, Any]:
    files = {f"cohort.{ending}": cohort.stem.with_suffix(f".{ending}") for ending in ("bed", "bim", "fam")}
    return {**files, "phenotypes.csv": cohort.stem.parent / "phenotypes.csv", **more}


VCF = "##fileformat=VCFv4.2\n##contig=<ID=1,length=248956422>\n" + "\t".join(
    ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *(f"P{i}" for i in range(60))]
)


def small_vcf(variants: int = 40, *, seed: int = 1, copies: np.ndarray | None = None) -> str:
    """60 samples, P0 to P59."""
    calls = np.random.default_rng(seed).binomial(2, 0.4, (variants, 60)) if copies is None else copies
    words = np.array(["0/0", "0/1", "1/1"])
    lines = [
        "\t".join(["1", str(1000 + i), f"rs{i}", "A", "G", ".", ".", ".", "GT", *words[row]])
        for i, row in enumerate(calls)
    ]
    return "\n".join([VCF, *lines]) + "\n"


def phenotypes(**columns: Any) -> str:
    random = np.random.default_rng(2)
    given = columns or {"QT": random.normal(size=60).round(4).tolist()}
    rows = zip(*given.values(), strict=True)
    return (
        "\n".join(
            ["id," + ",".join(given), *(f"P{i}," + ",".join(map(str, row)) for i, row in enumerate(rows))]
        )
        + "\n"
    )


def test_a_dropped_cohort_becomes_documents_tables_and_plots(study: Study, cohort: Cohort) -> None:
    result = study.load("user123/first cohort", fileset(cohort))
    told = metadata(result, "gwas_results")
    dataset = study.dataset("user123/first cohort")
    GwasDataset.model_validate(dataset)
    assert (dataset["status"], dataset["snp_count"], dataset["sample_count"]) == ("processed", 4400, 600)
    assert dataset["metadata"]["chromosomes"] == list(range(1, 23))
    assert study.objects.exists(dataset["storage_path"])
    jobs = {job["phenotype_column"]: job for job in study.jobs("user123/first cohort")}
    assert {name: (job["status"], job["analysis_type"]) for name, job in jobs.items()} == {
        "QT": ("completed", "linear"),
        "CC": ("completed", "logistic"),
    }
    results = {found["phenotype"]: found for found in study.results("user123/first cohort")}
    for name, job in jobs.items():
        found = results[name]
        GwasResult.model_validate(found)
        as_modelled = GwasJob.model_validate(job)
        assert (as_modelled.progress, as_modelled.model_extra) == (100, {})
        assert (found["job_id"], found["_id"], job["error"]) == (job["_id"], job["result_id"], None)
        table = study.table(found["associations_path"])
        assert table.num_rows == found["summary"]["total_snps_tested"] == job["snps_tested"]
        assert found["associations_path"] == f"gwas-results/user123/{job['_id']}/associations.parquet"
        names = {key.rpartition("/")[2] for key in study.objects.list(f"gwas-results/user123/{job['_id']}")}
        assert names == {
            "associations.parquet", "manhattan.png", "qq.png", "summary_statistics.tsv.gz",
            "summary_statistics.tsv.gz-meta.yaml",
        }  # fmt: skip
        assert told[f"{name}: Manhattan"].startswith(f"![{name}: Manhattan plot](data:image/png;base64,")
    assert results["QT"]["lead_loci"]
    assert all(checks(result).values())
    quality = metadata(result, "quality_control")
    assert quality["samples"] == 600
    assert sum(quality["variants_left_out"].values()) + quality["variants"] == 4400
    assert "S0000" not in everything_told(result)


def test_the_whole_store_fits_together_afterwards(study: Study, cohort: Cohort) -> None:
    study.load("user123/second", {"c.vcf": small_vcf(), "phenotypes.csv": phenotypes()})
    assert [finding.rule.kind for finding in study.zygotrix.findings() if finding.rule.is_error] == []


def test_the_same_drop_again_makes_a_job_with_a_result_of_its_own(study: Study) -> None:
    files = {"c.vcf": small_vcf(), "phenotypes.csv": phenotypes()}
    for _ in range(2):
        assert study.load("ann/again", files).success
    assert [job["status"] for job in study.jobs("ann/again")] == ["completed", "completed"]
    assert len(study.results("ann/again")) == 2
    one, two = (study.table(found["associations_path"]) for found in study.results("ann/again"))
    assert one.equals(two)


def test_other_bytes_replace_the_dataset(study: Study) -> None:
    study.load("ann/changed", {"c.vcf": small_vcf(40), "phenotypes.csv": phenotypes()})
    created = study.dataset("ann/changed")["created_at"]
    study.load("ann/changed", {"d.vcf": small_vcf(25, seed=3), "phenotypes.csv": phenotypes()})
    dataset = study.dataset("ann/changed")
    assert (dataset["snp_count"], dataset["name"], dataset["created_at"]) == (25, "d.vcf", created)
    raw = study.objects.list(DatasetPlace.of("ann/changed").raw)
    assert sorted(key.rpartition("/")[2] for key in raw) == ["d.vcf", "phenotypes.csv"]


def test_settings_decide_on_the_analysis(study: Study) -> None:
    case = (np.arange(60) % 2 + 1).tolist()
    job = "analysis_type: fisher\nphenotype: CC\nparameters: {maf_threshold: 0.05, hwe_threshold: 0}\n"
    files = {"c.vcf": small_vcf(), "phenotypes.csv": phenotypes(CC=case, QT=list(range(60))), "job.yaml": job}
    assert study.load("ann/fisher", files).success
    [found] = study.jobs("ann/fisher")
    assert (found["analysis_type"], found["phenotype_column"]) == ("fisher", "CC")
    assert found["parameters"]["maf_threshold"] == 0.05
    table = study.table(study.results("ann/fisher")[0]["associations_path"])
    assert set(table["test"].to_pylist()) == {"fisher"}


def test_the_join_and_what_is_left_out_are_tables_with_reasons(study: Study) -> None:
    calls = np.random.default_rng(1).binomial(2, 0.4, (40, 60))
    calls[7] = 0
    text = phenotypes().replace("P3,", "p3,").replace("P4,", "P5,", 1)
    result = study.load(
        "ann/reasons", {"c.vcf": small_vcf(copies=calls), "phenotypes.csv": text, "readme.txt": "x"}
    )
    place = DatasetPlace.of("ann/reasons")
    join = {
        row["sample_id"]: (row["state"], row["resembles"])
        for row in study.table(f"{place.processed}/sample_join.parquet").to_pylist()
    }
    assert (join["P1"], join["P3"], join["P5"]) == (
        ("matched", None), ("without_phenotypes", "p3"), ("repeated_in_phenotypes", None),
    )  # fmt: skip
    samples = study.table(f"{place.processed}/sample_quality.parquet")
    assert {row["sample_id"]: row["reason"] for row in samples.to_pylist() if row["reason"]} == {
        "P3": "no_phenotypes", "P4": "no_phenotypes", "P5": "repeated_in_phenotypes",
    }  # fmt: skip
    variants = study.table(f"{place.processed}/variant_quality.parquet")
    assert {row["rsid"]: row["reason"] for row in variants.to_pylist() if row["reason"]}[
        "rs7"
    ] == "monomorphic"
    assert checks(result)["everybody_matches"] is False
    assert metadata(result, "sample_join")["without_phenotypes"] == 2
    assert metadata(result, "gwas_datasets")["files_not_used"] == ["readme.txt"]
    assert "P3" not in everything_told(result)


ONE_SAMPLE = {"a.bim": "1 r 0 1 A G\n", "a.fam": "P1 P1 0 0 0 0\n"}
BAD_DATASETS: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "nothing of this name"),
    "two": ({"a.vcf": small_vcf(), "b.vcf": small_vcf()}, "2 files of genotypes (a.vcf, b.vcf)"),
    "no phenotypes": ({"a.vcf": small_vcf(), "phenotypes.csv": None}, "no phenotypes.csv"),
    "no fam": ({"a.bed": b"l\x1b\x01", "a.bim": ""}, "a.bed: no .fam of the same name"),
    "magic": ({"a.bed": b"nonsense", **ONE_SAMPLE}, "a.bed: not a PLINK .bed: bad magic number"),
    "size": ({"a.bed": b"l\x1b\x01abc", **ONE_SAMPLE}, "a.bed: 6 bytes where"),
    "cut": ({"a.vcf.gz": b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xcb"}, "a.vcf.gz: the gzip file"),
    "no vcf": ({"a.vcf": "id,trait\n"}, "a.vcf, line 1: the first line is not"),
    "no id": (
        {"a.vcf": small_vcf(), "phenotypes.csv": "QT\n1\n"},
        "phenotypes.csv, line 1: no phenotype column",
    ),
    "unknown key": ({"a.vcf": small_vcf(), "job.yaml": "maf: 0.1\n"}, "job.yaml, line 1: unknown key 'maf'"),
}


@pytest.mark.parametrize("name", BAD_DATASETS)
def test_a_dataset_that_cannot_be_taken_is_an_error_on_its_document(study: Study, name: str) -> None:
    changed, problem = BAD_DATASETS[name]
    files = {"phenotypes.csv": phenotypes(), **changed}
    result = study.load(
        f"bad/{name}", {file: content for file, content in files.items() if content is not None}
    )
    assert problem in failure(result)
    assert "Remedy:" in failure(result)
    dataset = study.dataset(f"bad/{name}")
    assert dataset["status"] == "error"
    assert problem in dataset["error"]
    assert study.jobs(f"bad/{name}") == []
    assert not [key for key in study.object_keys() if str(dataset["_id"]) in key]


def constant(value: object) -> list[object]:
    return [value] * 60


NUMBERS = np.random.default_rng(7).normal(size=(2, 60)).round(3).tolist()
TWO = {"QT": NUMBERS[0], "cov_a": NUMBERS[1]}
BAD_JOBS: dict[str, tuple[dict[str, Any], str]] = {
    "nobody": (
        {"phenotypes.csv": phenotypes().replace("P", "Q")},
        "none of the 60 genotyped samples is in it",
    ),
    "case": (
        {"phenotypes.csv": phenotypes().replace("\nP", "\np")},
        "60 differ in upper and lower case or white",
    ),
    "all missing": ({"phenotypes.csv": phenotypes(QT=constant("NA"))}, "the phenotype 'QT' has no value"),
    "constant": ({"phenotypes.csv": phenotypes(QT=constant(3))}, "the phenotype 'QT' has one value only"),
    "covariate": (
        {"phenotypes.csv": phenotypes(**TWO, cov_b=constant(1))},
        "the covariate 'cov_b' is constant",
    ),
    "collinear": (
        {"phenotypes.csv": phenotypes(**TWO, cov_b=[2 * x for x in NUMBERS[1]])},
        "'cov_b' is a linear combination of 'cov_a'",
    ),
    "absent": ({"job.yaml": "phenotype: BMI\n"}, "no column 'BMI'"),
    "quantitative": ({"job.yaml": "analysis_type: logistic\n"}, "logistic needs cases and controls"),
    "nothing left": (
        {"a.vcf": small_vcf(copies=np.zeros((5, 60), int))},
        "no variant of 5 passes quality control (5 monomorphic)",
    ),
}


@pytest.mark.parametrize("name", BAD_JOBS)
def test_a_dataset_that_cannot_be_tested_is_a_failed_job(study: Study, name: str) -> None:
    changed, problem = BAD_JOBS[name]
    result = study.load(f"bad/{name}", {"a.vcf": small_vcf(), "phenotypes.csv": phenotypes(), **changed})
    assert problem in failure(result)
    assert study.dataset(f"bad/{name}")["status"] == "processed"
    [job] = study.jobs(f"bad/{name}")
    assert job["status"] == "failed"
    assert problem in job["error"]
    assert job["error_kind"] == "input"
    GwasJob.model_validate(job)
    assert study.results(f"bad/{name}") == []
    assert not study.objects.list(f"gwas-results/bad/{job['_id']}")


def test_one_phenotype_that_cannot_be_tested_does_not_hold_up_the_others(study: Study) -> None:
    files = {"a.vcf": small_vcf(), "phenotypes.csv": phenotypes(good=NUMBERS[0], same=constant(1))}
    result = study.load("ann/partly", files)
    assert "the phenotype 'same' has one value only" in failure(result)
    assert {job["phenotype_column"]: job["status"] for job in study.jobs("ann/partly")} == {
        "good": "completed",
        "same": "failed",
    }
    assert [found["phenotype"] for found in study.results("ann/partly")] == ["good"]


def test_the_next_drop_is_unaffected_and_a_repaired_one_is_taken(study: Study) -> None:
    study.load("ann/repaired", {"a.vcf": "nonsense", "phenotypes.csv": phenotypes()})
    assert study.load("ann/next", {"a.vcf": small_vcf(), "phenotypes.csv": phenotypes()}).success
    assert study.load("ann/repaired", {"a.vcf": small_vcf(), "phenotypes.csv": phenotypes()}).success
    dataset = study.dataset("ann/repaired")
    assert dataset["status"] == "processed"
    assert "error" not in dataset


def test_a_user_has_at_most_five_active_jobs(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    import resources.gwas_store as gwas_store

    columns = {f"T{i}": np.random.default_rng(i).normal(size=60).tolist() for i in range(7)}
    assert study.load("many/seven", {"a.vcf": small_vcf(), "phenotypes.csv": phenotypes(**columns)}).success
    assert [job["status"] for job in study.jobs("many/seven")] == ["completed"] * 7
    for number in range(5):
        study.zygotrix.collection("gwas_jobs").insert_one(
            {
                "_id": f"busy{number}",
                "user_id": "busy",
                "status": "running",
                "run_id": "another",
                "analysis_type": "linear",
            }
        )
    monkeypatch.setattr(gwas_store, "_PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(gwas_store, "_LOOK_SECONDS", 0.0)
    result = study.load("busy/one", {"a.vcf": small_vcf(), "phenotypes.csv": phenotypes()})
    assert "the user has 5 active jobs, 5 are the limit" in failure(result)
    study.zygotrix.collection("gwas_jobs").delete_many({"user_id": "busy"})


@pytest.mark.parametrize("key", ["../up/x", "user/../../x", "a\tb/x"])
def test_a_partition_that_leads_elsewhere_is_refused(study: Study, key: str) -> None:
    before = study.object_keys()
    result = study.run(key)
    assert not result.success
    assert study.object_keys() == before


def test_a_contig_that_no_assembly_knows_is_tested_under_its_own_name(study: Study) -> None:
    text = small_vcf(20).replace("\n1\t", "\nscaffold_9\t")
    assert study.load("ann/scaffold", {"a.vcf": text, "phenotypes.csv": phenotypes()}).success
    assert study.dataset("ann/scaffold")["metadata"]["chromosomes"] == ["scaffold_9"]
    table = study.table(study.results("ann/scaffold")[0]["associations_path"])
    assert set(table["chromosome"].to_pylist()) == {"scaffold_9"}
    assert any(value is not None for value in table["p_value"].to_pylist())


def test_a_dataset_that_is_being_deleted_is_left_alone(study: Study) -> None:
    files = {"a.vcf": small_vcf(), "phenotypes.csv": phenotypes()}
    study.load("ann/deleted", files)
    document = study.dataset("ann/deleted")
    study.zygotrix.put(GwasDataset.model_validate({**document, "deleting_since": document["created_at"]}))
    assert "the dataset is being deleted" in failure(study.load("ann/deleted", files))
    assert study.dataset("ann/deleted")["deleting_since"] is not None


def test_a_vcf_and_its_fileset_give_the_same_results(study: Study, tmp_path: Path) -> None:
    generator = SyntheticCohort(200, 440, seed=5, planted=2, effect=0.6)
    stem = tmp_path / "c"
    generator.write_plink(stem)
    table = tmp_path / "phenotypes.csv"
    with table.open() as file:
        assert next(csv.reader(file))[1] == "QT"
    plink = {f"c.{ending}": stem.with_suffix(f".{ending}") for ending in ("bed", "bim", "fam")}
    study.load("ann/plink", {**plink, "phenotypes.csv": table, "job.yaml": "phenotype: QT\n"})
    study.load(
        "ann/vcf",
        {"c.vcf": b"".join(generator.vcf_text(stem)), "phenotypes.csv": table, "job.yaml": "phenotype: QT\n"},
    )
    one, two = (study.table(study.results(name)[0]["associations_path"]) for name in ("ann/plink", "ann/vcf"))
    assert one.equals(two)


def test_a_killed_worker_fails_its_job_and_a_new_run_makes_the_one_result(study: Study) -> None:
    name = "ann/killed"
    study.drop(name, {"a.vcf": small_vcf(), "phenotypes.csv": phenotypes()})
    worker = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("study_worker.py")), json.dumps(study.places), name, "drop:1"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert worker.stdout is not None
    assert "testing\n" in iter(worker.stdout.readline, "")
    assert [job["status"] for job in study.jobs(name)] == ["running"]
    worker.kill()
    worker.wait()
    assert [closed.ledger for closed in study.gwas.gwas_jobs.reap()] == ["gwas"]
    [killed] = study.jobs(name)
    assert (killed["status"], killed["error_kind"]) == ("failed", "worker_lost")
    assert study.results(name) == []
    assert study.run(name, tags={"dagster/run_key": "drop:1"}).success
    assert [job["status"] for job in study.jobs(name)] == ["failed", "completed"]
    [found] = study.results(name)
    assert found["job_id"] == study.jobs(name)[1]["_id"]


def test_a_cancelled_run_cancels_its_job(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    from dagster._core.errors import DagsterExecutionInterruptedError

    from genomics_assets.gwas import linear

    def interrupted(*_: object) -> None:
        raise DagsterExecutionInterruptedError

    monkeypatch.setattr(linear, "count_calls", interrupted)
    with suppress(DagsterExecutionInterruptedError):
        study.load("ann/cancelled", {"a.vcf": small_vcf(), "phenotypes.csv": phenotypes()})
    assert [job["status"] for job in study.jobs("ann/cancelled")] == ["cancelled"]
    assert study.results("ann/cancelled") == []
