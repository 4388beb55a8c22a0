"""Results as they are stored: canonical JSON, and on which side of the limit it lies.

Up to and including `JSONB_LIMIT_BYTES` of canonical, uncompressed UTF-8 the JSON is kept in the row (JSONB),
above that it is an object, compressed. The same value always gives the same bytes, and reads back equal from
either side.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from genomics_assets.bmd.canonical_json import canonical_json, canonical_rows, parse_json

if TYPE_CHECKING:
    import pyarrow as pa

    ResultRecords: TypeAlias = Sequence[Mapping[str, Any]] | pa.Table

JSONB_LIMIT_BYTES = 1_048_576

_PIECE_BYTES = 1 << 22
# Of deflate: 6 takes twice the time for a tenth less.
_LEVEL = 3
# Deflate, no name, no time, unknown system: what Python's own gzip module writes differs between its versions.
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


def compressed(pieces: Iterable[bytes]) -> bytes:
    """As gzip, modification time 0; the same bytes on every machine and at every time."""
    deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed, checksum, size = [_GZIP_HEADER], 0, 0
    for piece in pieces:
        packed.append(deflate.compress(piece))
        checksum = zlib.crc32(piece, checksum)
        size += len(piece)
    packed += [deflate.flush(), struct.pack("<LL", checksum, size & 0xFFFFFFFF)]
    return b"".join(packed)


def decompressed(data: bytes) -> Iterator[bytes]:
    """What `compressed` was given, cut elsewhere.

    Raises:
        ValueError: the object is cut or damaged.
    """
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        while data and not inflate.eof:
            yield inflate.decompress(data, _PIECE_BYTES)
            data = inflate.unconsumed_tail
        yield inflate.flush()
    except zlib.error as error:
        raise ValueError(f"a damaged object: {error}") from None
    if not inflate.eof:
        raise ValueError("the object is cut short")


class Seen:
    """What went by of canonical JSON: how long it is, its hash, and the JSON itself while it is short enough for a row."""

    def __init__(self) -> None:
        self.size = 0
        self._digest = hashlib.sha256()
        self._short: list[bytes] = []

    def pieces(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The same pieces."""
        for piece in pieces:
            self.size += len(piece)
            self._digest.update(piece)
            if self.in_row:
                self._short.append(piece)
            else:
                self._short.clear()
            yield piece

    @property
    def in_row(self) -> bool:
        """Whether it is kept in the row; else it is an object."""
        return self.size <= JSONB_LIMIT_BYTES

    @property
    def digest(self) -> str:
        """SHA-256."""
        return self._digest.hexdigest()

    @property
    def text(self) -> str | None:
        """All of it, where it is kept in the row."""
        return b"".join(self._short).decode() if self.in_row else None


@dataclass(frozen=True)
class EncodedResults:
    """Results ready to be stored; long ones never lie in memory as JSON.

    Attributes:
        rows: how many results they are.
        size: bytes of canonical JSON.
        digest: SHA-256 of it.
        text: the JSON, where it is kept in the row.
        packed: the JSON compressed, where it is an object.
    """

    rows: int
    size: int
    digest: str
    text: str | None = field(repr=False)
    packed: bytes | None = field(repr=False)

    @classmethod
    def of(cls, rows: ResultRecords) -> EncodedResults:
        """Encode a table, or one mapping a row."""
        seen = Seen()
        pieces = [canonical_json(rows)] if isinstance(rows, Sequence) else canonical_rows(rows)
        packed = compressed(seen.pieces(pieces))
        return cls(len(rows), seen.size, seen.digest, seen.text, None if seen.in_row else packed)


@dataclass(frozen=True)
class NewResult:
    """A stage's results before they are stored.

    Attributes:
        name: what people call them.
        method: the stage's method: prefilter type, BMD method or category type.
        rows: one row or mapping a result; JSON-safe but for NaN and infinities, which become nulls.
        details: the same results as columns of the stage's detail table.
        analysis_info: parameters, hashes of the inputs, versions and ids upstream.
        upstream: the columns that point to earlier stages, with their ids.
        before: of a chain within the stage the results that this one follows, the first of them first.
    """

    name: str
    method: str
    rows: ResultRecords = field(repr=False)
    details: pa.Table = field(repr=False)
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
        upstream: the columns that point to earlier stages, with their ids.
        read: gives the canonical JSON.
    """

    id: int
    project_id: int
    experiment_id: int
    name: str
    method: str
    analysis_info: Mapping[str, Any]
    results_hash: str
    upstream: Mapping[str, int | None]
    read: Callable[[], bytes | str] = field(repr=False)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """One dict a result; None where there is no number. They are read when they are first asked for."""
        rows: list[dict[str, Any]] = parse_json(self.read())
        return rows


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
