"""PostgreSQL's part of a backup: `pg_dump` from one snapshot, `pg_restore` in one transaction."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString

from resources.backup.manifest import BackupError, DatabasePart, hashed_file
from resources.environment import masked
from resources.object_store import ObjectStoreResource

if TYPE_CHECKING:
    import psycopg

DUMP = "postgres.dump"

_TABLES: LiteralString = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1, 2"""
_ROLES: LiteralString = """
SELECT DISTINCT rolname FROM pg_roles WHERE rolname !~ '^pg_' AND NOT rolsuper AND oid IN (
    SELECT (aclexplode(relacl)).grantee FROM pg_class UNION SELECT (aclexplode(nspacl)).grantee FROM pg_namespace
    UNION SELECT (aclexplode(proacl)).grantee FROM pg_proc UNION SELECT (aclexplode(defaclacl)).grantee FROM pg_default_acl
    UNION SELECT defaclrole FROM pg_default_acl
) ORDER BY 1"""
_AT_WORK: LiteralString = """
SELECT count(*) FROM dagster.runs
WHERE status IN ('STARTING', 'STARTED', 'CANCELING') OR update_timestamp >= %s::timestamptz AT TIME ZONE 'UTC'"""


def dump_database(url: str, place: ObjectStoreResource) -> DatabasePart:
    """Dump the whole database from one snapshot.

    Raises:
        BackupError: when it was never migrated, or no pg_dump fits the server.
    """
    with _snapshot(url) as (connection, snapshot):
        server = connection.info.server_version // 10_000
        revision = _revision(connection, url)
        rows = _count_rows(connection)
        roles = [name for (name,) in connection.execute(_ROLES)]
        with place.create(DUMP) as path:
            _run(
                [_client("pg_dump", server), "--format=custom", f"--snapshot={snapshot}", f"--file={path}"],
                url,
                "PostgreSQL could not be dumped",
            )
            file = hashed_file(DUMP, path)
    return DatabasePart(file, server, revision, rows, roles)


def restore_database(url: str, place: ObjectStoreResource, part: DatabasePart) -> None:
    """Bring a dump into an empty database, all of it or nothing.

    Raises:
        BackupError: when pg_restore does not fit or fails.
    """
    from psycopg import sql

    client = _client("pg_restore", part.server)
    with _connected(url) as connection:
        there = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles")}
        for role in part.roles:
            if role not in there:
                connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(role)))
    with place.open(part.file.key) as source:
        _run(
            [client, "--no-owner", "--exit-on-error", "--single-transaction"],
            url,
            "PostgreSQL could not be restored; nothing of it is in the database",
            given=source,
        )
    with _connected(url) as connection:
        connection.execute("ANALYZE")


def check_is_empty(url: str, part: DatabasePart) -> None:
    """Make sure that nothing is there, and that the server can hold what comes.

    Raises:
        BackupError: a table is there, or the server is older than the one that was dumped.
    """
    with _connected(url) as connection:
        found = connection.execute(_TABLES).fetchone()
        server = connection.info.server_version // 10_000
    if found is not None:
        raise BackupError(
            f"the database at {masked(url)} holds tables already ({found[0]}.{found[1]}). Remedy: restore into an empty "
            "one: set GENOMICS_HOME to a new folder, or GENOMICS_POSTGRES_URL to a new database."
        )
    if server < part.server:
        raise BackupError(
            f"the backup is of PostgreSQL {part.server}, and the server at {masked(url)} is {server}. "
            f"Remedy: restore to PostgreSQL {part.server} or newer."
        )


def count_rows(url: str) -> dict[str, int]:
    """Rows of each table, by `schema.table`."""
    with _connected(url) as connection:
        return _count_rows(connection)


def runs_since(url: str, moment: str) -> int:
    """Runs of Dagster that are at work, or that something happened to since a moment (ISO 8601 with a zone)."""
    with _connected(url) as connection:
        if connection.execute("SELECT to_regclass('dagster.runs')").fetchone() == (None,):
            return 0
        found = connection.execute(_AT_WORK, (moment,)).fetchone()
    return int(found[0]) if found else 0


