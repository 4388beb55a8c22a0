"""VCF files made from a seed, with the truth about every row known by construction.

Each allele is planted in its shortest form and then written inside a longer window of reference bases, so
that the expected rows come from how the file was made and not from a second parser.

    python -m benchmarks.vcf_generator out.vcf.gz --records 200000 --consequences --samples 20
"""

from __future__ import annotations

import argparse
import random
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

CONTIG_LENGTHS = {
    "chr1": 248956422, "chr2": 242193529, "chr3": 198295559, "chr4": 190214555, "chr5": 181538259,
    "chr6": 170805979, "chr7": 159345973, "chr8": 145138636, "chr9": 138394717, "chr10": 133797422,
    "chr11": 135086622, "chr12": 133275309, "chr13": 114364328, "chr14": 107043718, "chr15": 101991189,
    "chr16": 90338345, "chr17": 83257441, "chr18": 80373285, "chr19": 58617616, "chr20": 64444167,
    "chr21": 46709983, "chr22": 50818468, "chrX": 156040895, "chrY": 57227415, "chrM": 16569,
}  # fmt: skip
_CONTIG_STARTS = dict(zip(CONTIG_LENGTHS, accumulate(CONTIG_LENGTHS.values(), initial=0), strict=False))
CSQ_FIELDS = (
    "Allele", "Consequence", "IMPACT", "SYMBOL", "Gene", "Feature_type", "Feature", "BIOTYPE",
    "EXON", "INTRON", "HGVSc", "HGVSp", "cDNA_position", "CDS_position", "Protein_position",
    "Amino_acids", "Codons", "Existing_variation", "DISTANCE", "STRAND", "FLAGS", "VARIANT_CLASS",
    "SYMBOL_SOURCE", "HGNC_ID", "CANONICAL", "TSL", "APPRIS", "CCDS", "ENSP", "SWISSPROT", "SIFT",
    "PolyPhen", "gnomADe_AF", "CLIN_SIG",
)  # fmt: skip
# Most severe first; the weights are about those of a genome.
_CONSEQUENCES = (
    ("splice_donor_variant", "HIGH", 0.1), ("stop_gained", "HIGH", 0.3), ("frameshift_variant", "HIGH", 0.4),
    ("inframe_deletion", "MODERATE", 0.4), ("missense_variant", "MODERATE", 6.0),
    ("splice_region_variant&intron_variant", "LOW", 1.2), ("synonymous_variant", "LOW", 4.0),
    ("5_prime_UTR_variant", "MODIFIER", 2.0), ("3_prime_UTR_variant", "MODIFIER", 5.0),
    ("non_coding_transcript_exon_variant", "MODIFIER", 5.0), ("intron_variant", "MODIFIER", 45.0),
    ("upstream_gene_variant", "MODIFIER", 9.0), ("downstream_gene_variant", "MODIFIER", 9.0),
    ("intergenic_variant", "MODIFIER", 12.0),
)  # fmt: skip
_WEIGHTS = [weight for *_, weight in _CONSEQUENCES]
_SIGNIFICANCE = ("Benign", "Likely_benign", "Uncertain_significance", "Likely_pathogenic", "Pathogenic")
_BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
_BGZF_BLOCK = 0xFF00


def gene_at(chrom: str, pos: int) -> str:
    """The gene of a place: 20,000 of them side by side, so that neighbours share one, as they do in a genome."""
    return f"GENE{(_CONTIG_STARTS[chrom] + pos) * 20_000 // sum(CONTIG_LENGTHS.values())}"


class Row(NamedTuple):
    """What one ALT allele must become."""

    chrom: str
    pos: int
    ref: str
    alt: str
    variant_type: str
    gene: str | None
    consequence: str | None
    af: str
    n_het: int | None
    n_hom_alt: int | None
    called: int | None


@dataclass
class Truth:
    """What a generated file holds.

    Attributes:
        rows: expected rows in file order, kept where `keep_rows` was asked for.
    """

    records: int = 0
    alleles: int = 0
    by_type: dict[str, int] = field(default_factory=dict)
    by_chrom: dict[str, int] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)


class _Planted(NamedTuple):
    offset: int
    ref: str
    alt: str
    written: str


