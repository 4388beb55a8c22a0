"""A job's life: opened once, worked on by one process, and closed with its result or its reason."""

import json
import time
from typing import Any

import dagster as dg
import psycopg
import pytest
from ledger_harness import Bench

from genomics_assets.input_error import InputError
from genomics_assets.jobs.endings import EndingKind, JobEnding
from genomics_assets.jobs.states import JobState
from resources.jobs import JobClosedError, JobHeldError, JobOrigin

COMPLETED, FAILED, PENDING = JobState.COMPLETED, JobState.FAILED, JobState.PENDING


def test_a_run_takes_its_job_from_pending_to_completed(bench: Bench, key: str) -> None:
    job_id = bench.ledger.open(bench.request, JobOrigin(key, "partition"))
    assert bench.states(key) == [PENDING]
    seen: list[Any] = []
    assert bench.run(lambda job: seen.append((job.id, bench.job(key)["status"])), key).success
    assert seen == [(job_id, bench.ledger.store.words.running)]  # type: ignore[attr-defined]
    job = bench.job(key)
    assert bench.states(key) == [COMPLETED]
    assert job["created_at"] <= job["started_at"] <= job["completed_at"]
    assert bench.share_done(job) == 1.0


def test_a_job_that_nobody_opened_is_opened_by_its_run(bench: Bench, key: str) -> None:
    result = bench.run(lambda job: None, key)
    assert bench.job(key)["run_id"] == result.run_id
    assert bench.states(key) == [COMPLETED]


def test_opening_again_finds_the_job(bench: Bench, key: str) -> None:
    origin = JobOrigin(key)
    assert bench.ledger.open(bench.request, origin) == bench.ledger.open(bench.request, origin)
    bench.run(lambda job: None, key)
    bench.ledger.open(bench.request, origin)
    assert bench.states(key) == [COMPLETED]


def test_bad_input_fails_the_job_with_its_sentence(bench: Bench, key: str) -> None:
    def work(job: Any) -> None:
        raise InputError("no deaths in it", remedy="add some", file="a.csv")

    assert not bench.run(work, key).success
    assert bench.ending(bench.job(key)) == {
        "message": "a.csv: no deaths in it. Remedy: add some.",
        "kind": "input",
    }


def test_an_unforeseen_error_leaves_only_its_type(bench: Bench, key: str) -> None:
    def work(job: Any) -> None:
        raise KeyError("ada@example.org")

    result = bench.run(work, key)
    assert bench.ending(bench.job(key)) == {
        "message": f"KeyError; the log of run {result.run_id} says more",
        "kind": "internal",
    }
    assert bench.states(key) == [FAILED]


def test_an_interrupted_job_is_cancelled(bench: Bench, key: str) -> None:
    def work(job: Any) -> None:
        raise KeyboardInterrupt

    bench.run(work, key)
    job = bench.job(key)
    assert bench.ending(job)["kind"] == "cancelled"
    assert job["status"] == {"comsa": "failed", "bmd": "CANCELLED", "gwas": "cancelled"}[bench.name]


def test_a_rerun_is_another_job_that_names_the_first(bench: Bench, key: str) -> None:
    def fail(job: Any) -> None:
        raise ValueError

    bench.run(fail, key)
    bench.run(lambda job: None, key)
    first, second = bench.jobs(key)
    id_name = "_id" if bench.name == "gwas" else "id"
    assert (second["rerun_of"], second["attempt"]) == (first[id_name], 2)
    assert bench.states(key) == [FAILED, COMPLETED]


def test_a_step_that_is_retried_within_its_run_is_another_attempt(comsa: Bench, key: str) -> None:
    attempts: list[Any] = []

    @dg.asset(required_resource_keys={"jobs"}, retry_policy=dg.RetryPolicy(max_retries=1))
    def work(context: dg.AssetExecutionContext) -> None:
        with context.resources.jobs.running(context, comsa.request) as job:
            attempts.append(job.id)
            if len(attempts) == 1:
                raise OSError

    assert comsa.materialize([work], key).success
    assert comsa.states(key) == [FAILED, COMPLETED]


def test_steps_of_one_run_share_its_job(bench: Bench, key: str) -> None:
    seen: list[Any] = []

    @dg.asset(required_resource_keys={"jobs"})
    def first(context: dg.AssetExecutionContext) -> None:
        with context.resources.jobs.running(context, bench.request, closes=False) as job:
            seen.append(job.id)

    @dg.asset(required_resource_keys={"jobs"}, deps=[first])
    def second(context: dg.AssetExecutionContext) -> None:
        seen.append(bench.states(key))
        with context.resources.jobs.running(context, bench.request) as job:
            seen.append(job.id)

    assert bench.materialize([first, second], key).success
    assert seen[0] == seen[2]
    assert seen[1] == [JobState.RUNNING]
    assert bench.states(key) == [COMPLETED]


