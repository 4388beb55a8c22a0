"""One line becomes rows: every rule of docs/variants.md that needs no container."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vcf_text import CSQ, STANDARD_HEADER, Loaded, load, record, vcf_bytes

from genomics_assets.input_error import InputError
from genomics_assets.variants.header import parse_header
from genomics_assets.variants.record import RecordParser, canonical_contig

FIRST_RECORD = len(STANDARD_HEADER) + 2
BASES = st.text("ACGTN", min_size=1, max_size=8)


# -- places and alleles ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("1", "chr1"),
        ("chr22", "chr22"),
        ("CHRX", "chrX"),
        ("M", "chrM"),
        ("MT", "chrM"),
        ("chrMT", "chrM"),
        ("23", "23"),
        ("chrx", "chrx"),
        ("HLA-A*01:01:01:01", "HLA-A*01:01:01:01"),
        ("chr1_KI270706v1_random", "chr1_KI270706v1_random"),
        ("hs37d5", "hs37d5"),
    ],
)
def test_contig_names(tmp_path: Path, name: str, stored: str) -> None:
    declared = {"more_header": [f"##contig=<ID={name}>"] if name != "1" else []}
    human = load(tmp_path, [record(name)], header=declared)
    assert human.column("chrom") == [stored]
    standard = canonical_contig(name) is not None
    assert human.tally.noted == ({} if standard else {"contig_not_standard": 1})
    assert load(tmp_path, [record(name)], header=declared, genome="other").column("chrom") == [name]


def test_a_multi_allelic_record_gives_a_trimmed_row_for_each_alt(tmp_path: Path) -> None:
    loaded = load(
        tmp_path, [record(pos=105, ref="TAAACCCTAAA", alt="TAA,TAACCCTAAA,*,<DEL>", info="END=200")]
    )
    assert loaded.keys == [
        ("chr1", 105, "TAAACCCTA", "T"),
        ("chr1", 105, "TA", "T"),
        ("chr1", 105, "TAAACCCTAAA", "*"),
        ("chr1", 105, "TAAACCCTAAA", "<DEL>"),
    ]
    assert loaded.column("variant_type") == ["indel", "indel", "star", "sv"]
    # END is not that of alleles whose bases are written.
    assert loaded.column("end_pos") == [113, 106, 200, 200]
    assert loaded.column("pos_range")[0] == {"lower": 105, "upper": 114}
    assert {info["_orig"] for info in loaded.info} == {"105:TAAACCCTAAA:TAA,TAACCCTAAA,*,<DEL>"}
    assert (loaded.tally.records, loaded.tally.alleles, loaded.tally.loaded) == (1, 4, 4)


def test_the_original_is_kept_only_where_something_changed(tmp_path: Path) -> None:
    loaded = load(
        tmp_path, [record(ref="AC", alt="A"), record(ref="GC", alt="GT"), record(ref="ac", alt="a")]
    )
    assert [info.get("_orig") for info in loaded.info] == [None, "100:GC:GT", None]
    assert loaded.keys[1] == ("chr1", 101, "C", "T")
    assert loaded.keys[2] == ("chr1", 100, "AC", "A")
    assert loaded.tally.noted == {"lower_case_allele": 1}
    assert loaded.tally.examples == {"lower_case_allele": [FIRST_RECORD + 2]}


@pytest.mark.parametrize(
    "alt", ["]chr13:123456]T", "t[chr2:5[", "<dup>", ".A", "<validId!\"#$%&'()*+-./;=?@[\\]^_`{|}~>"]
)
def test_symbolic_alleles_and_breakends_stay_as_written(tmp_path: Path, alt: str) -> None:
    loaded = load(tmp_path, [record(ref="T", alt=alt)])
    assert loaded.column("alt") == [alt]
    assert loaded.tally.noted == {}


def test_letters_that_are_no_bases_are_kept_as_a_name(tmp_path: Path) -> None:
    loaded = load(tmp_path, [record(ref="CA", alt="I")])
    assert loaded.keys == [("chr1", 100, "CA", "I")]
    assert loaded.tally.noted == {"non_base_allele": 1}


@pytest.mark.parametrize(
    ("alt", "info", "end"),
    [
        ("G", "END=500", 101),
        ("<DEL>", "END=500;SVLEN=-10", 500),
        ("<DEL>", "SVLEN=-10", 110),
        ("<DUP:TANDEM>", "SVLEN=10", 110),
        ("<CNV>", "SVLEN=.", 101),
        ("<DEL>", ".", 101),
        ("<INS>", "SVLEN=300", 100),
        ("<INS>", "END=130", 130),
        ("<BND>", "SVLEN=300", 101),
        ("<NON_REF>", "END=150", 150),
        ("]2:5]G", ".", 101),
        ("<DEL>,<DUP>", "SVLEN=-10,20", 110),
        ("<DEL>", "END=x", 101),
    ],
)
def test_the_end(tmp_path: Path, alt: str, info: str, end: int) -> None:
    row = load(tmp_path, [record(ref="AC", alt=alt, info=info)]).rows[0]
    assert row["end_pos"] == (end if alt != "G" else 101)
    assert row["pos_range"] == {"lower": row["pos"], "upper": row["end_pos"] + 1}


def test_an_end_before_pos_is_ignored_and_counted(tmp_path: Path) -> None:
    loaded = load(tmp_path, [record(alt="<DEL>", info="END=5"), record(alt="G", info="END=5")])
    assert loaded.column("end_pos") == [100, 100]
    assert loaded.tally.noted == {"end_before_pos": 2}


@settings(max_examples=200, deadline=None)
@given(
    BASES,
    st.lists(
        st.one_of(BASES, st.sampled_from(["*", "<DEL>", "<NON_REF>", "]1:5]A", "A.", "acg"])),
        min_size=1,
        max_size=5,
    ),
    st.booleans(),
)
def test_rows_are_the_alts_and_no_allele_is_empty(ref: str, alts: list[str], human: bool) -> None:
    parser = RecordParser(parse_header(vcf_bytes([]).splitlines()), genome="human" if human else "other")
    rows = parser.parse(record(pos=500, ref=ref, alt=",".join(alts)).encode(), 1)
    assert len(rows) == len(alts) == parser.tally.alleles
    for row, alt in zip(rows, alts, strict=True):
        assert row.ref
        assert row.alt
        assert row.end_pos >= row.pos - 1
        if alt[0] in "ACGTNacg" and not alt.endswith("."):
            before, after = row.pos - 500, row.pos - 500 + len(row.ref)
            assert ref[:before] + row.alt + ref[after:] == alt.upper()
        else:
            assert (row.pos, row.ref, row.alt) == (500, ref, alt)


# -- the other columns -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("qual", "stored"),
    [
        ("50", 50.0),
        ("0", 0.0),
        ("-1", -1.0),
        (".", None),
        ("nan", None),
        ("-Inf", None),
        ("1e99", None),
        ("1.5e1", 15.0),
    ],
)
def test_qual(tmp_path: Path, qual: str, stored: float | None) -> None:
    assert load(tmp_path, [record(qual=qual)]).column("qual") == [stored]


@pytest.mark.parametrize(
    ("filters", "stored", "noted"),
    [
        (".", None, {}),
        ("PASS", ["PASS"], {}),
        ("LowQual", ["LowQual"], {}),
        ("LowQual;new;newer", ["LowQual", "new", "newer"], {"undeclared_filter": 1}),
    ],
)
def test_filters(tmp_path: Path, filters: str, stored: list[str] | None, noted: dict[str, int]) -> None:
    loaded = load(tmp_path, [record(filters=filters)])
    assert loaded.column("filter") == [stored]
    assert loaded.tally.noted == noted


@pytest.mark.parametrize(
    ("name", "stored"),
    [(".", None), ("rs5", "rs5"), ("x;rs12;rs13", "rs12"), ("COSM1;rsX", "COSM1"), ("RS5", "RS5")],
)
def test_rs_ids(tmp_path: Path, name: str, stored: str | None) -> None:
    assert load(tmp_path, [record(name=name)]).column("rs_id") == [stored]


def test_annotation_fields_of_the_site(tmp_path: Path) -> None:
    declared = [
        f'##INFO=<ID={name},Number=.,Type=String,Description="">'
        for name in ("gnomAD_AF", "gnomADg_AF", "AF_grpmax", "KG_AF", "CADD_phred", "CLNSIG", "CLNREVSTAT")
    ]
    info = (
        "gnomAD_AF=.,nan;gnomADg_AF=0.5,0.25;AF_grpmax=0.75;KG_AF=1,2,3;CADD_phred=x,30.5;"
        "CLNSIG=Pathogenic,_low_penetrance;CLNREVSTAT=."
    )
    loaded = load(tmp_path, [record(alt="G,T", info=info)], header={"more_header": declared})
    assert loaded.column("af_gnomad") == [0.5, 0.25]
    assert loaded.column("af_gnomad_popmax") == [0.75, 0.75]
    assert loaded.column("af_1kg") == [None, None]
    assert loaded.column("cadd_phred") == [None, 30.5]
    assert loaded.column("clinvar_sig") == ["Pathogenic,_low_penetrance"] * 2
    assert loaded.column("clinvar_review") == [None, None]


def test_long_texts_are_cut_to_their_columns_and_stay_whole_elsewhere(tmp_path: Path) -> None:
    header = [
        CSQ.format("Allele|Consequence|SYMBOL|HGVSc"),
        '##INFO=<ID=CLNSIG,Number=.,Type=String,Description="">',
    ]
    terms = "&".join(["missense_variant", "splice_region_variant", "NMD_transcript_variant"] * 3)
    info = f"CSQ=G|{terms}|{'L' * 101}|{'c' * 255};CLNSIG={'P' * 200}"
    loaded = load(tmp_path, [record(info=info)], header={"more_header": header})
    row = loaded.rows[0]
    assert row["consequence"] == "&".join(terms.split("&")[:5])
    assert row["gene"] == "L" * 99 + "…"
    assert row["hgvs_c"] == "c" * 255
    assert row["clinvar_sig"] == "P" * 99 + "…"
    assert loaded.info[0]["CLNSIG"] == ["P" * 200]
    assert terms in (row["vep_annotations"] or "")
    assert loaded.tally.noted == {"cut_to_column_width": 3}


def test_a_hundred_thousand_bases_are_kept(tmp_path: Path) -> None:
    loaded = load(tmp_path, [record(ref="A", alt="A" + "ACGTT" * 20_000)])
    assert len(loaded.rows[0]["alt"]) == 100_001


def test_duplicate_records_are_kept(tmp_path: Path) -> None:
    assert len(load(tmp_path, [record(), record()]).rows) == 2


# -- genotypes -------------------------------------------------------------------------------------------


def calls(folder: Path, texts: list[str], alt: str = "G", keys: str = "GT", **options: Any) -> Loaded:
    samples = [f"S{number}" for number in range(len(texts))]
    return load(folder, [record(alt=alt, calls=texts, keys=keys)], header={"samples": samples}, **options)


def statistics(loaded: Loaded) -> list[tuple[Any, ...]]:
    names = ("call_rate", "n_het", "n_hom_alt", "aaf")
    return [tuple(row[name] for name in names) for row in loaded.rows]


def test_calls_are_counted_for_each_alt(tmp_path: Path) -> None:
    loaded = calls(tmp_path, ["0/0", "0|1", "1/1", "1/2", "./.", "./1", ".", "2"], "G,T")
    assert statistics(loaded) == [
        (0.625, 2, 1, pytest.approx(4 / 9)),
        (0.625, 1, 1, pytest.approx(2 / 9)),
    ]


def test_gt_is_found_by_its_place_and_may_be_left_out_at_the_end(tmp_path: Path) -> None:
    loaded = calls(tmp_path, ["5:0/1", "5", "7:1/1:3"], keys="DP:GT:GQ")
    assert statistics(loaded) == [(pytest.approx(2 / 3), 1, 1, 0.75)]


def test_haploid_polyploid_and_leading_phase(tmp_path: Path) -> None:
    loaded = calls(tmp_path, ["1", "0/0/1/1", "|0|1", "1/1/1"])
    assert statistics(loaded) == [(1.0, 2, 2, pytest.approx(7 / 10))]


def test_hardy_weinberg_counts_diploid_calls_alone(tmp_path: Path) -> None:
    # Ten diploid calls, 4 het and 3 hom: every other outcome but 6 het is as rare or rarer.
    loaded = calls(tmp_path, ["0/1"] * 4 + ["1/1"] * 3 + ["0/0"] * 3 + ["1", "./."])
    assert loaded.column("hwe_p") == [pytest.approx(0.56353, abs=1e-4)]
    assert calls(tmp_path, ["1", "0"]).column("hwe_p") == [None]


@pytest.mark.parametrize(("texts", "keys"), [(["5", "6"], "DP"), (["5", "6"], "AD")])
def test_without_gt_there_are_no_statistics(tmp_path: Path, texts: list[str], keys: str) -> None:
    assert statistics(calls(tmp_path, texts, keys=keys)) == [(None, None, None, None)]


def test_without_samples_or_when_not_asked_for_there_are_no_statistics(tmp_path: Path) -> None:
    assert statistics(load(tmp_path, [record()])) == [(None, None, None, None)]
    assert statistics(calls(tmp_path, ["0/1"], genotypes=False)) == [(None, None, None, None)]


def test_all_calls_missing(tmp_path: Path) -> None:
    loaded = calls(tmp_path, ["./.", "."])
    assert statistics(loaded) == [(0.0, 0, 0, None)]
    assert loaded.column("hwe_p") == [None]


# -- what is skipped -------------------------------------------------------------------------------------


def test_skipped_records_are_counted_with_their_lines(tmp_path: Path) -> None:
    records = [
        record(alt="."),
        record(pos=0),
        record(pos=1_000_002),
        record(pos=1_000_001),
        record(pos=0, alt="<DEL>"),
        record("2", pos=9_999_999),
    ]
    loaded = load(tmp_path, records, header={"more_header": ["##contig=<ID=2>"]})
    assert loaded.column("pos") == [1_000_001, 0, 9_999_999]
    assert loaded.tally.skipped == {"no_alternate_allele": 1, "position_outside_contig": 2}
    assert loaded.tally.examples["position_outside_contig"] == [FIRST_RECORD + 2, FIRST_RECORD + 3]
    assert (loaded.tally.records, loaded.tally.alleles, loaded.tally.loaded) == (6, 6, 3)


def test_a_skipped_record_counts_for_nothing_else(tmp_path: Path) -> None:
    loaded = load(tmp_path, [record("new", ref="a", alt=".", filters="odd", info="NEW=1")])
    assert loaded.tally.noted == {}
    assert loaded.rows == []


def test_undeclared_contigs_are_counted_once_a_record_and_five_lines_are_named(tmp_path: Path) -> None:
    loaded = load(tmp_path, [record("7", pos=pos) for pos in range(1, 9)])
    assert loaded.tally.noted == {"undeclared_contig": 8}
    assert loaded.tally.examples == {"undeclared_contig": [FIRST_RECORD + n for n in range(5)]}


def test_crlf_empty_lines_and_a_missing_last_line_end(tmp_path: Path) -> None:
    path = tmp_path / "a.vcf"
    lines = vcf_bytes([record(info="TAG=x"), "", record(pos=7)], samples=[])
    path.write_bytes(lines.replace(b"\n", b"\r\n").removesuffix(b"\r\n"))
    loaded = Loaded(path)
    assert loaded.info[0] == {"TAG": "x"}
    assert loaded.column("pos") == [100, 7]
    assert loaded.tally.noted == {"crlf_line_ends": 1}
    path.write_bytes(lines.replace(b"\n", b"\r\n"))
    assert Loaded(path).tally.noted == {"crlf_line_ends": 2}


# -- what fails the file ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("1\t100\t.\tA\tG\t.\t.", "7 columns where 8 are needed"),
        ("text", "1 column where 8"),
        (record().replace("\t", " "), "parted by spaces"),
        ("#CHROM\tPOS", "header line among the records"),
        (record() + "\tGT\t0/1", "1 sample columns where the header names 0"),
        (record(""), "empty CHROM"),
        (record(pos="-1"), "POS '-1'"),
        (record(pos="1.5"), "POS '1.5'"),
        (record(pos=""), "POS ''"),
        (record(pos="٣"), "POS '٣'"),
        (record(pos="9" * 30), "POS"),
        (record(ref=""), "REF ''"),
        (record(ref="."), "REF '.'"),
        (record(ref="*"), "REF"),
        (record(ref="A1"), "REF"),
        (record(ref="<DEL>"), "REF"),
        (record(alt=""), "empty ALT"),
        (record(alt="A,"), "empty ALT"),
        (record(alt="A,,C"), "empty ALT"),
        (record(alt="A,."), "ALT '.'"),
        (record(alt="A-"), "ALT 'A-'"),
        (record(alt="<DEL"), "ALT"),
        (record(qual="high"), "QUAL 'high'"),
        (record(qual=""), "QUAL ''"),
        (record(info="TAG=a\0b"), "NUL"),
    ],
)
def test_a_bad_line_fails_the_file_with_its_place(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(InputError, match=r"^file\.vcf, line ") as caught:
        load(tmp_path, [record(), line])
    assert words in caught.value.problem
    assert caught.value.line == FIRST_RECORD + 1
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["0/2"], "names allele 2 where ALT has 1"),
        (["0/x"], "'0/x' is not a genotype"),
        ([""], "'' is not a genotype"),
        (["0/-1"], "is not a genotype"),
        (["0//1"], "is not a genotype"),
        (["0/1", "9"], "names allele 9"),
    ],
)
def test_a_bad_genotype_fails_the_file(tmp_path: Path, texts: list[str], words: str) -> None:
    with pytest.raises(InputError, match="line ") as caught:
        calls(tmp_path, texts)
    assert words in caught.value.problem


def test_fewer_sample_columns_fail_the_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1 sample columns where the header names 2"):
        load(tmp_path, [record(calls=["0/1"])], header={"samples": ["A", "B"]})
    with pytest.raises(InputError, match="0 sample columns where the header names 2"):
        load(tmp_path, [record()], header={"samples": ["A", "B"]})


def test_a_long_wrong_text_is_shown_short(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, [record(alt="-" * 100_000)])
    assert len(str(caught.value)) < 400
    assert "100,000 characters" in caught.value.problem


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80), st.integers(0, 7))
def test_no_bytes_break_the_parser_but_by_an_input_error(junk: bytes, column: int) -> None:
    columns = record(info="DP=5").encode().split(b"\t")
    columns[column] = junk.replace(b"\n", b"")
    parser = RecordParser(parse_header(vcf_bytes([]).splitlines()))
    try:
        rows = parser.parse(b"\t".join(columns), 1)
    except InputError:
        return
    assert all(row.ref and row.alt for row in rows)
