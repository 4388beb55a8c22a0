"""Rows of a PostgreSQL table as Arrow record batches, streamed by COPY TO.

The server writes CSV, which pyarrow parses in bounded blocks; the types follow the table's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resources.copy_encoding import FLOAT_BITS, INTEGER_BITS
from resources.postgres_catalogue import PostgresColumn, PostgresType, table_columns, table_identifier

if TYPE_CHECKING:
    import pandas as pd
    import psycopg
    import pyarrow as pa
    from psycopg import sql


@dataclass(frozen=True)
class _Reading:
    """How a column comes back: what to select, as which CSV types, and how these make the Arrow array."""

    name: str
    type: pa.DataType
    selected: list[str]
    csv: list[pa.DataType]
    build: Callable[[list[pa.Array]], pa.Array]


def read_schema(
    connection: psycopg.Connection[Any], table: str, columns: Sequence[str] | None = None
) -> pa.Schema:
    """The schema of what `read_batches` gives for these columns."""
    import pyarrow as pa

    return pa.schema([(r.name, r.type) for r in _readings(connection, table, columns)[0]])


def read_batches(
    connection: psycopg.Connection[Any],
    table: str,
    columns: Sequence[str] | None = None,
    where: Mapping[str, Any] | None = None,
    order_by: Sequence[str] = (),
    *,
    batch_bytes: int = 4 << 20,
) -> Iterator[pa.RecordBatch]:
    """Rows of a table as record batches; memory is bounded by `batch_bytes` of CSV.

    An int8range comes back as struct<lower, upper> (an empty one with both bounds 0), jsonb and uuid as text,
    arrays as lists, numeric(p, s) as decimal, any type without a counterpart as its text.

    Args:
        connection: is busy until the iterator is exhausted or closed.
        table: `schema.name`.
        columns: names, in the order wanted; default: all.
        where: column = value for each entry; a list stands for any of its values, None for NULL.
        order_by: names of columns; default: no order.
        batch_bytes: bytes of CSV for one batch.

    Raises:
        LookupError: no such table, or no such column in it.
    """
    readings, query, values = _select(connection, table, columns, where, order_by)
    yield from _batches(connection, readings, query, values, batch_bytes)


def query_schema(columns: Sequence[PostgresColumn]) -> pa.Schema:
    """The schema of what `read_query` gives for these columns."""
    import pyarrow as pa

    return pa.schema([(reading.name, reading.type) for reading in map(_reading, columns)])


def read_query(
    connection: psycopg.Connection[Any],
    query: sql.Composable,
    values: Sequence[Any],
    columns: Sequence[PostgresColumn],
    *,
    batch_bytes: int = 4 << 20,
) -> Iterator[pa.RecordBatch]:
    """Rows of a query as record batches, in the query's order; types come back as those of `read_batches`.

    Args:
        connection: is busy until the iterator is exhausted or closed.
        query: a SELECT.
        values: its parameters; COPY takes none, so psycopg quotes them as literals.
        columns: what the query gives, by name and type.
        batch_bytes: bytes of CSV for one batch.
    """
    from psycopg import sql

    readings = [_reading(column) for column in columns]
    copy = sql.SQL("COPY (SELECT {} FROM ({}) AS result) TO STDOUT (FORMAT csv)").format(
        _expressions(readings), query
    )
    yield from _batches(connection, readings, copy, values, batch_bytes)


def _batches(
    connection: psycopg.Connection[Any],
    readings: Sequence[_Reading],
    query: sql.Composed,
    values: Sequence[Any],
    batch_bytes: int,
) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    import pyarrow.csv

    csv_types = {
        f"{at}.{part}": kind for at, reading in enumerate(readings) for part, kind in enumerate(reading.csv)
    }
    read_options = pa.csv.ReadOptions(column_names=list(csv_types), use_threads=False)
    parse_options = pa.csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False)
    convert_options = pa.csv.ConvertOptions(
        column_types=csv_types,
        null_values=[""],
        true_values=["t"],
        false_values=["f"],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    schema = pa.schema([(r.name, r.type) for r in readings])

    def batch(lines: list[Any], size: int) -> pa.RecordBatch:
        # One block, so that no row is larger than a block.
        read_options.block_size = size + 1
        parsed = pa.csv.read_csv(
            pa.BufferReader(b"".join(lines)), read_options, parse_options, convert_options
        )
        parts = iter(parsed.combine_chunks().columns)
        arrays = [
            reading.build([_one_chunk(next(parts)) for _ in reading.csv]).cast(reading.type)
            for reading in readings
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    # How long the server has to wait is the reader's matter.
    connection.execute("SELECT set_config('statement_timeout', '0', true)")
    with connection.cursor() as cursor, cursor.copy(query, values) as copy:
        lines, size = [], 0
        for line in copy:
            lines.append(line)
            size += len(line)
            if size >= batch_bytes:
                yield batch(lines, size)
                lines, size = [], 0
        if lines:
            yield batch(lines, size)


def read_table(
    connection: psycopg.Connection[Any],
    table: str,
    columns: Sequence[str] | None = None,
    where: Mapping[str, Any] | None = None,
    order_by: Sequence[str] = (),
) -> pa.Table:
    """As `read_batches`, in one Arrow table."""
    import pyarrow as pa

    schema = read_schema(connection, table, columns)
    return pa.Table.from_batches(read_batches(connection, table, columns, where, order_by), schema)


def read_pandas(
    connection: psycopg.Connection[Any],
    table: str,
    columns: Sequence[str] | None = None,
    where: Mapping[str, Any] | None = None,
    order_by: Sequence[str] = (),
) -> pd.DataFrame:
    """As `read_batches`, in one pandas data frame."""
    return as_pandas(read_table(connection, table, columns, where, order_by))


def as_pandas(table: pa.Table) -> pd.DataFrame:
    """The table in pandas; integers with NULLs become nullable ones, as floats would not hold them all."""
    import pandas as pd
    import pyarrow as pa

    nullable = {pa.int16(): pd.Int16Dtype(), pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype()}
    frame: pd.DataFrame = table.to_pandas()
    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.null_count and column.type in nullable:
            frame[name] = pd.array(column.to_pylist(), dtype=nullable[column.type])
    return frame


def condition(
    where: Mapping[str, Any], columns: Sequence[PostgresColumn], table: str
) -> tuple[sql.Composable, list[Any]]:
    """A WHERE clause (without the word) and its parameters; TRUE where nothing is asked.

    Raises:
        LookupError: the table has no such column.
    """
    from psycopg import sql

    known = {column.name: column for column in columns}
    clauses: list[sql.Composable] = []
    values: list[Any] = []
    for name, value in where.items():
        if name not in known:
            raise LookupError(_no_column(table, name, known))
        identifier = sql.Identifier(name)
        if value is None:
            clauses.append(sql.SQL("{} IS NULL").format(identifier))
            continue
        is_list = isinstance(value, Sequence) and not isinstance(value, str | bytes)
        operator = sql.SQL("{} = ANY(%s::text[]::{}[])" if is_list else "{} = %s::text::{}")
        # The cast's name is the catalogue's own spelling of the type.
        clauses.append(operator.format(identifier, sql.SQL(known[name].cast_name)))
        values.append([str(item) for item in value] if is_list else str(value))
    return (sql.SQL(" AND ").join(clauses) if clauses else sql.SQL("TRUE")), values


def _no_column(table: str, name: str, known: Iterable[str]) -> str:
    return f"table {table} has no column {name}. Remedy: use one of {', '.join(known)}"


def _select(
    connection: psycopg.Connection[Any],
    table: str,
    columns: Sequence[str] | None,
    where: Mapping[str, Any] | None,
    order_by: Sequence[str],
) -> tuple[list[_Reading], sql.Composed, list[Any]]:
    from psycopg import sql

    readings, known = _readings(connection, table, columns)
    for name in order_by:
        if name not in {column.name for column in known}:
            raise LookupError(_no_column(table, name, [column.name for column in known]))
    clause, values = condition(where or {}, known, table)
    order = (
        sql.SQL(" ORDER BY {}").format(sql.SQL(", ").join(map(sql.Identifier, order_by)))
        if order_by
        else sql.SQL("")
    )
    query = sql.SQL("COPY (SELECT {} FROM {} WHERE {}{}) TO STDOUT (FORMAT csv)").format(
        _expressions(readings), table_identifier(table), clause, order
    )
    return readings, query, values


def _expressions(readings: Sequence[_Reading]) -> sql.Composed:
    from psycopg import sql

    return sql.SQL(", ").join(
        sql.SQL(part).format(sql.Identifier(reading.name))
        for reading in readings
        for part in reading.selected
    )


def _readings(
    connection: psycopg.Connection[Any], table: str, columns: Sequence[str] | None
) -> tuple[list[_Reading], list[PostgresColumn]]:
    known = table_columns(connection, table)
    by_name = {column.name: column for column in known}
    wanted = list(by_name) if columns is None else list(columns)
    for name in wanted:
        if name not in by_name:
            raise LookupError(_no_column(table, name, by_name))
    if not wanted:
        raise LookupError(f"no column of table {table} is asked for. Remedy: name at least one")
    return [_reading(by_name[name]) for name in wanted], known


def _reading(column: PostgresColumn) -> _Reading:
    import pyarrow as pa

    def of(
        selected: str, csv: pa.DataType, kind: pa.DataType, build: Callable[[pa.Array], pa.Array] = _as_parsed
    ) -> _Reading:
        return _Reading(column.name, kind, [selected], [csv], lambda parts: build(parts[0]))

    name = column.type.name
    if column.type.element is not None:
        element = _element_type(column.type.element)
        kind = pa.list_(element)
        return of("to_json({})::text", pa.string(), kind, lambda texts: _lists(texts, kind))
    if name == "int8range":
        return _range_reading(column.name)
    if name in INTEGER_BITS or name in FLOAT_BITS or name == "bool":
        kind = _element_type(column.type)
        return of("{}", kind, kind)
    if name == "bytea":
        return of("encode({}, 'hex')", pa.string(), pa.binary(), _from_hex)
    if name == "date":
        return of("{} - date '1970-01-01'", pa.int32(), pa.date32())
    if name in {"timestamp", "timestamptz"}:
        micros = "(extract(epoch FROM {}) * 1000000)::bigint"
        return of(micros, pa.int64(), pa.timestamp("us", "UTC" if name == "timestamptz" else None))
    if (
        name == "numeric"
        and (found := re.fullmatch(r"numeric\((\d+),(\d+)\)", column.type_name))
        and int(found[1]) <= 38
    ):
        kind = pa.decimal128(int(found[1]), int(found[2]))
        return of("{}", kind, kind)
    return of("{}::text", pa.string(), pa.string())


def _as_parsed(array: pa.Array) -> pa.Array:
    return array


def _range_reading(name: str) -> _Reading:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = pa.struct([("lower", pa.int64()), ("upper", pa.int64())])
    bound = "CASE WHEN isempty({{0}}) THEN 0 ELSE {}({{0}}) END"

    def build(parts: list[pa.Array]) -> pa.Array:
        missing, *bounds = parts
        lower, upper = (pc.if_else(missing, 0, bound) for bound in bounds)
        return pa.StructArray.from_arrays([lower, upper], fields=list(kind), mask=missing)

    selected = ["{0} IS NULL", bound.format("lower"), bound.format("upper")]
    return _Reading(name, kind, selected, [pa.bool_(), pa.int64(), pa.int64()], build)


def _element_type(kind: PostgresType) -> pa.DataType:
    import pyarrow as pa

    named = {
        "int2": pa.int16(),
        "int4": pa.int32(),
        "int8": pa.int64(),
        "float4": pa.float32(),
        "float8": pa.float64(),
        "bool": pa.bool_(),
    }
    return named.get(kind.name, pa.string())


def _lists(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    """Arrays from their JSON; each distinct text is parsed once, and all of them at once."""
    import pyarrow as pa
    from pyarrow import types

    encoded = texts.dictionary_encode()
    values = json.loads(f"[{','.join(encoded.dictionary.to_pylist())}]")
    if types.is_floating(kind.value_type):
        # JSON has no NaN and no infinity: the server writes them as strings.
        values = [[None if item is None else float(item) for item in value] for value in values]
    if types.is_string(kind.value_type):
        values = [
            [item if item is None or isinstance(item, str) else json.dumps(item) for item in value]
            for value in values
        ]
    return pa.array(values, kind).take(encoded.indices)


def _from_hex(texts: pa.Array) -> pa.Array:
    import pyarrow as pa

    return pa.array(
        [None if text is None else bytes.fromhex(text) for text in texts.to_pylist()], pa.binary()
    )


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
