"""`worker`: takes runs from the queue, on this or any other machine that reaches the same stores, until Ctrl-C."""

from __future__ import annotations

import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path

from genomics_assets.commands.stack import PROJECT, start_stack
from resources.environment import Environment


class WorkerError(RuntimeError):
    """A worker cannot run; the message says why and what to do."""


def work(environment: Environment, processes: int | None) -> int:
    """Do runs until SIGTERM or Ctrl-C, which let the runs at hand end; returns the exit status.

    Args:
        environment: the settings; the stores have to be those of the machine that hands out the runs.
        processes: runs at a time; None for one for each processor.

    Raises:
        WorkerError: when there is no queue, or nothing to reach it with.
        ServerError: when an embedded server cannot start.
    """
    broker = environment.run_queue_url
    if broker is None:
        raise WorkerError(
            "GENOMICS_RUN_QUEUE_URL is not set. Remedy: set it to the queue that `up` puts runs into, "
            "redis://host:6379/0, and the addresses of the stores to those of that machine."
        )
    if find_spec("dagster_celery") is None or find_spec("redis") is None:
        raise WorkerError(
            "Celery is not installed. Remedy: install the extra, pip install 'genomics_assets[distributed]'."
        )
    stack = start_stack(environment)
    sources = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    os.environ.update(stack.dagster_variables() | {"PYTHONPATH": sources})
    _use_scratch(environment.home / "scratch")
    from resources.run_queue import QUEUE, worker_app

    print(f"worker  {environment.home}; Ctrl-C lets the runs at hand end, and stops.", flush=True)
    # A name of its own for each worker of a machine.
    options = ["--loglevel=INFO", "--without-gossip", "--without-mingle", f"--hostname=w{os.getpid()}@%h"]
    options += [f"--concurrency={processes}"] if processes else []
    worker_app(broker).worker_main(["worker", f"--queues={QUEUE}", *options])
    return 0


def _use_scratch(top: Path) -> None:
    """Put temporary files into a folder of this process's own; what killed workers left there is removed."""
    import psutil

    top.mkdir(parents=True, exist_ok=True)
    for folder in top.iterdir():
        if folder.name.isdigit() and not psutil.pid_exists(int(folder.name)):
            shutil.rmtree(folder, ignore_errors=True)
    mine = top / str(os.getpid())
    mine.mkdir(exist_ok=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(mine)
