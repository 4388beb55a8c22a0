"""Rows of PostgreSQL's COPY BINARY format from Arrow record batches.

Each column is first brought to the Arrow type that its target is made of (range-checked casts, dictionaries
decoded, UUIDs parsed). Then its buffers are turned into rows: by a small C extension with the GIL released,
or by its Python twin where the extension was not built or `GENOMICS_NATIVE=0` is set. Both give the same
bytes. Nothing here talks to a server.

What goes where (a domain counts as its base type):

| Arrow | PostgreSQL |
|---|---|
| any string type | text, varchar, char, name, citext, enums, json, jsonb, uuid |
| integers | smallint, integer, bigint (range-checked); real, double precision where exact |
| floats | real, double precision |
| bool | boolean |
| any binary type | bytea |
| fixed_size_binary(16) | uuid |
| date32, date64 | date |
| timestamp with, without zone | timestamptz, timestamp |
| struct<lower: int64, upper: int64> | int8range `[lower, upper)`; equal bounds: empty; NULL: no bound |
| list<T> | T[] |
| dictionary<T>, run_end_encoded<T>, null | as T; NULLs |
"""

from __future__ import annotations

import functools
import itertools
import os
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from genomics_assets.ahead import close
from resources.postgres_catalogue import PostgresColumn, PostgresType

if TYPE_CHECKING:
    import pyarrow as pa

NanPolicy = Literal["keep", "null", "refuse"]

# A piece is what one call encodes and one queue slot holds: large enough to make the calls cheap, small
# enough that the pieces in flight do not matter for memory.
PIECE_BYTES = 1 << 20
# Casts copy a column; this bounds what they copy at a time when someone hands over one large batch.
ROWS_AT_ONCE = 65_536

_NULL = b"\xff\xff\xff\xff"

# PostgreSQL counts from 2000-01-01, Arrow from 1970-01-01.
_EPOCH_DAYS = 10_957
_EPOCH_MICROSECONDS = _EPOCH_DAYS * 86_400_000_000

_TEXT_TYPES = frozenset({"text", "varchar", "bpchar", "name", "citext", "json"})
INTEGER_BITS = {"int2": 16, "int4": 32, "int8": 64}
FLOAT_BITS = {"float4": 32, "float8": 64}


class CopyError(ValueError):
    """A value that the target table cannot take; nothing of the COPY is kept.

    Args:
        problem: what is wrong, as one clause.
        column: the target column, where it is known.
        row: 0-based row over the whole COPY, where it is known.
    """

    def __init__(self, problem: str, *, column: str | None = None, row: int | None = None) -> None:
        self.problem = problem
        self.column = column
        self.row = row
        super().__init__(problem)


class RepeatedKeyError(CopyError):
    """A row has the key of one that is there already; nothing of the COPY is kept."""


class UnsupportedTypeError(TypeError):
    """An Arrow column does not fit the type of its target column."""


@dataclass
class Progress:
    """How far a COPY is; it also turns a row of it back into a batch and a row in that.

    `rows` were encoded, `settled` rows were taken by the server for good.
    """

    rows: int = 0
    settled: int = 0
    batch_ends: list[int] = field(default_factory=list)

    def place(self, row: int) -> str:
        """Where a 0-based row of the COPY came from.

        >>> Progress(rows=5, batch_ends=[3, 5]).place(4)
        'row 4 (batch 1, row 1 of it; counted from 0)'
        """
        batch = bisect_right(self.batch_ends, row)
        begin = self.batch_ends[batch - 1] if batch else 0
        return f"row {row} (batch {batch}, row {row - begin} of it; counted from 0)"


class Piece(NamedTuple):
    """Encoded rows, and how many they are."""

    data: bytes
    rows: int


class Lane(NamedTuple):
    """One column as the encoders take it: what it is made of, and its buffers.

    `validity` is a bitmap of bits from `offset` on; `offsets` counts from `offset` too, and points into
    `values` (BYTES) or into the one child (LIST). `extra` is 1 for a jsonb's version byte, or a list's
    element OID.
    """

    kind: int
    width: int
    length: int
    offset: int
    validity: Any
    offsets: Any
    values: Any
    extra: int
    children: tuple[Lane, ...]

    def rows(self, start: int, length: int) -> Lane:
        """The lane of `length` rows from `start` on."""
        children = self.children
        if self.kind == _RANGE:
            children = tuple(child.rows(start, length) for child in children)
        return self._replace(offset=self.offset + start, length=length, children=children)


