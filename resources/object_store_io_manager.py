"""Tables and bytes that an asset returns, kept as one object for each partition.

An asset may say where in its metadata: `object_key`, a template such as `"reports/{partition}.parquet"`, with
the dimensions of a multi-dimensional partition by name. The default is the asset's key, the partition's key
and `.parquet` (`.bin` for bytes). `preview: False` keeps the rows out of Dagster's event log.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from resources.object_store import ObjectKeyError, ObjectNotFoundError, ObjectStoreResource, stored_key
from resources.partition_slices import asset_label, input_partitions, output_slices, wanted_type
from resources.preview import preview_table

if TYPE_CHECKING:
    import pyarrow as pa

PREVIEW_ROWS = 5
PREVIEW_COLUMNS = 20
ROW_GROUP_ROWS = 122_880
ROW_GROUP_BYTES = 64 * 1024 * 1024


class ObjectValueError(ValueError):
    """A value that cannot be kept as an object, or an asset whose objects cannot be named."""


@dataclass
class _Written:
    """What one object holds."""

    partition: str | None
    key: str
    size: int = 0
    rows: int | None = None
    schema: Any = None
    first: list[dict[str, Any]] = field(default_factory=list)


class ObjectStoreIOManager(dg.ConfigurableIOManager):
    """Parquet for tables, plain objects for bytes; a run of several partitions gives a dict of them."""

    objects: dg.ResourceDependency[ObjectStoreResource]

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Stores a `pa.Table`, a DataFrame, a stream of record batches, or bytes.

        A stream is an iterator of `pa.RecordBatch`, a `pa.RecordBatchReader`, or anything with `schema` and
        `batches`; it goes to a local file first, so memory stays flat, and one that fails leaves no object.

        Raises:
            ObjectValueError: the value is of no such type, or a stream has neither batches nor a schema.
        """
        if obj is None:
            return
        started = time.monotonic()
        written = [self._write(context, partition, value) for partition, value in output_slices(context, obj)]
        context.add_output_metadata(self._metadata(context, written, time.monotonic() - started))

    def load_input(self, context: dg.InputContext) -> Any:
        """Reads objects back as the input's annotation asks.

        `pd.DataFrame`, `pa.Table`, `pa.RecordBatchReader` (streams) or `bytes`; without an annotation, a
        DataFrame or bytes by the object's name. The input's metadata `columns` selects columns. Several
        partitions come as a dict.

        Raises:
            ObjectNotFoundError: a partition has no object; the message names the one to materialize.
        """
        by_partition, wanted = wanted_type(context)
        partitions = input_partitions(context)
        if partitions is None:
            return self._read(context, None, wanted)
        if not by_partition:
            return self._read(context, partitions[0], wanted)
        return {key: self._read(context, key, wanted) for key in partitions}

    def _write(self, context: dg.OutputContext, partition: str | None, value: Any) -> _Written:
        binary = isinstance(value, bytes | bytearray | memoryview)
        written = _Written(partition, _object_key(context, partition, ".bin" if binary else ".parquet"))
        if binary:
            written.size = len(memoryview(value).cast("B"))
            self.objects.put_bytes(written.key, value)
            return written
        schema, batches = _stream(value, asset_label(context))
        with self.objects.create(written.key) as path:
            _write_parquet(path, schema, batches, written, _wants_preview(context))
            written.size = path.stat().st_size
        return written

    def _read(self, context: dg.InputContext, partition: str | None, wanted: Any) -> Any:
        output = context.upstream_output
        asset = asset_label(context)
        if output is None:
            raise ObjectValueError(
                f"{asset}: the asset that wrote this input is not known here, nor is its object's key. "
                "Remedy: load the input from an asset of this code location."
            )
        endings = (
            (".bin",) if wanted is bytes else (".parquet",) if _is_table(wanted) else (".parquet", ".bin")
        )
        keys = list(dict.fromkeys(_object_key(output, partition, ending) for ending in endings))
        key = next((key for key in keys if self.objects.exists(key)), None)
        if key is None:
            what = asset if partition is None else f"partition {partition!r} of {asset}"
            raise ObjectNotFoundError(
                f"{asset}: no object at {self.objects.uri(keys[0])}. Remedy: materialize {what} first."
            )
        if wanted is bytes or not (_is_table(wanted) or key.endswith(".parquet")):
            return self.objects.read_bytes(key)
        return self._read_table(key, context.definition_metadata.get("columns"), wanted, asset)

    def _read_table(self, key: str, columns: Sequence[str] | None, wanted: Any, asset: str) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        # One object is one file: opened like this, pyarrow does not take `name=value` folders for columns.
        parquet = pq.ParquetFile(self.objects.open(key), pre_buffer=True)
        names = [columns] if isinstance(columns, str) else None if columns is None else list(columns)
        absent = sorted(set(names or ()) - set(parquet.schema_arrow.names))
        if absent:
            raise ObjectValueError(
                f"{asset}: {self.objects.uri(key)} has no column {', '.join(map(repr, absent))}; it has "
                f"{', '.join(parquet.schema_arrow.names)}. Remedy: correct the input's `columns`."
            )
        if wanted is pa.RecordBatchReader:
            schema = parquet.schema_arrow
            if names is not None:
                schema = pa.schema([schema.field(name) for name in names], metadata=schema.metadata)
            batches = (batch.select(schema.names) for batch in parquet.iter_batches(columns=names))
            return pa.RecordBatchReader.from_batches(schema, batches)
        table = parquet.read(columns=names)
        if names is not None:
            table = table.select(names)
        return table if wanted is pa.Table else table.to_pandas()

    def _metadata(self, context: dg.OutputContext, written: list[_Written], seconds: float) -> dict[str, Any]:
        size = sum(one.size for one in written)
        rows = None if any(one.rows is None for one in written) else sum(one.rows or 0 for one in written)
        metadata: dict[str, Any] = {
            "bytes": size,
            "seconds": round(seconds, 3),
            "bytes_per_second": round(size / max(seconds, 1e-6)),
        }
        if rows is not None:
            metadata["rows_per_second"] = round(rows / max(seconds, 1e-6), 1)
            metadata["dagster/column_schema"] = _column_schema(written[0].schema)
        if len(written) == 1:
            metadata["key"] = written[0].key
            metadata["dagster/uri"] = self.objects.uri(written[0].key)
            if rows is not None:
                partitioned = written[0].partition is not None
                metadata["dagster/partition_row_count" if partitioned else "dagster/row_count"] = rows
        else:
            shown = [vars(one) for one in written[:100]]
            columns = ["partition", "key", "size", "rows"]
            metadata["objects"] = len(written)
            metadata["partitions"] = dg.MetadataValue.md(preview_table(shown, columns, cell=120))
            if rows is not None:
                metadata["rows"] = rows
        first = [row for one in written for row in one.first][:PREVIEW_ROWS]
        if first:
            metadata["preview"] = dg.MetadataValue.md(preview_table(first, list(first[0])[:PREVIEW_COLUMNS]))
        return metadata


