"""Runs on more than one machine: a queue in Redis, workers that take whole runs from it, and a launcher that fills it.

The engine is Celery with dagster-celery. What is added here is certainty about workers that die. A worker holds a lock
in Postgres, named for the run, from before the run starts until after it has ended; the server frees it the moment the
worker is gone, however it went. So run monitoring, on another machine, knows at once which started run has nobody left,
fails it, and run retries take it up. A run that was handed out and never started goes back into the queue by itself.

Needs the extra `distributed`, and Postgres without a pooler that hands connections from one transaction to the next.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dagster as dg
from celery import Celery, Task
from celery.exceptions import OperationalError
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import ConfigurableClassData, unpack_value
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.make_app import make_app
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG
from dagster_celery.tasks import create_execute_job_task
from redis.exceptions import RedisError

from resources.jobs.liveness import CONFIRM_SECONDS, PING_SECONDS, LivenessLock, lost_worker
from resources.jobs.store import JobHeldError
from resources.postgres import PostgresError, PostgresResource

if TYPE_CHECKING:
    from dagster._core.storage.dagster_run import DagsterRun

QUEUE = "dagster"
# A task that was handed out and not answered for goes to another worker after this time. Short, because whoever gets
# a run that somebody works on drops it: the lock tells.
HANDED_OUT_SECONDS = 60

SETTINGS: dict[str, Any] = {
    "broker_connection_retry_on_startup": True,
    "broker_transport_options": {
        "visibility_timeout": HANDED_OUT_SECONDS,
        "socket_keepalive": True,
        "health_check_interval": 30,
        # To send a run: the daemon tries again at its next look.
        "max_retries": 3,
        "interval_start": 0,
        "interval_step": 0.2,
        "interval_max": 0.5,
    },
    # Dagster's storage says what became of a run.
    "task_ignore_result": True,
    # A worker holds what it works on and no more: what waits, waits where every worker can take it.
    "worker_prefetch_multiplier": 1,
    # What libraries leave in memory goes with the process.
    "worker_max_tasks_per_child": 100,
    "worker_hijack_root_logger": False,
    "worker_redirect_stdouts": False,
    "worker_send_task_events": False,
}


def run_queue(broker: str) -> Celery:
    """The queue at an address, as launcher and workers both see it.

    Args:
        broker: `redis://[user:password@]host:port/database`, or `rediss://` with TLS.
    """
    make: Callable[[dict[str, Any]], Celery] = make_app
    return make({"broker": broker, "config_source": SETTINGS, "task_default_queue": QUEUE})


class WorkerRunLauncher(CeleryRunLauncher):
    """Puts runs into the queue, and sees when the worker of a started run is gone."""

    def __init__(self, broker: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(default_queue=QUEUE, broker=broker, inst_data=inst_data)
        self.celery = run_queue(broker)
        self._postgres = PostgresResource()
        self._missed_since: dict[str, float] = {}

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """What `dagster.yaml` may say of it."""
        return {"broker": dg.Field(dg.StringSource, description="redis://[user:password@]host:port/database")}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]
    ) -> "WorkerRunLauncher":
        """The launcher that `dagster.yaml` asks for."""
        return cls(inst_data=inst_data, **config_value)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Put a run into the queue.

        Raises:
            DagsterUserCodeUnreachableError: the queue is not there; the run waits, as it does for a code server.
        """
        try:
            super().launch_run(context)
        except (OperationalError, RedisError) as error:
            raise DagsterUserCodeUnreachableError(
                f"the run queue cannot be reached: {error}. Remedy: see that Redis runs, and check GENOMICS_RUN_QUEUE_URL."
            ) from error

    @property
    def supports_resume_run(self) -> bool:
        """A run that lost its worker is done anew, from the step that was cut off."""
        return False

    def check_run_worker_health(self, run: "DagsterRun") -> CheckRunHealthResult:
        """Whether somebody works on a started run.

        A worker that only lost its connection, as all do when Postgres restarts, gets the time to take its lock again.
        """
        with lost_worker(self._postgres, _lock_of(run.run_id)) as lost:
            pass
        if not lost:
            self._missed_since.pop(run.run_id, None)
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        now = time.monotonic()
        if now - self._missed_since.setdefault(run.run_id, now) < CONFIRM_SECONDS:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        del self._missed_since[run.run_id]
        return CheckRunHealthResult(WorkerStatus.FAILED, "the worker that took this run is gone")

    def get_run_worker_debug_info(
        self,
        run: "DagsterRun",
        include_container_logs: bool | None = True,
    ) -> str:
        """What to look for in the workers' logs."""
        return f"task {run.tags.get(DAGSTER_CELERY_TASK_ID_TAG)} of queue {QUEUE}"


class RunTask(Task):  # type: ignore[misc]
    """A run as a task of the queue. The same run twice at once is done by the first who has it."""

    def __call__(self, execute_job_args_packed: Any) -> Any:
        """Do the run, holding its lock."""
        run_id = unpack_value(execute_job_args_packed, as_type=ExecuteRunArgs).run_id
        postgres = PostgresResource()
        with lost_worker(postgres, _lock_of(run_id)) as free:
            pass
        if not free:
            return None
        at_end = signal.getsignal(signal.SIGTERM)
        try:
            with working_on(postgres, run_id):
                return super().__call__(execute_job_args_packed=execute_job_args_packed)
        except JobHeldError:
            return None
        finally:
            # Dagster leaves SIGTERM ignored behind, and the worker could not end its processes any more.
            signal.signal(signal.SIGTERM, at_end)


def worker_app(broker: str) -> Celery:
    """The queue with what a worker can do."""
    app = run_queue(broker)
    # Answered for when it is done, not when it is taken; at once when the process that did it died.
    options: Any = {"base": RunTask, "acks_late": True, "reject_on_worker_lost": True}
    create_execute_job_task(app, **options)
    return app


@contextmanager
def working_on(postgres: PostgresResource, run_id: str) -> Iterator[None]:
    """Hold the run's lock while the block lasts; a connection that is lost is made anew by a thread.

    Raises:
        JobHeldError: another worker has it.
        PostgresError: the server does not answer.
    """
    lock = LivenessLock(postgres, _lock_of(run_id))
    done = threading.Event()
    thread = threading.Thread(target=_keep, args=(lock, done), name=f"lock of run {run_id}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        lock.release()


def _keep(lock: LivenessLock, done: threading.Event) -> None:
    """Until the run is done. A lock that somebody else has by then is not fought for: the run was given up."""
    import psycopg

    while not done.wait(PING_SECONDS):
        try:
            lock.ping()
        except psycopg.Error:
            try:
                lock.renew()
            except PostgresError:
                continue
            except JobHeldError:
                return


def _lock_of(run_id: str) -> str:
    return f"run {run_id}"