_NULLS, _FIXED, _RAW, _BOOL, _BYTES, _LIST, _RANGE = range(7)


@dataclass(frozen=True)
class _Codec:
    """How a column gets from its Arrow type to the wire: a cast, and what the lane needs to know besides."""

    prepare: Callable[[pa.Array], pa.Array]
    extra: int = 0
    element: _Codec | None = None


class BatchEncoder:
    """Encodes record batches of one schema for one table.

    Args:
        schema: of the batches.
        columns: of the table.
        nan: what becomes of NaN.

    Raises:
        UnsupportedTypeError: a column's type does not fit.
        CopyError: the schema has a column that the table has not.
    """

    def __init__(
        self, schema: pa.Schema, columns: Sequence[PostgresColumn], *, nan: NanPolicy = "keep"
    ) -> None:
        targets = {column.name: column for column in columns}
        self._schema = schema
        self._codecs: list[_Codec] = []
        for name, kind in zip(schema.names, schema.types, strict=True):
            if name not in targets:
                raise CopyError(f"column {name}: the table has no such column", column=name)
            codec = _codec(kind, targets[name].type, nan)
            if codec is None:
                raise UnsupportedTypeError(
                    f"column {name}: Arrow type {kind} does not go into PostgreSQL type "
                    f"{targets[name].type_name}. Remedy: {_remedy(targets[name].type)}"
                )
            self._codecs.append(codec)

    def pieces(self, batches: Iterator[pa.RecordBatch], progress: Progress | None = None) -> Iterator[Piece]:
        """COPY rows, without header and trailer, in pieces of about `PIECE_BYTES`."""
        progress = Progress() if progress is None else progress
        try:
            for batch in batches:
                if batch.schema.names != self._schema.names or batch.schema.types != self._schema.types:
                    raise UnsupportedTypeError(_schema_change(self._schema, batch.schema))
                for start in range(0, batch.num_rows, ROWS_AT_ONCE):
                    part = batch.slice(start, ROWS_AT_ONCE)
                    yield from self._encoded(part)
                    progress.rows += part.num_rows
                progress.batch_ends.append(progress.rows)
        finally:
            close(batches)

    def _encoded(self, batch: pa.RecordBatch) -> Iterator[Piece]:
        encode = _encoder()
        lanes = [
            self._lane(name, array, codec)
            for name, array, codec in zip(batch.schema.names, batch.columns, self._codecs, strict=True)
        ]
        rows = batch.num_rows
        if not rows:
            return
        step = max(1, min(rows, PIECE_BYTES * rows // max(1, batch.nbytes + rows * (2 + 4 * len(lanes)))))
        for start in range(0, rows, step):
            count = min(step, rows - start)
            yield Piece(encode(count, tuple(lane.rows(start, count) for lane in lanes)), count)

    @staticmethod
    def _lane(name: str, array: pa.Array, codec: _Codec) -> Lane:
        import pyarrow as pa

        try:
            return _lane(codec.prepare(array), codec)
        except (pa.ArrowInvalid, CopyError, ValueError) as error:
            raise CopyError(f"column {name}: {error}", column=name) from error


def _schema_change(first: pa.Schema, other: pa.Schema) -> str:
    for name in dict.fromkeys([*first.names, *other.names]):
        before = first.field(name).type if name in first.names else "absent"
        after = other.field(name).type if name in other.names else "absent"
        if before != after:
            return f"column {name}: its type changed between batches, from {before} to {after}"
    return "the order of the columns changed between batches"


def _remedy(target: PostgresType) -> str:
    if target.name in {"json", "jsonb"}:
        return "hand over the JSON as text, for example through json.dumps"
    if target.name == "timestamptz":
        return "give the timestamps a time zone (UTC), so that they name a moment"
    if target.name == "timestamp":
        return "hand over timestamps without a time zone"
    if target.name == "int8range":
        return "hand over struct<lower: int64, upper: int64>"
    if target.name == "numeric":
        return "numeric is not supported; make the column double precision or bigint"
    return "cast the column before it is stored, or change the column by a migration"


def _codec(arrow: pa.DataType, target: PostgresType, nan: NanPolicy) -> _Codec | None:
    """The codec of an Arrow type for a PostgreSQL type; None where they do not fit."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import types

    def then(outer: Callable[[pa.Array], pa.Array], inner: pa.DataType) -> _Codec | None:
        codec = _codec(inner, target, nan)
        return codec and _Codec(lambda array: codec.prepare(outer(array)), codec.extra, codec.element)

    if types.is_null(arrow):
        return _Codec(_unchanged)
    if types.is_dictionary(arrow):
        return then(lambda array: array.dictionary_decode(), arrow.value_type)
    if types.is_run_end_encoded(arrow):
        return then(pc.run_end_decode, arrow.value_type)
    if isinstance(arrow, pa.BaseExtensionType):
        return then(lambda array: array.storage, arrow.storage_type)
    if target.element is not None:
        return _list_codec(arrow, target.element, nan)
    if target.name in _TEXT_TYPES or target.is_enum:
        return _string_codec(arrow, 0)
    if target.name == "jsonb":
        return _string_codec(arrow, 1)
    if target.name in INTEGER_BITS:
        return (
            _cast_codec(
                pa.int64()
                if INTEGER_BITS[target.name] == 64
                else getattr(pa, f"int{INTEGER_BITS[target.name]}")()
            )
            if types.is_integer(arrow)
            else None
        )
    if target.name in FLOAT_BITS:
        return _float_codec(arrow, FLOAT_BITS[target.name], nan)
    if target.name == "bool":
        return _Codec(_unchanged) if types.is_boolean(arrow) else None
    if target.name == "bytea":
        return _binary_codec(arrow)
    if target.name == "uuid":
        return _uuid_codec(arrow)
    if target.name == "date":
        return _Codec(_days) if types.is_date(arrow) else None
    if target.name in {"timestamp", "timestamptz"}:
        fits = types.is_timestamp(arrow) and (arrow.tz is not None) == (target.name == "timestamptz")
        return _Codec(_microseconds) if fits else None
    if target.name == "int8range":
        return _range_codec(arrow)
    return None


def _unchanged(array: pa.Array) -> pa.Array:
    return array


def _cast_codec(to: pa.DataType) -> _Codec:
    return _Codec(lambda array: array if array.type == to else array.cast(to))


def _string_codec(arrow: pa.DataType, extra: int) -> _Codec | None:
    import pyarrow as pa
    from pyarrow import types

    if types.is_string(arrow) or types.is_large_string(arrow):
        return _Codec(_unchanged, extra)
    if types.is_string_view(arrow):
        return _Codec(lambda array: array.cast(pa.large_string()), extra)
    return None


def _binary_codec(arrow: pa.DataType) -> _Codec | None:
    import pyarrow as pa
    from pyarrow import types

    if types.is_binary(arrow) or types.is_large_binary(arrow) or types.is_fixed_size_binary(arrow):
        return _Codec(_unchanged)
    if types.is_binary_view(arrow):
        return _cast_codec(pa.large_binary())
    return None


def _float_codec(arrow: pa.DataType, bits: int, nan: NanPolicy) -> _Codec | None:
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import types

    if not types.is_floating(arrow) and not types.is_integer(arrow):
        return None
    to = pa.float32() if bits == 32 else pa.float64()

    def prepare(array: pa.Array) -> pa.Array:
        cast = array if array.type == to else array.cast(to)
        if not types.is_floating(arrow):
            return cast
        if arrow.bit_width > bits and pc.any(pc.and_(pc.is_inf(cast), pc.is_finite(array))).as_py():
            raise CopyError("a number is too large for real")
        if nan == "keep":
            return cast
        not_numbers = pc.is_nan(cast)
        if not pc.any(not_numbers).as_py():
            return cast
        if nan == "refuse":
            raise CopyError("NaN is not a value here; store NULL for what is not known")
        return pc.if_else(not_numbers, pa.scalar(None, to), cast)

    return _Codec(prepare)


def _uuid_codec(arrow: pa.DataType) -> _Codec | None:
    from pyarrow import types

    if types.is_fixed_size_binary(arrow) and arrow.byte_width == 16:
        return _Codec(_unchanged)
    if types.is_string(arrow) or types.is_large_string(arrow):
        return _Codec(_parsed_uuids)
    return None


def _parsed_uuids(array: pa.Array) -> pa.Array:
    """Each distinct text is parsed once: most columns of UUIDs hold one value many times."""
    import uuid

    import pyarrow as pa

    encoded = array.dictionary_encode()
    try:
        parsed = [uuid.UUID(text).bytes for text in encoded.dictionary.to_pylist()]
    except ValueError as error:
        raise CopyError("a text is not a UUID") from error
    return pa.array(parsed, pa.binary(16)).take(encoded.indices)


def _days(array: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.subtract_checked(array.cast(pa.date32()).cast(pa.int32()), pa.scalar(_EPOCH_DAYS, pa.int32()))


def _microseconds(array: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    micros = array.cast(pa.timestamp("us", array.type.tz)).cast(pa.int64())
    return pc.subtract_checked(micros, pa.scalar(_EPOCH_MICROSECONDS, pa.int64()))


def _range_codec(arrow: pa.DataType) -> _Codec | None:
    import pyarrow as pa
    from pyarrow import types

    if not types.is_struct(arrow) or {arrow.field(i).name for i in range(arrow.num_fields)} != {
        "lower",
        "upper",
    }:
        return None
    if not all(types.is_integer(arrow.field(i).type) for i in range(2)):
        return None
    bounds = pa.struct([("lower", pa.int64()), ("upper", pa.int64())])
    if arrow.equals(bounds):
        return _Codec(_unchanged)

    def prepare(array: pa.Array) -> pa.Array:
        sides = [array.field(side).cast(pa.int64()) for side in ("lower", "upper")]
        return pa.StructArray.from_arrays(sides, fields=list(bounds), mask=array.is_null())

    return _Codec(prepare)


def _list_codec(arrow: pa.DataType, element: PostgresType, nan: NanPolicy) -> _Codec | None:
    import pyarrow as pa
    from pyarrow import types

    if types.is_fixed_size_list(arrow) or types.is_list_view(arrow) or types.is_large_list_view(arrow):
        wide = pa.large_list(arrow.value_field)
        codec = _list_codec(wide, element, nan)
        return codec and _Codec(lambda array: array.cast(wide), codec.extra, codec.element)
    if not types.is_list(arrow) and not types.is_large_list(arrow):
        return None
    base = PostgresType(element.oid, element.name, element.is_enum)
    inner = _codec(arrow.value_type, base, nan)
    return inner and _Codec(_unchanged, element.oid, inner)


def _lane(array: pa.Array, codec: _Codec) -> Lane:
    """The buffers of a prepared array."""
    from pyarrow import types

    kind = array.type
    if types.is_null(kind):
        return Lane(_NULLS, 0, len(array), 0, None, None, None, 0, ())
    buffers = array.buffers()
    validity = buffers[0] if array.null_count else None
    length, offset = len(array), array.offset
    if types.is_boolean(kind):
        return Lane(_BOOL, 0, length, offset, validity, None, buffers[1], 0, ())
    if types.is_fixed_size_binary(kind):
        return Lane(_RAW, kind.byte_width, length, offset, validity, None, buffers[1], 0, ())
    if types.is_string(kind) or types.is_binary(kind):
        return Lane(_BYTES, 4, length, offset, validity, buffers[1], buffers[2], codec.extra, ())
    if types.is_large_string(kind) or types.is_large_binary(kind):
        return Lane(_BYTES, 8, length, offset, validity, buffers[1], buffers[2], codec.extra, ())
    if types.is_list(kind) or types.is_large_list(kind):
        return _list_lane(array, codec)
    if types.is_struct(kind):
        bounds = tuple(_lane(array.field(side), _Codec(_unchanged)) for side in ("lower", "upper"))
        return Lane(_RANGE, 0, length, offset, validity, None, None, 0, bounds)
    return Lane(_FIXED, kind.bit_width // 8, length, offset, validity, None, buffers[1], 0, ())


def _list_lane(array: pa.Array, codec: _Codec) -> Lane:
    """Only the part of the child that the list's rows point to is cast and handed on."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import types

    element = codec.element
    assert element is not None  # noqa: S101 - a list's codec is made with its element's
    width, offset_type = (8, pa.int64()) if types.is_large_list(array.type) else (4, pa.int32())
    length = len(array)
    if not length:
        return Lane(_LIST, width, 0, 0, None, None, None, codec.extra, (_lane(pa.nulls(0), element),))
    offsets = pa.Array.from_buffers(offset_type, length + 1, [None, array.buffers()[1]], offset=array.offset)
    start, stop = offsets[0].as_py(), offsets[length].as_py()
    offsets = pc.subtract(offsets, pa.scalar(start, offset_type))
    child = _lane(element.prepare(array.values.slice(start, stop - start)), element)
    # The new offsets begin at 0, so the bitmap has to as well.
    validity = array.is_valid().buffers()[1] if array.null_count else None
    return Lane(_LIST, width, length, 0, validity, offsets.buffers()[1], None, codec.extra, (child,))


Encoder = Callable[[int, tuple[Lane, ...]], bytes]


def _encoder() -> Encoder:
    return _encode_in_python if os.environ.get("GENOMICS_NATIVE") == "0" else _built_encoder()


@functools.cache
def _built_encoder() -> Encoder:
    try:
        from resources._copy_binary import encode  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return _encode_in_python
    return encode  # type: ignore[no-any-return,unused-ignore]


def _encode_in_python(rows: int, lanes: tuple[Lane, ...]) -> bytes:
    """The twin of `encode` in _copy_binary.c."""
    head = struct.pack(">h", len(lanes))
    columns = [_fields(lane) for lane in lanes]
    return b"".join(itertools.chain.from_iterable(zip(itertools.repeat(head, rows), *columns, strict=True)))


def _fields(lane: Lane) -> list[bytes]:
    """Length word and value of each row."""
    if lane.kind == _NULLS:
        return [_NULL] * lane.length
    fields = _FIELDS[lane.kind](lane) if lane.length else []
    if lane.validity is None:
        return fields
    return [
        field if valid else _NULL for field, valid in zip(fields, _bits(lane, lane.validity), strict=True)
    ]


def _bits(lane: Lane, bitmap: Any) -> list[bool]:
    first, last = lane.offset // 8, (lane.offset + lane.length + 7) // 8
    number = int.from_bytes(memoryview(bitmap)[first:last], "little") >> (lane.offset - 8 * first)
    return [digit == "1" for digit in f"{number:0{lane.length}b}"[::-1][: lane.length]]


def _fixed_fields(lane: Lane) -> list[bytes]:
    code = {2: "h", 4: "i", 8: "q"}[lane.width]
    values = struct.unpack_from(f"={lane.length}{code}", lane.values, lane.offset * lane.width)
    pack = struct.Struct(f">i{code}").pack
    return [pack(lane.width, value) for value in values]


def _raw_fields(lane: Lane) -> list[bytes]:
    head, width = struct.pack(">i", lane.width), lane.width
    values = bytes(memoryview(lane.values)[lane.offset * width : (lane.offset + lane.length) * width])
    return (
        [head + values[at : at + width] for at in range(0, lane.length * width, width)]
        if width
        else [head] * lane.length
    )


def _bool_fields(lane: Lane) -> list[bytes]:
    yes, no = b"\0\0\0\1\1", b"\0\0\0\1\0"
    return [yes if bit else no for bit in _bits(lane, lane.values)]


def _offsets(lane: Lane) -> tuple[int, ...]:
    code = "i" if lane.width == 4 else "q"
    offsets: tuple[int, ...] = struct.unpack_from(
        f"={lane.length + 1}{code}", lane.offsets, lane.offset * lane.width
    )
    return offsets


def _bytes_fields(lane: Lane) -> list[bytes]:
    offsets = _offsets(lane)
    first = offsets[0]
    values = b"" if lane.values is None else bytes(memoryview(lane.values)[first : offsets[-1]])
    pack, extra = struct.Struct(">i").pack, lane.extra
    mark = b"\1" if extra else b""
    return [
        pack(end - start + extra) + mark + values[start - first : end - first]
        for start, end in itertools.pairwise(offsets)
    ]


def _list_fields(lane: Lane) -> list[bytes]:
    offsets = _offsets(lane)
    first = offsets[0]
    elements = _fields(lane.children[0].rows(first, offsets[-1] - first))
    head = struct.Struct(">iiII").pack
    one = struct.Struct(">ii").pack
    fields = []
    for start, end in itertools.pairwise(offsets):
        if start == end:
            fields.append(head(12, 0, 0, lane.extra))
            continue
        part = elements[start - first : end - first]
        body = b"".join(part)
        fields.append(head(20 + len(body), 1, int(_NULL in part), lane.extra) + one(end - start, 1) + body)
    return fields


def _range_fields(lane: Lane) -> list[bytes]:
    empty = b"\0\0\0\1\1"
    fields = []
    for lower, upper in zip(_fields(lane.children[0]), _fields(lane.children[1]), strict=True):
        if lower == upper and lower != _NULL:
            fields.append(empty)
            continue
        flags = (0x08 if lower == _NULL else 0x02) | (0x10 if upper == _NULL else 0)
        body = bytes([flags]) + (b"" if lower == _NULL else lower) + (b"" if upper == _NULL else upper)
        fields.append(struct.pack(">i", len(body)) + body)
    return fields


_FIELDS: dict[int, Callable[[Lane], list[bytes]]] = {
    _FIXED: _fixed_fields,
    _RAW: _raw_fields,
    _BOOL: _bool_fields,
    _BYTES: _bytes_fields,
    _LIST: _list_fields,
    _RANGE: _range_fields,
}
