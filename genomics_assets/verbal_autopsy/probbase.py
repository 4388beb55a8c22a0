"""The symptom-cause matrix of InterVA-5 and InSilicoVA ("probbase"): grades, priors and rules of consistency.

A probbase has a row for each indicator of the WHO 2016 questionnaire and a column for each cause. A cell grades how
often the indicator is met with the cause, by letters that stand for probabilities. The file's columns are those of the
published matrix: `indic`, `subst` (whether yes or no is the substantive answer), `dontask1` to `dontask8`, `doaskif`,
`nnonly`, then `a_*` (pregnancy), `b_*` (causes of death) and `c_*` (circumstances); the row without `indic` that is
titled `[UNCONDITIONAL PRIOR]` holds the priors and the version. Source: Byass et al. (2019), BMC Medicine 17:102.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from genomics_assets.input_error import InputError
from genomics_assets.verbal_autopsy.r_objects import LabelledArray, read_r_objects
from genomics_assets.verbal_autopsy.reference_file import (
    SYNTHETIC,
    ReferenceFile,
    check_reference,
    find_reference,
    list_reference,
)

GRADES = ("I", "A+", "A", "A-", "B+", "B", "B-", "C+", "C", "C-", "D+", "D", "D-", "E", "N")
PROBABILITIES = np.array(
    [1, 0.8, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0001, 0.00001, 0]
)
_GRADE_NUMBER = {grade: number for number, grade in enumerate(GRADES)} | {"": len(GRADES) - 1}
_NEVER_WITH = [f"dontask{number}" for number in range(1, 9)]
_NEEDED = ["indic", "sdesc", "subst", *_NEVER_WITH, "doaskif", "nnonly"]
_PRIOR_ROW, _TITLE_ROW = "[UNCONDITIONAL PRIOR]", "[OUTPUT CATEGORY]"
_CAUSE_NUMBER = re.compile(r"^[\d.]+(?: & [\d.]+)* ")
_RULE = re.compile(r"(i\d+[a-z])([YN])")


@dataclass(frozen=True)
class Rule:
    """An answer that another indicator has: its row, and 1 for yes or 0 for no."""

    indicator: int
    answer: int


@dataclass(frozen=True)
class Probbase:
    """A symptom-cause matrix: S indicators, D = 3 + causes + circumstances columns.

    Attributes:
        version: as the file tells it.
        sha256: of the file's bytes.
        indicators: S names, lower case, in the file's order.
        substantive: (S,) int8: 1 where yes is the answer that counts, 0 where no is.
        columns: D codes (`a_nrp`, `b_0101`, …).
        names: D names; those of causes without their numbers.
        grades: (S, D) uint8, positions in `GRADES`.
        priors: (D,) uint8, positions in `GRADES`.
        never_with: for each indicator the answers of others that make asking it senseless.
        asked_after: for each indicator the answer that asking it takes for granted.
        newborns_only: for each indicator the answer that a newborn has, where only newborns are asked.
    """

    version: str
    sha256: str
    indicators: tuple[str, ...]
    substantive: np.ndarray
    columns: tuple[str, ...]
    names: tuple[str, ...]
    grades: np.ndarray
    priors: np.ndarray
    never_with: tuple[tuple[Rule, ...], ...]
    asked_after: tuple[Rule | None, ...]
    newborns_only: tuple[Rule | None, ...]

    @cached_property
    def row_of(self) -> dict[str, int]:
        """The row of each indicator."""
        return {name: row for row, name in enumerate(self.indicators)}

    @cached_property
    def pregnancy(self) -> slice:
        """The columns of pregnancy states."""
        return self._block("a_")

    @cached_property
    def causes(self) -> slice:
        """The columns of causes of death."""
        return self._block("b_")

    @cached_property
    def circumstances(self) -> slice:
        """The columns of circumstances of mortality."""
        return self._block("c_")

    @property
    def cause_names(self) -> tuple[str, ...]:
        """The causes of death by name."""
        return self.names[self.causes]

    @property
    def cause_codes(self) -> tuple[str, ...]:
        """The causes of death by code."""
        return self.columns[self.causes]

    @property
    def is_synthetic(self) -> bool:
        """Whether the matrix was made up, for tests and demonstration, and says nothing about people."""
        return SYNTHETIC in self.version.lower()

    def rows(self, numbers: range, letters: str = "") -> list[int]:
        """Rows of the indicators whose number lies in a range; with `letters`, only those that end in one of them."""
        return [
            row
            for row, name in enumerate(self.indicators)
            if int(name[1:-1]) in numbers and (not letters or name[-1] in letters)
        ]

    def _block(self, prefix: str) -> slice:
        at = [place for place, code in enumerate(self.columns) if code.startswith(prefix)]
        return slice(at[0], at[-1] + 1)


def find_probbase(folder: Path | None) -> ReferenceFile:
    """The probbase of the reference folder; where it holds none, that of the optional wheel `vacheck`, data alone.

    Raises:
        InputError: there is none, there are several, or its bytes are not those that `SHA256SUMS` tells.
    """
    wheel = find_spec("vacheck") if not list_reference(folder, "probbase") else None
    if wheel is not None and wheel.origin is not None:
        return check_reference(Path(wheel.origin).parent / "data" / "probbaseV5.csv")
    return find_reference(folder, "probbase")


def read_probbase(file: ReferenceFile) -> Probbase:
    """Read a probbase, from CSV or from R's `.rda`.

    Raises:
        InputError: with the line where there is one: not a probbase, cells that are missing, no grade or no rule.
    """
    try:
        table = _rda_rows(file.path) if file.path.suffix.lower() == ".rda" else _csv_rows(file.path)
        return _probbase(table, file.sha256)
    except InputError as error:
        raise error.in_file(file.path.name) from None


def _csv_rows(path: Path) -> list[list[str]]:
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text))]


def _rda_rows(path: Path) -> list[list[str]]:
    for value in read_r_objects(path).values():
        if isinstance(value, LabelledArray) and value.values.ndim == 2 and value.names[1] is not None:
            return [list(value.names[1]), *([str(cell).strip() for cell in row] for row in value.values)]
        if isinstance(value, dict) and "indic" in value:
            columns = [[str(cell).strip() for cell in column] for column in value.values()]
            return [list(value), *map(list, zip(*columns, strict=True))]
    raise InputError("it holds no table with a column `indic`", remedy="supply the published probbase")


def _probbase(table: list[list[str]], sha256: str) -> Probbase:
    header = [name.lower() for name in table[0]] if table else []
    missing = [name for name in _NEEDED if name not in header]
    blocks = {prefix: [n for n in header if n.startswith(prefix)] for prefix in ("a_", "b_", "c_")}
    if missing or not all(blocks.values()):
        lacks = missing or [f"{prefix}*" for prefix, names in blocks.items() if not names]
        _refuse(f"it has no column {', '.join(lacks)}", 1)
    at = {name: place for place, name in enumerate(header)}
    columns = [name for names in blocks.values() for name in names]
    if header[at[columns[0]] :] != columns:
        _refuse("its last columns are not a_*, then b_*, then c_*", 1)
    titles, priors, indicators, version = dict[str, str](), None, list[tuple[int, list[str]]](), ""
    for line, row in enumerate(table[1:], 2):
        if len(row) != len(header):
            _refuse(f"{len(row)} cells where the header has {len(header)}", line)
        what = row[at["qdesc"]] if "qdesc" in at else ""
        if row[at["indic"]]:
            indicators.append((line, row))
        elif what == _TITLE_ROW:
            titles = {name: row[at[name]] for name in columns}
        elif what == _PRIOR_ROW or priors is None:
            priors, version = _grades(row, [at[name] for name in columns], line), row[at["sdesc"]]
    if priors is None or not indicators:
        _refuse("it has no row of priors" if priors is None else "it has no indicators")
    names = [row[at["indic"]].lower() for _, row in indicators]
    if len(set(names)) != len(names):
        _refuse(f"indicator {next(n for n in names if names.count(n) > 1)} is there twice")
    if odd := next((name for name in names if not re.fullmatch(r"i\d+[a-z]", name)), None):
        _refuse(f"{odd!r} is no indicator of the WHO questionnaire")
    rules = _Rules({name: row for row, name in enumerate(names)}, at)
    return Probbase(
        version=version or "unknown",
        sha256=sha256,
        indicators=tuple(names),
        substantive=np.array([_answer(row[at["subst"]], line) for line, row in indicators], dtype=np.int8),
        columns=tuple(columns),
        names=tuple(_CAUSE_NUMBER.sub("", titles.get(name) or name) for name in columns),
        grades=np.array([_grades(row, [at[n] for n in columns], line) for line, row in indicators], np.uint8),
        priors=np.array(priors, np.uint8),
        never_with=tuple(rules.all_of(row, _NEVER_WITH, line) for line, row in indicators),
        asked_after=tuple(rules.one_of(row, "doaskif", line) for line, row in indicators),
        newborns_only=tuple(rules.one_of(row, "nnonly", line) for line, row in indicators),
    )


@dataclass(frozen=True)
class _Rules:
    row_of: dict[str, int]
    at: dict[str, int]

    def all_of(self, row: Sequence[str], columns: list[str], line: int) -> tuple[Rule, ...]:
        rules = (self.one_of(row, column, line) for column in columns)
        return tuple(rule for rule in rules if rule is not None)

    def one_of(self, row: Sequence[str], column: str, line: int) -> Rule | None:
        text = row[self.at[column]]
        if text in ("", "."):
            return None
        match = _RULE.fullmatch(text)
        if match is None or match[1] not in self.row_of:
            _refuse(f"column {column} holds {text!r}, which names no indicator of this file", line)
        return Rule(self.row_of[match[1]], int(match[2] == "Y"))


def _grades(row: Sequence[str], places: list[int], line: int) -> list[int]:
    try:
        return [_GRADE_NUMBER[row[place].replace(" ", "")] for place in places]
    except KeyError as unknown:
        _refuse(f"{unknown.args[0]!r} is no grade (these are {', '.join(GRADES)})", line)


def _answer(text: Any, line: int) -> int:
    if text not in ("Y", "N"):
        _refuse(f"column subst holds {text!r}, not Y or N", line)
    return int(text == "Y")


def _refuse(problem: str, line: int | None = None) -> NoReturn:
    raise InputError(problem, remedy="supply the published probbase as it was published", line=line)
