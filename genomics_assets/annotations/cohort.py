"""What a filtered cohort is: its name, the condition its variants meet, where they lie, and the files it is written as."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, get_args

from genomics_assets.annotations.filter_expression import VARIANTS, Column, Columns, Expression, parse
from genomics_assets.input_error import InputError
from genomics_assets.variants.record import Genome, canonical_contig

Format = Literal["parquet", "csv", "vcf"]

FORMATS: tuple[Format, ...] = get_args(Format)
FOLDER = "cohorts"
FILE_NAMES: dict[Format, str] = {
    "parquet": "variants.parquet",
    "csv": "variants.csv",
    "vcf": "variants.vcf.gz",
}
MANIFEST = "cohort.json"
MOST_REGIONS = 1_000

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_REGION = re.compile(r"(?P<contig>.+):(?P<first>[0-9][0-9,]*)-(?P<last>[0-9][0-9,]*)", re.DOTALL)
_LARGEST_POSITION = 2**40


def _of_variants(name: str, kind: Literal["text", "integer", "real", "boolean"], description: str) -> Column:
    return Column(VARIANTS, name, kind, description)


# Who carries a variant is asked for by `samples`, never by an expression, which is shown and kept in many places.
VARIANT_COLUMNS = (
    _of_variants("chrom", "text", "chr1 to chr22, chrX, chrY, chrM; other contigs under their own name"),
    _of_variants("pos", "integer", "First base, 1-based, after trimming and left-alignment"),
    _of_variants("ref", "text", "Reference allele"),
    _of_variants("alt", "text", "Alternate allele"),
    _of_variants("end_pos", "integer", "Last base, 1-based, inclusive"),
    _of_variants("rs_id", "text", "rs number, or the first identifier"),
    _of_variants("qual", "real", "Phred-scaled quality"),
    _of_variants("filter", "text", "PASS, or the filters that failed, joined by semicolons"),
    _of_variants("variant_type", "text", "snp, mnp, indel, sv, bnd, star or non_ref"),
    _of_variants("gene", "text", "Gene of the most severe transcript consequence"),
    _of_variants("transcript", "text", "Transcript of the most severe consequence"),
    _of_variants("hgvs_c", "text", "Change of the transcript, in HGVS notation"),
    _of_variants("hgvs_p", "text", "Change of the protein, in HGVS notation"),
    _of_variants("consequence", "text", "Sequence Ontology terms of the most severe transcript, joined by &"),
    _of_variants("impact", "text", "HIGH, MODERATE, LOW or MODIFIER"),
    _of_variants("is_coding", "boolean", "Changes a coding sequence"),
    _of_variants("is_lof", "boolean", "Loss of function is likely"),
    _of_variants("af_gnomad", "real", "Frequency of the allele in gnomAD"),
    _of_variants("af_gnomad_popmax", "real", "Highest frequency in a population of gnomAD"),
    _of_variants("af_1kg", "real", "Frequency of the allele in 1000 Genomes"),
    _of_variants("cadd_phred", "real", "CADD score, Phred-scaled"),
    _of_variants("clinvar_sig", "text", "Clinical significance by ClinVar"),
    _of_variants("clinvar_review", "text", "Review status by ClinVar"),
    _of_variants("call_rate", "real", "Samples of the file with a whole call / samples"),
    _of_variants("n_het", "integer", "Heterozygous calls in the file"),
    _of_variants("n_hom_alt", "integer", "Homozygous calls of ALT in the file"),
    _of_variants("aaf", "real", "Frequency of ALT among the called alleles of the file"),
    _of_variants("hwe_p", "real", "Exact Hardy-Weinberg p value in the file"),
)


@dataclass(frozen=True)
class Region:
    """A stretch of a contig, 1-based, both ends included; a whole contig where `first` and `last` are None."""

    contig: str
    first: int | None = None
    last: int | None = None

    def __str__(self) -> str:
        return self.contig if self.first is None else f"{self.contig}:{self.first}-{self.last}"


@dataclass(frozen=True)
class CohortRequest:
    """What is asked for, checked.

    Attributes:
        name: the folder of the cohort's files below `cohorts/`.
        expression: the condition as it was written; it is read once the columns are known.
        regions: a variant counts if it overlaps any of them; none: anywhere.
        samples: names; a variant counts if any of them carries it. Personal: never shown. None: anybody.
        formats: the files to write, each once.
    """

    name: str
    expression: str = "true"
    regions: tuple[Region, ...] = ()
    samples: tuple[str, ...] = field(default=(), repr=False)
    formats: tuple[Format, ...] = FORMATS

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InputError(
                f"the cohort's name {self.name[:80]!r} cannot name a folder",
                remedy="write 1 to 64 lower-case letters, digits, - and _, beginning with a letter or digit",
            )
        unknown = [name for name in self.formats if name not in FORMATS]
        if unknown or not self.formats:
            raise InputError(
                f"unknown format {unknown[0][:40]!r}" if unknown else "no format is asked for",
                remedy=f"choose among {', '.join(FORMATS)}",
            )
        if len(set(self.formats)) < len(self.formats):
            raise InputError("a format is asked for twice", remedy="name each once")
        if len(self.regions) > MOST_REGIONS:
            raise InputError(
                f"{len(self.regions):,} regions, {MOST_REGIONS:,} are the limit",
                remedy="join them, or load them as an annotation source",
            )

    def parsed(self, columns: Columns) -> Expression:
        """The condition, against the columns that there are.

        Raises:
            InputError: it cannot be used.
        """
        return parse(self.expression, columns)

    def key(self, file: Format | None = None) -> str:
        """Where a file of the cohort is kept; without one, where the manifest is.

        >>> CohortRequest("rare").key("csv"), CohortRequest("rare").key()
        ('cohorts/rare/variants.csv', 'cohorts/rare/cohort.json')
        """
        return f"{FOLDER}/{self.name}/{MANIFEST if file is None else FILE_NAMES[file]}"


def parse_regions(texts: Iterable[str], genome: Genome = "human") -> tuple[Region, ...]:
    """Regions as people write them: `chr7:117,559,590-117,559,600`, `7:1-100`, `chrM`.

    Raises:
        InputError: one is no region.

    >>> [str(region) for region in parse_regions(["7:1,000-2,000", "MT", "HLA-A*01:01:01:01"])]
    ['chr7:1000-2000', 'chrM', 'HLA-A*01:01:01:01']
    """
    return tuple(_region(text.strip(), genome) for text in texts)


def _region(text: str, genome: Genome) -> Region:
    found = _REGION.fullmatch(text)
    contig = found["contig"] if found else text
    if not contig or len(contig) > 80 or any(ord(sign) < 33 or ord(sign) == 127 for sign in contig):
        raise InputError(f"{text[:80]!r} is no region", remedy="write contig:first-last, or a contig alone")
    contig = (canonical_contig(contig) if genome == "human" else None) or contig
    if found is None:
        return Region(contig)
    first, last = (int(found[end].replace(",", "")[:20]) for end in ("first", "last"))
    if not 1 <= first <= last <= _LARGEST_POSITION:
        raise InputError(
            f"the region {text[:80]!r} has no bases",
            remedy="write the first base, counted from 1, before the last",
        )
    return Region(contig, first, last)
