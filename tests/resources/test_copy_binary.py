"""COPY BINARY: both encoders give the same bytes, the server gets the values, and a fault leaves nothing."""

from __future__ import annotations

import datetime as dt
import math
import os
import resource
import threading
import time
import uuid
from collections.abc import Iterator
from unittest.mock import patch

import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from resources import copy_binary, copy_encoding
from resources.copy_binary import (
    CopyError,
    UnsupportedTypeError,
    copy_batches,
    read_batches,
    read_pandas,
    read_schema,
    read_table,
)
from resources.copy_encoding import BatchEncoder
from resources.postgres_catalogue import NoSuchTableError, PostgresColumn, PostgresType, table_columns

UTC = dt.UTC
NAIVE = dt.datetime(1999, 1, 1, 2, 3, 4, 5, tzinfo=UTC).replace(tzinfo=None)
Connection = psycopg.Connection

EVERYTHING = """
CREATE SCHEMA kinds;
CREATE DOMAIN kinds.contig AS text;
CREATE DOMAIN kinds.short AS varchar(5);
CREATE TYPE kinds.mood AS ENUM ('good', 'bad');
CREATE TABLE kinds.everything (
    i2 smallint, i4 integer, i8 bigint, f4 real, f8 double precision, b boolean, t text, v varchar(10),
    c char(4),
    j jsonb, js json, u uuid, by bytea, ta text[], fa real[], ia integer[], ba bigint[], r int8range, d date,
    ts timestamp, tz timestamptz, domain kinds.contig, mood kinds.mood, "Odd ""name"" 1" text);
"""


@pytest.fixture(scope="module")
def everything(empty_postgres_url: str) -> str:
    with psycopg.connect(empty_postgres_url) as connection:
        connection.execute(EVERYTHING)
    return empty_postgres_url


@pytest.fixture
def connection(everything: str) -> Iterator[Connection]:
    with psycopg.connect(everything) as connection:
        yield connection
        connection.rollback()


@pytest.fixture(params=["built", "python"])
def encoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "python":
        monkeypatch.setenv("GENOMICS_NATIVE", "0")
    elif not is_built():
        pytest.skip("the extension is not built")


def is_built() -> bool:
    return copy_encoding._built_encoder() is not copy_encoding._encode_in_python


def batch(**columns: pa.Array) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(columns)


def stored(connection: Connection, column: str) -> list[object]:
    query = sql.SQL("SELECT {} FROM kinds.everything ORDER BY ctid").format(sql.Identifier(column))
    return [row[0] for row in connection.execute(query).fetchall()]


U1 = uuid.UUID(int=1)

