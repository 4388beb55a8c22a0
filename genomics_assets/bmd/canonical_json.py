"""Canonical JSON, of which there is one for each value: of single values, and of tables column by column."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

# Beyond it a float and an integer can no longer be told apart once PostgreSQL has written them as decimals.
_LARGEST_INTEGER = 2**53
_NULL = "null"
# Rows that become text at a time: it bounds what lies in memory as Python's objects.
_ROWS_AT_ONCE = 10_000


def canonical_json(value: Any) -> bytes:
    r"""JSON of which there is one for each value: sorted keys, no blanks, UTF-8, NaN and infinities as null.

    Raises:
        ValueError: an integer beyond 2^53, text that PostgreSQL cannot keep, or a value that JSON has no word for.

    >>> canonical_json({"b": [1.0, float("nan")], "a": "µ"}).decode()
    '{"a":"µ","b":[1.0,null]}'
    """
    try:
        text = json.dumps(
            _storable(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
        return text.encode()
    except (TypeError, UnicodeEncodeError) as error:
        raise ValueError(f"not storable as JSON: {error}") from None


def parse_json(data: bytes | str) -> Any:
    """The value that `canonical_json` was given, nulls for what was not finite.

    PostgreSQL writes a float such as 1e+300 as 301 digits; it is read as the float it was.
    """
    return json.loads(data, parse_int=_number)


def canonical_rows(table: pa.Table) -> Iterator[bytes]:
    """What `canonical_json` gives for `table.to_pylist()`, in pieces; columns become text at once, not value by value.

    Raises:
        ValueError: as of `canonical_json`.

    >>> import pyarrow as pa
    >>> b"".join(canonical_rows(pa.table({"b": [1.5, float("nan")], "a": ["x", None]}))).decode()
    '[{"a":"x","b":1.5},{"a":null,"b":null}]'
    """
    names = sorted(table.column_names)
    row = "{" + ",".join(encode_basestring(name).replace("%", "%%") + ":%s" for name in names) + "}"
    yield b"["
    for start in range(0, table.num_rows, _ROWS_AT_ONCE):
        part = table.slice(start, _ROWS_AT_ONCE)
        texts = [_texts(part[name].combine_chunks()) for name in names]
        rows = ",".join(row % values for values in zip(*texts, strict=True))
        yield (("," if start else "") + rows).encode()
    yield b"]"


def _storable(value: Any) -> Any:
    # What nearly all values are, before the questions that take longer.
    kind = type(value)
    if kind is dict:
        return {_key(key): _storable(item) for key, item in value.items()}
    if kind is list:
        return [_storable(item) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return value or 0.0
    if isinstance(value, int):
        if abs(value) > _LARGEST_INTEGER:
            raise ValueError(f"{value} is beyond 2^53")
        return value
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("text with a NUL character")
        return value
    if isinstance(value, Mapping):
        return {_key(key): _storable(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_storable(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"the key {key!r} is not text")
    return str(_storable(key))


def _number(digits: str) -> int | float:
    number = int(digits) if len(digits) < 18 else 2 * _LARGEST_INTEGER
    return number if abs(number) <= _LARGEST_INTEGER else float(digits)


def _texts(column: pa.Array) -> list[str]:
    """The JSON of each value of a column."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_null(kind):
        return [_NULL] * len(column)
    if pa.types.is_floating(kind):
        return _of_floats(column)
    if pa.types.is_boolean(kind):
        return [_NULL if value is None else "true" if value else "false" for value in column.to_pylist()]
    if pa.types.is_integer(kind):
        return [_NULL if value is None else repr(_storable(value)) for value in column.to_pylist()]
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _of_strings(column)
    if pa.types.is_list(kind):
        return _of_lists(column)
    return [canonical_json(value).decode() for value in column.to_pylist()]


def _of_floats(column: pa.Array) -> list[str]:
    import numpy as np

    # Adding zero takes the sign from a negative one.
    values = column.to_numpy(zero_copy_only=False) + 0.0
    texts = list(map(repr, values.tolist()))
    for place in np.flatnonzero(~np.isfinite(values)).tolist():
        texts[place] = _NULL
    return texts


def _of_strings(column: pa.Array) -> list[str]:
    encoded = column.dictionary_encode()
    words = [encode_basestring(_storable(word)) for word in encoded.dictionary.to_pylist()]
    return [_NULL if place is None else words[place] for place in encoded.indices.to_pylist()]


def _of_lists(column: pa.Array) -> list[str]:
    items = _texts(column.flatten())
    texts, start = [], 0
    for length in column.value_lengths().to_pylist():
        if length is None:
            texts.append(_NULL)
            continue
        texts.append(f"[{','.join(items[start : start + length])}]")
        start += length
    return texts