def test_a_job_left_between_two_steps_is_closed_by_the_next_run_of_the_process(
    bench: Bench, key: str
) -> None:
    bench.run(lambda job: None, key, closes=False)
    assert bench.states(key) == [JobState.RUNNING]
    bench.run(lambda job: None, f"{key} other")
    assert bench.ending(bench.job(key))["kind"] == "run_failed"


def test_results_and_the_end_of_the_job_are_one_transaction(comsa: Bench, key: str) -> None:
    comsa.execute("CREATE TABLE IF NOT EXISTS results (key text)")
    job = comsa.begin(key)
    with job.completion({"n_records": 3}) as connection:
        connection.execute("INSERT INTO results VALUES (%s)", (key,))
        assert comsa.query("SELECT * FROM results WHERE key = %s", key) == []
        assert comsa.states(key) == [JobState.RUNNING]
    assert comsa.query("SELECT * FROM results WHERE key = %s", key) == [(key,)]
    assert comsa.job(key)["result"] == {"n_records": 3}


def test_a_completion_that_fails_leaves_no_results_and_a_failed_job(comsa: Bench, key: str) -> None:
    comsa.execute("CREATE TABLE IF NOT EXISTS results (key text)")

    def work(job: Any) -> None:
        with job.completion() as connection:
            connection.execute("INSERT INTO results VALUES (%s)", (key,))
            raise ValueError

    comsa.run(work, key)
    assert comsa.query("SELECT * FROM results WHERE key = %s", key) == []
    assert comsa.states(key) == [FAILED]


def test_a_job_closed_by_somebody_else_cannot_be_completed(bench: Bench, key: str) -> None:
    job = bench.begin(key)
    [stored] = [open_job for open_job in bench.ledger.store.open_jobs() if open_job.id == job.id]
    assert bench.ledger.end_run(stored, JobEnding(EndingKind.RUN_FAILED, "enough")) is not None
    with pytest.raises(JobClosedError), job.completion():
        pass
    job.end(JobEnding(EndingKind.INTERNAL, "too late"))
    assert bench.ending(bench.job(key)) == {"message": "enough", "kind": "run_failed"}


