"""The schema that users of the COMSA dashboard's database know: its tables, and its queries unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from comsa_queries import (
    JOB_WITH_FILES,
    JOB_WITH_LOGS,
    JOBS_BY_ALGORITHM,
    JOBS_BY_STATUS,
    RECENT_FAILURES,
    RECENT_JOBS,
)

# name, type, longest text, nullable, default
Column = tuple[str, str, int | None, str, str | None]
COLUMNS: dict[str, list[Column]] = {
    "jobs": [
        ("id", "uuid", None, "NO", "uuid_generate_v4()"),
        ("type", "character varying", 50, "NO", None),
        ("status", "character varying", 20, "NO", "'pending'::character varying"),
        ("algorithm", "character varying", 50, "YES", None),
        ("age_group", "character varying", 50, "YES", None),
        ("country", "character varying", 100, "YES", None),
        ("calib_model_type", "character varying", 50, "YES", None),
        ("ensemble", "boolean", None, "YES", "false"),
        ("created_at", "timestamp with time zone", None, "NO", "now()"),
        ("started_at", "timestamp with time zone", None, "YES", None),
        ("completed_at", "timestamp with time zone", None, "YES", None),
        ("error", "jsonb", None, "YES", "'{}'::jsonb"),
        ("result", "jsonb", None, "YES", "'{}'::jsonb"),
        ("input_file_path", "text", None, "YES", None),
    ],
    "job_logs": [
        ("id", "integer", None, "NO", "nextval('job_logs_id_seq'::regclass)"),
        ("job_id", "uuid", None, "NO", None),
        ("timestamp", "timestamp with time zone", None, "NO", "now()"),
        ("message", "text", None, "NO", None),
    ],
    "job_files": [
        ("id", "integer", None, "NO", "nextval('job_files_id_seq'::regclass)"),
        ("job_id", "uuid", None, "NO", None),
        ("file_type", "character varying", 20, "NO", None),
        ("file_name", "character varying", 255, "NO", None),
        ("file_path", "text", None, "NO", None),
        ("file_size", "bigint", None, "YES", None),
        ("created_at", "timestamp with time zone", None, "NO", "now()"),
    ],
}
INDEXES = {
    "jobs_pkey": "(id)",
    "idx_jobs_status": "(status)",
    "idx_jobs_created_at": "(created_at DESC)",
    "idx_jobs_algorithm": "(algorithm)",
    "idx_jobs_country": "(country)",
    "job_logs_pkey": "(id)",
    "idx_job_logs_job_id": "(job_id, \"timestamp\")",
    "job_files_pkey": "(id)",
    "idx_job_files_job_id": "(job_id)",
    "idx_job_files_type": "(job_id, file_type)",
}  # fmt: skip


@pytest.fixture(scope="module")
def connection(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    """As a user of the old database connects: the schema on the search path, nothing else."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("SET search_path = comsa")
        yield connection


@pytest.fixture(scope="module")
def jobs(connection: psycopg.Connection[Any]) -> list[str]:
    """A job of each kind, written by SQL alone, as other programs do."""
    ids = []
    for status, algorithm in (
        ("completed", "InterVA"),
        ("completed", "InterVA"),
        ("failed", "EAVA"),
        ("pending", None),
    ):
        [(job_id,)] = connection.execute(
            "INSERT INTO jobs (type, status, algorithm, country, started_at, completed_at, error) "
            "VALUES ('pipeline', %s, %s, 'Mozambique', now(), now() + interval '90 seconds', %s) RETURNING id::text",
            (status, algorithm, '{"message": "no deaths"}' if status == "failed" else "{}"),
        ).fetchall()
        connection.execute(
            "INSERT INTO job_logs (job_id, message) VALUES (%s, 'one'), (%s, 'two')", [job_id] * 2
        )
        connection.execute(
            "INSERT INTO job_files (job_id, file_type, file_name, file_path, file_size) "
            "VALUES (%s, 'input', 'input.csv', 'a/input.csv', 7)",
            (job_id,),
        )
        ids.append(job_id)
    return ids


@pytest.mark.parametrize("table", COLUMNS)
def test_columns_are_the_seeds_and_additions_may_be_left_out(
    connection: psycopg.Connection[Any], table: str
) -> None:
    found = connection.execute(
        "SELECT column_name, data_type, character_maximum_length, is_nullable, column_default "
        "FROM information_schema.columns WHERE table_schema = 'comsa' AND table_name = %s ORDER BY ordinal_position",
        (table,),
    ).fetchall()
    known = len(COLUMNS[table])
    assert found[:known] == COLUMNS[table]
    assert {(column[3], column[4]) for column in found[known:]} == {("YES", None)}


