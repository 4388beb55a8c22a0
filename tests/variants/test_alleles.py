"""Alleles: trimming and left-alignment keep the haplotype, and agree with bcftools norm."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vcf_text import REAL_FILES, Loaded, record, vcf_bytes

from genomics_assets.variants.alleles import (
    ReferenceFasta,
    kind_of,
    left_align,
    trim,
    variant_type,
    vep_allele_names,
)

BASES = st.text("ACGT", min_size=1, max_size=12)
FEW_BASES = st.text("AC", min_size=1, max_size=8)


def haplotype(reference: str, pos: int, ref: str, alt: str) -> str:
    assert reference[pos - 1 : pos - 1 + len(ref)] == ref
    return reference[: pos - 1] + alt + reference[pos - 1 + len(ref) :]


@given(BASES, st.one_of(BASES, FEW_BASES))
def test_trimming_keeps_the_haplotype_and_leaves_no_allele_empty(ref: str, alt: str) -> None:
    pos, short_ref, short_alt = trim(1, ref, alt)
    assert short_ref
    assert short_alt
    assert haplotype(ref, pos, short_ref, short_alt) == alt
    assert trim(pos, short_ref, short_alt) == (pos, short_ref, short_alt)
    if min(len(short_ref), len(short_alt)) > 1:
        assert short_ref[0] != short_alt[0]
        assert short_ref[-1] != short_alt[-1]


@settings(max_examples=300)
@given(
    st.text("AC", min_size=12, max_size=40),
    st.integers(1, 12),
    st.integers(1, 4),
    st.text("AC", min_size=1, max_size=4),
)
def test_left_alignment_keeps_the_haplotype_and_is_leftmost(
    reference: str, pos: int, length: int, alt: str
) -> None:
    ref = reference[pos - 1 : pos - 1 + length]
    pos, ref, alt = trim(pos, ref, alt)
    if len(ref) == len(alt):
        return
    aligned = left_align("1", pos, ref, alt, lambda chrom, start, end: reference[max(start, 0) : end])
    assert aligned is not None
    assert haplotype(reference, *aligned) == haplotype(reference, pos, ref, alt)
    assert aligned[0] <= pos
    # No other shortest form of the same haplotype lies further left.
    wanted = haplotype(reference, pos, ref, alt)
    for start in range(1, aligned[0]):
        for span in range(1, len(reference) - start + 2):
            new = span + len(alt) - len(ref)
            if new < 1:
                continue
            other = (start, reference[start - 1 : start - 1 + span], wanted[start - 1 : start - 1 + new])
            if haplotype(reference, *other) == wanted:
                assert trim(*other)[0] >= aligned[0] or min(span, new) > min(len(aligned[1]), len(aligned[2]))


def test_left_alignment_crosses_more_bases_than_are_looked_up_at_once() -> None:
    reference = "G" + "A" * 1000 + "T"
    fetch = lambda chrom, start, end: reference[max(start, 0) : end]  # noqa: E731
    assert left_align("1", 990, "AA", "A", fetch) == (1, "GA", "G")
    # At the contig's first base nothing stands before the indel.
    reference = "A" * 1000 + "T"
    assert left_align("1", 990, "AA", "A", fetch) == (1, "AA", "A")


def test_an_indel_that_the_reference_does_not_hold_stays() -> None:
    assert left_align("1", 2, "CC", "C", lambda chrom, start, end: "AAAA"[start:end]) is None


@pytest.mark.parametrize(
    ("alt", "kind", "kept_type"),
    [
        ("G", "bases", "snp"),
        ("r", "bases", "snp"),
        ("*", "star", "star"),
        ("<NON_REF>", "non_ref", "non_ref"),
        ("<*>", "non_ref", "non_ref"),
        ("<DEL:ME:ALU>", "symbolic", "sv"),
        ("<CN0>", "symbolic", "sv"),
        ("G]17:198982]", "breakend", "bnd"),
        ("]13:123456]T", "breakend", "bnd"),
        ("C[<ctg1>:7[", "breakend", "bnd"),
        (".A", "breakend", "bnd"),
        ("A.", "breakend", "bnd"),
        ("I", "name", "sv"),
    ],
)
def test_kinds_of_alt_alleles(alt: str, kind: str, kept_type: str) -> None:
    found = kind_of(alt)
    assert found == kind
    assert variant_type(found, "A", alt) == kept_type


@pytest.mark.parametrize(
    "alt", ["", ".", "1", "A1", "<DEL", "DEL>", "<>", "[1:5[", "G[1:5]", "A B", "**", "..", "-"]
)
def test_what_is_no_allele(alt: str) -> None:
    assert kind_of(alt) is None


@pytest.mark.parametrize(
    ("ref", "alts", "names"),
    [
        ("A", ["G", "T"], ["G", "T"]),
        ("AC", ["A", "AG"], ["-", "G"]),
        ("A", ["AG", "T"], ["AG", "T"]),
        # The star's length counts, its base does not.
        ("AT", ["AG", "*"], ["G", "*"]),
        ("A", ["T", "*"], ["T", "*"]),
        ("A", ["<DUP>", "<DUP:TANDEM>", "<X>"], ["duplication", "tandem_duplication", "<X>"]),
    ],
)
def test_the_names_that_vep_gives(ref: str, alts: list[str], names: list[str]) -> None:
    assert vep_allele_names(ref, alts) == names


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    path = tmp_path / "ref.fa"
    # Repeats, so that indels have room to slide.
    source = random.Random(5)
    repeats = "".join(
        source.choice(["A", "CA", "GGC", "T", "ACGT"]) * source.randrange(1, 8) for _ in range(300)
    )
    path.write_text(f">1\n{repeats}\n>chrM\n{repeats[:500].lower()}\n")
    return path


def test_a_contig_is_found_under_any_of_its_names(fasta: Path) -> None:
    reference = ReferenceFasta(fasta)
    assert reference.fetch("chr1", 0, 5) == reference.fetch("1", 0, 5)
    assert reference.fetch("MT", 0, 5) == reference.fetch("chrM", -3, 5) == reference.fetch("1", 0, 5)
    assert "X" not in reference
    with pytest.raises(KeyError):
        reference.fetch("X", 0, 5)
    with pytest.raises(FileNotFoundError, match="GENOMICS_REFERENCE_FASTA"):
        ReferenceFasta(fasta.with_name("none.fa"))


def bcftools_keys(path: Path, *norm: str | Path) -> list[tuple[str, int, str, str]]:
    normal = subprocess.run(
        ["bcftools", "norm", "-m-", *norm, path], check=True, capture_output=True
    ).stdout.decode()
    lines = [line.split("\t") for line in normal.splitlines() if not line.startswith("#")]
    return [(c[0], int(c[1]), c[3].upper(), c[4]) for c in lines if c[4] != "."]


@pytest.mark.skipif(shutil.which("bcftools") is None, reason="bcftools is not installed")
def test_planted_indels_equal_bcftools_norm(tmp_path: Path, fasta: Path) -> None:
    reference = ReferenceFasta(fasta).fetch("1", 0, 10**6)
    source = random.Random(3)
    records = []
    for _ in range(600):
        pos = source.randrange(1, len(reference) - 20)
        ref = reference[pos - 1 : pos - 1 + source.randrange(1, 12)]
        alts = {
            ("".join(source.choices("ACGT", k=2)) if source.random() < 0.2 else "") or _edit(ref, source)
            for _ in range(2)
        }
        alts -= {ref, ""}
        if alts:
            records.append(record("1", pos, ref, ",".join(sorted(alts))))
    records.sort(key=lambda line: int(line.split("\t")[1]))
    path = tmp_path / "a.vcf"
    path.write_bytes(vcf_bytes(records))
    ours = Loaded(path, genome="other", reference=ReferenceFasta(fasta)).keys
    assert sorted(ours) == sorted(bcftools_keys(path, "-f", fasta))
    assert len(ours) > 600
    assert sum(len(ref) != len(alt) for _, _, ref, alt in ours) > 200


def _edit(ref: str, source: random.Random) -> str:
    start = source.randrange(len(ref))
    if source.random() < 0.5:
        return ref[: start + 1] + ref[: source.randrange(len(ref)) + 1] + ref[start + 1 :]
    return ref[:start] + ref[start + source.randrange(1, 4) :]


@pytest.mark.skipif(shutil.which("bcftools") is None, reason="bcftools is not installed")
@pytest.mark.skipif(not REAL_FILES.is_dir(), reason="the small real inputs are not here")
def test_bcftools_own_test_file_equals_bcftools_norm(tmp_path: Path) -> None:
    given_file, fasta = tmp_path / "norm.vcf", tmp_path / "norm.fa"
    shutil.copy(REAL_FILES / "norm.fa", fasta)
    shutil.copy(REAL_FILES / "norm.vcf", given_file)
    ours = Loaded(given_file, genome="other", reference=ReferenceFasta(fasta))
    theirs = bcftools_keys(given_file, "-f", fasta, "-c", "w")
    assert sorted(ours.keys) == sorted(theirs)
    assert all(ref and alt for _, _, ref, alt in ours.keys)
