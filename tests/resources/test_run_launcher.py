"""The launcher tells run monitoring which workers are gone."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.launcher.base import WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._core.test_utils import create_run_for_test
from dagster._grpc.client import DagsterGrpcClient

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


LOCATION = """
import dagster as dg

@dg.asset
def answer() -> int:
    return 42
"""


def test_a_code_server_behind_a_port_is_asked_and_not_this_machine(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    (tmp_path / "location.py").write_text(LOCATION)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    tags = {GRPC_INFO_TAG: json.dumps({"host": "127.0.0.1", "port": port})}
    run = create_run_for_test(instance, "load_vcf", status=dg.DagsterRunStatus.STARTED, tags=tags)
    # A number that means something else in another container: here, a process that lives.
    instance.report_engine_event(f"Started process for run (pid: {os.getpid()}).", run)
    launcher = instance.run_launcher
    assert isinstance(launcher, LocalRunLauncher)

    away = launcher.check_run_worker_health(run)
    assert away.status is WorkerStatus.RUNNING, "a server that is away may come back with its runs"
    assert "does not answer" in (away.msg or "")

    server = subprocess.Popen(
        [sys.executable, "-m", "dagster", "api", "grpc", "-f", str(tmp_path / "location.py"), "--port", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        client = DagsterGrpcClient(port=port, host="127.0.0.1")
        deadline = time.monotonic() + 120
        while client.health_check_query() != "SERVING":
            assert time.monotonic() < deadline
            time.sleep(0.2)
        gone = launcher.check_run_worker_health(run)
    finally:
        server.kill()
        server.wait()
    assert gone.status is WorkerStatus.FAILED
    assert f"127.0.0.1:{port} knows nothing of the run" in (gone.msg or "")


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