@contextmanager
def _snapshot(url: str) -> Iterator[tuple[psycopg.Connection[Any], str]]:
    """A transaction whose view of the database others can share by name."""
    with _connected(url) as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        found = connection.execute("SELECT pg_export_snapshot()").fetchone()
        assert found is not None  # noqa: S101 - it is one row
        yield connection, str(found[0])
        connection.execute("COMMIT")


def _connected(url: str) -> psycopg.Connection[Any]:
    """A connection in autocommit.

    Raises:
        BackupError: the server does not answer, or refuses.
    """
    import psycopg

    try:
        return psycopg.connect(url, autocommit=True, connect_timeout=10)
    except psycopg.OperationalError:
        # Not chained: the driver's own text may repeat what the URL holds.
        raise BackupError(
            f"PostgreSQL at {masked(url)} does not answer, or refuses. Remedy: start it, or correct GENOMICS_POSTGRES_URL."
        ) from None


def _revision(connection: psycopg.Connection[Any], url: str) -> str:
    if connection.execute("SELECT to_regclass('genomics.schema_version')").fetchone() != (None,):
        found = connection.execute("SELECT version_num FROM genomics.schema_version").fetchone()
        if found is not None:
            return str(found[0])
    raise BackupError(
        f"the database at {masked(url)} holds nothing of this project. Remedy: correct GENOMICS_POSTGRES_URL."
    )


def _count_rows(connection: psycopg.Connection[Any]) -> dict[str, int]:
    from psycopg import sql

    counts = {}
    for schema, table in connection.execute(_TABLES).fetchall():
        query = sql.SQL("SELECT count(*) FROM ONLY {}").format(sql.Identifier(schema, table))
        found = connection.execute(query).fetchone()
        counts[f"{schema}.{table}"] = int(found[0]) if found else 0
    return counts


def _client(name: str, server: int) -> str:
    """A client program that is at least as new as the server: that of PATH, else the one of the embedded server.

    Raises:
        BackupError: there is none.
    """
    from resources.embedded.postgres_server import bundled_program

    tried = []
    for path in (shutil.which(name), bundled_program(name)):
        if path is None or (version := _version(path)) is None:
            continue
        if version >= server:
            return str(path)
        tried.append(f"{path} is {version}")
    problem = f"too old ({', '.join(tried)})" if tried else "not there"
    raise BackupError(
        f"{name} for PostgreSQL {server} is {problem}. Remedy: install the client programs of PostgreSQL {server} or newer "
        f"(Debian: postgresql-client-{server}) and put them into PATH."
    )


def _version(path: str | Path) -> int | None:
    try:
        said = subprocess.run(  # noqa: S603
            [path, "--version"], capture_output=True, text=True, check=True, timeout=30
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"\) (\d+)", said)
    return int(found[1]) if found else None


def _run(command: list[str], url: str, problem: str, given: Any = None) -> None:
    """Run a client program; the password goes by its environment, where other users cannot see it.

    Raises:
        BackupError: it failed; says what it said.
    """
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    target = {name: value for name, value in conninfo_to_dict(url).items() if value is not None}
    password = str(target.pop("password", "") or "")
    variables = {**os.environ, **({"PGPASSWORD": password} if password else {})}
    process = subprocess.Popen(  # noqa: S603
        [*command, f"--dbname={make_conninfo('', **target)}"],
        stdin=subprocess.DEVNULL if given is None else subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=variables,
    )
    if given is not None and process.stdin is not None:
        try:
            shutil.copyfileobj(given, process.stdin, 1 << 20)
            process.stdin.close()
        except BrokenPipeError:
            pass  # it says why by itself
    said = process.stderr.read().decode(errors="replace") if process.stderr else ""
    if process.wait() != 0:
        lines = [line for line in said.splitlines() if "error" in line.lower()] or said.splitlines()[-1:]
        why = lines[0].partition("error: ")[2] or lines[0] if lines else f"status {process.returncode}"
        raise BackupError(f"{problem}: {why.replace(password, '***') if password else why}")
