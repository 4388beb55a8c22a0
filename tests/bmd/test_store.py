"""What the store promises: results on the right side of the limit, objects before rows, one current version a stage."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from genomics_assets.bmd.canonical_json import canonical_json
from genomics_assets.bmd.experiment import DroppedExperiment, split_partition_key
from genomics_assets.bmd.expression_matrix import parse_expression_matrix
from genomics_assets.bmd.stored_results import (
    JSONB_LIMIT_BYTES,
    NewChart,
    NewExport,
    NewFits,
    NewResult,
    ResultFiles,
    ResultRows,
)
from genomics_assets.input_error import InputError
from resources.bmd_store import BmdStore
from resources.hybrid_storage import BMD, CATEGORY, PREFILTER, Saved
from resources.object_store import ObjectStoreResource

Query = Callable[..., list[tuple[Any, ...]]]

MATRIX = "id\ta\tb\tc\td\te\tf\nDose\t0\t0\t1\t1\t2\t2\nP1\t1\t2\t3\t4\t5\t6\nP2\t2\t2\t2\t2\t2\t2\n"


def experiment(key: str, text: str = MATRIX, **changes: Any) -> DroppedExperiment:
    project, name = split_partition_key(key)
    settings = {"log_transformation": "BASE2", "chip": "generic", "options": {"bmr": 1.349}} | changes
    return DroppedExperiment(
        project, name, parse_expression_matrix(text), f"/inbox/{key}.txt", "0" * 64, **settings
    )


def prefilter(experiment_id: int, rows: Sequence[dict[str, Any]], **info: Any) -> NewResult:
    details = pa.table({"probe_id": pa.array([row["probe_id"] for row in rows], pa.string())})
    return NewResult("e_oneway", "ONE_WAY_ANOVA", rows, details, info, {"experiment_id": experiment_id})


def rows_of_length(length: int) -> list[dict[str, Any]]:
    """Results whose canonical JSON has exactly so many bytes, several of them in two-byte characters."""
    rows = [{"probe_id": f"µ{i}", "p_value": i / 7, "profile": "µ" * 400} for i in range(length // 900)]
    rows.append({"probe_id": "last", "profile": ""})
    rows[-1]["profile"] = "x" * (length - len(canonical_json(rows)))
    return rows


@pytest.fixture
def experiment_id(store: BmdStore, key: str) -> int:
    return store.save_experiment(key, experiment(key)).id


def test_a_matrix_is_one_object_at_its_key_and_names_beside_it(
    store: BmdStore, query: Query, key: str
) -> None:
    saved = store.save_experiment(key, experiment(key))

    stored = store.expect_experiment(key)
    assert stored.matrix_key == f"projects/{stored.project_id}/experiments/{saved.id}/matrix.bin"
    assert store.objects.read_bytes(stored.matrix_key) == parse_expression_matrix(MATRIX).to_bytes()
    assert store.matrix(stored).digest() == parse_expression_matrix(MATRIX).digest()
    assert query(
        "SELECT p.name, e.name, log_transformation, num_probes, num_treatments, expression_matrix_s3_key, u.username "
        "FROM bmd.dose_response_experiments e JOIN bmd.bmd_projects p ON p.id = project_id JOIN bmd.users u ON u.id = user_id "
        "WHERE e.id = %s",
        saved.id,
    ) == [(key.split("/")[0], "experiment", "BASE2", 2, 6, stored.matrix_key, "inbox")]
    assert query("SELECT dose FROM bmd.treatments WHERE experiment_id = %s ORDER BY position", saved.id) == [
        (0,), (0,), (1,), (1,), (2,), (2,),
    ]  # fmt: skip


def test_the_same_matrix_again_is_the_same_experiment_and_another_one_a_new_version(
    store: BmdStore, query: Query, key: str
) -> None:
    first = store.save_experiment(key, experiment(key))
    again = store.save_experiment(key, experiment(key, options={"bmr": 2}))
    assert (again.id, again.is_new) == (first.id, False)
    assert store.expect_experiment(key).options == {"bmr": 2}

    other = store.save_experiment(key, experiment(key, MATRIX.replace("5", "7")))
    rescaled = store.save_experiment(
        key, experiment(key, MATRIX.replace("5", "7"), log_transformation="NONE")
    )

    assert len({first.id, other.id, rescaled.id}) == 3
    assert store.expect_experiment(key).id == rescaled.id
    current = query(
        "SELECT id FROM bmd.dose_response_experiments WHERE partition_key = %s AND superseded_at IS NULL", key
    )
    assert current == [(rescaled.id,)]


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_results_lie_on_the_right_side_of_the_limit_and_read_back_equal(
    store: BmdStore, query: Query, key: str, experiment_id: int, over: int
) -> None:
    rows = rows_of_length(JSONB_LIMIT_BYTES + over)

    saved = store.save_result(PREFILTER, key, prefilter(experiment_id, rows))

    in_row, object_key, count = query(
        "SELECT results, results_s3_key, num_results FROM bmd.prefilter_results WHERE id = %s", saved.id
    )[0]
    assert (in_row is not None, object_key is not None) == (over <= 0, over > 0)
    assert count == len(rows)
    assert store.expect_result(PREFILTER, key).rows == rows
    if over > 0:
        project = store.expect_experiment(key).project_id
        assert object_key == f"projects/{project}/prefilters/{saved.id}/results.json.gz"
        packed = store.objects.read_bytes(object_key)
        assert packed[4:8] == b"\0\0\0\0", "gzip says no time"
        assert json.loads(gzip.decompress(packed)) == rows
    assert store.misplaced_results(key) == []
    assert query("SELECT count(*) FROM bmd.prefilter_result_details WHERE prefilter_id = %s", saved.id) == [
        (len(rows),)
    ]


@pytest.mark.parametrize("stage", [BMD, CATEGORY])
def test_large_results_of_the_other_stages_lie_at_their_keys(
    store: BmdStore, key: str, experiment_id: int, stage: Any
) -> None:
    first = "probe_id" if stage is BMD else "category_id"
    rows = [{first: f"p{i}", "name": "x" * 1000} for i in range(1100)]
    details = {first: [row[first] for row in rows]}
    details |= {"model": ["hill"] * 1100} if stage is BMD else {"stats": ["{}"] * 1100}
    result = NewResult("r", "BMDS", rows, pa.table(details), {}, {"experiment_id": experiment_id})

    saved = store.save_result(stage, key, result)

    project = store.expect_experiment(key).project_id
    folder = (
        f"projects/{project}/results/{saved.id}/probe_stats"
        if stage is BMD
        else f"projects/{project}/categories/{saved.id}/results"
    )
    assert saved.object_key == f"{folder}.json.gz"
    assert store.expect_result(stage, key).rows == rows


def test_the_same_results_again_are_not_written_twice_and_others_take_their_place(
    store: BmdStore, query: Query, key: str, experiment_id: int
) -> None:
    rows = [{"probe_id": "P1", "p_value": 0.01}]
    first = store.save_result(PREFILTER, key, prefilter(experiment_id, rows, parameters={"p": 0.05}))
    again = store.save_result(
        PREFILTER, key, prefilter(experiment_id, rows, parameters={"p": 0.05}, run_id="another")
    )
    assert again == Saved(first.id, False, first.size, None)

    other = store.save_result(PREFILTER, key, prefilter(experiment_id, rows, parameters={"p": 0.1}))

    assert other.id != first.id
    history = query(
        "SELECT id, superseded_at IS NULL FROM bmd.prefilter_results WHERE partition_key = %s ORDER BY id",
        key,
    )
    assert history == [(first.id, False), (other.id, True)]


def test_of_a_chain_each_result_has_its_row_and_the_next_one_points_to_it(
    store: BmdStore, query: Query, key: str, experiment_id: int
) -> None:
    small, large = [{"probe_id": "P1"}], rows_of_length(JSONB_LIMIT_BYTES + 1)
    first = prefilter(experiment_id, large, parameters={"chain": 1})
    last = replace(prefilter(experiment_id, small, parameters={"chain": 2}), before=[first])

    saved = store.save_result(PREFILTER, key, last)

    current = store.expect_result(PREFILTER, key)
    assert (current.id, current.rows) == (saved.id, small)
    above = current.upstream["upstream_prefilter_id"]
    [(partition, object_key, follows)] = query(
        "SELECT partition_key, results_s3_key, upstream_prefilter_id FROM bmd.prefilter_results WHERE id = %s",
        above,
    )
    assert (partition, follows) == (None, None)
    assert json.loads(gzip.decompress(store.objects.read_bytes(object_key))) == large
    assert query("SELECT count(*) FROM bmd.prefilter_result_details WHERE prefilter_id = %s", above) == [
        (len(large),)
    ]
    assert store.save_result(PREFILTER, key, last) == Saved(saved.id, False, saved.size, None), (
        "nothing is written twice"
    )
    assert object_key not in store.survey().garbage


def test_results_of_an_older_version_of_the_matrix_are_neither_read_nor_written(
    store: BmdStore, key: str, experiment_id: int
) -> None:
    store.save_result(PREFILTER, key, prefilter(experiment_id, [{"probe_id": "P1"}]))
    store.save_experiment(key, experiment(key, MATRIX.replace("5", "7")))
    with pytest.raises(dg.Failure, match="materialize that partition of bmd/prefilter_results first"):
        store.expect_result(PREFILTER, key)
    with pytest.raises(dg.Failure, match="replaced by another version"):
        store.save_result(PREFILTER, key, prefilter(experiment_id, [{"probe_id": "P1"}]))


def test_fits_are_parquet_and_known_by_their_identity(store: BmdStore, key: str, experiment_id: int) -> None:
    import io

    import pyarrow.parquet as pq

    table = pa.table({"probe_id": ["P1"], "bmd": [1.5]}).replace_schema_metadata({"settings": "{}"})
    sink = io.BytesIO()
    pq.write_table(table, sink)
    fits = NewFits("fits", "native", table, 1, {"parameters": {}}, {"experiment_id": experiment_id})
    saved = store.save_fits(key, fits, sink.getvalue())
    assert store.save_fits(key, fits, sink.getvalue()) == Saved(saved.id, False, saved.size, saved.object_key)
    known = store.current_fits(key, identity=fits.identity)
    assert known is not None
    assert known.table.equals(table)
    assert known.table.schema.metadata == {b"settings": b"{}"}
    assert known.id == saved.id
    assert store.current_fits(key, identity="b" * 64) is None


@pytest.fixture
def bmd_result_id(store: BmdStore, key: str, experiment_id: int) -> int:
    details = pa.table({"probe_id": ["P1"], "model": ["hill"]})
    result = NewResult("r", "BMDS", [{"probe_id": "P1"}], details, {}, {"experiment_id": experiment_id})
    return store.save_result(BMD, key, result).id


def test_charts_and_exports_lie_at_their_keys_and_only_what_changed_is_written_anew(
    store: BmdStore, key: str, bmd_result_id: int
) -> None:
    project = store.expect_experiment(key).project_id

    def charts_of(**pictures: bytes) -> ResultFiles:
        return ResultFiles(bmd_result_id, [NewChart(name, png) for name, png in pictures.items()])

    charts = store.save_files(key, charts_of(curve=b"one", bubble=b"two"))
    exports = store.save_files(key, ResultFiles(bmd_result_id, [NewExport("best", b"a,b\n", b"PAR1", 1)]))
    for name, data in (("curve", b"one"), ("bubble", b"two")):
        assert charts[name][0].startswith(f"projects/{project}/charts/")
        assert charts[name][0].endswith(".png")
        assert store.objects.read_bytes(charts[name][0]) == data
    [csv, parquet] = exports["best"]
    assert csv.startswith(f"projects/{project}/exports/")
    assert csv.endswith("/results.csv")
    assert parquet == csv.removesuffix("csv") + "parquet"

    again = store.save_files(key, charts_of(curve=b"one", bubble=b"other"))

    assert again["curve"] == charts["curve"]
    assert again["bubble"] != charts["bubble"]
    assert not store.objects.exists(charts["bubble"][0]), "what it replaced is gone"
    survey = store.survey()
    assert not {*again["curve"], *again["bubble"], csv, parquet} & (set(survey.garbage) | set(survey.missing))


def test_rows_hang_on_the_current_result_alone(
    store: BmdStore, query: Query, key: str, bmd_result_id: int, experiment_id: int
) -> None:
    def genes(*names: str) -> ResultRows:
        return ResultRows(bmd_result_id, pa.table({"gene": list(names), "probes": [["P1"]] * len(names)}))

    store.replace_rows("bmd.gene_bmds", key, genes("A", "B"))
    store.replace_rows("bmd.gene_bmds", key, genes("B", "C"))
    assert query("SELECT gene FROM bmd.gene_bmds WHERE bmd_result_id = %s ORDER BY gene", bmd_result_id) == [
        ("B",),
        ("C",),
    ]
    assert store.rows_of("bmd.gene_bmds", bmd_result_id)["gene"].to_pylist() == ["B", "C"]

    details = pa.table({"probe_id": ["P2"], "model": ["hill"]})
    store.save_result(
        BMD, key, NewResult("r", "BMDS", [{"probe_id": "P2"}], details, {}, {"experiment_id": experiment_id})
    )
    with pytest.raises(dg.Failure, match="replaced by another version"):
        store.replace_rows("bmd.gene_bmds", key, genes("D"))


DIES_AFTER_ITS_OBJECT = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from resources.bmd_store import BmdStore
from resources.hybrid_storage import PREFILTER
from resources.object_store import ObjectStoreResource
from resources.postgres import PostgresResource
from test_store import prefilter, rows_of_length

class DiesAfterItsObject(ObjectStoreResource):
    def put_bytes(self, key, data):
        super().put_bytes(key, data)
        os.kill(os.getpid(), signal.SIGKILL)

store = BmdStore(postgres=PostgresResource(url={url!r}), objects=DiesAfterItsObject(url={objects!r}))
store.save_result(PREFILTER, {key!r}, prefilter({experiment_id}, rows_of_length({length})))
"""


