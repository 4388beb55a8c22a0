"""The bundled experiment from drop to points of departure, as a user sees it; and what each bad drop is told."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest
from bmd_bench import EXAMPLES, Laboratory, metadata, steps
from run_results import checks, failure

from sensors.jobs import care_for_jobs

KEY = "synthetic/hepatocytes"
STAGES = {
    "expression_matrix", "prefilter_results", "model_fits", "bmd_results", "gene_bmds", "category_results",
    "points_of_departure", "exports", "charts",
}  # fmt: skip
# Two responsive probes and one that is not, at four doses.
SMALL = (
    "id\t" + "\t".join(f"s{i}" for i in range(12)) + "\nDose\t0\t0\t0\t1\t1\t1\t10\t10\t10\t100\t100\t100\n"
)
SMALL += "UP\t7.0\t7.1\t6.9\t7.1\t7.2\t7.0\t7.9\t8.1\t8.0\t9.4\t9.6\t9.5\n"
SMALL += "DOWN\t9.0\t9.1\t8.9\t8.8\t8.9\t9.0\t8.3\t8.2\t8.4\t7.0\t7.1\t6.9\n"
SMALL += "FLAT\t5.0\t5.1\t4.9\t5.0\t4.9\t5.1\t5.1\t4.9\t5.0\t5.0\t5.1\t4.9\n"
SIDECAR = "prefilter: {method: anova, fold_change: 1.2, lotel_test: welch}\nmodels: [hill, power, linear]\n"


@pytest.fixture(scope="module")
def laboratory(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    laboratory = Laboratory(tmp_path_factory.mktemp("laboratory"), postgres_url)
    yield laboratory
    laboratory.resources["postgres"].close()


@pytest.fixture(scope="module")
def example(laboratory: Laboratory) -> dg.ExecuteInProcessResult:
    laboratory.drop_examples()
    assert laboratory.run("load_platform", "synthetic_panel").success
    assert laboratory.run("load_gene_sets", "synthetic_pathways").success
    result = laboratory.run("analyze_experiment", KEY)
    assert result.success
    return result


def objects_of(laboratory: Laboratory) -> list[str]:
    return laboratory.store.objects.list("projects")


# -- the bundled experiment --------------------------------------------------------------------------------------------


def test_one_run_makes_every_stage_and_every_check_passes(example: dg.ExecuteInProcessResult) -> None:
    assert set(steps(example)) == STAGES
    assert checks(example) == dict.fromkeys(
        (
            "matrix_has_spread", "some_probes_respond", "likelihoods_in_order", "limits_on_profile", "limits_in_order",
            "stored_by_the_rule", "probes_are_mapped",
        ),
        True,
    )  # fmt: skip


@pytest.mark.parametrize("interval", ["best model", "model average"])
def test_planted_doses_lie_in_their_intervals(
    laboratory: Laboratory, example: dg.ExecuteInProcessResult, interval: str
) -> None:
    with (EXAMPLES / "planted_bmds.tsv").open() as file:
        planted = {row["probe_id"]: float(row["bmd"]) for row in csv.DictReader(file, delimiter="\t")}
    condition = "s.is_best" if interval == "best model" else "s.model = 'model_average'"
    rows = laboratory.query(
        "SELECT probe_id, bmdl, bmdu FROM bmd.probe_stat_results s JOIN bmd.bmd_results r ON r.id = bmd_result_id "
        f"WHERE {condition} AND partition_key = %s AND superseded_at IS NULL",
        KEY,
    )
    fitted = {probe: (lower, upper) for probe, lower, upper in rows if probe in planted}
    assert len(fitted) > 0.9 * len(planted), "the prefilter lets nearly all of them through"
    inside = [
        lower is not None and lower <= planted[probe] and (upper is None or planted[probe] <= upper)
        for probe, (lower, upper) in fitted.items()
    ]
    assert sum(inside) >= 0.9 * len(inside)


def test_the_most_sensitive_pathway_is_the_one_that_was_planted(
    laboratory: Laboratory, example: dg.ExecuteInProcessResult
) -> None:
    rows = laboratory.query(
        "SELECT method, value, lower, upper, basis FROM bmd.points_of_departure p "
        "JOIN bmd.bmd_results r ON r.id = bmd_result_id WHERE r.partition_key = %s",
        KEY,
    )
    points = {method: (value, lower, upper, basis) for method, value, lower, upper, basis in rows}
    assert set(points) == {
        "20th_gene", "25th_gene", "5th_percentile", "10th_percentile", "first_mode", "lowest_category_median",
    }  # fmt: skip
    value, lower, upper, basis = points["lowest_category_median"]
    assert basis == "XENOBIOTIC_METABOLISM"
    assert lower <= value <= upper
    assert 0.4 <= value <= 1.6, "planted around 0.8"


def test_the_job_follows_the_run_and_names_the_result(
    laboratory: Laboratory, example: dg.ExecuteInProcessResult
) -> None:
    [(status, progress, result_id, project, done, error)] = laboratory.query(
        "SELECT j.status, j.progress, j.result_id, p.name, j.completed_at >= j.started_at, j.error_message "
        "FROM bmd.jobs j JOIN bmd.bmd_projects p ON p.id = j.project_id WHERE run_id = %s",
        example.run_id,
    )
    assert (status, progress, project, done, error) == ("SUCCEEDED", 1.0, "synthetic", True, None)
    assert result_id == laboratory.number("SELECT id FROM bmd.bmd_results WHERE partition_key = %s", KEY)


def test_any_number_can_be_traced_to_its_inputs(
    laboratory: Laboratory, example: dg.ExecuteInProcessResult
) -> None:
    [(category, bmd, fit, prefilter, file_hash)] = laboratory.query(
        """
        SELECT c.analysis_info, b.analysis_info, f.analysis_info, p.analysis_info, e.file_hash
        FROM bmd.category_results c JOIN bmd.bmd_results b ON b.id = c.bmd_result_id
        JOIN bmd.model_fits f ON f.id = b.model_fit_id JOIN bmd.prefilter_results p ON p.id = f.prefilter_id
        JOIN bmd.dose_response_experiments e ON e.id = p.experiment_id WHERE c.partition_key = %s
        """,
        KEY,
    )
    import hashlib

    dropped = hashlib.sha256((EXAMPLES / "inbox" / "bmd" / f"{KEY}.txt").read_bytes()).hexdigest()
    assert file_hash == prefilter["inputs"]["file"] == dropped
    assert fit["inputs"]["prefilter"] == laboratory.number(
        "SELECT results_hash FROM bmd.prefilter_results LIMIT 1"
    )
    assert bmd["inputs"]["fits"] == laboratory.number("SELECT fits_hash FROM bmd.model_fits LIMIT 1")
    assert category["inputs"]["bmd_result"] == laboratory.number(
        "SELECT results_hash FROM bmd.bmd_results LIMIT 1"
    )
    platform = hashlib.sha256(
        (EXAMPLES / "inbox" / "bmd_platforms" / "synthetic_panel.txt").read_bytes()
    ).hexdigest()
    assert category["upstream"]["platform"]["sha256"] == platform
    assert fit["parameters"]["fit"]["bmr"] == {"type": "sd", "factor": 1.349}
    assert all(info["versions"]["engine"] for info in (category, bmd, fit, prefilter))


def test_every_object_lies_at_its_key_and_has_its_row(
    laboratory: Laboratory, example: dg.ExecuteInProcessResult
) -> None:
    survey = laboratory.store.survey()
    assert (survey.garbage, survey.missing) == ({}, [])
    project = laboratory.number("SELECT id FROM bmd.bmd_projects WHERE name = 'synthetic'")
    kinds = {key.split("/")[2] for key in objects_of(laboratory) if key.startswith(f"projects/{project}/")}
    assert kinds == {"experiments", "fits", "exports", "charts"}, "this experiment's results are small"


def test_exports_hold_what_the_tables_hold(
    laboratory: Laboratory, example: dg.ExecuteInProcessResult
) -> None:
    [(csv_key, parquet_key, count)] = laboratory.query(
        "SELECT csv_s3_key, parquet_s3_key, num_rows FROM bmd.exports WHERE name = 'probes'"
    )
    text = laboratory.store.objects.read_bytes(csv_key).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    wide = pq.read_table(io.BytesIO(laboratory.store.objects.read_bytes(parquet_key)))
    assert len(rows) == wide.num_rows == count == metadata(example, "prefilter_results")["kept"]
    best = {
        probe: (model, bmd)
        for probe, model, bmd in laboratory.query(
            "SELECT probe_id, model, bmd FROM bmd.probe_stat_results WHERE is_best"
        )
    }
    for row, typed in zip(rows, wide.to_pylist(), strict=True):
        assert (typed["best_model"], typed["best_bmd"]) == best[row["probe_id"]]
        assert float(row["best_bmd"]) == typed["best_bmd"]
        assert typed["genes"] == row["probe_id"].rpartition("_")[0]
        assert typed[f"{typed['best_model']}_bmd"] == typed["best_bmd"]


# -- a real matrix -----------------------------------------------------------------------------------------------------


def test_a_real_matrix_goes_from_its_numbers_to_points_of_departure(
    laboratory: Laboratory, shared_data: Path
) -> None:
    files = shared_data / "bmd"
    laboratory.drop("bmd_platforms/s1500.txt", (files / "s1500_probe_map.txt").read_bytes())
    laboratory.drop("bmd_gene_sets/hallmark.txt", (files / "hallmark_category_map.txt").read_bytes())
    assert laboratory.run("load_platform", "s1500").success
    assert laboratory.run("load_gene_sets", "hallmark").success
    key = "real/heparg"
    sidecar = (
        "chip: s1500\ngene_sets: hallmark\nmodels: [hill, power, linear]\n"
        "prefilter: {method: anova, fold_change: 1.5, lotel_test: welch}\n"
    )

    result = laboratory.analyze(key, (files / "heparg_s1500_example_1.txt").read_text(), sidecar)

    assert set(steps(result)) == STAGES
    assert all(checks(result).values()), checks(result)
    assert metadata(result, "prefilter_results")["kept"] == 1315
    stored = dict(
        laboratory.query(
            "SELECT probe_id, p_value FROM bmd.prefilter_result_details "
            "JOIN bmd.prefilter_results r ON r.id = prefilter_id WHERE partition_key = %s",
            key,
        )
    )
    with (files / "heparg_s1500_example_1.anova.tsv").open() as file:
        told = [(row["Probe ID"], row["Unadjusted P-Value"]) for row in csv.DictReader(file, delimiter="\t")]
    assert len(told) == len(stored) == 2977
    for probe, p_value in told:
        assert (stored[probe] is None) == (p_value == "NaN"), probe
        assert stored[probe] is None or abs(stored[probe] - float(p_value)) <= 1e-8, probe
    points = laboratory.query(
        "SELECT method, value, lower, upper FROM bmd.points_of_departure p JOIN bmd.bmd_results r ON r.id = bmd_result_id "
        "WHERE r.partition_key = %s",
        key,
    )
    assert len(points) == 6
    assert all(0 < lower <= value <= upper for _, value, lower, upper in points)


# -- again -------------------------------------------------------------------------------------------------------------


def test_choosing_again_with_other_options_does_not_fit_again(
    laboratory: Laboratory, example: dg.ExecuteInProcessResult
) -> None:
    options = {"ops": {"bmd__bmd_results": {"config": {"flagged_hill": "exclude_all_hill"}}}}
    fits = laboratory.query("SELECT id, fits_hash FROM bmd.model_fits WHERE partition_key = %s", KEY)

    again = laboratory.run("reselect_best_models", KEY, options)

    assert again.success
    assert set(steps(again)) == STAGES - {"expression_matrix", "prefilter_results", "model_fits"}
    assert laboratory.query("SELECT id, fits_hash FROM bmd.model_fits WHERE partition_key = %s", KEY) == fits
    history = laboratory.query(
        "SELECT analysis_info->'parameters'->'selection'->>'flagged_hill', superseded_at IS NULL, model_fit_id "
        "FROM bmd.bmd_results WHERE partition_key = %s ORDER BY id",
        KEY,
    )
    assert history == [("next_best", False, fits[0][0]), ("exclude_all_hill", True, fits[0][0])]
    assert laboratory.number(
        "SELECT count(*) FROM bmd.probe_stat_results s JOIN bmd.bmd_results r ON r.id = bmd_result_id "
        "WHERE r.partition_key = %s AND superseded_at IS NULL AND is_best AND model = 'hill'",
        KEY,
    ) == 0  # fmt: skip


def test_an_option_that_is_none_of_its_choices_is_refused(
    laboratory: Laboratory, example: dg.ExecuteInProcessResult
) -> None:
    options = {"ops": {"bmd__bmd_results": {"config": {"best_poly": "lowest"}}}}
    refused = laboratory.run("reselect_best_models", KEY, options)
    assert "best_poly is 'lowest'. Remedy: write 'lowest_aic'" in failure(refused)


def test_the_same_drop_again_changes_nothing_and_a_sidecar_alone_does_not_fit_again(
    laboratory: Laboratory,
) -> None:
    first = laboratory.analyze("again/small", SMALL, SIDECAR)
    assert first.success
    before = laboratory.query("SELECT id, fits_hash FROM bmd.model_fits WHERE partition_key = 'again/small'")
    listed = objects_of(laboratory)

    same = laboratory.analyze("again/small", SMALL, SIDECAR)

    assert same.success
    assert metadata(same, "model_fits")["outcome"] == "already there: the same fits stand"
    assert metadata(same, "bmd_results")["outcome"] == "already there: the same results stand"
    assert objects_of(laboratory) == listed

    chosen = laboratory.analyze(
        "again/small", SMALL, SIDECAR + "best_model: {flagged_hill: exclude_all_hill}\n"
    )

    assert chosen.success
    assert metadata(chosen, "bmd_results")["outcome"] == "stored"
    assert (
        laboratory.query("SELECT id, fits_hash FROM bmd.model_fits WHERE partition_key = 'again/small'")
        == before
    )


def test_the_engine_that_the_sidecar_asks_for_is_the_one_that_fits(
    laboratory: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = SIDECAR + "engine: pybmds\nvariance: non_constant\n"
    refused = laboratory.analyze("engines/second", SMALL, asked)
    assert not refused.success
    assert "set GENOMICS_BMDS_PYTHON to its interpreter" in failure(refused)
    assert not laboratory.query("SELECT id FROM bmd.model_fits WHERE partition_key = 'engines/second'")

    python = os.environ.get("GENOMICS_TEST_BMDS_PYTHON")
    if python is None:
        pytest.skip("refused as it should be; GENOMICS_TEST_BMDS_PYTHON names no interpreter to go on with")
    monkeypatch.setenv("GENOMICS_BMDS_PYTHON", python)
    assert laboratory.analyze("engines/second", SMALL, asked).success
    fit = laboratory.number("SELECT analysis_info FROM bmd.model_fits WHERE partition_key = 'engines/second'")
    assert (fit["parameters"]["engine"], fit["parameters"]["variance"]) == ("pybmds", "non_constant")


def test_a_chain_of_prefilters_has_a_result_for_each_and_the_last_one_decides(laboratory: Laboratory) -> None:
    chain = "prefilter: [{method: williams, permutations: 500, fold_change: 1.2}, {method: anova, fold_change: null}]\n"
    assert laboratory.analyze("chains/two", SMALL, chain + "models: [hill, linear]\n").success
    rows = laboratory.query(
        "SELECT last.prefilter_type, first.prefilter_type, last.num_results, first.num_results, last.name, first.name "
        "FROM bmd.prefilter_results last JOIN bmd.prefilter_results first ON first.id = last.upstream_prefilter_id "
        "WHERE last.partition_key = 'chains/two'"
    )
    name = "two_williams_0.05_NOMTC_foldfilter1.2"
    assert rows == [("ONE_WAY_ANOVA", "WILLIAMS", 3, 3, f"{name}_oneway_0.05_NOMTC_nofoldfilter", name)]
    outcomes = laboratory.query(
        "SELECT prefilter_type, probe_id, outcome FROM bmd.prefilter_result_details "
        "JOIN bmd.prefilter_results r ON r.id = prefilter_id WHERE r.name LIKE 'two_williams%%' AND probe_id = 'FLAT' ORDER BY 1"
    )
    assert [outcome != "kept" for *_, outcome in outcomes] == [True, True]
    assert outcomes[0][2] == "not_in_upstream"


def test_an_analyze_configuration_of_bmdexpress_is_taken_as_it_is(laboratory: Laboratory) -> None:
    configuration = {
        "bm2FileName": "/out.bm2", "jsonExportFileName": "/out.json", "overwrite": True,
        "expressionDataConfigs": [
            {"inputFileName": "/in", "hasHeaders": True, "logTransformation": "BASE2", "platform": "generic"}
        ],
        "preFilterConfigs": [{"@type": "anova", "pValueCutoff": 0.05, "useFoldChange": False, "lotelTest": 2}],
        "bmdsConfigs": [
            {
                "modelConfigs": [{"@type": "hill"}, {"@type": "poly", "degree": 1}],
                "bmdsBestModelSelection": {"bestPolyTest": 2},
                "bmdsInputConfig": {"constantVariance": True, "bmrType": 1, "bmrFactor": 1.021},
                "inputCategory": "anova",
            }
        ],
    }  # fmt: skip
    configuration["bmdsConfigs"].append(
        {**configuration["bmdsConfigs"][0], "modelConfigs": [{"@type": "power"}]}
    )
    laboratory.drop("bmd/java/config.json", json.dumps(configuration))
    result = laboratory.analyze("java/config", SMALL)
    assert result.success
    told = metadata(result, "expression_matrix")["done otherwise"]
    assert "2 analyses are configured and only the first one is done" in told
    fit = laboratory.number("SELECT analysis_info FROM bmd.model_fits WHERE partition_key = 'java/config'")
    assert fit["parameters"]["fit"]["models"] == ["hill", "linear"]
    assert fit["parameters"]["fit"]["bmr"]["factor"] == 1.021
    assert fit["parameters"]["fit"]["compat"] == "bmdexpress3"


# -- kill -9 -----------------------------------------------------------------------------------------------------------

DIES_WHILE_FITTING = """
import os, signal, sys
from contextlib import contextmanager
from pathlib import Path
sys.path += [{tests!r}, {shared!r}]
from bmd_bench import Laboratory
from genomics_assets.definitions import build_definitions
from resources.bmd_run_jobs import BmdRunJobs

