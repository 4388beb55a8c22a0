"""A tree of the file-based system becomes rows and objects; every file of it is accounted for."""

import json
import os
import random
import shutil
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import psycopg
import pyarrow.parquet as pq
import pytest

from genomics_assets.definitions import build_definitions
from genomics_assets.jobs.legacy import BrokenJobError, parse_job
from resources import default_resources
from sensors.drain import drain

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "inbox" / "comsa_legacy"
# The whole size that is promised takes a while; GENOMICS_TEST_LEGACY_JOBS=1000 asks for it.
JOBS = int(os.environ.get("GENOMICS_TEST_LEGACY_JOBS", "60"))
BROKEN: dict[str, tuple[Callable[[dict[str, Any]], bytes], str]] = {
    "cut short": (lambda job: json.dumps(job).encode()[:-40], "not JSON"),
    "no object": (lambda job: b"[1, 2]", "not a JSON object"),
    "other id": (lambda job: json.dumps({**job, "id": str(uuid.uuid4())}).encode(), "not the id"),
    "odd status": (lambda job: json.dumps({**job, "status": "done"}).encode(), "its status is none of"),
    "no time": (
        lambda job: json.dumps({**job, "created_at": "yesterday"}).encode(),
        "created_at is not a time",
    ),
}


def record(job_id: str, number: int = 0) -> dict[str, Any]:
    """A job as the old system wrote it."""
    return {
        "id": job_id,
        "type": "pipeline",
        "status": "completed",
        "algorithm": ["InterVA"] if number % 2 else "InterVA",
        "age_group": "neonate",
        "country": "Mozambique",
        "created_at": "2025-12-31 00:53:54",
        "started_at": "2025-12-31 00:53:56",
        "completed_at": "2025-12-31 00:54:17",
        "error": {},
        "result": {"n_records": 81, "csmf": {"ipre": 0.7}, "files": {"causes": "causes.csv"}},
        "log": [
            "[2025-12-31 00:53:56] Starting full pipeline",
            "[2025-12-31 00:53:56] === Step 1: openVA ===",
            "..........60% completed",
            "[2025-12-31 00:54:17] All results saved",
        ],
        "n_mcmc": 5000,
        "use_sample_data": True,
    }


