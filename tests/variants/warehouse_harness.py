"""A warehouse of one's own: a fresh database, an inbox and an object store, driven through the real job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
from run_results import metadata_of

from genomics_assets.definitions import build_definitions
from resources import default_resources


class Warehouse:
    """What a user does and sees: drop a file, let the job take it, look at tables, objects and events."""

    def __init__(self, folder: Path, postgres_url: str) -> None:
        self.url = postgres_url
        self.inbox = folder / "inbox"
        self.objects = folder / "objects"
        self.instance = dg.DagsterInstance.ephemeral()
        resources = default_resources(
            postgres_url=postgres_url, inbox_url=str(self.inbox), object_store_url=f"file://{self.objects}"
        )
        self.resources = resources
        self.definitions = build_definitions(**resources)
        self.job = self.definitions.resolve_job_def("load_vcf")

    def drop(self, name: str, content: str | bytes) -> Path:
        path = self.inbox / "vcf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def load(self, partition_key: str) -> dg.ExecuteInProcessResult:
        self.instance.add_dynamic_partitions("vcf_files", [partition_key])
        return self.job.execute_in_process(
            instance=self.instance, partition_key=partition_key, raise_on_error=False
        )

    def load_file(self, name: str, content: str | bytes) -> dg.ExecuteInProcessResult:
        self.drop(name, content)
        return self.load(name.split(".")[0])

    def query(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(sql, parameters).fetchall()  # type: ignore[arg-type]

    def rows(self, columns: str, partition_key: str) -> list[tuple[Any, ...]]:
        """Columns of the rows that a partition stands for, in file order."""
        return self.query(
            f"SELECT {columns} FROM genomics.variants JOIN genomics.current_loads USING (load_batch_id) "
            "WHERE partition_key = %s ORDER BY variant_id",
            partition_key,
        )

    def audit(self, partition_key: str, columns: str) -> list[tuple[Any, ...]]:
        return self.query(
            f"SELECT {columns} FROM genomics.variant_load_audit WHERE partition_key = %s ORDER BY audit_id",
            partition_key,
        )


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    """The metadata of an asset's materialization."""
    return metadata_of(result, "variants", asset)
