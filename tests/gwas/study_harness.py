"""GWAS as a user sees it: drop a folder, let the job take it, look at documents, objects and events."""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
from run_results import metadata_of

from genomics_assets.definitions import build_definitions
from resources import default_resources
from resources.gwas_store import DatasetPlace, GwasStore
from resources.object_store import ObjectStoreResource
from resources.zygotrix_store import ZygotrixStore


class Study:
    """An inbox, stores of its own, and the code location that joins them."""

    def __init__(self, folder: Path, postgres_url: str, mongo_url: str) -> None:
        self.places = {
            "postgres_url": postgres_url,
            "mongo_url": mongo_url,
            "inbox_url": str(folder / "inbox"),
            "object_store_url": f"file://{folder}/objects",
        }
        self.inbox = folder / "inbox" / "gwas"
        self.instance = dg.DagsterInstance.ephemeral()
        resources = default_resources(**self.places)
        self.zygotrix: ZygotrixStore = resources["zygotrix"]
        self.gwas: GwasStore = resources["gwas"]
        self.objects: ObjectStoreResource = resources["objects"]
        self.definitions = build_definitions(**resources)

    def drop(self, name: str, files: Mapping[str, str | bytes | Path]) -> None:
        """Put files into a dataset's folder, in place of what was there."""
        folder = self.inbox / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for file, content in files.items():
            if isinstance(content, Path):
                shutil.copyfile(content, folder / file)
            else:
                (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())

    def run(self, name: str, *, tags: Mapping[str, str] | None = None) -> dg.ExecuteInProcessResult:
        """Take a dropped dataset through the job."""
        self.instance.add_dynamic_partitions("gwas_datasets", [name])
        return self.definitions.resolve_job_def("run_gwas").execute_in_process(
            instance=self.instance,
            partition_key=name,
            raise_on_error=False,
            tags=dict(tags or {}),
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )

    def load(self, name: str, files: Mapping[str, str | bytes | Path]) -> dg.ExecuteInProcessResult:
        self.drop(name, files)
        return self.run(name)

    def dataset(self, name: str) -> dict[str, Any]:
        document = self.zygotrix.collection("gwas_datasets").find_one(
            {"_id": DatasetPlace.of(name).dataset_id}
        )
        assert document is not None
        return document

    def jobs(self, name: str) -> list[dict[str, Any]]:
        """Jobs of a dataset, the oldest first."""
        return sorted(
            self._of_dataset("gwas_jobs", name),
            key=lambda job: (str(job["created_at"]), job["attempt"], job["phenotype_column"]),
        )

    def results(self, name: str) -> list[dict[str, Any]]:
        return self._of_dataset("gwas_results", name)

    def _of_dataset(self, collection: str, name: str) -> list[dict[str, Any]]:
        # The embedded server does not find by ObjectIds.
        wanted = DatasetPlace.of(name).dataset_id
        return [
            found
            for found in self.zygotrix.collection(collection).find()
            if found.get("dataset_id") == wanted
        ]

    def table(self, key: str) -> pa.Table:
        return pq.read_table(io.BytesIO(self.objects.read_bytes(key)))

    def object_keys(self) -> list[str]:
        return [key for prefix in ("gwas-datasets", "gwas-results") for key in self.objects.list(prefix)]


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    """The metadata of an asset's materialization."""
    return metadata_of(result, "gwas", asset)
