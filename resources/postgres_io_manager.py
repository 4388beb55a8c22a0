"""Tables that an asset returns, kept in PostgreSQL: the rows of a partition are replaced in one transaction.

An asset says where they go in its metadata:

- `table`: `schema.name`; default is the last two parts of the asset's key. Migrations make the table.
- `partition_expr`: the column that holds the partition's key (a dict {dimension: column} where partitions
  have several dimensions). Without it the asset has no partitions, and all rows of the table are replaced.
- `optional_columns`: columns that the asset may leave out besides those that the server fills by itself.
- `preview`: False keeps the rows' contents out of Dagster's event log (personal data).

An asset returns an Arrow table, a record batch or a reader of them, a pandas data frame, or `Records`,
which streams in flat memory. A run of several partitions returns a dict {partition_key: value}, or one
table whose `partition_expr` column says which rows belong to which partition. Everything is checked
against the table before anything is written.

An input's metadata `columns` names the columns to read; its annotation says what it gets: `pd.DataFrame`,
`pa.Table`, `pa.RecordBatchReader`, or a dict of one of these by partition.
"""

import collections.abc
import itertools
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import dagster as dg

from resources.partition_slices import asset_label, input_partitions, output_slices
from resources.postgres import PostgresResource, session_name
from resources.preview import column_schema, preview_table

if TYPE_CHECKING:
    import psycopg
    import pyarrow as pa

    from resources.copy_binary import CopyReport
    from resources.postgres_catalogue import PostgresColumn

PREVIEW_ROWS = 5
# One lock for each partition up to here; a run of more partitions locks the table against other writers.
MOST_PARTITION_LOCKS = 200


class TableMismatchError(dg.Failure):
    """What an asset returned does not fit its table. Nothing was written, and trying again cannot help."""

    def __init__(self, description: str) -> None:
        super().__init__(description=description, allow_retries=False)


class MissingPartitionError(dg.Failure):
    """An input asks for rows that were never written."""

    def __init__(self, description: str) -> None:
        super().__init__(description=description, allow_retries=False)


