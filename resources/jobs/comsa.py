"""The ledger of verbal autopsy jobs: `comsa.jobs`, `comsa.job_logs` and `comsa.job_files`."""

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from genomics_assets.jobs.endings import JobEnding
from genomics_assets.jobs.states import COMSA_WORDS
from resources.jobs.keeper import JobKeeper
from resources.jobs.ledger import JobLedger, RunningJob
from resources.jobs.log_lines import LogLine, copy_lines
from resources.jobs.store import Closing, JobOrigin, JobRequest, StoredFile
from resources.jobs.tables import JobTable, refusal_is_closed_job
from resources.object_store import ObjectStoreResource

if TYPE_CHECKING:
    import psycopg

LONGEST_FILE_NAME = 200
_CHUNK = 1024 * 1024


@dataclass(frozen=True)
class ComsaRequest(JobRequest):
    """What a verbal autopsy job is asked to do.

    Args:
        type: `openva_only`, `vacalibration` or `pipeline`.
        algorithm: InterVA, InSilicoVA or EAVA; several are joined with commas.
        parameters: everything else, as JSON.
        owner: whose job it is.
    """

    type: str
    algorithm: str | None = None
    age_group: str | None = None
    country: str | None = None
    calib_model_type: str | None = None
    ensemble: bool = False
    parameters: dict[str, Any] | None = None
    owner: str | None = None

    def columns(self) -> dict[str, Any]:
        """Values by column."""
        return dict(vars(self))


class ComsaTable(JobTable):
    """`comsa.jobs` and its neighbours."""

    def append_log(
        self, connection: "psycopg.Connection[Any]", job_id: Any, lines: Sequence[LogLine]
    ) -> None:
        """Keep lines of a running job, in their order."""
        import psycopg

        try:
            copy_lines(connection, job_id, lines)
        except psycopg.errors.ForeignKeyViolation:
            raise self.closed_meanwhile(job_id) from None
        except psycopg.Error as error:
            if refusal_is_closed_job(error):
                raise self.closed_meanwhile(job_id) from None
            raise

    def last_line(self, connection: "psycopg.Connection[Any]", job_id: Any) -> int:
        """Number of the last line that is kept."""
        row = connection.execute(
            "SELECT coalesce(max(seq), 0) FROM comsa.job_logs WHERE job_id = %s", (job_id,)
        ).fetchone()
        return int(row[0]) if row else 0

    def close_in(self, transaction: Any, job_id: Any, closing: Closing) -> bool:
        """From running to closed, with the files that the job made."""
        for file in closing.files:
            self.add_file(transaction, job_id, file)
        return super().close_in(transaction, job_id, closing)

    def add_file(self, connection: "psycopg.Connection[Any]", job_id: Any, file: StoredFile) -> None:
        """Write, or write anew, the row of a file that is in the object store."""
        import psycopg

        try:
            connection.execute(
                """
                INSERT INTO comsa.job_files (job_id, file_type, file_name, file_path, file_size, sha256)
                VALUES (%s, %s, %s, %s, %s, %s)
                ON CONFLICT (job_id, file_type, file_name) DO UPDATE
                SET file_path = excluded.file_path, file_size = excluded.file_size, sha256 = excluded.sha256
                """,
                (job_id, file.file_type, file.file_name, file.key, file.size, file.sha256),
            )
        except psycopg.Error as error:
            if refusal_is_closed_job(error):
                raise self.closed_meanwhile(job_id) from None
            raise

    def _outcome(self, closing: Closing) -> dict[str, Any]:
        if closing.ending is not None:
            return {"error": json.dumps(closing.ending.to_json())}
        return {"result": json.dumps(closing.result or {}, allow_nan=False), "progress": 1.0}


