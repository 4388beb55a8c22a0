"""Misclassification matrices: how an algorithm's broad causes spread for deaths whose true cause is known.

One matrix for each age group, algorithm and country: a row for each true cause, a column for each cause that the
algorithm says, in two forms: `asDirich`, Dirichlet parameters that tell the uncertainty of each row, and `postmean`, the
mean rows. Source: Pramanik et al. (2025), Annals of Applied Statistics 19:1214; the files are those of the R package
vacalibration (`CCVA_missmat.rda`, `Mmat_champs.rda`), or the same as a CSV of
`age_group, algorithm, country, kind, true_cause, va_cause, value`.
"""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from genomics_assets.input_error import InputError
from genomics_assets.verbal_autopsy.broad_causes import BROAD_CAUSES
from genomics_assets.verbal_autopsy.r_objects import LabelledArray, read_r_objects
from genomics_assets.verbal_autopsy.reference_file import (
    SYNTHETIC,
    ReferenceFile,
    find_reference,
    made_up_reference,
)

AS_DIRICHLET, MEAN = "asDirich", "postmean"
COLUMNS = ("age_group", "algorithm", "country", "kind", "true_cause", "va_cause", "value")
_VERSION_LINE = "# version:"
_REMEDY = "supply the published matrices as they were published"

Key = tuple[str, str, str, str]


@dataclass(frozen=True)
class MisclassificationMatrices:
    """All matrices of one file.

    Attributes:
        version: as the file tells it, or the start of its hash.
        sha256: of the file's bytes.
        matrices: (C, C) float64 by age group, algorithm (lower case), country and kind; causes as in `BROAD_CAUSES`.
    """

    version: str
    sha256: str
    matrices: dict[Key, np.ndarray] = field(repr=False)

    @property
    def countries(self) -> list[str]:
        """The countries that have matrices, `other` last."""
        return sorted(
            {country for _, _, country, _ in self.matrices}, key=lambda name: (name == "other", name)
        )

    @property
    def is_synthetic(self) -> bool:
        """Whether the matrices were made up, for tests and demonstration."""
        return SYNTHETIC in self.version.lower()

    def check_country(self, country: str) -> None:
        """Make sure that a country has matrices; nothing is guessed.

        Raises:
            InputError: it has none; with the nearest name.
        """
        if country in self.countries:
            return
        if self.is_synthetic and difflib.get_close_matches(country.title(), self.countries, 1) == []:
            raise made_up_reference()
        near = difflib.get_close_matches(country.title(), self.countries, 1)
        raise InputError(
            f"country {country!r} has no misclassification matrices",
            remedy=(f"write {near[0]!r}; " if near else "")
            + f"the countries are {', '.join(self.countries)}",
        )

    def matrix(self, age_group: str, algorithm: str, country: str, kind: str) -> np.ndarray:
        """One matrix, (C, C) float64.

        Raises:
            InputError: the file has no such matrix.
        """
        self.check_country(country)
        found = self.matrices.get((age_group, algorithm.lower(), country, kind))
        if found is None:
            raise InputError(
                f"there is no {kind} matrix of {algorithm} for age group {age_group} in {country}",
                remedy="choose an algorithm and an age group that the matrices were estimated for",
            )
        return found


def find_matrices(folder: Path | None) -> MisclassificationMatrices:
    """The matrices of the reference folder.

    Raises:
        InputError: see `reference_file.find_reference` and `read_matrices`.
    """
    return read_matrices(find_reference(folder, "misclassification"))


def read_matrices(file: ReferenceFile) -> MisclassificationMatrices:
    """Read the matrices from CSV or R's `.rda`.

    Raises:
        InputError: with the line where there is one: cells missing or repeated, an unknown cause, a value that is no
            probability or no Dirichlet parameter.
    """
    try:
        if file.path.suffix.lower() == ".rda":
            version, cells = _rda_cells(read_r_objects(file.path))
        else:
            version, cells = _csv_cells(file.path.read_bytes().decode("utf-8-sig", "replace"))
        return MisclassificationMatrices(version or file.sha256[:12], file.sha256, _assembled(cells))
    except InputError as error:
        raise error.in_file(file.path.name) from None


@dataclass(frozen=True)
class _Cell:
    key: Key
    true_cause: str
    va_cause: str
    value: float
    line: int | None = None


