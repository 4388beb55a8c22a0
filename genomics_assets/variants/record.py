"""One VCF line becomes rows: the reference implementation of `docs/variants.md`.

A `RecordParser` holds what is the same for all lines of a file. It reads text and gives tuples; it knows no
file, no Arrow and no store. The native scanner gives the same rows for the lines that it takes, and hands the
rest here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from genomics_assets.input_error import InputError
from genomics_assets.variants.alleles import (
    AlleleKind,
    is_bases,
    kind_of,
    left_align,
    trim,
    variant_type,
    vep_allele_names,
)
from genomics_assets.variants.consequence import ANNOTATION_TAGS, NO_PICK, AnnotationFormat, Entry, Pick
from genomics_assets.variants.info import (
    InfoReason,
    InfoWriter,
    finite_float,
    is_number,
    json_string,
    value_of_allele,
)

if TYPE_CHECKING:
    from genomics_assets.variants.alleles import ReferenceFasta
    from genomics_assets.variants.header import VcfHeader

Genome = Literal["human", "other"]
SkippedReason = Literal["no_alternate_allele", "position_outside_contig"]
NotedReason = (
    InfoReason
    | Literal[
        "annotation_without_allele",
        "annotation_wrong_field_count",
        "contig_not_standard",
        "crlf_line_ends",
        "cut_to_column_width",
        "end_before_pos",
        "lower_case_allele",
        "non_base_allele",
        "not_left_aligned",
        "not_utf8",
        "undeclared_contig",
        "undeclared_filter",
    ]
)

# INFO keys of the numeric annotation columns, the first that is present and finite counts.
FREQUENCY_KEYS: dict[str, tuple[str, ...]] = {
    "af_gnomad": ("gnomAD_AF", "gnomad_AF", "AF_gnomad", "gnomADg_AF", "gnomADe_AF"),
    "af_gnomad_popmax": ("gnomAD_AF_popmax", "gnomad_AF_popmax", "AF_popmax", "AF_grpmax"),
    "af_1kg": ("AF_1kg", "1000G_AF", "KG_AF", "AF_1KG"),
    "cadd_phred": ("CADD_PHRED", "CADD_phred"),
}
# Characters that the table's VARCHAR columns hold.
WIDTHS = {
    "gene": 100,
    "transcript": 255,
    "hgvs_c": 255,
    "hgvs_p": 255,
    "consequence": 100,
    "impact": 20,
    "clinvar_sig": 100,
    "clinvar_review": 50,
}

FIXED_COLUMNS = 8
# Bytes. Percent-encoded, a name of this length still is a segment of the lake's keys.
LONGEST_CONTIG_NAME = 80
_EXAMPLES_KEPT = 5
_POSITION = re.compile(r"[0-9]{1,18}")
_SIGNED = re.compile(r"[+-]?[0-9]{1,18}")
_RS_ID = re.compile(r"rs[0-9]+")
_STANDARD = {str(number) for number in range(1, 23)} | {"X", "Y", "M", "MT"}
_COPIED_LENGTHS = ("DEL", "DUP", "INV", "CNV")
_WRITE_AGAIN = "correct the record, or write the file again with the tool that made it, and drop it again"


@dataclass
class Tally:
    """What was read of a file; whole once its rows are exhausted.

    Attributes:
        records: record lines, the skipped ones included.
        alleles: ALT alleles plus skipped records: `total_variants_in_file`.
        loaded: rows given.
        skipped: records that gave no row, by reason.
        noted: what was tolerated, by reason.
        content_hash: SHA-256 of the decompressed content, 64 hexadecimal digits.
        examples: for each reason the first lines (counted from 1) where it occurred, at most five.
    """

    records: int = 0
    alleles: int = 0
    loaded: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    noted: dict[str, int] = field(default_factory=dict)
    content_hash: str = ""
    examples: dict[str, list[int]] = field(default_factory=dict)

    def skip(self, reason: str, line: int) -> None:
        """Count a record that gives no row."""
        self.skipped[reason] = self.skipped.get(reason, 0) + 1
        self.alleles += 1
        self._keep_example(reason, line)

    def note(self, reason: str, line: int, count: int = 1) -> None:
        """Count something that was tolerated."""
        self.noted[reason] = self.noted.get(reason, 0) + count
        self._keep_example(reason, line)

    def _keep_example(self, reason: str, line: int) -> None:
        lines = self.examples.setdefault(reason, [])
        if len(lines) < _EXAMPLES_KEPT and line not in lines:
            lines.append(line)


class GenotypeCounts(NamedTuple):
    """Calls of one ALT allele over all samples (docs/variants.md, section 8); None where there is no GT.

    `gt_d_*` count diploid calls: one copy of this ALT, two copies, none.
    """

    gt_called: int | None
    gt_alleles: int | None
    gt_alt: int | None
    gt_het: int | None
    gt_hom: int | None
    gt_d_het: int | None
    gt_d_hom: int | None
    gt_d_other: int | None


class VariantRow(NamedTuple):
    """One ALT allele as it is stored; batch, sample and what follows from the counts are added later."""

    chrom: str
    pos: int
    end_pos: int
    ref: str
    alt: str
    qual: float | None
    filter: list[str] | None
    variant_type: str
    rs_id: str | None
    gene: str | None
    transcript: str | None
    hgvs_c: str | None
    hgvs_p: str | None
    consequence: str | None
    impact: str | None
    is_coding: bool
    is_lof: bool
    af_gnomad: float | None
    af_gnomad_popmax: float | None
    af_1kg: float | None
    cadd_phred: float | None
    clinvar_sig: str | None
    clinvar_review: str | None
    info: str
    vep_annotations: str | None
    gt_called: int | None
    gt_alleles: int | None
    gt_alt: int | None
    gt_het: int | None
    gt_hom: int | None
    gt_d_het: int | None
    gt_d_hom: int | None
    gt_d_other: int | None


class GenotypeRow(NamedTuple):
    """One ALT allele's calls as the genotype store keeps them."""

    chrom: str
    pos: int
    ref: str
    alt: str
    gt: bytes
    dp: bytes | None
    gq: bytes | None


