"""What a variant costs in each store, and from it what very many cost: `python -m benchmarks.scale`.

Loads a generated file through all assets of the warehouse, measures bytes and CPU seconds a variant, and works out
`FILES` files and `VARIANTS` variants. What a file costs in Dagster's tables comes from the figures that `make soak` left in
`benchmarks/results/soak.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from benchmarks.inputs import Input, generated
from benchmarks.servers import BenchmarkServer, benchmark_home
from resources.migrations import migrate

FILES = 1_000_000
VARIANTS = 10_000_000_000
RESULTS = Path(__file__).with_name("results")
_SIZES = """
    SELECT coalesce(sum(pg_relation_size(relid)), 0)::bigint, coalesce(sum(pg_indexes_size(relid)), 0)::bigint,
           coalesce(sum(pg_total_relation_size(relid) - pg_relation_size(relid) - pg_indexes_size(relid)), 0)::bigint
    FROM pg_partition_tree(%s) WHERE isleaf
"""


@dataclass(frozen=True)
class Cost:
    """Of one variant: bytes of rows, indexes and long values in PostgreSQL, bytes in the lake, CPU seconds.

    Attributes:
        variants: how many were loaded.
        wall: seconds of the whole load, a variant.
        client: CPU seconds of the loading process, a variant.
        server: CPU seconds of PostgreSQL, a variant.
    """

    variants: int
    rows: float
    indexes: float
    long_values: float
    lake: float
    wall: float
    client: float
    server: float

    @property
    def postgres(self) -> float:
        """Bytes in PostgreSQL."""
        return self.rows + self.indexes + self.long_values


def measured(server: BenchmarkServer, input_: Input) -> Cost:
    """Load a file through every asset of the warehouse, and weigh what it left."""
    from genomics_assets.definitions import build_definitions
    from resources import default_resources

    url = server.make("scale")
    migrate(url)
    folder = server.home / input_.path.name
    inbox = folder / "inbox" / "vcf"
    inbox.mkdir(parents=True)
    (inbox / input_.path.name).symlink_to(input_.path)
    key = input_.path.name.partition(".")[0]
    definitions = build_definitions(
        **default_resources(
            postgres_url=url,
            inbox_url=str(folder / "inbox"),
            object_store_url=f"file://{folder / 'objects'}",
        )
    )
    job = definitions.resolve_job_def("load_vcf")
    quiet = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("vcf_files", [key])
        cpu, of_server, started = os.times(), server.cpu_seconds(), time.perf_counter()
        job.execute_in_process(instance=instance, partition_key=key, run_config=quiet)
        wall, spent = time.perf_counter() - started, os.times()
        of_server = server.cpu_seconds() - of_server
    [(variants,)] = server.query("scale", "SELECT count(*) FROM genomics.variants")
    [(rows, indexes, long_values)] = server.query("scale", _SIZES, "genomics.variants")
    lake = sum(file.stat().st_size for file in folder.rglob("*.parquet"))
    server.drop("scale")
    return Cost(
        variants,
        rows / variants,
        indexes / variants,
        long_values / variants,
        lake / variants,
        wall / variants,
        (spent.user + spent.system - cpu.user - cpu.system) / variants,
        of_server / variants,
    )


def look_seconds(server: BenchmarkServer, files: int) -> float:
    """CPU seconds, with the server's, of a sensor's look at an inbox that holds so many known files."""
    from genomics_assets.variants.partitions import VCF_DROPS
    from resources.drop_ledger import DropLedgerResource
    from resources.inbox import InboxResource
    from resources.postgres import PostgresResource

    url = server.make("looks")
    migrate(url)
    folder = server.home / f"looks_{files}"
    vcf = folder / VCF_DROPS.folder
    vcf.mkdir(parents=True)
    for number in range(files):
        (vcf / f"f{number}.vcf").touch()
    postgres = PostgresResource(url=url)
    ledger = DropLedgerResource(postgres=postgres, settle_seconds=0)
    inbox = InboxResource(url=str(folder))
    seconds = []
    for _ in range(4):
        started = time.process_time() + server.cpu_seconds()
        look = inbox.look(VCF_DROPS)
        with ledger.session(VCF_DROPS, inbox.root) as session:
            assert session is not None
            session.observe(look.found, at_once=look.at_once)
            session.commit()
        seconds.append(time.process_time() + server.cpu_seconds() - started)
    postgres.close()
    server.drop("looks")
    return min(seconds[2:])


def report(name: str, cost: Cost) -> list[str]:
    """One file's figures, and what `VARIANTS` of its variants come to."""
    terabyte, hour = 1e12, 3600
    return [
        f"{name}: {cost.variants:,} variants",
        f"  PostgreSQL, bytes a variant: {cost.rows:.0f} rows + {cost.indexes:.0f} indexes + {cost.long_values:.0f} long "
        f"values = {cost.postgres:.0f}",
        f"  lake, bytes a variant: {cost.lake:.1f}",
        f"  microseconds a variant: {cost.wall * 1e6:.1f} wall, {cost.client * 1e6:.1f} client CPU, "
        f"{cost.server * 1e6:.1f} server CPU",
        f"  {VARIANTS:,} variants in PostgreSQL: {VARIANTS:,} x {cost.postgres:.0f} B = "
        f"{VARIANTS * cost.postgres / terabyte:.1f} TB",
        f"  {VARIANTS:,} variants in the lake: {VARIANTS:,} x {cost.lake:.1f} B = {VARIANTS * cost.lake / terabyte:.2f} TB",
        f"  {VARIANTS:,} variants loaded: {VARIANTS:,} x {(cost.client + cost.server) * 1e6:.1f} us = "
        f"{VARIANTS * (cost.client + cost.server) / hour:,.0f} core-hours, of them PostgreSQL's "
        f"{VARIANTS * cost.server / hour:,.0f}",
    ]


