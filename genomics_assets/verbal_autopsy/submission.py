"""A dropped batch of verbal autopsies: a CSV of symptoms, of causes, or of raw answers, read without losing a record.

Encodings are told by their byte-order marks; records that cannot be taken are rejected, each with its line and a reason
of `REASONS`, and never with what it holds: a cell may say something about a person.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from genomics_assets.input_error import InputError
from genomics_assets.verbal_autopsy.consistency import YES

REASONS = {
    "blank_id": "the ID is blank",
    "wrong_number_of_cells": "more or fewer cells than the header has",
    "unknown_symptom_cell": "a symptom that is neither y, n, ., - nor blank",
    "other_age_group": "the indicators of age belong to another age group",
    "no_age": "no indicator of age is y",
    "no_sex": "no indicator of sex is y",
    "no_symptom": "no symptom is y",
    "no_cause": "the cause is blank",
}
AGE_INDICATORS = {
    "neonate": ("i022g",),
    "child": ("i022e", "i022f"),
    "adult": ("i022a", "i022b", "i022c", "i022d"),
}
Form = Literal["symptoms", "causes", "odk"]

ID = "id"
LONGEST_CELL = 131_072
LONGEST_ID = 255
LINES_NAMED = 5
COLUMNS_NAMED = 8

_ANSWERS = {"y": 1, "Y": 1, "n": 0, "N": 0, ".": -1, "-": -1, "": -1}
_NO_ANSWER = 9
# An indicator that early versions of the questionnaire spelt otherwise.
_OLD_NAMES = {"i183o": "i183a"}
_ODK = re.compile(r"(?:^|[-.:/ ])(id10\d{3})$")
_ODK_IDS = ("id", "meta-instanceid", "instanceid", "key", "meta:instanceid", "__id", "_uuid")


@dataclass(frozen=True)
class Reject:
    """A record that is not taken: its line in the file, why, and the column where one is to blame."""

    line: int
    reason: str
    column: str | None = None


@dataclass(frozen=True)
class Table:
    """A CSV as text: lower-case column names, rows of as many cells, and the line that each row begins on."""

    columns: tuple[str, ...]
    rows: list[list[str]] = field(repr=False)
    lines: list[int] = field(repr=False)
    rejects: list[Reject] = field(repr=False)
    encoding: str

    @property
    def records(self) -> int:
        """Records of the file, rejected ones included."""
        return len(self.rows) + len(self.rejects)

    def column(self, name: str) -> list[str]:
        """The cells of a column, without surrounding spaces."""
        at = self.columns.index(name)
        return [row[at].strip() for row in self.rows]


@dataclass(frozen=True)
class SymptomRecords:
    """Symptoms of N deaths.

    Attributes:
        ids: of the deaths, each once.
        answers: (N, S) int8 of 1 yes, 0 no, -1 unknown; columns as the indicators that were asked for.
        kept: (N,) the rows of the table that they come from.
        rejects: the records that are not among them.
        unused_columns: names of columns that nothing was read from.
    """

    ids: list[str] = field(repr=False)
    answers: np.ndarray = field(repr=False)
    kept: np.ndarray = field(repr=False)
    rejects: list[Reject] = field(repr=False)
    unused_columns: tuple[str, ...] = ()

    def without(self, records: np.ndarray, reason: str, lines: Sequence[int]) -> SymptomRecords:
        """The same without some records, (N,) bool, which are rejected; `lines` are those of the table's rows."""
        gone = [Reject(lines[row], reason) for row in self.kept[records].tolist()]
        stay = ~records
        ids = [key for key, keep in zip(self.ids, stay.tolist(), strict=True) if keep]
        return SymptomRecords(
            ids, self.answers[stay], self.kept[stay], self.rejects + gone, self.unused_columns
        )


