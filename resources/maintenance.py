"""Keeping the database small and its statistics true: pruning Dagster's event log, and VACUUM.

Dagster 1.13 has no retention of its own for the event log, and deleting a run forgets which partitions it
materialized. So events are pruned by their kind: what assets and checks have been through stays for ever, the
chatter of finished runs goes.
"""

import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources.postgres import PostgresResource

if TYPE_CHECKING:
    import psycopg

KEPT_EVENTS = [r"ASSET\_%", r"FRESHNESS\_STATE\_CHANGE"]
"""LIKE patterns of the event types that are history of assets and checks, and are never pruned."""

ENDED_STATUSES = ["SUCCESS", "FAILURE", "CANCELED"]
BATCH_ROWS = 10_000


class MaintenanceError(RuntimeError):
    """Some of the work could not be done; the message says which and why."""


@dataclass(frozen=True)
class PruneReport:
    """What pruning did to the event log; sizes in bytes, with indexes.

    PostgreSQL gives freed room to new rows before the file grows again, so a size seldom falls.
    """

    found: bool
    removed: int = 0
    kept: int = 0
    size_before: int = 0
    size_after: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class CompactedTable:
    """One table after VACUUM (ANALYZE); sizes in bytes, with indexes and partitions."""

    name: str
    rows: int
    size_before: int
    size_after: int
    seconds: float


def prune_event_log(
    postgres: PostgresResource, keep_days: int, *, schema: str = "dagster", batch_rows: int = BATCH_ROWS
) -> PruneReport:
    """Removes events older than `keep_days` of runs that ended before then.

    The history of assets, checks and freshness stays, and with it each partition's status. Run status
    events go too: a sensor on them must not be off for longer than `keep_days`. Rows go in batches, each
    committed by itself, so that an interrupted run loses nothing and holds no lock for long. Two runs at once
    do no harm.

    Raises:
        ValueError: `keep_days` is below 1, or `batch_rows` below 1.
    """
    if keep_days < 1 or batch_rows < 1:
        raise ValueError(
            f"keep_days {keep_days} and batch_rows {batch_rows} must be at least 1. Remedy: keep a day or "
            "more, so that runs that just ended keep their log."
        )
    started = time.monotonic()
    table = f"{schema}.event_logs"
    with postgres.connection() as connection:
        if not _exists(connection, schema, "event_logs") or not _exists(connection, schema, "runs"):
            return PruneReport(found=False)
        before = _size(connection, table)
        oldest_kept = _cutoff(connection, keep_days)
    removed, last_id = 0, 0
    while True:
        with postgres.connection() as connection:
            batch = _delete_batch(connection, schema, oldest_kept, last_id, batch_rows)
        removed += batch.removed
        if batch.last_id is None:
            break
        last_id = batch.last_id
    with postgres.connection(autocommit=True, statement_timeout=0) as connection:
        if removed:
            _vacuum(connection, schema, "event_logs")
        kept = _scalar(connection, schema, "SELECT count(*) FROM {}.event_logs")
        after = _size(connection, table)
    return PruneReport(True, removed, kept, before, after, time.monotonic() - started)


def prune_compute_logs(folder: Path, keep_days: int) -> int:
    """Removes what steps printed, of runs that wrote nothing for `keep_days`; returns how many runs that were.

    Args:
        folder: where Dagster's local compute logs are, one folder for each run.
        keep_days: days since a run's last line.

    Raises:
        ValueError: `keep_days` is below 1.
    """
    if keep_days < 1:
        raise ValueError(f"keep_days {keep_days} must be at least 1. Remedy: keep a day or more.")
    oldest_kept = time.time() - keep_days * 86400
    removed = 0
    for logs in folder.glob("*/compute_logs"):
        with suppress(FileNotFoundError):
            newest = max((file.stat().st_mtime for file in logs.rglob("*")), default=logs.stat().st_mtime)
            if newest >= oldest_kept:
                continue
            shutil.rmtree(logs)
            removed += 1
            with suppress(OSError):  # it still holds what the run's steps handed on
                logs.parent.rmdir()
    return removed


def compact(postgres: PostgresResource, *, schema: str = "genomics") -> list[CompactedTable]:
    """Runs VACUUM (ANALYZE) on each table of a schema, partitioned ones as a whole; readers and loads go on.

    Raises:
        MaintenanceError: a table could not be compacted; the others were.
    """
    done, failed = [], []
    for table in _tables(postgres, schema):
        try:
            done.append(_compact_table(postgres, schema, table))
        except _database_error() as error:
            failed.append(f"{schema}.{table} ({str(error).strip().splitlines()[0]})")
    if failed:
        raise MaintenanceError(
            f"{len(done)} tables compacted, {len(failed)} not: {'; '.join(failed)}. Remedy: see whether a "
            "migration or another VACUUM holds the table (pg_locks), then run the job again."
        )
    return done


