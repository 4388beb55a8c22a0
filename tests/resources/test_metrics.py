"""What Prometheus is told: figures that are true of the stores, over HTTP and as text, and of a store that is away."""

from __future__ import annotations

import threading
import time
import urllib.request
from dataclasses import replace

import dagster as dg
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from genomics_assets.commands.metrics import PortTakenError, metrics
from resources.environment import Environment

Figures = dict[tuple[str, tuple[str, ...]], float]


@dg.asset
def answer() -> int:
    return 42


@dg.asset
def no_answer() -> int:
    raise ValueError("none")


@pytest.fixture
def environment(postgres_url: str, mongo_url: str) -> Environment:
    return replace(Environment.from_environ(), postgres_url=postgres_url, mongo_url=mongo_url)


def figures_of(text: str) -> Figures:
    return {
        (sample.name, tuple(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def told(environment: Environment) -> Figures:
    lines: list[str] = []
    assert metrics(environment, port=None, out=lambda line: lines.append(str(line))) == 0
    return figures_of("\n".join(lines) + "\n")


def test_runs_files_rows_jobs_and_ticks_are_counted(
    environment: Environment, instance: dg.DagsterInstance, postgres_url: str
) -> None:
    from dagster._core.definitions.run_request import InstigatorType
    from dagster._core.scheduler.instigation import TickData, TickStatus

    assert dg.materialize([answer], instance=instance).success
    dg.materialize([no_answer], instance=instance, raise_on_error=False)
    instance.create_tick(
        TickData(
            "origin", "vcf_drops", InstigatorType.SENSOR, TickStatus.SKIPPED, time.time(), selector_id="s"
        )
    )
    with psycopg.connect(postgres_url) as connection:
        connection.execute(
            "INSERT INTO genomics.variant_load_audit (load_batch_id, vcf_file_path, vcf_file_hash, reference_genome, status, "
            "variants_loaded, partition_key) VALUES (gen_random_uuid(), 'a', repeat('0', 64), 'x', 'completed', 41, 'a'), "
            "(gen_random_uuid(), 'b', repeat('1', 64), 'x', 'failed', 0, 'b')"
        )
        connection.execute(
            "INSERT INTO genomics.current_loads SELECT 'a', load_batch_id, repeat('0', 64) "
            "FROM genomics.variant_load_audit WHERE status = 'completed'"
        )
        connection.execute(
            "INSERT INTO genomics.drop_ledger (kind, uri, inbox, path, partition_key, size, fingerprint, state) "
            "VALUES ('vcf', 'u', 'i', 'a.vcf', 'a', 1, 'f', 'ready')"
        )
        connection.execute("INSERT INTO comsa.jobs (type) VALUES ('pipeline')")

    figures = told(environment)

    expected = {
        ("genomics_up", ("postgres",)): 1,
        ("genomics_up", ("mongo",)): 1,
        ("genomics_loads", ("completed",)): 1,
        ("genomics_files_landed", ()): 1,
        ("genomics_files_failed", ()): 1,
        ("genomics_variant_rows", ()): 41,
        ("genomics_files", ("vcf", "ready")): 1,
        ("genomics_jobs", ("comsa", "pending")): 1,
        ("genomics_run_queue_length", ()): 0,
        ("genomics_sensor_ticks", ("vcf_drops", "SKIPPED", "SENSOR")): 1,
    }
    assert {key: figures.get(key) for key in expected} == expected
    by_status = {labels[1]: value for (name, labels), value in figures.items() if name == "genomics_runs"}
    assert by_status == {"SUCCESS": 1, "FAILURE": 1}


def test_they_are_served_over_http(environment: Environment) -> None:
    lines: list[str] = []
    begun = threading.Event()

    def out(line: str) -> None:
        lines.append(line)
        begun.set()

    threading.Thread(target=metrics, args=(environment,), kwargs={"port": 0, "out": out}, daemon=True).start()
    assert begun.wait(30)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(lines[0], timeout=30) as answer:
        figures = figures_of(answer.read().decode())
    assert figures["genomics_up", ("postgres",)] == 1
    port = int(lines[0].rpartition(":")[2].partition("/")[0])
    with pytest.raises(PortTakenError, match="--port"):
        metrics(environment, port=port)


def test_a_store_that_is_away_is_told_and_the_other_counted(environment: Environment) -> None:
    figures = told(replace(environment, mongo_url="mongodb://ann:secret@127.0.0.1:9/x"))
    assert figures["genomics_up", ("mongo",)] == 0
    assert figures["genomics_up", ("postgres",)] == 1
    assert ("genomics_database_bytes", ()) in figures