@dataclass(frozen=True)
class CauseRecords:
    """Causes of death that were assigned elsewhere: for each algorithm the ids of its deaths and their causes."""

    by_algorithm: dict[str, tuple[list[str], list[str]]] = field(repr=False)
    rejects: list[Reject] = field(repr=False)


def read_table(path: Path) -> Table:
    """Read a batch as text.

    Raises:
        InputError: an empty file, a file without records, an unreadable encoding, a column name that is there twice, a
            cell beyond all measure.
    """
    content = path.read_bytes()
    if not content.strip(b"\xef\xbb\xbf\xff\xfe \r\n\t\0"):
        raise InputError("the file is empty", remedy="drop a CSV with a header and records", file=path.name)
    try:
        text, encoding = _decoded(content)
        return _table(text, encoding)
    except InputError as error:
        raise error.in_file(path.name) from None


def form_of(table: Table) -> Form:
    """What a batch holds, by its columns.

    >>> form_of(Table(("id", "cause1"), [], [], [], "utf-8"))
    'causes'
    """
    if "cause" in table.columns or "cause1" in table.columns:
        return "causes"
    return "odk" if any(_ODK.search(name) for name in table.columns) else "symptoms"


def read_symptoms(table: Table, indicators: Sequence[str], age_group: str) -> SymptomRecords:
    """The symptoms of a batch.

    Args:
        table: the batch.
        indicators: S names of columns, lower case.
        age_group: records of another age group are rejected.

    Raises:
        InputError: no ID column, a repeated ID, indicators that are missing, most records of another age group, or no
            record that can be taken.
    """
    columns = [_OLD_NAMES.get(name, name) if name not in indicators else name for name in table.columns]
    ids = _ids(table, [ID])
    missing = [name for name in indicators if name not in columns]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(indicators)} indicators have no column: {_some(missing)}",
            remedy="drop the whole matrix of the WHO 2016 questionnaire, or raw answers with a mapping table",
        )
    at = [columns.index(name) for name in indicators]
    rejects, answers, kept = list(table.rejects), [], []
    for number, row in enumerate(table.rows):
        codes = [_ANSWERS.get(row[place], _NO_ANSWER) for place in at]
        if _NO_ANSWER in codes:
            codes = [_ANSWERS.get(row[place].strip(), _NO_ANSWER) for place in at]
        if not ids[number]:
            rejects.append(Reject(table.lines[number], "blank_id"))
        elif _NO_ANSWER in codes:
            column = indicators[codes.index(_NO_ANSWER)]
            rejects.append(Reject(table.lines[number], "unknown_symptom_cell", column))
        else:
            answers.append(codes)
            kept.append(number)
    check_any_left(len(kept), rejects)
    records = SymptomRecords(
        [ids[number] for number in kept],
        np.array(answers, dtype=np.int8),
        np.array(kept, dtype=np.int64),
        rejects,
        tuple(name for name in columns if name not in {*indicators, ID}),
    )
    return of_age_group(records, indicators, age_group, table.lines)


def of_age_group(
    records: SymptomRecords, indicators: Sequence[str], age_group: str, lines: Sequence[int]
) -> SymptomRecords:
    """The records whose indicators of age do not contradict the age group.

    Raises:
        InputError: most of them do.
    """
    told = {
        age: (
            records.answers[:, [indicators.index(name) for name in names if name in indicators]] == YES
        ).any(1)
        for age, names in AGE_INDICATORS.items()
    }
    elsewhere = {age: found & ~told[age_group] for age, found in told.items() if age != age_group}
    wrong = np.logical_or.reduce(list(elsewhere.values()))
    if wrong.sum() * 2 > len(wrong):
        counts = {age: int(found.sum()) for age, found in elsewhere.items() if found.any()}
        likely = max(counts, key=lambda age: counts[age])
        raise InputError(
            f"age_group is {age_group}, and {int(wrong.sum()):,} of {len(wrong):,} records are of another: "
            + ", ".join(f"{count:,} {age}" for age, count in counts.items()),
            remedy=f"write age_group: {likely}, or drop the other records",
        )
    return records.without(wrong, "other_age_group", lines) if wrong.any() else records