VALUES = [
    ("i2", pa.array([1, None, -(2**15)], pa.int64()), [1, None, -(2**15)]),
    ("i4", pa.array([1, None, 2**31 - 1], pa.uint32()), [1, None, 2**31 - 1]),
    ("i8", pa.array([1, None, 2**63 - 1]), [1, None, 2**63 - 1]),
    ("f4", pa.array([0.1, None, -math.inf], pa.float32()), [pytest.approx(0.1), None, -math.inf]),
    ("f8", pa.array([0.1, None, 5e-324]), [0.1, None, 5e-324]),
    ("f8", pa.array([1, None, 3], pa.int32()), [1.0, None, 3.0]),
    ("b", pa.array([True, None, False]), [True, None, False]),
    ("t", pa.array(["", None, "ü\t\\N\r\n\"'🧬"]), ["", None, "ü\t\\N\r\n\"'🧬"]),
    ("t", pa.array(["a", None, "b"], pa.string_view()), ["a", None, "b"]),
    ("t", pa.array(["a", None, "a"]).dictionary_encode(), ["a", None, "a"]),
    ("t", pa.nulls(3), [None, None, None]),
    ("v", pa.array(["é" * 10, None, ""], pa.large_string()), ["é" * 10, None, ""]),
    ("j", pa.array(['{"a": [1, null]}', None, '"x"']), [{"a": [1, None]}, None, "x"]),
    ("js", pa.array(['{"a": [1, null]}', None, '"x"']), [{"a": [1, None]}, None, "x"]),
    ("u", pa.array([str(U1), None, str(U1).upper()]), [U1, None, U1]),
    ("u", pa.array([U1.bytes, None, U1.bytes], pa.binary(16)), [U1, None, U1]),
    ("by", pa.array([b"\0\xff", None, b""]), [b"\0\xff", None, b""]),
    ("ta", pa.array([["a", None, '"{,}\\'], None, []]), [["a", None, '"{,}\\'], None, []]),
    ("fa", pa.array([[1.5, None], None, []], pa.list_(pa.float64())), [[1.5, None], None, []]),
    ("ia", pa.array([[1, 2], None, [3, None]], pa.list_(pa.int64(), 2)), [[1, 2], None, [3, None]]),
    (
        "d",
        pa.array([dt.date(1, 1, 1), None, dt.date(2024, 2, 29)]),
        [dt.date(1, 1, 1), None, dt.date(2024, 2, 29)],
    ),
    (
        "tz",
        pa.array([NAIVE, None, None], pa.timestamp("ns", "Europe/Berlin")),
        [dt.datetime(1999, 1, 1, 2, 3, 4, 5, tzinfo=UTC), None, None],
    ),
    (
        "ts",
        pa.array([NAIVE, None, None], pa.timestamp("us")),
        [NAIVE, None, None],
    ),
    ("domain", pa.array(["chr1", None, "HLA-A*01"]), ["chr1", None, "HLA-A*01"]),
    ("mood", pa.array(["good", None, "bad"]), ["good", None, "bad"]),
    ('Odd "name" 1', pa.array(["a", None, "b"]), ["a", None, "b"]),
]


@pytest.mark.parametrize(
    ("column", "array", "expected"), VALUES, ids=lambda value: str(getattr(value, "type", ""))
)
def test_the_server_gets_the_values(
    connection: Connection, encoder: None, column: str, array: pa.Array, expected: list[object]
) -> None:
    report = copy_batches(connection, "kinds.everything", [batch(**{column: array})])
    assert stored(connection, column) == expected
    assert report.rows == 3


def test_ranges_are_half_open(connection: Connection, encoder: None) -> None:
    bounds = [(1, 5), (3, 3), (None, 4), (4, None), (None, None), None, (-(2**63), 2**63 - 1)]
    array = pa.array([b and {"lower": b[0], "upper": b[1]} for b in bounds])
    copy_batches(connection, "kinds.everything", [batch(r=array), batch(r=array).slice(2, 3)])
    texts = connection.execute("SELECT r::text FROM kinds.everything ORDER BY ctid").fetchall()
    whole = ["[1,5)", "empty", "(,4)", "[4,)", "(,)", None, "[-9223372036854775808,9223372036854775807)"]
    assert [text for (text,) in texts] == whole + whole[2:5]
    back = read_table(connection, "kinds.everything", ["r"])["r"].to_pylist()
    assert back[0] == {"lower": 1, "upper": 5}
    assert back[1] == {"lower": 0, "upper": 0}
    assert back[4] == {"lower": None, "upper": None}
    assert back[5] is None


@pytest.mark.parametrize(
    ("column", "array", "expected"), VALUES, ids=lambda value: str(getattr(value, "type", ""))
)
def test_slices_are_honoured(
    connection: Connection, encoder: None, column: str, array: pa.Array, expected: list[object]
) -> None:
    # 13 copies, so that slices begin inside of a byte of the bitmap.
    long = pa.concat_arrays([array.cast(array.type)] * 13)
    copy_batches(connection, "kinds.everything", [batch(**{column: long}).slice(11, 9)])
    assert stored(connection, column) == (expected * 13)[11:20]


# -- both encoders --------------------------------------------------------------------------------------