@dataclass(frozen=True)
class Records:
    """Rows that are made while they are written.

    Attributes:
        schema: of every batch.
        batches: record batches; made in a background thread, at most a few ahead of the server.
        metadata: added to the output's metadata; a function is called once the batches are used up.
    """

    schema: "pa.Schema"
    batches: "Iterable[pa.RecordBatch]"
    metadata: Mapping[str, Any] | Callable[[], Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class SliceWrite:
    """One partition's rows on their way into a table.

    Attributes:
        table: `schema.name`.
        columns: the table's, from the catalogue.
        partition_key: None for an asset without partitions.
        slice: the columns that hold the partition, with its values; empty: all rows of the table.
        records: the new rows.
    """

    table: str
    columns: "Sequence[PostgresColumn]"
    partition_key: str | None
    slice: Mapping[str, str]
    records: Records


class PostgresIOManager(dg.ConfigurableIOManager):
    """Writes what assets return to PostgreSQL tables, and reads it back.

    Subclasses may override `before_write`, `replace_slice` and `after_write`; they run inside the one
    transaction.
    """

    postgres: dg.ResourceDependency[PostgresResource]

    # -- hooks ----------------------------------------------------------------------------------------

    def before_write(
        self, cursor: "psycopg.Cursor[Any]", context: dg.OutputContext, write: SliceWrite
    ) -> None:
        """Called for each slice before its old rows go; writers of the same slice wait already."""

    def replace_slice(
        self, cursor: "psycopg.Cursor[Any]", context: dg.OutputContext, write: SliceWrite
    ) -> None:
        """Remove the rows that the new ones replace."""
        from psycopg import sql

        from resources.copy_reading import condition
        from resources.postgres_catalogue import table_identifier

        clause, values = condition(write.slice, write.columns, write.table)
        cursor.execute(
            sql.SQL("DELETE FROM {} WHERE {}").format(table_identifier(write.table), clause), values
        )

    def after_write(
        self,
        cursor: "psycopg.Cursor[Any]",
        context: dg.OutputContext,
        write: SliceWrite,
        report: "CopyReport",
    ) -> Mapping[str, Any]:
        """Called for each slice after its new rows are in, before the commit; gives metadata to add."""
        return {}

    # -- writing --------------------------------------------------------------------------------------

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Replace the partition's rows (all rows of an asset without partitions) by what the asset returned.

        Raises:
            TableMismatchError: the value does not fit the table.
        """
        if obj is None:
            return
        table = _table(context)
        name = session_name(context.run_id, context.step_key)
        with (
            self.postgres.connection(
                application_name=name, statement_timeout=0, lock_timeout=0
            ) as connection,
            connection.cursor() as cursor,
        ):
            columns = _columns(connection, table, asset_label(context))
            writes = _writes(context, obj, table, columns)
            for write in writes:
                _check(context, write)
            _lock(cursor, table, [write.partition_key for write in writes])
            metadata = self._write(cursor, context, writes)
        context.add_output_metadata(metadata)

    def _write(
        self, cursor: "psycopg.Cursor[Any]", context: dg.OutputContext, writes: Sequence[SliceWrite]
    ) -> dict[str, Any]:
        from resources.copy_binary import CopyError, CopyReport, UnsupportedTypeError, copy_batches

        total = CopyReport(0, 0, 0.0)
        preview: list[dict[str, Any]] = []
        added: dict[str, Any] = {}
        for write in writes:
            self.before_write(cursor, context, write)
            self.replace_slice(cursor, context, write)
            records = write.records
            try:
                report = copy_batches(
                    cursor.connection,
                    write.table,
                    _observed(context, write, preview),
                    schema=records.schema,
                    columns=write.columns,
                )
            except (CopyError, UnsupportedTypeError) as error:
                raise TableMismatchError(
                    f"{_place(context, write)}: {error}. Nothing was written."
                ) from error
            added |= self.after_write(cursor, context, write, report) or {}
            added |= records.metadata() if callable(records.metadata) else records.metadata
            total = CopyReport(
                total.rows + report.rows, total.bytes + report.bytes, total.seconds + report.seconds
            )
        return _metadata(writes, total, preview) | added

    # -- reading --------------------------------------------------------------------------------------

    def load_input(self, context: dg.InputContext) -> Any:
        """The rows of the upstream partitions that this run spans, as the input's annotation wants them.

        Raises:
            MissingPartitionError: a partition was never written.
        """
        keys = input_partitions(context)
        if keys is None:
            return self._loaded(context, None, context.dagster_type.typing_type)
        annotation = context.dagster_type.typing_type
        if typing.get_origin(annotation) in (dict, collections.abc.Mapping):
            kind = typing.get_args(annotation)[1]
            return {key: self._loaded(context, [key], kind) for key in keys}
        return self._loaded(context, keys, annotation)

    def _loaded(self, context: dg.InputContext, keys: Sequence[str] | None, kind: Any) -> Any:
        import pyarrow as pa

        from resources.copy_reading import as_pandas

        if kind is pa.RecordBatchReader:
            return self._reader(context, keys)
        if kind is pa.Table:
            return self._reader(context, keys).read_all()
        if kind is Any or _is_pandas(kind):
            return as_pandas(self._reader(context, keys).read_all())
        raise TableMismatchError(
            f"{asset_label(context)} cannot be read as {kind}. "
            "Remedy: annotate the input pd.DataFrame, pa.Table or pa.RecordBatchReader."
        )

    def _reader(self, context: dg.InputContext, keys: Sequence[str] | None) -> "pa.RecordBatchReader":
        """The rows as a stream; the connection is given back when it ends."""
        import pyarrow as pa

        from resources.copy_reading import read_batches, read_schema

        table = _table(context)
        columns = (context.definition_metadata or {}).get("columns")
        slices = _read_slices(context, keys)
        name = _reader_name(context)

        def batches() -> Iterator[pa.RecordBatch]:
            with self.postgres.connection(application_name=name, statement_timeout=0) as connection:
                for where in slices:
                    yield from read_batches(connection, table, columns, where)

        label = asset_label(context)
        with self.postgres.connection(application_name=name) as connection:
            try:
                schema = read_schema(connection, table, columns)
            except LookupError as error:
                raise TableMismatchError(f"{label}: {error.args[0]}.") from error
            for key in _never_materialized(context, keys):
                if not _has_rows(connection, table, {} if key is None else _slice(context, key)):
                    raise MissingPartitionError(_nothing_there(label, table, key))
        return pa.RecordBatchReader.from_batches(schema, batches())


# -- what an output is, and where it goes -------------------------------------------------------------


def _table(context: dg.OutputContext | dg.InputContext) -> str:
    metadata = _asset_metadata(context)
    if "table" in metadata:
        return str(metadata["table"])
    return ".".join(context.asset_key.path[-2:])


def _asset_metadata(context: dg.OutputContext | dg.InputContext) -> Mapping[str, Any]:
    """The metadata of the asset that is written or read."""
    if isinstance(context, dg.OutputContext):
        return context.definition_metadata or {}
    upstream = context.upstream_output
    return {} if upstream is None else upstream.definition_metadata or {}


def _columns(connection: "psycopg.Connection[Any]", table: str, label: str) -> "list[PostgresColumn]":
    from resources.postgres_catalogue import NoSuchTableError, table_columns

    try:
        return table_columns(connection, table)
    except NoSuchTableError as error:
        raise TableMismatchError(f"{label}: {error}.") from error


def _slice(context: dg.OutputContext | dg.InputContext, key: str) -> dict[str, str]:
    """The columns that hold a partition, with its values."""
    holds = _asset_metadata(context).get("partition_expr")
    if holds is None:
        raise TableMismatchError(
            f"{asset_label(context)} has partitions, but does not say which column holds them. "
            "Remedy: name it in the asset's metadata `partition_expr`."
        )
    if isinstance(holds, str):
        return {holds: str(key)}
    if not isinstance(key, dg.MultiPartitionKey) or set(holds) != set(key.keys_by_dimension):
        raise TableMismatchError(
            f"{asset_label(context)}: `partition_expr` names the dimensions {', '.join(map(str, holds))}, "
            f"which are not those of partition {key!r}. Remedy: name each dimension's column once."
        )
    return {str(column): key.keys_by_dimension[dimension] for dimension, column in holds.items()}


def _writes(
    context: dg.OutputContext, value: Any, table: str, columns: "Sequence[PostgresColumn]"
) -> list[SliceWrite]:
    if context.has_asset_partitions and len(context.asset_partition_keys) > 1:
        value = _by_partition(context, value)
    writes = []
    for key, part in output_slices(context, value):
        where = {} if key is None else _slice(context, key)
        records = _records(asset_label(context), part, columns)
        writes.append(SliceWrite(table, columns, key, where, _with_slice(records, where)))
    return writes


def _by_partition(context: dg.OutputContext, value: Any) -> Any:
    """A table of several partitions, taken apart by the column that holds their keys."""
    import pyarrow as pa
    import pyarrow.compute as pc

    holds = _asset_metadata(context).get("partition_expr")
    if _is_pandas(type(value)):
        value = _from_pandas(asset_label(context), value, ())
    if not isinstance(value, pa.Table) or not isinstance(holds, str) or holds not in value.column_names:
        return value
    keys = list(context.asset_partition_keys)
    texts = value[holds].cast(pa.string())
    strangers = pc.unique(texts.filter(pc.invert(pc.is_in(texts, pa.array(keys, pa.string())))))
    if len(strangers):
        raise TableMismatchError(
            f"{asset_label(context)}: column {holds} holds {strangers[0].as_py()!r}, which is no partition "
            "of this run. Remedy: return the rows of the run's partitions only."
        )
    return {key: value.filter(pc.equal(texts, key)) for key in keys}


def _records(label: str, value: Any, columns: "Sequence[PostgresColumn]") -> Records:
    import pyarrow as pa

    if isinstance(value, Records):
        return value
    if isinstance(value, pa.RecordBatch):
        return Records(value.schema, [value])
    if _is_pandas(type(value)):
        value = _from_pandas(label, value, columns)
    if isinstance(value, pa.Table):
        return Records(value.schema, value.to_batches())
    if isinstance(value, pa.RecordBatchReader):
        return Records(value.schema, value)
    if isinstance(value, collections.abc.Iterator):
        first = next(value, None)
        if isinstance(first, pa.RecordBatch):
            return Records(first.schema, itertools.chain([first], value))
        if first is None:
            return Records(pa.schema([]), [])
        value = first
    raise TableMismatchError(
        f"{label}: {type(value).__name__} is not a table. Remedy: return an Arrow table, record batches, a "
        "pandas data frame or Records."
    )


def _is_pandas(kind: Any) -> bool:
    """Whether a type is pandas' data frame, without importing pandas for it."""
    return (
        isinstance(kind, type)
        and kind.__name__ == "DataFrame"
        and kind.__module__.partition(".")[0] == "pandas"
    )


def _from_pandas(label: str, frame: Any, columns: "Sequence[PostgresColumn]") -> "pa.Table":
    """The frame in Arrow. Whole numbers that pandas made floats, for want of NULL, become integers again."""
    import pyarrow as pa
    from pyarrow import types

    from resources.copy_encoding import INTEGER_BITS

    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise TableMismatchError(
            f"{label}: the data frame has a column of mixed or unknown types: "
            f"{'; '.join(map(str, error.args))}. Remedy: give each column one type."
        ) from error
    integers = {column.name for column in columns if column.type.name in INTEGER_BITS}
    for at, (name, column) in enumerate(zip(table.column_names, table.columns, strict=True)):
        if name in integers and types.is_floating(column.type):
            try:
                table = table.set_column(at, name, column.cast(pa.int64()))
            except pa.ArrowInvalid as error:
                raise TableMismatchError(
                    f"{label}: column {name} holds a number that is not whole ({error}), and its table wants "
                    "integers. Remedy: round it, or change the column by a migration."
                ) from error
    return table


def _with_slice(records: Records, where: Mapping[str, str]) -> Records:
    """The records with the columns that hold the partition, where the asset left these out."""
    import pyarrow as pa

    absent = {name: value for name, value in where.items() if name not in records.schema.names}
    if not absent:
        return records
    schema = records.schema
    for name in absent:
        schema = schema.append(pa.field(name, pa.string()))

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in records.batches:
            constants = [
                pa.repeat(pa.scalar(value, pa.string()), batch.num_rows) for value in absent.values()
            ]
            yield pa.RecordBatch.from_arrays([*batch.columns, *constants], schema=schema)

    return replace(records, schema=schema, batches=batches())


def _check(context: dg.OutputContext, write: SliceWrite) -> None:
    """Whether the new rows' columns are the table's; no row was made so far."""
    from resources.copy_encoding import BatchEncoder, CopyError, UnsupportedTypeError

    place = _place(context, write)
    names = write.records.schema.names
    if not names:
        return
    if repeated := {name for name in names if names.count(name) > 1}:
        raise TableMismatchError(f"{place}: column {min(repeated)} is there twice. Remedy: drop one of them.")
    known = {column.name: column for column in write.columns}
    if unknown := [name for name in names if name not in known or known[name].is_generated]:
        raise TableMismatchError(
            f"{place}: the table has no column {', '.join(unknown)} that can be written. Remedy: drop it "
            "from what the asset returns, or add it by a migration."
        )
    optional = set(_asset_metadata(context).get("optional_columns") or ())
    missing = [
        column.name
        for column in write.columns
        if column.name not in names and not column.fills_itself and column.name not in optional
    ]
    if missing:
        raise TableMismatchError(
            f"{place}: the asset does not return column {', '.join(missing)}. Remedy: return it (NULLs where "
            "nothing is known), or list it in the asset's metadata `optional_columns`."
        )
    try:
        BatchEncoder(write.records.schema, write.columns)
    except (UnsupportedTypeError, CopyError) as error:
        raise TableMismatchError(f"{place}: {error}.") from error


def _place(context: dg.OutputContext, write: SliceWrite) -> str:
    partition = "" if write.partition_key is None else f", partition {write.partition_key!r}"
    return f"{asset_label(context)}{partition}, table {write.table}"


def _lock(cursor: "psycopg.Cursor[Any]", table: str, keys: Sequence[str | None]) -> None:
    """Make writers of the same partitions wait in turn, until the transaction ends; readers do not wait.

    A writer of some partitions shares the table's lock with others; a writer of the whole table, or of many
    partitions, has it alone.
    """
    partitions = sorted(key for key in keys if key is not None)
    alone = None in keys or len(partitions) > MOST_PARTITION_LOCKS
    if alone:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s), 0)", (f"rows of {table}",))
        return
    cursor.execute("SELECT pg_advisory_xact_lock_shared(hashtext(%s), 0)", (f"rows of {table}",))
    for key in partitions:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtext(%s), hashtext(%s))", (f"partitions of {table}", key)
        )


