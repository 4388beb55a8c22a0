"""Results as they are stored: canonical JSON, and on which side of the limit it lies.

Up to and including `JSONB_LIMIT_BYTES` of canonical, uncompressed UTF-8 the JSON is kept in the row (JSONB),
above that it is an object, compressed. The same value always gives the same bytes, and reads back equal from
either side.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

JSONB_LIMIT_BYTES = 1_048_576

# Beyond it a float and an integer can no longer be told apart once PostgreSQL has written them as decimals.
_LARGEST_INTEGER = 2**53
# Deflate, no name, no time, unknown system: what Python's own gzip module writes differs between its versions.
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


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


def compressed(data: bytes) -> bytes:
    """As gzip, modification time 0; the same bytes on every machine and at every time."""
    deflate = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = deflate.compress(data) + deflate.flush()
    return _GZIP_HEADER + body + struct.pack("<LL", zlib.crc32(data), len(data) & 0xFFFFFFFF)


def decompressed(data: bytes) -> bytes:
    """What `compressed` was given.

    Raises:
        ValueError: the object is cut or damaged.
    """
    try:
        inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
        whole = inflate.decompress(data)
    except zlib.error as error:
        raise ValueError(f"a damaged object: {error}") from None
    if not inflate.eof:
        raise ValueError("the object is cut short")
    return whole


@dataclass(frozen=True)
class EncodedResults:
    """Results ready to be stored.

    Attributes:
        data: canonical JSON.
        rows: how many results they are.
    """

    data: bytes
    rows: int

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]]) -> EncodedResults:
        """Encode a table, one mapping a row."""
        return cls(canonical_json(rows), len(rows))

    @property
    def in_row(self) -> bool:
        """Whether they are kept in the row; else they are an object."""
        return len(self.data) <= JSONB_LIMIT_BYTES

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True)
class NewResult:
    """A stage's results before they are stored.

    Attributes:
        name: what people call them.
        method: the stage's method: prefilter type, BMD method or category type.
        rows: one mapping a result; JSON-safe but for NaN and infinities, which become nulls.
        details: the same results as columns of the stage's detail table.
        analysis_info: parameters, hashes of the inputs, versions and ids upstream.
        upstream: the columns that point to earlier stages, with their ids.
        before: of a chain within the stage the results that this one follows, the first of them first.
    """

    name: str
    method: str
    rows: Sequence[Mapping[str, Any]]
    details: pa.Table
    analysis_info: Mapping[str, Any]
    upstream: Mapping[str, int | None] = field(default_factory=dict)
    before: Sequence[NewResult] = ()

    @property
    def identity(self) -> str:
        """SHA-256 of what decides on the results: their method, inputs, parameters and versions, never ids or times."""
        return identity_of(self.method, self.analysis_info)


@dataclass(frozen=True)
class StoredResult:
    """A stage's results as the store has them.

    Attributes:
        id: its row in the stage's table.
        project_id: its project.
        experiment_id: the experiment that it is a result of.
        name: what people call it.
        method: prefilter type, BMD method or category type.
        analysis_info: how it was made.
        results_hash: SHA-256 of the canonical JSON.
        rows: one dict a result; None where there is no number.
        upstream: the columns that point to earlier stages, with their ids.
    """

    id: int
    project_id: int
    experiment_id: int
    name: str
    method: str
    analysis_info: Mapping[str, Any]
    results_hash: str
    rows: list[dict[str, Any]] = field(repr=False)
    upstream: Mapping[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True)
class NewFits:
    """Fits before they are stored; `table` has one row for each probe and model."""

    name: str
    method: str
    table: pa.Table = field(repr=False)
    probes: int
    analysis_info: Mapping[str, Any]
    upstream: Mapping[str, int | None]

    @property
    def identity(self) -> str:
        """As of `NewResult`."""
        return identity_of(self.method, self.analysis_info)


@dataclass(frozen=True)
class ResultRows:
    """Rows of a table that hang on a BMD result and are replaced with it."""

    bmd_result_id: int
    rows: pa.Table = field(repr=False)


@dataclass(frozen=True)
class NewChart:
    """A picture, as PNG."""

    name: str
    png: bytes = field(repr=False)


@dataclass(frozen=True)
class NewExport:
    """A table for other programs, as CSV and as Parquet."""

    name: str
    csv: bytes = field(repr=False)
    parquet: bytes = field(repr=False)
    rows: int


@dataclass(frozen=True)
class ResultFiles:
    """Charts or exports of a BMD result; those of the same name are replaced where their bytes differ."""

    bmd_result_id: int
    files: Sequence[NewChart] | Sequence[NewExport]


def identity_of(method: str, analysis_info: Mapping[str, Any]) -> str:
    """SHA-256 of the parts of `analysis_info` that decide on a result: parameters, inputs and versions."""
    decisive = {name: analysis_info.get(name) for name in ("parameters", "inputs", "versions")}
    return digest_of({"method": method, **decisive})


def digest_of(value: Any) -> str:
    """SHA-256 of a value's canonical JSON: the identity of parameters and inputs."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def _storable(value: Any) -> Any:
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
