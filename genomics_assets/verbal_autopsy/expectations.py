"""What sound results look like: rules over the tables of a batch, each with a sentence for the one who reads them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genomics_assets.verbal_autopsy.assignment import Assignment
from genomics_assets.verbal_autopsy.convergence import LARGEST_R_HAT, LEAST_SAMPLE_SIZE

if TYPE_CHECKING:
    import pyarrow as pa

LARGEST_REJECTED_SHARE = 0.1
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Expectation:
    """Whether something is as it should be, and the sentence that says so."""

    met: bool
    sentence: str


def records_accounted_for(assignment: Assignment) -> Expectation:
    """Records of the file = records with a cause + rejected records."""
    return Expectation(
        assignment.records == assignment.taken + assignment.rejected,
        f"file {assignment.records:,} = with a cause {assignment.taken:,} + rejected {assignment.rejected:,}",
    )


def few_records_rejected(assignment: Assignment) -> Expectation:
    """At most a tenth of the records is rejected."""
    share = assignment.rejected / max(assignment.records, 1)
    return Expectation(
        share <= LARGEST_REJECTED_SHARE, f"{assignment.rejected:,} of {assignment.records:,} records rejected"
    )


def sums_to_one(table: pa.Table, groups: Sequence[str], column: str) -> Expectation:
    """The values of a column sum to one within each group."""
    totals: dict[tuple[str, ...], float] = defaultdict(float)
    for row in table.select([*groups, column]).to_pylist():
        totals[tuple(row[group] for group in groups)] += row[column]
    off = {key: total for key, total in totals.items() if abs(total - 1) > _TOLERANCE}
    if off:
        return Expectation(False, "; ".join(f"{' '.join(key)}: {total:.6f}" for key, total in off.items()))
    return Expectation(bool(totals), f"{len(totals)} sets of fractions sum to one")


def bounds_hold_means(table: pa.Table) -> Expectation:
    """Each mean lies within its bounds, where these are told."""
    columns = ["calibrated_lower", "calibrated_mean", "calibrated_upper"]
    rows = [row for row in table.select(columns).to_pylist() if row[columns[0]] is not None]
    outside = sum(
        not row[columns[0]] - _TOLERANCE <= row[columns[1]] <= row[columns[2]] + _TOLERANCE for row in rows
    )
    return Expectation(outside == 0, f"{len(rows) - outside} of {len(rows)} means lie within their bounds")


def all_converged(table: pa.Table) -> Expectation:
    """R-hat and effective sample size are good enough for every fit."""
    rows = table.select(["r_hat", "effective_sample_size"]).to_pylist()
    r_hat = max(row["r_hat"] for row in rows)
    size = min(row["effective_sample_size"] for row in rows)
    return Expectation(
        r_hat < LARGEST_R_HAT and size > LEAST_SAMPLE_SIZE,
        f"largest R-hat {r_hat:.4f}, smallest effective sample size {size:,.0f}",
    )


def none_stalled(table: pa.Table) -> Expectation:
    """No fit's path correction stalled."""
    rows = table.select(["label", "path_correction_stalled"]).to_pylist()
    stalled = sorted({row["label"] for row in rows if row["path_correction_stalled"]})
    if stalled:
        return Expectation(
            False,
            f"stalled: {', '.join(stalled)}. Remedy: look for a cause without deaths, or set path_correction: false",
        )
    return Expectation(True, "no fit stalled")
