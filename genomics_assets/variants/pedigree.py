"""Pedigree sidecars (PED and PLINK's FAM) and what they add to the samples that are known.

Columns: family, individual, father, mother, sex (1 male, 2 female), phenotype; further columns are not read.
Separated by tabs, or by any blanks where the first line has too few tabs. Lines that begin with `#` are
comments. See
https://www.cog-genomics.org/plink/1.9/formats#fam and GATK's PED description.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from genomics_assets.input_error import InputError

_COLUMNS = "family, individual, father, mother, sex, phenotype"
_SEXES = {"1": 1, "m": 1, "male": 1, "2": 2, "f": 2, "female": 2}
_NO_PHENOTYPE = {"", "-9", "na", "nan", ".", "n/a"}
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_SMALLINT = range(-32768, 32768)
_WIDTHS = {"individual": 255, "family": 100}


@dataclass(frozen=True)
class PedigreeEntry:
    """One individual of a pedigree; what the file does not tell is None, an unknown sex 0.

    Attributes:
        individual_id: the sample's name, `samples.external_id`.
        sex: 1 male, 2 female, 0 unknown.
        phenotype: 1 unaffected, 2 affected, or a whole quantitative value.
        metadata: `father`, `mother`, and as `phenotype` what the column of whole numbers cannot hold.
    """

    individual_id: str
    family_id: str | None = None
    sex: int = 0
    phenotype: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_name(cls, name: str) -> PedigreeEntry:
        """An individual of whom only the name is known."""
        return cls(individual_id=name)


@dataclass(frozen=True)
class KnownSample:
    """A row of `genomics.samples`, without its number and date."""

    external_id: str
    family_id: str | None = None
    sex: int | None = None
    phenotype: int | None = None
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class SampleConflict:
    """A pedigree says one thing, the warehouse knows another.

    Attributes:
        field: family_id, sex, phenotype, or a key of the metadata such as father.
    """

    external_id: str
    field: str
    known: Any
    incoming: Any


class MergedSamples(NamedTuple):
    """What a pedigree changes: new rows, known rows that gain something, and what contradicts."""

    to_insert: list[KnownSample]
    to_fill: list[KnownSample]
    conflicts: list[SampleConflict]


def read_pedigree(path: Path) -> list[PedigreeEntry]:
    """Read a PED or FAM file, in the file's order.

    Raises:
        InputError: with the line, for a wrong column count, an individual without a name or named twice, a
            name that is too long, or bytes that are not UTF-8.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InputError("not UTF-8", remedy="save it as UTF-8 text", file=path.name, line=line) from None
    try:
        return parse_pedigree(text)
    except InputError as error:
        raise error.in_file(path.name) from None


def parse_pedigree(text: str) -> list[PedigreeEntry]:
    r"""Read the text of a PED or FAM file; see `read_pedigree`.

    >>> child, = parse_pedigree("#family individual ...\nF1 child dad mum 2 2")
    >>> child.family_id, child.sex, child.phenotype, child.metadata
    ('F1', 2, 2, {'father': 'dad', 'mother': 'mum'})
    """
    rows = list(_rows(text))
    quantitative = _is_quantitative(row[5] for _, row in rows)
    first_lines: dict[str, int] = {}
    entries = []
    for line, row in rows:
        entry = _entry(row, line, quantitative=quantitative)
        first = first_lines.setdefault(entry.individual_id, line)
        if first != line:
            raise InputError(
                # Without the name: it may be that of a person, and errors are kept in the event log.
                f"an individual is here for the second time, first on line {first}",
                remedy="keep one line for each individual; names must differ between families too",
                line=line,
            )
        entries.append(entry)
    return entries


def merge(known: Sequence[KnownSample], incoming: Iterable[PedigreeEntry]) -> MergedSamples:
    """Add what is new, fill what is unknown, and report what contradicts; a known value is never overwritten.

    Unknown are None, an empty text, and 0 for sex and phenotype.

    Args:
        known: rows of the incoming individuals that exist, in any order; others do no harm.
        incoming: each individual once.

    >>> merged = merge([KnownSample("S1", sex=1)], [PedigreeEntry("S1", family_id="F1", sex=2)])
    >>> merged.to_fill[0].family_id, merged.to_fill[0].sex
    ('F1', 1)
    >>> merged.conflicts
    [SampleConflict(external_id='S1', field='sex', known=1, incoming=2)]
    """
    by_name = {sample.external_id: sample for sample in known}
    merged = MergedSamples([], [], [])
    for entry in incoming:
        sample = by_name.get(entry.individual_id)
        if sample is None:
            merged.to_insert.append(
                KnownSample(
                    entry.individual_id, entry.family_id, entry.sex, entry.phenotype, dict(entry.metadata)
                )
            )
            continue
        filled, conflicts = _fill(sample, entry)
        merged.conflicts.extend(conflicts)
        if filled != sample:
            merged.to_fill.append(filled)
    return merged


