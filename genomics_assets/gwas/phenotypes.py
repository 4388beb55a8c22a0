"""`phenotypes.csv`: what is known of the samples, and which of them the genotypes know too.

The first column is the sample id; columns whose names begin with `cov_` are covariates, all others phenotypes. A
phenotype whose only values are 0 and 1, or 1 and 2, is binary: the higher one are the cases. Missing is an empty field,
`NA`, `NaN` or `.`; beside 1 and 2, `-9` and `0` are missing too, as PLINK has it.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from genomics_assets.input_error import InputError

if TYPE_CHECKING:
    import pyarrow as pa

COVARIATE_PREFIX = "cov_"
_MISSING = {"", "na", "nan", ".", "n/a", "null", "none"}
_SEXES = {"m": 1.0, "male": 1.0, "f": 2.0, "female": 2.0}
_PLINK_MISSING = {-9.0, 0.0}
_LONGEST_NAME = 100

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PhenotypeTable:
    """A phenotype file.

    Attributes:
        sample_ids: the first column, as written, in file order.
        values: float64 of shape (rows,) by column, NaN where missing; columns in file order, ids not among them.
    """

    sample_ids: tuple[str, ...]
    values: dict[str, Floats]

    @property
    def phenotypes(self) -> list[str]:
        """Names of the columns that are phenotypes."""
        return [name for name in self.values if not name.startswith(COVARIATE_PREFIX)]

    @property
    def covariates(self) -> list[str]:
        """Names of the columns that are covariates."""
        return [name for name in self.values if name.startswith(COVARIATE_PREFIX)]


@dataclass(frozen=True)
class Trait:
    """One phenotype of the genotyped samples.

    Attributes:
        name: its column.
        values: float64 of shape (genotyped samples,), NaN where missing; 0 and 1 for a binary trait.
        is_binary: whether it tells cases from controls.
    """

    name: str
    values: Floats
    is_binary: bool

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """Where a value is known."""
        return np.isfinite(self.values)


@dataclass(frozen=True)
class SampleJoin:
    """Who is in the genotypes, who in the phenotypes, and who in both.

    Attributes:
        rows: for each genotyped sample its row of the phenotype file, -1 where there is none; int64.
        unmatched_genotypes: ids that the phenotype file lacks.
        unmatched_phenotypes: ids that the genotypes lack.
        repeated: ids that the phenotype file has more than once; they are not matched, for nothing tells which row is
            meant.
        near: pairs of an id without phenotypes and one without genotypes that differ in case or white space only.
    """

    rows: Places
    unmatched_genotypes: tuple[str, ...]
    unmatched_phenotypes: tuple[str, ...]
    repeated: tuple[str, ...]
    near: tuple[tuple[str, str], ...]

    @property
    def matched(self) -> int:
        """Samples with genotypes and a row of phenotypes."""
        return int((self.rows >= 0).sum())

    def table(self, genotyped: Sequence[str]) -> pa.Table:
        """The join as a table: sample_id, state (the words of `counts`), and for `differ…` the id it resembles.

        Args:
            genotyped: the ids of the genotypes, in their order.
        """
        import pyarrow as pa

        repeated = set(self.repeated)
        near = dict(self.near)
        rows = [
            (
                sample,
                "matched"
                if row >= 0
                else "repeated_in_phenotypes"
                if sample in repeated
                else "without_phenotypes",
            )
            for sample, row in zip(genotyped, self.rows.tolist(), strict=True)
        ]
        rows += [(sample, "without_genotypes") for sample in self.unmatched_phenotypes]
        return pa.table(
            {
                "sample_id": pa.array([sample for sample, _ in rows], pa.string()),
                "state": pa.array([state for _, state in rows], pa.string()),
                "resembles": pa.array([near.get(sample) for sample, _ in rows], pa.string()),
            }
        )

    def counts(self) -> dict[str, int]:
        """The join in numbers, without any id."""
        return {
            "genotyped": len(self.rows),
            "matched": self.matched,
            "without_phenotypes": len(self.unmatched_genotypes),
            "without_genotypes": len(self.unmatched_phenotypes),
            "repeated_in_phenotypes": len(self.repeated),
            "differ_in_case_or_white_space": len(self.near),
        }


def read_phenotypes(path: Path) -> PhenotypeTable:
    """Read `phenotypes.csv`; fields may be parted by commas, tabs or semicolons.

    Raises:
        InputError: with the line where there is one: nothing but a header, a column without a name or named twice, no
            phenotype column, a line of another length, an empty id, a value that is no number.
    """
    try:
        return _read(path)
    except InputError as error:
        raise error.in_file(path.name) from None


def _read(path: Path) -> PhenotypeTable:
    with path.open(encoding="utf-8-sig", errors="backslashreplace", newline="") as file:
        head = file.readline()
        file.seek(0)
        separator = max(",\t;", key=head.count)
        reader = csv.reader(file, delimiter=separator, strict=True)
        try:
            names = [name.strip() for name in next(reader, [])]
            _check_names(names)
            rows: list[list[str]] = []
            lines: list[int] = []
            for row in reader:
                if not any(field.strip() for field in row):
                    continue
                if len(row) != len(names):
                    raise InputError(
                        f"{len(row)} fields where the first line has {len(names)}",
                        remedy="put fields that hold the separator in double quotes",
                        line=reader.line_num,
                    )
                if not row[0].strip():
                    raise InputError(
                        "no sample id", remedy="write one or remove the line", line=reader.line_num
                    )
                rows.append(row)
                lines.append(reader.line_num)
        except csv.Error as error:
            raise InputError(
                f"not a table ({error})", remedy="export it again as CSV", line=reader.line_num
            ) from None
    if not rows:
        raise InputError("no samples below the first line", remedy="write one line for each sample")
    columns = list(zip(*rows, strict=True))
    values = {
        name: _numbers(name, column, lines) for name, column in zip(names[1:], columns[1:], strict=True)
    }
    return PhenotypeTable(tuple(columns[0]), values)


def _check_names(names: Sequence[str]) -> None:
    if not any(names):
        raise InputError("the file is empty", remedy="write the sample id and the phenotypes as columns")
    if len(names) < 2 or all(name.startswith(COVARIATE_PREFIX) for name in names[1:]):
        raise InputError(
            "no phenotype column",
            remedy="the first column is the sample id; add a column whose name does not begin with `cov_`",
            line=1,
        )
    if names[0].startswith(COVARIATE_PREFIX) or _is_number(names[0]):
        raise InputError(
            f"no column of sample ids: the first one is called {names[0][:40]!r}",
            remedy="make the sample id the first column, with a line of names above",
            line=1,
        )
    for name, times in Counter(names).items():
        if not name or times > 1 or len(name) > _LONGEST_NAME:
            what = (
                f"the column {name[:40]!r} comes {times} times"
                if name and times > 1
                else "a column without a name"
            )
            what = f"a column name of {len(name)} characters" if len(name) > _LONGEST_NAME else what
            raise InputError(what, remedy="give each column a short name of its own", line=1)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _numbers(name: str, column: Sequence[str], lines: Sequence[int]) -> Floats:
    values = np.full(len(column), np.nan)
    is_sex = name.startswith(COVARIATE_PREFIX) and name.lower().endswith(("sex", "gender"))
    for place, text in enumerate(column):
        word = text.strip().lower()
        if word in _MISSING:
            continue
        if is_sex and word in _SEXES:
            values[place] = _SEXES[word]
            continue
        if not _is_number(word):
            raise InputError(
                f"column {name!r} holds a value that is no number",
                remedy="code groups as numbers, and write missing values as NA or leave them empty",
                line=lines[place],
            )
        values[place] = float(word)
    return values


def join_samples(genotyped: Sequence[str], table: PhenotypeTable) -> SampleJoin:
    """Match samples by id, letter by letter.

    >>> table = PhenotypeTable(("a", "B ", "d", "d"), {})
    >>> join = join_samples(["a", "b", "c", "d"], table)
    >>> join.rows.tolist(), join.near, join.repeated
    ([0, -1, -1, -1], (('b', 'B '),), ('d',))
    """
    times = Counter(table.sample_ids)
    row = {sample: place for place, sample in enumerate(table.sample_ids) if times[sample] == 1}
    rows = np.array([row.get(sample, -1) for sample in genotyped], dtype=np.int64)
    known = set(genotyped)
    without_phenotypes = [sample for sample in genotyped if sample not in times]
    without_genotypes = [sample for sample in dict.fromkeys(table.sample_ids) if sample not in known]
    loose: dict[str, str] = {}
    for sample in without_genotypes:
        loose.setdefault(_loosely(sample), sample)
    near = [(sample, loose[_loosely(sample)]) for sample in without_phenotypes if _loosely(sample) in loose]
    repeated = tuple(sample for sample, count in times.items() if count > 1)
    return SampleJoin(rows, tuple(without_phenotypes), tuple(without_genotypes), repeated, tuple(near))


def _loosely(sample: str) -> str:
    return "".join(sample.split()).casefold()


def expect_matches(join: SampleJoin, file: str) -> None:
    """Make sure that there is somebody to test.

    Raises:
        InputError: no sample has both genotypes and phenotypes.
    """
    if join.matched:
        return
    counts = join.counts()
    problem = f"none of the {counts['genotyped']:,} genotyped samples is in it"
    remedy = "write the ids of the genotype file into the first column"
    if join.near:
        problem += f"; {len(join.near):,} differ in upper and lower case or white space alone"
        remedy = "write the ids exactly as the genotype file does"
    elif join.repeated:
        problem += f"; {len(join.repeated):,} ids are on several lines"
        remedy = "keep one line for each sample"
    raise InputError(problem, remedy=remedy, file=file)


def trait_of(table: PhenotypeTable, name: str, join: SampleJoin, file: str) -> Trait:
    """One phenotype of the genotyped samples.

    Raises:
        InputError: there is no such column, or among the matched samples it is missing throughout or constant.
    """
    if name not in table.values:
        raise InputError(
            f"no column {name!r}",
            remedy=f"the phenotypes are {', '.join(table.phenotypes)}; correct `phenotype` in job.yaml",
            file=file,
        )
    values = _matched(table.values[name], join)
    found = set(np.unique(values[np.isfinite(values)]).tolist())
    if found and 2.0 in found and found <= {1.0, 2.0, *_PLINK_MISSING}:
        values[np.isin(values, list(_PLINK_MISSING))] = np.nan
        values -= 1.0
        found = set(np.unique(values[np.isfinite(values)]).tolist())
    elif found and found <= {0.0, 1.0, -9.0} and -9.0 in found:
        values[values == -9.0] = np.nan
        found -= {-9.0}
    if len(found) < 2:
        what = "has no value" if not found else "has one value only"
        raise InputError(
            f"the phenotype {name!r} {what} among the {join.matched:,} matched samples",
            remedy="drop a phenotype that varies, or name another one as `phenotype` in job.yaml",
            file=file,
        )
    return Trait(name, values, found == {0.0, 1.0})


def covariates_of(table: PhenotypeTable, names: Sequence[str], join: SampleJoin, file: str) -> Floats:
    """Covariates of the genotyped samples, float64 of shape (samples, covariates), NaN where missing.

    Raises:
        InputError: there is no such column.
    """
    for name in names:
        if name not in table.values:
            known = ", ".join(table.covariates) or "none"
            raise InputError(
                f"no column {name!r}", remedy=f"the covariates are {known}; correct job.yaml", file=file
            )
    if not names:
        return np.empty((len(join.rows), 0))
    return np.column_stack([_matched(table.values[name], join) for name in names])


def check_covariates(
    covariates: Floats, names: Sequence[str], used: npt.NDArray[np.bool_], file: str
) -> None:
    """Make sure that covariates tell something that the others do not.

    Args:
        covariates: shape (samples, covariates).
        names: of the columns.
        used: the samples that are analysed, all of their covariates known.
        file: where they come from.

    Raises:
        InputError: one is constant, or a combination of others, among the samples that are used.
    """
    known = covariates[used]
    for column, name in enumerate(names):
        values = known[:, column]
        if values.size and np.ptp(values) <= 1e-12 * max(1.0, float(np.abs(values).max())):
            raise InputError(
                f"the covariate {name!r} is constant among the {used.sum():,} analysed samples",
                remedy="leave it out of `covariates` in job.yaml",
                file=file,
            )
    design = np.ones((len(known), 1))
    for column, name in enumerate(names):
        centred = known[:, column] - known[:, column].mean()
        scaled = centred / max(float(np.linalg.norm(centred)), 1e-300)
        basis, _ = np.linalg.qr(design)
        if np.linalg.norm(scaled - basis @ (basis.T @ scaled)) < 1e-7:
            earlier = ", ".join(repr(other) for other in names[:column])
            raise InputError(
                f"the covariate {name!r} is a linear combination of {earlier}",
                remedy="leave one of them out of `covariates` in job.yaml",
                file=file,
            )
        design = np.column_stack([design, scaled])


def _matched(values: Floats, join: SampleJoin) -> Floats:
    found = np.where(join.rows >= 0, values[np.maximum(join.rows, 0)], np.nan)
    return np.asarray(found, dtype=np.float64)
