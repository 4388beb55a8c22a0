"""A dose-response laboratory of one's own: a fresh database, an inbox and an object store, driven through the real jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
from run_results import metadata_of

from genomics_assets.definitions import build_definitions
from resources import default_resources
from resources.bmd_store import BmdStore

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


class Laboratory:
    """What a user does and sees: drop a matrix, let the job take it, look at tables, objects and events."""

    def __init__(self, folder: Path, postgres_url: str) -> None:
        self.url = postgres_url
        self.inbox = folder / "inbox"
        self.objects = folder / "objects"
        self.instance = dg.DagsterInstance.ephemeral()
        self.resources = default_resources(
            postgres_url=postgres_url, inbox_url=str(self.inbox), object_store_url=f"file://{self.objects}"
        )
        self.definitions = build_definitions(**self.resources)

    @property
    def store(self) -> BmdStore:
        store: BmdStore = self.resources["bmd_store"]
        return store

    def drop(self, name: str, content: str | bytes) -> Path:
        path = self.inbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def drop_examples(self) -> None:
        for file in (EXAMPLES / "inbox").rglob("*"):
            if file.is_file() and file.relative_to(EXAMPLES / "inbox").parts[0].startswith("bmd"):
                self.drop(str(file.relative_to(EXAMPLES / "inbox")), file.read_bytes())

    def run(
        self, job: str, key: str, config: dict[str, Any] | None = None, **more: Any
    ) -> dg.ExecuteInProcessResult:
        partitions = {"load_platform": "bmd_platforms", "load_gene_sets": "bmd_gene_sets"}
        self.instance.add_dynamic_partitions(partitions.get(job, "bmd_experiments"), [key])
        return self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            partition_key=key,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}, **(config or {})},
            raise_on_error=False,
            **more,
        )

    def analyze(self, key: str, matrix: str, sidecar: str | None = None) -> dg.ExecuteInProcessResult:
        self.drop(f"bmd/{key}.txt", matrix)
        if sidecar is not None:
            self.drop(f"bmd/{key}.yaml", sidecar)
        return self.run("analyze_experiment", key)

    def query(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(sql, parameters).fetchall()  # type: ignore[arg-type]

    def number(self, sql: str, *parameters: object) -> Any:
        return self.query(sql, *parameters)[0][0]


def steps(result: dg.ExecuteInProcessResult) -> list[str]:
    """The assets that a run made, in order."""
    return [
        event.step_key.removeprefix("bmd__")
        for event in result.all_events
        if event.event_type_value == "ASSET_MATERIALIZATION" and event.step_key
    ]


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    """The metadata of an asset's materialization."""
    return metadata_of(result, "bmd", asset)
