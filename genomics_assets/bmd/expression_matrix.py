"""The expression matrix of a dose-response experiment: its text file, and `matrix.bin`.

The file is tab-delimited, as BMDExpress reads it (`ExperimentFileUtil.readFile`): a line without a tab is a
note; the first cell of every other line is a label; an optional line of sample names, the line of doses, then
one line for each probe. Numbers are float32. Samples are sorted by dose, those of one dose keep the file's order.

`matrix.bin` holds the responses alone: big-endian float32, row-major [probe][sample by dose], no header.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from genomics_assets.input_error import InputError

if TYPE_CHECKING:
    import numpy as np

MAX_SAMPLES = 10_000
MAX_NAME_LENGTH = 255
FEWEST_DOSES = 3

# What Java's Float.valueOf and every spreadsheet write; the names of infinities and NaN are told apart below.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
_SAVE_AS_TEXT = "save the table as tab-delimited text"


@dataclass(frozen=True)
class ExpressionMatrix:
    """Responses of probes (rows) in samples (columns); samples are sorted by dose.

    Attributes:
        samples: names, `Column 0` and so on where the file names none.
        doses: (N,) float32, ascending.
        probes: ids, in the file's order; each once.
        responses: (P, N) float32.
    """

    samples: tuple[str, ...]
    doses: np.ndarray = field(repr=False)
    probes: tuple[str, ...] = field(repr=False)
    responses: np.ndarray = field(repr=False)

    @property
    def replicates(self) -> dict[float, int]:
        """Samples of each dose, doses ascending."""
        import numpy as np

        doses, counts = np.unique(self.doses, return_counts=True)
        return {float(dose): int(count) for dose, count in zip(doses, counts, strict=True)}

    def to_bytes(self) -> bytes:
        """The bytes of `matrix.bin`."""
        return self.responses.astype(">f4").tobytes()

    def digest(self) -> str:
        """SHA-256 of everything that an analysis sees: responses, doses and names."""
        digest = hashlib.sha256(self.to_bytes())
        digest.update(self.doses.astype(">f4").tobytes())
        for name in (*self.samples, *self.probes):
            digest.update(name.encode() + b"\0")
        return digest.hexdigest()

    @classmethod
    def from_bytes(
        cls, data: bytes, *, samples: Sequence[str], doses: Sequence[float], probes: Sequence[str]
    ) -> ExpressionMatrix:
        """The matrix that `to_bytes` wrote, with the names and doses that are kept beside it.

        Raises:
            ValueError: the bytes are not those of a matrix of so many probes and samples.
        """
        import numpy as np

        if len(data) != 4 * len(samples) * len(probes):
            raise ValueError(
                f"matrix.bin has {len(data):,} bytes; {len(probes):,} probes of {len(samples):,} samples "
                f"take {4 * len(samples) * len(probes):,}"
            )
        responses = np.frombuffer(data, ">f4").astype(np.float32).reshape(len(probes), len(samples))
        return cls(tuple(samples), np.asarray(doses, np.float32), tuple(probes), responses)


def read_expression_matrix(path: Path, *, has_headers: bool | None = None) -> ExpressionMatrix:
    """Read a dropped matrix.

    Args:
        path: tab-delimited text.
        has_headers: whether the first line names the samples; None: it does if a cell of it is no number.

    Raises:
        InputError: with line and column where there are some: see `parse_expression_matrix`.
    """
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError("not UTF-8", remedy="save the file as UTF-8", file=path.name, line=line) from None
    try:
        return parse_expression_matrix(text, has_headers=has_headers)
    except InputError as error:
        raise error.in_file(path.name) from None


def parse_expression_matrix(text: str, *, has_headers: bool | None = None) -> ExpressionMatrix:
    r"""Read the text of a matrix.

    Raises:
        InputError: no table, a ragged line, a cell that is no finite number, a negative dose, fewer than three
            doses, no dose with two samples, a name that is empty, too long or there twice, too many samples.

    >>> text = "note\nid\ts1\ts2\ts3\ts4\nDose\t1\t0\t3\t0\nA\t5\t4\t6\t4.5\n"
    >>> matrix = parse_expression_matrix(text)
    >>> matrix.samples, matrix.doses.tolist(), matrix.responses.tolist()
    (('s2', 's4', 's1', 's3'), [0.0, 0.0, 1.0, 3.0], [[4.0, 4.5, 5.0, 6.0]])
    """
    import numpy as np

    table = _table(text)
    header = table.pop(0) if _names_samples(table, has_headers) else None
    if not table:
        raise InputError(
            "no line of doses follows the sample names",
            remedy="add it: a label, then one dose for each sample",
        )
    dose_line, *probe_lines = table
    width = len(dose_line.cells)
    _check_widths([*([header] if header else []), dose_line, *probe_lines], width)
    doses = _numbers([dose_line], "dose")[0]
    _check_doses(dose_line, doses)
    samples = _samples(header, width - 1)
    probes = _probes(probe_lines)
    order = np.argsort(doses, kind="stable")
    responses = _numbers(probe_lines, "response")[:, order]
    return ExpressionMatrix(tuple(samples[i] for i in order), doses[order], probes, responses)


@dataclass(frozen=True)
class _Line:
    """A line of the table: its number in the file, and its cells."""

    number: int
    cells: list[str]


def _table(text: str) -> list[_Line]:
    # Java's split drops empty cells at the end of a line, so a tab too many there is none.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    table = [
        _Line(number, line.rstrip("\t").split("\t")) for number, line in enumerate(lines, 1) if "\t" in line
    ]
    table = [line for line in table if len(line.cells) > 1]
    if not table:
        problem = (
            "the file is empty" if not text.strip() else "no line of the file has a tab, so there is no table"
        )
        raise InputError(problem, remedy=_SAVE_AS_TEXT)
    widest = max(table, key=lambda line: len(line.cells))
    if len(widest.cells) - 1 > MAX_SAMPLES:
        raise InputError(
            f"{len(widest.cells) - 1:,} samples, {MAX_SAMPLES:,} are the limit",
            remedy="turn the table: one line for each probe, one column for each sample",
            line=widest.number,
        )
    return table


def _names_samples(table: Sequence[_Line], has_headers: bool | None) -> bool:
    if has_headers is not None:
        return has_headers
    return any(not _is_number(cell) for cell in table[0].cells[1:])


def _is_number(cell: str) -> bool:
    cell = cell.strip()
    return bool(_NUMBER.fullmatch(cell) or _NOT_FINITE.fullmatch(cell))


def _check_widths(table: Sequence[_Line], width: int) -> None:
    for line in table:
        if len(line.cells) != width:
            raise InputError(
                f"{len(line.cells) - 1:,} values where the line of doses has {width - 1:,}",
                remedy="give every line one value for each sample",
                line=line.number,
            )


def _numbers(lines: Sequence[_Line], what: str) -> np.ndarray:
    """Cells after the first as float32, rounded once, as Java's Float.valueOf does."""
    import numpy as np
    import pyarrow as pa

    cells = pa.array([cell for line in lines for cell in line.cells[1:]], pa.string())
    try:
        numbers = cells.cast(pa.float32()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        stripped = pa.array(
            [_plain(line, column, what) for line in lines for column in range(1, len(line.cells))]
        )
        numbers = stripped.cast(pa.float32()).to_numpy(zero_copy_only=False)
    width = len(lines[0].cells) - 1
    wrong = np.flatnonzero(~np.isfinite(numbers))
    if wrong.size:
        row, column = divmod(int(wrong[0]), width)
        raise InputError(
            f"column {column + 2}: the {what} is not a finite number",
            remedy="impute the value, or leave the probe out"
            if what == "response"
            else "write the dose as a number",
            line=lines[row].number,
        )
    return np.asarray(numbers, np.float32).reshape(len(lines), width)


def _plain(line: _Line, column: int, what: str) -> str:
    """A cell as a plain decimal number, blanks around it removed."""
    cell = line.cells[column].strip()
    if _NOT_FINITE.fullmatch(cell):
        return "nan"
    if _NUMBER.fullmatch(cell):
        return cell
    shown = repr(cell if len(cell) <= 40 else cell[:39] + "…") if cell else "empty"
    remedy = "write a number with a decimal point"
    if what == "dose":
        remedy = "write one dose as a number for each sample on this line, below the sample names"
    raise InputError(
        f"column {column + 1}: the {what} is {shown}, not a number", remedy=remedy, line=line.number
    )


def _check_doses(line: _Line, doses: np.ndarray) -> None:
    import numpy as np

    negative = np.flatnonzero(doses < 0)
    if negative.size:
        raise InputError(
            f"column {int(negative[0]) + 2}: the dose is negative",
            remedy="write doses as concentrations or amounts, not as logarithms",
            line=line.number,
        )
    groups, counts = np.unique(doses, return_counts=True)
    if groups.size < FEWEST_DOSES:
        raise InputError(
            f"{groups.size} different doses, {FEWEST_DOSES} are needed",
            remedy="add doses; a curve cannot be told from fewer",
            line=line.number,
        )
    if counts.max() == 1:
        raise InputError(
            "no dose has two samples, so there is nothing to tell noise from",
            remedy="add replicates; where the line is not the doses, add the line of doses above it",
            line=line.number,
        )


def _samples(header: _Line | None, count: int) -> list[str]:
    if header is None:
        return [f"Column {i}" for i in range(count)]
    names = [name.strip() for name in header.cells[1:]]
    seen: dict[str, int] = {}
    for column, name in enumerate(names, 2):
        _check_name(name, "sample name", header.number, column)
        if name in seen:
            raise InputError(
                f"columns {seen[name]} and {column} name the same sample",
                remedy="give each sample a name of its own",
                line=header.number,
            )
        seen[name] = column
    return names


def _probes(lines: Sequence[_Line]) -> tuple[str, ...]:
    if not lines:
        raise InputError("no probe follows the line of doses", remedy="add one line for each probe")
    names = [line.cells[0].strip() for line in lines]
    seen: dict[str, int] = {}
    for name, line in zip(names, lines, strict=True):
        _check_name(name, "probe id", line.number, 1)
        if name in seen:
            raise InputError(
                f"probe {name!r} is also on line {seen[name]}",
                remedy="keep one of the two, or rename one",
                line=line.number,
            )
        seen[name] = line.number
    return tuple(names)


def _check_name(name: str, what: str, line: int, column: int) -> None:
    if not name:
        raise InputError(f"column {column}: the {what} is empty", remedy="name it", line=line)
    if len(name) > MAX_NAME_LENGTH:
        raise InputError(
            f"column {column}: the {what} has {len(name):,} characters, {MAX_NAME_LENGTH} are the limit",
            remedy="shorten it",
            line=line,
        )
    if "\0" in name:
        raise InputError(
            f"column {column}: the {what} holds a NUL character", remedy=_SAVE_AS_TEXT, line=line
        )