def _observed(
    context: dg.OutputContext, write: SliceWrite, preview: list[dict[str, Any]]
) -> "Iterator[pa.RecordBatch]":
    """The batches as they pass: the first rows are kept, rows of another partition are refused."""
    shown = _asset_metadata(context).get("preview", True)
    batches = iter(write.records.batches)
    try:
        for batch in batches:
            if shown and len(preview) < PREVIEW_ROWS:
                preview += batch.slice(0, PREVIEW_ROWS - len(preview)).to_pylist()
            for name, value in write.slice.items():
                _check_partition(_place(context, write), batch, name, value)
            yield batch
    finally:
        close = getattr(batches, "close", None)
        if close is not None:
            close()


def _check_partition(place: str, batch: "pa.RecordBatch", name: str, value: str) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    column = batch.column(name)
    texts = column if pa.types.is_string(column.type) else column.cast(pa.string())
    if texts.null_count or not pc.all(pc.equal(texts, value), min_count=0).as_py():
        raise TableMismatchError(
            f"{place}: column {name} holds rows of another partition, which a later run would not replace. "
            f"Remedy: return {value!r} in it, or leave the column out."
        )


def _metadata(
    writes: Sequence[SliceWrite], report: "CopyReport", preview: list[dict[str, Any]]
) -> dict[str, Any]:
    columns = writes[0].columns
    metadata: dict[str, Any] = {
        "dagster/table_name": writes[0].table,
        "dagster/column_schema": column_schema(columns),
        "rows": report.rows,
        "bytes_copied": report.bytes,
        "seconds": round(report.seconds, 3),
        "rows_per_second": round(report.rows_per_second),
    }
    if writes[0].partition_key is None:
        metadata["dagster/row_count"] = report.rows
    elif len(writes) == 1:
        # In a run of several partitions each would be given the count of all of them.
        metadata["dagster/partition_row_count"] = report.rows
    if preview:
        metadata["preview"] = dg.MetadataValue.md(preview_table(preview, list(preview[0])))
    return metadata


