"""IO managers of the variant warehouse: how a load's rows become visible, all at once or not at all.

`VariantIOManager` writes `genomics.variants` with its audit row; `LoadIOManager` writes the tables whose rows belong to
a load; `LakeIOManager` writes the lake. All of them read the rows that a dropped file stands on.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from typing import Any
from uuid import UUID

import dagster as dg
import pyarrow as pa

from genomics_assets.input_error import InputError
from genomics_assets.variants.load import VariantLoad, new_load_id
from genomics_assets.variants.report import reasons_table
from resources.copy_binary import CopyReport, copy_batches, read_batches, read_schema
from resources.failures import permanent_failure
from resources.postgres import PostgresResource
from resources.postgres_catalogue import table_columns
from resources.preview import column_schema, preview_table
from resources.variant_lake import VariantLake
from resources.variant_warehouse import CurrentLoad, VariantWarehouse

VARIANTS_TABLE = "genomics.variants"
SECONDS_BETWEEN_PROGRESS = 5.0
PREVIEW_ROWS = 5
# No column that names a person.
PREVIEW_COLUMNS = [
    "chrom", "pos", "ref", "alt", "variant_type", "rs_id", "gene", "consequence", "impact", "af_gnomad", "clinvar_sig",
]  # fmt: skip


class _LoadReader(dg.ConfigurableIOManager):
    """Reads the rows that a dropped file stands on, as a stream of record batches."""

    postgres: dg.ResourceDependency[PostgresResource]
    warehouse: dg.ResourceDependency[VariantWarehouse]

    def _table(self, context: dg.InputContext | dg.OutputContext) -> str:
        return str((context.definition_metadata or {})["table"])

    def load_input(self, context: dg.InputContext) -> pa.RecordBatchReader:
        """Rows of the partition's current load.

        Input metadata `columns` selects columns, `order_by` sorts. Memory is bounded by one batch.
        """
        assert context.upstream_output is not None  # noqa: S101 - Dagster loads inputs of assets from outputs
        table = self._table(context.upstream_output)
        load = self.warehouse.expect_load(context.partition_key)
        wanted = context.definition_metadata or {}
        columns: Sequence[str] | None = wanted.get("columns")
        with self.postgres.connection() as connection:
            schema = read_schema(connection, table, columns)
        return pa.RecordBatchReader.from_batches(
            schema, self._rows(table, load.load_id, columns, wanted.get("order_by", ()))
        )

    def _rows(
        self, table: str, load_id: UUID, columns: Sequence[str] | None, order_by: Sequence[str]
    ) -> Iterator[pa.RecordBatch]:
        with self.postgres.connection() as connection:
            yield from read_batches(connection, table, columns, {"load_batch_id": str(load_id)}, order_by)

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Subclasses write."""
        raise NotImplementedError


class VariantIOManager(_LoadReader):
    """Writes a load into `genomics.variants`, with its audit row, in one transaction."""

    def handle_output(self, context: dg.OutputContext, obj: VariantLoad) -> None:
        """Load a file, unless the same content stands already.

        Raises:
            dagster.Failure: when the file cannot be taken as it is; trying again would not help.
        """
        self.warehouse.close_dead_loads()
        try:
            done = self._load(context, obj)
        except InputError as error:
            told = error if error.file else error.in_file(obj.file.file_path)
            self.warehouse.fail(obj.load_id, str(told))
            raise permanent_failure(told, obj.file.partition_key) from error
        except Exception as error:
            # Another attempt writes an audit row of its own; this one must not look as if it were still at work.
            with suppress(Exception):
                reason = f"{type(error).__name__}: {error}".splitlines()[0]
                self.warehouse.roll_back(obj.load_id, f"{reason}; nothing of it was visible")
            raise
        context.add_output_metadata(done)

    def _load(self, context: dg.OutputContext, load: VariantLoad) -> dict[str, Any]:
        # Another load of the same file may hold the lock for as long as it takes.
        with self.postgres.connection(statement_timeout=0) as connection:
            self.warehouse.lock(connection, f"file {load.file.partition_key}")
            known = self.warehouse.adopt(load)
            if known is not None:
                return _nothing_new(known, load)
            self.warehouse.hold_alive(connection, load.load_id)
            self.warehouse.start(load, context.run_id)
            columns = table_columns(connection, VARIANTS_TABLE)
            head: list[pa.RecordBatch] = []
            batches = _told(load.batches(), context.log.info, head)
            report = copy_batches(connection, VARIANTS_TABLE, batches, columns=columns)
            tally = load.tally()
            self.warehouse.lock_pointers(connection)
            known = self.warehouse.known_content(connection, load.settings, content_hash=tally.content_hash)
            if known is None:
                current = self.warehouse.complete(connection, load, tally)
                shown = {"dagster/column_schema": column_schema(columns), "preview": _preview(head)}
                return {**_loaded(load, current, report), **shown}
            # Known only now: the same records in another compression. None of the new rows must stay.
            connection.rollback()
        return self._stand_on_known(load, tally.content_hash)

    def _stand_on_known(self, load: VariantLoad, content_hash: str) -> dict[str, Any]:
        with self.postgres.connection(statement_timeout=0) as connection:
            self.warehouse.lock_pointers(connection)
            known = self.warehouse.known_content(connection, load.settings, content_hash=content_hash)
            if known is None:
                raise RuntimeError(
                    "the load of the same content was replaced meanwhile; this file is loaded again"
                )
            self.warehouse.stand_on(connection, load, known)
        self.warehouse.roll_back(
            load.load_id,
            f"nothing to do: the same content stands already, loaded from {known.partition_key} as {known.load_id}",
        )
        return _nothing_new(known, load)