def read_causes(table: Table, algorithms: Sequence[str]) -> CauseRecords:
    """Causes of death from a CSV of `ID, cause` (or `cause1`), and `algorithm` where there are several.

    Raises:
        InputError: no ID or cause column, a repeated ID, an algorithm of the settings without records, or one in the
            file that the settings do not name.
    """
    cause = "cause" if "cause" in table.columns else "cause1"
    if cause not in table.columns:
        raise InputError("no column cause", remedy="name the column of causes `cause` or `cause1`")
    told = table.column("algorithm") if "algorithm" in table.columns else None
    if told is None and len(algorithms) > 1:
        raise InputError(
            f"{len(algorithms)} algorithms are set, and the file does not say which one a cause is from",
            remedy="add a column `algorithm`, or set one algorithm",
        )
    ids = _ids(table, [ID], unique=told is None)
    known = {name.lower(): name for name in algorithms}
    by_algorithm: dict[str, tuple[list[str], list[str]]] = {name: ([], []) for name in algorithms}
    rejects = list(table.rejects)
    for number, (key, name) in enumerate(zip(ids, table.column(cause), strict=True)):
        algorithm = known.get(told[number].lower()) if told is not None else algorithms[0]
        if not key or not name:
            rejects.append(Reject(table.lines[number], "no_cause" if key else "blank_id"))
        elif algorithm is None:
            raise InputError(
                f"the column algorithm names one that is not set ({', '.join(algorithms)} are)",
                remedy="correct the cell, or name the algorithm in the sidecar",
                line=table.lines[number],
            )
        else:
            by_algorithm[algorithm][0].append(key)
            by_algorithm[algorithm][1].append(name)
    for algorithm, (found, _) in by_algorithm.items():
        if not found:
            raise InputError(
                f"no record has a cause by {algorithm}", remedy="drop its causes too, or do not set it"
            )
        _check_unique(found, [])
    return CauseRecords(by_algorithm, rejects)


def odk_ids(table: Table) -> list[str]:
    """The ids of raw answers: of a column `ID`, or of the instance that ODK names.

    Raises:
        InputError: no such column, or a repeated ID.
    """
    return _ids(table, list(_ODK_IDS))


def answers_in(cells: Sequence[str], column: str, lines: Sequence[int]) -> np.ndarray:
    """(N,) int8 answers of a column of cells: 1 yes, 0 no, -1 unknown.

    Raises:
        InputError: a cell that is no answer, by its line.
    """
    codes = [_ANSWERS.get(cell, _NO_ANSWER) for cell in cells]
    if _NO_ANSWER in codes:
        raise InputError(
            f"a cell of column {column} is neither y, n, ., - nor blank",
            remedy="correct it",
            line=lines[codes.index(_NO_ANSWER)],
        )
    return np.array(codes, dtype=np.int8)


def reject_counts(rejects: Sequence[Reject]) -> dict[str, int]:
    """Rejected records by reason, most first."""
    return dict(Counter(reject.reason for reject in rejects).most_common())


def describe_rejects(rejects: Sequence[Reject]) -> Iterator[tuple[str, int, str, str]]:
    """For each reason its count, its meaning and the first lines and columns."""
    for reason, count in reject_counts(rejects).items():
        of_it = [reject for reject in rejects if reject.reason == reason]
        places = [f"{r.line}" + (f" ({r.column})" if r.column else "") for r in of_it[:LINES_NAMED]]
        yield reason, count, REASONS[reason], ", ".join(places)


