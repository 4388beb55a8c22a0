"""Dagster's run launcher for runs that are processes of a code server, with the health check that its own lacks.

Without it a run whose worker died together with the code server (a killed `up`, a machine out of memory) would stay
"started" for ever: nobody is left who would tell. Run monitoring asks here, fails the run, and run retries take it up.

A code server behind a socket is on this machine, and so are its runs: their processes are looked at. One behind a port
may be in another container, where process numbers mean something else: the server is asked which runs it has.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher

if TYPE_CHECKING:
    from dagster._core.storage.dagster_run import DagsterRun
    from dagster._grpc.client import DagsterGrpcClient

_STARTED = re.compile(r"^Started process for run \(pid: (\d+)\)")


class LocalRunLauncher(DefaultRunLauncher):
    """Launches runs as processes of the code server, and sees when such a process is gone."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Run monitoring may ask."""
        return True

    def check_run_worker_health(self, run: "DagsterRun") -> CheckRunHealthResult:
        """Whether the process that works on a run is there."""
        code_server = self._get_grpc_client_for_termination(run.run_id)  # type: ignore[no-untyped-call]
        if code_server is not None and code_server.port is not None:
            return _health_by_server(code_server, run.run_id)
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


def _health_by_server(code_server: "DagsterGrpcClient", run_id: str) -> CheckRunHealthResult:
    """Whether a code server, which notices by itself when a process of its own dies, has the run."""
    from dagster._core.errors import DagsterUserCodeUnreachableError
    from dagster._grpc.types import GetCurrentRunsResult
    from dagster._serdes import deserialize_value

    where = f"{code_server.host}:{code_server.port}"
    try:
        answer = deserialize_value(code_server.get_current_runs(), GetCurrentRunsResult)
    except DagsterUserCodeUnreachableError:
        # It may be restarting, or out of reach while its runs go on. When it is back it tells.
        return CheckRunHealthResult(WorkerStatus.RUNNING, f"the code server at {where} does not answer")
    if run_id in answer.current_runs:
        return CheckRunHealthResult(WorkerStatus.RUNNING)
    return CheckRunHealthResult(
        WorkerStatus.FAILED, f"the code server at {where} knows nothing of the run: it was restarted since"
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
    """Code servers start their runs with `multiprocessing`; others are forks of `resources.worker_template`.

    >>> _is_run_worker(["python", "-c", "from multiprocessing.spawn import spawn_main; spawn_main(…)", "--multi"])
    True
    """
    spawned = any("multiprocessing" in word and "spawn_main" in word for word in command)
    return spawned or "resources.worker_template" in command
