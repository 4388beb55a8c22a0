"""The stream of a whole file: rows by construction, cyvcf2 as referee, genotypes, engines, errors."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cyvcf2
import numpy as np
import pyarrow as pa
import pytest
from vcf_text import BATCH_ID, REAL_FILES, Loaded, load, record, vcf_bytes

from benchmarks.vcf_generator import Truth, VcfGenerator, write_vcf
from genomics_assets.input_error import InputError
from genomics_assets.variants.container import survey
from genomics_assets.variants.genotypes import GenotypeBlock, decode_depths, decode_qualities
from genomics_assets.variants.reader import ReadOptions, VariantStream, native_scanner, read_header

ENGINES = [
    "python",
    pytest.param(
        "native",
        marks=pytest.mark.skipif(native_scanner() is None, reason="the native scanner is not built"),
    ),
]


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    path = tmp_path_factory.mktemp("generated") / "cohort.vcf.gz"
    generator = VcfGenerator(3000, samples=12, consequences=True, seed=11, keep_rows=True)
    return path, write_vcf(path, generator)


@pytest.mark.parametrize("engine", ENGINES)
def test_generated_rows_are_those_that_were_planted(generated: tuple[Path, Truth], engine: str) -> None:
    path, truth = generated
    loaded = Loaded(path, engine=engine)
    assert loaded.stream.engine == engine
    assert len(loaded.rows) == truth.alleles == len(truth.rows)
    for found, planted in zip(loaded.rows, truth.rows, strict=True):
        assert (found["chrom"], found["pos"], found["ref"], found["alt"]) == planted[:4]
        assert (found["variant_type"], found["gene"]) == (planted.variant_type, planted.gene)
        assert found["consequence"] == planted.consequence
        assert (found["n_het"], found["n_hom_alt"]) == (planted.n_het, planted.n_hom_alt)
        assert found["call_rate"] == pytest.approx((planted.called or 0) / 12)
        assert json.loads(found["info"])["AF"] == json.loads(planted.af)
        assert found["load_batch_id"] == BATCH_ID.bytes
        assert found["sample_id"] is None
    assert loaded.tally.records == truth.records
    assert not loaded.tally.noted
    assert not loaded.tally.skipped


def real_files() -> list[Any]:
    names = ["cohort_csq_ann.vcf.gz", "hemizygous.vcf", "snpeff.vcf", "multi_contig.bcf", "alt_forms.vcf"]
    names += ["norm.vcf", "consequence.vcf", "annotate.vcf"]
    absent = pytest.mark.skipif(not REAL_FILES.is_dir(), reason="the small real files are not here")
    return [pytest.param(REAL_FILES / name, id=name, marks=absent) for name in names]


@pytest.mark.parametrize("path", real_files())
def test_cyvcf2_referees_real_files(path: Path) -> None:
    referee_agrees(path)


def test_cyvcf2_referees_generated_files(generated: tuple[Path, Truth]) -> None:
    assert referee_agrees(generated[0]) > 3000


def referee_agrees(path: Path) -> int:
    """Compare every row with what htslib reads, and say how many there were."""
    rows = iter(Loaded(path).rows)
    compared = 0
    for variant, row, number in referee_rows(path, rows):
        compared += 1
        where = f"{variant.CHROM}:{variant.POS} ALT {number + 1}"
        assert row["chrom"].removeprefix("chr") == variant.CHROM.removeprefix("chr"), where
        assert haplotype_of(row) == (variant.POS, variant.REF, variant.ALT[number]) or trims_to(
            variant, number, row
        )
        assert same(row["qual"], variant.QUAL), where
        filters = variant.FILTERS
        assert (row["filter"] or ["."]) == (filters or ["."]), where
        info = json.loads(row["info"])
        for key in ("AC", "AN", "DP", "MQ", "AF", "DB"):
            theirs = variant.INFO.get(key)
            if isinstance(theirs, tuple):
                declared_by_allele = not isinstance(info[key], list)
                theirs = theirs[number] if declared_by_allele else list(theirs)
            assert same(info.get(key), theirs), (where, key)
        if variant.genotypes and "GT" in variant.FORMAT:
            compare_calls(variant, row, number + 1, where)
    assert next(rows, None) is None
    return compared


def referee_rows(path: Path, rows: Iterator[dict[str, Any]]) -> Iterator[tuple[Any, dict[str, Any], int]]:
    for variant in cyvcf2.VCF(str(path)):
        for number in range(len(variant.ALT)):
            yield variant, next(rows), number


def haplotype_of(row: dict[str, Any]) -> tuple[int, str, str]:
    return row["pos"], row["ref"], row["alt"]


def trims_to(variant: Any, number: int, row: dict[str, Any]) -> bool:
    """Whether the row's alleles give the same haplotype in the record's window."""
    shift = row["pos"] - variant.POS
    return bool(
        variant.REF[shift : shift + len(row["ref"])] == row["ref"]
        and variant.REF[:shift] + row["alt"] + variant.REF[shift + len(row["ref"]) :] == variant.ALT[number]
    )


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, list) and not isinstance(theirs, list):
        # cyvcf2 gives a list of one value as that value.
        return len(ours) == 1 and same(ours[0], theirs)
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(theirs, float):
        return ours is not None and math.isclose(ours, theirs, rel_tol=1e-5, abs_tol=1e-7)
    return bool(ours == theirs)


def compare_calls(variant: Any, row: dict[str, Any], alt: int, where: str) -> None:
    whole = [[a for a in call[:-1] if a != -2] for call in variant.genotypes]
    called = [call for call in whole if call and -1 not in call]
    het = sum(0 < call.count(alt) < len(call) for call in called)
    hom = sum(call.count(alt) == len(call) for call in called)
    assert (row["n_het"], row["n_hom_alt"]) == (het, hom), where
    assert row["call_rate"] == pytest.approx(len(called) / len(whole)), where
    alleles = sum(map(len, called))
    copies = sum(call.count(alt) for call in called)
    assert row["aaf"] == (pytest.approx(copies / alleles, rel=1e-6) if alleles else None), where


# -- genotype store --------------------------------------------------------------------------------------


def genotypes(path: Path, engine: str = "python") -> pa.Table:
    stream = VariantStream(path, options=ReadOptions(BATCH_ID, engine=engine))  # type: ignore[arg-type]
    from genomics_assets.variants.genotypes import genotype_schema

    return pa.Table.from_batches(stream.genotype_batches(), schema=genotype_schema())


@pytest.mark.parametrize("engine", ENGINES)
def test_the_genotype_stream_holds_every_call(tmp_path: Path, engine: str) -> None:
    path = tmp_path / "a.vcf"
    calls = ["0/1:30:99", "1|2:70000:12.5", "./1:.:.", ".", "1:-1:nan", "1/1/1/1/1/1/1"]
    records = [
        record(ref="AC", alt="A,AT", keys="GT:DP:GQ", calls=calls),
        record(pos=200, keys="GT", calls=["0/0"] * 6),
        record(pos=300, keys="DP", calls=["3"] * 6),
        record(pos=400, alt=".", calls=["0/0"] * 6),
    ]
    path.write_bytes(vcf_bytes(records, samples=[f"S{n}" for n in range(6)]))
    rows = genotypes(path, engine).to_pylist()
    assert [(row["chrom"], row["pos"], row["ref"], row["alt"]) for row in rows] == [
        ("chr1", 100, "AC", "A"),
        ("chr1", 101, "C", "T"),
        ("chr1", 200, "A", "G"),
    ]
    assert list(rows[0]["gt"]) == [0x11, 0xD1, 0x01, 0x00, 0x09, 0x3F]
    assert list(rows[1]["gt"]) == [0x90, 0xD1, 0x80, 0x00, 0x88, 0xB8]
    assert decode_depths(rows[0]["dp"]).tolist() == [30, 65534, -1, -1, -1, -1]
    assert decode_qualities(rows[0]["gq"]).tolist() == [99, 13, -1, -1, -1, -1]
    assert (rows[2]["dp"], rows[2]["gq"]) == (None, None)
    assert {row["load_batch_id"] for row in rows} == {BATCH_ID.bytes}


@pytest.mark.parametrize("engine", ENGINES)
def test_stored_genotypes_equal_those_of_cyvcf2(generated: tuple[Path, Truth], engine: str) -> None:
    path, truth = generated
    table = genotypes(path, engine)
    assert table.num_rows == truth.alleles
    rows = iter(table.to_pylist())
    for variant in cyvcf2.VCF(str(path)):
        alleles = np.array([call[:-1] for call in variant.genotypes])
        for alt in range(1, len(variant.ALT) + 1):
            row = next(rows)
            block = GenotypeBlock.of_row(row["gt"])
            expected = np.where((alleles == -1).any(axis=1), 0, (alleles == alt).sum(axis=1))
            assert np.where(block.missing, 0, block.dosage).tolist() == expected.tolist()
            assert block.phased.tolist() == [call[-1] for call in variant.genotypes]
            depths = variant.format("DP")[:, 0]
            assert decode_depths(row["dp"]).tolist() == np.where(depths < 0, -1, depths).tolist()


def test_a_file_without_samples_has_no_genotypes(tmp_path: Path) -> None:
    path = tmp_path / "a.vcf"
    path.write_bytes(vcf_bytes([record()]))
    assert genotypes(path).num_rows == 0


# -- the stream ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_lines_that_are_handed_back_stay_in_file_order(tmp_path: Path, engine: str) -> None:
    odd = {
        3: record(pos=3, ref="a"),
        4: record(pos=4, info="MQ=.5", alt="G,T"),
        9: record(pos=9, info="TAG=\x01"),
        10: record(pos=10, alt="<DEL>", info="SVLEN=-5"),
        15: record(pos=15, alt="."),
        20: record(pos=20, info="DP=x"),
    }
    loaded = load(
        tmp_path, [odd.get(pos, record(pos=pos, info="DP=1")) for pos in range(1, 21)], engine=engine
    )
    assert loaded.column("pos") == sorted([*range(1, 15), *range(16, 21), 4])
    assert loaded.tally.noted == {"lower_case_allele": 1, "info_wrong_type": 1}
    assert loaded.tally.skipped == {"no_alternate_allele": 1}
    first = loaded.stream.header.lines
    assert loaded.tally.examples == {
        "lower_case_allele": [first + 3],
        "info_wrong_type": [first + 20],
        "no_alternate_allele": [first + 15],
    }


@pytest.mark.parametrize("engine", ENGINES)
def test_first_lines_of_each_reason_are_named_across_chunks(tmp_path: Path, engine: str) -> None:
    filler = "TAG=" + "x" * 30_000
    records = [record(pos=pos, info=filler, filters="odd" if pos % 40 == 0 else ".") for pos in range(1, 401)]
    loaded = load(tmp_path, records, engine=engine)
    first = loaded.stream.header.lines
    assert loaded.tally.noted == {"undeclared_filter": 10}
    assert loaded.tally.examples == {"undeclared_filter": [first + 40 * n for n in range(1, 6)]}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("crlf", [False, True])
def test_an_error_names_the_file_and_the_line_in_any_chunk(tmp_path: Path, engine: str, crlf: bool) -> None:
    filler = "TAG=" + "x" * 30_000
    records = [record(pos=pos, info=filler) for pos in range(1, 201)]
    records[150] = record(pos="here")
    path = tmp_path / "drop.vcf"
    content = vcf_bytes(records)
    path.write_bytes(content.replace(b"\n", b"\r\n") if crlf else content)
    stream = VariantStream(path, options=ReadOptions(BATCH_ID, engine=engine, file_name="my drop.vcf"))  # type: ignore[arg-type]
    rows = 0
    with pytest.raises(InputError) as caught:  # noqa: PT012 - what was given before the error counts
        for batch in stream.batches():
            rows += batch.num_rows
    assert caught.value.file == "my drop.vcf"
    assert caught.value.line == stream.header.lines + 151
    assert 0 < rows < 150


def test_a_header_without_records_is_a_load_of_zero_rows(tmp_path: Path) -> None:
    loaded = load(tmp_path, [])
    assert loaded.rows == []
    assert (loaded.tally.records, loaded.tally.alleles, len(loaded.tally.content_hash)) == (0, 0, 64)


def test_a_header_longer_than_a_chunk(tmp_path: Path) -> None:
    contigs = [f"##contig=<ID=scaffold_{number:06d},length=1000>" for number in range(40_000)]
    loaded = load(tmp_path, [record("scaffold_039999"), record(pos="x")][:1], header={"more_header": contigs})
    assert loaded.column("chrom") == ["scaffold_039999"]
    assert loaded.tally.noted == {"contig_not_standard": 1}
    assert len(loaded.stream.header.contigs) > 40_000


@pytest.mark.parametrize(
    ("samples", "given_id", "stored"),
    [(["S1"], None, "S1"), (["S1"], "P9", "P9"), ([], "P9", "P9"), (["A", "B"], None, None)],
)
def test_the_sample_that_rows_belong_to(
    tmp_path: Path, samples: list[str], given_id: str | None, stored: str | None
) -> None:
    line = record(calls=["0/1"] * len(samples))
    loaded = load(tmp_path, [line], header={"samples": samples}, sample_id=given_id)
    assert loaded.column("sample_id") == [stored]


def test_batches_can_be_read_again(tmp_path: Path) -> None:
    stream = load(tmp_path, [record(), record(pos=5)]).stream
    assert sum(batch.num_rows for batch in stream.batches()) == 2
    assert stream.tally.loaded == 2


def test_the_environment_switches_the_native_engine_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENOMICS_NATIVE", "0")
    assert load(tmp_path, [record()], engine="auto").stream.engine == "python"


@pytest.mark.parametrize("path", real_files())
def test_real_files_give_the_same_header_in_every_reading(path: Path) -> None:
    assert survey(path).size == path.stat().st_size
    assert list(read_header(path).samples) == cyvcf2.VCF(str(path)).samples
