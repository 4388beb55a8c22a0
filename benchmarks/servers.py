"""A GENOMICS_HOME for one benchmark, with its embedded PostgreSQL, fresh databases, and the CPU time of the server."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg

from resources.embedded import ensure_postgres, stop_servers
from resources.environment import Environment

_TICKS = os.sysconf("SC_CLK_TCK")


class BenchmarkServer:
    """The embedded PostgreSQL of a home of its own, with the settings that users get."""

    def __init__(self, home: Path) -> None:
        self.home = home
        environment = replace(Environment.from_environ({"GENOMICS_HOME": str(home)}), postgres_url=None)
        self.url = ensure_postgres(environment)

    def make(self, name: str, template: str = "template1") -> str:
        """A fresh database, a copy of another one, on a server that has nothing left to write; its URL."""
        with self._connection() as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
            connection.execute("CHECKPOINT")
        return self.database(name)

    def drop(self, name: str) -> None:
        """Drop a database."""
        with self._connection() as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def checkpoint(self) -> None:
        """Let the server write what it has to, so that it does not do so during a measurement."""
        with self._connection() as connection:
            connection.execute("CHECKPOINT")

    def database(self, name: str) -> str:
        """URL of a database of this server."""
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))

    def cpu_seconds(self) -> float:
        """CPU time of all processes of the server so far: those that live, and those that it has seen end.

        From /proc: user and system time of the postmaster and its children, and of the children it has waited for.
        """
        postmaster = int((self.home / "postgres" / "data" / "postmaster.pid").read_text().split()[0])
        total = 0
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                # After the command's name, which may hold spaces: state is field 3, the parent field 4.
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(folder.name) == postmaster:
                total += sum(map(int, fields[11:15]))
            elif int(fields[1]) == postmaster:
                total += sum(map(int, fields[11:13]))
        return total / _TICKS

    def query(self, database: str, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Rows of a query."""
        with psycopg.connect(self.database(database)) as connection:
            return connection.execute(sql, parameters).fetchall()

    def _connection(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.database("postgres"), autocommit=True)


@contextmanager
def benchmark_home() -> Iterator[Path]:
    """A GENOMICS_HOME in the temporary folder; its servers are stopped and it is removed at the end."""
    home = Path(tempfile.mkdtemp(prefix="genomics-bench-"))
    try:
        yield home
    finally:
        stop_servers(home)
        shutil.rmtree(home, ignore_errors=True)