def test_a_writer_killed_between_object_and_row_leaves_garbage_that_is_found(
    store: BmdStore,
    objects: ObjectStoreResource,
    postgres_url: str,
    query: Query,
    key: str,
    experiment_id: int,
) -> None:
    before = store.survey()
    script = DIES_AFTER_ITS_OBJECT.format(
        tests=str(Path(__file__).parent), url=postgres_url, objects=objects.url, key=key, experiment_id=experiment_id,
        length=JSONB_LIMIT_BYTES + 1,
    )  # fmt: skip
    died = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert died.returncode == -signal.SIGKILL, died.stderr

    assert store.current_result(PREFILTER, key) is None
    assert query("SELECT count(*) FROM bmd.prefilter_results WHERE partition_key = %s", key) == [(0,)]
    survey = store.survey()
    [garbage] = set(survey.garbage) - set(before.garbage)
    project = store.expect_experiment(key).project_id
    assert garbage.startswith(f"projects/{project}/prefilters/")
    assert survey.missing == []

    saved = store.save_result(PREFILTER, key, prefilter(experiment_id, rows_of_length(JSONB_LIMIT_BYTES + 1)))

    assert saved.object_key is not None
    assert objects.read_bytes(saved.object_key) == objects.read_bytes(garbage), (
        "the same bytes, under its own key"
    )
    assert garbage in store.survey(delete=True).garbage
    after = store.survey()
    assert after.garbage == {}
    assert objects.exists(saved.object_key), "what a row names stays"


