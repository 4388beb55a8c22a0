"""What a migration from the file-based system came to: one row for each file, and counts that add up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from genomics_assets.drops import storable
from genomics_assets.jobs.legacy import FileOutcome, FileReport

if TYPE_CHECKING:
    import pyarrow as pa

NAMED = 20
_MEANING = {
    FileOutcome.MIGRATED: "now in the ledger",
    FileOutcome.UNCHANGED: "was in the ledger already",
    FileOutcome.BROKEN_JOB: "a job's JSON that cannot be taken",
    FileOutcome.NO_JOB: "a file whose job was not taken",
    FileOutcome.MISPLACED: "at no place that the file-based system used",
    FileOutcome.UNREADABLE: "cannot be read",
    FileOutcome.CONFLICT: "the ledger has another job of this id",
    FileOutcome.MISSING: "named by a job, and not there",
}


def report_table(reports: Sequence[FileReport]) -> pa.Table:
    """One row for each file: path, outcome, job_id, reason (text), size (int64), sha256 (text)."""
    import pyarrow as pa

    schema = pa.schema(
        [("path", pa.string()), ("outcome", pa.string()), ("job_id", pa.string()), ("reason", pa.string()),
         ("size", pa.int64()), ("sha256", pa.string())]
    )  # fmt: skip
    return pa.Table.from_pylist(
        [{**vars(report), "outcome": str(report.outcome)} for report in reports], schema
    )


def reports_of(table: pa.Table) -> list[FileReport]:
    """The reports that `report_table` made the table of."""
    return [FileReport(**{**row, "outcome": FileOutcome(row["outcome"])}) for row in table.to_pylist()]


def counts(reports: Sequence[FileReport]) -> dict[str, int]:
    """Files by outcome, every outcome that there can be.

    >>> counts([FileReport("jobs/a.json", FileOutcome.MIGRATED)])["migrated"]
    1
    """
    found = Counter(report.outcome for report in reports)
    return {str(outcome): found[outcome] for outcome in FileOutcome}


def not_taken(reports: Sequence[FileReport]) -> list[FileReport]:
    """What was not taken over; the JSON of broken jobs first."""
    taken = (FileOutcome.MIGRATED, FileOutcome.UNCHANGED)
    left = [report for report in reports if report.outcome not in taken]
    return sorted(left, key=lambda report: (report.outcome is not FileOutcome.BROKEN_JOB, report.path))


def report_markdown(reports: Sequence[FileReport]) -> str:
    """Counts by outcome, and the names of what was not taken over, with reasons."""
    lines = ["| outcome | files | |", "| --- | ---: | --- |"]
    lines += [
        f"| {name} | {n:,} | {_MEANING[FileOutcome(name)]} |" for name, n in counts(reports).items() if n
    ]
    left = not_taken(reports)
    lines += ["", *(f"- `{report.path}`: {report.outcome}, {report.reason}" for report in left[:NAMED])]
    if len(left) > NAMED:
        lines.append(f"- and {len(left) - NAMED:,} more; see the table")
    return "\n".join(lines)


def unaccounted(reports: Sequence[FileReport], paths: Sequence[str]) -> int:
    """How many of a tree's files have no outcome, or more than one.

    >>> unaccounted([FileReport("jobs/a.json", FileOutcome.MIGRATED)], ["jobs/a.json", "readme.txt"])
    1
    """
    outcomes = Counter(report.path for report in reports if report.outcome is not FileOutcome.MISSING)
    return sum(outcomes[storable(path)] != 1 for path in paths)
