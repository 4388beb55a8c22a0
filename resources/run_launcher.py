"""Dagster's run launcher for one machine, with the health check that its own lacks.

Without it a run whose worker died together with the code server (a killed `up`, a machine out of memory) would stay
"started" for ever: nobody is left who would tell. Run monitoring asks here, fails the run, and run retries take it up.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher

if TYPE_CHECKING:
    from dagster._core.storage.dagster_run import DagsterRun

_STARTED = re.compile(r"^Started process for run \(pid: (\d+)\)")


class LocalRunLauncher(DefaultRunLauncher):
    """Launches runs as processes of the code server on this machine, and sees when such a process is gone."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Run monitoring may ask."""
        return True

    def check_run_worker_health(self, run: "DagsterRun") -> CheckRunHealthResult:
        """Whether the process that works on a run is there."""
        worker = worker_of_run(self._instance, run.run_id)
        if worker is None:
            # It has not said its number yet; the start timeout watches over that.
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        process, started = worker
        if _is_alive(process, started):
            return CheckRunHealthResult(WorkerStatus.RUNNING, run_worker_id=str(process))
        return CheckRunHealthResult(
            WorkerStatus.FAILED, f"the process of the run (pid {process}) is gone", run_worker_id=str(process)
        )


def worker_of_run(instance: dg.DagsterInstance, run_id: str) -> tuple[int, float] | None:
    """Number and announcement time of the run's last process; None before it has said its number."""
    records = instance.get_records_for_run(
        run_id, of_type=dg.DagsterEventType.ENGINE_EVENT, ascending=False
    ).records
    return next(
        _announcements((r.event_log_entry.message, r.event_log_entry.timestamp) for r in records), None
    )


def _announcements(messages: Iterable[tuple[str, float]]) -> Iterator[tuple[int, float]]:
    """Process numbers in what a run's workers said of themselves."""
    return (
        (int(found[1]), timestamp)
        for message, timestamp in messages
        if (found := _STARTED.match(message.rpartition(" - ")[2] or message))
    )


def _is_alive(process: int, announced: float) -> bool:
    """Whether a process is there that may have announced itself then: numbers are used again.

    A clock that was set forward makes a process look younger than its announcement. So one that looks too young counts
    as gone only where it is no worker at all; a worker is left alone, and should it be another's, it ends soon.
    """
    import psutil

    try:
        found = psutil.Process(process)
        if found.status() == psutil.STATUS_ZOMBIE:
            return False
        # The announcement comes after the start; clocks and rounding get some seconds.
        return bool(found.create_time() <= announced + 5 or _is_run_worker(found.cmdline()))
    except psutil.NoSuchProcess:
        return False


def _is_run_worker(command: Sequence[str]) -> bool:
    """Code servers start their runs with `multiprocessing`.

    >>> _is_run_worker(["python", "-c", "from multiprocessing.spawn import spawn_main; spawn_main(…)", "--multi"])
    True
    """
    return any("multiprocessing" in word and "spawn_main" in word for word in command)