def target(name: str, oid: int = 25, element: PostgresType | None = None) -> PostgresType:
    return PostgresType(oid, name, element=element)


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
INT64 = st.integers(-(2**63), 2**63 - 1)
KINDS = [
    (pa.string(), target("text"), TEXT),
    (pa.large_string(), target("jsonb"), TEXT),
    (pa.int64(), target("int8"), INT64),
    (pa.int32(), target("int4"), st.integers(-(2**31), 2**31 - 1)),
    (pa.int16(), target("int2"), st.integers(-(2**15), 2**15 - 1)),
    (pa.float32(), target("float4"), st.floats(width=32)),
    (pa.float64(), target("float8"), st.floats()),
    (pa.bool_(), target("bool"), st.booleans()),
    (pa.binary(), target("bytea"), st.binary(max_size=20)),
    (pa.binary(16), target("uuid"), st.binary(min_size=16, max_size=16)),
    (pa.date32(), target("date"), st.dates()),
    (pa.timestamp("us", "UTC"), target("timestamptz"), st.datetimes(timezones=st.just(UTC))),
    (
        pa.struct([("lower", pa.int64()), ("upper", pa.int64())]),
        target("int8range"),
        st.fixed_dictionaries({"lower": st.none() | INT64, "upper": st.none() | INT64}),
    ),
    (pa.list_(pa.string()), target("_text", 1009, target("text")), st.lists(st.none() | TEXT, max_size=4)),
    (
        pa.large_list(pa.int64()),
        target("_int8", 1016, target("int8", 20)),
        st.lists(st.none() | INT64, max_size=4),
    ),
    (
        pa.list_(pa.int64()),
        target("_int8", 1016, target("int8", 20)),
        st.lists(st.none() | INT64, max_size=4),
    ),
    (
        pa.list_(pa.int8()),
        target("_int8", 1016, target("int8", 20)),
        st.lists(st.integers(-128, 127), max_size=4),
    ),
    (pa.list_(pa.bool_()), target("_bool", 1000, target("bool", 16)), st.lists(st.booleans(), max_size=9)),
    (pa.null(), target("text"), st.none()),
]


@st.composite
def sliced_batches(draw: st.DrawFn) -> tuple[pa.RecordBatch, list[PostgresColumn]]:
    rows = draw(st.integers(0, 40))
    chosen = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=5))
    arrays, columns = [], []
    for at, (kind, pg, values) in enumerate(chosen):
        cells = st.none() | values if draw(st.booleans()) else values
        arrays.append(pa.array(draw(st.lists(cells, min_size=rows, max_size=rows)), kind))
        columns.append(PostgresColumn(f"c{at}", pg.name, pg.name, pg))
    start = draw(st.integers(0, rows))
    whole = pa.RecordBatch.from_arrays(arrays, [column.name for column in columns])
    return whole.slice(start, draw(st.integers(0, rows - start))), columns


@pytest.mark.skipif(not is_built(), reason="the extension is not built")
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(sliced_batches(), st.sampled_from([1, 200, copy_encoding.PIECE_BYTES]))
def test_both_encoders_give_the_same_bytes(
    case: tuple[pa.RecordBatch, list[PostgresColumn]], piece: int
) -> None:
    rows, columns = case
    with patch.object(copy_encoding, "PIECE_BYTES", piece):
        built = list(BatchEncoder(rows.schema, columns).pieces(iter([rows])))
        with patch.dict(os.environ, GENOMICS_NATIVE="0"):
            assert list(BatchEncoder(rows.schema, columns).pieces(iter([rows]))) == built