@pytest.mark.parametrize(("name", "columns"), INDEXES.items())
def test_indexes_are_the_seeds(connection: psycopg.Connection[Any], name: str, columns: str) -> None:
    [(definition,)] = connection.execute(
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'comsa' AND indexname = %s", (name,)
    ).fetchall()
    assert definition.endswith(f"USING btree {columns}")


@pytest.mark.parametrize(
    ("constraint", "words"),
    [
        ("valid_status", {"pending", "running", "completed", "failed"}),
        ("valid_file_type", {"input", "output"}),
    ],
)
def test_checks_admit_exactly_the_seeds_words(
    connection: psycopg.Connection[Any], constraint: str, words: set[str]
) -> None:
    import re

    [(clause,)] = connection.execute(
        "SELECT check_clause FROM information_schema.check_constraints "
        "WHERE constraint_schema = 'comsa' AND constraint_name = %s",
        (constraint,),
    ).fetchall()
    assert set(re.findall(r"'(\w+)'", clause)) == words


def test_a_job_takes_its_lines_and_files_with_it(
    connection: psycopg.Connection[Any], jobs: list[str]
) -> None:
    with connection.transaction(force_rollback=True):
        connection.execute("DELETE FROM jobs WHERE id = %s", (jobs[0],))
        for table in ("job_logs", "job_files"):
            left = connection.execute(
                f"SELECT count(*) FROM {table} WHERE job_id = %s", (jobs[0],)
            ).fetchone()  # type: ignore[arg-type]
            assert left == (0,)


def test_a_new_job_is_pending_with_an_id_of_its_own(connection: psycopg.Connection[Any]) -> None:
    with connection.transaction(force_rollback=True):
        made = connection.execute(
            "INSERT INTO jobs (type) VALUES ('pipeline'), ('pipeline') RETURNING id, status, error, result, ensemble"
        ).fetchall()
    assert made[0][0] != made[1][0]
    assert [row[1:] for row in made] == [("pending", {}, {}, False)] * 2


# -- the seed's common queries -----------------------------------------------------------------------------------------


def rows(connection: psycopg.Connection[Any], query: str, job_id: str = "") -> list[dict[str, Any]]:
    with connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        return cursor.execute(query.replace("YOUR-JOB-ID", job_id)).fetchall()  # type: ignore[arg-type]


def test_recent_jobs(connection: psycopg.Connection[Any], jobs: list[str]) -> None:
    found = rows(connection, RECENT_JOBS)
    assert [str(row["id"]) for row in found] == jobs[::-1]
    assert {row["duration"].total_seconds() for row in found} == {90.0}


def test_a_job_with_its_logs(connection: psycopg.Connection[Any], jobs: list[str]) -> None:
    [job] = rows(connection, JOB_WITH_LOGS, jobs[0])
    assert (str(job["id"]), job["status"]) == (jobs[0], "completed")
    assert sorted(line["message"] for line in job["logs"]) == ["one", "two"]


def test_a_job_with_its_files(connection: psycopg.Connection[Any], jobs: list[str]) -> None:
    [job] = rows(connection, JOB_WITH_FILES, jobs[0])
    assert job["files"] == [{"type": "input", "name": "input.csv", "path": "a/input.csv", "size": 7}]


def test_jobs_by_status(connection: psycopg.Connection[Any], jobs: list[str]) -> None:
    found = {row["status"]: row["count"] for row in rows(connection, JOBS_BY_STATUS)}
    assert found == {"completed": 2, "failed": 1, "pending": 1}


def test_jobs_by_algorithm_and_country(connection: psycopg.Connection[Any], jobs: list[str]) -> None:
    [row] = rows(connection, JOBS_BY_ALGORITHM)
    assert (row["algorithm"], row["country"], row["job_count"]) == ("InterVA", "Mozambique", 2)
    assert float(row["avg_duration_seconds"]) == 90.0


def test_recent_failures(connection: psycopg.Connection[Any], jobs: list[str]) -> None:
    [row] = rows(connection, RECENT_FAILURES)
    assert (str(row["id"]), row["error_message"]) == (jobs[2], "no deaths")