class PlacedAllele(NamedTuple):
    """One ALT allele of a record: where it lies once it is trimmed, and what it is."""

    chrom: str
    pos: int
    ref: str
    alt: str
    kind: AlleleKind


class _Contig(NamedTuple):
    name: str
    declared: bool
    standard: bool
    length: int | None


class _Allele(NamedTuple):
    kind: AlleleKind
    as_written: str
    pos: int
    ref: str
    alt: str


class _Site(NamedTuple):
    """A record's first five columns, judged."""

    contig: _Contig
    pos: int
    ref: str
    alleles: list[_Allele]
    original: str | None


class _Call(NamedTuple):
    alleles: tuple[int | None, ...]
    phased: bool


_NO_COUNTS = GenotypeCounts(None, None, None, None, None, None, None, None)


def canonical_contig(name: str) -> str | None:
    """The warehouse's name of a human chromosome; None for any other contig.

    >>> [canonical_contig(name) for name in ("1", "CHR22", "MT", "chrx", "chr1_KI270706v1_random")]
    ['chr1', 'chr22', 'chrM', None, None]
    """
    bare = name[3:] if name[:3].lower() == "chr" else name
    if bare not in _STANDARD:
        return None
    return "chrM" if bare == "MT" else f"chr{bare}"


class RecordParser:
    """Turns the record lines of one file into rows.

    Args:
        header: the file's header.
        genome: `human` gives chromosomes their canonical names, `other` keeps every name.
        reference: where given, indels are left-aligned against it.
        with_genotypes: whether genotypes are counted.
        declared_info_only: whether INFO keys that the header does not declare are passed over, uncounted.
        tally: counts what is read, skipped and tolerated.
    """

    def __init__(
        self,
        header: VcfHeader,
        *,
        genome: Genome = "human",
        reference: ReferenceFasta | None = None,
        with_genotypes: bool = True,
        declared_info_only: bool = False,
        tally: Tally | None = None,
    ) -> None:
        self.tally = Tally() if tally is None else tally
        self._header = header
        self._genome = genome
        self._reference = reference
        self._with_genotypes = with_genotypes and bool(header.samples)
        self._line = 0
        self._contigs: dict[str, _Contig] = {}
        self._filters: dict[str, tuple[list[str] | None, bool]] = {}
        self._calls: dict[str, _Call] = {}
        self._annotations = {
            tag: AnnotationFormat(tag, header.annotations[tag])
            for tag in ANNOTATION_TAGS
            if tag in header.annotations
        }
        self._info = InfoWriter(header.info, self._annotations, self._note, declared_only=declared_info_only)

    # -- what callers ask ------------------------------------------------------------------------------------

    def parse(self, line: bytes, line_number: int) -> list[VariantRow]:
        """The rows of one record line, in ALT order; none where the record is skipped or the line is empty.

        Args:
            line: the line, with or without its line end.
            line_number: counted from 1, for errors and examples.

        Raises:
            InputError: the line breaks one of the rules of docs/variants.md, section 9.
        """
        self._line = line_number
        text, latin = self._text(line)
        if not text:
            return []
        columns = self._columns(text)
        site = self._site(columns)
        qual = self._qual(columns[5])
        if site is None:
            return []
        if latin:
            self._note("not_utf8")
        self._note_site(site, columns)
        filters = self._filter(columns[6])
        values = self._info.split(columns[7])
        rows = self._rows(site, qual, filters, columns, values)
        self.tally.alleles += len(rows)
        self.tally.loaded += len(rows)
        return rows

    def parse_genotypes(self, line: bytes, line_number: int) -> list[GenotypeRow]:
        """The genotype store's rows of one record line; none where the record is skipped or has no GT.

        Raises:
            InputError: as `parse`.
        """
        from genomics_assets.variants import genotypes

        self._line = line_number
        text, _ = self._text(line)
        if not text:
            return []
        columns = self._columns(text)
        site = self._site(columns)
        if site is None or len(columns) <= FIXED_COLUMNS + 1:
            return []
        keys = columns[8].split(":")
        if "GT" not in keys:
            return []
        samples = [sample.split(":") for sample in columns[9:]]
        calls = [self._call(text, len(site.alleles)) for text in _values(samples, keys.index("GT"))]
        depths = self._numbers(samples, keys, "DP")
        qualities = self._numbers(samples, keys, "GQ")
        dp = None if depths is None else genotypes.encode_depths([_whole(depth) for depth in depths])
        gq = None if qualities is None else genotypes.encode_qualities(qualities)
        return [
            GenotypeRow(
                site.contig.name,
                allele.pos,
                allele.ref,
                allele.alt,
                bytes(genotypes.encode_call(call.alleles, phased=call.phased, alt=number) for call in calls),
                dp,
                gq,
            )
            for number, allele in enumerate(site.alleles, 1)
        ]

    def place_alleles(self, columns: Sequence[str], number: int) -> list[PlacedAllele]:
        """Where the ALT alleles of a record lie, from its first five columns; none where the record is skipped.

        Args:
            columns: CHROM, POS, ID, REF and ALT.
            number: the line's number, for errors and examples.

        Raises:
            InputError: as `parse`.
        """
        self._line = number
        site = self._site(columns)
        if site is None:
            return []
        self._note_site(site, columns)
        return [
            PlacedAllele(site.contig.name, allele.pos, allele.ref, allele.alt, allele.kind)
            for allele in site.alleles
        ]

    # -- the line --------------------------------------------------------------------------------------------

    def _text(self, line: bytes) -> tuple[str, bool]:
        """The line without its end, and whether it had to be read as Latin-1."""
        line = line.removesuffix(b"\n")
        with_cr = line.endswith(b"\r")
        line = line.removesuffix(b"\r")
        if not line:
            return "", False
        self.tally.records += 1
        if with_cr:
            self._note("crlf_line_ends")
        if b"\0" in line:
            raise self._error("a NUL byte", remedy="the file is damaged: copy it again from its source")
        try:
            return line.decode("utf-8"), False
        except UnicodeDecodeError:
            return line.decode("latin-1"), True

    def _columns(self, text: str) -> list[str]:
        columns = text.split("\t")
        samples = len(self._header.samples)
        if len(columns) < FIXED_COLUMNS:
            raise self._too_few_columns(text, len(columns))
        found = max(0, len(columns) - FIXED_COLUMNS - 1)
        if found != samples:
            raise self._error(
                f"{found} sample columns where the header names {samples}",
                remedy=_WRITE_AGAIN,
            )
        return columns

    def _too_few_columns(self, text: str, found: int) -> InputError:
        if text.startswith("#"):
            return self._error(
                "a header line among the records",
                remedy="files that are joined by `cat` are not VCF: join them with `bcftools concat`",
            )
        if found == 1 and len(text.split()) >= FIXED_COLUMNS:
            return self._error("columns parted by spaces", remedy="part the columns by tabs")
        return self._error(
            f"{found} column{'s' if found > 1 else ''} where {FIXED_COLUMNS} are needed",
            remedy="the file may be cut or edited by hand: copy it again from its source",
        )

    # -- the site --------------------------------------------------------------------------------------------

    def _site(self, columns: Sequence[str]) -> _Site | None:
        """The record's place and alleles; None, and counted, where the record is skipped."""
        contig = self._contig(columns[0])
        if _POSITION.fullmatch(columns[1]) is None:
            raise self._error(f"POS {_quoted(columns[1])} is not a position", remedy=_WRITE_AGAIN)
        pos = int(columns[1])
        ref = columns[3].upper()
        if not is_bases(ref):
            raise self._error(f"REF {_quoted(columns[3])} is not made of bases", remedy=_WRITE_AGAIN)
        if columns[4] == ".":
            self.tally.skip("no_alternate_allele", self._line)
            return None
        alts = columns[4].split(",")
        kinds = [self._kind(alt) for alt in alts]
        beyond = contig.length is not None and pos > contig.length + 1
        if beyond or (pos == 0 and "bases" in kinds):
            self.tally.skip("position_outside_contig", self._line)
            return None
        alleles = [
            self._allele(contig, columns[0], pos, ref, kind, alt)
            for kind, alt in zip(kinds, alts, strict=True)
        ]
        changed = len(alts) > 1 or alleles[0].pos != pos or len(alleles[0].ref) != len(ref)
        original = f"{columns[1]}:{columns[3]}:{columns[4]}" if changed else None
        return _Site(contig, pos, ref, alleles, original)

    def _contig(self, name: str) -> _Contig:
        contig = self._contigs.get(name)
        if contig is not None:
            return contig
        if not name:
            raise self._error("an empty CHROM", remedy=_WRITE_AGAIN)
        if len(name.encode()) > LONGEST_CONTIG_NAME:
            raise self._error(
                f"CHROM {_quoted(name)} is longer than {LONGEST_CONTIG_NAME} bytes",
                remedy="give the contig a shorter name (`bcftools annotate --rename-chrs`)",
            )
        declared = self._header.contigs.get(name)
        canonical = canonical_contig(name) if self._genome == "human" else name
        contig = self._contigs[name] = _Contig(
            canonical or name, name in self._header.contigs, canonical is not None, declared
        )
        return contig

    def _kind(self, alt: str) -> AlleleKind:
        kind = kind_of(alt)
        if kind is None:
            what = f"ALT {_quoted(alt)} is neither bases nor a symbolic allele nor a breakend"
            raise self._error(what if alt else "an empty ALT allele", remedy=_WRITE_AGAIN)
        return kind

    def _allele(
        self, contig: _Contig, raw_contig: str, pos: int, ref: str, kind: AlleleKind, alt: str
    ) -> _Allele:
        if kind != "bases":
            return _Allele(kind, alt, pos, ref, alt)
        placed = trim(pos, ref, alt.upper())
        if self._reference is not None and len(placed[1]) != len(placed[2]):
            placed = self._left_aligned(self._reference, raw_contig, placed)
        return _Allele(kind, alt, *placed)

    def _left_aligned(
        self, reference: ReferenceFasta, contig: str, placed: tuple[int, str, str]
    ) -> tuple[int, str, str]:
        aligned = left_align(contig, *placed, reference.fetch) if contig in reference else None
        if aligned is None:
            self._note("not_left_aligned")
            return placed
        return aligned

    def _note_site(self, site: _Site, columns: Sequence[str]) -> None:
        if not site.contig.declared:
            self._note("undeclared_contig")
        if not site.contig.standard:
            self._note("contig_not_standard")
        if any(allele.kind == "name" for allele in site.alleles):
            self._note("non_base_allele")
        alts = [allele.as_written for allele in site.alleles if allele.kind == "bases"]
        if columns[3] != site.ref or any(alt != alt.upper() for alt in alts):
            self._note("lower_case_allele")

    def _end(self, site: _Site, allele: _Allele, number: int, end: int | None, lengths: str | None) -> int:
        if allele.kind == "bases":
            return allele.pos + len(allele.ref) - 1
        if end is not None:
            return end
        if allele.kind == "symbolic":
            name = allele.alt[1:]
            length = value_of_allele(lengths, number, len(site.alleles))
            if name.startswith(_COPIED_LENGTHS) and length is not None and _SIGNED.fullmatch(length):
                return allele.pos + abs(int(length))
            if name.startswith("INS"):
                return allele.pos
        return allele.pos + len(allele.ref) - 1

    def _declared_end(self, pos: int, values: Mapping[str, str | None]) -> int | None:
        text = values.get("END")
        if text is None or _SIGNED.fullmatch(text) is None:
            return None
        end = int(text)
        if end < pos:
            self._note("end_before_pos")
            return None
        return end

    # -- the other columns -----------------------------------------------------------------------------------

    def _qual(self, text: str) -> float | None:
        if text == ".":
            return None
        if not is_number(text):
            raise self._error(f"QUAL {_quoted(text)} is neither a number nor `.`", remedy=_WRITE_AGAIN)
        return finite_float(text)

    def _filter(self, text: str) -> list[str] | None:
        known = self._filters.get(text)
        if known is None:
            names = [name for name in text.split(";") if name and name != "."]
            declared = all(name == "PASS" or name in self._header.filters for name in names)
            known = self._filters[text] = (names or None, declared)
        if not known[1]:
            self._note("undeclared_filter")
        return known[0]

    def _rows(
        self,
        site: _Site,
        qual: float | None,
        filters: list[str] | None,
        columns: Sequence[str],
        values: Mapping[str, str | None],
    ) -> list[VariantRow]:
        alts = len(site.alleles)
        members = self._info.members(values, alts)
        picks, annotations = self._annotate(site, values)
        counts = self._counts(columns, alts)
        end = self._declared_end(site.pos, values)
        lengths = values.get("SVLEN")
        rs_id = preferred_id(columns[2])
        clinvar_sig, clinvar_review = self._clinvar(values)
        original = None if site.original is None else f'"_orig":{json_string(site.original)}'
        rows = []
        for number, allele in enumerate(site.alleles):
            if original is not None:
                members[number].append(original)
            pick = self._cut_pick(picks[number] or NO_PICK)
            rows.append(
                VariantRow(
                    site.contig.name,
                    allele.pos,
                    self._end(site, allele, number, end, lengths),
                    allele.ref,
                    allele.alt,
                    qual,
                    filters,
                    variant_type(allele.kind, allele.ref, allele.alt),
                    rs_id,
                    *pick,
                    _number("af_gnomad", values, number, alts),
                    _number("af_gnomad_popmax", values, number, alts),
                    _number("af_1kg", values, number, alts),
                    _number("cadd_phred", values, number, alts),
                    clinvar_sig,
                    clinvar_review,
                    "{" + ",".join(members[number]) + "}",
                    annotations[number],
                    *counts[number],
                )
            )
        return rows

    def _clinvar(self, values: Mapping[str, str | None]) -> tuple[str | None, str | None]:
        return (
            self._cut("clinvar_sig", _present(values.get("CLNSIG"))),
            self._cut("clinvar_review", _present(values.get("CLNREVSTAT"))),
        )

    def _cut(self, column: str, text: str | None) -> str | None:
        if text is None or len(text) <= WIDTHS[column]:
            return text
        self._note("cut_to_column_width")
        return text[: WIDTHS[column] - 1] + "…"

    def _cut_pick(self, pick: Pick) -> Pick:
        if not _is_wide(pick):
            return pick
        return pick._replace(
            gene=self._cut("gene", pick.gene),
            transcript=self._cut("transcript", pick.transcript),
            hgvs_c=self._cut("hgvs_c", pick.hgvs_c),
            hgvs_p=self._cut("hgvs_p", pick.hgvs_p),
            consequence=self._cut_terms(pick.consequence),
            impact=self._cut("impact", pick.impact),
        )

    def _cut_terms(self, consequence: str | None) -> str | None:
        width = WIDTHS["consequence"]
        if consequence is None or len(consequence) <= width:
            return consequence
        kept = consequence[: width + 1].rpartition("&")[0]
        if not kept:
            return self._cut("consequence", consequence)
        self._note("cut_to_column_width")
        return kept

    # -- annotations -----------------------------------------------------------------------------------------

    def _annotate(
        self, site: _Site, values: Mapping[str, str | None]
    ) -> tuple[list[Pick | None], list[str | None]]:
        """For each ALT its pick and its entries as JSON text."""
        picks: list[Pick | None] = [None] * len(site.alleles)
        texts: list[list[str]] = [[] for _ in site.alleles]
        for tag, annotation in self._annotations.items():
            value = _present(values.get(tag))
            if value is None:
                continue
            entries, wrong = annotation.read(value)
            if wrong:
                self._note("annotation_wrong_field_count", wrong)
            for number, own in enumerate(self._share_out(site, tag, entries)):
                if not own:
                    continue
                texts[number].append(f'"{tag}":[{",".join(json_string(entry.text) for entry in own)}]')
                if picks[number] is None:
                    picks[number] = annotation.pick(own)
        return picks, ["{" + ",".join(text) + "}" if text else None for text in texts]

    def _share_out(self, site: _Site, tag: str, entries: list[Entry]) -> list[list[Entry]]:
        """The entries of each ALT, in file order."""
        if len(site.alleles) == 1:
            return [entries]
        written = [allele.as_written.upper() for allele in site.alleles]
        names = vep_allele_names(site.ref, written) if tag == "CSQ" else written
        shares: list[list[Entry]] = [[] for _ in site.alleles]
        for entry in entries:
            owners = _owners(entry, names, written)
            if not owners:
                self._note("annotation_without_allele")
            for number in owners:
                shares[number].append(entry)
        return shares

    # -- genotypes -------------------------------------------------------------------------------------------

    def _counts(self, columns: Sequence[str], alts: int) -> list[GenotypeCounts]:
        if not self._with_genotypes:
            return [_NO_COUNTS] * alts
        keys = columns[8].split(":")
        if "GT" not in keys:
            return [_NO_COUNTS] * alts
        place = keys.index("GT")
        if place == 0:
            texts = Counter([sample.partition(":")[0] for sample in columns[9:]])
        else:
            texts = Counter(_values([sample.split(":") for sample in columns[9:]], place))
        calls = [(self._call(text, alts).alleles, samples) for text, samples in texts.items()]
        return [_count(calls, number) for number in range(1, alts + 1)]

    def _call(self, text: str, alts: int) -> _Call:
        call = self._calls.get(text)
        if call is None:
            call = self._calls[text] = self._read_call(text)
        highest = max((allele for allele in call.alleles if allele is not None), default=0)
        if highest > alts:
            raise self._error(
                f"GT {_quoted(text)} names allele {highest} where ALT has {alts}", remedy=_WRITE_AGAIN
            )
        return call

    def _read_call(self, text: str) -> _Call:
        phased = "|" in text and "/" not in text
        # VCF 4.4 lets a call begin with its phase.
        numbers = (text[1:] if text[:1] in ("/", "|") else text).replace("|", "/").split("/")
        if not all(number == "." or _POSITION.fullmatch(number) for number in numbers):
            raise self._error(f"GT {_quoted(text)} is not a genotype", remedy=_WRITE_AGAIN)
        return _Call(tuple(None if number == "." else int(number) for number in numbers), phased)

    def _numbers(self, samples: list[list[str]], keys: Sequence[str], key: str) -> list[float | None] | None:
        if key not in keys:
            return None
        return [finite_float(text) for text in _values(samples, keys.index(key))]

    # -- words -----------------------------------------------------------------------------------------------

    def _note(self, reason: NotedReason, count: int = 1) -> None:
        self.tally.note(reason, self._line, count)

    def _error(self, problem: str, *, remedy: str) -> InputError:
        return InputError(problem, remedy=remedy, line=self._line)