@pytest.mark.skipif(not is_built(), reason="the extension is not built")
def test_a_malformed_array_is_an_error_and_no_read_outside_of_it() -> None:
    encode = copy_encoding._built_encoder()
    lane = copy_encoding.Lane
    ends_late = pa.array([0, 5, 900], pa.int32()).buffers()[1]
    text = lane(copy_encoding._BYTES, 4, 2, 0, None, ends_late, pa.py_buffer(b"abcdefgh"), 0, ())
    with pytest.raises(ValueError, match="column 0, row 1 points outside"):
        encode(2, (text,))
    with pytest.raises(ValueError, match="too short"):
        encode(9, (text._replace(length=900),))
    with pytest.raises(ValueError, match="shorter than the batch"):
        encode(3, (text,))
    with pytest.raises(ValueError, match="no such kind"):
        encode(2, (text._replace(kind=77),))
    with pytest.raises(ValueError, match="out of range"):
        encode(2, (text._replace(offset=2**62),))
    child = lane(copy_encoding._FIXED, 8, 1, 0, None, None, pa.py_buffer(bytes(8)), 0, ())
    with pytest.raises(ValueError, match="points outside"):
        encode(2, (lane(copy_encoding._LIST, 4, 2, 0, None, ends_late, None, 20, (child,)),))
    with pytest.raises(ValueError, match="two int64 bounds"):
        encode(2, (lane(copy_encoding._RANGE, 0, 2, 0, None, None, None, 0, (child, child)),))


# -- what does not fit ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "array", "told"),
    [
        ("i4", pa.array(["1"]), "column i4: Arrow type string does not go into PostgreSQL type integer"),
        ("t", pa.array([1]), "column t: Arrow type int64 does not go into PostgreSQL type text"),
        ("j", pa.array([{"a": 1}]), "json.dumps"),
        ("tz", pa.array([NAIVE]), "time zone"),
        ("ts", pa.array([dt.datetime(2000, 1, 1, tzinfo=UTC)]), "without a time zone"),
        ("ta", pa.array([[1]]), r"list<.*int64> does not go into PostgreSQL type text\[\]"),
        ("ta", pa.array([[["a"]]]), r"does not go into PostgreSQL type text\[\]"),
        ("r", pa.array([{"lower": 1, "to": 2}]), "struct<lower: int64, upper: int64>"),
        ("domain", pa.array([1.5]), "PostgreSQL type kinds.contig"),
    ],
)
def test_a_type_that_does_not_fit_is_named(
    connection: Connection, column: str, array: pa.Array, told: str
) -> None:
    with pytest.raises(UnsupportedTypeError, match=told):
        copy_batches(connection, "kinds.everything", [batch(**{column: array})])


@pytest.mark.parametrize(
    ("column", "array", "told"),
    [
        ("i2", pa.array([1, 2, 70_000]), "column i2: .*70000 not in range"),
        ("f4", pa.array([1.0, 2.0, 1e39]), "column f4: a number is too large for real"),
        ("u", pa.array([str(U1), str(U1), "x"]), "column u: a text is not a UUID"),
        ("tz", pa.array([0, 0, 1], pa.timestamp("ns", "UTC")), "column tz: .*lose data"),
        (
            "v",
            pa.array(["a", "b", "x" * 11]),
            r"row 2 .*column v: value too long for type character varying\(10\)",
        ),
        ("t", pa.array(["a", "b", "a\0b"]), "row 2 .*column t: the text holds a NUL character"),
        ("j", pa.array(["1", "2", "{"]), "row 2 .*column j: invalid input syntax for type json"),
        ("j", pa.array(["1", "2", '"\\u0000"']), "row 2 .*column j: unsupported Unicode escape"),
        ("r", pa.array([None, None, {"lower": 2, "upper": 1}]), "row 2 .*column r: range lower bound"),
        ("mood", pa.array(["good", "bad", "odd"]), "row 2 .*column mood: invalid input value for enum"),
    ],
)
def test_a_value_that_does_not_fit_is_placed(
    connection: Connection, encoder: None, column: str, array: pa.Array, told: str
) -> None:
    with pytest.raises(CopyError, match=told) as caught:
        copy_batches(connection, "kinds.everything", [batch(**{column: array})])
    assert caught.value.column == column
    assert "kinds.everything" in str(caught.value)


def test_a_row_is_placed_in_its_batch(connection: Connection) -> None:
    good, bad = batch(v=pa.array(["a"] * 5)), batch(v=pa.array(["a", "b", "x" * 11]))
    with pytest.raises(CopyError, match=r"row 12 \(batch 2, row 2 of it") as caught:
        copy_batches(connection, "kinds.everything", [good, good, bad, good])
    assert caught.value.row == 12