class LoadIOManager(_LoadReader):
    """Writes a table whose rows belong to loads: this load's rows replace its own and those of superseded ones."""

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Replace the partition's rows; `obj` is a table, a reader, or an iterator of batches.

        Raises:
            dagster.Failure: when the file that the rows come from cannot be taken; trying again would not help.
        """
        try:
            self._replace(context, obj)
        except InputError as error:
            self.warehouse.refuse(
                load_id=new_load_id(),
                partition_key=context.partition_key,
                file_path=error.file or context.partition_key,
                file_hash=None,
                file_size=None,
                error=str(error),
                run_id=context.run_id,
            )
            raise permanent_failure(error, context.partition_key) from error

    def _replace(self, context: dg.OutputContext, obj: Any) -> None:
        table = self._table(context)
        load = self.warehouse.expect_load(context.partition_key)
        with self.postgres.connection() as connection:
            self.warehouse.lock(connection, f"{table} {load.load_id}")
            gone = [load.load_id, *self.warehouse.superseded(context.partition_key, load.load_id)]
            self.warehouse.delete_rows(connection, table, gone)
            columns = table_columns(connection, table)
            batches = obj.to_batches() if isinstance(obj, pa.Table) else obj
            report = copy_batches(connection, table, batches, columns=columns)
        context.add_output_metadata(
            {
                "dagster/partition_row_count": report.rows,
                "dagster/table_name": table,
                "dagster/column_schema": column_schema(columns),
                "load": str(load.load_id),
                **_rate(report),
            }
        )


class LakeIOManager(dg.ConfigurableIOManager):
    """Writes a load's rows into the lake, and takes superseded loads out of it."""

    lake: dg.ResourceDependency[VariantLake]
    warehouse: dg.ResourceDependency[VariantWarehouse]

    def handle_output(self, context: dg.OutputContext, obj: pa.RecordBatchReader) -> None:
        """Put the sorted rows of the partition's load; parts of superseded loads go afterwards."""
        load = self.warehouse.expect_load(context.partition_key)
        started = time.perf_counter()
        report = self.lake.write(load.load_id, obj)
        removed = self.lake.remove(self.warehouse.superseded(context.partition_key, load.load_id))
        context.add_output_metadata(
            {
                "dagster/partition_row_count": report.rows,
                "dagster/uri": self.lake.uri(),
                "parts": report.parts,
                "parts_of_older_loads_removed": removed,
                "bytes": report.size,
                "seconds": round(time.perf_counter() - started, 3),
                "read it": dg.MetadataValue.md(f"```sql\n{self.lake.example_query()}\n```"),
            }
        )

    def load_input(self, context: dg.InputContext) -> None:
        """The lake is read by other programs."""
        raise NotImplementedError("read the lake with DuckDB, pandas or Arrow")


def _told(
    batches: Iterator[pa.RecordBatch], tell: Callable[[str], None], head: list[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Say every few seconds how far a load is, and keep its first rows."""
    started = last = time.monotonic()
    rows = 0
    with closing(batches):  # type: ignore[type-var]
        for batch in batches:
            if not head:
                head.append(batch.slice(0, PREVIEW_ROWS))
            yield batch
            rows += batch.num_rows
            now = time.monotonic()
            if now - last >= SECONDS_BETWEEN_PROGRESS:
                last = now
                tell(f"{rows:,} rows so far, {rows / (now - started):,.0f} a second")


def _preview(head: list[pa.RecordBatch]) -> dg.MetadataValue:
    # A column that no row of the file can fill does not come.
    columns = [name for name in PREVIEW_COLUMNS if head and name in head[0].schema.names]
    rows = head[0].select(columns).to_pylist() if head else []
    return dg.MetadataValue.md(preview_table(rows, columns) if rows else "no rows")


def _loaded(load: VariantLoad, current: CurrentLoad, report: CopyReport) -> dict[str, Any]:
    tally = load.tally()
    return {
        "outcome": "reloaded: the file changed" if current.is_reload else "loaded",
        "dagster/partition_row_count": report.rows,
        "dagster/table_name": VARIANTS_TABLE,
        "load": str(load.load_id),
        "records": tally.records,
        "alleles_in_file": tally.alleles,
        "loaded": tally.loaded,
        "skipped": sum(tally.skipped.values()),
        "skipped and tolerated": dg.MetadataValue.md(reasons_table(tally)),
        "content_hash": tally.content_hash,
        **_rate(report),
    }


def _nothing_new(known: CurrentLoad, load: VariantLoad) -> dict[str, Any]:
    same = known.partition_key == load.file.partition_key
    return {
        "outcome": "already loaded: the same content stands"
        + ("" if same else f", dropped as {known.partition_key!r}"),
        "dagster/partition_row_count": known.loaded,
        "dagster/table_name": VARIANTS_TABLE,
        "load": str(known.load_id),
        "loaded": 0,
    }


def _rate(report: CopyReport) -> dict[str, Any]:
    return {
        "seconds": round(report.seconds, 3),
        "rows_per_second": round(report.rows_per_second),
        "bytes_to_server": report.bytes,
    }
