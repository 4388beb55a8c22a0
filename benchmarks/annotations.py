"""Annotation sources against a peer and bcftools: loading a source, annotating variants from it, growth.

    python -m benchmarks.annotations [--quick] [--rounds N] [--only load|annotate|growth]

Everything runs on an embedded PostgreSQL of its own, in a home of its own; contestants are interleaved, and medians count. How
each figure is measured is in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from benchmarks.inputs import Input, generated, sites_of
from benchmarks.loading import Run, run_process
from benchmarks.our_annotation import FIELDS, SOURCE
from benchmarks.peer import peer_command
from benchmarks.servers import BenchmarkServer, benchmark_home
from benchmarks.variants import Target, machine, print_table, say, write_figures
from resources.migrations import migrate

SECTIONS = ("load", "annotate", "growth")
# A multiplier is the peer's way to say that a field is no integer.
_PEERS_FLOATS = ("MQ", "gnomAD_AF")


@dataclass(frozen=True)
class Sizes:
    """How much is measured: records of the source, how many variants are annotated from it, and a larger source."""

    source: int
    variants: int
    large: int
    rounds: int


FULL = Sizes(source=1_000_000, variants=200_000, large=4_000_000, rounds=3)
QUICK = Sizes(source=50_000, variants=10_000, large=200_000, rounds=1)


class Contest:
    """Loads sources and annotates variants, on databases of one server."""

    def __init__(self, server: BenchmarkServer) -> None:
        self.server = server
        self.folder = server.home / "work"
        self.folder.mkdir(exist_ok=True)
        migrate(server.make("ours_template"))
        self._peer = peer_command("peer_annotation.py")
        self._peer_load = peer_command()
        run_process([*self._peer_load, "init", server.make("peer_template")])
        self._peers_fields = self.folder / "peers_fields.json"
        self._peers_fields.write_text(
            json.dumps([f | ({"multiplier": 2} if f["field"] in _PEERS_FLOATS else {}) for f in FIELDS])
        )

    # -- loading a source -----------------------------------------------------------------------------------------

    def load_ours(self, file: Path, database: str | None = None) -> Run:
        """Through the asset and its IO manager, into a fresh database or the given one."""
        url = self._fresh("ours") if database is None else self.server.database(database)
        return self._timed(lambda: run_process([*_ours("load"), url, str(file), str(self.folder)]))

    def load_peers(self, file: Path, database: str | None = None) -> Run:
        """By what the peer's `load-annotation` does."""
        url = self._fresh("peer") if database is None else self.server.database(database)
        return self._timed(
            lambda: run_process([*self._peer, "load", url, str(file), str(self._peers_fields)])
        )

    # -- annotating -------------------------------------------------------------------------------------------------

    def prepare(self, source: Path, variants: Path) -> None:
        """Databases with the source and the variants in them, and the index that bcftools needs."""
        self.server.make("ours_annotated", "ours_template")
        self.load_ours(source, "ours_annotated")
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.our_load"]
        run_process([*command, self.server.database("ours_annotated"), str(variants), str(self.folder)])
        self.server.make("peer_annotated", "peer_template")
        # The peer's load-annotation drops the variants, so it goes first.
        self.load_peers(source, "peer_annotated")
        run_process([*self._peer_load, "load", self.server.database("peer_annotated"), str(variants)])
        for name in ("ours_annotated", "peer_annotated"):
            with psycopg.connect(self.server.database(name), autocommit=True) as connection:
                connection.execute("VACUUM (ANALYZE)")
        for file in (source, variants):
            if shutil.which("bcftools") and not Path(f"{file}.csi").exists():
                subprocess.run(["bcftools", "index", str(file)], check=True)

    def inside(self) -> Run:
        """The join of each variant with the source, its six fields counted: no row leaves the server."""
        counts = ", ".join(f"count({SOURCE}__{field['alias']})" for field in FIELDS)
        statement = f"SELECT count(*), {counts} FROM genomics.annotated_variants"
        with psycopg.connect(self.server.database("ours_annotated")) as connection:
            before, started = self.server.cpu_seconds(), time.perf_counter()
            row = connection.execute(statement).fetchone()  # type: ignore[arg-type]
            wall = time.perf_counter() - started
            assert row is not None
            return Run(wall, 0.0, self.server.cpu_seconds() - before, 0.0, row[0])

    def kept(self) -> Run:
        """The same rows kept as a table of the server's."""
        columns = ", ".join(f"{SOURCE}__{field['alias']}" for field in FIELDS)
        statement = f"CREATE UNLOGGED TABLE kept AS SELECT chrom, pos, ref, alt, {columns} FROM genomics.annotated_variants"
        with psycopg.connect(self.server.database("ours_annotated")) as connection:
            before, started = self.server.cpu_seconds(), time.perf_counter()
            rows = connection.execute(statement).rowcount  # type: ignore[arg-type]
            wall = time.perf_counter() - started
            connection.rollback()
            return Run(wall, 0.0, self.server.cpu_seconds() - before, 0.0, rows)

    def annotation_pass(self) -> Run:
        """The asset `annotated_variants`, on variants that were never annotated: columns of the table are filled."""
        url = self.server.make("ours_pass", "ours_annotated")
        self.server.checkpoint()
        return self._timed(lambda: run_process([*_ours("pass"), url, str(self.folder)]))

    def table(self) -> Run:
        """All variants with the fields, as text in a file."""
        url = self.server.database("ours_annotated")
        return self._timed(lambda: run_process([*_ours("table"), url, str(self.folder)]))

    def peers_table(self) -> Run:
        """By what the peer's `annotate` does, to the same kind of file."""
        url = self.server.database("peer_annotated")
        return self._timed(lambda: run_process([*self._peer, "annotate", url, str(self.folder / "peer.tsv")]))

    def bcftools(self, source: Path, variants: Path) -> Run:
        """`bcftools annotate`, from file to file, to BCF without compression."""
        fields = ",".join(f"INFO/{field['field']}" for field in FIELDS)
        out = self.folder / "bcftools.bcf"
        command = [
            "bcftools",
            "annotate",
            "-a",
            str(source),
            "-c",
            fields,
            "-Ou",
            "-o",
            str(out),
            str(variants),
        ]
        started = time.perf_counter()
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        if status:
            raise RuntimeError(f"bcftools annotate failed: {process.stderr.read().decode()[-400:]}")  # type: ignore[union-attr]
        return Run(wall, used.ru_utime + used.ru_stime, 0.0, used.ru_maxrss / 1024, 0)

    def annotated(self) -> dict[str, int]:
        """How many variants got an allele frequency, by contestant."""
        found = {}
        for name, column in (("ours.tsv", f"{SOURCE}__af"), ("peer.tsv", f"{SOURCE}_af")):
            with (self.folder / name).open() as text:
                titles = text.readline().rstrip("\n").split("\t")
                place = next(i for i, title in enumerate(titles) if title in (column, "af"))
                found[name.partition(".")[0]] = sum(
                    line.rstrip("\n").split("\t")[place] not in ("", "None") for line in text
                )
        return found

    def _fresh(self, name: str) -> str:
        url = self.server.make(name, f"{name}_template")
        self.server.checkpoint()
        return url

    def _timed(self, work: Callable[[], dict[str, Any]]) -> Run:
        before = self.server.cpu_seconds()
        done = work()
        server = self.server.cpu_seconds() - before
        return Run(done["wall"], done["client_cpu"], server, done["peak_mb"], done["rows"])