def test_a_long_copy_places_errors_over_all_its_statements(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy_binary, "STATEMENT_BYTES", 1000)
    good, bad = batch(v=pa.array(["a" * 10] * 100)), batch(v=pa.array(["a", "x" * 11]))
    assert copy_batches(connection, "kinds.everything", [good] * 10).rows == 1000
    assert len(stored(connection, "v")) == 1000
    with pytest.raises(CopyError, match=r"row 901 \(batch 9, row 1 of it.*column v: value too long"):
        copy_batches(connection, "kinds.everything", [*[good] * 9, bad, good])


def test_a_long_copy_is_whole_or_nothing_on_a_connection_without_transactions(
    everything: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy_binary, "STATEMENT_BYTES", 1000)
    good, bad = batch(v=pa.array(["a" * 10] * 100)), batch(v=pa.array(["x" * 11]))
    with psycopg.connect(everything, autocommit=True) as connection:
        with pytest.raises(CopyError):
            copy_batches(connection, "kinds.everything", [*[good] * 9, bad])
        assert stored(connection, "v") == []


def test_a_null_in_a_column_that_refuses_it_is_named_without_the_row(connection: Connection) -> None:
    connection.execute("CREATE TABLE kinds.strict (secret text, must integer NOT NULL)")
    with pytest.raises(CopyError, match='column must: null value in column "must"') as caught:
        copy_batches(connection, "kinds.strict", [batch(secret=pa.array(["hush"]), must=pa.nulls(1))])
    assert "hush" not in str(caught.value)


def test_nan_is_kept_dropped_or_refused(connection: Connection) -> None:
    rows = [batch(f8=pa.array([1.0, math.nan, None]))]
    copy_batches(connection, "kinds.everything", rows)
    assert math.isnan(stored(connection, "f8")[1])  # type: ignore[arg-type]
    connection.rollback()
    copy_batches(connection, "kinds.everything", rows, nan="null")
    assert stored(connection, "f8") == [1.0, None, None]
    with pytest.raises(CopyError, match="column f8: NaN"):
        copy_batches(connection, "kinds.everything", rows, nan="refuse")


def test_an_absent_table_and_column_are_named(connection: Connection) -> None:
    with pytest.raises(NoSuchTableError, match=r"table kinds\.absent does not exist"):
        copy_batches(connection, "kinds.absent", [batch(a=pa.array([1]))])
    with pytest.raises(CopyError, match="column nope: the table has no such column"):
        copy_batches(connection, "kinds.everything", [batch(nope=pa.array([1]))])


def test_a_schema_that_changes_between_batches_is_named(connection: Connection) -> None:
    with pytest.raises(UnsupportedTypeError, match="column t: its type changed between batches"):
        copy_batches(connection, "kinds.everything", [batch(t=pa.array(["a"])), batch(t=pa.nulls(1))])


# -- the stream -----------------------------------------------------------------------------------------


def test_no_batches_and_empty_batches_are_fine(connection: Connection) -> None:
    assert copy_batches(connection, "kinds.everything", []).rows == 0
    assert copy_batches(connection, "kinds.everything", [], schema=pa.schema([("t", pa.string())])).rows == 0
    empty = batch(t=pa.array([], pa.string()), ta=pa.array([], pa.list_(pa.string())))
    assert copy_batches(connection, "kinds.everything", [empty, empty]).rows == 0
    assert stored(connection, "t") == []


class SourceError(Exception):
    pass


def test_a_source_that_raises_leaves_nothing_and_is_closed(everything: str) -> None:
    closed = threading.Event()

    def source() -> Iterator[pa.RecordBatch]:
        try:
            for _ in range(20):
                yield batch(t=pa.array(["x" * 100] * 5000))
            raise SourceError("line 7 is odd")
        finally:
            closed.set()

    with psycopg.connect(everything) as connection:
        with pytest.raises(SourceError, match="line 7 is odd"):
            copy_batches(connection, "kinds.everything", source())
        connection.rollback()
        assert stored(connection, "t") == []
    assert closed.is_set()