def _decoded(content: bytes) -> tuple[str, str]:
    marks = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
    encoding = next((name for mark, name in marks if content.startswith(mark)), None)
    if encoding is None and b"\0" in content[:200]:
        encoding = "utf-16-le" if content[1:2] == b"\0" else "utf-16-be"
    tried = [encoding] if encoding else ["utf-8", "cp1252"]
    for name in tried:
        try:
            return content.decode(name), name.removesuffix("-sig")
        except UnicodeDecodeError:
            continue
    raise InputError("its bytes are no text", remedy="save it as CSV in UTF-8")


def _table(text: str, encoding: str) -> Table:
    if "\0" in text:
        raise InputError("its bytes are no text", remedy="save it as CSV in UTF-8")
    first = text.lstrip("\r\n").partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    csv.field_size_limit(LONGEST_CELL)
    columns: tuple[str, ...] = ()
    rows, lines, rejects = [], [], []
    began = 1
    try:
        for row in reader:
            line, began = began, reader.line_num + 1
            if not any(cell.strip() for cell in row):
                continue
            if not columns:
                columns = _header(row, line)
            elif len(row) != len(columns):
                rejects.append(Reject(line, "wrong_number_of_cells"))
            else:
                rows.append(row)
                lines.append(line)
    except csv.Error as error:
        huge = "field larger than" in str(error)
        raise InputError(
            f"a cell of more than {LONGEST_CELL:,} characters"
            if huge
            else "a quoted cell does not end properly",
            remedy="look for a quote that is not closed, and drop the file again",
            line=began,
        ) from None
    check_any_left(len(rows), rejects)
    return Table(columns, rows, lines, rejects, encoding)


def _header(row: Sequence[str], line: int) -> tuple[str, ...]:
    names = tuple(cell.strip().lower() for cell in row)
    twice = [name for name, count in Counter(names).items() if count > 1 and name]
    if twice:
        raise InputError(f"columns are there twice: {_some(twice)}", remedy="keep one of each", line=line)
    return names


def _ids(table: Table, names: Sequence[str], *, unique: bool = True) -> list[str]:
    name = next((name for name in names if name in table.columns), None)
    if name is None:
        raise InputError("no column ID", remedy="name the column that identifies the deaths `ID`", line=1)
    ids = table.column(name)
    long = next((number for number, key in enumerate(ids) if len(key) > LONGEST_ID), None)
    if long is not None:
        raise InputError(
            f"an ID of {len(ids[long]):,} characters, {LONGEST_ID} are the limit",
            remedy="shorten it",
            line=table.lines[long],
        )
    if unique:
        _check_unique(ids, table.lines)
    return ids


def _check_unique(ids: Sequence[str], lines: Sequence[int]) -> None:
    counts = Counter(key for key in ids if key)
    repeated = {key for key, count in counts.items() if count > 1}
    if not repeated:
        return
    where = [str(line) for key, line in zip(ids, lines, strict=False) if key in repeated][:LINES_NAMED]
    raise InputError(
        f"{len(repeated):,} IDs are there more than once, in {sum(counts[key] for key in repeated):,} records"
        + (f" (lines {', '.join(where)}{' …' if len(where) == LINES_NAMED else ''})" if where else ""),
        remedy="leave one record of each death; if these are different deaths, make the IDs differ",
    )


def check_any_left(taken: int, rejects: Sequence[Reject]) -> None:
    """Make sure that at least one record of the file can be taken.

    Raises:
        InputError: none can; with counts by reason.
    """
    if taken:
        return
    counts = ", ".join(f"{count:,} {reason}" for reason, count in reject_counts(rejects).items())
    remedy = "drop a CSV with a header and records"
    if any(reject.reason == "unknown_symptom_cell" for reject in rejects):
        remedy = "write symptoms as y, n or . (numbers and other words are not understood)"
    raise InputError(
        f"none of {len(rejects):,} records can be taken ({counts})" if rejects else "it holds no records",
        remedy=remedy,
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - COLUMNS_NAMED} more" if len(names) > COLUMNS_NAMED else ""
    return ", ".join(name[:40] for name in names[:COLUMNS_NAMED]) + more
