"""What an alert says, and the forms in which it is sent: JSON for a webhook, text for Slack and mail.

An alert names jobs, runs, ledgers and sources, and counts them. Partition keys and error texts stay out: file names may
be people's, and errors may quote a file. Whoever may see them follows the link.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

AlertKind = Literal["run_failure", "stale_source", "stuck_job", "store_away", "test"]
NAMED = 5
"""How many runs, jobs or sources a message names; the rest is counted."""


@dataclass(frozen=True)
class Alert:
    """One thing that somebody should know.

    Attributes:
        kind: for routing.
        title: in one line.
        lines: which, and what to do.
        link: where to look, or None.
    """

    kind: AlertKind
    title: str
    lines: tuple[str, ...] = ()
    link: str | None = None

    def as_json(self) -> dict[str, Any]:
        """What a webhook gets."""
        return {
            "source": "genomics_assets",
            "kind": self.kind,
            "title": self.title,
            "lines": list(self.lines),
            "link": self.link,
        }

    def as_text(self) -> str:
        """What people read.

        >>> print(Alert("test", "A test", ("nothing to do",), "http://ui").as_text())
        A test
        - nothing to do
        http://ui
        """
        return "\n".join(
            [self.title, *(f"- {line}" for line in self.lines), *([self.link] if self.link else [])]
        )


@dataclass(frozen=True)
class FailedRun:
    """A run that failed."""

    run_id: str
    job: str


def run_failures(runs: Sequence[FailedRun], ui: str | None) -> Alert:
    """One alert for all runs that failed since the last look: a thousand bad files make one message.

    >>> run_failures([FailedRun("r1", "load_vcf"), FailedRun("r2", "load_vcf")], None).title
    '2 runs failed: load_vcf 2'
    """
    by_job = ", ".join(f"{job} {count}" for job, count in Counter(run.job for run in runs).most_common())
    noun = "1 run" if len(runs) == 1 else f"{len(runs):,} runs"
    if ui is None:
        lines = _some([f"run {run.run_id}" for run in runs])
        return Alert(
            "run_failure", f"{noun} failed: {by_job}", (*lines, "the run's log names file, line and remedy")
        )
    link = f"{ui}/runs/{runs[0].run_id}" if len(runs) == 1 else f"{ui}/runs?q[]=status%3AFAILURE"
    return Alert("run_failure", f"{noun} failed: {by_job}", (), link)


def stuck_jobs(subjects: Sequence[str], minutes: float) -> Alert:
    """Jobs that nobody works on, although they say that they run or wait.

    >>> stuck_jobs(["bmd job 7"], 10).title
    '1 job is stuck for over 10 minutes'
    """
    noun = "1 job is" if len(subjects) == 1 else f"{len(subjects):,} jobs are"
    remedy = "see that the daemon runs (sensor job_liveness), then `python -m genomics_assets doctor`"
    return Alert("stuck_job", f"{noun} stuck for over {minutes:.0f} minutes", (*_some(subjects), remedy))


def stale_sources(sources: Sequence[tuple[str, float]]) -> Alert:
    """Annotation sources that were not looked at, or replaced, for too long; each with its age in days.

    >>> stale_sources([("clinvar", 17.2)]).lines[0]
    'clinvar: 17 days'
    """
    noun = "1 annotation source is" if len(sources) == 1 else f"{len(sources):,} annotation sources are"
    lines = _some([f"{name}: {days:.0f} days" for name, days in sources])
    return Alert(
        "stale_source", f"{noun} stale", (*lines, "launch refresh_<source>, or drop a newer version")
    )


def store_away(stores: Iterable[str]) -> Alert:
    """Stores that do not answer."""
    names = ", ".join(sorted(stores))
    return Alert("store_away", f"{names} does not answer", ("`python -m genomics_assets doctor` says more",))


def _some(subjects: Sequence[str]) -> tuple[str, ...]:
    more = len(subjects) - NAMED
    return (*subjects[:NAMED], *([f"and {more:,} more"] if more > 0 else []))
