"""The ledger: who may work on a job, what it says of itself meanwhile, and how it ends.

`JobLedger.running` is what assets use. A job is opened once for each attempt at a run key; while it runs its worker
holds a lock (see `resources.jobs.liveness`); its end, its result and its files are one transaction.
"""

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.storage.tags import RUN_KEY_TAG

from genomics_assets.input_error import InputError
from genomics_assets.jobs.endings import EndingKind, JobEnding, ending_of
from genomics_assets.jobs.states import JobState
from resources.inbox import InboxError
from resources.jobs.keeper import JobKeeper
from resources.jobs.liveness import lock_name, lost_worker, server_is_settled
from resources.jobs.log_lines import Level
from resources.jobs.orphans import die_with_run_worker, process_is_gone
from resources.jobs.store import (
    Closing,
    JobClosedError,
    JobError,
    JobHeldError,
    JobOrigin,
    JobRequest,
    JobStore,
    StoredFile,
    StoredJob,
)
from resources.mongo import MongoError
from resources.object_store import ObjectStoreError
from resources.postgres import PostgresError, PostgresResource

OPEN = (JobState.PENDING, JobState.RUNNING)
_STORE_ERRORS = (PostgresError, MongoError, ObjectStoreError, InboxError)


class RunningJob:
    """A job that this process works on.

    Attributes:
        id: as the store has it.
        result: what the job comes to; set it before the job completes. Its form is the store's.
    """

    def __init__(self, store: JobStore, job_id: Any, run_id: str, keeper: JobKeeper) -> None:
        self._store = store
        self._keeper = keeper
        self._files: list[StoredFile] = []
        self.id = job_id
        self.run_id = run_id
        self.result: Any = None
        self.closed = False

    def progress(self, fraction: float | None = None, phase: str | None = None) -> None:
        """Say how far the job is, as often as you like: the latest word is written once a second.

        Args:
            fraction: from 0 to 1.
            phase: what is being done, in a few words.

        Raises:
            JobClosedError: the job was closed by somebody else; stop working.
        """
        self._keeper.check()
        self._keeper.note_progress(None if fraction is None else min(1.0, max(0.0, fraction)), phase)

    def log(self, message: str, level: Level = "info") -> None:
        """Say something; never waits for the database. Warnings and errors are written at once, others soon.

        Raises:
            JobClosedError: the job was closed by somebody else; stop working.
        """
        if self._keeper.lost is not None:
            self._keeper.check()
        self._keeper.lines.add(message, level)

    @contextmanager
    def completion(self, result: Any = None) -> Iterator[Any]:
        """Complete the job in one transaction with what the block writes.

        Gives a `psycopg.Connection` in a transaction (for MongoDB the database, where the block writes its results
        under natural keys, and the job is closed after it). When the block ends, the job's files and its result are
        added, the job is completed, and all of it is committed; an exception leaves nothing of it.

        Args:
            result: the job's result; None: what `self.result` is by the end of the block.

        Raises:
            JobClosedError: the job was closed by somebody else; nothing was committed.
        """
        with self._store.completing() as transaction:
            yield transaction
            self._keeper.finish()
            closing = Closing(
                JobState.COMPLETED, self.result if result is None else result, files=self._files
            )
            if not self._store.close_in(transaction, self.id, closing):
                raise JobClosedError(
                    f"{self._store.name} job {self.id} was closed by somebody else meanwhile"
                )
        self.closed = True
        self._keeper.release()

    def end(self, ending: JobEnding) -> None:
        """Close the job without a result; nothing happens where it is closed already."""
        if self.closed:
            return
        self.closed = True
        with suppress(JobClosedError):
            self._keeper.finish()
        try:
            self._store.close(self.id, Closing(ending.state, ending=ending), [JobState.RUNNING])
        finally:
            self._keeper.release()


# The jobs that this process works on, by ledger, store and run: a later step of the run takes its job up again.
_running: dict[tuple[int, str, str], RunningJob] = {}


@dataclass(frozen=True)
class ClosedJob:
    """A job that was closed because nobody else would have."""

    ledger: str
    id: Any
    run_id: str | None
    ending: JobEnding