def _ours(work: str) -> list[str]:
    return [sys.executable, "-W", "ignore", "-m", "benchmarks.our_annotation", work]


# -- sections --------------------------------------------------------------------------------------------------------


def race(rounds: int, **contestants: Callable[[], Run]) -> dict[str, list[Run]]:
    """Interleave the contestants, so that what else the machine does meets all of them."""
    runs: dict[str, list[Run]] = {name: [] for name in contestants}
    for number in range(rounds):
        for name, contestant in contestants.items():
            runs[name].append(contestant())
        shown = ", ".join(f"{name} {done[-1].wall:.2f} s" for name, done in runs.items())
        print(f"  round {number + 1} of {rounds}: {shown}", flush=True)
    return runs


def load_section(contest: Contest, source: Input, rounds: int) -> tuple[dict[str, list[Run]], list[Target]]:
    """Loads of one source, ours and the peer's."""
    runs = race(
        rounds,
        ours=lambda: contest.load_ours(source.path),
        peer=lambda: contest.load_peers(source.path),
    )
    print_runs(runs, source.alleles)
    ratio = _wall(runs["peer"]) / _wall(runs["ours"])
    return runs, [Target(f"load of {source.records:,} records, peer / ours", ratio, 5, "x", at_least=True)]


def annotate_section(
    contest: Contest, source: Input, variants: Input, rounds: int
) -> tuple[dict[str, list[Run]], list[Target]]:
    """Annotation of variants from a source that is loaded."""
    contest.prepare(source.path, variants.path)
    contestants = {
        "inside the server": contest.inside,
        "inside, kept as a table": contest.kept,
        "annotation pass": contest.annotation_pass,
        "ours to a file": contest.table,
        "peer to a file": contest.peers_table,
    }
    if shutil.which("bcftools"):
        contestants["bcftools annotate"] = lambda: contest.bcftools(source.path, variants.path)
    runs = race(rounds, **contestants)
    print_runs(runs, variants.alleles)
    print(f"of {variants.alleles:,} alleles, a frequency came to {contest.annotated()}")
    speed = variants.alleles / _wall(runs["inside the server"])
    ratio = _wall(runs["peer to a file"]) / _wall(runs["ours to a file"])
    return runs, [
        Target(
            f"annotation of {variants.alleles:,} variants inside the server", speed, 500_000, "variants/s", at_least=True
        ),
        Target("annotation to a file, peer / ours", ratio, 1, "x", at_least=True),
    ]  # fmt: skip