class ComsaJob(RunningJob):
    """A verbal autopsy job that this process works on; `result` is the seed's result JSON, a dict."""

    def __init__(
        self, store: ComsaTable, job_id: Any, run_id: str, keeper: JobKeeper, objects: ObjectStoreResource
    ) -> None:
        super().__init__(store, job_id, run_id, keeper)
        self._comsa = store
        self._objects = objects

    def input(self, name: str, content: "bytes | str | os.PathLike[str]") -> str:
        """Keep what the job was given: the object first, then its row, at once.

        Args:
            name: the file's name.
            content: bytes, or the path of a local file.

        Returns:
            The object's key.
        """
        file = store_file(self._objects, self.id, "input", name, content)
        with self._comsa.postgres.connection() as connection:
            self._comsa.add_file(connection, self.id, file)
            connection.execute(
                "UPDATE comsa.jobs SET input_file_path = coalesce(input_file_path, %s) WHERE id = %s",
                (file.key, self.id),
            )
        return file.key

    def output(self, name: str, content: "bytes | str | os.PathLike[str]") -> str:
        """Keep what the job made: the object at once, its row when the job completes. A name again replaces.

        Args:
            name: the file's name.
            content: bytes, or the path of a local file.

        Returns:
            The object's key.
        """
        self._keeper.check()
        file = store_file(self._objects, self.id, "output", name, content)
        self._files = [other for other in self._files if other.file_name != name] + [file]
        return file.key

    def end(self, ending: JobEnding) -> None:
        """Close the job without a result, and remove what it made so far."""
        was_closed = self.closed
        super().end(ending)
        if not was_closed:
            for file in self._files:
                # A file that stays behind has no row: it is garbage, and not worth another error.
                with suppress(Exception):
                    self._objects.delete(file.key)


class ComsaJobs(JobLedger):
    """The ledger of verbal autopsy jobs, in schema `comsa`; their files are under `comsa/jobs/`."""

    objects: dg.ResourceDependency[ObjectStoreResource]

    @property
    def store(self) -> ComsaTable:
        """The table `comsa.jobs`."""
        return ComsaTable(self.postgres, "comsa", COMSA_WORDS)

    def open_with_input(self, request: ComsaRequest, origin: JobOrigin, name: str, content: Any) -> Any:
        """Open a pending job and keep what it was given; see `open` and `ComsaJob.input`."""
        job_id = self.open(request, origin)
        file = store_file(self.objects, job_id, "input", name, content)
        with self.postgres.connection() as connection:
            self.store.add_file(connection, job_id, file)
        return job_id

    def _running_job(self, job_id: Any, run_id: str, keeper: JobKeeper) -> ComsaJob:
        return ComsaJob(self.store, job_id, run_id, keeper, self.objects)


def file_key(job_id: Any, file_type: str, name: str) -> str:
    """Where a file of a job is in the object store.

    Raises:
        ValueError: the name is not that of a file.
    """
    if not name or "/" in name or name in (".", "..") or len(name.encode()) > LONGEST_FILE_NAME:
        raise ValueError(
            f"{name!r} cannot name a file of a job. Remedy: at most {LONGEST_FILE_NAME} bytes, without '/'."
        )
    return f"comsa/jobs/{job_id}/{file_type}/{name}"


def store_file(
    objects: ObjectStoreResource,
    job_id: Any,
    file_type: str,
    name: str,
    content: "bytes | str | os.PathLike[str]",
) -> StoredFile:
    """Put a file of a job into the object store, and say what a row must know of it."""
    key = file_key(job_id, file_type, name)
    digest, size = hashlib.sha256(), 0
    with objects.create(key) as target, target.open("wb") as sink:
        for chunk in _chunks(content):
            sink.write(chunk)
            digest.update(chunk)
            size += len(chunk)
    return StoredFile(file_type, name, key, size, digest.hexdigest())


def _chunks(content: "bytes | str | os.PathLike[str]") -> "Any":
    if isinstance(content, bytes):
        yield content
        return
    with Path(content).open("rb") as source:
        while chunk := source.read(_CHUNK):
            yield chunk
