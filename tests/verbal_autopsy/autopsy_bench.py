"""What a user does and sees: drop a batch, let the job take it, look at the ledger, at tables, objects and events."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

from genomics_assets.definitions import build_definitions
from genomics_assets.verbal_autopsy.assets import assets
from resources import default_resources


class AutopsyBench:
    def __init__(self, folder: Path, postgres_url: str) -> None:
        self.url = postgres_url
        self.inbox = folder / "inbox"
        self.objects = folder / "objects"
        self.instance = dg.DagsterInstance.ephemeral()
        self.resources = default_resources(
            postgres_url=postgres_url, inbox_url=str(self.inbox), object_store_url=f"file://{self.objects}"
        )
        self.definitions = build_definitions(**self.resources)

    def drop(self, name: str, content: str | bytes, settings: dict[str, Any] | None) -> None:
        folder = self.inbox / "verbal_autopsy"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.csv").write_bytes(content.encode() if isinstance(content, str) else content)
        if settings is not None:
            (folder / f"{name}.yaml").write_text(json.dumps(settings))

    def run(self, name: str, job: str = "code_va_batch") -> dg.ExecuteInProcessResult:
        self.instance.add_dynamic_partitions("va_batches", [name])
        return self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance, partition_key=name, raise_on_error=False
        )

    def materialize(
        self, asset: str, name: str | None, config: dict[str, Any] | None = None
    ) -> dg.ExecuteInProcessResult:
        """One asset on its own, as a person asks for it in the UI."""
        ops = {f"verbal_autopsy__{asset}": {"config": config}} if config else {}
        return dg.materialize(
            assets,
            selection=[dg.AssetKey(["verbal_autopsy", asset])],
            instance=self.instance,
            partition_key=name,
            resources=self.resources,
            run_config={"ops": ops},
            raise_on_error=False,
        )

    def take(
        self, name: str, content: str | bytes, settings: dict[str, Any] | None
    ) -> dg.ExecuteInProcessResult:
        self.drop(name, content, settings)
        return self.run(name)

    def query(self, sql: str, *parameters: object) -> list[dict[str, Any]]:
        with psycopg.connect(self.url, row_factory=psycopg.rows.dict_row) as connection:
            connection.execute("SET search_path TO comsa")
            return connection.execute(sql, parameters).fetchall()  # type: ignore[arg-type]

    def job(self, name: str) -> dict[str, Any]:
        """The last job of a partition."""
        return self.query(
            "SELECT * FROM jobs WHERE partition_key = %s ORDER BY created_at DESC LIMIT 1", name
        )[0]

    def files(self, job_id: Any, kind: str) -> dict[str, bytes]:
        """The bytes of a job's files, as its rows name them."""
        rows = self.query("SELECT * FROM job_files WHERE job_id = %s AND file_type = %s", job_id, kind)
        return {row["file_name"]: (self.objects / row["file_path"]).read_bytes() for row in rows}

    def table(self, asset: str, name: str) -> pa.Table:
        return pq.read_table(
            io.BytesIO((self.objects / "verbal_autopsy" / asset / f"{name}.parquet").read_bytes())
        )


def materialized(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    """Metadata of each asset that was materialized."""
    return {
        event.asset_key.path[-1]: {k: v.value for k, v in event.materialization.metadata.items()}
        for event in result.all_events
        if event.event_type_value == "ASSET_MATERIALIZATION" and event.asset_key is not None
    }
