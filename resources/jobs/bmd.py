"""The ledger of dose-response jobs: `bmd.jobs`."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from genomics_assets.jobs.states import BMD_WORDS, JobState
from resources.jobs.ledger import JobLedger
from resources.jobs.log_lines import LogLine
from resources.jobs.store import Closing, JobRequest
from resources.jobs.tables import JobTable

if TYPE_CHECKING:
    import psycopg


@dataclass(frozen=True)
class BmdRequest(JobRequest):
    """What a dose-response job is asked to do.

    Args:
        user_id: in `bmd.users`.
        job_type: for example BMD_ANALYSIS.
        project_id: in `bmd.bmd_projects`.
        parameters: everything else, as JSON.
    """

    user_id: int
    job_type: str
    project_id: int | None = None
    parameters: dict[str, Any] | None = None

    def columns(self) -> dict[str, Any]:
        """Values by column."""
        return dict(vars(self))


class BmdTable(JobTable):
    """`bmd.jobs`. Its `message` is the last thing that a job said; what it said before is in the run's log."""

    def id_of(self, run_key: str, attempt: int) -> str:
        """The id that an attempt has, as text."""
        return str(super().id_of(run_key, attempt))

    def append_log(
        self, connection: "psycopg.Connection[Any]", job_id: Any, lines: Sequence[LogLine]
    ) -> None:
        """Show the last line, and print all of them."""
        print_lines(lines)
        moved = connection.execute(
            "UPDATE bmd.jobs SET message = %s WHERE id = %s AND status = %s",
            (lines[-1].message.replace("\0", "\ufffd"), job_id, self.words.word(JobState.RUNNING)),
        )
        if moved.rowcount == 0:
            raise self.closed_meanwhile(job_id)

    def _outcome(self, closing: Closing) -> dict[str, Any]:
        if closing.ending is not None:
            error = closing.ending.to_json()
            return {"error_message": error["message"], "error": json.dumps(error)}
        return {"result_id": closing.result, "progress": 1.0}


class BmdJobs(JobLedger):
    """The ledger of dose-response jobs, in schema `bmd`; a job's result is the id of its `bmd_results` row."""

    @property
    def store(self) -> BmdTable:
        """The table `bmd.jobs`."""
        return BmdTable(self.postgres, "bmd", BMD_WORDS)


def print_lines(lines: Sequence[LogLine]) -> None:
    """Put lines where Dagster keeps what a step prints."""
    sys.stderr.write("".join(f"{line.level}: {line.message}\n" for line in lines))