class DiesWhileFitting(BmdRunJobs):
    @contextmanager
    def step(self, context):
        with super().step(context) as progress:
            def told(share):
                progress(share)
                if context.asset_key.path[-1] == "model_fits":
                    os.kill(os.getpid(), signal.SIGKILL)
            yield told

laboratory = Laboratory(Path({folder!r}), {url!r})
own = laboratory.resources
own["bmd_run_jobs"] = DiesWhileFitting(jobs=own["bmd_jobs"], store=own["bmd_store"])
laboratory.definitions = build_definitions(**own)
laboratory.run("analyze_experiment", {key!r})
"""


def test_a_kill_in_the_middle_of_a_fit_fails_the_job_and_a_run_again_gives_the_same_bytes(
    laboratory: Laboratory,
) -> None:
    laboratory.drop("bmd/killed/small.txt", SMALL)
    laboratory.drop("bmd/killed/small.yaml", SIDECAR)
    script = DIES_WHILE_FITTING.format(
        tests=str(Path(__file__).parent),
        shared=str(Path(__file__).parents[1]),
        folder=str(laboratory.inbox.parent),
        url=laboratory.url,
        key="killed/small",
    )
    died = subprocess.run([sys.executable, "-c", script], cwd=EXAMPLES.parent, capture_output=True, text=True)
    assert died.returncode == -signal.SIGKILL, died.stderr[-3000:]
    mine = "partition_key = 'killed/small'"
    assert laboratory.query(f"SELECT status FROM bmd.jobs WHERE {mine}") == [("RUNNING",)]
    assert laboratory.query(f"SELECT count(*) FROM bmd.model_fits WHERE {mine}") == [(0,)]
    assert laboratory.query(f"SELECT count(*) FROM bmd.bmd_results WHERE {mine}") == [(0,)]
    assert laboratory.store.survey().missing == [], "no row without its object"

    care_for_jobs([laboratory.resources["bmd_jobs"]], laboratory.instance)

    [(status, reason)] = laboratory.query(f"SELECT status, error_message FROM bmd.jobs WHERE {mine}")
    assert status == "FAILED"
    assert "the process that worked on this job is gone" in reason

    assert laboratory.run("analyze_experiment", "killed/small").success

    undisturbed = laboratory.analyze("undisturbed/small", SMALL, SIDECAR)
    assert undisturbed.success
    for table, digest in (
        ("prefilter_results", "results_hash"), ("model_fits", "fits_hash"), ("bmd_results", "results_hash"),
        ("category_results", "results_hash"), ("exports", "content_hash"),
    ):  # fmt: skip
        hashes = [
            {
                row[0]
                for row in laboratory.query(f"SELECT {digest} FROM bmd.{table} WHERE partition_key = %s", key)
            }
            for key in ("killed/small", "undisturbed/small")
        ]
        assert hashes[0] == hashes[1] != set(), table
    assert laboratory.query(f"SELECT status FROM bmd.jobs WHERE {mine} ORDER BY created_at") == [
        ("FAILED",),
        ("SUCCEEDED",),
    ]


# -- what cannot be taken ----------------------------------------------------------------------------------------------

BAD_DROPS: dict[str, tuple[str, str | None, str]] = {
    "a cell that is no number": (SMALL.replace("7.9", "7,9"), SIDECAR, r"line 3: column 8: the response is '7,9', not a number"),
    "an unknown key": (SMALL, "model: [hill]\n", r"line 1: unknown key 'model'\. Remedy: write 'models'"),
    "an unknown model": (SMALL, "models: [hill, probit]\n", r"line 1: models\[1\] is 'probit'"),
    "an unknown benchmark response": (SMALL, "bmr: {type: percent, factor: 10}\n", r"bmr\.type is 'percent'"),
    "a chip that is not there": (SMALL, "chip: mouse430\n", r"there is no platform 'mouse430' \(known: "),
    "a chip that does not match": (SMALL, "chip: synthetic_panel\n", r"0 of 3 probes belong to platform 'synthetic_panel'"),
    "gene sets that are not there": (SMALL, "gene_sets: kegg\n", r"there is no collection of gene sets 'kegg'"),
    "gene sets that map to nothing": (SMALL, "gene_sets: synthetic_pathways\n", r"no gene of the sets 'synthetic_pathways'"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_DROPS)
def test_a_bad_drop_is_one_clear_error_and_nothing_is_visible(
    laboratory: Laboratory, example: dg.ExecuteInProcessResult, case: str
) -> None:
    matrix, sidecar, problem = BAD_DROPS[case]
    key = f"bad/{case.replace(' ', '_')}"
    listed = objects_of(laboratory)

    result = laboratory.analyze(key, matrix, sidecar)

    import re

    told = failure(result)
    assert re.search(problem, told), told
    assert objects_of(laboratory) == listed
    assert laboratory.query(
        "SELECT count(*) FROM bmd.dose_response_experiments WHERE partition_key = %s", key
    ) == [(0,)]
    [(status, error)] = laboratory.query(
        "SELECT status, error_message FROM bmd.jobs WHERE partition_key = %s", key
    )
    assert status == "FAILED"
    assert re.search(problem, error), error


def test_a_matrix_in_no_project_is_refused(laboratory: Laboratory) -> None:
    assert "drop it as bmd/<project>/<experiment>.txt" in failure(laboratory.analyze("loose", SMALL))


@pytest.mark.parametrize(
    ("job", "file", "text", "problem"),
    [
        ("load_platform", "bmd_platforms/torn.txt", "probe\tgene\nA\n", r"line 2: .*2 are needed"),
        (
            "load_gene_sets",
            "bmd_gene_sets/torn.gmt",
            "SET\tonly a title\n",
            r"line 1: a set without a name or without genes",
        ),
    ],
)
def test_a_bad_platform_or_collection_is_refused(
    laboratory: Laboratory, job: str, file: str, text: str, problem: str
) -> None:
    import re

    laboratory.drop(file, text)
    told = failure(laboratory.run(job, Path(file).stem))
    assert re.search(problem, told), told


def test_another_version_of_a_platform_is_kept_beside_the_old_one(laboratory: Laboratory) -> None:
    versions: list[Any] = []
    for text in ("probe\tgene\nUP\tG1\n", "probe\tgene\nUP\tG1\n", "probe\tgene\nUP\tG2;G3\n"):
        laboratory.drop("bmd_platforms/versions.txt", text)
        result = laboratory.run("load_platform", "versions")
        versions.append((metadata(result, "platforms")["outcome"], metadata(result, "platforms")["gene"]))
    assert versions == [
        ("a new version", 1),
        ("already there: the same bytes stand", 1),
        ("a new version", 2),
    ]
    rows = laboratory.query(
        "SELECT gene, superseded_at IS NULL FROM bmd.chip_probes JOIN bmd.chip_annotations a ON a.id = chip_annotation_id "
        "WHERE partition_key = 'versions' ORDER BY gene"
    )
    assert rows == [("G1", False), ("G2", True), ("G3", True)]
