"""The header of a VCF: what a file says about itself before its first record.

Reads any VCF 4.x header, the untidy ones of the field included: a line that declares nothing that is
needed here is passed over, while what the rows rest on (`##fileformat`, the column line, sample names) must
be right.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from genomics_assets.input_error import InputError
from genomics_assets.variants.consequence import ANNOTATION_TAGS
from genomics_assets.variants.info import FieldDefinition

COLUMNS = ("#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO")
LONGEST_SAMPLE_NAME = 255
# A header with a million contigs has 60 MB.
LONGEST_HEADER = 1 << 27

# Lengths that tell the assemblies apart: chromosome 1, 2 and X, without `chr`.
_ASSEMBLY_LENGTHS = {
    "GRCh38": {"1": 248_956_422, "2": 242_193_529, "X": 156_040_895},
    "GRCh37": {"1": 249_250_621, "2": 243_199_373, "X": 155_270_560},
    "T2T-CHM13": {"1": 248_387_328, "2": 242_696_752, "X": 154_259_566},
}
_ASSEMBLY_WORDS = (
    (
        "GRCh38",
        re.compile(r"grch38|hg38|hs38|\bb38\b|GCA_000001405\.15|GCF_000001405\.(?:2[6-9]|[34][0-9])", re.I),
    ),
    ("GRCh37", re.compile(r"grch37|hg19|hs37|\bb37\b|g1k_v37|GCF_000001405\.(?:1[3-9]|2[0-5])", re.I)),
    ("T2T-CHM13", re.compile(r"chm13|\bhs1\b", re.I)),
)
_ATTRIBUTE = re.compile(r'([^=,<>"\s]+)=("(?:[^"\\]|\\.)*"|[^,>]*)')
_VERSION_WORD = re.compile(r"v?\d[\w.+-]*")


@dataclass(frozen=True)
class VcfHeader:
    """What a header says.

    Attributes:
        file_format: such as `VCFv4.2`.
        samples: names in column order.
        contigs: declared contigs in file order, each with its length where that is declared.
        info: INFO fields by name.
        formats: FORMAT fields by name.
        filters: declared FILTER names.
        annotations: field names of the entries of CSQ, ANN, BCSQ and EFF, where the header declares their format.
        assembly: GRCh38, GRCh37 or T2T-CHM13; None when nothing tells.
        reference: the `##reference` line's value.
        tools: versions by tool, such as `{"VEP": "112"}`.
        clinvar_date: the date of a ClinVar release.
        lines: how many lines the header has; the first record is on the next one.
    """

    file_format: str
    samples: tuple[str, ...] = ()
    contigs: Mapping[str, int | None] = field(default_factory=dict)
    info: Mapping[str, FieldDefinition] = field(default_factory=dict)
    formats: Mapping[str, FieldDefinition] = field(default_factory=dict)
    filters: frozenset[str] = frozenset()
    annotations: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    assembly: str | None = None
    reference: str | None = None
    tools: Mapping[str, str] = field(default_factory=dict)
    clinvar_date: datetime.date | None = None
    lines: int = 0


def parse_header(lines: Iterable[bytes]) -> VcfHeader:
    r"""Read a header from its lines, up to and including the column line.

    Args:
        lines: with or without line ends; nothing after the column line is read.

    Raises:
        InputError: there is no `##fileformat` or no column line, a column is missing or misnamed, or two
            samples have one name.

    >>> columns = b"#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    >>> header = parse_header([b"##fileformat=VCFv4.2\n", columns])
    >>> header.file_format, header.samples, header.lines
    ('VCFv4.2', (), 2)
    """
    meta: list[str] = []
    number = size = 0
    for number, line in enumerate(lines, 1):
        size += len(line)
        if size > LONGEST_HEADER:
            raise InputError(
                f"a header of over {LONGEST_HEADER >> 20} MiB",
                remedy="check that this file is a VCF",
                line=number,
            )
        text = _decode(line)
        if number == 1:
            _check_first_line(text)
        if "\0" in text:
            raise InputError(
                "a NUL byte", remedy="the file is damaged: copy it again from its source", line=number
            )
        if text.startswith("##"):
            meta.append(text[2:])
        elif text.startswith("#"):
            return _assemble(meta, _samples(text, number), number)
        elif text:
            raise _no_column_line(number)
    if number == 0:
        raise InputError(
            "the file holds nothing", remedy="export it again; a VCF has a header even without records"
        )
    raise _no_column_line(number)


def _decode(line: bytes) -> str:
    line = line.rstrip(b"\r\n")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")


def _check_first_line(text: str) -> None:
    if text.startswith("\ufeff"):
        raise InputError(
            "the file begins with a byte order mark",
            remedy="save it as plain UTF-8 without one (`sed -i '1s/^\\xef\\xbb\\xbf//'`)",
            line=1,
        )
    if not text.lower().startswith("##fileformat=vcf"):
        raise InputError(
            "the first line is not `##fileformat=VCF…`, so this is not a VCF or has lost its header",
            remedy="put the header back (`bcftools reheader`), or drop the file where its kind belongs",
            line=1,
        )


def _no_column_line(number: int) -> InputError:
    return InputError(
        "no `#CHROM` column line before the first record",
        remedy="put the header back (`bcftools reheader`), or copy the file again from its source",
        line=number,
    )


def _samples(column_line: str, number: int) -> tuple[str, ...]:
    columns = column_line.split("\t")
    if tuple(columns[: len(COLUMNS)]) != COLUMNS:
        if len(columns) == 1 and len(column_line.split()) >= len(COLUMNS):
            raise InputError("columns parted by spaces", remedy="part the columns by tabs", line=number)
        raise InputError(
            f"the column line begins {' '.join(columns[: len(COLUMNS)])!r}",
            remedy=f"it must begin {' '.join(COLUMNS)!r}, parted by tabs",
            line=number,
        )
    if len(columns) > len(COLUMNS) and columns[len(COLUMNS)] != "FORMAT":
        raise InputError(
            f"column 9 is {columns[len(COLUMNS)][:40]!r}",
            remedy="with samples, column 9 must be FORMAT",
            line=number,
        )
    samples = tuple(columns[len(COLUMNS) + 1 :])
    _check_sample_names(samples, number)
    return samples


def _check_sample_names(samples: Sequence[str], number: int) -> None:
    rename = "give each sample a name of its own (`bcftools reheader --samples`)"
    # Names stay out of the messages: they may be those of people.
    seen: dict[str, int] = {}
    for column, name in enumerate(samples, len(COLUMNS) + 2):
        if not name:
            raise InputError(f"column {column}: a sample without a name", remedy=rename, line=number)
        if len(name) > LONGEST_SAMPLE_NAME:
            raise InputError(
                f"column {column}: a sample name of {len(name)} characters",
                remedy=f"shorten it to {LONGEST_SAMPLE_NAME} (`bcftools reheader --samples`)",
                line=number,
            )
        if name in seen:
            raise InputError(
                f"columns {seen[name]} and {column} have the same sample name", remedy=rename, line=number
            )
        seen[name] = column


def _assemble(meta: Sequence[str], samples: tuple[str, ...], lines: int) -> VcfHeader:
    contigs: dict[str, int | None] = {}
    contig_assemblies: list[str] = []
    info: dict[str, FieldDefinition] = {}
    formats: dict[str, FieldDefinition] = {}
    filters: set[str] = set()
    plain: dict[str, list[str]] = {}
    for line in meta:
        key, _, value = line.partition("=")
        if not value.startswith("<"):
            plain.setdefault(key, []).append(value)
            continue
        attributes = _attributes(value)
        name = attributes.get("ID")
        if not name:
            continue
        if key == "contig":
            contigs.setdefault(name, _length(attributes.get("length")))
            contig_assemblies.append(attributes.get("assembly", ""))
        elif key == "INFO":
            info.setdefault(name, _definition(attributes))
        elif key == "FORMAT":
            formats.setdefault(name, _definition(attributes))
        elif key == "FILTER":
            filters.add(name)
    return VcfHeader(
        file_format=plain.get("fileformat", [""])[0],
        samples=samples,
        contigs=contigs,
        info=info,
        formats=formats,
        filters=frozenset(filters),
        annotations=_annotations(info),
        assembly=_assembly(contigs, plain, contig_assemblies),
        reference=plain.get("reference", [None])[0],
        tools=_tools(plain, meta, info),
        clinvar_date=_clinvar_date(plain),
        lines=lines,
    )


def _attributes(value: str) -> dict[str, str]:
    r"""The attributes of a structured line's `<…>`; commas and escapes inside quotes belong to the value.

    >>> _attributes('<ID=X,Description="a, \\"b\\"",Type=Float>')
    {'ID': 'X', 'Description': 'a, "b"', 'Type': 'Float'}
    """
    attributes: dict[str, str] = {}
    for match in _ATTRIBUTE.finditer(value):
        text = match[2]
        if text.startswith('"'):
            text = re.sub(r"\\(.)", r"\1", text[1:-1])
        attributes.setdefault(match[1], text.strip())
    return attributes


def _definition(attributes: Mapping[str, str]) -> FieldDefinition:
    return FieldDefinition(
        attributes.get("Number") or ".", attributes.get("Type") or "String", attributes.get("Description", "")
    )


def _length(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and len(text) <= 18 and int(text) > 0 else None


def _annotations(info: Mapping[str, FieldDefinition]) -> dict[str, tuple[str, ...]]:
    formats = {}
    for tag in ANNOTATION_TAGS:
        fields = _entry_fields(tag, info[tag].description) if tag in info else ()
        if fields:
            formats[tag] = fields
    return formats


def _entry_fields(tag: str, description: str) -> tuple[str, ...]:
    """Names of an annotation entry's fields, from the Description that declares them."""
    if tag == "ANN":
        _, _, text = description.partition("'")
        text = text.partition("'")[0] or description.partition("Format: ")[2]
    else:
        text = description.partition("Format: ")[2]
    if tag == "BCSQ":
        text = text.replace("[*]", "").replace("[", "").replace("]", "")
    elif tag == "EFF":
        text = re.sub(r"[\[\])]|\|(?= *\[)", "", text.replace("(", "|", 1))
    return tuple(name.strip() for name in text.strip().strip("\"'").split("|")) if "|" in text else ()


