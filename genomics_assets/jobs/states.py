"""The life of a job, the same for every kind of job: pending -> running -> completed | failed | cancelled.

A job that never started may fail or be cancelled too. Each store has its own words for the states.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class JobState(StrEnum):
    """Where a job stands."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_closed(self) -> bool:
        """Whether nothing about the job changes any more."""
        return not _NEXT[self]

    def may_become(self, other: JobState) -> bool:
        """Whether a job may go from this state to the other.

        >>> JobState.PENDING.may_become(JobState.RUNNING), JobState.PENDING.may_become(JobState.COMPLETED)
        (True, False)
        """
        return other in _NEXT[self]


_NEXT = {
    JobState.PENDING: frozenset({JobState.RUNNING, JobState.FAILED, JobState.CANCELLED}),
    JobState.RUNNING: frozenset({JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED}),
    JobState.COMPLETED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}


@dataclass(frozen=True)
class StateWords:
    """A store's words for the states, as they are written, and others that are understood."""

    pending: str
    running: str
    completed: str
    failed: str
    cancelled: str
    aliases: dict[str, JobState] = field(default_factory=dict)

    def word(self, state: JobState) -> str:
        """The word that is written for a state.

        >>> BMD_WORDS.word(JobState.PENDING)
        'QUEUED'
        """
        return str(getattr(self, state.value))

    def state(self, word: str) -> JobState:
        """The state that a word stands for; where two states share a word, the one that is not cancelled.

        Raises:
            ValueError: the word stands for none.

        >>> GWAS_WORDS.state("processing"), COMSA_WORDS.state("failed")
        (<JobState.RUNNING: 'running'>, <JobState.FAILED: 'failed'>)
        """
        for state in JobState:
            if word == self.word(state):
                return state
        if word in self.aliases:
            return self.aliases[word]
        raise ValueError(f"{word!r} is none of a job's states: {', '.join(self.word(s) for s in JobState)}")


# The COMSA table admits four words only: a cancelled job is a failed one whose error says `cancelled`.
COMSA_WORDS = StateWords("pending", "running", "completed", "failed", cancelled="failed")
BMD_WORDS = StateWords(
    "QUEUED", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED",
    aliases={"PENDING": JobState.PENDING, "COMPLETED": JobState.COMPLETED},
)  # fmt: skip
GWAS_WORDS = StateWords(
    "pending", "running", "completed", "failed", "cancelled",
    aliases={"queued": JobState.PENDING, "processing": JobState.RUNNING},
)  # fmt: skip
