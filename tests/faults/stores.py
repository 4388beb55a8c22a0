"""All stores of one's own behind the real resources and jobs: files to drop, drains, and what must hold afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg

from genomics_assets import variants
from resources import default_resources
from resources.drop_ledger import DropLedgerResource
from resources.inbox import InboxResource
from resources.invariants import Violation, check_invariants
from sensors.drain import drain

SETTLE_SECONDS = 0.05

HEADER = (
    "##fileformat=VCFv4.2\n##contig=<ID=chr1,length=248956422>\n##contig=<ID=chr2,length=242193529>\n"
    '##INFO=<ID=DP,Number=1,Type=Integer,Description="Depth">\n'
    '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
)


def vcf(records: int, *, seed: int = 0, samples: Sequence[str] = ()) -> bytes:
    """A file of so many SNVs on two contigs; another content for each seed."""
    columns = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"
    calls = ""
    if samples:
        columns += "\tFORMAT\t" + "\t".join(samples)
        calls = "\tGT" + "\t0/1" * len(samples)
    half = (records + 1) // 2
    rows = (
        f"chr{1 + i // half}\t{1000 + 40 * (i % half)}\trs{i}\tA\tG\t50\tPASS\tDP={seed}{calls}\n"
        for i in range(records)
    )
    return (HEADER + columns + "\n" + "".join(rows)).encode()


class Stores:
    """What a user does and sees: drop files, drain, look at every store."""

    def __init__(
        self,
        folder: Path,
        postgres_url: str | None,
        mongo_url: str | None,
        instance: dg.DagsterInstance,
        *,
        domains: Sequence[Any] = (variants,),
        object_store_url: str | None = None,
    ) -> None:
        """URLs that are None are those of the embedded servers of GENOMICS_HOME."""
        self._url = postgres_url
        self.mongo_url = mongo_url
        self.inbox = folder / "inbox"
        self.objects = folder / "objects"
        self.instance = instance
        self.resources: dict[str, Any] = default_resources(
            postgres_url=postgres_url, mongo_url=mongo_url, inbox_url=str(self.inbox),
            object_store_url=object_store_url or f"file://{self.objects}",
        )  # fmt: skip
        ledger = DropLedgerResource(postgres=self.resources["postgres"], settle_seconds=SETTLE_SECONDS)
        self.resources |= {
            "drop_ledger": ledger,
            "inbox": InboxResource(url=str(self.inbox), drop_ledger=ledger),
        }
        # Few domains: a drain of one takes a second.
        self.definitions = dg.Definitions.merge(
            *(domain.definitions() for domain in domains),
            dg.Definitions(resources=self.resources, executor=dg.in_process_executor),
        )

    @property
    def url(self) -> str:
        """PostgreSQL's address."""
        if self._url is not None:
            return self._url
        from resources.embedded import ensure_postgres
        from resources.environment import Environment

        return ensure_postgres(Environment.from_environ())

    def load(self, key: str) -> dg.ExecuteInProcessResult:
        """Materialize a file's partition, as a person does in the UI."""
        return self.definitions.resolve_job_def("load_vcf").execute_in_process(
            instance=self.instance, partition_key=key, raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )  # fmt: skip

    def drop(self, path: str, content: bytes) -> Path:
        file = self.inbox / path
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f".{file.name}.part")
        part.write_bytes(content)
        part.replace(file)
        return file

    def drain(self) -> tuple[int, list[str]]:
        """The exit status, and the lines."""
        told: list[str] = []
        return drain(self.definitions, self.instance, out=lambda line: told.append(str(line))), told

    def violations(self, *, settled: bool = True) -> list[Violation]:
        r = self.resources
        return check_invariants(r["postgres"], r["mongo"], r["objects"], settled=settled)

    def sweep(self) -> None:
        """What housekeeping does every night."""
        self.resources["warehouse"].sweep()
        self.resources["lake"].remove(self.resources["warehouse"].all_superseded())
        self.resources["bmd_store"].survey(delete=True)

    def query(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(sql, parameters).fetchall()  # type: ignore[arg-type]

    def execute(self, sql: str, *parameters: object) -> None:
        with psycopg.connect(self.url) as connection:
            connection.execute(sql, parameters)  # type: ignore[arg-type]

    def rows(self, key: str) -> int:
        """Rows that a reader sees of a dropped file."""
        return int(
            self.query(
                "SELECT count(*) FROM genomics.variants JOIN genomics.current_loads USING (load_batch_id) "
                "WHERE partition_key = %s",
                key,
            )[0][0]
        )

    def close(self) -> None:
        self.resources["postgres"].close()
        self.resources["mongo"].close()
