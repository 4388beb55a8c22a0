"""VCF and BCF files: calls become two bits each, every ALT allele a row of its own.

Plain lines are scanned by a compiled loop; those with odd calls or alleles, and all lines where numba is not wanted
(`engine="python"`), go through the warehouse's own parser of records, which gives the same rows. A BCF is decoded to
text by htslib first. A call that is missing in part is missing; other ALT alleles of a record count as not being this
one; a call of more than two alleles has no two-bit form and is missing, which is noted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from genomics_assets.gwas.dataset import (
    FEMALE,
    GENOTYPES,
    MALE,
    SEX_UNKNOWN,
    GenotypeDataset,
    guess_build,
    sample_table,
    variant_schema,
    write_tables,
)
from genomics_assets.gwas.genotype_matrix import (
    MISSING,
    NO_COPY,
    ONE_COPY,
    TWO_COPIES,
    Bytes,
    Counts,
    MatrixWriter,
    pack,
    row_bytes,
)
from genomics_assets.input_error import InputError
from genomics_assets.variants.container import TextChunks
from genomics_assets.variants.genotypes import COPIES, MORE_THAN_SIX, PLOIDY_SHIFT
from genomics_assets.variants.reader import read_header
from genomics_assets.variants.record import PlacedAllele, RecordParser, Tally, preferred_id

if TYPE_CHECKING:
    import pyarrow as pa

    from genomics_assets.variants.header import VcfHeader

Engine = Literal["compiled", "python"]
Progress = Callable[[int], None]

# ALT alleles that no sample can be tested for.
_NO_ALLELES = {"star": "spanning_deletion", "non_ref": "no_alternate_allele"}
_SNPS = {(ref, alt) for ref in b"ACGT" for alt in b"ACGT" if ref != alt}
_NO_GENOTYPES = "no_genotypes"
_PLOIDY_ABOVE_TWO = "ploidy_above_two"
_SPARE_BYTES = 8


def import_vcf(
    path: Path,
    folder: Path,
    *,
    engine: Engine = "compiled",
    progress: Progress | None = None,
    name: str | None = None,
) -> GenotypeDataset:
    """Bring a VCF or BCF, in any container, into canonical form in `folder`.

    Args:
        path: the file.
        folder: where `genotypes.bed`, `variants.parquet` and `samples.parquet` are made.
        engine: `compiled` scans plain lines in compiled code, `python` none.
        progress: is told how many rows were written.
        name: the file's name as it was dropped, for errors.

    Returns:
        The cohort. Sex is that of the calls on chrX, where there are calls of one allele.

    Raises:
        InputError: the container is cut or damaged, the header or a record cannot be taken, or there are no samples
            or no variants with calls; with file and line.
    """
    name = name or path.name
    header = read_header(path, file_name=name)
    if not header.samples:
        raise InputError("the VCF has no samples", remedy="drop a file with genotypes", file=name)
    sink = _Sink(header)
    try:
        with MatrixWriter(folder / GENOTYPES, len(header.samples)) as writer:
            for rows in _read(path, sink, engine):
                writer.append(rows)
                if progress is not None:
                    progress(writer.matrix.variants)
    except InputError as error:
        raise error.in_file(name) from error.__cause__
    if writer.matrix.variants == 0:
        raise InputError(
            "no record has an ALT allele and genotypes", remedy="drop a file with genotypes", file=name
        )
    variants = sink.variants()
    dataset = GenotypeDataset(
        matrix=writer.matrix,
        variants=variants,
        samples=sample_table(header.samples, header.samples, sink.sexes()),
        build=header.assembly or guess_build(variants),
        skipped=sink.tally.skipped,
        noted=sink.tally.noted,
    )
    write_tables(dataset, folder)
    return dataset


@dataclass
class _Sites:
    """Variants of one chunk, column by column."""

    rsid: list[str] = field(default_factory=list)
    chromosome: list[str] = field(default_factory=list)
    position: list[int] = field(default_factory=list)
    ref: list[str] = field(default_factory=list)
    alt: list[str] = field(default_factory=list)

    def add(self, name: str | None, allele: PlacedAllele) -> None:
        self.rsid.append(name or f"{allele.chrom}:{allele.pos}:{allele.ref}:{allele.alt}")
        self.chromosome.append(allele.chrom)
        self.position.append(allele.pos)
        self.ref.append(allele.ref)
        self.alt.append(allele.alt)

    def table(self) -> pa.Table:
        import pyarrow as pa

        columns = (self.rsid, self.chromosome, self.position, self.ref, self.alt)
        arrays = [
            pa.array(column, pa.string()).dictionary_encode() if pa.types.is_dictionary(each.type)
            else pa.array(column, each.type)
            for column, each in zip(columns, variant_schema(), strict=True)
        ]  # fmt: skip
        return pa.Table.from_arrays(arrays, schema=variant_schema())


class _Sink:
    """What the chunks of one file have in common."""

    def __init__(self, header: VcfHeader) -> None:
        self.header = header
        self.samples = len(header.samples)
        self.tally = Tally()
        self.parser = RecordParser(header, tally=self.tally)
        # Counts nothing: the site of a record that is parsed for its calls was counted already.
        self.call_parser = RecordParser(header, tally=Tally())
        self.x_calls = np.zeros((self.samples, 2), dtype=np.int64)
        self.tables: list[pa.Table] = []
        self.contigs: dict[bytes, tuple[str, int]] = {}

    def variants(self) -> pa.Table:
        import pyarrow as pa

        return pa.concat_tables(self.tables).unify_dictionaries().combine_chunks()

    def sexes(self) -> list[int]:
        """Male where most calls on chrX have one allele; unknown throughout where none has."""
        one, two = self.x_calls[:, 0], self.x_calls[:, 1]
        if not one.any():
            return [SEX_UNKNOWN] * self.samples
        return [int(sex) for sex in np.where(one > two, MALE, np.where(two > one, FEMALE, SEX_UNKNOWN))]


def _read(path: Path, sink: _Sink, engine: Engine) -> Iterator[Bytes]:
    """Rows of the file, a block for each chunk of its text."""
    to_skip, line = sink.header.lines, 1
    take = _scan if engine == "compiled" else _parse
    for text in TextChunks(path):
        start = 0
        while to_skip and start < len(text):
            start = text.index(b"\n", start) + 1
            to_skip -= 1
            line += 1
        if start < len(text):
            body = text[start:] if start else text
            sites = _Sites()
            rows = take(body, line, sink, sites)
            line += body.count(b"\n")
            if len(rows):
                sink.tables.append(sites.table())
                yield rows


def _parse(text: bytes, first_line: int, sink: _Sink, sites: _Sites) -> Bytes:
    blocks = [
        _parse_line(line, number, sink, sites)
        for number, line in enumerate(text.removesuffix(b"\n").split(b"\n"), first_line)
        if line.strip()
    ]
    return np.concatenate([np.empty((0, row_bytes(sink.samples)), np.uint8), *blocks])


def _parse_line(line: bytes, number: int, sink: _Sink, sites: _Sites) -> Bytes:
    """Rows of one line by the parser of records; counts what it skips."""
    rows = sink.call_parser.parse_genotypes(line, number)
    sink.tally.records += 1
    columns = line.decode("utf-8", "replace").split("\t", 5)[:5]
    alleles = _tested(sink, columns, number)
    if not rows:
        if alleles:
            sink.tally.skip(_NO_GENOTYPES, number)
        return np.empty((0, row_bytes(sink.samples)), np.uint8)
    for _, allele in alleles:
        sites.add(preferred_id(columns[2]), allele)
    if rows[0].chrom == "chrX":
        _count_x(rows[0].gt, sink)
    codes = [_codes(rows[place].gt, sink, number) for place, _ in alleles]
    return pack(np.array(codes, dtype=np.uint8).reshape(len(codes), sink.samples))


def _tested(sink: _Sink, columns: list[str], number: int) -> list[tuple[int, PlacedAllele]]:
    """A record's ALT alleles that can be tested, each with its place in the record."""
    alleles = sink.parser.place_alleles(columns, number)
    for allele in alleles:
        if allele.kind in _NO_ALLELES:
            sink.tally.skip(_NO_ALLELES[allele.kind], number)
    return [(place, allele) for place, allele in enumerate(alleles) if allele.kind not in _NO_ALLELES]


