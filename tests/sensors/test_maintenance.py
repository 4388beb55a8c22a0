"""Nightly housekeeping, on a real database with a real Dagster instance in it."""

import datetime
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import dagster as dg
import psycopg
import pytest

from resources.annotation_warehouse import AnnotationWarehouse
from resources.maintenance import MaintenanceError, compact, prune_compute_logs, prune_event_log
from resources.object_store import ObjectStoreResource
from resources.postgres import PostgresResource
from resources.variant_lake import VariantLake
from resources.variant_warehouse import VariantWarehouse
from sensors.maintenance import maintenance, maintenance_nightly

FILES = dg.DynamicPartitionsDefinition(name="vcf_files")

LAKE = VariantLake(objects=ObjectStoreResource())


@pytest.fixture(scope="module")
def postgres(postgres_url: str) -> Iterator[PostgresResource]:
    resource = PostgresResource(url=postgres_url)
    yield resource
    resource.close()


@pytest.fixture
def instance(postgres_url: str, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance whose storage is the schema `dagster` of the warehouse's database."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS dagster CASCADE; CREATE SCHEMA dagster")
    options = quote("-csearch_path=dagster")
    storage_url = postgres_url.replace("postgresql://", "postgresql+psycopg2://") + f"?options={options}"
    (tmp_path / "dagster.yaml").write_text(
        f"storage:\n  postgres:\n    postgres_url: '{storage_url}'\ntelemetry:\n  enabled: false\n"
    )
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        yield instance


@dg.asset(partitions_def=FILES)
def variants(context: dg.AssetExecutionContext) -> None:
    if context.partition_key == "bad":
        raise ValueError("this file is bad")
    context.log.info("a line that nobody needs for ever")
    context.add_asset_metadata({"rows": 7})


@dg.asset_check(asset=variants)
def reconciles() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


def materialize(instance: dg.DagsterInstance, *keys: str) -> list[str]:
    """Runs one partition each; returns the runs' ids."""
    instance.add_dynamic_partitions("vcf_files", list(keys))
    return [
        dg.materialize(
            [variants, reconciles], instance=instance, partition_key=key, raise_on_error=False
        ).run_id
        for key in keys
    ]


def grow_old(
    postgres: PostgresResource, run_ids: list[str], days: float, *, only_events: bool = False
) -> None:
    """Moves runs and their events into the past."""
    past = datetime.timedelta(days=days)
    with postgres.connection() as connection:
        connection.execute(
            'UPDATE dagster.event_logs SET "timestamp" = "timestamp" - %s WHERE run_id = ANY (%s)',
            (past, run_ids),
        )
        if not only_events:
            connection.execute(
                "UPDATE dagster.runs SET end_time = end_time - %s, update_timestamp = update_timestamp - %s "
                "WHERE run_id = ANY (%s)",
                (past.total_seconds(), past, run_ids),
            )


def event_types(postgres: PostgresResource, run_id: str) -> list[str | None]:
    with postgres.connection() as connection:
        rows = connection.execute(
            "SELECT dagster_event_type FROM dagster.event_logs WHERE run_id = %s ORDER BY id", (run_id,)
        ).fetchall()
    return [row[0] for row in rows]


def test_pruning_keeps_what_assets_and_checks_went_through(
    instance: dg.DagsterInstance, postgres: PostgresResource
) -> None:
    runs = materialize(instance, "a", "b", "bad")
    grow_old(postgres, runs, 31)
    before = event_types(postgres, runs[0])
    report = prune_event_log(postgres, keep_days=30)
    after = event_types(postgres, runs[0])

    assert report.removed > 30
    assert {"STEP_START", "PIPELINE_SUCCESS", None} <= set(before)
    assert set(after) == {
        "ASSET_MATERIALIZATION_PLANNED",
        "ASSET_MATERIALIZATION",
        "ASSET_CHECK_EVALUATION_PLANNED",
        "ASSET_CHECK_EVALUATION",
    }
    key = dg.AssetKey("variants")
    assert instance.get_materialized_partitions(key) == {"a", "b"}
    latest = instance.get_latest_materialization_event(key)
    assert latest is not None
    assert latest.asset_materialization is not None
    assert latest.asset_materialization.metadata["rows"].value == 7
    assert instance.get_run_by_id(runs[0]).status == dg.DagsterRunStatus.SUCCESS  # type: ignore[union-attr]


def test_partitions_keep_their_status(instance: dg.DagsterInstance, postgres: PostgresResource) -> None:
    runs = materialize(instance, "a", "bad")
    key = dg.AssetKey("variants")
    before = instance.get_status_by_partition(key, ["a", "bad", "absent"], FILES)
    grow_old(postgres, runs, 31)
    assert prune_event_log(postgres, keep_days=30).removed > 0
    # The cache of statuses is emptied, so that it is made again from what is left.
    with postgres.connection() as connection:
        connection.execute("UPDATE dagster.asset_keys SET cached_status_data = NULL")
    assert instance.get_status_by_partition(key, ["a", "bad", "absent"], FILES) == before
    assert {status.value for status in before.values() if status} >= {"MATERIALIZED", "FAILED"}  # type: ignore[union-attr]


def test_young_runs_keep_their_whole_log(instance: dg.DagsterInstance, postgres: PostgresResource) -> None:
    young, old = materialize(instance, "a", "b")
    grow_old(postgres, [old], 31)
    grow_old(postgres, [young], 29)
    before = event_types(postgres, young)
    prune_event_log(postgres, keep_days=30)
    assert event_types(postgres, young) == before
    assert "STEP_START" not in event_types(postgres, old)


def test_a_run_that_goes_on_for_longer_keeps_its_whole_log(
    instance: dg.DagsterInstance, postgres: PostgresResource
) -> None:
    ended_today, still_going = materialize(instance, "a", "b")
    grow_old(postgres, [ended_today], 31, only_events=True)
    grow_old(postgres, [still_going], 31)
    with postgres.connection() as connection:
        connection.execute("UPDATE dagster.runs SET status = 'STARTED' WHERE run_id = %s", (still_going,))
    before = [event_types(postgres, run) for run in (ended_today, still_going)]
    assert prune_event_log(postgres, keep_days=30).removed == 0
    assert [event_types(postgres, run) for run in (ended_today, still_going)] == before


def test_small_batches_remove_the_same(instance: dg.DagsterInstance, postgres: PostgresResource) -> None:
    runs = materialize(instance, "a", "b")
    grow_old(postgres, runs, 31)
    with postgres.connection() as connection:
        prunable = connection.execute(
            "SELECT count(*) FROM dagster.event_logs WHERE coalesce(dagster_event_type, '') NOT LIKE 'ASSET%'"
        ).fetchone()
    report = prune_event_log(postgres, keep_days=30, batch_rows=3)
    assert prunable == (report.removed,)
    with postgres.connection() as connection:
        assert connection.execute("SELECT count(*) FROM dagster.event_logs").fetchone() == (report.kept,)
    assert report.size_before > 0
    assert prune_event_log(postgres, keep_days=30).removed == 0


def test_two_at_once_count_each_row_once(instance: dg.DagsterInstance, postgres: PostgresResource) -> None:
    runs = materialize(instance, "a", "b", "c")
    grow_old(postgres, runs, 31)
    kept = sum(bool(name and name.startswith("ASSET")) for run in runs for name in event_types(postgres, run))
    total = sum(len(event_types(postgres, run)) for run in runs)
    removed: list[int] = []

    def prune() -> None:
        removed.append(prune_event_log(postgres, keep_days=30, batch_rows=2).removed)

    threads = [threading.Thread(target=prune) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(removed) == total - kept


def test_a_policy_of_nothing_is_refused(postgres: PostgresResource) -> None:
    with pytest.raises(ValueError, match=r"keep_days 0.*Remedy"):
        prune_event_log(postgres, keep_days=0)


def test_a_database_without_dagsters_tables_is_left_alone(postgres: PostgresResource) -> None:
    assert not prune_event_log(postgres, keep_days=30, schema="no_such_schema").found


def test_compacting_analyses_every_table_and_partition(postgres: PostgresResource) -> None:
    with postgres.connection() as connection:
        connection.execute(
            """
            CREATE SCHEMA "Odd name";
            CREATE TABLE "Odd name"."Table; --" (i int) PARTITION BY RANGE (i);
            CREATE TABLE "Odd name".low PARTITION OF "Odd name"."Table; --" FOR VALUES FROM (0) TO (600);
            CREATE TABLE "Odd name".high PARTITION OF "Odd name"."Table; --" FOR VALUES FROM (600) TO (1000);
            INSERT INTO "Odd name"."Table; --" SELECT generate_series(0, 999);
            DELETE FROM "Odd name"."Table; --" WHERE i < 100;
            """
        )
    (table,) = compact(postgres, schema="Odd name")
    assert (table.name, table.rows) == ("Odd name.Table; --", 900)
    assert table.size_after > 0
    with postgres.connection() as connection:
        tuples = connection.execute(
            "SELECT relname, reltuples FROM pg_class WHERE relnamespace = '\"Odd name\"'::regnamespace "
            "AND relkind = 'r' ORDER BY relname"
        ).fetchall()
    assert tuples == [("high", 400), ("low", 500)]


def test_one_table_that_is_held_does_not_stop_the_others(
    postgres: PostgresResource, postgres_url: str
) -> None:
    with postgres.connection() as connection:
        connection.execute("CREATE SCHEMA held; CREATE TABLE held.a (i int); CREATE TABLE held.b (i int)")
    impatient = PostgresResource(url=postgres_url, lock_timeout_seconds=0.2)
    with psycopg.connect(postgres_url) as holder:
        holder.execute("LOCK TABLE held.a IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(
            MaintenanceError, match=r"1 tables compacted, 1 not: held\.a \(.*lock timeout.*Remedy"
        ):
            compact(impatient, schema="held")
    assert [table.name for table in compact(postgres, schema="held")] == ["held.a", "held.b"]


def test_the_job_does_both_and_says_what_it_did(
    instance: dg.DagsterInstance, postgres: PostgresResource
) -> None:
    grow_old(postgres, materialize(instance, "a"), 8)
    result = run_job(postgres, instance, keep_days=7)
    pruned, compacted = metadata(result, "prune_event_log"), metadata(result, "compact_warehouse")
    assert pruned["events_removed"] > 5
    assert pruned["keep_days"] == 7
    assert compacted["tables"] > 0
    assert "genomics.variants" in compacted["by_table"]


def test_the_job_warns_where_dagsters_storage_is_elsewhere(
    postgres: PostgresResource, postgres_url: str
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS dagster CASCADE")
    result = run_job(postgres, dg.DagsterInstance.ephemeral(), keep_days=7)
    assert result.success
    assert metadata(result, "prune_event_log") == {}


def test_what_old_runs_printed_goes_and_what_they_handed_on_stays(tmp_path: Path) -> None:
    def logs(run: str, days: float) -> Path:
        file = tmp_path / run / "compute_logs" / "step.out"
        file.parent.mkdir(parents=True)
        file.write_text("said")
        moment = time.time() - days * 86400
        os.utime(file, (moment, moment))
        os.utime(file.parent, (moment, moment))
        return file

    old, young, with_output = logs("old", 31), logs("young", 29), logs("output", 31)
    (tmp_path / "output" / "step").mkdir()
    (tmp_path / "output" / "step" / "result").write_text("kept")

    assert prune_compute_logs(tmp_path, 30) == 2

    assert not old.parents[1].exists()
    assert young.exists()
    assert not with_output.exists()
    assert (tmp_path / "output" / "step" / "result").exists()
    with pytest.raises(ValueError, match="Remedy"):
        prune_compute_logs(tmp_path, 0)


def test_the_schedule_runs_every_night_by_default() -> None:
    assert maintenance_nightly.cron_schedule == "17 3 * * *"
    assert maintenance_nightly.default_status == dg.DefaultScheduleStatus.RUNNING
    definitions = dg.Definitions(
        jobs=[maintenance],
        schedules=[maintenance_nightly],
        resources={
            "postgres": PostgresResource(),
            "warehouse": VariantWarehouse(postgres=PostgresResource()),
            "annotation_warehouse": AnnotationWarehouse(postgres=PostgresResource()),
            "lake": LAKE,
        },
    )
    dg.Definitions.validate_loadable(definitions)


def run_job(
    postgres: PostgresResource, instance: dg.DagsterInstance, *, keep_days: int
) -> dg.ExecuteInProcessResult:
    return maintenance.execute_in_process(
        instance=instance,
        resources={
            "postgres": postgres,
            "warehouse": VariantWarehouse(postgres=postgres),
            "annotation_warehouse": AnnotationWarehouse(postgres=postgres),
            "lake": LAKE,
        },
        run_config={"ops": {"prune_event_log": {"config": {"keep_days": keep_days}}}},
    )


def metadata(result: dg.ExecuteInProcessResult, op: str) -> dict[str, Any]:
    """The metadata of an op's output."""
    (event,) = (event for event in result.events_for_node(op) if event.event_type_value == "STEP_OUTPUT")
    return {name: entry.value for name, entry in event.step_output_data.metadata.items()}
