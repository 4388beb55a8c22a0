"""Who has a run: the lock of its worker, as the launcher sees it from another machine; and the settings of a queue."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher.base import LaunchRunContext, WorkerStatus
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.test_utils import create_run_for_test

pytest.importorskip("dagster_celery", reason="the extra `distributed` is not installed")

from genomics_assets.commands.stack import make_dagster_home
from genomics_assets.commands.worker import WorkerError, work
from resources.environment import Environment
from resources.jobs import JobHeldError
from resources.postgres import PostgresResource
from resources.run_queue import WorkerRunLauncher, worker_app, working_on

BROKER = "redis://127.0.0.1:1/0"


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch, postgres_url: str) -> None:
    monkeypatch.setenv("GENOMICS_POSTGRES_URL", postgres_url)
    monkeypatch.setattr("resources.run_queue.CONFIRM_SECONDS", 0.3)
    monkeypatch.setattr("resources.run_queue.PING_SECONDS", 0.05)
    monkeypatch.setattr("resources.jobs.liveness.PING_SECONDS", 0.0)
    monkeypatch.setattr("resources.jobs.liveness._PATIENCE_SECONDS", 0.2)


@pytest.fixture
def postgres(postgres_url: str) -> PostgresResource:
    return PostgresResource(url=postgres_url)


@pytest.fixture
def health() -> Iterator[Callable[[], WorkerStatus]]:
    """What run monitoring hears of the run `health.run_id`."""
    overrides = {
        "run_launcher": {
            "module": "resources.run_queue",
            "class": "WorkerRunLauncher",
            "config": {"broker": BROKER},
        }
    }
    with dg.instance_for_test(overrides=overrides) as instance:
        launcher = instance.run_launcher
        assert isinstance(launcher, WorkerRunLauncher)
        run = create_run_for_test(
            instance, "load_vcf", run_id=RUN, status=dg.DagsterRunStatus.STARTED
        )  # fmt: skip
        yield lambda: launcher.check_run_worker_health(run).status


RUN = "6f1f9c1e-53f4-4c1a-9f0e-000000000001"


def test_a_run_lives_as_long_as_its_worker_holds_the_lock(
    health: Callable[[], WorkerStatus], postgres: PostgresResource
) -> None:
    with working_on(postgres, RUN):
        for _ in range(3):
            assert health() is WorkerStatus.RUNNING
            time.sleep(0.2)
    assert health() is WorkerStatus.RUNNING, "a worker gets the time to take its lock again"
    time.sleep(0.4)
    assert health() is WorkerStatus.FAILED


def test_a_worker_whose_connection_was_cut_takes_its_lock_again(
    health: Callable[[], WorkerStatus], postgres: PostgresResource, postgres_url: str
) -> None:
    with working_on(postgres, RUN):
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            cut = connection.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' AND granted "
                "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            ).fetchone()
        assert cut == (1,)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            assert health() is WorkerStatus.RUNNING
            time.sleep(0.1)
            if held(postgres_url):
                break
        time.sleep(0.5)
        assert health() is WorkerStatus.RUNNING
        assert held(postgres_url)


def held(postgres_url: str) -> bool:
    with psycopg.connect(postgres_url) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        ).fetchone()
    return found == (1,)


def test_a_run_is_worked_on_by_one_at_a_time(postgres: PostgresResource) -> None:
    done: list[str] = []

    def second() -> None:
        try:
            with working_on(postgres, RUN):
                done.append("second")
        except JobHeldError:
            done.append("held")

    with working_on(postgres, RUN):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert done == ["held"]
    second()
    assert done == ["held", "second"]


def test_a_task_is_answered_for_when_it_is_done() -> None:
    task = worker_app(BROKER).tasks["execute_job"]
    assert task.acks_late
    assert task.reject_on_worker_lost


def test_the_settings_of_a_queue_lie_over_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dagster._core.instance.config import dagster_instance_config

    monkeypatch.setenv("GENOMICS_RUN_QUEUE_URL", BROKER)
    environment = Environment.from_environ(os.environ)
    make_dagster_home(tmp_path, environment)
    settings, _ = dagster_instance_config(str(tmp_path))
    assert settings["run_launcher"]["class"] == "WorkerRunLauncher"
    assert settings["run_launcher"]["config"] == {"broker": {"env": "GENOMICS_RUN_QUEUE_URL"}}
    assert settings["run_monitoring"]["poll_interval_seconds"] == 10, "what is not named stays"
    assert settings["run_monitoring"]["start_timeout_seconds"] == 3600
    assert settings["concurrency"]["pools"] == {"granularity": "run", "default_limit": 16}
    assert BROKER not in (tmp_path / "dagster.yaml").read_text(), "it may hold a password"

    monkeypatch.delenv("GENOMICS_RUN_QUEUE_URL")
    make_dagster_home(tmp_path, Environment.from_environ(os.environ))
    assert dagster_instance_config(str(tmp_path))[0]["run_launcher"]["class"] == "ForkingRunLauncher"


def test_a_worker_without_a_queue_says_what_to_set(home: Path) -> None:
    with pytest.raises(WorkerError, match=r"GENOMICS_RUN_QUEUE_URL is not set\. Remedy"):
        work(Environment.from_environ(os.environ), None)


def test_a_run_waits_for_a_queue_that_is_away() -> None:
    settings = {
        "module": "resources.run_queue",
        "class": "WorkerRunLauncher",
        "config": {"broker": BROKER},
    }
    code = RepositoryPythonOrigin(
        executable_path=sys.executable, code_pointer=ModuleCodePointer("genomics_assets.definitions", "defs")
    )
    with dg.instance_for_test(overrides={"run_launcher": settings}) as instance:
        run = create_run_for_test(instance, "load_vcf", job_code_origin=JobPythonOrigin("load_vcf", code))
        # The daemon puts a run back whose launch failed with this error.
        with pytest.raises(DagsterUserCodeUnreachableError, match=r"cannot be reached.*Remedy"):
            instance.run_launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))