class Tree:
    """An inbox with a legacy tree, and what it becomes."""

    def __init__(self, folder: Path, url: str) -> None:
        self.root = folder / "inbox" / "comsa_legacy"
        self.url = url
        self.inbox = folder / "inbox"
        self.objects = folder / "objects"
        self.instance = dg.DagsterInstance.ephemeral()
        resources = default_resources(
            postgres_url=url, inbox_url=str(self.inbox), object_store_url=f"file://{self.objects}"
        )
        self.definitions = build_definitions(**resources)

    def put(self, path: str, content: bytes | str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)

    def put_job(self, number: int = 0, **changes: Any) -> str:
        job_id = str(uuid.uuid4())
        self.put(f"jobs/{job_id}.json", json.dumps({**record(job_id, number), **changes}))
        self.put(f"uploads/{job_id}/input.csv", f"ID,i004a\n{number},y\n")
        self.put(f"outputs/{job_id}/causes.csv", f"ID,cause1\n{number},ipre\n")
        return job_id

    def migrate(self, **config: Any) -> dg.ExecuteInProcessResult:
        self.instance.add_dynamic_partitions("comsa_legacy_trees", ["tree"])
        return self.definitions.resolve_job_def("migrate_comsa_jobs").execute_in_process(
            instance=self.instance,
            partition_key="tree",
            raise_on_error=False,
            run_config={"ops": {"jobs__comsa_legacy_jobs": {"config": config}}} if config else None,
        )

    def report(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = pq.read_table(
            self.objects / "jobs/comsa_legacy_jobs/tree.parquet"
        ).to_pylist()
        return rows

    def outcomes(self) -> dict[str, int]:
        return dict(Counter(row["outcome"] for row in self.report()))

    def why(self, path: str) -> tuple[str, str]:
        [row] = [row for row in self.report() if row["path"] == path]
        return row["outcome"], row["reason"]

    def checks(self, result: dg.ExecuteInProcessResult) -> dict[str, bool]:
        return {check.check_name: check.passed for check in result.get_asset_check_evaluations()}

    def query(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(sql, parameters).fetchall()  # type: ignore[arg-type]

    def everything(self) -> list[Any]:
        """All rows of the ledger as they are, system columns included: a row that was written anew is another one."""
        tables = ("jobs", "job_logs", "job_files")
        return [self.query(f"SELECT xmin::text, t.* FROM comsa.{table} AS t ORDER BY id") for table in tables]


@pytest.fixture
def tree(postgres_url: str, tmp_path: Path) -> Tree:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("TRUNCATE comsa.jobs CASCADE")
    return Tree(tmp_path, postgres_url)


def test_a_job_becomes_its_row_its_lines_and_its_files(tree: Tree) -> None:
    job_id = tree.put_job(1)
    result = tree.migrate()
    assert result.success
    [row] = tree.query(
        "SELECT id::text, type, status, algorithm, age_group, country, calib_model_type, ensemble, error, parameters, "
        "created_at, started_at, completed_at, result, progress FROM comsa.jobs"
    )
    assert row[:10] == (
        job_id, "pipeline", "completed", "InterVA", "neonate", "Mozambique", None, False, {},
        {"n_mcmc": 5000, "use_sample_data": True},
    )  # fmt: skip
    assert row[10:13] == tuple(
        datetime(2025, 12, 31, 0, m, s, tzinfo=UTC) for m, s in ((53, 54), (53, 56), (54, 17))
    )
    assert row[13] == record(job_id)["result"]
    lines = "SELECT message, timestamp FROM comsa.job_logs WHERE job_id = %s ORDER BY "
    by_number = tree.query(lines + "seq", job_id)
    assert [line[0] for line in by_number] == [
        "Starting full pipeline", "=== Step 1: openVA ===", "..........60% completed", "All results saved",
    ]  # fmt: skip
    assert tree.query(lines + "timestamp", job_id) == by_number
    assert by_number[3][1] == datetime(2025, 12, 31, 0, 54, 17, tzinfo=UTC)
    files = tree.query(
        "SELECT file_type, file_name, file_path, file_size FROM comsa.job_files ORDER BY file_type"
    )
    assert files == [
        ("input", "input.csv", f"comsa/jobs/{job_id}/input/input.csv", 13),
        ("output", "causes.csv", f"comsa/jobs/{job_id}/output/causes.csv", 17),
    ]
    assert (tree.objects / files[1][2]).read_text() == "ID,cause1\n1,ipre\n"
    assert tree.checks(result) == {"every_file_accounted_for": True, "every_job_taken": True}


def test_a_large_tree_with_broken_jobs_is_taken_and_a_second_run_changes_nothing(tree: Tree) -> None:
    rng = random.Random(7)
    ids = [tree.put_job(number) for number in range(JOBS)]
    broken = dict(zip(rng.sample(ids, len(BROKEN)), BROKEN.values(), strict=True))
    for job_id, (breaking, _) in broken.items():
        tree.put(f"jobs/{job_id}.json", breaking(record(job_id)))
    result = tree.migrate()
    assert result.success
    good = JOBS - len(broken)
    assert tree.outcomes() == {"migrated": 3 * good, "broken_job": len(broken), "no_job": 2 * len(broken)}
    assert len(tree.report()) == sum(1 for path in tree.root.rglob("*") if path.is_file())
    for job_id, (_, reason) in broken.items():
        outcome, told = tree.why(f"jobs/{job_id}.json")
        assert (outcome, reason in told) == ("broken_job", True)
    assert tree.query("SELECT count(*), count(DISTINCT id) FROM comsa.jobs") == [(good, good)]
    assert tree.query("SELECT count(*) FROM comsa.job_files") == [(2 * good,)]
    assert tree.query("SELECT count(*) FROM comsa.job_logs") == [(4 * good,)]
    assert tree.checks(result) == {"every_file_accounted_for": True, "every_job_taken": False}

    before = tree.everything()
    stamps = {path: path.stat().st_mtime_ns for path in tree.objects.glob("comsa/**/*")}
    assert tree.checks(tree.migrate()) == {"every_file_accounted_for": True, "every_job_taken": False}
    assert tree.everything() == before
    assert {path: path.stat().st_mtime_ns for path in tree.objects.glob("comsa/**/*")} == stamps
    assert tree.outcomes() == {"unchanged": 3 * good, "broken_job": len(broken), "no_job": 2 * len(broken)}


def test_of_the_bundled_tree_every_file_is_accounted_for(tree: Tree) -> None:
    shutil.copytree(EXAMPLE, tree.root)
    result = tree.migrate()
    assert len(tree.report()) == sum(1 for path in EXAMPLE.rglob("*") if path.is_file())
    assert tree.outcomes() == {"migrated": 10, "broken_job": 1, "no_job": 1}
    assert tree.query("SELECT status, count(*) FROM comsa.jobs GROUP BY 1 ORDER BY 1") == [
        ("completed", 2),
        ("failed", 2),
    ]
    assert tree.checks(result) == {"every_file_accounted_for": True, "every_job_taken": False}


def test_a_dropped_tree_is_one_drop_that_drain_takes(tree: Tree) -> None:
    lines: list[str] = []
    with dg.instance_for_test() as instance:
        for taken in (1, 2):
            tree.put_job()
            assert drain(tree.definitions, instance, out=lines.append) == 0
            assert tree.query("SELECT count(*) FROM comsa.jobs") == [(taken,)]
    assert [line.partition(":")[0] for line in lines] == ["ok      comsa_legacy/tree"] * 2


def test_what_a_broken_job_has_is_mended_by_dropping_it_again(tree: Tree) -> None:
    job_id = tree.put_job()
    whole = (tree.root / f"jobs/{job_id}.json").read_bytes()
    tree.put(f"jobs/{job_id}.json", whole[:100])
    tree.migrate()
    assert tree.outcomes() == {"broken_job": 1, "no_job": 2}
    tree.put(f"jobs/{job_id}.json", whole)
    tree.migrate()
    assert tree.outcomes() == {"migrated": 3}


def test_a_changed_job_replaces_what_the_old_one_said_and_keeps_its_files(tree: Tree) -> None:
    job_id = tree.put_job()
    tree.migrate()
    shutil.rmtree(tree.root / "outputs")
    tree.put(f"jobs/{job_id}.json", json.dumps({**record(job_id), "country": "Kenya", "log": ["once more"]}))
    tree.migrate()
    assert tree.query("SELECT country FROM comsa.jobs") == [("Kenya",)]
    assert tree.query("SELECT message FROM comsa.job_logs") == [("once more",)]
    assert tree.query("SELECT file_name FROM comsa.job_files ORDER BY 1") == [("causes.csv",), ("input.csv",)]


def test_a_file_that_arrives_late_joins_its_job(tree: Tree) -> None:
    job_id = tree.put_job()
    tree.migrate()
    tree.put(f"outputs/{job_id}/calibration_summary.csv", "cause\n")
    tree.migrate()
    assert tree.outcomes() == {"unchanged": 3, "migrated": 1}
    assert tree.query("SELECT count(*) FROM comsa.job_files") == [(3,)]


def test_an_object_that_was_lost_is_put_back(tree: Tree) -> None:
    job_id = tree.put_job()
    tree.migrate()
    (tree.objects / f"comsa/jobs/{job_id}/input/input.csv").unlink()
    assert tree.checks(tree.migrate())["every_file_accounted_for"]
    assert (tree.objects / f"comsa/jobs/{job_id}/input/input.csv").exists()


def test_a_file_that_a_job_names_and_that_is_not_there_is_reported_and_gets_no_row(tree: Tree) -> None:
    job_id = tree.put_job()
    (tree.root / f"outputs/{job_id}/causes.csv").unlink()
    result = tree.migrate()
    assert tree.why(f"outputs/{job_id}/causes.csv") == ("missing", "the job's result names it")
    assert tree.query("SELECT file_name FROM comsa.job_files") == [("input.csv",)]
    assert tree.checks(result) == {"every_file_accounted_for": True, "every_job_taken": False}


def test_files_without_a_job_and_files_elsewhere_are_reported(tree: Tree) -> None:
    tree.put_job()
    tree.put("outputs/no-such-job/causes.csv", "ID\n")
    tree.put("demo_configs.json", "{}")
    tree.put(f"uploads/{'x' * 5}/deep/er.csv", "ID\n")
    tree.migrate()
    assert tree.why("outputs/no-such-job/causes.csv") == ("no_job", "no jobs/{id}.json")
    assert tree.why("demo_configs.json")[0] == "misplaced"
    assert tree.why("uploads/xxxxx/deep/er.csv")[0] == "misplaced"


def test_a_job_of_the_ledger_is_never_overwritten(tree: Tree) -> None:
    job_id = tree.put_job()
    tree.query(
        "INSERT INTO comsa.jobs (id, type, status) VALUES (%s, 'openva_only', 'completed') RETURNING 1",
        job_id,
    )
    tree.migrate()
    assert tree.why(f"jobs/{job_id}.json") == ("conflict", "the ledger has another job of this id")
    assert tree.query("SELECT type FROM comsa.jobs") == [("openva_only",)]


@pytest.mark.parametrize(("status", "kind"), [("running", "worker_lost"), ("pending", "never_started")])
def test_what_the_old_system_left_open_has_failed(tree: Tree, status: str, kind: str) -> None:
    tree.put_job(status=status, completed_at={}, result={})
    tree.migrate()
    [(stored, error, ended)] = tree.query("SELECT status, error ->> 'kind', completed_at FROM comsa.jobs")
    assert (stored, error) == ("failed", kind)
    assert ended == datetime(2025, 12, 31, 0, 54, 17, tzinfo=UTC)


def test_times_are_in_the_zone_of_the_old_server(tree: Tree) -> None:
    tree.put_job()
    assert tree.migrate(time_zone="Africa/Maputo").success
    [(created,)] = tree.query("SELECT created_at FROM comsa.jobs")
    assert created == datetime(2025, 12, 31, 0, 53, 54, tzinfo=ZoneInfo("Africa/Maputo"))


def test_a_zone_that_there_is_not_is_named(tree: Tree) -> None:
    tree.put_job()
    result = tree.migrate(time_zone="Mars/Olympus")
    [event] = [event for event in result.all_events if event.event_type_value == "STEP_FAILURE"]
    assert "there is no time zone 'Mars/Olympus'" in str(event.step_failure_data.user_failure_data)


GOOD = "653475d0-3a75-4bb6-b1cb-a3c466a6c02e"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe{", "not UTF-8"),
        (b"[" * 100_000, "nested too deep"),
        (b'{"a": NaN}', "not JSON: NaN"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": 1' + b"0" * 5000 + b"}", "too long"),
        (b"null", "not a JSON object"),
        (b'{"type": "pipeline", "status": "completed"}', "no created_at"),
        (b'{"status": "completed", "created_at": "2025-12-31 00:53:54"}', "no type"),
        (b'{"type": "p", "status": [], "created_at": "2025-12-31 00:53:54"}', "status is none of"),
        (
            b'{"type": "%s", "status": "failed", "created_at": "2025-12-31 00:53:54"}' % (b"x" * 51),
            "longer than 50",
        ),
    ],
)
def test_a_broken_job_says_why_without_what_is_in_it(text: bytes, problem: str) -> None:
    with pytest.raises(BrokenJobError, match=problem):
        parse_job(text, GOOD)


def test_a_name_that_is_no_id_is_refused() -> None:
    with pytest.raises(BrokenJobError, match="not a job's id"):
        parse_job(b"{}", "jobs")


def test_what_postgres_cannot_hold_is_replaced(tree: Tree) -> None:
    tree.put_job(result={"a\0b": "c\ud800d"}, log=["x\0y"], country="Sierra\0Leone")
    tree.migrate()
    assert tree.query("SELECT result, country FROM comsa.jobs") == [
        ({"a\ufffdb": "c?d"}, "Sierra\ufffdLeone")
    ]
    assert tree.query("SELECT message FROM comsa.job_logs") == [("x\ufffdy",)]


def test_an_error_of_the_old_system_stays_what_it_was(tree: Tree) -> None:
    tree.put_job(status="failed", error={"message": ["no deaths"]})
    tree.put_job(status="failed", error="no deaths")
    tree.migrate()
    found = tree.query("SELECT error ->> 'message' FROM comsa.jobs ORDER BY error ->> 'message'")
    assert found == [("no deaths",), ("no deaths",)]