def test_the_survey_waits_for_a_writer_at_work(store: BmdStore, key: str) -> None:
    import threading

    with store.writing(key):
        store.objects.put_bytes("projects/999/results/1/probe_stats.json.gz", b"in flight")
        surveys: list[Any] = []
        thread = threading.Thread(target=lambda: surveys.append(store.survey(delete=True)))
        thread.start()
        thread.join(0.3)
        assert surveys == [], "it would take the object of a writer at work for garbage"
    thread.join(10)
    assert "projects/999/results/1/probe_stats.json.gz" in surveys[0].garbage


def test_a_lost_or_changed_object_is_told(
    store: BmdStore, objects: ObjectStoreResource, key: str, experiment_id: int
) -> None:
    saved = store.save_result(PREFILTER, key, prefilter(experiment_id, rows_of_length(JSONB_LIMIT_BYTES + 1)))
    assert saved.object_key is not None
    whole = objects.read_bytes(saved.object_key)
    objects.put_bytes(saved.object_key, gzip.compress(b"[]"))
    assert store.misplaced_results(key) == [f"prefilter_results {saved.id}: not the bytes that were written"]
    objects.delete(saved.object_key)
    assert store.misplaced_results(key) == [f"prefilter_results {saved.id}: no object {saved.object_key}"]
    assert store.survey().missing == [saved.object_key]
    objects.put_bytes(saved.object_key, whole)
    assert store.misplaced_results(key) == []


@pytest.mark.parametrize(
    ("name", "problem"), [("loose", "no project's folder"), (f"p/{'x' * 256}", "256 characters")]
)
def test_a_matrix_outside_a_project_is_refused(name: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        split_partition_key(name)
