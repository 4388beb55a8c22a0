"""What lies in a source's folder: its data, `fields.json` and `source.yaml`; which files are the newest version.

A folder is one source for ever. A new release is dropped over the old one or beside it: files whose names differ in the
chromosome alone are one set, and of several sets the one that was written last is the version.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from genomics_assets.annotations.field_config import (
    FIELDS_FILE,
    FieldConfig,
    ReadyMade,
    check_source_name,
    parse_fields,
    ready_made,
)
from genomics_assets.input_error import InputError
from genomics_assets.sidecars import read_sidecar

VCF_ENDINGS = (".vcf", ".vcf.gz", ".vcf.bgz", ".bcf")
TABLE_ENDINGS = (".tsv", ".tsv.gz", ".tsv.bgz", ".txt", ".txt.gz", ".csv", ".csv.gz")
SIDECAR_FILE = "source.yaml"

_ENDINGS = tuple(sorted((*VCF_ENDINGS, *TABLE_ENDINGS), key=len, reverse=True))
_CHROMOSOME = re.compile(r"(?i)chr(?:[1-9]|1[0-9]|2[0-2]|x|y|mt?)(?![a-z0-9])")
_DATE = re.compile(r"(?<!\d)(20\d{2})-?(0[1-9]|1[0-2])-?(0[1-9]|[12]\d|3[01])(?!\d)")
_RELEASE = re.compile(r"(?i)(?<![a-z0-9])[vr]?(\d+(?:\.\d+)+)(?!\d)")


@dataclass(frozen=True)
class SourceSidecar:
    """`source.yaml`: what a person says of a source.

    Attributes:
        version: at most 50 characters; None takes what header or file name tell.
        type: at most 50 characters, such as `ClinVar`.
    """

    version: str | None = field(default=None, metadata={"max_length": 50})
    type: str | None = field(default=None, metadata={"max_length": 50})


@dataclass(frozen=True)
class SourceFolder:
    """A dropped source.

    Attributes:
        name: the source's.
        data: the files of the version, in the natural order of their names.
        older: data files that another set has replaced.
        fields: the `fields.json`, or the ready-made list.
        optional_fields: whether fields that the data lacks are left out: those of a ready-made list are.
        ready: the ready-made list for a source of this name.
        sidecar: the `source.yaml`.
    """

    name: str
    data: tuple[Path, ...]
    older: tuple[Path, ...]
    fields: tuple[FieldConfig, ...]
    optional_fields: bool
    ready: ReadyMade | None
    sidecar: SourceSidecar

    @property
    def is_table(self) -> bool:
        """Whether the data is a table rather than VCF or BCF."""
        return ending_of(self.data[0]) in TABLE_ENDINGS

    def content_hash(self) -> str:
        """SHA-256 over names and bytes of everything that decides on the version's rows."""
        digest = hashlib.sha256()
        for path in self.data:
            digest.update(_sha256(path))
        digest.update(repr((self.fields, self.sidecar)).encode())
        return digest.hexdigest()


def read_folder(folder: Path, name: str) -> SourceFolder:
    """Look at a source's folder; no data is read.

    Args:
        folder: where its files are.
        name: the source's name, as the inbox has it.

    Raises:
        InputError: the name cannot be a table's, there is no data, or `fields.json` or `source.yaml` cannot be taken.
    """
    check_source_name(name)
    sets = _data_sets(folder)
    if not sets:
        raise InputError(
            "no data in this folder",
            remedy=f"drop a file that ends in {', '.join((*VCF_ENDINGS, *TABLE_ENDINGS))}",
        )
    newest = max(sets, key=lambda files: (max(f.stat().st_mtime_ns for f in files), _natural(files[0].name)))
    ready = ready_made(name)
    config = folder / FIELDS_FILE
    if config.is_file():
        fields = _parse(config)
    elif ready is not None:
        fields = ready.fields
    else:
        raise InputError(
            f"no {FIELDS_FILE} in the folder, and none ships for a source of this name",
            remedy='add one, such as [{"field": "AF", "alias": "af", "type": "real"}]',
        )
    sidecar = folder / SIDECAR_FILE
    return SourceFolder(
        name,
        tuple(sorted(newest, key=lambda file: _natural(file.name))),
        tuple(sorted(file for files in sets if files is not newest for file in files)),
        fields,
        not config.is_file(),
        ready,
        read_sidecar(sidecar, SourceSidecar) if sidecar.is_file() else SourceSidecar(),
    )


def ending_of(path: Path) -> str | None:
    """The ending by which a file is data; None where it is none.

    >>> ending_of(Path("clinvar.VCF.gz")), ending_of(Path("clinvar.vcf.gz.tbi"))
    ('.vcf.gz', None)
    """
    lower = path.name.lower()
    return next((ending for ending in _ENDINGS if lower.endswith(ending)), None)


def version_in_name(name: str) -> str | None:
    """The release that a file's name tells: a date, or a number with points.

    >>> version_in_name("clinvar_20260104.vcf.gz"), version_in_name("gnomad.genomes.v4.1.sites.chr1.vcf.bgz")
    ('2026-01-04', '4.1')
    """
    date = _DATE.search(name)
    if date:
        return "-".join(date.groups())
    release = _RELEASE.search(name)
    return release[1] if release else None


def is_newer(version: str | None, before: str | None) -> bool:
    """Whether a version comes after another by the natural order of their names; one that is not told is not known.

    >>> is_newer("4.10", "4.9"), is_newer("2026-01-04", "2026-02-01"), is_newer(None, "4.1"), is_newer("1", None)
    (True, False, True, True)
    """
    return version is None or before is None or _natural(version) > _natural(before)


def _data_sets(folder: Path) -> list[list[Path]]:
    sets: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden and ending_of(path):
            sets.setdefault(_without_chromosome(str(path.relative_to(folder))), []).append(path)
    return list(sets.values())


def _without_chromosome(name: str) -> str:
    """The name with its chromosome left out; only where it has `chr`, for numbers alone may be releases."""
    return _CHROMOSOME.sub("*", name, count=1)


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _parse(config: Path) -> tuple[FieldConfig, ...]:
    try:
        return parse_fields(config.read_bytes())
    except InputError as error:
        raise error.in_file(config.name) from None


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def files_phrase(files: Sequence[Path]) -> str:
    """Names of files, the first few of many.

    >>> files_phrase([Path("a.vcf"), Path("b.vcf")])
    'a.vcf, b.vcf'
    """
    names = ", ".join(file.name for file in files[:5])
    return names if len(files) <= 5 else f"{names} and {len(files) - 5:,} more"