class VcfGenerator:
    """Makes the lines of one file.

    Args:
        records: about how many records.
        samples: how many sample columns.
        consequences: whether records carry VEP's CSQ.
        seed: the same seed makes the same file.
        keep_rows: whether the truth keeps every row.
    """

    def __init__(
        self,
        records: int,
        *,
        samples: int = 0,
        consequences: bool = False,
        seed: int = 7,
        keep_rows: bool = False,
    ) -> None:
        self.truth = Truth()
        self._records = records
        self._samples = samples
        self._consequences = consequences
        self._random = random.Random(seed)
        self._keep_rows = keep_rows

    def header(self) -> str:
        """The header, column line included."""
        lines = [
            "##fileformat=VCFv4.2",
            '##FILTER=<ID=PASS,Description="All filters passed">',
            '##FILTER=<ID=LowQual,Description="Low quality">',
            '##FILTER=<ID=LowDP,Description="Low depth">',
            "##reference=GRCh38",
            '##VEP="v112" time="2026-01-01" cache="homo_sapiens/112_GRCh38" ensembl=112',
            *(f"##contig=<ID={name},length={length}>" for name, length in CONTIG_LENGTHS.items()),
        ]
        for name, number, kind in (
            ("AC", "A", "Integer"), ("AF", "A", "Float"), ("AN", "1", "Integer"), ("DP", "1", "Integer"),
            ("MQ", "1", "Float"), ("AD", "R", "Integer"), ("DB", "0", "Flag"), ("gnomAD_AF", "A", "Float"),
            ("CADD_PHRED", "1", "Float"), ("CLNSIG", ".", "String"),
        ):  # fmt: skip
            lines.append(f'##INFO=<ID={name},Number={number},Type={kind},Description="{name}">')
        if self._consequences:
            fields = "|".join(CSQ_FIELDS)
            lines.append(
                '##INFO=<ID=CSQ,Number=.,Type=String,Description="Consequence annotations from Ensembl VEP. '
                f'Format: {fields}">'
            )
        columns = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"
        if self._samples:
            for name, number in (("GT", "1"), ("AD", "R"), ("DP", "1"), ("GQ", "1"), ("PL", "G")):
                kind = "String" if name == "GT" else "Integer"
                lines.append(f'##FORMAT=<ID={name},Number={number},Type={kind},Description="{name}">')
            columns += "\tFORMAT\t" + "\t".join(f"NA{12800 + i}" for i in range(self._samples))
        return "\n".join([*lines, columns]) + "\n"

    def lines(self) -> Iterator[str]:
        """Record lines, sorted by contig and position, each with its line end."""
        total = sum(CONTIG_LENGTHS.values())
        for chrom, length in CONTIG_LENGTHS.items():
            count = max(1, round(self._records * length / total))
            for pos in sorted(self._random.randrange(100, length - 100) for _ in range(count)):
                yield self._record(chrom, pos)

    # -- alleles ---------------------------------------------------------------------------------------------

    def _record(self, chrom: str, pos: int) -> str:
        draw = self._random.random
        ref, planted = self._alleles()
        alts = [allele.written for allele in planted]
        gene = gene_at(chrom, pos)
        name = f"rs{self._random.randrange(10**6, 10**9)}" if draw() < 0.7 else "."
        qual = "." if draw() < 0.01 else f"{draw() * 3000:.2f}"
        filters = self._random.choices(("PASS", ".", "LowQual", "LowQual;LowDP"), (90, 3, 5, 2))[0]
        frequencies = [f"{draw() ** 4:.4g}" for _ in alts]
        info, picked = self._info(ref, alts, gene, frequencies)
        line = f"{chrom}\t{pos}\t{name}\t{ref}\t{','.join(alts)}\t{qual}\t{filters}\t{info}"
        calls, counts = self._calls(len(alts))
        truth = self.truth
        truth.records += 1
        for allele, pick, frequency, count in zip(planted, picked, frequencies, counts, strict=True):
            kind = _type_of(allele)
            truth.alleles += 1
            truth.by_type[kind] = truth.by_type.get(kind, 0) + 1
            truth.by_chrom[chrom] = truth.by_chrom.get(chrom, 0) + 1
            if self._keep_rows:
                place = (chrom, pos + allele.offset, allele.ref, allele.alt)
                truth.rows.append(Row(*place, kind, *pick, frequency, *count))
        return line + calls + "\n"

    def _alleles(self) -> tuple[str, list[_Planted]]:
        """A REF window and the alleles planted in it."""
        draw = self._random.random
        if draw() < 0.86:
            ref = self._random.choice("ACGT")
            return ref, [_Planted(0, ref, alt := self._other(ref), alt)]
        window = self._bases(self._random.randrange(1, 7))
        count = self._random.choices((1, 2, 3), (78, 18, 4))[0]
        planted: list[_Planted] = []
        while len(planted) < count:
            allele = self._planted(window)
            if allele.written not in {other.written for other in planted}:
                planted.append(allele)
        return window, planted

    def _planted(self, window: str) -> _Planted:
        kind = self._random.choices(("substitution", "insertion", "deletion", "star"), (20, 40, 35, 5))[0]
        start = self._random.randrange(len(window))
        if kind == "star" and len(window) > 1:
            return _Planted(0, window, "*", "*")
        if kind == "insertion":
            # Its last base differs from the anchor, so that it cannot slide to the left.
            added = self._bases(self._random.randrange(0, 8)) + self._other(window[start])
            return _Planted(
                start, window[start], window[start] + added, window[: start + 1] + added + window[start + 1 :]
            )
        if kind == "deletion" and start + 1 < len(window):
            end = self._random.randrange(start + 2, len(window) + 1)
            if window[end - 1] != window[start]:
                return _Planted(start, window[start:end], window[start], window[: start + 1] + window[end:])
        end = self._random.randrange(start + 1, len(window) + 1)
        changed = "".join(self._other(base) for base in window[start:end])
        return _Planted(start, window[start:end], changed, window[:start] + changed + window[end:])

    def _other(self, base: str) -> str:
        return self._random.choice("ACGT".replace(base, ""))

    def _bases(self, count: int) -> str:
        return "".join(self._random.choices("ACGT", k=count))

    # -- INFO and samples ------------------------------------------------------------------------------------

    def _info(
        self, ref: str, alts: list[str], gene: str, frequencies: list[str]
    ) -> tuple[str, list[tuple[str | None, str | None]]]:
        draw, pick = self._random.random, self._random.randrange
        number = pick(2, 400) * 2
        info = [
            f"AC={','.join(str(pick(1, number)) for _ in alts)}",
            f"AF={','.join(frequencies)}",
            f"AN={number}",
            f"DP={pick(5, 3000)}",
            f"MQ={draw() * 60:.2f}",
            f"AD={','.join(str(pick(0, 90)) for _ in range(len(alts) + 1))}",
        ]
        if draw() < 0.7:
            info.append("DB")
        if draw() < 0.85:
            info.append("gnomAD_AF=" + ",".join(f"{draw() ** 6:.4g}" for _ in alts))
        if draw() < 0.5:
            info.append(f"CADD_PHRED={draw() * 40:.2f}")
        if draw() < 0.03:
            info.append(f"CLNSIG={self._random.choice(_SIGNIFICANCE)}")
        picked: list[tuple[str | None, str | None]] = [(None, None)] * len(alts)
        if self._consequences:
            entries: list[str] = []
            for place, name in enumerate(_vep_names(ref, alts)):
                own, picked[place] = self._transcripts(name, gene)
                entries += own
            info.append("CSQ=" + ",".join(entries))
        return ";".join(info), picked

    def _transcripts(self, allele: str, gene: str) -> tuple[list[str], tuple[str | None, str]]:
        """CSQ entries of one allele, and the gene and consequence of the most severe one."""
        pick = self._random.randrange
        count = min(12, 1 + int(self._random.expovariate(0.4)))
        drawn = self._random.choices(range(len(_CONSEQUENCES)), _WEIGHTS, k=count)
        entries = []
        for rank in drawn:
            consequence, impact, _ = _CONSEQUENCES[rank]
            if consequence == "intergenic_variant":
                entries.append(f"{allele}|{consequence}|{impact}" + "|" * (len(CSQ_FIELDS) - 3))
                continue
            number = pick(10**5, 7 * 10**5)
            coding = impact != "MODIFIER"
            transcript, protein = f"ENST{number:011d}", f"ENSP{number:011d}"
            values = [
                allele, consequence, impact, gene, f"ENSG{number:011d}", "Transcript", transcript,
                "protein_coding", f"{pick(1, 20)}/20" if coding else "",
                "" if coding else f"{pick(1, 19)}/19",
                f"{transcript}.4:c.{pick(1, 5000)}A>G",
                f"{protein}.2:p.Ala{pick(1, 900)}Thr" if coding else "",
                str(pick(1, 6000)), str(pick(1, 5000)), str(pick(1, 1600)), "A/T" if coding else "",
                "Gcc/Acc" if coding else "", f"rs{number}", "", "1", "", "SNV", "HGNC", f"HGNC:{number}",
                "", "1", "", f"CCDS{number}.1", protein, f"Q{number}", "tolerated(0.2)" if coding else "",
                "benign(0.01)" if coding else "", "0.0001", "",
            ]  # fmt: skip
            entries.append("|".join(values))
        worst = _CONSEQUENCES[min(drawn)][0]
        return entries, (None if worst == "intergenic_variant" else gene, worst)

    def _calls(self, alts: int) -> tuple[str, list[tuple[int | None, int | None, int | None]]]:
        if not self._samples:
            return "", [(None, None, None)] * alts
        draw, pick = self._random.random, self._random.randrange
        columns = []
        het, hom, called = [0] * (alts + 1), [0] * (alts + 1), 0
        genotypes = (alts + 1) * (alts + 2) // 2
        missing = "./.:" + ",".join("0" * (alts + 1)) + ":0:.:."
        for _ in range(self._samples):
            chance = draw()
            if chance < 0.02:
                columns.append(missing)
                continue
            called += 1
            one = 0 if chance < 0.9 else pick(1, alts + 1)
            two = 0 if chance < 0.6 else pick(1, alts + 1)
            if one == two:
                hom[one] += 1
            else:
                het[one] += 1
                het[two] += 1
            depths = [pick(0, 40) for _ in range(alts + 1)]
            likelihoods = ",".join([str(pick(0, 900)) for _ in range(genotypes)])
            columns.append(
                f"{one}{'|' if chance < 0.05 else '/'}{two}:{','.join(map(str, depths))}:{sum(depths)}:"
                f"{pick(0, 99)}:{likelihoods}"
            )
        counts: list[tuple[int | None, int | None, int | None]] = [
            (het[i], hom[i], called) for i in range(1, alts + 1)
        ]
        return "\tGT:AD:DP:GQ:PL\t" + "\t".join(columns), counts