def _assembly(
    contigs: Mapping[str, int | None], plain: Mapping[str, Sequence[str]], contig_assemblies: Iterable[str]
) -> str | None:
    bare = {name.removeprefix("chr"): length for name, length in contigs.items()}
    for assembly, lengths in _ASSEMBLY_LENGTHS.items():
        if any(bare.get(name) == length for name, length in lengths.items()):
            return assembly
    told = [*plain.get("reference", ()), *plain.get("assembly", ()), *dict.fromkeys(contig_assemblies)]
    for text in told:
        for assembly, words in _ASSEMBLY_WORDS:
            if words.search(text):
                return assembly
    return None


def _tools(
    plain: Mapping[str, Sequence[str]], meta: Sequence[str], info: Mapping[str, FieldDefinition]
) -> dict[str, str]:
    """Versions of the tools and sources that a header names, by tool."""
    tools: dict[str, str] = {}
    for key, values in plain.items():
        value = values[-1]
        if key == "VEP":
            tools["VEP"] = _first_version(value)
        elif key == "SnpEffVersion":
            tools["SnpEff"] = _snpeff_version(value)
        elif key.startswith("bcftools_") and key.endswith("Version"):
            tools["bcftools"] = value.partition("+")[0]
        elif key == "source":
            tools |= _source_tools(values)
        elif key.lower() in ("gnomad_version", "gnomad"):
            tools["gnomAD"] = _first_version(value)
    for line in meta:
        if line.startswith("GATKCommandLine"):
            version = re.search(r'Version="?([^",>]+)', line)
            tools["GATK"] = version[1] if version else "unknown"
    gnomad = _gnomad_version(plain, meta, info)
    if gnomad:
        tools.setdefault("gnomAD", gnomad)
    return tools