def test_two_processes_cannot_work_on_one_job(
    bench: Bench, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resources.jobs.liveness._PATIENCE_SECONDS", 0.2)
    job = bench.begin(key)
    with pytest.raises(JobHeldError, match="another process"):
        bench.begin(key)
    with job.completion():
        pass


def test_progress_is_written_while_the_work_goes_on(bench: Bench, key: str) -> None:
    job = bench.begin(key)
    for step in range(1000):
        job.progress(step / 1000, f"step {step}")
    job.progress(0.5, "half way")
    deadline = time.monotonic() + 5
    while bench.share_done(bench.job(key)) != 0.5 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (bench.share_done(bench.job(key)), bench.job(key)["phase"]) == (0.5, "half way")
    with job.completion():
        pass


def test_log_lines_keep_their_order_and_their_text(comsa: Bench, key: str) -> None:
    job = comsa.begin(key)
    said = [f"line {number}" for number in range(12_000)]
    said += ["tab\tand\\backslash", "two\nlines", "naïve", "nul\0here", "lone \udc80 surrogate", ""]
    for line in said:
        job.log(line)
    with job.completion():
        pass
    expected = [*said[:12_003], "nul\ufffdhere", "lone ? surrogate", ""]
    assert comsa.log(job.id) == expected
    by_time = comsa.query("SELECT message FROM comsa.job_logs WHERE job_id = %s ORDER BY timestamp", job.id)
    assert [row[0] for row in by_time] == expected


def test_a_warning_is_there_at_once(comsa: Bench, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resources.jobs.keeper.TICK_SECONDS", 30.0)
    job = comsa.begin(key)
    job.log("plain")
    job.log("careful", "warning")
    deadline = time.monotonic() + 5
    while not comsa.log(job.id) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert comsa.log(job.id) == ["plain", "careful"]
    with job.completion():
        pass


def test_lines_that_find_no_room_are_counted_and_said_so(comsa: Bench, key: str) -> None:
    job = comsa.begin(key)
    job._keeper.lines._limit = 10
    with comsa.ledger.postgres.connection() as connection:
        # Nothing can be written while the job's row is locked.
        connection.execute("SELECT FROM comsa.jobs WHERE id = %s FOR UPDATE", (job.id,))
        job.log("first", "warning")
        time.sleep(0.3)
        for number in range(25):
            job.log(f"line {number}")
    with job.completion():
        pass
    assert comsa.log(job.id) == [
        "first",
        *[f"line {number}" for number in range(10)],
        "15 log lines were dropped here: they came faster than they could be written",
    ]


def test_files_are_rows_once_the_job_is_completed(comsa: Bench, key: str) -> None:
    job = comsa.begin(key)
    job.input("deaths.csv", b"ID,cause\n")
    job.output("causes.csv", b"old")
    job.output("causes.csv", b"ID,cause1\n")
    rows = "SELECT file_type, file_name, file_path, file_size, sha256 FROM comsa.job_files WHERE job_id = %s"
    assert [row[0] for row in comsa.query(rows, job.id)] == ["input"]
    with job.completion():
        pass
    _, made = sorted(comsa.query(rows, job.id))
    assert made[:4] == ("output", "causes.csv", f"comsa/jobs/{job.id}/output/causes.csv", 10)
    stored = comsa.ledger.objects.read_bytes(made[2])  # type: ignore[attr-defined]
    assert stored == b"ID,cause1\n"
    import hashlib

    assert made[4] == hashlib.sha256(stored).hexdigest()
    assert comsa.job(key)["input_file_path"] == f"comsa/jobs/{job.id}/input/deaths.csv"


def test_a_failed_job_leaves_no_output_behind(comsa: Bench, key: str) -> None:
    ids: list[Any] = []

    def work(job: Any) -> None:
        ids.append(job.id)
        job.input("deaths.csv", b"ID\n")
        job.output("causes.csv", b"ID,cause1\n")
        raise ValueError

    comsa.run(work, key)
    objects = comsa.ledger.objects  # type: ignore[attr-defined]
    assert objects.list(f"comsa/jobs/{ids[0]}") == [f"comsa/jobs/{ids[0]}/input/deaths.csv"]
    assert comsa.query("SELECT file_type FROM comsa.job_files WHERE job_id = %s", ids[0]) == [("input",)]


def test_a_completion_whose_answer_got_lost_keeps_its_output(comsa: Bench, key: str) -> None:
    """The commit went through, and the worker saw an error all the same."""
    job = comsa.begin(key)
    path = job.output("causes.csv", b"ID,cause1\n")
    comsa.execute("UPDATE comsa.jobs SET status = 'completed' WHERE id = %s", job.id)
    assert not job.end(JobEnding(EndingKind.STORE, "the connection was lost"))
    assert comsa.ledger.objects.read_bytes(path) == b"ID,cause1\n"  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["", "..", "a/b.csv", "x" * 300])
def test_a_file_needs_a_name_of_its_own(comsa: Bench, key: str, name: str) -> None:
    job = comsa.begin(key)
    with pytest.raises(ValueError, match="Remedy"):
        job.output(name, b"")
    job.end(JobEnding(EndingKind.INTERNAL, "done"))


def test_parameters_are_kept(bench: Bench, key: str) -> None:
    bench.run(lambda job: None, key)
    parameters = bench.job(key)["parameters"]
    assert json.loads(json.dumps(parameters)) == bench.request.parameters


def test_the_database_refuses_what_the_state_machine_does(comsa: Bench) -> None:
    with psycopg.connect(comsa.url, autocommit=True) as connection:
        [job] = connection.execute(
            "INSERT INTO comsa.jobs (type) VALUES ('pipeline') RETURNING id"
        ).fetchall()
        with pytest.raises(psycopg.Error, match="cannot go from pending to completed"):
            connection.execute("UPDATE comsa.jobs SET status = 'completed' WHERE id = %s", job)
        connection.execute("UPDATE comsa.jobs SET status = 'running' WHERE id = %s", job)
        with pytest.raises(psycopg.Error, match="cannot go from running to pending"):
            connection.execute("UPDATE comsa.jobs SET status = 'pending' WHERE id = %s", job)
        connection.execute("UPDATE comsa.jobs SET status = 'failed' WHERE id = %s", job)
        for change in (
            "status = 'running'",
            "status = 'completed'",
            "progress = 0.5",
            "error = '{}', phase = 'x'",
        ):
            with pytest.raises(psycopg.Error, match="is closed"):
                connection.execute(f"UPDATE comsa.jobs SET {change} WHERE id = %s", job)  # type: ignore[arg-type]
        connection.execute("UPDATE comsa.jobs SET owner = 'ada' WHERE id = %s", job)
        connection.execute("DELETE FROM comsa.jobs WHERE id = %s", job)


def test_a_closed_job_takes_no_late_lines_and_files(comsa: Bench, key: str) -> None:
    job = comsa.begin(key)
    with job.completion():
        pass
    with psycopg.connect(comsa.url, autocommit=True) as connection:
        with pytest.raises(psycopg.Error, match="is closed"):
            connection.execute("INSERT INTO comsa.job_logs (job_id, message) VALUES (%s, 'late')", (job.id,))
        with pytest.raises(psycopg.Error, match="is closed"):
            connection.execute(
                "INSERT INTO comsa.job_files (job_id, file_type, file_name, file_path) "
                "VALUES (%s, 'output', 'a', 'b')",
                (job.id,),
            )
