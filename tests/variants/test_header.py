"""Headers, tidy and untidy."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from genomics_assets.input_error import InputError
from genomics_assets.variants.header import VcfHeader, parse_header
from genomics_assets.variants.reader import read_header

COLUMNS = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"


def header(*lines: str, columns: str = COLUMNS) -> VcfHeader:
    return parse_header(
        f"{line}\n".encode() for line in ("##fileformat=VCFv4.2", *lines, columns, "1\t1\trest")
    )


def test_definitions_with_commas_quotes_and_escapes() -> None:
    found = header(
        r'##INFO=<ID=X,Number=A,Type=Float,Description="a, \"b\", <c> = d\\",Source="v,1">',
        '##INFO=<Description="ID=no,Type=no",Type=Integer,Number=1,ID=Y>',
        "##INFO=<ID=Z>",
        "##INFO=<nothing here>",
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">',
        "##FILTER=<ID=q10,Description=unquoted>",
    )
    assert found.info["X"] == ("A", "Float", 'a, "b", <c> = d\\')
    assert found.info["Y"][:2] == ("1", "Integer")
    assert found.info["Z"][:2] == (".", "String")
    assert set(found.formats) == {"GT"}
    assert found.filters == {"q10"}
    assert found.lines == 8


def test_contigs_keep_their_order_and_lengths() -> None:
    found = header("##contig=<ID=2,length=5>", "##contig=<ID=HLA-A*01:01>", "##contig=<length=9,ID=1>")
    assert list(found.contigs.items()) == [("2", 5), ("HLA-A*01:01", None), ("1", 9)]


@pytest.mark.parametrize(
    ("line", "assembly"),
    [
        ("##contig=<ID=chr1,length=248956422>", "GRCh38"),
        ("##contig=<ID=1,length=249250621>", "GRCh37"),
        ("##contig=<ID=chr1,length=248387328>", "T2T-CHM13"),
        ("##contig=<ID=1,assembly=b37>", "GRCh37"),
        ("##reference=file:///refs/Homo_sapiens_assembly38.GRCh38.fa", "GRCh38"),
        ("##reference=ftp://x/hs37d5.fa.gz", "GRCh37"),
        ("##reference=chm13v2.0.fa", "T2T-CHM13"),
        ("##reference=mm10.fa", None),
        ("##contig=<ID=1,length=1000>", None),
    ],
)
def test_the_assembly_is_told_by_lengths_then_by_words(line: str, assembly: str | None) -> None:
    assert header(line).assembly == assembly


def test_annotation_formats_of_three_tools() -> None:
    found = header(
        '##INFO=<ID=CSQ,Number=.,Type=String,Description="Consequence annotations from Ensembl VEP. '
        'Format: Allele|Consequence|IMPACT">',
        '##INFO=<ID=ANN,Number=.,Type=String,Description="Functional annotations: '
        "'Allele | Annotation | HGVS.c | ERRORS / WARNINGS / INFO' \">",
        '##INFO=<ID=BCSQ,Number=.,Type=String,Description="Local consequence annotation from BCFtools/csq. '
        'Format: [*]consequence|gene|transcript|biotype[|strand|amino_acid_change|dna_change]">',
    )
    assert found.annotations["CSQ"] == ("Allele", "Consequence", "IMPACT")
    assert found.annotations["ANN"] == ("Allele", "Annotation", "HGVS.c", "ERRORS / WARNINGS / INFO")
    assert found.annotations["BCSQ"][0] == "consequence"
    assert found.annotations["BCSQ"][-1] == "dna_change"
    assert not header('##INFO=<ID=CSQ,Number=1,Type=Integer,Description="Counts">').annotations


@pytest.mark.parametrize(
    ("line", "tool", "version"),
    [
        ('##VEP="v112" time="2026-01-01" cache="x/112_GRCh38" ClinVar="202306"', "VEP", "112"),
        ("##VEP=v82 cache=/x/82_GRCh37", "VEP", "82"),
        ('##SnpEffVersion="5.1d (build 2022-04-19 15:49), by Pablo Cingolani"', "SnpEff", "5.1d"),
        ('##SnpEffVersion="SnpEff 3.1b (build 2012-11-14), by Pablo Cingolani"', "SnpEff", "3.1b"),
        ("##bcftools_viewVersion=1.16+htslib-1.16", "bcftools", "1.16"),
        (
            '##GATKCommandLine=<ID=HaplotypeCaller,CommandLine="x",Version="4.4.0.0",Date="x">',
            "GATK",
            "4.4.0.0",
        ),
        ("##source=freeBayes v1.3.6", "freeBayes", "v1.3.6"),
    ],
)
def test_tools_and_their_versions(line: str, tool: str, version: str) -> None:
    assert header(line).tools[tool] == version


def test_the_date_of_a_clinvar_release() -> None:
    assert header("##fileDate=2024-05-09", "##source=ClinVar").clinvar_date == datetime.date(2024, 5, 9)
    assert header("##fileDate=20240509", "##source=other").clinvar_date is None
    assert header("##fileDate=20249909", "##source=ClinVar").clinvar_date is None


def test_samples_crlf_and_latin_1() -> None:
    found = parse_header(
        [
            b"##fileformat=VCFv4.1\r\n",
            "##source=Zoë\r\n".encode("latin-1"),
            f"{COLUMNS}\tFORMAT\tS1\tÖ2\r\n".encode(),
        ]
    )
    assert found.samples == ("S1", "Ö2")
    assert found.file_format == "VCFv4.1"


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (f"{COLUMNS}\tFORMAT\tA\tB\tA", "columns 10 and 12 have the same sample name"),
        (f"{COLUMNS}\tFORMAT\tA\t", "column 11: a sample without a name"),
        (f"{COLUMNS}\tFORMAT\t{'A' * 256}", "256 characters"),
        (f"{COLUMNS}\tSAMPLE", "column 9"),
        ("#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER", "column line begins"),
        (COLUMNS.replace("\t", " "), "parted by spaces"),
    ],
)
def test_a_bad_column_line_fails_with_its_line(columns: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        header(columns=columns)
    assert caught.value.line == 2


def test_a_lone_carriage_return_ends_no_line(tmp_path: Path) -> None:
    path = tmp_path / "a.vcf"
    path.write_bytes(f"##fileformat=VCFv4.2\n##note=old\rmac\n{COLUMNS}\n1\tx\n".encode())
    assert read_header(path).lines == 3