def _fill(sample: KnownSample, entry: PedigreeEntry) -> tuple[KnownSample, list[SampleConflict]]:
    known, told = _facts(sample), _facts(entry)
    new = {name: value for name, value in told.items() if name not in known}
    conflicts = [
        SampleConflict(sample.external_id, name, known[name], value)
        for name, value in told.items()
        if name in known and known[name] != value
    ]
    if not new:
        return sample, conflicts
    columns: dict[str, Any] = {name: new[name] for name in ("family_id", "sex") if name in new}
    metadata = dict(sample.metadata or {})
    for name, value in new.items():
        if name == "phenotype" and entry.phenotype:
            columns["phenotype"] = value
        elif name not in ("family_id", "sex"):
            metadata[name] = value
    return replace(sample, **columns, metadata=metadata), conflicts


def _facts(sample: KnownSample | PedigreeEntry) -> dict[str, Any]:
    """Everything that is known of a sample; the phenotype lies in its column or in the metadata."""
    facts: dict[str, Any] = {k: v for k, v in (sample.metadata or {}).items() if v is not None and v != ""}
    columns = {"family_id": sample.family_id, "sex": sample.sex, "phenotype": sample.phenotype}
    return facts | {name: value for name, value in columns.items() if value}


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each individual."""
    tabs: bool | None = None
    width = 0
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.rstrip("\r\n")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if "\0" in line:
            raise InputError("a NUL byte", remedy="save it as plain text", line=number)
        if tabs is None:
            tabs = line.count("\t") >= 5
        cells = [cell.strip() for cell in line.split("\t")] if tabs else line.split()
        if not width and len(cells) >= 6 and cells[4].lower() in ("sex", "gender"):
            continue
        width = width or max(len(cells), 6)
        if len(cells) != width:
            raise _wrong_width(len(cells), width, number, tabs=tabs)
        yield number, cells


def _wrong_width(cells: int, width: int, line: int, *, tabs: bool) -> InputError:
    separated = "tab-separated" if tabs else "blank-separated"
    columns = "1 column" if cells == 1 else f"{cells} {separated} columns"
    needed = f"{width} are needed" if width == 6 else f"the first line has {width}"
    return InputError(f"{columns} where {needed}", remedy=f"give each individual {_COLUMNS}", line=line)


def _entry(row: Sequence[str], line: int, *, quantitative: bool) -> PedigreeEntry:
    family, individual, father, mother, sex, phenotype = row[:6]
    if individual in ("", "0"):
        raise InputError(
            "an individual without a name", remedy="name it in the second column as in the VCF", line=line
        )
    for column, name in (("individual", individual), ("family", family)):
        if len(name) > _WIDTHS[column]:
            raise InputError(
                f"{column} name of {len(name)} characters, {_WIDTHS[column]} are the limit",
                remedy="shorten it",
                line=line,
            )
    value = _phenotype(phenotype, quantitative=quantitative)
    whole = isinstance(value, int) and value != 0 and value in _SMALLINT
    metadata = {"father": _name(father), "mother": _name(mother), "phenotype": None if whole else value}
    return PedigreeEntry(
        individual_id=individual,
        family_id=_name(family),
        sex=_SEXES.get(sex.lower(), 0),
        phenotype=int(value) if whole and value is not None else None,
        metadata={name: told for name, told in metadata.items() if told is not None},
    )


def _name(cell: str) -> str | None:
    return None if cell in ("", "0") else cell


def _is_quantitative(cells: Iterable[str]) -> bool:
    """PLINK's rule: any number beyond -9, 0, 1 and 2 makes the whole column quantitative, and 0 a value."""
    return any(_NUMBER.fullmatch(cell) and float(cell) not in (-9, 0, 1, 2) for cell in cells)


def _phenotype(cell: str, *, quantitative: bool) -> int | float | str | None:
    if cell.lower() in _NO_PHENOTYPE:
        return None
    if not _NUMBER.fullmatch(cell):
        return cell
    number = float(cell)
    if number == -9 or (number == 0 and not quantitative):
        return None
    # JSON has no infinity, and beyond 2**53 a float is no longer the number that was written.
    if not math.isfinite(number) or (number.is_integer() and abs(number) >= 2**53):
        return cell
    return int(number) if number.is_integer() else number
