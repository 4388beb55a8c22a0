"""Alleles: what kind an ALT is, its shortest form, its leftmost place, and the name that VEP gives it.

Trimming is the parsimony of Tan, Abecasis and Kang 2015 (Bioinformatics 31:2202) with VCF's rule that no
allele is empty; left-alignment is theirs too and gives what `bcftools norm` gives. Nothing here reads a VCF.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

AlleleKind = Literal["bases", "star", "non_ref", "symbolic", "breakend", "name"]

# (contig, first base counted from 0, end exclusive) -> upper-case bases, cut at the contig's ends.
FetchBases = Callable[[str, int, int], str]

_BASES = re.compile(r"[ACGTNRYSWKMBDHV]+")
_LETTERS = re.compile(r"[A-Za-z]+")
_SYMBOLIC = re.compile(r"<[^<>\s]+>")
_MATE = re.compile(r"([A-Za-z.]*)([\[\]])[^\[\]\s]+\2([A-Za-z.]*)")
_SINGLE_BREAKEND = re.compile(r"\.[A-Za-z]+|[A-Za-z]+\.")
_STRUCTURAL_NAMES = {
    "DEL": "deletion",
    "INS": "insertion",
    "DUP": "duplication",
    "INV": "inversion",
    "CNV": "copy_number_variation",
    "TDUP": "tandem_duplication",
}
_FIRST_LOOK_LEFT = 200


def is_bases(allele: str) -> bool:
    """Whether an upper-case allele is made of IUPAC base codes alone.

    >>> is_bases("ACGTN"), is_bases("<DEL>"), is_bases("")
    (True, False, False)
    """
    return _BASES.fullmatch(allele) is not None


def kind_of(alt: str) -> AlleleKind | None:
    """What an ALT allele is; None where it is none of the forms that a VCF may hold.

    >>> [kind_of(alt) for alt in ("a", "*", "<*>", "<DEL>", "]13:123]T", ".A", "I", "A1")]
    ['bases', 'star', 'non_ref', 'symbolic', 'breakend', 'breakend', 'name', None]
    """
    if _BASES.fullmatch(alt.upper()):
        return "bases"
    if alt == "*":
        return "star"
    if alt in ("<NON_REF>", "<*>"):
        return "non_ref"
    if _SYMBOLIC.fullmatch(alt):
        return "symbolic"
    mate = _MATE.fullmatch(alt)
    if mate is not None:
        return "breakend" if bool(mate[1]) != bool(mate[3]) else None
    if _SINGLE_BREAKEND.fullmatch(alt):
        return "breakend"
    return "name" if _LETTERS.fullmatch(alt) else None


def variant_type(kind: AlleleKind, ref: str, alt: str) -> str:
    """The word of the `variant_type` column, for alleles that are trimmed already.

    >>> variant_type("bases", "A", "G"), variant_type("bases", "AC", "A")
    ('snp', 'indel')
    """
    if kind == "bases":
        if len(ref) != len(alt):
            return "indel"
        return "snp" if len(ref) == 1 else "mnp"
    return {"star": "star", "non_ref": "non_ref", "breakend": "bnd"}.get(kind, "sv")


def trim(pos: int, ref: str, alt: str) -> tuple[int, str, str]:
    """The shortest form of a pair of alleles: common suffix off first, then prefix, one base left at least.

    >>> trim(100, "CACA", "CA")
    (100, 'CAC', 'C')
    >>> trim(100, "GATG", "GACT")
    (102, 'TG', 'CT')
    """
    if (len(ref) == 1 or len(alt) == 1) and (len(ref) == len(alt) or ref[-1] != alt[-1]):
        return pos, ref, alt
    spare = min(len(ref), len(alt)) - 1
    suffix = min(_common_suffix(ref, alt), spare)
    if suffix:
        ref, alt = ref[:-suffix], alt[:-suffix]
    prefix = min(_common_prefix(ref, alt), spare - suffix)
    return pos + prefix, ref[prefix:], alt[prefix:]


def left_align(chrom: str, pos: int, ref: str, alt: str, fetch: FetchBases) -> tuple[int, str, str] | None:
    """Move a trimmed indel as far left as it goes.

    Args:
        chrom: the contig's name, as `fetch` knows it.
        pos: 1-based place of the first base of `ref`.
        ref: upper-case bases.
        alt: upper-case bases of another length.
        fetch: gives reference bases.

    Returns:
        Place and alleles, trimmed; None where the reference holds other bases than `ref`.

    Raises:
        KeyError: the reference has no such contig.

    >>> bases = "GCACACAT"
    >>> left_align("1", 5, "ACA", "A", lambda chrom, start, end: bases[max(start, 0):end])
    (1, 'GCA', 'G')
    """
    start = pos - 1
    if fetch(chrom, start, start + len(ref)) != ref:
        return None
    context, look = "", _FIRST_LOOK_LEFT
    shorter = min(len(ref), len(alt))
    while True:
        shift = _common_suffix(context + ref, context + alt)
        left = start - len(context)
        if shift < len(context) + shorter or left == 0:
            break
        context = fetch(chrom, max(left - look, 0), left) + context
        look *= 2
    # One base of the shorter allele stays: at the start of a contig nothing stands before it.
    shift = min(shift, len(context) + shorter - 1)
    keep = max(0, min(len(context), shift + 1 - shorter))
    ref, alt = context[len(context) - keep :] + ref, context[len(context) - keep :] + alt
    if shift:
        ref, alt = ref[:-shift], alt[:-shift]
    prefix = min(_common_prefix(ref, alt), len(ref) - 1, len(alt) - 1)
    return pos - keep + prefix, ref[prefix:], alt[prefix:]


def vep_allele_names(ref: str, alts: Sequence[str]) -> list[str]:
    """The names that VEP's CSQ gives to the ALT alleles of one record, in their order.

    Where an ALT's length differs from REF's (`*` counts as one letter) and REF and all ALTs but `*` share
    their first base, VEP strips that base (its Parser::VCF); what is left empty is called `-`.

    >>> vep_allele_names("CTT", ["C", "CT", "*"])
    ['-', 'T', '*']
    >>> vep_allele_names("A", ["G", "T"])
    ['G', 'T']
    >>> vep_allele_names("A", ["<DEL>", "G"])
    ['deletion', 'G']
    """
    plain = [alt for alt in alts if alt != "*"]
    if any(len(alt) != len(ref) for alt in alts) and plain and all(alt[0] == ref[0] for alt in plain):
        return [alt if alt == "*" else alt[1:] or "-" for alt in alts]
    return [_structural_name(alt) if alt[0] == "<" else alt for alt in alts]


def _structural_name(alt: str) -> str:
    name = alt.strip("<>")
    return _STRUCTURAL_NAMES.get(name.split(":", 1)[0], alt) if name != "DUP:TANDEM" else "tandem_duplication"


def _common_prefix(one: str, other: str) -> int:
    return _common_suffix(one[::-1], other[::-1]) if one[0] == other[0] else 0


def _common_suffix(one: str, other: str) -> int:
    shorter = min(len(one), len(other))
    if shorter == 0 or one[-1] != other[-1]:
        return 0
    if one[len(one) - shorter :] == other[len(other) - shorter :]:
        return shorter
    low, high = 1, shorter
    while high - low > 1:
        middle = (low + high) // 2
        if one[len(one) - middle :] == other[len(other) - middle :]:
            low = middle
        else:
            high = middle
    return low


class ReferenceFasta:
    """Bases of a reference genome, read as they are asked for.

    A contig is found under its own name, with or without `chr`, and `M` and `MT` are one. The index (`.fai`)
    is made beside the file where it is missing.

    Args:
        path: FASTA, plain or bgzipped.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be read as FASTA, or its index cannot be made.
    """

    def __init__(self, path: Path) -> None:
        import pyfaidx

        self.path = path
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: no such reference FASTA; set GENOMICS_REFERENCE_FASTA to one, or unset it"
            )
        try:
            self._fasta: Any = pyfaidx.Fasta(str(path), as_raw=True, sequence_always_upper=True)
        except (pyfaidx.FastaIndexingError, pyfaidx.UnsupportedCompressionFormat, OSError) as error:
            raise ValueError(
                f"{path}: cannot be read as a FASTA ({error}); check the file, and make its index with "
                f"`samtools faidx {path.name}` where this user may not write beside it"
            ) from error
        self._names: dict[str, str] = {}
        for name in self._fasta.keys():  # noqa: SIM118 - Fasta gives records, not names, when it is iterated
            for alias in _contig_aliases(name):
                self._names.setdefault(alias, name)
        self._names.update({name: name for name in self._fasta.keys()})  # noqa: SIM118

    def fetch(self, chrom: str, start: int, end: int) -> str:
        """Upper-case bases [start, end), counted from 0, cut at the contig's ends.

        Raises:
            KeyError: no such contig under any of its names.
        """
        record = self._fasta[self._names[chrom]]
        return str(record[max(start, 0) : max(end, 0)])

    def __contains__(self, chrom: str) -> bool:
        return chrom in self._names


def _contig_aliases(name: str) -> list[str]:
    bare = name[3:] if name[:3].lower() == "chr" else name
    aliases = [bare, f"chr{bare}"]
    if bare in ("M", "MT"):
        aliases += ["M", "MT", "chrM", "chrMT"]
    return aliases
