"""A store of jobs that is a table in Postgres; its trigger `guard_job_state` enforces the state machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from genomics_assets.jobs.identity import job_id
from genomics_assets.jobs.states import JobState, StateWords
from resources.jobs.log_lines import LogLine
from resources.jobs.store import Closing, JobClosedError, JobOrigin, JobRequest, StoredJob
from resources.postgres import PostgresResource

if TYPE_CHECKING:
    import psycopg

CLOSED_JOB = "JL001"


@dataclass(frozen=True)
class JobTable:
    """A table of jobs. Subclasses say what its own columns are.

    Beside `id`, `status` and the timestamps it has the columns `progress`, `phase`, `run_id`, `run_key`,
    `partition_key`, `attempt`, `rerun_of` and `worker`.
    """

    postgres: PostgresResource
    name: str
    words: StateWords

    def id_of(self, run_key: str, attempt: int) -> Any:
        """The id that an attempt has."""
        return job_id(self.name, run_key, attempt)

    def insert(
        self, job_id: Any, request: JobRequest, origin: JobOrigin, attempt: int, rerun_of: Any
    ) -> None:
        """A pending job; nothing happens where the id is taken."""
        from psycopg import sql

        values = {
            **_stored(request),
            "id": job_id,
            "status": self.words.pending,
            "run_key": origin.run_key,
            "run_id": origin.run_id,
            "partition_key": origin.partition_key,
            "attempt": attempt,
            "rerun_of": rerun_of,
        }
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT DO NOTHING").format(
            self._table,
            sql.SQL(", ").join(map(sql.Identifier, values)),
            sql.SQL(", ").join(sql.Placeholder() * len(values)),
        )
        with self.postgres.connection() as connection:
            connection.execute(statement, list(values.values()))

    def latest(self, run_key: str) -> StoredJob | None:
        """The last attempt with this key."""
        found = self._jobs("run_key = %s ORDER BY attempt DESC LIMIT 1", [run_key])
        return found[0] if found else None

    def open_jobs(self) -> list[StoredJob]:
        """Every job of this ledger that is pending or running, and every other that says it is running."""
        words = self.words
        return self._jobs(
            "status = %s OR (status = %s AND run_key IS NOT NULL)", [words.running, words.pending]
        )

    def start(self, job_id: Any, request: JobRequest, origin: JobOrigin, worker: str) -> bool:
        """From pending to running; False where the job was not pending."""
        values = {
            **_stored(request),
            "run_id": origin.run_id,
            "partition_key": origin.partition_key,
            "worker": worker,
        }
        known = {name: value for name, value in values.items() if value is not None}
        with self.postgres.connection() as connection:
            return self._move(connection, job_id, JobState.RUNNING, known, [JobState.PENDING])

    def note_progress(
        self, connection: psycopg.Connection[Any], job_id: Any, fraction: float | None, phase: str | None
    ) -> None:
        """How far a running job is; what is None stays as it is."""
        from psycopg import sql

        moved = connection.execute(
            sql.SQL(
                "UPDATE {} SET progress = coalesce(%s, progress), phase = coalesce(%s, phase) "
                "WHERE id = %s AND status = %s"
            ).format(self._table),
            (fraction, _text(phase), job_id, self.words.running),
        )
        if moved.rowcount == 0:
            raise self.closed_meanwhile(job_id)

    def last_line(self, connection: psycopg.Connection[Any], job_id: Any) -> int:
        """Number of the last line that is kept; here lines are not kept."""
        return 0

    def append_log(self, connection: psycopg.Connection[Any], job_id: Any, lines: Sequence[LogLine]) -> None:
        """Subclasses keep lines."""
        raise NotImplementedError

    def completing(self) -> AbstractContextManager[Any]:
        """The transaction in which results are written and the job is closed."""
        return self.postgres.connection()

    def close_in(self, transaction: Any, job_id: Any, closing: Closing) -> bool:
        """From running to closed, inside of `completing`; False where the job was not running."""
        return self._move(transaction, job_id, closing.state, self._outcome(closing), [JobState.RUNNING])

    def close(self, job_id: Any, closing: Closing, expected: Sequence[JobState]) -> bool:
        """Closes a job that is in one of the expected states; False where it is not."""
        with self.postgres.connection() as connection:
            return self._move(connection, job_id, closing.state, self._outcome(closing), expected)

    def closed_meanwhile(self, job_id: Any) -> JobClosedError:
        """What a worker is told whose job somebody else closed."""
        return JobClosedError(
            f"{self.name} job {job_id} was closed by somebody else; its worker must stop. Remedy: run it again."
        )

    def _outcome(self, closing: Closing) -> dict[str, Any]:
        """Values of the columns that say how a job ended."""
        raise NotImplementedError

    @property
    def _table(self) -> Any:
        from psycopg import sql

        return sql.Identifier(self.name, "jobs")

    def _move(
        self,
        connection: psycopg.Connection[Any],
        job_id: Any,
        state: JobState,
        values: dict[str, Any],
        expected: Sequence[JobState],
    ) -> bool:
        from psycopg import sql

        assignments = {"status": self.words.word(state), **values}
        moved = connection.execute(
            sql.SQL("UPDATE {} SET {} WHERE id = %s AND status = ANY(%s)").format(
                self._table,
                sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in assignments),
            ),
            [*assignments.values(), job_id, [self.words.word(e) for e in expected]],
        )
        return moved.rowcount == 1

    def _jobs(self, condition: str, parameters: list[Any]) -> list[StoredJob]:
        from psycopg import sql

        with self.postgres.connection() as connection:
            rows = connection.execute(
                sql.SQL(
                    "SELECT id, status, run_key, run_id, coalesce(attempt, 1), worker, "
                    "coalesce(extract(epoch FROM clock_timestamp() - created_at)::float8, 0) FROM {} WHERE {}"
                ).format(self._table, sql.SQL(condition)),
                parameters,
            ).fetchall()
        return [StoredJob(row[0], self.words.state(row[1]), *row[2:]) for row in rows]


def refusal_is_closed_job(error: psycopg.Error) -> bool:
    """Whether the database refused something because the job is closed."""
    return error.sqlstate == CLOSED_JOB


def _stored(request: JobRequest) -> dict[str, Any]:
    return {
        name: json.dumps(value) if isinstance(value, dict | list) else value
        for name, value in request.columns().items()
    }


def _text(phase: str | None) -> str | None:
    return None if phase is None else phase.replace("\0", "\ufffd")[:500]