def _quoted(text: str) -> str:
    """A text from the file, short enough for an error message."""
    return repr(text) if len(text) <= 40 else f"{text[:40]!r}… ({len(text):,} characters)"


def _present(value: str | None) -> str | None:
    return None if value in (None, "", ".") else value


def preferred_id(text: str) -> str | None:
    """The name that an ID column gives: the first rs number of several; None where it gives none."""
    if text in (".", ""):
        return None
    names = text.split(";")
    return next((name for name in names if _RS_ID.fullmatch(name)), names[0])


def _number(column: str, values: Mapping[str, str | None], number: int, alts: int) -> float | None:
    keys = FREQUENCY_KEYS[column]
    found = (finite_float(value_of_allele(values.get(key), number, alts)) for key in keys if key in values)
    return next((value for value in found if value is not None), None)


def _is_wide(pick: Pick) -> bool:
    texts = (pick.gene, pick.transcript, pick.hgvs_c, pick.hgvs_p, pick.consequence, pick.impact)
    return any(text is not None and len(text) > WIDTHS["impact"] for text in texts)


def _owners(entry: Entry, names: Sequence[str], written: Sequence[str]) -> list[int]:
    """Which ALT alleles an annotation entry speaks of."""
    if entry.allele_number is not None:
        return [entry.allele_number - 1] if 1 <= entry.allele_number <= len(names) else []
    if entry.allele is None:
        return list(range(len(names)))
    allele = entry.allele.upper()
    owners = [number for number, name in enumerate(names) if name.upper() == allele]
    return owners or [number for number, name in enumerate(written) if name == allele]


def _values(samples: list[list[str]], place: int) -> list[str]:
    """One FORMAT field of every sample; `.` where its last fields were left out."""
    return [sample[place] if place < len(sample) else "." for sample in samples]


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)


def _count(calls: Sequence[tuple[tuple[int | None, ...], int]], number: int) -> GenotypeCounts:
    called = alleles = alt = het = hom = diploid_het = diploid_hom = diploid_other = 0
    for call, samples in calls:
        if None in call:
            continue
        copies = call.count(number)
        called += samples
        alleles += samples * len(call)
        alt += samples * copies
        whole = copies == len(call)
        hom += samples * whole
        het += samples * (copies > 0 and not whole)
        if len(call) == 2:
            diploid_het += samples * (copies == 1)
            diploid_hom += samples * (copies == 2)
            diploid_other += samples * (copies == 0)
    return GenotypeCounts(called, alleles, alt, het, hom, diploid_het, diploid_hom, diploid_other)
