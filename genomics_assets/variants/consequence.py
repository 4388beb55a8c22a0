"""Consequences: which annotation entry of an allele is the most severe, and what it says.

The order is Ensembl's published one (release 115, most severe first), over terms of the Sequence Ontology:
https://www.ensembl.org/info/genome/variation/prediction/predicted_data.html. SnpEff's own terms stand beside
the Ensembl term that they refine, and bcftools' short terms are read as Sequence Ontology terms.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

ENSEMBL_ORDER: tuple[tuple[str, str], ...] = (
    ("transcript_ablation", "HIGH"),
    ("splice_acceptor_variant", "HIGH"),
    ("splice_donor_variant", "HIGH"),
    ("stop_gained", "HIGH"),
    ("frameshift_variant", "HIGH"),
    ("stop_lost", "HIGH"),
    ("start_lost", "HIGH"),
    ("transcript_amplification", "HIGH"),
    ("feature_elongation", "HIGH"),
    ("feature_truncation", "HIGH"),
    ("inframe_insertion", "MODERATE"),
    ("inframe_deletion", "MODERATE"),
    ("missense_variant", "MODERATE"),
    ("protein_altering_variant", "MODERATE"),
    ("splice_donor_5th_base_variant", "LOW"),
    ("splice_region_variant", "LOW"),
    ("splice_donor_region_variant", "LOW"),
    ("splice_polypyrimidine_tract_variant", "LOW"),
    ("incomplete_terminal_codon_variant", "LOW"),
    ("start_retained_variant", "LOW"),
    ("stop_retained_variant", "LOW"),
    ("synonymous_variant", "LOW"),
    ("coding_sequence_variant", "MODIFIER"),
    ("mature_miRNA_variant", "MODIFIER"),
    ("5_prime_UTR_variant", "MODIFIER"),
    ("3_prime_UTR_variant", "MODIFIER"),
    ("non_coding_transcript_exon_variant", "MODIFIER"),
    ("intron_variant", "MODIFIER"),
    ("NMD_transcript_variant", "MODIFIER"),
    ("non_coding_transcript_variant", "MODIFIER"),
    ("coding_transcript_variant", "MODIFIER"),
    ("upstream_gene_variant", "MODIFIER"),
    ("downstream_gene_variant", "MODIFIER"),
    ("TFBS_ablation", "MODIFIER"),
    ("TFBS_amplification", "MODIFIER"),
    ("TF_binding_site_variant", "MODIFIER"),
    ("regulatory_region_ablation", "MODIFIER"),
    ("regulatory_region_amplification", "MODIFIER"),
    ("regulatory_region_variant", "MODIFIER"),
    ("intergenic_variant", "MODIFIER"),
    ("sequence_variant", "MODIFIER"),
)

# Terms of SnpEff and of older VEP releases: term, the Ensembl term whose rank it shares, impact.
_BESIDE: tuple[tuple[str, str, str], ...] = (
    ("chromosome_number_variation", "transcript_ablation", "HIGH"),
    ("exon_loss_variant", "transcript_ablation", "HIGH"),
    ("gene_fusion", "transcript_ablation", "HIGH"),
    ("bidirectional_gene_fusion", "transcript_ablation", "HIGH"),
    ("feature_ablation", "transcript_ablation", "HIGH"),
    ("rare_amino_acid_variant", "start_lost", "HIGH"),
    ("protein_protein_contact", "start_lost", "HIGH"),
    ("structural_interaction_variant", "start_lost", "HIGH"),
    ("initiator_codon_variant", "start_retained_variant", "LOW"),
    ("duplication", "transcript_amplification", "HIGH"),
    ("inversion", "transcript_amplification", "HIGH"),
    ("disruptive_inframe_insertion", "inframe_insertion", "MODERATE"),
    ("conservative_inframe_insertion", "inframe_insertion", "MODERATE"),
    ("disruptive_inframe_deletion", "inframe_deletion", "MODERATE"),
    ("conservative_inframe_deletion", "inframe_deletion", "MODERATE"),
    ("3_prime_UTR_truncation", "protein_altering_variant", "MODERATE"),
    ("5_prime_UTR_truncation", "protein_altering_variant", "MODERATE"),
    ("splice_branch_variant", "splice_region_variant", "LOW"),
    ("5_prime_UTR_premature_start_codon_gain_variant", "synonymous_variant", "LOW"),
    ("non_canonical_start_codon", "start_retained_variant", "LOW"),
    ("non_coding_exon_variant", "non_coding_transcript_exon_variant", "MODIFIER"),
    ("exon_variant", "non_coding_transcript_exon_variant", "MODIFIER"),
    ("miRNA", "mature_miRNA_variant", "MODIFIER"),
    ("nc_transcript_variant", "non_coding_transcript_variant", "MODIFIER"),
    ("transcript_variant", "coding_transcript_variant", "MODIFIER"),
    ("intragenic_variant", "coding_transcript_variant", "MODIFIER"),
    ("gene_variant", "coding_transcript_variant", "MODIFIER"),
    ("conserved_intron_variant", "intron_variant", "MODIFIER"),
    ("conserved_intergenic_variant", "intergenic_variant", "MODIFIER"),
    ("intergenic_region", "intergenic_variant", "MODIFIER"),
    ("sequence_feature", "sequence_variant", "MODIFIER"),
)

_ENSEMBL_RANK = {term: rank for rank, (term, _) in enumerate(ENSEMBL_ORDER)}

# term -> (rank, impact); a lower rank is more severe, and terms of one rank are equally severe.
SEVERITY: dict[str, tuple[int, str]] = {
    **{term: (rank, impact) for rank, (term, impact) in enumerate(ENSEMBL_ORDER)},
    **{term: (_ENSEMBL_RANK[beside], impact) for term, beside, impact in _BESIDE},
}
UNKNOWN_RANK = len(ENSEMBL_ORDER)

LOSS_OF_FUNCTION = frozenset(
    {
        "transcript_ablation",
        "splice_acceptor_variant",
        "splice_donor_variant",
        "stop_gained",
        "frameshift_variant",
        "stop_lost",
        "start_lost",
    }
)
CODING = LOSS_OF_FUNCTION | {
    "missense_variant",
    "synonymous_variant",
    "inframe_insertion",
    "inframe_deletion",
    "conservative_inframe_insertion",
    "conservative_inframe_deletion",
    "disruptive_inframe_insertion",
    "disruptive_inframe_deletion",
    "protein_altering_variant",
    "stop_retained_variant",
    "start_retained_variant",
    "incomplete_terminal_codon_variant",
    "coding_sequence_variant",
}

_BCFTOOLS_TERMS = {
    "synonymous": "synonymous_variant",
    "missense": "missense_variant",
    "frameshift": "frameshift_variant",
    "splice_acceptor": "splice_acceptor_variant",
    "splice_donor": "splice_donor_variant",
    "splice_region": "splice_region_variant",
    "stop_retained": "stop_retained_variant",
    "start_retained": "start_retained_variant",
    "5_prime_utr": "5_prime_UTR_variant",
    "3_prime_utr": "3_prime_UTR_variant",
    "non_coding": "non_coding_transcript_variant",
    "intron": "intron_variant",
    "intergenic": "intergenic_variant",
    "inframe_altering": "protein_altering_variant",
    "coding_sequence": "coding_sequence_variant",
}

# SnpEff's effects before its version 4, which wrote EFF.
_CLASSIC_TERMS = {
    "CDS": "coding_sequence_variant",
    "CODON_CHANGE": "coding_sequence_variant",
    "CODON_CHANGE_PLUS_CODON_DELETION": "disruptive_inframe_deletion",
    "CODON_CHANGE_PLUS_CODON_INSERTION": "disruptive_inframe_insertion",
    "CODON_DELETION": "inframe_deletion",
    "CODON_INSERTION": "inframe_insertion",
    "DOWNSTREAM": "downstream_gene_variant",
    "EXON": "exon_variant",
    "EXON_DELETED": "exon_loss_variant",
    "FRAME_SHIFT": "frameshift_variant",
    "GENE": "gene_variant",
    "INTERGENIC": "intergenic_region",
    "INTERGENIC_CONSERVED": "conserved_intergenic_variant",
    "INTRAGENIC": "intragenic_variant",
    "INTRON": "intron_variant",
    "INTRON_CONSERVED": "conserved_intron_variant",
    "MICRO_RNA": "miRNA",
    "NON_CODING_EXON": "non_coding_transcript_exon_variant",
    "NON_SYNONYMOUS_CODING": "missense_variant",
    "NON_SYNONYMOUS_START": "initiator_codon_variant",
    "NON_SYNONYMOUS_STOP": "stop_retained_variant",
    "RARE_AMINO_ACID": "rare_amino_acid_variant",
    "REGULATION": "regulatory_region_variant",
    "SPLICE_SITE_ACCEPTOR": "splice_acceptor_variant",
    "SPLICE_SITE_BRANCH": "splice_branch_variant",
    "SPLICE_SITE_DONOR": "splice_donor_variant",
    "SPLICE_SITE_REGION": "splice_region_variant",
    "START_GAINED": "5_prime_UTR_premature_start_codon_gain_variant",
    "START_LOST": "start_lost",
    "STOP_GAINED": "stop_gained",
    "STOP_LOST": "stop_lost",
    "SYNONYMOUS_CODING": "synonymous_variant",
    "SYNONYMOUS_START": "start_retained_variant",
    "SYNONYMOUS_STOP": "stop_retained_variant",
    "TRANSCRIPT": "transcript_variant",
    "UPSTREAM": "upstream_gene_variant",
    "UTR_3_DELETED": "3_prime_UTR_truncation",
    "UTR_3_PRIME": "3_prime_UTR_variant",
    "UTR_5_DELETED": "5_prime_UTR_truncation",
    "UTR_5_PRIME": "5_prime_UTR_variant",
    "WITHIN_NON_CODING_GENE": "non_coding_transcript_variant",
}
_TERMS_OF_TAG = {"BCSQ": _BCFTOOLS_TERMS, "EFF": _CLASSIC_TERMS}

# The annotation keys in the order in which a pick is looked for.
ANNOTATION_TAGS = ("CSQ", "ANN", "BCSQ", "EFF")
# How many of its last fields an entry may leave out.
_OPTIONAL_FIELDS = {"BCSQ": 3, "EFF": 2}

_ALLELE_NUMBER = re.compile(r"[0-9]{1,9}")

# What each annotator calls the fields that become columns; the first that is filled counts.
_FIELD_NAMES: dict[str, dict[str, tuple[str, ...]]] = {
    "CSQ": {
        "consequence": ("Consequence",),
        "impact": ("IMPACT",),
        "gene": ("SYMBOL", "Gene"),
        "transcript": ("Feature",),
        "hgvs_c": ("HGVSc",),
        "hgvs_p": ("HGVSp",),
    },
    "ANN": {
        "consequence": ("Annotation",),
        "impact": ("Annotation_Impact",),
        "gene": ("Gene_Name", "Gene_ID"),
        "transcript": ("Feature_ID",),
        "hgvs_c": ("HGVS.c",),
        "hgvs_p": ("HGVS.p",),
    },
    "BCSQ": {
        "consequence": ("consequence",),
        "impact": (),
        "gene": ("gene",),
        "transcript": ("transcript",),
        "hgvs_c": (),
        "hgvs_p": ("amino_acid_change",),
    },
    "EFF": {
        "consequence": ("Effect",),
        "impact": ("Effect_Impact",),
        "gene": ("Gene_Name",),
        "transcript": ("Transcript_ID", "Transcript"),
        "hgvs_c": (),
        "hgvs_p": ("Amino_Acid_Change", "Amino_Acid_change"),
    },
}
_ALLELE_FIELD = {"CSQ": "Allele", "ANN": "Allele"}
_ALLELE_NUMBER_FIELD = {"CSQ": "ALLELE_NUM", "EFF": "Genotype_Number"}


class Pick(NamedTuple):
    """What one annotation entry says of an allele, in the words of the variants table."""

    gene: str | None
    transcript: str | None
    hgvs_c: str | None
    hgvs_p: str | None
    consequence: str | None
    impact: str | None
    is_coding: bool
    is_lof: bool


NO_PICK = Pick(None, None, None, None, None, None, False, False)


class Entry(NamedTuple):
    """One annotation entry of a record.

    Attributes:
        text: as written.
        allele: the allele's name as the annotator writes it; None where the format has no such field.
        allele_number: 1-based ALT number by ALLELE_NUM, where it is given.
        order: sort key among entries, least first; None for an entry that can never be picked.
        values: its fields; empty where their number is wrong.
    """

    text: str
    allele: str | None
    allele_number: int | None
    order: tuple[int, int, int] | None
    values: Sequence[str]


@dataclass(frozen=True)
class Ranked:
    """The terms of a `&`-joined consequence, and what follows from them."""

    consequence: str
    rank: int
    impact: str | None
    is_coding: bool
    is_lof: bool


def rank_of(consequence: str) -> Ranked:
    """Judge an entry's `&`-joined terms: its rank and impact are those of its most severe term.

    >>> rank_of("splice_region_variant&intron_variant").impact
    'LOW'
    >>> rank_of("stop_gained&frameshift_variant").is_lof
    True
    """
    terms = consequence.split("&")
    rank, impact = min(
        (SEVERITY.get(term, (UNKNOWN_RANK, None)) for term in terms), key=lambda severity: severity[0]
    )
    return Ranked(
        consequence,
        rank,
        impact,
        is_coding=not CODING.isdisjoint(terms),
        is_lof=not LOSS_OF_FUNCTION.isdisjoint(terms),
    )


def _without_brackets(entry: str) -> str:
    """`EFFECT(a|b)` as `EFFECT|a|b`: the form of all other annotations.

    >>> _without_brackets("INTRON(MODIFIER||)")
    'INTRON|MODIFIER||'
    """
    return entry.replace("(", "|", 1).removesuffix(")") if "(" in entry else entry


class AnnotationFormat:
    """How one annotation key of a file is read: which of its fields means what.

    Args:
        tag: CSQ (VEP), ANN (SnpEff), BCSQ (bcftools) or EFF (SnpEff before version 4).
        fields: the names of an entry's fields, as the header declares them.

    >>> csq = AnnotationFormat("CSQ", ["Allele", "Consequence", "IMPACT", "SYMBOL"])
    >>> entries, wrong = csq.read("T|intron_variant|MODIFIER|A,T|stop_gained|HIGH|B,T|x")
    >>> csq.pick(entries).gene, wrong
    ('B', 1)
    """

    def __init__(self, tag: str, fields: Sequence[str]) -> None:
        self.tag = tag
        self.fields = tuple(fields)
        place = {name: number for number, name in reversed(list(enumerate(fields)))}
        names = _FIELD_NAMES[tag]
        self._columns = {column: [place[n] for n in names[column] if n in place] for column in names}
        self._consequence = next(iter(self._columns["consequence"]), None)
        self._allele = place.get(_ALLELE_FIELD.get(tag, ""))
        self._allele_number = place.get(_ALLELE_NUMBER_FIELD.get(tag, ""))
        self._pick = place.get("PICK")
        self._canonical = place.get("CANONICAL")
        self._fewest = max(1, len(fields) - _OPTIONAL_FIELDS.get(tag, 0))
        self._ranked: dict[str, Ranked] = {}

    def read(self, text: str) -> tuple[list[Entry], int]:
        """The entries of one record, in file order, and how many have a wrong number of fields."""
        entries = []
        wrong = 0
        for entry_text in text.split(","):
            if self.tag == "EFF":
                entry_text = _without_brackets(entry_text)
            values = entry_text.split("|")
            if self._fewest <= len(values) <= len(self.fields):
                entries.append(self._entry(entry_text, values))
                continue
            wrong += not self._is_reference_to_another_record(entry_text)
            allele = values[self._allele] if self._allele is not None and self._allele < len(values) else None
            entries.append(Entry(entry_text, allele, None, None, ()))
        return entries, wrong

    def pick(self, entries: Iterable[Entry]) -> Pick | None:
        """The most severe entry; ties go to PICK, then CANONICAL, then the first in the file."""
        # The key's own order holds: min() keeps the first of equals.
        best = min((e for e in entries if e.order is not None), key=lambda e: e.order or (), default=None)
        if best is None:
            return None
        ranked = self._rank(best.values)
        return Pick(
            gene=self._value("gene", best.values),
            transcript=self._value("transcript", best.values),
            hgvs_c=self._value("hgvs_c", best.values),
            hgvs_p=self._value("hgvs_p", best.values),
            consequence=ranked.consequence,
            impact=self._value("impact", best.values) if self._columns["impact"] else ranked.impact,
            is_coding=ranked.is_coding,
            is_lof=ranked.is_lof,
        )

    def _is_reference_to_another_record(self, entry_text: str) -> bool:
        return self.tag == "BCSQ" and entry_text.startswith("@")

    def _entry(self, text: str, values: list[str]) -> Entry:
        allele = values[self._allele] if self._allele is not None else None
        allele_number = None
        if self._allele_number is not None and _ALLELE_NUMBER.fullmatch(values[self._allele_number]):
            allele_number = int(values[self._allele_number])
        return Entry(text, allele, allele_number, self._order(values), values)

    def _order(self, values: Sequence[str]) -> tuple[int, int, int] | None:
        if self._consequence is None or not values[self._consequence]:
            return None
        if self.tag == "BCSQ" and values[self._consequence][0] in "@*":
            return None
        return (
            self._rank(values).rank,
            0 if self._pick is not None and values[self._pick] == "1" else 1,
            0 if self._canonical is not None and values[self._canonical] == "YES" else 1,
        )

    def _rank(self, values: Sequence[str]) -> Ranked:
        assert self._consequence is not None  # noqa: S101 - only entries with a consequence are ranked
        consequence = values[self._consequence]
        ranked = self._ranked.get(consequence)
        if ranked is None:
            ranked = self._ranked[consequence] = rank_of(self._sequence_ontology(consequence))
        return ranked

    def _sequence_ontology(self, consequence: str) -> str:
        terms = _TERMS_OF_TAG.get(self.tag)
        if terms is None:
            return consequence
        return "&".join(terms.get(term, term) for term in consequence.replace("+", "&").split("&"))

    def _value(self, column: str, values: Sequence[str]) -> str | None:
        return next((values[n] for n in self._columns[column] if n < len(values) and values[n]), None)
