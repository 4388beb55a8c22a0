"""The ledger of association jobs: the collection `gwas_jobs` in MongoDB.

MongoDB has no triggers and, on a single server, no transactions: every step is one update that names the states it may
start from. Results are written first, under natural keys; the job is completed after them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from genomics_assets.jobs.identity import short_job_id
from genomics_assets.jobs.states import GWAS_WORDS, JobState
from resources.jobs.bmd import print_lines
from resources.jobs.ledger import JobLedger
from resources.jobs.log_lines import LogLine
from resources.jobs.store import Closing, JobClosedError, JobOrigin, JobRequest, StoredJob
from resources.mongo import MongoResource

if TYPE_CHECKING:
    import psycopg

COLLECTION = "gwas_jobs"


@dataclass(frozen=True)
class GwasRequest(JobRequest):
    """What an association job is asked to do.

    Args:
        user_id: whose job it is.
        dataset_id: in `gwas_datasets`.
        analysis_type: for example linear.
        parameters: the seed's nested document.
    """

    user_id: Any
    dataset_id: Any
    analysis_type: str
    parameters: dict[str, Any] | None = None

    def columns(self) -> dict[str, Any]:
        """Values by field."""
        return dict(vars(self))


class GwasCollection:
    """`gwas_jobs`: documents as `genomics_assets.zygotrix.models.GwasJob` describes them.

    Progress is in per cent and `error` is text, as the Zygotrix application reads them.
    """

    name = "gwas"
    words = GWAS_WORDS

    def __init__(self, mongo: MongoResource) -> None:
        self._mongo = mongo

    def id_of(self, run_key: str, attempt: int) -> Any:
        """The id that an attempt has, an ObjectId."""
        from bson import ObjectId

        return ObjectId(short_job_id(self.name, run_key, attempt))

    def insert(
        self, job_id: Any, request: JobRequest, origin: JobOrigin, attempt: int, rerun_of: Any
    ) -> None:
        """A pending job; nothing happens where the id is taken."""
        from pymongo.errors import DuplicateKeyError

        document = {
            **{name: value for name, value in request.columns().items() if value is not None},
            "status": self.words.pending,
            "created_at": _now(),
            "started_at": None,
            "completed_at": None,
            "error": None,
            "error_kind": None,
            "result_id": None,
            "progress": 0.0,
            "phase": None,
            "run_key": origin.run_key,
            "run_id": origin.run_id,
            "partition_key": origin.partition_key,
            "attempt": attempt,
            "rerun_of": rerun_of,
        }
        # Not an upsert: the embedded server would make text of the id.
        with suppress(DuplicateKeyError):
            self._jobs.insert_one({"_id": job_id, **document})

    def latest(self, run_key: str) -> StoredJob | None:
        """The last attempt with this key."""
        found = list(self._jobs.find({"run_key": run_key}).sort([("attempt", -1)]).limit(1))
        return self._stored(found[0]) if found else None

    def start(self, job_id: Any, request: JobRequest, origin: JobOrigin, worker: str) -> bool:
        """From pending to running; False where the job was not pending."""
        known = {name: value for name, value in request.columns().items() if value is not None}
        return self._move(
            job_id,
            JobState.RUNNING,
            {
                **known,
                "run_id": origin.run_id,
                "partition_key": origin.partition_key,
                "worker": worker,
            },
            [JobState.PENDING],
            stamp="started_at",
        )

    def note_progress(
        self, connection: "psycopg.Connection[Any]", job_id: Any, fraction: float | None, phase: str | None
    ) -> None:
        """How far a running job is; what is None stays as it is."""
        percent = None if fraction is None else 100 * fraction
        noted = {name: v for name, v in (("progress", percent), ("phase", phase)) if v is not None}
        if noted and not self._update(job_id, {"$set": noted}, [JobState.RUNNING]):
            raise _closed_meanwhile(job_id)

    def append_log(
        self, connection: "psycopg.Connection[Any]", job_id: Any, lines: Sequence[LogLine]
    ) -> None:
        """Print the lines; the collection keeps none."""
        print_lines(lines)

    def last_line(self, connection: "psycopg.Connection[Any]", job_id: Any) -> int:
        """Lines are not kept."""
        return 0

    @contextmanager
    def completing(self) -> Iterator[Any]:
        """The database; results are there from the moment they are written."""
        yield self._mongo.database()

    def close_in(self, transaction: Any, job_id: Any, closing: Closing) -> bool:
        """From running to closed, after the results."""
        return self.close(job_id, closing, [JobState.RUNNING])

    def close(self, job_id: Any, closing: Closing, expected: Sequence[JobState]) -> bool:
        """Closes a job that is in one of the expected states; False where it is not."""
        if closing.ending is None:
            values: dict[str, Any] = {"result_id": closing.result, "progress": 100.0}
        else:
            ending = closing.ending.to_json()
            values = {"error": ending["message"], "error_kind": ending["kind"]}
        return self._move(job_id, closing.state, values, expected, stamp="completed_at")

    def open_jobs(self) -> list[StoredJob]:
        """Every job of this ledger that is pending or running, and every other that says it is running."""
        wanted = [
            {"status": self.words.running},
            {"status": self.words.pending, "run_key": {"$ne": None}},
        ]
        return [self._stored(document) for document in self._jobs.find({"$or": wanted})]

    def _move(
        self, job_id: Any, state: JobState, values: dict[str, Any], expected: Sequence[JobState], stamp: str
    ) -> bool:
        # The server's clock; and the embedded server keeps a date only where it made it itself.
        changes = {
            "$set": {"status": self.words.word(state), **values},
            "$currentDate": {stamp: {"$type": "date"}},
        }
        return self._update(job_id, changes, expected)

    def _update(self, job_id: Any, changes: dict[str, Any], expected: Sequence[JobState]) -> bool:
        allowed = [self.words.word(state) for state in expected]
        done = self._jobs.update_one({"_id": job_id, "status": {"$in": allowed}}, changes)
        return bool(done.matched_count == 1)

    @property
    def _jobs(self) -> Any:
        return self._mongo.database()[COLLECTION]

    def _stored(self, document: dict[str, Any]) -> StoredJob:
        created = document.get("created_at")
        return StoredJob(
            document["_id"],
            self.words.state(document["status"]),
            document.get("run_key"),
            document.get("run_id"),
            document.get("attempt") or 1,
            document.get("worker"),
            (_now() - created).total_seconds() if created else 0.0,
        )


class GwasJobs(JobLedger):
    """The ledger of association jobs; a job's result is the id of its `gwas_results` document.

    Who works on a job shows in Postgres, as for all ledgers.
    """

    mongo: dg.ResourceDependency[MongoResource]

    @property
    def store(self) -> GwasCollection:
        """The collection `gwas_jobs`."""
        return GwasCollection(self.mongo)


def _now() -> datetime:
    return datetime.now(UTC)


def _closed_meanwhile(job_id: Any) -> JobClosedError:
    return JobClosedError(
        f"gwas job {job_id} was closed by somebody else; its worker must stop. Remedy: run it again."
    )