def report_of_files() -> list[str]:
    """What `FILES` files cost Dagster, from the last soak."""
    file = RESULTS / "soak.json"
    if not file.exists():
        return [f"{file} is not there: run `make soak` first for the cost of a file"]
    soak = json.loads(file.read_text())
    before, after = soak["event log, KB a file (before, after the purge)"]
    rows_before, rows_after = soak["event rows a file (before, after the purge)"]
    everything, cpu = soak["all of Dagster's tables, KB a file"], soak["CPU-seconds of the machine a file"]
    gigabyte = 1e6
    return [
        f"a file, by a soak of {sum(soak['files'].values()):,} files",
        f"  {FILES:,} files in Dagster's tables: {FILES:,} x {everything} KB = {FILES * everything / gigabyte:,.0f} GB",
        f"  of it the event log: {FILES:,} x {before} KB = {FILES * before / gigabyte:,.0f} GB, {rows_before} rows a file",
        f"  event log after the purge: {FILES:,} x {after} KB = {FILES * after / gigabyte:,.0f} GB, {rows_after} rows a file",
        f"  CPU: {FILES:,} x {cpu} s = {FILES * cpu / 3600:,.0f} core-hours",
    ]


def main() -> None:
    """Measure, and print the arithmetic."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--looks", type=int, nargs="*", default=[10_000, 100_000], help="files in the inbox")
    asked = parser.parse_args()
    lines: list[str] = []
    with benchmark_home() as home:
        server = BenchmarkServer(home)
        measured(server, generated("sites", 1_000))  # what is imported late is imported now
        lines += report("sites", measured(server, generated("sites", asked.records)))
        annotated = generated("csq", asked.records, consequences=True)
        lines += report("sites with CSQ", measured(server, annotated))
        lines += [
            f"a look at {files:,} known files: {look_seconds(server, files):.2f} CPU-seconds"
            for files in asked.looks
        ]
    print("\n".join([*lines, *report_of_files()]))


if __name__ == "__main__":
    main()
