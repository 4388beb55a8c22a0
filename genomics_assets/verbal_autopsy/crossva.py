"""From raw answers, as ODK exports them, to the symptom matrix: conversion by a mapping table.

The table is data, in the form that pyCrossVA uses: a row for each condition with `New Column Name`, `Source Column ID`,
`Relationship` (eq, ne, gt, ge, lt, le, between, contains), `Condition` and `Prerequisite`. An indicator is yes where one of
its conditions is met, no where none is and an answer was given, and unknown otherwise; with a prerequisite that is not yes,
it is no. Source: the CrossVA programme of the openVA team.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np

from genomics_assets.input_error import InputError
from genomics_assets.verbal_autopsy.consistency import NO, UNKNOWN, YES
from genomics_assets.verbal_autopsy.reference_file import ReferenceFile
from genomics_assets.verbal_autopsy.submission import Reject, Table, odk_ids

RELATIONSHIPS = ("eq", "ne", "gt", "ge", "lt", "le", "between", "contains")
_COLUMNS = {
    "target": "new column name",
    "source": "source column id",
    "relationship": "relationship",
    "condition": "condition",
    "prerequisite": "prerequisite",
}
_NOT_TOLD = {"", "na", "nan", "none", "dk", "ref", "doesn't know", "don't know", "veryl", "refused to answer"}
_REMEDY = "supply the mapping table as pyCrossVA ships it"
LARGEST_ABSENT_SHARE = 0.5


@dataclass(frozen=True)
class Condition:
    """One row of a mapping table: when the answer to a question makes an indicator yes."""

    indicator: str
    source: str
    relationship: str
    condition: str
    prerequisite: str | None = None


@dataclass(frozen=True)
class MappingTable:
    """The conditions of all indicators, those with a prerequisite after it."""

    sha256: str
    conditions: tuple[Condition, ...] = field(repr=False)

    @property
    def indicators(self) -> tuple[str, ...]:
        """The indicators that it makes, lower case."""
        return tuple(dict.fromkeys(condition.indicator for condition in self.conditions))


@dataclass(frozen=True)
class Converted:
    """Indicators of N deaths.

    Attributes:
        answers: (N, S) int8 of 1 yes, 0 no, -1 unknown; columns as the indicators that were asked for.
        absent_questions: sources of the table that the export does not have.
        unmapped: indicators that no condition makes; they are unknown throughout.
    """

    answers: np.ndarray = field(repr=False)
    absent_questions: tuple[str, ...]
    unmapped: tuple[str, ...]


def read_mapping(file: ReferenceFile) -> MappingTable:
    """Read a mapping table.

    Raises:
        InputError: with the line: a column that is missing, an unknown relationship, a condition that is no number where
            one is needed, a prerequisite that the table does not make.
    """
    try:
        return parse_mapping(file.path.read_bytes().decode("utf-8-sig", "replace"), file.sha256)
    except InputError as error:
        raise error.in_file(file.path.name) from None


def parse_mapping(text: str, sha256: str = "") -> MappingTable:
    """The conditions of a mapping table; see `read_mapping`."""
    reader = csv.reader(io.StringIO(text))
    header = [name.strip().lower() for name in next(reader, [])]
    missing = [name for name in _COLUMNS.values() if name not in header]
    if missing:
        _refuse(f"it has no column {', '.join(missing)}", 1)
    at = {key: header.index(name) for key, name in _COLUMNS.items()}
    conditions: list[tuple[int, Condition]] = []
    for row in reader:
        cells = {key: row[place].strip() if place < len(row) else "" for key, place in at.items()}
        if not cells["target"] or not cells["source"] or not cells["relationship"]:
            continue
        condition = Condition(
            cells["target"].lower(),
            cells["source"].lower(),
            cells["relationship"].lower(),
            cells["condition"].lower(),
            cells["prerequisite"].lower() or None,
        )
        _check(condition, reader.line_num)
        conditions.append((reader.line_num, condition))
    if not conditions:
        _refuse("it holds no conditions")
    made = {condition.indicator for _, condition in conditions}
    for line, condition in conditions:
        if condition.prerequisite is not None and condition.prerequisite not in made:
            _refuse(f"prerequisite {condition.prerequisite!r} is no indicator of the table", line)
    ordered = sorted((c for _, c in conditions), key=lambda condition: condition.prerequisite is not None)
    return MappingTable(sha256, tuple(ordered))


def convert(mapping: MappingTable, table: Table, indicators: Sequence[str]) -> Converted:
    """The symptom matrix of raw answers.

    Args:
        mapping: how answers become indicators.
        table: the export; a question's column may carry its groups before it (`consent-info-Id10019`).
        indicators: S names, lower case.

    Raises:
        InputError: most of the table's questions are not in the export: it is of another questionnaire.
    """
    places = _places(table)
    sources = {condition.source for condition in mapping.conditions}
    missing = sorted(sources - places.keys())
    if len(missing) > LARGEST_ABSENT_SHARE * len(sources):
        raise InputError(
            f"{len(missing)} of the {len(sources)} questions of the mapping table are not in the export, "
            f"among them {', '.join(missing[:5])}",
            remedy="export all groups of the questionnaire, or supply the mapping table of its version",
        )
    found: dict[str, np.ndarray] = {}
    for condition in mapping.conditions:
        place = places.get(condition.source)
        if place is None:
            continue
        cells = [row[place].strip().lower() for row in table.rows]
        value = _met(condition, cells)
        if condition.prerequisite is not None:
            given = found.get(condition.prerequisite, np.full(len(cells), UNKNOWN, dtype=np.int8))
            value = np.where(given == YES, value, NO).astype(np.int8)
        earlier = found.get(condition.indicator)
        found[condition.indicator] = value if earlier is None else np.maximum(earlier, value)
    nothing = np.full(len(table.rows), UNKNOWN, dtype=np.int8)
    answers = np.array([found.get(name, nothing) for name in indicators], dtype=np.int8).T
    made = set(mapping.indicators)
    return Converted(
        np.ascontiguousarray(answers), tuple(missing), tuple(name for name in indicators if name not in made)
    )


def odk_rows(table: Table) -> tuple[list[str], np.ndarray, list[Reject]]:
    """The ids of an export, the rows that have one, and the records rejected so far.

    Raises:
        InputError: no column of ids, or a repeated ID.
    """
    ids = odk_ids(table)
    kept = [row for row, key in enumerate(ids) if key]
    blank = [Reject(table.lines[row], "blank_id") for row, key in enumerate(ids) if not key]
    return [ids[row] for row in kept], np.array(kept, dtype=np.int64), [*table.rejects, *blank]


def _places(table: Table) -> dict[str, int]:
    places: dict[str, int] = {}
    for place, name in enumerate(table.columns):
        places.setdefault(name, place)
        places.setdefault(re.split(r"[-.:/ ]", name)[-1], place)
    return places


def _met(condition: Condition, cells: Sequence[str]) -> np.ndarray:
    """(N,) int8: yes where the condition is met, no where it is not, unknown where there is no answer."""
    told = np.array([cell not in _NOT_TOLD for cell in cells], dtype=bool)
    if condition.relationship in ("eq", "ne", "contains"):
        met = np.array([_text_met(condition, cell) for cell in cells], dtype=bool)
    else:
        numbers = np.array([_number(cell) for cell in cells])
        told &= ~np.isnan(numbers)
        met = _number_met(condition, numbers)
    return np.where(told, np.where(met, YES, NO), UNKNOWN).astype(np.int8)


def _text_met(condition: Condition, cell: str) -> bool:
    if condition.relationship == "contains":
        return condition.condition in cell.split() or condition.condition in cell
    number, wanted = _number(cell), _number(condition.condition)
    same = number == wanted if not np.isnan(number) and not np.isnan(wanted) else cell == condition.condition
    return same if condition.relationship == "eq" else not same


def _number_met(condition: Condition, numbers: np.ndarray) -> np.ndarray:
    if condition.relationship == "between":
        low, high = (float(bound) for bound in _bounds(condition.condition))
        return np.asarray((numbers >= low) & (numbers <= high))
    compare = {"gt": np.greater, "ge": np.greater_equal, "lt": np.less, "le": np.less_equal}
    return np.asarray(compare[condition.relationship](numbers, float(condition.condition)))


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def _bounds(text: str) -> list[str]:
    return re.split(r"\s*to\s*", text)


def _check(condition: Condition, line: int) -> None:
    if condition.relationship not in RELATIONSHIPS:
        _refuse(f"relationship {condition.relationship[:20]!r} is none of {', '.join(RELATIONSHIPS)}", line)
    needed = {"between": 2, "eq": 0, "ne": 0, "contains": 0}.get(condition.relationship, 1)
    numbers = _bounds(condition.condition) if needed == 2 else [condition.condition]
    if needed and (len(numbers) != needed or any(np.isnan(_number(number)) for number in numbers)):
        _refuse(f"the condition of {condition.relationship} is no number", line)


def _refuse(problem: str, line: int | None = None) -> NoReturn:
    raise InputError(problem, remedy=_REMEDY, line=line)