def _codes(gt: bytes, sink: _Sink, number: int) -> Bytes:
    """Two-bit codes of a row of the warehouse's genotype bytes, one a sample."""
    stored = np.frombuffer(gt, dtype=np.uint8)
    ploidy, copies = stored >> PLOIDY_SHIFT & MORE_THAN_SIX, stored & COPIES
    many = int((ploidy > 2).sum())
    if many:
        sink.tally.note(_PLOIDY_ABOVE_TWO, number, many)
    diploid = np.array([NO_COPY, ONE_COPY, TWO_COPIES], dtype=np.uint8)[np.minimum(copies, 2)]
    haploid = np.where(copies > 0, TWO_COPIES, NO_COPY)
    return np.asarray(np.select([ploidy == 1, ploidy == 2], [haploid, diploid], MISSING), dtype=np.uint8)


def _count_x(gt: bytes, sink: _Sink) -> None:
    ploidy = np.frombuffer(gt, dtype=np.uint8) >> PLOIDY_SHIFT & MORE_THAN_SIX
    sink.x_calls[:, 0] += ploidy == 1
    sink.x_calls[:, 1] += ploidy == 2


def _scan(text: bytes, first_line: int, sink: _Sink, sites: _Sites) -> Bytes:
    from genomics_assets.gwas import _vcf_scanner as scanner

    count = text.count(b"\n")
    buffer = np.zeros(len(text) + _SPARE_BYTES, dtype=np.uint8)
    buffer[: len(text)] = np.frombuffer(text, dtype=np.uint8)
    words, *shifted = (np.frombuffer(buffer, "<u4", (buffer.size - shift) // 4, shift) for shift in range(4))
    out = np.zeros((2 * count + 16, row_bytes(sink.samples)), dtype=np.uint8)
    lines = np.zeros((count, 5), dtype=np.int64)
    found, _ = scanner.scan_lines(
        buffer, words, tuple(shifted), len(text), sink.samples, out, lines, sink.x_calls
    )
    return _placed(text, first_line, lines[:found], out, sink, sites)


def _placed(text: bytes, first_line: int, lines: Counts, out: Bytes, sink: _Sink, sites: _Sites) -> Bytes:
    """The scanned rows whose alleles can be tested, with those of the lines that were handed back among them."""
    from genomics_assets.gwas._vcf_scanner import HANDED_BACK

    pieces: list[Bytes] = []
    kept: list[int] = []
    for number, (start, head_end, end, row, alts) in enumerate(lines.tolist(), first_line):
        if row == HANDED_BACK:
            if text[start:end].strip():
                pieces += [out[kept], _parse_line(text[start:end], number, sink, sites)]
                kept = []
            continue
        if alts == 1 and _add_snp(text[start:head_end], sink, sites):
            sink.tally.records += 1
            kept.append(row)
            continue
        columns = text[start:head_end].decode("utf-8", "replace").split("\t")
        sink.tally.records += 1
        for place, allele in _tested(sink, columns, number):
            sites.add(preferred_id(columns[2]), allele)
            kept.append(row + place)
    if not pieces and len(kept) == len(out):
        return out
    return np.concatenate([*pieces, out[kept]])


def _add_snp(head: bytes, sink: _Sink, sites: _Sites) -> bool:
    """Take the site of a plain SNP on a contig that is known already; False where it is anything else."""
    contig, position, name, ref, alt = head.split(b"\t")
    known = sink.contigs.get(contig)
    if len(ref) != 1 or len(alt) != 1 or (ref[0], alt[0]) not in _SNPS or not position.isdigit():
        return False
    if known is None:
        known = sink.contigs[contig] = _contig(contig, sink)
    chromosome, longest = known
    pos = int(position)
    if not 0 < pos <= longest or len(position) > 10:
        return False
    sites.chromosome.append(chromosome)
    sites.position.append(pos)
    bases = (ref.decode(), alt.decode())
    sites.ref.append(bases[0])
    sites.alt.append(bases[1])
    if name.isalnum():
        sites.rsid.append(name.decode())
    else:
        told = preferred_id(name.decode("utf-8", "replace"))
        sites.rsid.append(told or f"{chromosome}:{pos}:{bases[0]}:{bases[1]}")
    return True


def _contig(name: bytes, sink: _Sink) -> tuple[str, int]:
    """A contig's canonical name and its length, for the places that need no closer look; 0 where the name is odd."""
    try:
        written = name.decode("ascii")
        [allele] = sink.parser.place_alleles([written, "1", ".", "A", "G"], 0)
    except (UnicodeDecodeError, InputError, ValueError):
        return "", 0
    return allele.chrom, sink.header.contigs.get(written) or np.iinfo(np.int32).max
