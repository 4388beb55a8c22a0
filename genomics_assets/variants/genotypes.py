"""The genotype store's byte code: one byte for each sample and ALT allele, one value for each row.

Bits 0-2 count the copies of this ALT (7: more than 6), bits 3-5 give the ploidy (0: missing; 7: more than
6), bit 6 says phased, and bit 7 that the call carries an allele that is neither REF nor this ALT. A partly
missing call (`./1`) has ploidy 0 and the copies that were seen. Beside it lie depth (DP, two bytes a sample,
big-endian) and genotype quality (GQ, one byte a sample).

The store does not keep which haplotype carries an allele, nor which other allele a call carries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

COPIES = 0b0000_0111
PLOIDY_SHIFT = 3
MORE_THAN_SIX = 7
PHASED = 0b0100_0000
OTHER_ALLELE = 0b1000_0000

# Allele numbers in arrays, as htslib gives them.
MISSING_ALLELE = -1
NO_ALLELE = -2

DEPTH_CAP, DEPTH_MISSING = 65534, 65535
QUALITY_CAP, QUALITY_MISSING = 254, 255

_Bytes = npt.NDArray[np.uint8]
_Bools = npt.NDArray[np.bool_]


@cache
def genotype_schema() -> pa.Schema:
    """Arrow schema of the genotype stream: one row for each ALT allele, all samples of the file packed in it.

    `gt` and `gq` hold one byte a sample, `dp` two; `dp` and `gq` are NULL where the record has no such field.
    """
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("chrom", pa.string(), nullable=False),
            pa.field("pos", pa.int64(), nullable=False),
            pa.field("ref", pa.string(), nullable=False),
            pa.field("alt", pa.string(), nullable=False),
            pa.field("load_batch_id", pa.binary(16), nullable=False),
            pa.field("gt", pa.binary(), nullable=False),
            pa.field("dp", pa.binary()),
            pa.field("gq", pa.binary()),
        ]
    )


def encode_call(alleles: Sequence[int | None], *, phased: bool, alt: int) -> int:
    """The byte of one sample's call for one ALT allele.

    Args:
        alleles: allele numbers of the call, 0 for REF; None where missing. Empty: no call at all.
        phased: whether the call was written with `|`.
        alt: number of this ALT allele, from 1.

    >>> bin(encode_call([0, 1], phased=False, alt=1)), bin(encode_call([None, 1], phased=False, alt=1))
    ('0b10001', '0b1')
    """
    copies = sum(allele == alt for allele in alleles)
    whole = None not in alleles
    other = any(allele not in (0, None, alt) for allele in alleles)
    return (
        min(copies, MORE_THAN_SIX)
        | (min(len(alleles), MORE_THAN_SIX) if whole else 0) << PLOIDY_SHIFT
        | (PHASED if phased else 0)
        | (OTHER_ALLELE if other else 0)
    )


def encode(alleles: npt.ArrayLike, phased: npt.ArrayLike, alt: int) -> bytes:
    """The bytes of one row: every sample's call for one ALT allele.

    Args:
        alleles: integers of shape (samples, ploidy), 0 for REF; -1 where missing, -2 where a call has fewer
            alleles than the widest one, as cyvcf2 and htslib give them.
        phased: booleans of shape (samples,); of no meaning for a call with one allele.
        alt: number of this ALT allele, from 1.

    >>> encode([[0, 1], [1, 1], [-1, -1], [1, -2]], [False, True, False, False], alt=1).hex(" ")
    '11 52 00 09'
    """
    numbers = np.atleast_2d(np.asarray(alleles, dtype=np.int64))
    present = numbers != NO_ALLELE
    copies = np.minimum((numbers == alt).sum(axis=1), MORE_THAN_SIX)
    length = present.sum(axis=1)
    ploidy = np.minimum(length, MORE_THAN_SIX)
    ploidy[(numbers == MISSING_ALLELE).any(axis=1)] = 0
    other = ((numbers > 0) & (numbers != alt)).any(axis=1)
    code = copies | ploidy << PLOIDY_SHIFT
    # htslib calls a lone missing allele phased.
    code |= np.where(np.asarray(phased, dtype=bool) & (length > 1), PHASED, 0)
    code |= np.where(other, OTHER_ALLELE, 0)
    return bytes(code.astype(np.uint8))


def encode_depths(depths: Sequence[int | None]) -> bytes:
    """DP of each sample as two big-endian bytes; 65535 where missing or negative, at most 65534.

    >>> encode_depths([30, None, 100_000]).hex(" ", 2)
    '001e ffff fffe'
    """
    stored = [DEPTH_MISSING if d is None or d < 0 else min(d, DEPTH_CAP) for d in depths]
    return np.array(stored, dtype=">u2").tobytes()


def encode_qualities(qualities: Sequence[float | None]) -> bytes:
    """GQ of each sample as one byte: 255 where missing, negative or not a number, at most 254; halves go up.

    >>> list(encode_qualities([99, 12.7, None, 1e9]))
    [99, 13, 255, 254]
    """
    # `not q >= 0` is true of NaN as well.
    return bytes(
        QUALITY_MISSING if q is None or not q >= 0 else int(min(q, QUALITY_CAP) + 0.5) for q in qualities
    )


def decode_depths(dp: bytes) -> npt.NDArray[np.int32]:
    """DP of each sample, int32 of shape (samples,); -1 where missing."""
    depths = np.frombuffer(dp, dtype=">u2").astype(np.int32)
    depths[depths == DEPTH_MISSING] = -1
    return depths


def decode_qualities(gq: bytes) -> npt.NDArray[np.int16]:
    """GQ of each sample, int16 of shape (samples,); -1 where missing."""
    qualities = np.frombuffer(gq, dtype=np.uint8).astype(np.int16)
    qualities[qualities == QUALITY_MISSING] = -1
    return qualities


@dataclass(frozen=True, eq=False)
class GenotypeBlock:
    """Calls as they are stored, with what they mean.

    Attributes:
        codes: uint8 of shape (variants, samples), or (samples,) for one variant.
    """

    codes: _Bytes

    @classmethod
    def of_row(cls, gt: bytes, samples: Sequence[int] | None = None) -> GenotypeBlock:
        """The calls of one stored row, of all samples or of those at the given ordinals, in that order.

        Raises:
            IndexError: an ordinal is beyond the row's samples.
        """
        codes = np.frombuffer(gt, dtype=np.uint8)
        return cls(codes if samples is None else codes[np.asarray(samples, dtype=np.intp)])

    @classmethod
    def of_rows(cls, gt: pa.Array, samples: Sequence[int] | None = None) -> GenotypeBlock:
        """The calls of a `gt` column of one load, shape (variants, samples).

        Raises:
            ValueError: the rows hold different numbers of samples, so they come from more than one file.
        """
        rows = gt.to_pylist()
        if len({len(row) for row in rows}) > 1:
            raise ValueError("these genotype rows hold different numbers of samples; read one load at a time")
        codes = np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(
            len(rows), -1 if rows and rows[0] else 0
        )
        return cls(codes if samples is None else codes[:, np.asarray(samples, dtype=np.intp)])

    @property
    def missing(self) -> _Bools:
        """Where a call is missing, wholly or in part."""
        return np.equal(self.ploidy, 0)

    @property
    def ploidy(self) -> _Bytes:
        """Alleles of each call; 0 where missing, 7 for more than six."""
        return ((self.codes >> PLOIDY_SHIFT) & MORE_THAN_SIX).astype(np.uint8)

    @property
    def dosage(self) -> npt.NDArray[np.int8]:
        """Copies of this ALT in each call; -1 where missing, 7 for more than six."""
        copies = (self.codes & COPIES).astype(np.int8)
        copies[self.missing] = -1
        return copies

    @property
    def phased(self) -> _Bools:
        """Where a call was written with `|`."""
        return (self.codes & PHASED).astype(np.bool_)

    @property
    def other_allele(self) -> _Bools:
        """Where a call carries an allele that is neither REF nor this ALT."""
        return (self.codes & OTHER_ALLELE).astype(np.bool_)

    def text(self) -> npt.NDArray[np.str_]:
        """Calls as VCF writes them, seen from this ALT: 0 is REF, 1 this ALT, 2 any other allele.

        Alleles come in rising order, for the store does not know on which haplotype one lies. `0/2` stands
        for `2/2` too; a missing call is `./.` whatever its ploidy was; after six alleles comes `…`.

        >>> gt = encode([[1, 0], [1, 1], [-1, 1], [1, -2]], [False, True, False, False], alt=1)
        >>> GenotypeBlock.of_row(gt).text().tolist()
        ['0/1', '1|1', './.', '1']
        """
        texts: npt.NDArray[np.str_] = _call_texts()[self.codes]
        return texts


@cache
def _call_texts() -> npt.NDArray[np.str_]:
    return np.array([_call_text(code) for code in range(256)])


def _call_text(code: int) -> str:
    ploidy = code >> PLOIDY_SHIFT & MORE_THAN_SIX
    if ploidy == 0:
        return "./."
    ones = min(code & COPIES, ploidy)
    twos = 1 if code & OTHER_ALLELE and ones < ploidy else 0
    zeros = ploidy - ones - twos
    alleles = ["0"] * zeros + ["1"] * ones + ["2"] * twos
    if ploidy == MORE_THAN_SIX:
        alleles[-1:] = ["…"]
    return ("|" if code & PHASED else "/").join(alleles)
