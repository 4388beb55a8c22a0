"""A drop's job is open before its run begins, whoever asks for the run."""

import time
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._grpc.impl import get_external_sensor_execution
from ledger_harness import Bench

from genomics_assets.drops import DropKind
from resources.drop_ledger import DropLedgerResource, Request
from resources.inbox import InboxResource
from resources.jobs import ComsaRequest, JobOrigin
from sensors.drain import drain
from sensors.file_drops import JobOpener, file_drop_sensor

BATCHES = DropKind("batches", "verbal_autopsy", (".csv",))
batches = dg.DynamicPartitionsDefinition(name="batches")


def open_job(resources: Any, request: Request) -> None:
    if request.partition_key == "unreadable":
        raise ValueError
    resources.jobs.open(ComsaRequest("openva_only"), JobOrigin(request.run_key, request.partition_key))


@dg.asset(partitions_def=batches, required_resource_keys={"jobs"})
def deaths(context: dg.AssetExecutionContext) -> None:
    """Tells what the job's state was when the step began."""
    key = context.run.tags["dagster/run_key"]
    latest = context.resources.jobs.store.latest(key)
    context.add_output_metadata({"before": str(latest and latest.state)})
    request = ComsaRequest("pipeline", "InterVA", "neonate", "Mali")
    with context.resources.jobs.running(context, request):
        pass


def definitions(bench: Bench, inbox: Path) -> dg.Definitions:
    ledger = DropLedgerResource(postgres=bench.ledger.postgres, settle_seconds=0.05)
    job = dg.define_asset_job("code_deaths", selection=[deaths])
    return dg.Definitions(
        assets=[deaths],
        jobs=[job],
        sensors=[
            file_drop_sensor(
                BATCHES, job=job, partitions_def=batches, job_opener=JobOpener(open_job, frozenset({"jobs"}))
            )
        ],
        resources={
            "inbox": InboxResource(url=str(inbox), drop_ledger=ledger),
            "drop_ledger": ledger,
            "jobs": bench.ledger,
            "io_manager": dg.mem_io_manager,
        },
        executor=dg.in_process_executor,
    )


@pytest.fixture(scope="module")
def instance() -> Any:
    with dg.instance_for_test() as instance:
        yield instance


def before(instance: dg.DagsterInstance, partition: str) -> Any:
    [event] = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=deaths.key, asset_partitions=[partition]), limit=1
    ).records
    assert event.asset_materialization is not None
    return event.asset_materialization.metadata["before"].value


def test_drain_opens_the_job_and_the_run_fills_in_what_it_knows(
    comsa: Bench, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    (tmp_path / "verbal_autopsy").mkdir()
    for name in ("mali.csv", "unreadable.csv"):
        (tmp_path / "verbal_autopsy" / name).write_text("ID\n")
    lines: list[str] = []
    assert drain(definitions(comsa, tmp_path), instance, out=lines.append) == 0, lines
    assert (before(instance, "mali"), before(instance, "unreadable")) == ("pending", "None")
    found = comsa.query("SELECT partition_key, type, country, status, attempt FROM comsa.jobs ORDER BY 1")
    assert found == [(name, "pipeline", "Mali", "completed", 1) for name in ("mali", "unreadable")]


def test_the_sensor_opens_the_job(comsa: Bench, instance: dg.DagsterInstance, tmp_path: Path) -> None:
    (tmp_path / "verbal_autopsy").mkdir()
    (tmp_path / "verbal_autopsy" / "kenya.csv").write_text("ID\n")
    location = definitions(comsa, tmp_path)
    for _ in range(2):
        time.sleep(0.1)
        asked = get_external_sensor_execution(
            location.get_repository_def(), None, instance.get_ref(), "batches_drops", *[None] * 5
        )
    [request] = asked.run_requests
    [(status, run_id)] = comsa.query(
        "SELECT status, run_id FROM comsa.jobs WHERE run_key = %s", request.run_key
    )
    assert (status, run_id) == ("pending", None)
