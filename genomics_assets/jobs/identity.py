"""The names of jobs: computed from what was asked for, so that asking twice opens one job."""

from __future__ import annotations

from uuid import UUID, uuid5

_NAMESPACE = UUID("6f3f5d0e-54c4-4f6c-9d0b-8b1c8f3f5a70")


def job_id(ledger: str, run_key: str, attempt: int) -> UUID:
    """The id of an attempt.

    Args:
        ledger: which store keeps it.
        run_key: what was asked for: the key that a sensor asked for the run with, or the id of the first run.
        attempt: counts from 1.

    >>> job_id("comsa", "verbal_autopsy:mali:12-34", 1) == job_id("comsa", "verbal_autopsy:mali:12-34", 1)
    True
    """
    return uuid5(_NAMESPACE, f"{ledger}\n{run_key}\n{attempt}")


def short_job_id(ledger: str, run_key: str, attempt: int) -> str:
    """The same for stores whose ids have 12 bytes: 24 hexadecimal digits."""
    return job_id(ledger, run_key, attempt).hex[:24]