# -- what an input asks for -----------------------------------------------------------------------------


def _read_slices(context: dg.InputContext, keys: Sequence[str] | None) -> list[Mapping[str, Any]]:
    """One condition for all partitions, or one for each where they have several dimensions."""
    if keys is None:
        return [{}]
    slices = [_slice(context, key) for key in keys]
    if slices and len(slices[0]) == 1:
        (name,) = slices[0]
        values = [where[name] for where in slices]
        return [{name: values if len(values) > 1 else values[0]}]
    return list(slices)


def _reader_name(context: dg.InputContext) -> str:
    """Names the run and the step that read; a value that is loaded by hand has neither."""
    with suppress(dg.DagsterInvariantViolationError):
        return session_name(context.step_context.run_id, context.step_context.step.key)
    return session_name(None, None)


def _never_materialized(context: dg.InputContext, keys: Sequence[str] | None) -> list[str | None]:
    """The partitions that the instance has no materialization of; None for an asset without partitions."""
    try:
        instance = context.instance
    except dg.DagsterInvariantViolationError:
        return [None] if keys is None else list(keys)
    if keys is None:
        return [] if instance.get_latest_materialization_event(context.asset_key) is not None else [None]
    known = instance.get_materialized_partitions(context.asset_key)
    return [key for key in keys if key not in known]


def _has_rows(connection: "psycopg.Connection[Any]", table: str, where: Mapping[str, Any]) -> bool:
    from psycopg import sql

    from resources.copy_reading import condition
    from resources.postgres_catalogue import table_columns, table_identifier

    clause, values = condition(where, table_columns(connection, table), table)
    query = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {})").format(table_identifier(table), clause)
    row = connection.execute(query, values).fetchone()
    return bool(row and row[0])


def _nothing_there(label: str, table: str, key: str | None) -> str:
    if key is None:
        return f"{label} was never materialized and table {table} is empty. Remedy: materialize {label}."
    return (
        f"{label}, partition {key!r} was never materialized and table {table} has no row of it. "
        f"Remedy: materialize partition {key!r} of {label}."
    )
