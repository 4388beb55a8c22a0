"""Why a job ended without a result: one sentence, and a kind from a closed set.

The sentence is kept for ever and shown to everybody, so it never holds data: what an unforeseen exception says stays in
the run's own log.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from genomics_assets.input_error import InputError
from genomics_assets.jobs.states import JobState

LONGEST_MESSAGE = 2000


class EndingKind(StrEnum):
    """Why a job ended without a result."""

    INPUT = "input"
    """What was dropped cannot be taken; the message names the remedy."""
    STORE = "store"
    """A database or the object store could not be used."""
    INTERNAL = "internal"
    """An error of ours."""
    WORKER_LOST = "worker_lost"
    """The process that worked on the job is gone."""
    RUN_FAILED = "run_failed"
    """The run ended before it came to this job, or between two of its steps."""
    NEVER_STARTED = "never_started"
    """No run took the job up."""
    CANCELLED = "cancelled"
    """Somebody cancelled it."""


@dataclass(frozen=True)
class JobEnding:
    """An ending without a result.

    >>> JobEnding(EndingKind.WORKER_LOST, "the worker is gone").to_json()
    {'message': 'the worker is gone', 'kind': 'worker_lost'}
    """

    kind: EndingKind
    message: str

    @property
    def state(self) -> JobState:
        """The state that the job ends in."""
        return JobState.CANCELLED if self.kind is EndingKind.CANCELLED else JobState.FAILED

    def to_json(self) -> dict[str, str]:
        """As it is stored."""
        return {"message": self.message[:LONGEST_MESSAGE].replace("\0", ""), "kind": str(self.kind)}


def ending_of(error: BaseException, run_id: str) -> JobEnding:
    """What is kept of an exception: the whole sentence of an `InputError`, of any other only its type.

    >>> ending_of(InputError("no deaths", remedy="add some", file="a.csv"), "").message
    'a.csv: no deaths. Remedy: add some.'
    >>> ending_of(KeyError("ada@example.org"), "0f7c2a1e").message
    'KeyError; the log of run 0f7c2a1e says more'
    """
    if isinstance(error, InputError):
        return JobEnding(EndingKind.INPUT, str(error))
    return JobEnding(EndingKind.INTERNAL, f"{type(error).__name__}; the log of run {run_id} says more")
