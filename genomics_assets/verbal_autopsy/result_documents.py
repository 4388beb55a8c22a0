"""What a job leaves behind: its result as JSON and its files as CSV, in the words of the COMSA dashboard."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from genomics_assets.verbal_autopsy.broad_causes import BROAD_CAUSES, DISPLAY_NAMES
from genomics_assets.verbal_autopsy.calibration import ENSEMBLE, CalibratedFractions
from genomics_assets.verbal_autopsy.csmf import cause_counts

DECIMALS = 4


@dataclass(frozen=True)
class AssignedCauses:
    """What one algorithm said of N deaths.

    Attributes:
        algorithm: in our spelling.
        ids: of the deaths.
        causes: the cause of each.
        csmf: fractions as the algorithm counts them.
    """

    algorithm: str
    ids: Sequence[str] = field(repr=False)
    causes: Sequence[str] = field(repr=False)
    csmf: Mapping[str, float]


def primary_label(fitted: Mapping[str, CalibratedFractions]) -> str:
    """The fit that a job is known by: the ensemble, else the first algorithm."""
    return ENSEMBLE if ENSEMBLE in fitted else next(iter(fitted))


# -- files -----------------------------------------------------------------------------------------------------------


def causes_csv(assigned: Sequence[AssignedCauses], *, always_name_algorithm: bool = False) -> str:
    """`causes.csv`: ID and cause1, and the algorithm where there are several or it is asked for."""
    named = always_name_algorithm or len(assigned) > 1
    header = ["ID", "cause1", *(["algorithm"] if named else [])]
    rows = (
        [key, cause, *([one.algorithm.lower()] if named else [])]
        for one in assigned
        for key, cause in zip(one.ids, one.causes, strict=True)
    )
    return _csv(header, rows)


def summary_csv(fitted: CalibratedFractions) -> str:
    """`calibration_summary.csv` of one fit: most frequent causes first, bounds blank where they are not sound."""
    low, high = fitted.bounds
    problem = fitted.interval_problem
    header = [
        "cause",
        "uncalibrated",
        "calibrated_mean",
        "calibrated_lower",
        "calibrated_upper",
        "lambda_calibpath",
    ]
    order = np.argsort(-fitted.mean, kind="stable")
    path_lambda = "" if fitted.path_lambda is None else _rounded(fitted.path_lambda)
    rows = [
        [
            fitted.causes[at],
            _rounded(fitted.uncalibrated[at]),
            _rounded(fitted.mean[at]),
            *(["", ""] if problem else [_rounded(low[at]), _rounded(high[at])]),
            path_lambda,
            *([problem] if problem else []),
        ]
        for at in order
    ]
    return _csv([*header, *(["ci_omitted_reason"] if problem else [])], rows)


def matrix_csv(fitted: CalibratedFractions) -> str:
    """`misclass_matrix.csv` of one algorithm: the mean matrix as modelled, calibrated causes alone."""
    document = matrix_document(fitted)
    return _csv(
        ["CHAMPS_Cause", *document["va_causes"]],
        ([cause, *row] for cause, row in zip(document["champs_causes"], document["matrix"], strict=True)),
    )


# -- the result --------------------------------------------------------------------------------------------------------


def assignment_result(assigned: Sequence[AssignedCauses], files: Mapping[str, str]) -> dict[str, Any]:
    """The result of a job that only assigns causes."""
    first = assigned[0]
    result: dict[str, Any] = {
        "n_records": len(first.ids),
        "algorithm": _names(assigned),
        "cause_counts": cause_counts(first.causes),
        "csmf": _fractions(first.csmf),
        "files": dict(files),
    }
    if len(assigned) > 1:
        result["per_algorithm"] = {
            one.algorithm.lower(): {"cause_counts": cause_counts(one.causes), "csmf": _fractions(one.csmf)}
            for one in assigned
        }
    return result


def calibration_result(
    fitted: Mapping[str, CalibratedFractions],
    *,
    age_group: str,
    country: str,
    files: Mapping[str, str],
    assigned: Sequence[AssignedCauses] = (),
) -> dict[str, Any]:
    """The result of a job that calibrates; with `assigned`, of one that assigned the causes first.

    Bounds are left out where `ci_unreliable` says that they are not sound.
    """
    primary = fitted[primary_label(fitted)]
    labels = [label for label in fitted if label != ENSEMBLE]
    result: dict[str, Any] = {
        "algorithm": labels[0] if len(labels) == 1 else labels,
        "age_group": age_group,
        "country": country,
        "ensemble": ENSEMBLE in fitted,
        **_fit_document(primary),
        "cause_display_names": {cause: DISPLAY_NAMES[cause] for cause in BROAD_CAUSES[age_group]},
        "cause_order": [primary.causes[at] for at in np.argsort(-primary.mean, kind="stable")],
        "misclassification_matrix": {label: matrix_document(fitted[label]) for label in labels},
        "diagnostics": {
            label: {
                "r_hat": round(one.convergence.r_hat, DECIMALS),
                "effective_sample_size": round(one.convergence.sample_size),
            }
            for label, one in fitted.items()
        },
        "files": dict(files),
    }
    if len(fitted) > 1:
        result["per_algorithm"] = {label: _fit_document(one) for label, one in fitted.items()}
    if assigned:
        result["n_records"] = len(assigned[0].ids)
        result["openva_csmf"] = {one.algorithm.lower(): _fractions(one.csmf) for one in assigned}
        result["cause_counts"] = cause_counts(assigned[0].causes)
    return result


def matrix_document(fitted: CalibratedFractions) -> dict[str, Any]:
    """The mean matrix as modelled, of the causes that the algorithm's calibration moves, rows summing to one.

    It is the mean of a prior that path correction may have drawn to the identity, not the algorithm's sensitivity.
    """
    assert fitted.prior_matrix is not None  # noqa: S101 - algorithms have one, only the ensemble has none
    kept = np.flatnonzero(fitted.calibrated)
    block = fitted.prior_matrix[np.ix_(kept, kept)]
    block = block / block.sum(axis=1, keepdims=True) if len(kept) else block
    names = [fitted.causes[at] for at in kept]
    return {
        "matrix": [[_rounded(value) for value in row] for row in block],
        "champs_causes": names,
        "va_causes": names,
        "not_calibrated": [c for c, moved in zip(fitted.causes, fitted.calibrated, strict=True) if not moved],
    }


def _fit_document(fitted: CalibratedFractions) -> dict[str, Any]:
    low, high = fitted.bounds
    document: dict[str, Any] = {
        "uncalibrated_csmf": _by_cause(fitted, fitted.uncalibrated),
        "calibrated_csmf": _by_cause(fitted, fitted.mean),
    }
    if not fitted.ci_unreliable:
        document["calibrated_ci_lower"] = _by_cause(fitted, low)
        document["calibrated_ci_upper"] = _by_cause(fitted, high)
    document["path_correction_stalled"] = fitted.path_correction_stalled
    document["ci_unreliable"] = fitted.ci_unreliable
    if fitted.interval_problem:
        document["ci_omitted_reason"] = fitted.interval_problem
    if fitted.path_lambda is not None:
        document["lambda_calibpath"] = _rounded(fitted.path_lambda)
    if fitted.label == ENSEMBLE and fitted.stalled:
        document["stalled_constituents"] = list(fitted.stalled)
    return document


def _names(assigned: Sequence[AssignedCauses]) -> str | list[str]:
    names = [one.algorithm.lower() for one in assigned]
    return names[0] if len(names) == 1 else names


def _by_cause(fitted: CalibratedFractions, values: np.ndarray) -> dict[str, float]:
    return {cause: _rounded(value) for cause, value in zip(fitted.causes, values, strict=True)}


def _fractions(csmf: Mapping[str, float]) -> dict[str, float]:
    """Fractions above zero, largest first."""
    ordered = sorted(csmf.items(), key=lambda item: -item[1])
    return {cause: _rounded(value) for cause, value in ordered if _rounded(value) > 0}


def _rounded(value: float) -> float:
    return round(float(value), DECIMALS)


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