def test_an_endless_source_is_closed_when_the_server_refuses(connection: Connection) -> None:
    closed = threading.Event()

    def source() -> Iterator[pa.RecordBatch]:
        try:
            while True:
                yield batch(v=pa.array(["x" * 11] * 5000))
        finally:
            closed.set()

    with pytest.raises(CopyError, match="value too long"):
        copy_batches(connection, "kinds.everything", source())
    assert closed.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name == "copy-encoder"]


def test_a_lost_connection_leaves_nothing_and_a_retry_succeeds(everything: str) -> None:
    rows = batch(t=pa.array(["x" * 100] * 5000))
    with psycopg.connect(everything, autocommit=True) as other, psycopg.connect(everything) as connection:
        pid = connection.info.backend_pid

        def source() -> Iterator[pa.RecordBatch]:
            for at in range(60):
                if at == 20:
                    other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
                yield rows

        with pytest.raises(psycopg.OperationalError):
            copy_batches(connection, "kinds.everything", source())
        assert stored(other, "t") == []
    with psycopg.connect(everything) as connection:
        assert copy_batches(connection, "kinds.everything", [rows]).rows == 5000
        connection.rollback()


def test_memory_stays_flat(connection: Connection) -> None:
    rows = batch(t=pa.array(["x" * 1000] * 4000))
    copy_batches(connection, "kinds.everything", [rows] * 2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # 160 MB of rows.
    copy_batches(connection, "kinds.everything", (batch(t=pa.array(["y" * 1000] * 4000)) for _ in range(40)))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000


def test_one_large_batch_is_sent_in_pieces(connection: Connection, encoder: None) -> None:
    rows = 150_000
    large = batch(i8=pa.array(range(rows)), ta=pa.array([[str(n), None] for n in range(rows)]))
    encoded = list(
        BatchEncoder(large.schema, table_columns(connection, "kinds.everything")).pieces(iter([large]))
    )
    assert max(len(piece.data) for piece in encoded) < 3 * copy_encoding.PIECE_BYTES
    assert copy_batches(connection, "kinds.everything", [large]).rows == rows
    found = connection.execute(
        "SELECT count(*), sum(i8), sum(ta[1]::bigint) FROM kinds.everything"
    ).fetchone()
    assert found == (rows, sum(range(rows)), sum(range(rows)))


def test_rows_are_made_while_the_server_works(connection: Connection) -> None:
    seen = []

    def source() -> Iterator[pa.RecordBatch]:
        seen.append(threading.current_thread())
        for _ in range(3):
            yield batch(t=pa.array(["a"]))

    copy_batches(connection, "kinds.everything", source(), schema=pa.schema([("t", pa.string())]))
    assert seen[0] is not threading.current_thread()


# -- reading --------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(st.none() | TEXT, st.none() | INT64, st.none() | st.lists(st.none() | TEXT)), max_size=12
    )
)
def test_what_was_written_is_read_back(everything: str, rows: list[tuple[str, int, list[str]]]) -> None:
    def clean(text: str | None) -> str | None:
        return None if text is None else text.replace("\0", "")

    table = pa.table(
        {
            "t": pa.array([clean(row[0]) for row in rows], pa.string()),
            "i8": pa.array([row[1] for row in rows], pa.int64()),
            "ta": pa.array(
                [row[2] and [clean(cell) for cell in row[2]] for row in rows], pa.list_(pa.string())
            ),
        }
    )
    with psycopg.connect(everything) as connection:
        copy_batches(connection, "kinds.everything", table.to_batches())
        back = pa.Table.from_batches(
            read_batches(connection, "kinds.everything", ["t", "i8", "ta"], batch_bytes=40),
            read_schema(connection, "kinds.everything", ["t", "i8", "ta"]),
        )
        connection.rollback()
    assert back.to_pylist() == table.to_pylist()


