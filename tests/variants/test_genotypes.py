from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genomics_assets.variants.genotypes import (
    GenotypeBlock,
    decode_depths,
    decode_qualities,
    encode,
    encode_call,
    encode_depths,
    encode_qualities,
    genotype_schema,
)

_calls = st.lists(st.none() | st.integers(0, 4), min_size=1, max_size=9)


def as_matrix(calls: list[list[int | None]]) -> np.ndarray:
    width = max(map(len, calls))
    return np.array([[-1 if a is None else a for a in c] + [-2] * (width - len(c)) for c in calls])


def text_of(call: list[int | None], *, phased: bool = False, alt: int = 1) -> str:
    return str(GenotypeBlock.of_row(bytes([encode_call(call, phased=phased, alt=alt)])).text()[0])


@pytest.mark.parametrize(
    ("call", "phased", "alt", "bits"),
    [
        ([0, 0], False, 1, 0b0_0_010_000),
        ([0, 1], False, 1, 0b0_0_010_001),
        ([1, 1], True, 1, 0b0_1_010_010),
        ([1], False, 1, 0b0_0_001_001),
        ([None, None], False, 1, 0b0_0_000_000),
        ([None, 1], False, 1, 0b0_0_000_001),
        ([1, 2], False, 1, 0b1_0_010_001),
        ([1, 2], False, 2, 0b1_0_010_001),
        ([0, 2], False, 1, 0b1_0_010_000),
        ([2, None], True, 1, 0b1_1_000_000),
        ([1] * 6, False, 1, 0b0_0_110_110),
        ([1] * 7, False, 1, 0b0_0_111_111),
        ([1] * 12, False, 1, 0b0_0_111_111),
        ([], False, 1, 0),
    ],
)
def test_each_bit_means_what_the_contract_says(
    call: list[int | None], phased: bool, alt: int, bits: int
) -> None:
    assert encode_call(call, phased=phased, alt=alt) == bits


@given(calls=st.lists(_calls, min_size=1, max_size=12), alt=st.integers(1, 4), data=st.data())
def test_a_whole_row_is_encoded_as_its_calls_are(
    calls: list[list[int | None]], alt: int, data: st.DataObject
) -> None:
    phased = data.draw(st.lists(st.booleans(), min_size=len(calls), max_size=len(calls)))
    one_by_one = bytes(
        encode_call(c, phased=p and len(c) > 1, alt=alt) for c, p in zip(calls, phased, strict=True)
    )
    assert encode(as_matrix(calls), phased, alt) == one_by_one


@given(call=_calls, alt=st.integers(1, 4))
def test_what_was_called_is_read_back(call: list[int | None], alt: int) -> None:
    block = GenotypeBlock.of_row(bytes([encode_call(call, phased=True, alt=alt)]))
    assert block.missing[0] == (None in call)
    assert block.dosage[0] == (-1 if None in call else min(call.count(alt), 7))
    assert block.ploidy[0] == (0 if None in call else min(len(call), 7))
    assert block.phased[0]
    assert block.other_allele[0] == any(a not in (0, None, alt) for a in call)


@pytest.mark.parametrize(
    ("call", "phased", "text"),
    [
        ([0, 0], False, "0/0"),
        ([1, 0], False, "0/1"),
        ([1, 1], True, "1|1"),
        ([None, None], False, "./."),
        ([None, 1], False, "./."),
        ([1], False, "1"),
        ([0], False, "0"),
        ([2], False, "2"),
        ([1, 2], False, "1/2"),
        ([0, 3], True, "0|2"),
        ([0, 0, 1], False, "0/0/1"),
        ([1] * 6, False, "1/1/1/1/1/1"),
        ([1] * 8, False, "1/1/1/1/1/1/…"),
    ],
)
def test_text_reads_like_vcf(call: list[int | None], phased: bool, text: str) -> None:
    assert text_of(call, phased=phased) == text


def test_chosen_samples_come_in_the_order_they_were_asked_for() -> None:
    row = encode([[0, 0], [0, 1], [1, 1]], [False] * 3, alt=1)
    assert GenotypeBlock.of_row(row, [2, 0]).dosage.tolist() == [2, 0]
    with pytest.raises(IndexError):
        GenotypeBlock.of_row(row, [3])


def test_a_column_of_rows_is_a_matrix_of_variants_by_samples() -> None:
    rows = pa.array(
        [encode([[0, 1], [1, 1]], [False] * 2, 1), encode([[-1, -1], [0, 0]], [False] * 2, 1)], pa.binary()
    )
    block = GenotypeBlock.of_rows(rows)
    assert block.dosage.tolist() == [[1, 2], [-1, 0]]
    assert block.text().tolist() == [["0/1", "1/1"], ["./.", "0/0"]]
    assert GenotypeBlock.of_rows(rows.slice(1), [1]).dosage.tolist() == [[0]]
    assert GenotypeBlock.of_rows(rows.slice(2)).codes.size == 0


def test_rows_of_files_with_other_samples_are_not_mixed() -> None:
    with pytest.raises(ValueError, match="different numbers of samples"):
        GenotypeBlock.of_rows(pa.array([b"\x10", b"\x10\x10"], pa.binary()))


def test_calls_as_htslib_gives_them_are_stored_as_they_are_read(tmp_path: Path) -> None:
    from cyvcf2 import VCF

    calls = ["0/0", "0|1", "1|1", "1", ".", "./.", "./1", "1/2", "2|0", "0/1/1"]
    names = [f"S{n}" for n in range(len(calls))]
    path = tmp_path / "calls.vcf"
    path.write_text(
        "##fileformat=VCFv4.2\n##contig=<ID=chr1>\n"
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
        + "\t".join(["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *names])
        + "\n"
        + "\t".join(["chr1", "10", ".", "A", "C,G", ".", ".", ".", "GT", *calls])
        + "\n"
    )
    (record,) = VCF(str(path))
    numbers = record.genotype.array()
    block = GenotypeBlock.of_row(encode(numbers[:, :-1], numbers[:, -1] == 1, alt=1))
    assert block.text().tolist() == [
        "0/0", "0|1", "1|1", "1", "./.", "./.", "./.", "1/2", "0|2", "0/1/1",
    ]  # fmt: skip
    assert block.phased.tolist() == ["|" in call for call in calls]


def test_depth_and_quality_keep_their_limits_apart_from_missing() -> None:
    dp = encode_depths([0, 255, 256, 65534, 65535, 1_000_000, None, -1])
    assert dp[2:6] == b"\x00\xff\x01\x00"
    assert decode_depths(dp).tolist() == [0, 255, 256, 65534, 65534, 65534, -1, -1]
    gq = encode_qualities([0, 99, 254, 255, float("inf"), None, float("nan"), -3, 20.5, 21.4])
    assert decode_qualities(gq).tolist() == [0, 99, 254, 254, 254, -1, -1, -1, 21, 21]


def test_the_stream_has_the_columns_of_the_store() -> None:
    assert genotype_schema().names == ["chrom", "pos", "ref", "alt", "load_batch_id", "gt", "dp", "gq"]
    assert genotype_schema().field("load_batch_id").type == pa.binary(16)
