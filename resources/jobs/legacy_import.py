"""Takes jobs of the file-based system over into the COMSA ledger: rows, log lines, and objects for their files.

A job is taken over whole or not at all, and a second time changes nothing: the ledger knows the JSON that a job came
from by its hash, and each file by its own. Files go into the object store first, rows second.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, tzinfo
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genomics_assets.drops import storable
from genomics_assets.jobs.legacy import (
    BrokenJobError,
    FileOutcome,
    FileReport,
    LegacyFile,
    LegacyJob,
    LegacyTree,
    read_job,
    sort_tree,
)
from resources.jobs.comsa import ComsaJobs, file_key, store_file
from resources.jobs.log_lines import LogLine, copy_lines
from resources.jobs.store import StoredFile

if TYPE_CHECKING:
    import psycopg

JOBS_A_TRANSACTION = 100
# Most of a small object is waiting for the disk, or for S3.
THREADS = 8


@dataclass(frozen=True)
class _Known:
    """What the ledger holds of a job already."""

    legacy_sha256: str | None
    files: Mapping[tuple[str, str], StoredFile]


@dataclass(frozen=True)
class _Taken:
    """A file that is in the object store now; `is_new` unless it was there before, with its row."""

    file: LegacyFile
    stored: StoredFile
    is_new: bool


def import_tree(
    ledger: ComsaJobs, root: Path, paths: Sequence[str], *, zone: tzinfo = UTC
) -> list[FileReport]:
    """Take over every job that can be taken, and say of every file what became of it.

    Args:
        ledger: takes the jobs.
        root: the tree.
        paths: of its files, below the root.
        zone: of the times that its jobs hold.

    Returns:
        One report for each path, and one for each output that a job names and that is not there.
    """
    tree = sort_tree(paths)
    reports = [
        FileReport(storable(path), FileOutcome.MISPLACED, reason=reason)
        for path, reason in tree.misplaced.items()
    ]
    orphans = [file for name, files in tree.files.items() if name not in tree.jobs for file in files]
    reports += [
        FileReport(storable(file.path), FileOutcome.NO_JOB, reason="no jobs/{id}.json") for file in orphans
    ]
    names = iter(sorted(tree.jobs))
    with ThreadPoolExecutor(THREADS) as pool:
        while batch := list(islice(names, JOBS_A_TRANSACTION)):
            reports += _Batch(ledger, root, tree, zone, pool).take(batch)
    return sorted(reports, key=lambda report: report.path)


class _Batch:
    """Some jobs, taken over in one transaction."""

    def __init__(
        self, ledger: ComsaJobs, root: Path, tree: LegacyTree, zone: tzinfo, pool: ThreadPoolExecutor
    ) -> None:
        self._ledger = ledger
        self._root = root
        self._tree = tree
        self._zone = zone
        self._pool = pool

    def take(self, names: Sequence[str]) -> Iterator[FileReport]:
        jobs: list[tuple[str, LegacyJob]] = []
        for name in names:
            try:
                path = self._tree.jobs[name]
                jobs.append((name, read_job(self._root / path, name, relative=path, zone=self._zone)))
            except BrokenJobError as error:
                yield from self._refuse(name, FileOutcome.BROKEN_JOB, str(error))
            except OSError as error:
                yield from self._refuse(name, FileOutcome.UNREADABLE, error.strerror or "cannot be read")
        with self._ledger.postgres.connection(statement_timeout=0) as connection:
            known = _known_jobs(connection, [job.id for _, job in jobs])
            for name, job in jobs:
                yield from self._take_job(connection, name, job, known.get(job.id))

    def _take_job(
        self, connection: psycopg.Connection[Any], name: str, job: LegacyJob, known: _Known | None
    ) -> Iterator[FileReport]:
        import psycopg

        if known is not None and known.legacy_sha256 is None:
            reason = "the ledger has another job of this id"
            yield from self._refuse(name, FileOutcome.CONFLICT, reason)
            return
        found = list(
            self._pool.map(lambda file: self._take_file(job, file, known), self._tree.files.get(name, ()))
        )
        taken = [item for item in found if isinstance(item, _Taken)]
        changed = known is None or known.legacy_sha256 != job.sha256
        try:
            with connection.transaction():
                if changed:
                    _write_job(connection, job, known)
                for item in taken:
                    if changed or item.is_new:
                        self._ledger.store.add_file(connection, job.id, item.stored)
        except psycopg.DatabaseError as error:
            if isinstance(error, psycopg.OperationalError):
                raise
            yield from self._refuse(
                name, FileOutcome.BROKEN_JOB, f"PostgreSQL refuses it ({type(error).__name__})"
            )
            return
        yield self._report(job.path, FileOutcome.MIGRATED if changed else FileOutcome.UNCHANGED, job)
        for result in found:
            yield result if isinstance(result, FileReport) else _file_report(job, result)
        yield from self._missing(name, job, known)

    def _take_file(self, job: LegacyJob, file: LegacyFile, known: _Known | None) -> _Taken | FileReport:
        """Put a file into the object store, unless it is there."""
        name = storable(file.name)
        try:
            size, digest = _digest(self._root / file.path)
            key = file_key(job.id, file.file_type, name)
            stored = StoredFile(file.file_type, name, key, size, digest)
            is_known = known is not None and known.files.get((file.file_type, name)) == stored
            if not is_known or not self._ledger.objects.exists(key):
                stored = store_file(
                    self._ledger.objects, job.id, file.file_type, name, self._root / file.path
                )
            return _Taken(file, stored, is_new=not is_known)
        except ValueError as error:
            return FileReport(storable(file.path), FileOutcome.MISPLACED, str(job.id), str(error))
        except OSError as error:
            reason = error.strerror or "cannot be read"
            return FileReport(storable(file.path), FileOutcome.UNREADABLE, str(job.id), reason)

    def _missing(self, name: str, job: LegacyJob, known: _Known | None) -> Iterator[FileReport]:
        """Outputs that a job names and that are nowhere."""
        there = {file.name for file in self._tree.files.get(name, ()) if file.file_type == "output"}
        there |= {file for kind, file in (known.files if known else ()) if kind == "output"}
        for output in job.named_outputs:
            if output not in there:
                path = storable(f"outputs/{name}/{output}")
                yield FileReport(path, FileOutcome.MISSING, str(job.id), "the job's result names it")

    def _refuse(self, name: str, outcome: FileOutcome, reason: str) -> Iterator[FileReport]:
        """A job that is not taken, and its files with it."""
        yield FileReport(storable(self._tree.jobs[name]), outcome, storable(name), reason)
        for file in self._tree.files.get(name, ()):
            yield FileReport(storable(file.path), FileOutcome.NO_JOB, storable(name), f"its job: {outcome}")

    def _report(self, path: str, outcome: FileOutcome, job: LegacyJob) -> FileReport:
        return FileReport(storable(path), outcome, str(job.id), size=job.size, sha256=job.sha256)


def _known_jobs(connection: psycopg.Connection[Any], ids: Sequence[Any]) -> dict[Any, _Known]:
    known: dict[Any, tuple[str | None, dict[tuple[str, str], StoredFile]]] = {
        row[0]: (row[1], {})
        for row in connection.execute(
            "SELECT id, legacy_sha256 FROM comsa.jobs WHERE id = ANY(%s)", (list(ids),)
        )
    }
    rows = connection.execute(
        "SELECT job_id, file_type, file_name, file_path, file_size, sha256 FROM comsa.job_files WHERE job_id = ANY(%s)",
        (list(ids),),
    )
    for job_id, *file in rows:
        known[job_id][1][(file[0], file[1])] = StoredFile(*file)
    return {job_id: _Known(digest, files) for job_id, (digest, files) in known.items()}


def _write_job(connection: psycopg.Connection[Any], job: LegacyJob, known: _Known | None) -> None:
    """Write a job and its log; in place of what an older version of its JSON said, whose files stay."""
    from psycopg import sql

    connection.execute("DELETE FROM comsa.jobs WHERE id = %s", (job.id,))
    values = {
        **{
            name: json.dumps(value, allow_nan=False) if isinstance(value, dict) else value
            for name, value in job.columns.items()
        },
        "legacy_sha256": job.sha256,
    }
    connection.execute(
        sql.SQL("INSERT INTO comsa.jobs ({}) VALUES ({})").format(
            sql.SQL(", ").join(map(sql.Identifier, values)),
            sql.SQL(", ").join(sql.Placeholder() * len(values)),
        ),
        list(values.values()),
    )
    lines = [
        LogLine(seq, line.timestamp.timestamp(), "info", line.message)
        for seq, line in enumerate(job.log, start=1)
    ]
    if lines:
        copy_lines(connection, job.id, lines)
    for file in known.files.values() if known else ():
        connection.execute(
            "INSERT INTO comsa.job_files (job_id, file_type, file_name, file_path, file_size, sha256) "
            "VALUES (%s, %s, %s, %s, %s, %s)",
            (job.id, file.file_type, file.file_name, file.key, file.size, file.sha256),
        )


def _file_report(job: LegacyJob, item: _Taken) -> FileReport:
    outcome = FileOutcome.MIGRATED if item.is_new else FileOutcome.UNCHANGED
    stored = item.stored
    return FileReport(storable(item.file.path), outcome, str(job.id), size=stored.size, sha256=stored.sha256)


def _digest(path: Path) -> tuple[int, str]:
    with path.open("rb") as source:
        digest = hashlib.file_digest(source, "sha256")
        return source.tell(), digest.hexdigest()


def without_backing(ledger: ComsaJobs, reports: Sequence[FileReport]) -> list[str]:
    """Paths of files that were taken over, and for which the row or the object is not there."""
    taken = [report for report in reports if report.outcome in (FileOutcome.MIGRATED, FileOutcome.UNCHANGED)]
    with ledger.postgres.connection() as connection:
        jobs = dict(
            connection.execute(
                "SELECT id::text, legacy_sha256 FROM comsa.jobs WHERE legacy_sha256 IS NOT NULL"
            )
        )
        rows = connection.execute("SELECT job_id::text, sha256, file_path, file_size FROM comsa.job_files")
        keys = {(job_id, digest, size): key for job_id, digest, key, size in rows}

    def is_backed(report: FileReport) -> bool:
        if report.path.startswith("jobs/"):
            return report.job_id is not None and jobs.get(report.job_id) == report.sha256
        key = keys.get((report.job_id, report.sha256, report.size))
        return key is not None and ledger.objects.exists(key) and ledger.objects.size(key) == report.size

    with ThreadPoolExecutor(THREADS) as pool:
        backed = list(pool.map(is_backed, taken))
    return [report.path for report, is_there in zip(taken, backed, strict=True) if not is_there]
