"""Canonical JSON: one form for each value, which reads back equal from PostgreSQL and from an object."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genomics_assets.bmd.stored_results import (
    JSONB_LIMIT_BYTES,
    EncodedResults,
    canonical_json,
    compressed,
    decompressed,
    parse_json,
)

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
    from_object = parse_json(decompressed(compressed(data)))
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


def test_compressed_bytes_are_gzip_without_a_time_and_always_the_same() -> None:
    data = canonical_json(list(range(1000)))
    packed = compressed(data)
    assert packed == compressed(data)
    assert packed[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    assert gzip.decompress(packed) == data
    with pytest.raises(ValueError, match="cut short"):
        decompressed(packed[:-1])
    with pytest.raises(ValueError, match="damaged"):
        decompressed(packed[:-5] + b"\0\0\0\0\0")


def test_the_limit_is_the_length_of_the_utf8() -> None:
    filler = "µ" * 100
    frame = len(canonical_json([{"a": filler}])) - len(filler.encode())
    for over in (-1, 0, 1):
        text = filler + "x" * (JSONB_LIMIT_BYTES - frame - len(filler.encode()) + over)
        encoded = EncodedResults.of([{"a": text}])
        assert len(encoded.data) == JSONB_LIMIT_BYTES + over
        assert encoded.in_row is (over <= 0)
        assert json.loads(encoded.data) == [{"a": text}]