def write_vcf(path: Path, generator: VcfGenerator) -> Truth:
    """Write a generated file, BGZF where the name ends in `.gz` or `.bgz`, and return its truth."""
    pieces = (text.encode() for text in _joined([generator.header()], generator.lines()))
    if path.suffix in (".gz", ".bgz"):
        write_bgzf(path, pieces)
    else:
        with path.open("wb") as file:
            file.writelines(pieces)
    return generator.truth


def write_bgzf(path: Path, pieces: Iterable[bytes], level: int = 6) -> None:
    """Write BGZF (SAM specification, section 4.1), the end-of-file marker included."""
    held = b""
    with path.open("wb") as file:
        for piece in pieces:
            held += piece
            while len(held) >= _BGZF_BLOCK:
                file.write(bgzf_block(held[:_BGZF_BLOCK], level))
                held = held[_BGZF_BLOCK:]
        if held:
            file.write(bgzf_block(held, level))
        file.write(_BGZF_END)


def bgzf_block(content: bytes, level: int = 6) -> bytes:
    """One BGZF block of at most 65,280 bytes."""
    deflate = zlib.compressobj(level, zlib.DEFLATED, -15)
    body = deflate.compress(content) + deflate.flush()
    size = len(body) + 25
    return (
        b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0"
        + size.to_bytes(2, "little")
        + body
        + zlib.crc32(content).to_bytes(4, "little")
        + len(content).to_bytes(4, "little")
    )


