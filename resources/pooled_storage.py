"""Dagster's Postgres storage with connections that are kept.

The storage as it comes opens a connection for each statement: some 330 for one run of six assets, half of the run's
time. Here each process keeps a few, and tests one before it uses it, so that a server that restarted is not noticed.
All instances of a process share them: a code server makes an instance for each tick of each sensor.

It also asks the catalogue again and again whether its own tables are there, with every fifth statement of a run: here a
table or column that was there once is there.

And it writes down that a run failed after the run has failed. Dagster does so the other way round, and its daemon, which
looks for failures to try again, took a run that it saw in between for one that goes on: nobody ever tried it again.
"""

import os
from collections.abc import Callable, Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

from dagster._core.storage.config import PostgresStorageConfig
from dagster._serdes import ConfigurableClassData
from dagster._time import datetime_from_timestamp
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.utils import create_pg_engine, get_token_provider_from_config, pg_url_from_config

if TYPE_CHECKING:
    from dagster import EventLogEntry
    from dagster._core.storage.runs.base import RunStorage
    from dagster_postgres.auth import PgTokenProvider
    from sqlalchemy import Engine

# Dagster's own threads are few; more connections than these are opened when needed, and closed again.
KEPT = 3
MORE = 20
SECONDS_BEFORE_RENEWAL = 600

# By process, since a fork must not use its parent's connections.
_engines: dict[tuple[int, str], "Engine"] = {}
_making = Lock()

# By database: what its catalogue was seen to hold.
_seen: set[tuple[str, str, str]] = set()


class PooledPostgresStorage(DagsterPostgresStorage):
    """Runs, events and schedules in Postgres, through one small pool for each process."""

    def __init__(
        self,
        postgres_url: str,
        should_autocreate_tables: bool = True,
        inst_data: ConfigurableClassData | None = None,
        token_provider: "PgTokenProvider | None" = None,
    ) -> None:
        super().__init__(postgres_url, should_autocreate_tables, inst_data, token_provider)
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            storage._engine = _engine(postgres_url, token_provider, storage._engine.url.query.get("options"))
        for storage, questions in (
            (self._event_log_storage, ("has_table", "_has_asset_key_col_on_connection")),
            (self._run_storage, ("has_run_stats_index_cols", "has_backfill_id_column")),
            (
                self._schedule_storage,
                ("has_instigators_table", "_has_instigators_table", "has_built_index"),
            ),
        ):
            for question in questions:
                setattr(
                    storage, question, _asked_until_true(postgres_url, question, getattr(storage, question))
                )
        self._event_log_storage.store_event = _failing_first(  # type: ignore[assignment,method-assign]
            self._run_storage, self._event_log_storage.store_event
        )

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "PooledPostgresStorage":
        """The storage that `dagster.yaml` asks for."""
        config = cast(PostgresStorageConfig, config_value)
        return cls(
            inst_data=inst_data,
            postgres_url=pg_url_from_config(config),
            should_autocreate_tables=config_value.get("should_autocreate_tables", True),
            token_provider=get_token_provider_from_config(config),
        )


def _asked_until_true(postgres_url: str, question: str, ask: Callable[..., bool]) -> Callable[..., bool]:
    """The question, with an answer of yes kept for the life of the process: a migration adds, and never removes."""

    def answer(*asked: Any) -> bool:
        # A connection is not what is asked about.
        key = (postgres_url, question, " ".join(what for what in asked if isinstance(what, str)))
        if key not in _seen and ask(*asked):
            _seen.add(key)
        return key in _seen

    return answer


def _failing_first(
    runs: "RunStorage", store: "Callable[[EventLogEntry], None]"
) -> "Callable[[EventLogEntry], None]":
    """Storing an event; that of a failure when its run has the status and the reason."""

    def store_event(event: "EventLogEntry") -> None:
        if event.is_dagster_event and event.get_dagster_event().is_run_failure:
            runs.handle_run_event(
                event.run_id, event.get_dagster_event(), datetime_from_timestamp(event.timestamp)
            )
        store(event)

    return store_event


def _engine(postgres_url: str, token_provider: "PgTokenProvider | None", options: Any) -> "Engine":
    """This process's engine for a database."""
    key = (os.getpid(), postgres_url)
    with _making:
        if key not in _engines:
            connect_args: dict[str, Any] = {"connect_args": {"options": options}} if options else {}
            _engines[key] = create_pg_engine(
                postgres_url,
                token_provider,
                isolation_level="AUTOCOMMIT",
                pool_size=KEPT,
                max_overflow=MORE,
                pool_recycle=SECONDS_BEFORE_RENEWAL,
                pool_pre_ping=True,
                **connect_args,
            )
        return _engines[key]
