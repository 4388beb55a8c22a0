"""What Prometheus may ask of the project: counts and moments, read from the stores when they are asked for.

Every figure is a gauge: it says what is there now, not what was counted since a start. Nothing names a file or a person.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, LiteralString

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from resources.mongo import MongoError, MongoResource
from resources.postgres import PostgresError, PostgresResource

if TYPE_CHECKING:
    import psycopg

SECONDS = 30.0

# Name, what it is, labels, statement; the statement gives the labels' values and then the figure.
_FIGURES: tuple[tuple[str, str, tuple[str, ...], LiteralString], ...] = (
    ("genomics_files", "Dropped files by kind and how far they got", ("kind", "state"),
     "SELECT kind, state, count(*) FROM genomics.drop_ledger GROUP BY 1, 2"),
    ("genomics_loads", "Attempts to load a VCF, by status", ("status",),
     "SELECT status, count(*) FROM genomics.variant_load_audit GROUP BY 1"),
    ("genomics_files_landed", "VCF files that stand on a complete load", (),
     "SELECT count(*) FROM genomics.current_loads"),
    ("genomics_files_failed", "VCF files whose last attempt failed", (),
     "SELECT count(*) FROM (SELECT DISTINCT ON (partition_key) status FROM genomics.variant_load_audit "
     "WHERE partition_key IS NOT NULL ORDER BY partition_key, audit_id DESC) AS last WHERE status = 'failed'"),
    ("genomics_variant_rows", "Rows of genomics.variants that readers see, as the audit counts them", (),
     "SELECT coalesce(sum(variants_loaded), 0) FROM genomics.variant_load_audit AS a "
     "WHERE EXISTS (SELECT FROM genomics.current_loads AS c WHERE c.load_batch_id = a.load_batch_id)"),
    ("genomics_annotation_rows", "Rows of each annotation source", ("source",),
     "SELECT name, variant_count FROM genomics.annotation_sources"),
    ("genomics_annotation_loaded_timestamp_seconds", "When each annotation source's version was loaded", ("source",),
     "SELECT name, extract(epoch FROM loaded_at)::float8 FROM genomics.annotation_sources"),
    ("genomics_jobs", "Jobs by ledger and status", ("ledger", "status"),
     "SELECT 'comsa', state, count(*) FROM comsa.jobs GROUP BY 2 "
     "UNION ALL SELECT 'bmd', status, count(*) FROM bmd.jobs GROUP BY 2"),
    ("genomics_database_bytes", "Size of the database", (), "SELECT pg_database_size(current_database())"),
)  # fmt: skip

_OF_DAGSTER: tuple[tuple[str, str, tuple[str, ...], LiteralString], ...] = (
    ("genomics_runs", "Runs by job and status", ("job", "status"),
     "SELECT pipeline_name, status, count(*) FROM dagster.runs GROUP BY 1, 2"),
    ("genomics_run_queue_length", "Runs that wait for their turn", (),
     "SELECT count(*) FROM dagster.runs WHERE status = 'QUEUED'"),
    ("genomics_run_queue_oldest_seconds", "How long the first of them waits", (),
     "SELECT coalesce(extract(epoch FROM (now() AT TIME ZONE 'UTC') - min(create_timestamp)), 0)::float8 "
     "FROM dagster.runs WHERE status = 'QUEUED'"),
    ("genomics_sensor_ticks", "Ticks of sensors and schedules within the last hour, by status", ("type", "name", "status"),
     "SELECT type, tick_body::jsonb ->> 'job_name', status, count(*) FROM dagster.job_ticks "
     "WHERE timestamp > (now() AT TIME ZONE 'UTC') - interval '1 hour' AND tick_body LIKE '{%%' GROUP BY 1, 2, 3"),
    ("genomics_daemon_heartbeat_timestamp_seconds", "When each part of the daemon was last heard of", ("daemon",),
     "SELECT daemon_type, extract(epoch FROM max(timestamp) AT TIME ZONE 'UTC')::float8 "
     "FROM dagster.daemon_heartbeats GROUP BY 1"),
    ("genomics_event_log_rows", "Rows of Dagster's event log, as PostgreSQL estimates them", (),
     "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'dagster.event_logs'::regclass"),
)  # fmt: skip


class StoreMetrics(Collector):
    """Asks the stores at each scrape; a store that is away is `genomics_up 0`, and the others are told."""

    def __init__(self, postgres: PostgresResource, mongo: MongoResource) -> None:
        self._postgres = postgres
        self._mongo = mongo

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Every figure that can be had."""
        up = GaugeMetricFamily("genomics_up", "Whether a store answers", labels=["store"])
        for store, ask in (("postgres", self._of_postgres), ("mongo", self._of_mongo)):
            answers, figures = _asked(ask)
            up.add_metric([store], float(answers))
            yield from figures
        yield up

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Nothing is asked for when the collector is registered."""
        return iter(())

    def _of_postgres(self) -> Iterator[GaugeMetricFamily]:
        with self._postgres.connection(statement_timeout=SECONDS, autocommit=True) as connection:
            yield from _figures(connection, _FIGURES)
            there = connection.execute("SELECT to_regclass('dagster.runs') IS NOT NULL").fetchone()
            if there == (True,):
                yield from _figures(connection, _OF_DAGSTER)

    def _of_mongo(self) -> Iterator[GaugeMetricFamily]:
        database = self._mongo.database()
        jobs = GaugeMetricFamily("genomics_gwas_jobs", "Association jobs by status", labels=["status"])
        for status in ("pending", "running", "completed", "failed", "cancelled"):
            jobs.add_metric([status], database["gwas_jobs"].count_documents({"status": status}))
        documents = GaugeMetricFamily("genomics_documents", "Documents by collection", labels=["collection"])
        for name in sorted(database.list_collection_names()):
            documents.add_metric([name], database[name].estimated_document_count())
        yield from (jobs, documents)


def _asked(ask: Callable[[], Iterator[GaugeMetricFamily]]) -> tuple[bool, list[GaugeMetricFamily]]:
    """Whether a store answered, and what it said until then."""
    import psycopg
    from pymongo.errors import PyMongoError

    figures: list[GaugeMetricFamily] = []
    try:
        figures.extend(ask())
    except (PostgresError, MongoError, psycopg.Error, PyMongoError):
        return False, figures
    return True, figures


def _figures(
    connection: "psycopg.Connection[Any]", wanted: tuple[tuple[str, str, tuple[str, ...], LiteralString], ...]
) -> Iterator[GaugeMetricFamily]:
    for name, what, labels, statement in wanted:
        family = GaugeMetricFamily(name, what, labels=list(labels))
        for *values, figure in connection.execute(statement.replace("%%", "%")).fetchall():
            family.add_metric([str(value) for value in values], float(figure))
        yield family
