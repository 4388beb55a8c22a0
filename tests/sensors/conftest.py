"""A station: an inbox of its own, a ledger in a real database, an instance, and ticks as the code server makes them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from drop_location import SETTLE_SECONDS, definitions


class Station:
    def __init__(self, url: str, inbox: str, instance: dg.DagsterInstance, **settings: Any) -> None:
        self.url = url
        self.inbox = inbox
        self.instance = instance
        self.definitions = definitions(url, inbox, **settings)
        self.cursors: dict[str, str | None] = {}

    # -- dropping ----------------------------------------------------------------------------------------------------

    def put(self, path: str, text: str = "text") -> Path:
        file = Path(self.inbox) / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    # -- looking -----------------------------------------------------------------------------------------------------

    def tick(self, kind: str = "vcf", *, cursor_is_saved: bool = True, location: str | None = None) -> Any:
        """What the code server answers a daemon, which then lives to save the cursor and the partitions, or not."""
        from dagster._core.remote_origin import InProcessCodeLocationOrigin
        from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
        from dagster._grpc.impl import get_external_sensor_execution

        origin = (
            InProcessCodeLocationOrigin(LoadableTargetOrigin(), location_name=location) if location else None
        )
        time.sleep(1.2 * SETTLE_SECONDS)
        data = get_external_sensor_execution(
            self.definitions.get_repository_def(), origin, self.instance.get_ref(), f"{kind}_drops",
            None, None, self.cursors.get(kind), None, None,
        )  # fmt: skip
        if getattr(data, "error", None):
            raise RuntimeError(data.error.to_string())
        if cursor_is_saved:
            self.cursors[kind] = data.cursor
            for request in data.dynamic_partitions_requests or []:
                self.instance.add_dynamic_partitions(request.partitions_def_name, request.partition_keys)
        return data

    def requested(self, kind: str = "vcf", ticks: int = 2) -> list[str]:
        """Partition keys that so many ticks asked for, in order."""
        return [r.partition_key for _ in range(ticks) for r in self.tick(kind).run_requests]

    def states(self) -> dict[str, str]:
        """State by path."""
        with psycopg.connect(self.url) as connection:
            rows = connection.execute(
                "SELECT path, state FROM genomics.drop_ledger WHERE inbox = %s", (self.inbox,)
            )
            return dict(rows.fetchall())

    @property
    def resources(self) -> Any:
        return self.definitions.resources


@pytest.fixture(scope="module")
def module_instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as instance:
        yield instance


@pytest.fixture
def instance(module_instance: dg.DagsterInstance) -> dg.DagsterInstance:
    """An instance without runs, partitions and cursors; making a new one for each test would take a second."""
    module_instance.wipe()
    for name in ("dropped_files", "dropped_datasets"):
        for key in module_instance.get_dynamic_partitions(name):
            module_instance.delete_dynamic_partition(name, key)
    for state in module_instance.all_instigator_state():
        module_instance.delete_instigator_state(state.instigator_origin_id, state.selector_id)
    return module_instance


@pytest.fixture
def station(postgres_url: str, instance: dg.DagsterInstance, tmp_path: Path) -> Station:
    return Station(postgres_url, str(tmp_path / "inbox"), instance)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """Endpoint of a real S3 server on a free port."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    before = {name: os.environ.get(name) for name in keys}
    os.environ.update(keys)
    yield f"http://{host}:{port}"
    server.stop()
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})