def _tables(postgres: PostgresResource, schema: str) -> list[str]:
    with postgres.connection() as connection:
        rows = connection.execute(
            """
            SELECT c.relname
            FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
            WHERE n.nspname = %s AND c.relkind IN ('r', 'm', 'p') AND NOT c.relispartition
            ORDER BY c.relname
            """,
            (schema,),
        ).fetchall()
    return [row[0] for row in rows]


def _compact_table(postgres: PostgresResource, schema: str, table: str) -> CompactedTable:
    from psycopg import sql

    name = f"{schema}.{table}"
    started = time.monotonic()
    with postgres.connection(autocommit=True, statement_timeout=0) as connection:
        quoted = sql.Identifier(schema, table).as_string(connection)
        before = _size(connection, quoted)
        _vacuum(connection, schema, table)
        rows = connection.execute(
            """
            SELECT coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint
            FROM pg_catalog.pg_class AS c
            WHERE c.relkind IN ('r', 'm')
              AND (c.oid = %(name)s::regclass
                   OR c.oid IN (SELECT relid FROM pg_partition_tree(%(name)s::regclass)))
            """,
            {"name": quoted},
        ).fetchone()
        after = _size(connection, quoted)
    return CompactedTable(name, rows[0] if rows else 0, before, after, time.monotonic() - started)


@dataclass(frozen=True)
class _Batch:
    """One step of pruning; `last_id` is None when nothing was left to look at."""

    removed: int
    last_id: int | None


def _delete_batch(
    connection: "psycopg.Connection[Any]", schema: str, oldest_kept: Any, last_id: int, batch_rows: int
) -> _Batch:
    """Removes the next prunable events after `last_id`."""
    from psycopg import sql

    row = connection.execute(
        sql.SQL(
            """
            WITH prunable AS (
                SELECT e.id
                FROM {schema}.event_logs AS e
                WHERE e.id > %(last_id)s
                  AND e."timestamp" < %(oldest_kept)s
                  AND NOT coalesce(e.dagster_event_type, '') LIKE ANY (%(kept)s)
                  AND NOT EXISTS (
                      SELECT FROM {schema}.runs AS r
                      WHERE r.run_id = e.run_id
                        AND (r.status <> ALL (%(ended)s)
                             OR greatest(to_timestamp(r.end_time) AT TIME ZONE 'UTC', r.update_timestamp)
                                >= %(oldest_kept)s))
                ORDER BY e.id
                LIMIT %(batch_rows)s
            ), gone AS (
                DELETE FROM {schema}.event_logs AS e USING prunable WHERE e.id = prunable.id RETURNING e.id
            )
            SELECT (SELECT count(*) FROM gone), max(id) FROM prunable
            """
        ).format(schema=sql.Identifier(schema)),
        {
            "last_id": last_id,
            "oldest_kept": oldest_kept,
            "kept": KEPT_EVENTS,
            "ended": ENDED_STATUSES,
            "batch_rows": batch_rows,
        },
    ).fetchone()
    return _Batch(*row) if row else _Batch(0, None)


def _vacuum(connection: "psycopg.Connection[Any]", schema: str, table: str) -> None:
    """VACUUM (ANALYZE), and the server's warnings as errors: it only warns when it may not touch a table."""
    import psycopg
    from psycopg import sql

    warnings: list[str] = []

    def keep(notice: psycopg.errors.Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING":
            warnings.append(notice.message_primary or "")

    connection.add_notice_handler(keep)
    try:
        connection.execute(sql.SQL("VACUUM (ANALYZE) {}").format(sql.Identifier(schema, table)))
    finally:
        connection.remove_notice_handler(keep)
    if warnings:
        raise psycopg.OperationalError(warnings[0])


def _database_error() -> type[Exception]:
    import psycopg

    return psycopg.Error


def _exists(connection: "psycopg.Connection[Any]", schema: str, table: str) -> bool:
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_tables WHERE schemaname = %s AND tablename = %s)",
        (schema, table),
    ).fetchone()
    return bool(row and row[0])


def _cutoff(connection: "psycopg.Connection[Any]", keep_days: int) -> Any:
    """The oldest moment that is kept, in UTC without a time zone, as Dagster's columns are."""
    row = connection.execute(
        "SELECT (now() - make_interval(days => %s)) AT TIME ZONE 'UTC'", (keep_days,)
    ).fetchone()
    return row[0] if row else None


def _scalar(connection: "psycopg.Connection[Any]", schema: str, query: str) -> int:
    from psycopg import sql

    row = connection.execute(sql.SQL(query).format(sql.Identifier(schema))).fetchone()
    return int(row[0]) if row else 0


def _size(connection: "psycopg.Connection[Any]", table: str) -> int:
    """Bytes of a table with its indexes and partitions; `table` is a quoted, qualified name."""
    row = connection.execute(
        """
        SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint
        FROM (SELECT %(table)s::regclass AS oid
              UNION SELECT relid FROM pg_partition_tree(%(table)s::regclass)) AS parts
        """,
        {"table": table},
    ).fetchone()
    return int(row[0]) if row else 0
