"""Canonical JSON: one form for each value, which reads back equal from PostgreSQL and from an object."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genomics_assets.bmd.canonical_json import canonical_json, canonical_rows, parse_json
from genomics_assets.bmd.stored_results import JSONB_LIMIT_BYTES, EncodedResults, compressed, decompressed

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(values)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
def test_a_value_reads_back_equal_from_either_side(query: Callable[..., Any], value: Any) -> None:
    data = canonical_json(value)
    from_object = parse_json(b"".join(decompressed(compressed([data]))))
    [(text,)] = query("SELECT (%s::jsonb)::text", data.decode())
    from_row = parse_json(text)
    assert repr(from_row) == repr(from_object) or from_row == from_object
    assert canonical_json(from_row) == canonical_json(from_object) == data


def test_what_is_not_finite_is_null() -> None:
    assert canonical_json([math.nan, math.inf, -math.inf, -0.0]) == b"[null,null,null,0.0]"


@pytest.mark.parametrize("value", [2**53 + 1, "a\0b", "\ud800", {1: 2}, object()])
def test_what_would_change_on_one_side_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"NUL|2\^53|not storable"):
        canonical_json(value)


numbers = st.floats(width=32) | st.floats()
columns = st.fixed_dictionaries(
    {
        "a%s": st.none() | numbers,
        'b"': st.none() | texts,
        "c": st.none() | st.lists(st.none() | numbers, max_size=3),
        "d": st.none() | st.booleans(),
        "e": st.none() | st.integers(-(2**53), 2**53),
        "f": st.none(),
        "g": st.none() | st.fixed_dictionaries({"x": numbers, "y": texts}),
    }
)


@given(st.lists(columns, min_size=1, max_size=6))
@settings(deadline=None, max_examples=150)
def test_a_table_has_the_bytes_of_its_rows(rows: list[dict[str, Any]]) -> None:
    kinds = {
        "a%s": pa.float64(), 'b"': pa.string(), "c": pa.list_(pa.float64()), "d": pa.bool_(), "e": pa.int64(),
        "f": pa.null(), "g": pa.struct({"x": pa.float64(), "y": pa.string()}),
    }  # fmt: skip
    table = pa.Table.from_pylist(rows, pa.schema(kinds))
    for part in (table, table.slice(1), pa.concat_tables([table, table.slice(0, 1)]), table.slice(0, 0)):
        assert b"".join(canonical_rows(part)) == canonical_json(part.to_pylist())


def test_a_long_table_is_several_pieces_of_one_array() -> None:
    table = pa.table({"x": pa.array(range(25_000), pa.int32()), "y": pa.array([0.1] * 25_000, pa.float32())})
    encoded = EncodedResults.of(table)
    whole = canonical_json(table.to_pylist())
    assert len(list(canonical_rows(table))) > 3
    assert (encoded.rows, encoded.size, encoded.text) == (25_000, len(whole), whole.decode())
    assert encoded == EncodedResults.of(table.to_pylist())


@pytest.mark.parametrize("column", [pa.array([2**53 + 1]), pa.array(["a\0b"]), pa.array([1], pa.date32())])
def test_a_column_that_would_change_is_refused(column: pa.Array) -> None:
    with pytest.raises(ValueError, match=r"NUL|2\^53|not storable"):
        list(canonical_rows(pa.table({"x": column})))


def test_compressed_bytes_are_gzip_without_a_time_and_always_the_same() -> None:
    data = canonical_json(list(range(1000)))
    packed = compressed([data])
    assert packed == compressed([data[:100], data[100:]]) == compressed([data])
    assert packed[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    assert gzip.decompress(packed) == data
    with pytest.raises(ValueError, match="cut short"):
        list(decompressed(packed[:-1]))
    with pytest.raises(ValueError, match="damaged"):
        list(decompressed(packed[:-5] + b"\0\0\0\0\0"))


def test_the_limit_is_the_length_of_the_utf8() -> None:
    filler = "µ" * 100
    frame = len(canonical_json([{"a": filler}])) - len(filler.encode())
    for over in (-1, 0, 1):
        text = filler + "x" * (JSONB_LIMIT_BYTES - frame - len(filler.encode()) + over)
        encoded = EncodedResults.of([{"a": text}])
        assert encoded.size == JSONB_LIMIT_BYTES + over
        assert (encoded.text is None, encoded.packed is None) == (over > 0, over <= 0)
        data = encoded.text or b"".join(decompressed(encoded.packed or b""))
        assert json.loads(data) == [{"a": text}]