def _object_key(output: dg.OutputContext, partition: str | None, ending: str) -> str:
    """The object's key for one partition.

    Raises:
        ObjectValueError: the template names something that the partition has not, or gives no usable key.
    """
    asset = asset_label(output)
    template = output.definition_metadata.get("object_key")
    if template is None:
        parts = list(output.asset_key.path) if output.has_asset_key else [output.run_id, output.name]
        key = "/".join([*parts, *([] if partition is None else [partition])]) + ending
    else:
        key = _filled(str(template), _fields(output, partition), asset)
    try:
        stored_key(key)
    except ObjectKeyError as error:
        raise ObjectValueError(f"{asset}, partition {partition!r}: {error}") from None
    return key


def _filled(template: str, fields: dict[str, str], asset: str) -> str:
    try:
        return template.format_map(fields)
    except (KeyError, ValueError, IndexError, AttributeError) as error:
        raise ObjectValueError(
            f"{asset}: its metadata `object_key` {template!r} cannot be filled ({error!r}); known here: "
            f"{', '.join(f'{{{name}}}' for name in fields) or 'nothing, it has no partitions'}. "
            "Remedy: use those names only."
        ) from None


def _fields(output: dg.OutputContext, partition: str | None) -> dict[str, str]:
    if partition is None:
        return {}
    definition = output.asset_partitions_def
    if not isinstance(definition, dg.MultiPartitionsDefinition):
        return {"partition": partition}
    dimensions = definition.get_partition_key_from_str(partition).keys_by_dimension
    return {"partition": partition, **dimensions}


def _wants_preview(output: dg.OutputContext) -> bool:
    return output.definition_metadata.get("preview") is not False


def _is_table(wanted: Any) -> bool:
    import pyarrow as pa

    if wanted in (pa.Table, pa.RecordBatchReader):
        return True
    return isinstance(wanted, type) and wanted.__name__ == "DataFrame"


def _stream(value: Any, asset: str) -> "tuple[pa.Schema, Iterable[pa.RecordBatch]]":
    """The value as a schema and record batches; the schema of a bare iterator is that of its first batch."""
    import pyarrow as pa

    if isinstance(value, pa.Table):
        return value.schema, value.to_batches()
    if isinstance(value, pa.RecordBatch):
        return value.schema, [value]
    if isinstance(value, pa.RecordBatchReader):
        return value.schema, value
    if type(value).__name__ == "DataFrame":
        table = pa.Table.from_pandas(value)
        return table.schema, table.to_batches()
    if hasattr(value, "schema") and hasattr(value, "batches"):
        return value.schema, value.batches
    if isinstance(value, Iterator):
        first = next(value, None)
        if first is None:
            raise ObjectValueError(
                f"{asset}: the stream ended before its first batch, so its columns are not known. "
                "Remedy: return pa.RecordBatchReader.from_batches(schema, batches), which may be empty."
            )
        if isinstance(first, pa.RecordBatch):
            return first.schema, chain([first], value)
    raise ObjectValueError(
        f"{asset}: a {type(value).__name__} cannot be kept as an object. Remedy: return a pa.Table, a "
        "DataFrame, an iterator of record batches, or bytes."
    )


def _write_parquet(
    path: Path, schema: "pa.Schema", batches: "Iterable[pa.RecordBatch]", written: _Written, preview: bool
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    written.schema, written.rows = schema, 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for group in _row_groups(batches):
            table = pa.Table.from_batches(group, schema)
            writer.write_table(table, row_group_size=len(table))
            written.rows += len(table)
            if preview and len(written.first) < PREVIEW_ROWS:
                written.first += table.slice(0, PREVIEW_ROWS - len(written.first)).to_pylist()


def _row_groups(batches: "Iterable[pa.RecordBatch]") -> "Iterator[list[pa.RecordBatch]]":
    """Batches gathered to the size of a row group, because readers pay for each group."""
    group: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        if not batch.num_rows:
            continue
        group.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows >= ROW_GROUP_ROWS or size >= ROW_GROUP_BYTES:
            yield group
            group, rows, size = [], 0, 0
    if group:
        yield group


def _column_schema(schema: "pa.Schema") -> dg.TableSchema:
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                str(column.type),
                constraints=dg.TableColumnConstraints(nullable=column.nullable),
            )
            for column in schema
        ]
    )