def _csv_cells(text: str) -> tuple[str, list[_Cell]]:
    first, _, rest = text.partition("\n")
    version, skipped = "", 0
    if first.startswith(_VERSION_LINE):
        version, text, skipped = first.removeprefix(_VERSION_LINE).strip(), rest, 1
    reader = csv.reader(io.StringIO(text))
    header = [name.strip() for name in next(reader, [])]
    if header != list(COLUMNS):
        _refuse(f"its columns are not {', '.join(COLUMNS)}", 1 + skipped)
    cells = []
    for row in reader:
        line = reader.line_num + skipped
        if len(row) != len(COLUMNS):
            _refuse(f"{len(row)} cells where the header has {len(COLUMNS)}", line)
        age, algorithm, country, kind, true_cause, va_cause, value = (cell.strip() for cell in row)
        try:
            number = float(value)
        except ValueError:
            _refuse(f"{value[:20]!r} is no number", line)
        cells.append(_Cell((age, algorithm.lower(), country, kind), true_cause, va_cause, number, line))
    return version, cells


def _rda_cells(objects: dict[str, Any]) -> tuple[str, list[_Cell]]:
    tree = next((value for value in objects.values() if isinstance(value, dict) and "neonate" in value), None)
    if tree is None:
        _refuse("it holds no list with an element `neonate`")
    stamp = tree.get("version")
    version = str(stamp[0]) if isinstance(stamp, np.ndarray) and len(stamp) else ""
    cells = [
        _Cell(
            (age, algorithm.lower(), country, kind), true_cause, va_cause, float(matrix.values[row, column])
        )
        for age, algorithm, kind, country, matrix in _rda_matrices(tree)
        for row, true_cause in enumerate(matrix.names[0] or ())
        for column, va_cause in enumerate(matrix.names[1] or ())
    ]
    return version, cells


def _rda_matrices(tree: dict[str, Any]) -> Iterable[tuple[str, str, str, str, LabelledArray]]:
    for age, algorithms in tree.items():
        for algorithm, kinds in algorithms.items() if isinstance(algorithms, dict) else ():
            for kind in (AS_DIRICHLET, MEAN):
                for country, matrix in (kinds.get(kind) or {}).items():
                    if isinstance(matrix, LabelledArray) and matrix.values.ndim == 2:
                        yield age, algorithm, kind, country, matrix


def _assembled(cells: Sequence[_Cell]) -> dict[Key, np.ndarray]:
    matrices: dict[Key, np.ndarray] = {}
    for cell in cells:
        age, _, _, kind = cell.key
        if age not in BROAD_CAUSES:
            _refuse(f"age group {age[:20]!r} is none of {', '.join(BROAD_CAUSES)}", cell.line)
        if kind not in (AS_DIRICHLET, MEAN):
            continue
        causes = BROAD_CAUSES[age]
        for cause in (cell.true_cause, cell.va_cause):
            if cause not in causes:
                _refuse(f"{cause[:40]!r} is no broad cause of age group {age}", cell.line)
        matrix = matrices.setdefault(cell.key, np.full((len(causes), len(causes)), np.nan))
        place = causes.index(cell.true_cause), causes.index(cell.va_cause)
        if not np.isnan(matrix[place]):
            _refuse(f"the cell of {cell.true_cause} and {cell.va_cause} is there twice", cell.line)
        if not (np.isfinite(cell.value) and (cell.value > 0 or (kind == MEAN and cell.value == 0))):
            _refuse(
                f"{cell.value} is no {'probability' if kind == MEAN else 'Dirichlet parameter'}", cell.line
            )
        matrix[place] = cell.value
    if not matrices:
        _refuse("it holds no matrix")
    for key, matrix in matrices.items():
        _check_shape(key, matrix)
    return matrices


def _check_shape(key: Key, matrix: np.ndarray) -> None:
    name = f"the {key[3]} matrix of {key[1]}, {key[0]}, {key[2]}"
    if missing := int(np.isnan(matrix).sum()):
        _refuse(f"{name} lacks {missing} of its {matrix.size} cells")
    if key[3] == MEAN and not np.allclose(matrix.sum(axis=1), 1, atol=0.01):
        _refuse(f"{name} has rows that do not sum to one")


def _refuse(problem: str, line: int | None = None) -> NoReturn:
    raise InputError(problem, remedy=_REMEDY, line=line)
