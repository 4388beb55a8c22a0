"""What the three stores of jobs have in common: one table or collection, asked for the same things.

A store keeps rows. Who may work on a job, and what becomes of an exception, is `resources.jobs.ledger`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from genomics_assets.jobs.endings import JobEnding
from genomics_assets.jobs.states import JobState

if TYPE_CHECKING:
    import psycopg

    from resources.jobs.log_lines import LogLine


class JobError(RuntimeError):
    """The ledger cannot be used; the message says why and what to do."""


class JobClosedError(JobError):
    """The job was closed by somebody else: its worker was given up for lost, or it was cancelled. Stop working."""


class JobHeldError(JobError):
    """Another process works on the job."""


@dataclass(frozen=True)
class JobRequest:
    """What a job is asked to do; each store has a subclass with its own columns."""

    def columns(self) -> dict[str, Any]:
        """Values by the store's own column names; None for what is not known yet."""
        raise NotImplementedError


@dataclass(frozen=True)
class JobOrigin:
    """Where a job comes from.

    Args:
        run_key: what was asked for; attempts at the same thing share it.
        partition_key: its Dagster partition.
        run_id: the run that works on it, once there is one.
    """

    run_key: str
    partition_key: str | None = None
    run_id: str | None = None


@dataclass(frozen=True)
class StoredJob:
    """A job as the store has it; `age` is in seconds since it was opened."""

    id: Any
    state: JobState
    run_key: str | None
    run_id: str | None
    attempt: int
    worker: str | None
    age: float


@dataclass
class Closing:
    """What goes into the store together with the last state of a job."""

    state: JobState
    result: Any = None
    ending: JobEnding | None = None
    files: Sequence[StoredFile] = field(default_factory=list)


@dataclass(frozen=True)
class StoredFile:
    """A file of a job, already in the object store."""

    file_type: str
    file_name: str
    key: str
    size: int
    sha256: str


class JobStore(Protocol):
    """A table or a collection of jobs. Each method is one atomic step."""

    @property
    def name(self) -> str:
        """Names the ledger."""
        ...

    def id_of(self, run_key: str, attempt: int) -> Any:
        """The id that an attempt has."""
        ...

    def insert(
        self, job_id: Any, request: JobRequest, origin: JobOrigin, attempt: int, rerun_of: Any
    ) -> None:
        """A pending job; nothing happens where the id is taken."""
        ...

    def latest(self, run_key: str) -> StoredJob | None:
        """The last attempt with this key."""
        ...

    def start(self, job_id: Any, request: JobRequest, origin: JobOrigin, worker: str) -> bool:
        """From pending to running; False where the job was not pending."""
        ...

    def note_progress(
        self, connection: psycopg.Connection[Any], job_id: Any, fraction: float | None, phase: str | None
    ) -> None:
        """How far a running job is.

        Raises:
            JobClosedError: the job is not running any more.
        """
        ...

    def append_log(self, connection: psycopg.Connection[Any], job_id: Any, lines: Sequence[LogLine]) -> None:
        """Keep lines of a running job, in their order.

        Raises:
            JobClosedError: the job is not running any more.
        """
        ...

    def last_line(self, connection: psycopg.Connection[Any], job_id: Any) -> int:
        """Number of the last line that is kept."""
        ...

    def completing(self) -> AbstractContextManager[Any]:
        """The transaction in which results are written and the job is closed."""
        ...

    def close_in(self, transaction: Any, job_id: Any, closing: Closing) -> bool:
        """From running to closed, inside of `completing`; False where the job was not running."""
        ...

    def close(self, job_id: Any, closing: Closing, expected: Sequence[JobState]) -> bool:
        """Closes a job that is in one of the expected states; False where it is not."""
        ...

    def open_jobs(self) -> list[StoredJob]:
        """Every job of this ledger that is pending or running, and every other that says it is running."""
        ...
