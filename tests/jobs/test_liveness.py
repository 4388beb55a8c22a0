"""Workers that are killed lose their jobs, and nobody else does."""

import threading
import time
from typing import Any

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test
from ledger_harness import Bench

from genomics_assets.jobs.endings import EndingKind, JobEnding
from genomics_assets.jobs.states import JobState
from resources.jobs import JobClosedError, JobOrigin
from sensors.file_drops import DRAIN_TAG
from sensors.jobs import care_for_jobs

RUNNING, FAILED, COMPLETED = JobState.RUNNING, JobState.FAILED, JobState.COMPLETED


@pytest.fixture(autouse=True)
def short_confirmation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resources.jobs.ledger.CONFIRM_SECONDS", 0.1)


def reaped(bench: Bench, key: str) -> list[str]:
    """Why the jobs of a key ended."""
    bench.ledger.reap()
    return [bench.ending(job).get("kind", "") for job in bench.jobs(key)]


def test_a_killed_workers_job_fails_and_a_rerun_completes(bench: Bench, key: str) -> None:
    worker = bench.worker(key, "complete")
    assert bench.states(key) == [RUNNING]
    worker.kill()
    assert reaped(bench, key) == ["worker_lost"]
    assert "run it again" in bench.ending(bench.job(key))["message"]
    bench.run(lambda job: None, key)
    assert bench.states(key) == [FAILED, COMPLETED]


def test_a_living_worker_keeps_its_job_whoever_reaps(bench: Bench, key: str) -> None:
    worker = bench.worker(key, "complete")
    reapers = [threading.Thread(target=bench.ledger.reap) for _ in range(4)]
    for reaper in reapers:
        reaper.start()
    for reaper in reapers:
        reaper.join()
    assert bench.states(key) == [RUNNING]
    worker.tell()
    assert worker.says() == "completed"
    worker.process.join()
    assert bench.states(key) == [COMPLETED]


def test_two_who_reap_at_once_close_a_job_once(bench: Bench, key: str) -> None:
    workers = [bench.worker(f"{key} {number}", "wait") for number in range(3)]
    for worker in workers:
        worker.kill()
    found: list[Any] = []
    reapers = [threading.Thread(target=lambda: found.extend(bench.ledger.reap())) for _ in range(4)]
    for reaper in reapers:
        reaper.start()
    for reaper in reapers:
        reaper.join()
    ids = [
        job["_id" if bench.name == "gwas" else "id"]
        for number in range(3)
        for job in bench.jobs(f"{key} {number}")
    ]
    assert sorted(map(str, (job.id for job in found))) == sorted(map(str, ids))


def test_a_worker_whose_job_was_given_up_can_write_nothing_more(bench: Bench, key: str) -> None:
    """As an orphan does whose run was declared dead: it lives, and goes on."""
    worker = bench.worker(key, "complete")
    [job] = [job for job in bench.ledger.store.open_jobs() if job.run_key == key]
    while bench.name == "comsa" and bench.log(job.id) != ["began"]:
        time.sleep(0.05)
    assert bench.ledger.end_run(job, JobEnding(EndingKind.RUN_FAILED, "its run failed"))
    closed = bench.job(key)
    worker.tell()
    assert worker.says() == ""
    worker.process.join()
    assert worker.process.exitcode != 0
    assert bench.job(key) == closed
    if bench.name == "comsa":
        assert bench.log(closed["id"]) == ["began"]


def test_a_worker_learns_from_its_log_that_its_job_is_gone(comsa: Bench, key: str) -> None:
    job = comsa.begin(key)
    comsa.execute("UPDATE comsa.jobs SET status = 'failed' WHERE id = %s", job.id)
    job.log("careful", "warning")
    job._keeper._thread.join(10)
    with pytest.raises(JobClosedError, match="closed by somebody else"):
        job.log("still there?")
    with pytest.raises(JobClosedError, match="closed by somebody else"):
        job.progress(0.5)
    job._keeper.release()


def test_a_worker_keeps_its_job_over_a_lost_connection(comsa: Bench, key: str) -> None:
    job = comsa.begin(key)
    before = job._keeper._lock.connection.info.backend_pid
    comsa.query("SELECT pg_terminate_backend(%s)", before)
    job.log("after the loss", "warning")
    deadline = time.monotonic() + 10
    while comsa.log(job.id) != ["after the loss"] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert reaped(comsa, key) == [""]
    with job.completion():
        pass
    assert comsa.states(key) == [COMPLETED]
    assert comsa.log(job.id) == ["after the loss"]