def _joined(head: list[str], lines: Iterator[str]) -> Iterator[str]:
    """Pieces of some thousand lines: writing line by line costs more than making them."""
    held = head
    for line in lines:
        held.append(line)
        if len(held) == 2000:
            yield "".join(held)
            held = []
    yield "".join(held)


def _type_of(allele: _Planted) -> str:
    if allele.alt == "*":
        return "star"
    if len(allele.ref) != len(allele.alt):
        return "indel"
    return "snp" if len(allele.ref) == 1 else "mnp"


def _vep_names(ref: str, alts: list[str]) -> list[str]:
    """VEP's names of the alleles, by its parser's rule."""
    plain = [alt for alt in alts if alt != "*"]
    if not any(len(alt) != len(ref) for alt in alts) or len({ref[0], *(alt[0] for alt in plain)}) > 1:
        return alts
    return [alt if alt == "*" else alt[1:] or "-" for alt in alts]


def main() -> None:
    """Write one file and print its totals."""
    parser = argparse.ArgumentParser(description="Make a VCF from a seed.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--samples", type=int, default=0)
    parser.add_argument("--consequences", action="store_true")
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    generator = VcfGenerator(
        asked.records, samples=asked.samples, consequences=asked.consequences, seed=asked.seed
    )
    truth = write_vcf(asked.path, generator)
    print(f"{asked.path}: {truth.records:,} records, {truth.alleles:,} alleles, {truth.by_type}")


if __name__ == "__main__":
    main()
