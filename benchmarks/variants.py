"""The variant warehouse against a peer and against its own floor: speed, memory, growth, queries, latency.

    python -m benchmarks.variants [--quick] [--only load|memory|growth|queries|latency]

Everything runs on an embedded PostgreSQL of its own, in a home of its own. How each figure is measured, and what it was
on which machine, is in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.inputs import Input, generated
from benchmarks.latency import Drop, drop_files
from benchmarks.loading import Loader, Loads, Run, growth, memory, race
from benchmarks.queries import Answers, ask
from benchmarks.servers import BenchmarkServer, benchmark_home

SECTIONS = ("load", "memory", "growth", "queries", "latency")
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Target:
    """A promise and what became of it.

    Attributes:
        value: what was measured, None where it was not.
        limit: what was promised.
        at_least: whether more is better.
    """

    what: str
    value: float
    limit: float
    unit: str
    at_least: bool = False

    @property
    def is_met(self) -> bool:
        """Whether the promise holds."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def row(self) -> list[str]:
        """The promise as a row of the table."""
        return [
            self.what,
            f"{self.value:.2f} {self.unit}",
            f"{'>=' if self.at_least else '<='} {self.limit:g} {self.unit}",
            "met" if self.is_met else "MISSED",
        ]


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    records: int
    cohort: int
    large: int
    loads: int
    rounds: int