def test_a_worker_that_only_lost_its_connection_gets_time_to_come_back(
    bench: Bench, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resources.jobs.liveness.PING_SECONDS", 1.0)
    monkeypatch.setattr("resources.jobs.ledger.CONFIRM_SECONDS", 5.0)
    job = bench.begin(key)
    bench.query("SELECT pg_terminate_backend(%s)", job._keeper._lock.connection.info.backend_pid)
    assert reaped(bench, key) == [""]
    assert bench.states(key) == [RUNNING]
    with job.completion():
        pass


def test_a_worker_that_is_known_to_be_gone_is_not_waited_for(
    bench: Bench, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resources.jobs.ledger.CONFIRM_SECONDS", 60.0)
    worker = bench.worker(key, "wait")
    worker.kill()
    assert reaped(bench, key) == ["worker_lost"]


def test_the_run_of_a_reaped_job_is_reported_failed(bench: Bench, key: str) -> None:
    run = create_run_for_test(bench.instance, status=dg.DagsterRunStatus.STARTED)
    job = bench.begin(key, run.run_id)
    bench.abandon(job)
    care = care_for_jobs([bench.ledger], bench.instance)
    assert care.runs == [run.run_id]
    assert [str(closed.id) for closed in care.closed] == [str(job.id)]
    stored = bench.instance.get_run_by_id(run.run_id)
    assert stored is not None
    assert stored.status is dg.DagsterRunStatus.FAILURE
    assert care_for_jobs([bench.ledger], bench.instance).closed == []


def test_the_run_of_a_drain_is_left_to_whoever_takes_its_file_again(bench: Bench, key: str) -> None:
    run = create_run_for_test(
        bench.instance, status=dg.DagsterRunStatus.STARTED, tags={DRAIN_TAG: "here:1"}
    )  # fmt: skip
    job = bench.begin(key, run.run_id)
    bench.abandon(job)
    care = care_for_jobs([bench.ledger], bench.instance)
    assert [str(closed.id) for closed in care.closed] == [str(job.id)]
    assert care.runs == []
    stored = bench.instance.get_run_by_id(run.run_id)
    assert stored is not None
    assert stored.status is dg.DagsterRunStatus.STARTED
    bench.instance.report_run_canceled(run)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(dg.DagsterRunStatus.FAILURE, "run_failed"), (dg.DagsterRunStatus.CANCELED, "cancelled")],
)
def test_a_pending_job_whose_run_ended_before_it_is_closed(
    bench: Bench, key: str, status: dg.DagsterRunStatus, kind: str
) -> None:
    bench.ledger.open(bench.request, JobOrigin(key))
    tags = {"dagster/run_key": key}
    run = create_run_for_test(bench.instance, status=dg.DagsterRunStatus.STARTED, tags=tags)
    assert care_for_jobs([bench.ledger], bench.instance).closed == []
    bench.instance.delete_run(run.run_id)
    create_run_for_test(bench.instance, status=status, tags=tags)
    assert [closed.ending.kind for closed in care_for_jobs([bench.ledger], bench.instance).closed] == [kind]
    assert bench.ending(bench.job(key))["kind"] == kind


def test_a_job_that_no_run_ever_took_up_is_closed(
    bench: Bench, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.ledger.open(bench.request, JobOrigin(key))
    assert care_for_jobs([bench.ledger], bench.instance).closed == []
    monkeypatch.setattr("sensors.jobs.NEVER_STARTED_SECONDS", 0.0)
    time.sleep(0.01)
    care_for_jobs([bench.ledger], bench.instance)
    assert bench.ending(bench.job(key))["kind"] == "never_started"


def test_a_ledger_that_cannot_be_looked_at_holds_no_other_up(comsa: Bench, key: str) -> None:
    from resources.jobs import GwasJobs
    from resources.mongo import MongoResource

    absent = MongoResource(url="mongodb://127.0.0.1:9/x", server_selection_seconds=0.1)
    worker = comsa.worker(key, "wait")
    worker.kill()
    care = care_for_jobs(
        [GwasJobs(postgres=comsa.ledger.postgres, mongo=absent), comsa.ledger], comsa.instance
    )
    assert care.problems == ["GwasJobs cannot be looked at (MongoError)"]
    assert [closed.run_id for closed in care.closed if closed.run_id == f"run of {worker.process.pid}"]


def test_the_sensor_of_the_code_location_looks_at_every_ledger(comsa: Bench, key: str) -> None:
    from dagster._grpc.impl import get_external_sensor_execution

    from genomics_assets.definitions import build_definitions
    from resources import default_resources
    from resources.jobs import GwasJobs
    from resources.mongo import MongoResource

    resources = default_resources(postgres_url=comsa.url)
    resources["gwas_jobs"] = GwasJobs(
        postgres=resources["postgres"], mongo=MongoResource(url=comsa.places["mongo"])
    )
    repository = build_definitions(**resources).get_repository_def()
    worker = comsa.worker(key, "wait")
    worker.kill()
    with dg.instance_for_test() as instance:
        tick = get_external_sensor_execution(
            repository, None, instance.get_ref(), "job_liveness", *[None] * 5
        )
    assert tick.skip_message == f"comsa job {comsa.job(key)['id']}: worker_lost"
