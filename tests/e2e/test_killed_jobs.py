"""`kill -9` of what works on a verbal-autopsy job: the job ends failed with a reason, and a re-run completes."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from stack import Stack, wait_until

from genomics_assets.verbal_autopsy.synthetic_reference import synthetic_batch

# Long enough to be hit in the middle, short enough to be done again.
SETTINGS = {
    "job_type": "pipeline", "algorithm": ["InterVA", "EAVA"], "age_group": "neonate", "country": "Exampleland",
    "ensemble": True, "n_mcmc": 9600, "n_burn": 400,
}  # fmt: skip
PLANTED = {"pneumonia": 0.2, "sepsis_meningitis_inf": 0.3, "ipre": 0.2, "prematurity": 0.3}
SECONDS_UNTIL_FAILED = 60

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One home for all: the tests run in the order of this page, and each kills something else."""
    stack = Stack(tmp_path_factory.mktemp("jobs") / "home")
    assert stack.settings["GENOMICS_POSTGRES_URL"]
    yield stack
    stack.down()
    for process in stack.processes():
        process.kill()


class Batch:
    """A dropped batch, and what the ledger says of its jobs."""

    def __init__(self, stack: Stack, name: str) -> None:
        self.stack = stack
        self.name = name

    def drop(self) -> None:
        self.stack.drop(f"{self.name}.yaml", json.dumps(SETTINGS).encode(), "verbal_autopsy")
        table = synthetic_batch(PLANTED, 120, seed=len(self.name)).csv
        self.stack.drop(f"{self.name}.csv", table.encode(), "verbal_autopsy")

    def attempts(self) -> list[dict[str, Any]]:
        """The jobs of the batch in order, whole rows with the numbers of their lines and outputs."""
        with psycopg.connect(
            self.stack.settings["GENOMICS_POSTGRES_URL"], row_factory=psycopg.rows.dict_row
        ) as connection:
            return connection.execute(
                "SELECT *, (SELECT count(*) FROM comsa.job_logs WHERE job_id = jobs.id) AS lines, "
                "(SELECT count(*) FROM comsa.job_files WHERE job_id = jobs.id AND file_type = 'output') AS outputs "
                "FROM comsa.jobs WHERE partition_key = %s ORDER BY created_at, attempt",
                (self.name,),
            ).fetchall()

    def is_under_way(self) -> bool:
        """Whether the last attempt says how far it is."""
        jobs = self.attempts()
        return bool(jobs) and jobs[-1]["status"] == "running" and (jobs[-1]["progress"] or 0) > 0

    def failed(self) -> dict[str, Any] | None:
        """The first attempt, once it has failed."""
        first = self.attempts()[0]
        return first if first["status"] == "failed" else None

    def completed(self) -> bool:
        jobs = self.attempts()
        return jobs[-1]["status"] == "completed"

    def wait_until_under_way(self) -> None:
        wait_until("the job is under way", self.is_under_way, seconds=300, every=0.02)

    def check_failed_and_rerun(self, failed: dict[str, Any]) -> None:
        """The failed attempt says why and stays as it is; another one has completed."""
        assert failed["error"]["kind"] in ("worker_lost", "run_failed")
        assert failed["error"]["message"]
        assert failed["outputs"] == 0
        wait_until(f"a re-run of {self.name} completes", self.completed, seconds=400, every=0.5)
        first, *_, last = self.attempts()
        assert first == failed, "an orphan went on writing"
        assert last["id"] != first["id"]
        assert last["outputs"] == len(last["result"]["files"]) > 0


def test_a_killed_step_is_reaped_by_the_next_drain_which_completes(stack: Stack) -> None:
    batch = Batch(stack, "step")
    batch.drop()
    drain = stack.start("drain")
    batch.wait_until_under_way()
    drain.send_signal(signal.SIGKILL)
    drain.wait()
    assert batch.failed() is None, "nobody is there to see it"

    began = time.monotonic()
    again = stack.start("drain")
    failed = wait_until("the job has failed", batch.failed, seconds=SECONDS_UNTIL_FAILED)
    assert time.monotonic() - began < SECONDS_UNTIL_FAILED
    assert again.wait(300) == 0, (stack.home / "drain.test.log").read_text()
    batch.check_failed_and_rerun(failed)


def test_a_killed_run_worker_fails_its_job_and_the_run_is_retried(stack: Stack) -> None:
    stack.up()
    batch = Batch(stack, "worker")
    batch.drop()
    batch.wait_until_under_way()
    assert stack.kill_workers() > 0
    batch.check_failed_and_rerun(wait_until("the job has failed", batch.failed, seconds=SECONDS_UNTIL_FAILED))


def test_a_killed_stack_fails_its_jobs_when_it_is_up_again(stack: Stack) -> None:
    stack.up()
    batch = Batch(stack, "stack")
    batch.drop()
    batch.wait_until_under_way()
    stack.kill_everything()
    assert stack.processes() == []

    stack.up()

    batch.check_failed_and_rerun(wait_until("the job has failed", batch.failed, seconds=SECONDS_UNTIL_FAILED))
