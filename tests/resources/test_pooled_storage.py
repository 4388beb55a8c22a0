"""Dagster's own tables through kept connections: in their schema, and unmoved by a server that drops them."""

from __future__ import annotations

import dagster as dg
import psycopg
from dagster._core.test_utils import create_run_for_test
from sqlalchemy import event
from sqlalchemy.engine import Engine


@dg.asset
def answer() -> int:
    return 42


def connections(postgres_url: str) -> int:
    with psycopg.connect(postgres_url) as connection:
        row = connection.execute(
            "SELECT sessions FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
        assert row is not None
        return int(row[0])


def test_a_run_opens_a_handful_of_connections_and_keeps_to_its_schema(
    instance: dg.DagsterInstance, postgres_url: str
) -> None:
    assert dg.materialize([answer], instance=instance).success
    before = connections(postgres_url)

    assert dg.materialize([answer], instance=instance).success

    assert connections(postgres_url) - before < 15
    with psycopg.connect(postgres_url) as connection:
        tables = connection.execute(
            "SELECT DISTINCT schemaname FROM pg_tables WHERE tablename IN ('runs', 'event_logs', 'job_ticks')"
        ).fetchall()
    assert tables == [("dagster",)]


def test_the_catalogue_is_asked_once_for_what_does_not_go_away(instance: dg.DagsterInstance) -> None:
    asked: list[str] = []

    @event.listens_for(Engine, "before_cursor_execute")
    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "pg_catalog" in statement:
            asked.append(statement)

    def use() -> None:
        assert dg.materialize([answer], instance=instance).success
        # As each look of a sensor does.
        assert instance.get_instigator_state("vcf_drops", "selector") is None
        assert instance.all_instigator_state() == []

    try:
        use()
        asked.clear()
        use()
    finally:
        event.remove(Engine, "before_cursor_execute", note)

    assert asked == []


def test_a_failure_is_told_when_its_run_has_failed(instance: dg.DagsterInstance, postgres_url: str) -> None:
    """What the daemon sees that looks between the two: it tries a run again that has failed, and no other."""
    run = create_run_for_test(instance, "load_vcf", status=dg.DagsterRunStatus.STARTED)
    seen: list[tuple[str, ...]] = []

    @event.listens_for(Engine, "after_cursor_execute")
    def look(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        if statement.startswith("INSERT INTO event_logs") and "PIPELINE_FAILURE" in str(parameters):
            with psycopg.connect(postgres_url) as other:
                seen.extend(other.execute("SELECT status FROM dagster.runs WHERE run_id = %s", (run.run_id,)))

    try:
        instance.report_run_failed(run, "its process is gone")
    finally:
        event.remove(Engine, "after_cursor_execute", look)

    assert seen == [("FAILURE",)]


def test_a_server_that_dropped_its_connections_is_not_noticed(
    instance: dg.DagsterInstance, postgres_url: str
) -> None:
    assert dg.materialize([answer], instance=instance).success
    with psycopg.connect(postgres_url) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    assert dg.materialize([answer], instance=instance).success
    assert len(instance.get_runs()) >= 2


def test_the_instances_of_a_process_share_their_connections(
    instance: dg.DagsterInstance, postgres_url: str
) -> None:
    """As a code server does, which makes an instance for each tick of each sensor."""
    made = []
    for _ in range(12):
        with dg.DagsterInstance.from_ref(instance.get_ref()) as another:
            another.get_runs(limit=1)
            another.get_latest_materialization_event(dg.AssetKey("answer"))
            another.all_instigator_state()
            made.append(another)

    with psycopg.connect(postgres_url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchone()
    assert row is not None
    assert row[0] <= 6