class JobLedger(dg.ConfigurableResource):  # type: ignore[type-arg]
    """What all ledgers do; each has a store of its own."""

    postgres: dg.ResourceDependency[PostgresResource]

    @property
    def store(self) -> JobStore:
        """The table or collection that keeps the jobs."""
        raise NotImplementedError

    def open(self, request: JobRequest, origin: JobOrigin) -> Any:
        """Open a pending job, unless one with this run key is open or was ever worked on; returns the job's id.

        A sensor calls it when it asks for the run. Where it did not, `running` does.
        """
        store = self.store
        latest = store.latest(origin.run_key)
        if latest is not None:
            return latest.id
        job_id = store.id_of(origin.run_key, 1)
        store.insert(job_id, request, origin, 1, None)
        return job_id

    @contextmanager
    def running(
        self,
        context: dg.AssetExecutionContext | dg.OpExecutionContext,
        request: JobRequest,
        *,
        closes: bool = True,
    ) -> Iterator[Any]:
        """Work on the job of this run: pending -> running, and at the end of the block completed.

        An exception of the block fails the job (or cancels it, when the run was cancelled) and goes on. A job that
        the block completed itself, by `RunningJob.completion`, is left alone.

        Args:
            context: of the step; names the run.
            request: what is asked for; opens the job where no sensor did, and fills in what it did not know.
            closes: False where a later step of the run works on the same job, and completes it.

        Raises:
            JobHeldError: another process of the same run works on the job.
        """
        job = self._join(context, request)
        try:
            yield job
            if closes and not job.closed:
                with job.completion():
                    pass
        except BaseException as error:
            # Whatever goes wrong here must not hide what happened.
            with suppress(Exception):
                job.end(_ending(error, context.run_id))
            raise
        finally:
            if job.closed:
                _running.pop(self._place(context.run_id), None)

    def current(self, run_id: str) -> Any:
        """The job that this process works on for a run; None where it has none."""
        return _running.get(self._place(run_id))

    def end_run(self, job: StoredJob, ending: JobEnding) -> ClosedJob | None:
        """Close an open job whatever its worker does; the worker, if there is one, cannot write to it any more."""
        if self.store.close(job.id, Closing(ending.state, ending=ending), OPEN):
            return ClosedJob(self.store.name, job.id, job.run_id, ending)
        return None

    def reap(self) -> list[ClosedJob]:
        """Fail every running job whose worker is gone; live ones are never touched, however many reap at once."""
        settled = server_is_settled(self.postgres)
        running = [job for job in self.store.open_jobs() if job.state is JobState.RUNNING]
        # Workers that just lost their connection with the server's restart are about to take their locks again.
        suspects = [job for job in running if settled or process_is_gone(job.worker, socket.gethostname())]
        return [closed for job in suspects if (closed := self._reap(job))]

    def _reap(self, job: StoredJob) -> ClosedJob | None:
        ending = JobEnding(
            EndingKind.WORKER_LOST, "the process that worked on this job is gone; run it again"
        )
        with lost_worker(self.postgres, lock_name(self.store.name, job.id)) as is_lost:
            if is_lost and self.store.close(job.id, Closing(ending.state, ending=ending), [JobState.RUNNING]):
                return ClosedJob(self.store.name, job.id, job.run_id, ending)
        return None

    # -- beginning -----------------------------------------------------------------------------------------------------

    def _place(self, run_id: str) -> tuple[int, str, str]:
        return (os.getpid(), self.store.name, run_id)

    def _join(self, context: Any, request: JobRequest) -> RunningJob:
        joined = _running.get(self._place(context.run_id))
        if joined is not None:
            return joined
        self._leave_ended_runs(context.instance)
        die_with_run_worker(context.instance, context.run_id)
        job = self.begin(request, _origin(context))
        _running[self._place(context.run_id)] = job
        return job

    def begin(self, request: JobRequest, origin: JobOrigin) -> RunningJob:
        """Take up the last attempt of a run key where it is pending, else a new attempt; `running` does it for assets.

        The caller ends the job, by `RunningJob.completion` or `RunningJob.end`.

        Raises:
            JobHeldError: another process works on the job.
        """
        store = self.store
        latest = store.latest(origin.run_key)
        if latest is not None and latest.state is JobState.RUNNING:
            continued = self._take_over(latest, origin)
            if continued is not None:
                return continued
            latest = store.latest(origin.run_key)
        if latest is not None and latest.state is JobState.PENDING:
            job_id = latest.id
        else:
            attempt = 1 if latest is None else latest.attempt + 1
            job_id = store.id_of(origin.run_key, attempt)
            store.insert(job_id, request, origin, attempt, None if latest is None else latest.id)
        keeper = JobKeeper(self.postgres, store, job_id)
        if not store.start(job_id, request, origin, f"{socket.gethostname()}:{os.getpid()}"):
            keeper.release()
            raise JobHeldError(f"{store.name} job {job_id} was taken up or closed by somebody else just now")
        return self._running_job(job_id, str(origin.run_id), keeper)

    def _take_over(self, latest: StoredJob, origin: JobOrigin) -> RunningJob | None:
        """A job of this very run, from a step in another process that is over; of any other run, never."""
        if latest.run_id != origin.run_id:
            return None
        return self._running_job(
            latest.id, str(origin.run_id), JobKeeper(self.postgres, self.store, latest.id)
        )

    def _running_job(self, job_id: Any, run_id: str, keeper: JobKeeper) -> RunningJob:
        return RunningJob(self.store, job_id, run_id, keeper)

    def _leave_ended_runs(self, instance: dg.DagsterInstance) -> None:
        """Close jobs that earlier runs of this process left between two steps."""
        for place, job in list(_running.items()):
            if place[:2] != (os.getpid(), self.store.name):
                continue
            run = instance.get_run_by_id(job.run_id)
            if run is None or run.is_finished:
                del _running[place]
                with suppress(Exception):
                    job.end(JobEnding(EndingKind.RUN_FAILED, f"run {job.run_id} ended before the job did"))


def run_key_of(run_id: str, tags: Mapping[str, str]) -> str:
    """What a run was asked for: a sensor's key; of a run that a person started, the first run it repeats."""
    return tags.get(RUN_KEY_TAG) or tags.get("dagster/root_run_id") or run_id


def _origin(context: Any) -> JobOrigin:
    tags = context.run.tags if hasattr(context, "run") else {}
    partition = context.partition_key if context.has_partition_key else None
    return JobOrigin(run_key_of(context.run_id, tags), partition, context.run_id)


def _ending(error: BaseException, run_id: str) -> JobEnding:
    if isinstance(error, DagsterExecutionInterruptedError | KeyboardInterrupt):
        return JobEnding(EndingKind.CANCELLED, "cancelled while it ran")
    if isinstance(error, dg.Failure):
        if isinstance(error.__cause__, InputError):
            return ending_of(error.__cause__, run_id)
        return JobEnding(EndingKind.INPUT, error.description or "the step gave up")
    if isinstance(error, _STORE_ERRORS):
        return JobEnding(EndingKind.STORE, str(error))
    return ending_of(error, run_id)


__all__ = ["ClosedJob", "JobClosedError", "JobError", "JobHeldError", "JobLedger", "RunningJob"]
