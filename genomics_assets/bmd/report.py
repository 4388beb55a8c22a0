"""What the stages tell their readers: counts by reason, shares, and a few rows, as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from genomics_assets.markdown import markdown_table

if TYPE_CHECKING:
    import pyarrow as pa

    from genomics_assets.bmd.expression_matrix import ExpressionMatrix

ROWS_SHOWN = 10

# What each outcome and flag means to the person who dropped the matrix.
MEANINGS = {
    "kept": "goes on to be fitted",
    "not_in_upstream": "an earlier prefilter of the chain left it out",
    "not_testable": "constant, not finite, or without replicates: no test is possible",
    "p_value": "the test does not speak for a response",
    "control_probe": "a control probe of the platform (AFFX…)",
    "fold_change": "its largest fold change is below the filter's",
    "constant": "all responses are equal: no model is fitted",
    "not_finite": "a response is NaN or infinite: no model is fitted",
    "zero_variance_group": "a dose group has no spread, as at the floor of a platform; fitted all the same",
    "no_replicates": "no dose has replicates; fitted, but the fit cannot be tested",
    "not_converged": "no stable maximum, or a curve that runs exactly through every mean",
    "no_bmd": "the curve never changes as much as the benchmark response asks",
    "no_bmdl": "the likelihood sets no lower limit",
    "no_bmdu": "the likelihood sets no upper limit",
    "parameter_at_bound": "a parameter lies on its bound",
    "above_highest_dose": "the BMD lies beyond the tested doses",
    "below_lowest_dose": "the BMD lies below the lowest tested dose that is not zero",
    "not_fitted": "the probe cannot be fitted",
}


def reasons_table(counts: Mapping[str, int]) -> str:
    """Counts by reason, most first, each with what it means.

    >>> print(reasons_table({"kept": 3}))
    | reason | count | meaning |
    | --- | --- | --- |
    | `kept` | 3 | goes on to be fitted |
    """
    rows = sorted(counts.items(), key=lambda item: -item[1])
    return markdown_table(
        ["reason", "count", "meaning"],
        [(f"`{reason}`", f"{count:,}", MEANINGS.get(reason, "")) for reason, count in rows],
    )


def doses_table(matrix: ExpressionMatrix) -> str:
    """Samples at each dose."""
    return markdown_table(
        ["dose", "samples"], [(f"{dose:g}", str(count)) for dose, count in matrix.replicates.items()]
    )


def rows_table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """The first rows, numbers in four digits."""
    shown = [row for row, _ in zip(rows, range(ROWS_SHOWN), strict=False)]
    if not shown:
        return "no rows"
    return markdown_table(columns, [[_cell(row.get(name)) for name in columns] for row in shown])


def lowest_rows(table: pa.Table, chosen: str, column: str) -> list[dict[str, Any]]:
    """Of the rows of which a column of truths says so, those with the lowest numbers in another, lowest first."""
    rows = table.filter(table[chosen]).sort_by(column).slice(0, ROWS_SHOWN)
    return list(rows.to_pylist())


def flag_counts(fits: pa.Table) -> dict[str, int]:
    """How often each flag occurs: of probes once a probe, of fits once a fit."""
    import numpy as np

    from genomics_assets.bmd.fitting import FitFlag, ProbeFlag

    models = len(set(fits["model"].to_pylist())) or 1
    probe_flags = fits["probe_flags"].to_numpy()[::models]
    flags = fits["flags"].to_numpy()
    counts = {
        flag.name.lower(): int((probe_flags & flag).astype(bool).sum()) for flag in ProbeFlag if flag.name
    }
    counts |= {flag.name.lower(): int(np.asarray(flags & flag, bool).sum()) for flag in FitFlag if flag.name}
    return {name: count for name, count in counts.items() if count}


def counts_of(values: Iterable[Any]) -> dict[str, int]:
    """How often each value occurs."""
    return dict(Counter(map(str, values)))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(str, value[:5])) + (" …" if len(value) > 5 else "")
    return str(value)
