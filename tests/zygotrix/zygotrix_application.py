"""The document store as a user sees it: drop an export, let the job take it, look at documents, objects and events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
from run_results import metadata_of

from genomics_assets.definitions import build_definitions
from resources import default_resources
from resources.drop_ledger import DropLedgerResource
from resources.inbox import InboxResource
from resources.mongo import MongoResource
from resources.object_store import ObjectStoreResource
from resources.zygotrix_store import ZygotrixStore


class Application:
    def __init__(self, folder: Path, mongo: MongoResource, postgres_url: str) -> None:
        self.inbox = folder / "inbox"
        self.instance = dg.DagsterInstance.ephemeral()
        resources = default_resources(
            postgres_url=postgres_url,
            mongo_url=mongo.url,
            inbox_url=str(self.inbox),
            object_store_url=f"file://{folder}/objects",
        )
        self.store: ZygotrixStore = resources["zygotrix"]
        self.objects: ObjectStoreResource = resources["objects"]
        ledger = DropLedgerResource(postgres=resources["postgres"], settle_seconds=0.05)
        resources |= {"drop_ledger": ledger, "inbox": InboxResource(url=str(self.inbox), drop_ledger=ledger)}
        self.definitions = build_definitions(**resources)

    def drop(self, path: str, *lines: str | bytes | dict[str, Any]) -> None:
        """Write an export; dicts become JSON."""
        file = self.inbox / "zygotrix" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"\n".join(_bytes(line) for line in lines) + (b"\n" if lines else b""))

    def load(self, collection: str, partition: str) -> dg.ExecuteInProcessResult:
        self.instance.add_dynamic_partitions(f"zygotrix_{collection}", [partition])
        return self.run(f"load_{collection}", partition_key=partition)

    def run(self, job: str, **options: Any) -> dg.ExecuteInProcessResult:
        return self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance, raise_on_error=False, **options
        )

    def load_file(self, path: str, *lines: str | bytes | dict[str, Any]) -> dg.ExecuteInProcessResult:
        self.drop(path, *lines)
        collection, _, name = path.partition("/")
        return self.load(collection, name.removesuffix(".jsonl"))

    def documents(self, collection: str) -> list[dict[str, Any]]:
        return list(self.store.collection(collection).find().sort("_id", 1))

    def quarantined(self, collection: str, partition: str) -> list[dict[str, Any]]:
        key = f"quarantine/zygotrix/{collection}/{partition}.jsonl"
        if not self.objects.exists(key):
            return []
        return [json.loads(line) for line in self.objects.read_bytes(key).splitlines()]


def _bytes(line: str | bytes | dict[str, Any]) -> bytes:
    if isinstance(line, bytes):
        return line
    return (json.dumps(line) if isinstance(line, dict) else line).encode()


def checks(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """What each check of a run said: `passed`, `warn` or `error`, by name."""
    return {
        evaluation.check_name: "passed" if evaluation.passed else evaluation.severity.value.lower()
        for evaluation in result.get_asset_check_evaluations()
    }


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    """The metadata of an asset's materialization."""
    return metadata_of(result, "zygotrix", asset)