FULL = Sizes(records=200_000, cohort=100_000, large=2_000_000, loads=10, rounds=3)
QUICK = Sizes(records=20_000, cohort=10_000, large=200_000, loads=10, rounds=1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print one table, and write the figures to a file."""
    asked = _parser().parse_args(arguments)
    sizes = QUICK if asked.quick else FULL
    if asked.rounds:
        sizes = replace(sizes, rounds=asked.rounds)
    wanted = set(asked.only or SECTIONS)
    print(machine(), flush=True)
    figures: dict[str, Any] = {}
    targets: list[Target] = []
    with benchmark_home() as home:
        if "latency" in wanted:
            say("one dropped file, from the sensor's tick to its rows")
            drops = drop_files(home, 2 if asked.quick else 5)
            figures["latency"] = [asdict(drop) for drop in drops]
            targets += latency_targets(drops)
            print_stages(drops)
        if wanted & {"load", "memory", "growth", "queries"}:
            loader = Loader(BenchmarkServer(home))
            targets += _measure(loader, sizes, wanted, figures)
    say("targets")
    print_table(["", "measured", "target", ""], [target.row() for target in targets])
    print(f"written to {write_figures(figures, targets)}")
    return 0


def _measure(loader: Loader, sizes: Sizes, wanted: set[str], figures: dict[str, Any]) -> Iterator[Target]:
    if "load" in wanted:
        say("loads, on a fresh database each")
        loader.prepare_peer()
        done = {name: race(loader, file, sizes.rounds) for name, file in inputs(sizes).items()}
        figures["load"] = {name: {"filled": loads.filled, **_as_dicts(loads)} for name, loads in done.items()}
        print_loads(done)
        for name, loads in done.items():
            yield from load_targets(name, loads)
    if "memory" in wanted:
        say("memory")
        by_size = memory(loader, sizes.records, sizes.large)
        figures["memory"] = {records: asdict(run) for records, run in by_size.items()}
        print_memory(by_size)
        yield from memory_targets(by_size)
    if wanted & {"growth", "queries"}:
        say(
            f"growth: {sizes.loads} loads of {sizes.records:,} records, and then as many again as at the begin"
        )
        file = generated("csq", sizes.records, consequences=True)
        first, later = growth(loader, file, sizes.loads, sizes.rounds)
        figures["growth"] = {"first": [asdict(run) for run in first], "later": [asdict(run) for run in later]}
        yield growth_target(first, later, sizes)
    if "queries" in wanted:
        say("queries")
        answers = ask(loader.server.database("grown"))
        figures["queries"] = {name: asdict(answer) for name, answer in answers.items()}
        print_answers(answers)
        yield from query_targets(answers)


def inputs(sizes: Sizes) -> dict[str, Input]:
    """The files that are loaded side by side."""
    return {
        "sites": generated("sites", sizes.records),
        "sites with CSQ": generated("csq", sizes.records, consequences=True),
        "20 samples with CSQ": generated("cohort", sizes.cohort, samples=20, consequences=True),
    }


# -- targets ---------------------------------------------------------------------------------------------------


def load_targets(name: str, loads: Loads) -> Iterator[Target]:
    """What is promised of loads of one file."""
    ours, peer = loads.wall("ours"), loads.wall("peer")
    yield Target(f"{name}: standard index set, peer / ours", peer / ours, 5, "x", at_least=True)
    yield Target(
        f"{name}: full index set, peer / ours", peer / loads.wall("ours full"), 4, "x", at_least=True
    )
    yield Target(f"{name}: ours / floor", ours / loads.wall("floor"), 1.5, "x")


def memory_targets(by_size: dict[int, Run]) -> Iterator[Target]:
    """What is promised of memory."""
    (small, first), (large, second) = sorted(by_size.items())
    yield Target(f"peak memory, {large:,} records", second.peak_mb, 300, "MB")
    yield Target(f"peak memory, {large:,} / {small:,} records", second.peak_mb / first.peak_mb, 1.2, "x")


def growth_target(first: list[Run], later: list[Run], sizes: Sizes) -> Target:
    """What is promised of loads into a warehouse that has grown."""
    ratio = median(run.wall for run in later) / median(run.wall for run in first)
    return Target(f"load into {sizes.loads * sizes.records:,} records / into none", ratio, 1.3, "x")


def query_targets(answers: dict[str, Answers]) -> Iterator[Target]:
    """What is promised of queries."""
    for name, limit in (("overlap of 10 kb", 5), ("gene", 10)):
        yield Target(f"query: {name}, median", answers[name].seconds * 1000, limit, "ms")


def latency_targets(drops: list[Drop]) -> list[Target]:
    """What is promised of one dropped file."""
    return [
        Target("sensor's tick to committed rows, median", median(drop.committed for drop in drops), 5, "s")
    ]


# -- tables ----------------------------------------------------------------------------------------------------


def print_loads(done: dict[str, Loads]) -> None:
    """Medians of each contestant on each file."""
    rows = []
    for name, loads in done.items():
        peer = loads.wall("peer")
        for contestant, runs in loads.runs.items():
            wall = loads.wall(contestant)
            peak = median(run.peak_mb for run in runs)
            rows.append(
                [
                    name,
                    contestant,
                    f"{wall:.2f}",
                    f"{min(run.wall for run in runs):.2f} - {max(run.wall for run in runs):.2f}",
                    f"{median(run.client_cpu for run in runs):.2f}",
                    f"{median(run.server_cpu for run in runs):.2f}",
                    f"{peak:.0f}" if peak else "",
                    f"{runs[0].rows:,}",
                    f"{peer / wall:.2f} x",
                ]
            )
    titles = ["file", "", "wall s", "range", "client CPU s", "server CPU s", "peak MB", "rows", "peer / this"]
    print_table(titles, rows)
    for name, loads in done.items():
        print(f"{name}: of {loads.filled['rows']:,} rows with INFO, ours filled {_filled(loads.filled)}")


def _filled(filled: dict[str, int]) -> str:
    return ", ".join(f"{name} in {count:,}" for name, count in filled.items() if name != "rows")


def print_memory(by_size: dict[int, Run]) -> None:
    """Peak memory by size of the file."""
    rows = [[f"{size:,}", f"{run.peak_mb:.0f}", f"{run.wall:.2f}"] for size, run in sorted(by_size.items())]
    print_table(["records", "peak MB", "wall s"], rows)


def print_answers(answers: dict[str, Answers]) -> None:
    """Medians and slowest of the queries."""
    rows = [
        [name, f"{found.seconds * 1000:.2f}", f"{found.slowest * 1000:.2f}", f"{found.rows:.0f}"]
        for name, found in answers.items()
    ]
    print_table(["query", "median ms", "slowest ms", "rows"], rows)


def print_stages(drops: list[Drop]) -> None:
    """Where the seconds between tick and commit went, by median over the drops."""
    stages = list(drops[-1].stages)
    rows = [[stage, f"{median(drop.stages.get(stage, 0.0) for drop in drops):.2f}"] for stage in stages]
    rows.append(["tick to committed rows", f"{median(drop.committed for drop in drops):.2f}"])
    rows.append(
        ["tick to the end of the run, checks and lake included", f"{median(d.finished for d in drops):.2f}"]
    )
    rows.append(
        ["before: drop to tick (it held still over two looks)", f"{median(d.settled for d in drops):.2f}"]
    )
    print_table(["stage", "median s"], rows)


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A Markdown table, so that what is printed can be published as it is."""
    table = [list(titles), *map(list, rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(titles))]
    for number, row in enumerate(table):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")
        if not number:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
    sys.stdout.flush()


def say(title: str) -> None:
    """A heading of what is printed."""
    print(f"\n## {title}", flush=True)


def machine() -> str:
    """When and where this is measured, in one line."""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    load = os.getloadavg()[0]
    return (
        f"{time.strftime('%Y-%m-%d %H:%M')}, {os.cpu_count()} cores, {memory_gb:.0f} GB, {platform.system()} "
        f"{platform.machine()}, Python {platform.python_version()}, load {load:.1f} before the start"
    )


def _as_dicts(loads: Loads) -> dict[str, Any]:
    return {contestant: [asdict(run) for run in runs] for contestant, runs in loads.runs.items()}


def write_figures(figures: dict[str, Any], targets: list[Target], of: str = "") -> Path:
    """Keep what was measured, with the targets; `of` is added to the file's name."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{time.strftime('%Y-%m-%d_%H%M')}{of and '_' + of}.json"
    told = [{**asdict(target), "is_met": target.is_met} for target in targets]
    path.write_text(json.dumps({"machine": machine(), "targets": told, **figures}, indent=1) + "\n")
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.variants", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the records, one round")
    parser.add_argument("--rounds", type=int, help="how often each load is timed (default: 3)")
    parser.add_argument(
        "--only", action="append", choices=SECTIONS, help="one section; may be given repeatedly"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