def growth_section(
    contest: Contest, small: Input, large: Input, rounds: int
) -> tuple[dict[str, list[Run]], list[Target]]:
    """Loads of two sizes, ours alone."""
    names = {f"{file.records:,} records": file for file in (small, large)}
    runs = race(
        rounds, **{name: lambda file=file: contest.load_ours(file.path) for name, file in names.items()}
    )
    rows = [
        [
            name,
            f"{_wall(done):.2f}",
            f"{_cpu(done):.2f}",
            f"{1e6 * _wall(done) / names[name].alleles:.2f}",
            f"{1e6 * _cpu(done) / names[name].alleles:.2f}",
            f"{_peak(done):.0f}",
        ]
        for name, done in runs.items()
    ]
    print_table(["source", "wall s", "CPU s", "wall us / allele", "CPU us / allele", "peak MB"], rows)
    first, second = runs.values()
    per_allele = (_cpu(second) / large.alleles) / (_cpu(first) / small.alleles)
    return runs, [
        Target("CPU for an allele, large / small source", per_allele, 1.3, "x"),
        Target("peak memory, large / small source", _peak(second) / _peak(first), 1.2, "x"),
    ]


def print_runs(runs: dict[str, list[Run]], alleles: int) -> None:
    """Medians of each contestant."""
    rows = [
        [
            name,
            f"{_wall(done):.2f}",
            f"{min(run.wall for run in done):.2f} - {max(run.wall for run in done):.2f}",
            f"{median(run.client_cpu for run in done):.2f}",
            f"{median(run.server_cpu for run in done):.2f}",
            f"{_peak(done):.0f}" if _peak(done) else "",
            f"{done[0].rows:,}" if done[0].rows else "",
            f"{alleles / _wall(done):,.0f}",
        ]
        for name, done in runs.items()
    ]
    titles = ["", "wall s", "range", "client CPU s", "server CPU s", "peak MB", "rows", "alleles / s"]
    print_table(titles, rows)


def _wall(runs: Sequence[Run]) -> float:
    return median(run.wall for run in runs)


def _cpu(runs: Sequence[Run]) -> float:
    return median(run.client_cpu + run.server_cpu for run in runs)


def _peak(runs: Sequence[Run]) -> float:
    return median(run.peak_mb for run in runs)


def measure(contest: Contest, sizes: Sizes, wanted: set[str]) -> Iterator[tuple[str, Any, list[Target]]]:
    """Each section that is wanted: its name, its figures, its targets."""
    source = generated("source", sizes.source)
    if "load" in wanted:
        say(f"a source of {source.records:,} records and {len(FIELDS)} fields, into a fresh database each")
        yield "load", *load_section(contest, source, sizes.rounds)
    if "annotate" in wanted:
        variants = sites_of(source, sizes.source // sizes.variants)
        say(f"{variants.alleles:,} variants annotated from it")
        yield "annotate", *annotate_section(contest, source, variants, sizes.rounds)
    if "growth" in wanted:
        say("growth")
        large = generated("source", sizes.large)
        yield "growth", *growth_section(contest, source, large, sizes.rounds)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print one table, and write the figures to a file."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.annotations", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--quick", action="store_true", help="a twentieth of the records, one round")
    parser.add_argument("--rounds", type=int, help="how often each contestant is timed (default: 3)")
    parser.add_argument(
        "--only", action="append", choices=SECTIONS, help="one section; may be given repeatedly"
    )
    asked = parser.parse_args(arguments)
    sizes = QUICK if asked.quick else FULL
    if asked.rounds:
        sizes = replace(sizes, rounds=asked.rounds)
    print(machine(), flush=True)
    figures: dict[str, Any] = {}
    targets: list[Target] = []
    with benchmark_home() as home:
        contest = Contest(BenchmarkServer(home))
        for name, runs, met in measure(contest, sizes, set(asked.only or SECTIONS)):
            figures[name] = {who: [asdict(run) for run in done] for who, done in runs.items()}
            targets += met
    say("targets")
    print_table(["", "measured", "target", ""], [target.row() for target in targets])
    print(f"written to {write_figures(figures, targets, 'annotations')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
