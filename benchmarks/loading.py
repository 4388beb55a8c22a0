"""Loads side by side: ours, the peer's, and the floor, each on a fresh database of the same server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from benchmarks.inputs import Input, generated, moved
from benchmarks.peer import peer_command
from benchmarks.servers import BenchmarkServer
from genomics_assets.variants.reader import read_header
from genomics_assets.variants.schema import filled_columns
from resources.migrations import migrate

_PIECE = 1 << 20


@dataclass(frozen=True)
class Run:
    """One load.

    Attributes:
        wall: seconds, without the start of the interpreter.
        client_cpu: CPU seconds of the loading process.
        server_cpu: CPU seconds of all processes of PostgreSQL.
        peak_mb: peak resident memory of the loading process.
        copy_wall: seconds from the first batch to the server's answer, of our loads alone.
    """

    wall: float
    client_cpu: float
    server_cpu: float
    peak_mb: float
    rows: int
    copy_wall: float | None = None


@dataclass(frozen=True)
class ReadyRows:
    """A file of COPY BINARY, and the columns in it: those that our load sends."""

    path: Path
    columns: str


@dataclass(frozen=True)
class Loads:
    """Loads of one file, by contestant, and which columns ours filled."""

    input: Input
    runs: dict[str, list[Run]]
    filled: dict[str, int]

    def wall(self, contestant: str) -> float:
        """Median seconds."""
        return median(run.wall for run in self.runs[contestant])


class Loader:
    """Loads files into fresh databases of one server."""

    def __init__(self, server: BenchmarkServer) -> None:
        self.server = server
        self._folder = server.home / "work"
        self._peer: list[str] = []
        migrate(server.make("ours_template"))

    def prepare_peer(self) -> None:
        """Make the peer's environment and tables."""
        self._peer = peer_command()
        run_process([*self._peer, "init", self.server.make("peer_template")])

    def ours(self, file: Path, database: str | None = None, *, full: bool = False) -> Run:
        """Load by our assets, into a fresh database or the given one."""
        url = (
            self.server.make("ours", "ours_template") if database is None else self.server.database(database)
        )
        self.server.checkpoint()
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "benchmarks.our_load",
            url,
            str(file),
            str(self._folder),
        ]
        return self._timed(lambda: run_process([*command, *(["--full"] if full else [])]))

    def peers(self, file: Path) -> Run:
        """Load by the peer, with its default options."""
        url = self.server.make("peer", "peer_template")
        return self._timed(lambda: run_process([*self._peer, "load", url, str(file)]))

    def floor(self, rows: ReadyRows) -> Run:
        """COPY of rows that are ready, into the same table with the same indexes, over one connection."""
        url = self.server.make("ours", "ours_template")
        return self._timed(lambda: _copy_in(url, rows))

    def ready_rows(self, file: Path) -> ReadyRows:
        """The rows of the last load of ours, which was of `file`, as what `floor` sends."""
        header = read_header(file)
        names = filled_columns(
            annotated=bool(header.annotations), samples=len(header.samples), sample_id=None
        )
        rows = ReadyRows(self.server.home / "rows.copy", ", ".join(names))
        statement = (
            f"COPY (SELECT {rows.columns} FROM genomics.variants ORDER BY variant_id) "
            "TO STDOUT (FORMAT binary)"
        )
        with (
            psycopg.connect(self.server.database("ours")) as connection,
            connection.cursor().copy(statement) as copy,
            rows.path.open("wb") as out,
        ):
            for piece in copy:
                out.write(piece)
        return rows

    def filled(self) -> dict[str, int]:
        """Rows of the last load of ours, and how many have what the peer leaves empty."""
        counted = ("info", "vep_annotations", "call_rate", "variant_type", "transcript")
        counts = ", ".join(f"count({name})" for name in counted)
        [row] = self.server.query(
            "ours", f"SELECT count(*), {counts} FROM genomics.variants WHERE info <> '{{}}'"
        )
        return dict(zip(("rows", *counted), row, strict=True))

    def _timed(self, load: Callable[[], dict[str, Any]]) -> Run:
        before = self.server.cpu_seconds()
        done = load()
        return Run(
            wall=done["wall"],
            client_cpu=done["client_cpu"],
            server_cpu=self.server.cpu_seconds() - before,
            peak_mb=done["peak_mb"],
            rows=done["rows"],
            copy_wall=done.get("copy_wall"),
        )


def race(loader: Loader, file: Input, rounds: int) -> Loads:
    """Interleave the contestants, so that what else the machine does meets all of them."""
    runs: dict[str, list[Run]] = {"ours": [], "ours full": [], "floor": [], "peer": []}
    filled: dict[str, int] = {}
    for number in range(rounds):
        runs["ours"].append(loader.ours(file.path))
        if not number:
            rows = loader.ready_rows(file.path)
            filled = loader.filled()
        runs["floor"].append(loader.floor(rows))
        runs["peer"].append(loader.peers(file.path))
        runs["ours full"].append(loader.ours(file.path, full=True))
        shown = ", ".join(f"{name} {done[-1].wall:.2f} s" for name, done in runs.items())
        print(f"  {file.path.name}, round {number + 1} of {rounds}: {shown}", flush=True)
    return Loads(file, runs, filled)


def memory(loader: Loader, small: int, large: int) -> dict[int, Run]:
    """Loads of two sizes, by records."""
    return {records: loader.ours(generated("sites", records).path) for records in (small, large)}


def growth(loader: Loader, file: Input, loads: int, rounds: int) -> tuple[list[Run], list[Run]]:
    """Loads into an empty warehouse, and loads into one that holds `loads` of them.

    The grown warehouse stays, as database `grown`.
    """
    first = [loader.ours(moved(file, number).path) for number in range(1, rounds + 1)]
    loader.server.make("grown", "ours_template")
    for number in range(1, loads + 1):
        run = loader.ours(moved(file, number).path, "grown")
        print(f"  load {number}: {run.wall:.2f} s", flush=True)
    return first, [loader.ours(moved(file, loads + number).path, "grown") for number in range(1, rounds + 1)]


def _copy_in(url: str, rows: ReadyRows) -> dict[str, Any]:
    statement = f"COPY genomics.variants ({rows.columns}) FROM STDIN (FORMAT binary)"
    with psycopg.connect(url) as connection, rows.path.open("rb") as file:
        cpu, started = os.times(), time.perf_counter()
        cursor = connection.cursor()
        with cursor.copy(statement) as copy:
            while piece := file.read(_PIECE):
                copy.write(piece)
        connection.commit()
        wall, spent = time.perf_counter() - started, os.times()
    used = spent.user + spent.system - cpu.user - cpu.system
    return {"wall": wall, "client_cpu": used, "peak_mb": 0.0, "rows": cursor.rowcount}


def run_process(command: list[str]) -> dict[str, Any]:
    """Run a process that prints one line of JSON at its end."""
    # With its cache of compiled modules, as Python works where nobody turned that off.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:6])} failed:\n{done.stderr[-3000:]}")
    lines = done.stdout.splitlines()
    return dict(json.loads(lines[-1])) if lines else {}
