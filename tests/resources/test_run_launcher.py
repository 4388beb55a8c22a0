"""The launcher tells run monitoring which workers are gone."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._core.launcher.base import WorkerStatus
from dagster._core.test_utils import create_run_for_test

from resources.run_launcher import LocalRunLauncher


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    overrides = {"run_launcher": {"module": "resources.run_launcher", "class": "LocalRunLauncher"}}
    with dg.instance_for_test(overrides=overrides) as instance:
        yield instance


def worker_of(instance: dg.DagsterInstance, pid: int | None) -> WorkerStatus:
    run = create_run_for_test(instance, "load_vcf", status=dg.DagsterRunStatus.STARTED)
    if pid is not None:
        instance.report_engine_event(f"Started process for run (pid: {pid}).", run)
        instance.report_engine_event("Something else", run)
    launcher = instance.run_launcher
    assert isinstance(launcher, LocalRunLauncher)
    assert launcher.supports_check_run_worker_health
    return launcher.check_run_worker_health(run).status


def test_a_worker_that_lives_is_running(instance: dg.DagsterInstance) -> None:
    assert worker_of(instance, os.getpid()) is WorkerStatus.RUNNING


def test_a_worker_that_is_gone_has_failed(instance: dg.DagsterInstance) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert worker_of(instance, process.pid) is WorkerStatus.FAILED


def test_a_worker_that_has_not_announced_itself_is_waited_for(instance: dg.DagsterInstance) -> None:
    assert worker_of(instance, None) is WorkerStatus.RUNNING


def test_a_clock_set_forward_does_not_make_a_worker_look_gone(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    worker.start()
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        now = time.time()
        # The announcement was written before the clock went an hour forward.
        monkeypatch.setattr("time.time", lambda: now - 3600)
        assert worker.pid is not None
        assert worker_of(instance, worker.pid) is WorkerStatus.RUNNING
        assert worker_of(instance, other.pid) is WorkerStatus.FAILED, "a number that was used again"
    finally:
        worker.kill()
        worker.join()
        other.kill()
        other.wait()