def _first_version(text: str) -> str:
    match = _VERSION_WORD.search(text.replace('"', " "))
    return match[0].lstrip("v") if match else text.strip('" ')


def _snpeff_version(value: str) -> str:
    """The version in `"5.1d (build 2022-04-19 15:49), by Pablo Cingolani"`, in old and new spelling."""
    return _first_version(value.replace("SnpEff", " ").partition("(")[0])


def _source_tools(values: Sequence[str]) -> dict[str, str]:
    tools = {}
    for value in values:
        match = re.match(
            r"\"?(ClinVar|freeBayes|strelka|dbSNP|HaplotypeCaller|DeepVariant|Mutect2)\b[\s_-]*(.*?)\"?$",
            value,
            re.I,
        )
        if match:
            tools[match[1]] = match[2].strip() or "unknown"
    return tools


def _gnomad_version(
    plain: Mapping[str, Sequence[str]], meta: Sequence[str], info: Mapping[str, FieldDefinition]
) -> str | None:
    """The gnomAD release that a file comes from or was annotated with."""
    if any("gnomad" in name.lower() for name in info) or "gnomAD" in plain:
        for text in meta:
            match = re.search(r"gnomad[^\s\"=,;]*?[._-][rv]?(\d+\.\d+(?:\.\d+)?)", text, re.I)
            if match:
                return match[1]
    return next(
        (m[1] for text in plain.get("VEP", ()) if (m := re.search(r"gnomAD[eg]?=\"?[rv]?([\d.]+)", text))),
        None,
    )


def _clinvar_date(plain: Mapping[str, Sequence[str]]) -> datetime.date | None:
    """The release date of a ClinVar file, or of the ClinVar that VEP's cache holds."""
    texts: list[str] = []
    if any("clinvar" in value.lower() for value in plain.get("source", ())):
        texts += plain.get("fileDate", ())
    for value in plain.get("VEP", ()):
        texts += re.findall(r"ClinVar=\"?(\d{6,8})", value)
    for text in texts:
        match = re.search(r"(\d{4})-?(\d{2})(?:-?(\d{2}))?", text)
        if match:
            try:
                return datetime.date(int(match[1]), int(match[2]), int(match[3] or 1))
            except ValueError:
                continue
    return None
