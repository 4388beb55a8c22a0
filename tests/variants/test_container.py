"""Containers: what is told apart, what is refused, and that no half file is taken for a whole one."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest
from vcf_text import Loaded, record, vcf_bytes

from benchmarks.vcf_generator import VcfGenerator, bgzf_block, write_bgzf
from genomics_assets.input_error import InputError
from genomics_assets.variants.container import BGZF_END, TextChunks, check_blocks, sniff, survey

TEXT = vcf_bytes([record(pos=pos, info=f"DP={pos};TAG=text{pos * 7919}") for pos in range(1, 6001)])


def bgzf(path: Path, content: bytes = TEXT) -> Path:
    write_bgzf(path, [content])
    return path


def refusal(path: Path) -> str:
    """What a person reads who drops this file; nothing of it may have been taken for complete."""
    with pytest.raises(InputError) as caught:
        _take(path)
    assert caught.value.remedy
    return caught.value.problem


def _take(path: Path) -> None:
    survey(path)
    Loaded(path)


@pytest.mark.parametrize("kind", ["plain", "gzip", "bgzf"])
def test_the_same_text_in_any_container_gives_the_same_rows_and_content_hash(
    tmp_path: Path, kind: str
) -> None:
    # The name says nothing about the container.
    path = tmp_path / "file.vcf"
    if kind == "plain":
        path.write_bytes(TEXT)
    elif kind == "gzip":
        path.write_bytes(gzip.compress(TEXT[:1000]) + gzip.compress(TEXT[1000:]))
    else:
        bgzf(path)
    found = survey(path)
    assert (found.kind, found.size) == (kind, path.stat().st_size)
    assert found.file_hash == hashlib.sha256(path.read_bytes()).hexdigest()
    loaded = Loaded(path)
    assert loaded.tally.content_hash == hashlib.sha256(TEXT).hexdigest()
    assert [row["pos"] for row in loaded.rows] == list(range(1, 6001))


@pytest.mark.parametrize("size", [1, 100, 65_280, 1 << 20])
def test_chunks_are_whole_lines_and_lose_nothing(tmp_path: Path, size: int) -> None:
    text = TEXT[:150_000] + b"x" * 100_000 + b"\nlast line without an end"
    for path in (bgzf(tmp_path / "a", text), tmp_path / "b"):
        if path.name == "b":
            path.write_bytes(text)
        chunks = list(TextChunks(path, size))
        assert all(chunk.endswith(b"\n") for chunk in chunks)
        assert b"".join(chunks) == text + b"\n"


def test_bcf_is_decoded(tmp_path: Path) -> None:
    if shutil.which("bcftools") is None:
        pytest.skip("bcftools is not installed")
    text = tmp_path / "a.vcf"
    text.write_bytes(vcf_bytes([record(info="DP=5"), record(pos=7, alt="T,<DEL>", info="AC=1,2;END=90")]))
    for mode in ("b", "u"):
        path = tmp_path / f"{mode}.vcf"
        with path.open("wb") as file:
            subprocess.run(["bcftools", "view", "-O", mode, text], check=True, stdout=file)
        assert survey(path).kind == "bcf"
        loaded, plain = Loaded(path), Loaded(text)
        assert loaded.rows == plain.rows
        content = gzip.decompress(path.read_bytes()) if mode == "b" else path.read_bytes()
        assert loaded.tally.content_hash == hashlib.sha256(content).hexdigest()
        cut = tmp_path / "cut.bcf"
        cut.write_bytes(path.read_bytes()[:-40])
        assert refusal(cut)


def test_a_file_cut_inside_a_block_is_refused(tmp_path: Path) -> None:
    whole = bgzf(tmp_path / "whole.vcf.gz").read_bytes()
    for length in (len(whole) - 1, len(whole) - 40, len(whole) // 2, 20_000, 30):
        cut = tmp_path / "cut.vcf.gz"
        cut.write_bytes(whole[:length])
        assert "ends inside a BGZF block" in refusal(cut)


def test_a_file_cut_at_the_edge_of_a_block_is_refused(tmp_path: Path) -> None:
    edge = bgzf_block(TEXT[:65_280]) + bgzf_block(TEXT[65_280 : 2 * 65_280])
    cut = tmp_path / "cut.vcf.gz"
    cut.write_bytes(edge)
    assert "end-of-file marker is missing" in refusal(cut)
    cut.write_bytes(edge + BGZF_END)
    assert check_blocks(cut) == 3


def test_a_missing_end_marker_is_noticed_while_reading_too(tmp_path: Path) -> None:
    path = bgzf(tmp_path / "a.vcf.gz")
    chunks = TextChunks(path)
    path.write_bytes(path.read_bytes()[: -len(BGZF_END)])
    with pytest.raises(InputError, match="while it was read"):
        list(chunks)


@pytest.mark.parametrize("place", [0.2, 0.5, 0.9])
def test_a_flipped_byte_in_the_middle_is_refused(tmp_path: Path, place: float) -> None:
    path = bgzf(tmp_path / "a.vcf.gz")
    content = bytearray(path.read_bytes())
    content[int(len(content) * place)] ^= 0x10
    path.write_bytes(content)
    assert "BGZF block" in refusal(path)


def test_bytes_after_the_end_are_refused(tmp_path: Path) -> None:
    path = bgzf(tmp_path / "a.vcf.gz")
    path.write_bytes(path.read_bytes() + b"garbage that is no block")
    assert "no BGZF block" in refusal(path)


def test_a_cut_or_damaged_plain_gzip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.vcf.gz"
    whole = gzip.compress(TEXT)
    path.write_bytes(whole[: len(whole) // 2])
    assert "ends in the middle" in refusal(path)
    damaged = bytearray(whole)
    damaged[-6] ^= 1
    path.write_bytes(damaged)
    assert "damaged" in refusal(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (BGZF_END, "holds nothing"),
        (b"PK\x03\x04rest", "zip"),
        (gzip.compress(b"BAM\x01rest", mtime=0), "BAM"),
        (bgzf_block(b"TBI\x01rest") + BGZF_END, "tabix"),
        ("##fileformat=VCFv4.2\n".encode("utf-16"), "UTF-16"),
        (b"\xef\xbb\xbf" + TEXT[:5000], "byte order mark"),
        (b"chrom,pos\n1,2\n", "not `##fileformat"),
        (b"\x7fELF" + b"\x00" * 5000, "not `##fileformat"),
        (record().encode() + b"\n", "not `##fileformat"),
        (b"##fileformat=VCFv4.2\n" + record().encode() + b"\n", "#CHROM"),
        (b"##fileformat=VCFv4.2\n", "#CHROM"),
    ],
)
def test_what_is_no_vcf_is_refused_with_its_kind(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "file.vcf"
    path.write_bytes(content)
    assert words in refusal(path)


def test_folders_and_links_in_circles_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "x.vcf"
    folder.mkdir()
    assert "folder" in refusal(folder)
    loop = tmp_path / "loop.vcf"
    loop.symlink_to(loop)
    assert "cannot be opened" in refusal(loop)
    assert "gone" in refusal(tmp_path / "none.vcf")


@pytest.mark.parametrize(
    "name", ["two words.vcf", "naïve 🧬.vcf", "quo\"te's.vcf", "a##idx##b.vcf", "s3:x.vcf"]
)
def test_odd_names_are_read_and_told(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(vcf_bytes([record(), record(pos="x")]))
    with pytest.raises(InputError) as caught:
        Loaded(path)
    assert str(caught.value).startswith(f"{name}, line 20: POS 'x'")


def test_memory_stays_flat(tmp_path: Path) -> None:
    import tracemalloc

    peaks = []
    for records in (3_000, 12_000):
        path = tmp_path / "a.vcf.gz"
        generator = VcfGenerator(records, consequences=True)
        write_bgzf(path, (text.encode() for text in [generator.header(), *generator.lines()]))
        tracemalloc.start()
        for _ in TextChunks(path):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.3 < 8 << 20


def test_sniffing_reads_bytes_not_names(tmp_path: Path) -> None:
    path = tmp_path / "a.vcf.gz"
    path.write_bytes(TEXT)
    assert sniff(path) == "plain"
