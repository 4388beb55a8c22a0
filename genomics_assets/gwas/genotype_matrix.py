"""Genotypes of a cohort, two bits a call, one row a variant: the form that all of this package works on.

The bytes are those of a PLINK 1 .bed file in SNP-major order (https://www.cog-genomics.org/plink/1.9/formats#bed):
four calls a byte, the first in the lowest bits, 0 two copies of the effect allele, 2 one, 3 none, 1 missing. A haploid
call of the effect allele is written as two copies. Rows are read block by block, never mapped, so that the memory of a
run does not grow with its genotypes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

MAGIC = b"\x6c\x1b\x01"
TWO_COPIES, MISSING, ONE_COPY, NO_COPY = 0, 1, 2, 3
# The four codes of each byte.
CODES = (np.arange(256)[:, None] >> np.array([0, 2, 4, 6]) & 3).astype(np.uint8)
_LOW_BITS = np.uint64(0x5555_5555_5555_5555)

Bytes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class CallCounts(NamedTuple):
    """Calls of each variant among some samples, int64 of shape (variants,)."""

    two: Counts
    one: Counts
    none: Counts
    missing: Counts

    @property
    def called(self) -> Counts:
        """Calls that are not missing."""
        return self.two + self.one + self.none

    @property
    def copies(self) -> Counts:
        """Copies of the effect allele, where every call is diploid."""
        return 2 * self.two + self.one


@dataclass(frozen=True)
class GenotypeMatrix:
    """Genotypes in a file.

    Attributes:
        path: the file, with the magic number of a .bed at its start.
        variants: rows.
        samples: calls of each row.
    """

    path: Path
    variants: int
    samples: int

    @property
    def row_bytes(self) -> int:
        """Bytes of a row; the last one is filled up with zero bits."""
        return row_bytes(self.samples)

    def rows(self, start: int, stop: int) -> Bytes:
        """Rows [start, stop), uint8 of shape (rows, row_bytes)."""
        count, width = stop - start, self.row_bytes
        found = np.fromfile(self.path, dtype=np.uint8, count=count * width, offset=len(MAGIC) + start * width)
        if found.size != count * width:
            raise OSError(f"{self.path.name}: the file ends before genotype row {stop:,}")
        return found.reshape(count, width)

    def blocks(self, size: int) -> Iterator[tuple[int, Bytes]]:
        """All rows in order, `size` at a time, each block with the number of its first row."""
        for start in range(0, self.variants, size):
            yield start, self.rows(start, min(start + size, self.variants))

    def take(self, variants: Counts) -> Bytes:
        """Rows of the given numbers, uint8 of shape (len(variants), row_bytes)."""
        found = np.empty((len(variants), self.row_bytes), dtype=np.uint8)
        with self.path.open("rb") as file:
            for place, variant in enumerate(variants):
                file.seek(len(MAGIC) + int(variant) * self.row_bytes)
                found[place] = np.frombuffer(file.read(self.row_bytes), dtype=np.uint8)
        return found


class MatrixWriter:
    """Writes a genotype matrix row block by row block.

    Args:
        path: the file to make.
        samples: calls of each row.
    """

    def __init__(self, path: Path, samples: int) -> None:
        self._path = path
        self._samples = samples
        self._variants = 0
        self._file: BinaryIO | None = None

    def __enter__(self) -> MatrixWriter:
        self._file = self._path.open("wb")
        self._file.write(MAGIC)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def append(self, rows: Bytes) -> None:
        """Add rows, uint8 of shape (rows, row_bytes)."""
        if self._file is None or rows.shape[1] != row_bytes(self._samples):
            raise ValueError(f"rows of {rows.shape[1]} bytes, {row_bytes(self._samples)} are needed")
        self._file.write(np.ascontiguousarray(rows).data)
        self._variants += len(rows)

    @property
    def matrix(self) -> GenotypeMatrix:
        """What was written so far."""
        return GenotypeMatrix(self._path, self._variants, self._samples)


def row_bytes(samples: int) -> int:
    """Bytes of a row of so many samples.

    >>> row_bytes(5)
    2
    """
    return (samples + 3) // 4


def pack(codes: npt.ArrayLike) -> Bytes:
    """Rows of two-bit codes from one code a call.

    Args:
        codes: integers 0 to 3, shape (variants, samples).

    >>> pack([[0, 2, 3, 1, 2]]).tolist()  # 1 + 3 * 4 ** 2 + ...: the first call is in the lowest bits
    [[120, 2]]
    """
    given = np.asarray(codes, dtype=np.uint8)
    padded = np.zeros((given.shape[0], 4 * row_bytes(given.shape[1])), dtype=np.uint8)
    padded[:, : given.shape[1]] = given
    four = padded.reshape(given.shape[0], row_bytes(given.shape[1]), 4)
    return (four[:, :, 0] | four[:, :, 1] << 2 | four[:, :, 2] << 4 | four[:, :, 3] << 6).astype(np.uint8)


def unpack(rows: Bytes, samples: int) -> Bytes:
    """One code a call, uint8 of shape (variants, samples), from rows of two-bit codes.

    >>> unpack(pack([[0, 2, 3, 1, 2]]), 5).tolist()
    [[0, 2, 3, 1, 2]]
    """
    return np.take(CODES, rows, axis=0).reshape(len(rows), -1)[:, :samples]


def dosages(rows: Bytes, samples: int) -> Floats:
    """Copies of the effect allele, float64 of shape (variants, samples), NaN where missing.

    >>> dosages(pack([[0, 2, 3, 1]]), 4).tolist()
    [[2.0, 1.0, 0.0, nan]]
    """
    return np.array([2.0, np.nan, 1.0, 0.0])[unpack(rows, samples)]


def sample_mask(chosen: Bools) -> Bytes:
    """Both bits of each chosen sample set, as `count_calls` takes them; uint8 of whole 8-byte words."""
    words = -(-row_bytes(len(chosen)) // 8)
    mask = np.zeros(words * 8, dtype=np.uint8)
    mask[: row_bytes(len(chosen))] = pack(np.asarray(chosen, dtype=np.uint8)[None, :] * 3)[0]
    return mask


def count_calls(rows: Bytes, mask: Bytes) -> CallCounts:
    """Count the calls of each variant among the samples of a mask.

    >>> count_calls(pack([[0, 2, 3, 1, 0]]), sample_mask(np.array([True, True, True, True, False])))
    CallCounts(two=array([1]), one=array([1]), none=array([1]), missing=array([1]))
    """
    words = _words(rows, len(mask))
    chosen = mask.view(np.uint64) & _LOW_BITS
    low, high = words & chosen, (words >> np.uint64(1)) & chosen
    both = _ones(np.bitwise_and(low, high))
    low_ones, high_ones = _ones(low), _ones(high)
    total = int(np.bitwise_count(chosen).sum())
    one, missing = high_ones - both, low_ones - both
    return CallCounts(total - both - one - missing, one, both, missing)


def _words(rows: Bytes, width: int) -> npt.NDArray[np.uint64]:
    if rows.shape[1] == width and rows.flags.c_contiguous:
        return rows.view(np.uint64)
    padded = np.zeros((len(rows), width), dtype=np.uint8)
    padded[:, : rows.shape[1]] = rows
    return padded.view(np.uint64)


def _ones(words: npt.NDArray[np.uint64]) -> Counts:
    return np.asarray(np.bitwise_count(words).sum(axis=1, dtype=np.int64))


class CallSums:
    """Missing and heterozygous calls of each sample, summed over blocks of variants.

    Args:
        samples: how many samples a row has.
    """

    def __init__(self, samples: int) -> None:
        self._missing = np.zeros(4 * row_bytes(samples), dtype=np.int64)
        self._one = np.zeros_like(self._missing)
        self._samples = samples
        self.variants = 0

    def add(self, rows: Bytes) -> None:
        """Count the calls of some rows."""
        self._missing += _column_sums(_missing_bits(rows))
        self._one += _column_sums(np.asarray(rows >> 1 & ~rows & 0x55, dtype=np.uint8))
        self.variants += len(rows)

    @property
    def missing(self) -> Counts:
        """Missing calls of each sample, shape (samples,)."""
        return self._missing[: self._samples]

    @property
    def one(self) -> Counts:
        """Calls with one copy of each sample, shape (samples,)."""
        return self._one[: self._samples]


def _missing_bits(rows: Bytes) -> Bytes:
    """The low bit of each two-bit lane set where the call is missing."""
    return np.asarray(rows & ~(rows >> 1) & 0x55, dtype=np.uint8)


def _column_sums(bits: Bytes) -> Counts:
    """Sum the low bit of each two-bit lane down the rows; shape (4 * row bytes,).

    Lanes are widened only as they fill: three rows fit two bits, fifteen four bits, 255 a byte.
    """
    width = bits.shape[1]
    threes = _grouped(bits, 3)
    sums = np.zeros((width, 4), dtype=np.int64)
    for half in (0, 1):
        fours = _grouped(np.asarray(threes >> (2 * half) & 0x33, dtype=np.uint8), 5)
        for quarter in (0, 1):
            lane = (fours >> (4 * quarter)) & 0x0F
            sums[:, half + 2 * quarter] = lane.sum(axis=0, dtype=np.int64)
    return sums.reshape(-1)


def _grouped(rows: Bytes, size: int) -> Bytes:
    """Sums of each `size` neighbouring rows, which must fit a lane."""
    whole = len(rows) // size * size
    grouped = rows[:whole].reshape(-1, size, rows.shape[1]).sum(axis=1, dtype=np.uint8)
    if whole == len(rows):
        return np.asarray(grouped)
    return np.concatenate([grouped, rows[whole:].sum(axis=0, dtype=np.uint8)[None, :]])