def test_everything_is_read_with_its_type(connection: Connection) -> None:
    columns = {name: array for name, array, _ in VALUES if name != 'Odd "name" 1'}
    copy_batches(connection, "kinds.everything", [batch(**columns)])
    back = read_table(connection, "kinds.everything")
    assert back.schema.field("tz").type == pa.timestamp("us", "UTC")
    assert back.schema.field("fa").type == pa.list_(pa.float32())
    assert back.schema.field("i2").type == pa.int16()
    assert back["d"].to_pylist() == columns["d"].to_pylist()
    assert back["tz"].to_pylist()[0] == dt.datetime(1999, 1, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert back["by"].to_pylist() == columns["by"].to_pylist()
    assert back["f8"].to_pylist() == columns["f8"].to_pylist()
    assert back["u"].to_pylist()[0] == str(U1)
    assert back["ta"].to_pylist() == columns["ta"].to_pylist()


def test_numbers_that_csv_could_hurt_come_back_exact(connection: Connection) -> None:
    values = [0.1 + 0.2, 5e-324, 1.7976931348623157e308, -0.0, math.inf, None]
    copy_batches(connection, "kinds.everything", [batch(f8=pa.array(values), fa=pa.array([[math.inf]] * 6))])
    assert read_table(connection, "kinds.everything", ["f8"])["f8"].to_pylist() == values
    assert read_table(connection, "kinds.everything", ["fa"])["fa"].to_pylist() == [[math.inf]] * 6


def test_rows_and_columns_are_selected_and_ordered(connection: Connection) -> None:
    copy_batches(
        connection,
        "kinds.everything",
        [batch(i4=pa.array([3, 1, 2, None]), t=pa.array(["it's", "b", "c", "d"]), u=pa.array([str(U1)] * 4))],
    )

    def read(where: dict[str, object]) -> list[object]:
        table = read_table(connection, "kinds.everything", ["t", "i4"], where, order_by=["i4"])
        assert table.column_names == ["t", "i4"]
        return table["t"].to_pylist()

    assert read({"i4": [1, 3]}) == ["b", "it's"]
    assert read({"t": "it's", "u": U1}) == ["it's"]
    assert read({"i4": None}) == ["d"]
    assert read({"i4": []}) == []
    with pytest.raises(LookupError, match="no column nope"):
        read({"nope": 1})
    with pytest.raises(LookupError, match="no column nope"):
        read_table(connection, "kinds.everything", ["nope"])
    with pytest.raises(LookupError, match="no column nope"):
        read_table(connection, "kinds.everything", order_by=["nope"])


def test_pandas_keeps_large_integers_beside_nulls(connection: Connection) -> None:
    copy_batches(connection, "kinds.everything", [batch(i8=pa.array([2**63 - 1, None]))])
    frame = read_pandas(connection, "kinds.everything", ["i8"])
    assert frame["i8"][0] == 2**63 - 1
    assert frame["i8"].isna().tolist() == [False, True]


def test_a_reader_may_stop_early(connection: Connection) -> None:
    copy_batches(connection, "kinds.everything", [batch(t=pa.array(["x" * 1000] * 20_000))])
    batches = read_batches(connection, "kinds.everything", ["t"], batch_bytes=100_000)
    assert next(batches).num_rows > 0
    batches.close()  # type: ignore[attr-defined]
    assert connection.info.transaction_status is not psycopg.pq.TransactionStatus.ACTIVE


def test_a_slow_reader_is_not_cancelled(everything: str) -> None:
    with psycopg.connect(everything, options="-c statement_timeout=300") as connection:
        copy_batches(connection, "kinds.everything", [batch(t=pa.array(["x" * 1000] * 20_000))])
        connection.commit()
        rows = 0
        for part in read_batches(connection, "kinds.everything", ["t"]):
            rows += part.num_rows
            time.sleep(0.2)
        connection.execute("TRUNCATE kinds.everything")
        assert rows == 20_000
