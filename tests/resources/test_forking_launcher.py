"""Runs are forks of one process that has the code loaded, see changed code, can be interrupted, and fail for a reason."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.reconstruct import ReconstructableJob, ReconstructableRepository
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher.base import LaunchRunContext, WorkerStatus
from dagster._core.test_utils import create_run_for_test

from resources.forking_launcher import ForkingRunLauncher
from resources.worker_template import _IMPORTED_LATE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="runs are forks on Linux alone")

CODE = """
import os, pathlib, time
import dagster as dg

HERE = pathlib.Path(__file__).parent
with (HERE / "imports").open("a") as log:
    log.write("imported\\n")

@dg.op
def tell():
    (HERE / f"worker_{os.getpid()}").write_text(f"{os.getppid()} VERSION")

@dg.op
def wait():
    (HERE / "waiting").touch()
    time.sleep(120)

@dg.job
def telling():
    tell()

@dg.job
def waiting():
    wait()

defs = dg.Definitions(jobs=[telling, waiting], executor=dg.in_process_executor)
"""


class Location:
    """A code location in a file, and runs of it."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.folder = folder
        self.instance = instance
        launcher = instance.run_launcher
        assert isinstance(launcher, ForkingRunLauncher)
        self.launcher = launcher

    def write(self, version: str) -> None:
        (self.folder / "location.py").write_text(CODE.replace("VERSION", version))

    def launch(self, job: str) -> str:
        repository = ReconstructableRepository.for_file(
            str(self.folder / "location.py"), "defs", str(self.folder)
        )
        origin = ReconstructableJob(repository, job).get_python_origin()
        run = create_run_for_test(
            self.instance, job, job_code_origin=origin, status=dg.DagsterRunStatus.STARTING
        )
        self.launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))
        return run.run_id

    def ended(self, run_id: str) -> dg.DagsterRunStatus:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            run = self.instance.get_run_by_id(run_id)
            assert run is not None
            if run.is_finished:
                return run.status
            time.sleep(0.05)
        raise AssertionError("the run does not end")

    def workers(self) -> dict[int, tuple[int, str]]:
        """Parent and version by process number of each worker that told."""
        told = {}
        for path in self.folder.glob("worker_*"):
            parent, version = path.read_text().split()
            told[int(path.name.removeprefix("worker_"))] = (int(parent), version)
        return told


@pytest.fixture
def location(tmp_path: Path) -> Iterator[Location]:
    overrides = {"run_launcher": {"module": "resources.forking_launcher", "class": "ForkingRunLauncher"}}
    with dg.instance_for_test(overrides=overrides) as instance:
        location = Location(tmp_path, instance)
        location.write("first")
        yield location


def test_workers_are_forks_of_one_process_until_the_code_changes(location: Location) -> None:
    runs = [location.launch("telling") for _ in range(3)]

    assert [location.ended(run) for run in runs] == [dg.DagsterRunStatus.SUCCESS] * 3
    first = location.workers()
    assert len(first) == 3
    assert {version for _, version in first.values()} == {"first"}
    [template] = {parent for parent, _ in first.values()}
    assert template not in {os.getpid(), *first}
    assert (location.folder / "imports").read_text().count("imported") == 1

    location.write("second")
    os.utime(location.folder / "location.py", (1_900_000_000, 1_900_000_000))
    assert location.ended(location.launch("telling")) is dg.DagsterRunStatus.SUCCESS
    assert {version for worker, (_, version) in location.workers().items() if worker not in first} == {
        "second"
    }


def test_what_a_template_loads_for_its_workers_is_there() -> None:
    known = [name for name in _IMPORTED_LATE if importlib.util.find_spec(name) is not None]
    assert known == list(_IMPORTED_LATE), "a module that was renamed is left to each worker without a word"


def test_code_that_changes_while_it_is_loaded_is_seen_by_the_next_run(location: Location) -> None:
    later = CODE.replace("VERSION", "second")
    with (location.folder / "location.py").open("a") as code:
        code.write(f"(HERE / 'location.py').write_text({later!r})\n")

    for _ in range(2):
        assert location.ended(location.launch("telling")) is dg.DagsterRunStatus.SUCCESS

    assert {version for _, version in location.workers().values()} == {"first", "second"}


def test_a_run_is_interrupted_and_its_worker_ends(location: Location) -> None:
    run_id = location.launch("waiting")
    deadline = time.monotonic() + 60
    while not (location.folder / "waiting").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    run = location.instance.get_run_by_id(run_id)
    assert run is not None
    assert location.launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING

    assert location.launcher.terminate(run_id)

    assert location.ended(run_id) is dg.DagsterRunStatus.CANCELED
    while location.launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_code_that_cannot_be_loaded_leaves_the_run_to_the_queue(location: Location) -> None:
    (location.folder / "location.py").write_text("this is no Python")
    with pytest.raises(DagsterUserCodeUnreachableError, match="Remedy: see the daemon's log"):
        location.launch("telling")

    location.write("mended")
    assert location.ended(location.launch("telling")) is dg.DagsterRunStatus.SUCCESS
