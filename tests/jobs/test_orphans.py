"""A step in a process of its own goes when its run's process is killed."""

import os
import signal
import time
from collections.abc import Iterator

import dagster as dg
import psutil
import pytest
from dagster._core.test_utils import create_run_for_test

from resources.jobs.orphans import die_with_run_worker, process_is_gone


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as instance:
        yield instance


def run_of(instance: dg.DagsterInstance, process: int) -> str:
    run = create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED)
    instance.report_engine_event(f"Started process for run (pid: {process}).", run)
    return run.run_id


def killed_with_its_parent(instance: dg.DagsterInstance, *, of_run: bool) -> bool:
    """Whether a step's process ends when the process that started it is killed."""
    told, tell = os.pipe()
    worker = os.fork()
    if worker == 0:
        try:
            run_id = run_of(instance, os.getpid() if of_run else 1)
            if os.fork() == 0:
                die_with_run_worker(instance, run_id)
                os.write(tell, str(os.getpid()).encode())
            time.sleep(60)
        finally:
            os._exit(0)
    step = int(os.read(told, 20))
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)
    deadline = time.monotonic() + 2
    while _is_there(step) and time.monotonic() < deadline:
        time.sleep(0.02)
    try:
        return not _is_there(step)
    finally:
        if _is_there(step):
            os.kill(step, signal.SIGKILL)


def _is_there(process: int) -> bool:
    return psutil.pid_exists(process) and psutil.Process(process).status() != psutil.STATUS_ZOMBIE


def test_a_step_goes_with_the_process_of_its_run(instance: dg.DagsterInstance) -> None:
    assert killed_with_its_parent(instance, of_run=True)


def test_a_run_does_not_go_with_whoever_started_it(instance: dg.DagsterInstance) -> None:
    assert not killed_with_its_parent(instance, of_run=False)


def test_only_a_process_of_this_host_is_known_to_be_gone() -> None:
    assert not process_is_gone(f"here:{os.getpid()}", "here")
    assert process_is_gone("here:999999999", "here")
    assert not process_is_gone("there:999999999", "here")
    assert not process_is_gone("here:x", "here")
