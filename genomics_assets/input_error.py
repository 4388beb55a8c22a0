"""The one error that a dropped file can cause.

Every domain raises `InputError` for a file that cannot be taken, so that the partition, the audit row and the
terminal all show the same sentence: which file, where in it, what is wrong, what to do.
"""

from __future__ import annotations

from pathlib import Path


class InputError(ValueError):
    """A dropped file cannot be taken as it is; trying again with the same bytes cannot help.

    Args:
        problem: what is wrong, as one clause without a full stop.
        remedy: what the person who dropped the file can do about it.
        file: the file's name as it was dropped.
        line: 1-based line in the decompressed text, where the problem has one.

    >>> print(InputError("3 columns where 8 are needed", remedy="write the line again", file="a.vcf", line=12))
    a.vcf, line 12: 3 columns where 8 are needed. Remedy: write the line again.
    """

    def __init__(
        self, problem: str, *, remedy: str, file: str | Path | None = None, line: int | None = None
    ) -> None:
        self.problem = problem
        self.remedy = remedy
        self.file = None if file is None else str(file)
        self.line = line
        super().__init__(str(self))

    def __str__(self) -> str:
        place = ", ".join(
            part for part in (self.file, f"line {self.line}" if self.line is not None else None) if part
        )
        return (
            f"{place}: {self.problem}. Remedy: {self.remedy}."
            if place
            else f"{self.problem}. Remedy: {self.remedy}."
        )

    def in_file(self, file: str | Path) -> InputError:
        """The same error, with the file named."""
        return InputError(self.problem, remedy=self.remedy, file=file, line=self.line)
