"""The calibration of a batch: from assigned causes to calibrated fractions, and all that is kept of them."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from genomics_assets.verbal_autopsy.agreement import agreements
from genomics_assets.verbal_autopsy.assignment import Assignment
from genomics_assets.verbal_autopsy.batch_settings import BatchSettings
from genomics_assets.verbal_autopsy.broad_causes import BROAD_CAUSES, mapping_report
from genomics_assets.verbal_autopsy.calibration import (
    ENSEMBLE,
    CalibratedFractions,
    Progress,
    calibrate,
)
from genomics_assets.verbal_autopsy.csmf import fractions, whole_deaths
from genomics_assets.verbal_autopsy.misclassification import (
    AS_DIRICHLET,
    MEAN,
    MisclassificationMatrices,
)
from genomics_assets.verbal_autopsy.result_documents import (
    calibration_result,
    causes_csv,
    matrix_csv,
    primary_label,
    summary_csv,
)

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class CalibratedBatch:
    """The fits of a batch, with what they were made from."""

    assignment: Assignment = field(repr=False)
    settings: BatchSettings
    fitted: dict[str, CalibratedFractions] = field(repr=False)

    @property
    def primary(self) -> CalibratedFractions:
        """The fit that the batch is known by: the ensemble, else the first algorithm."""
        return self.fitted[primary_label(self.fitted)]

    def files(self) -> dict[str, tuple[str, bytes]]:
        """Name and bytes of each file, by its key in the result."""
        labels = [label for label in self.fitted if label != ENSEMBLE]
        files = {"summary": ("calibration_summary.csv", summary_csv(self.primary).encode())}
        if self.settings.assigns:
            text = causes_csv(self.assignment.assigned, always_name_algorithm=True)
            files["causes"] = ("causes.csv", text.encode())
        for label in labels:
            name = "misclass_matrix.csv" if len(labels) == 1 else f"misclass_matrix_{label}.csv"
            files[f"misclass_{label}"] = (name, matrix_csv(self.fitted[label]).encode())
        files["draws"] = ("posterior_draws.parquet", _parquet(self.draws_table()))
        return files

    def result(self) -> dict[str, Any]:
        """The result JSON of the job."""
        return {
            **calibration_result(
                self.fitted,
                age_group=self.settings.age_group,
                country=self.settings.country,
                files={key: name for key, (name, _) in self.files().items()},
                assigned=self.assignment.assigned if self.settings.assigns else (),
            ),
            "reference": self.assignment.reference,
        }

    def to_table(self) -> pa.Table:
        """One row for each fit and cause."""
        return _table(self.fitted.values())

    def draws_table(self) -> pa.Table:
        """The posterior draws: a row for each fit, chain and draw, a column for each cause."""
        import pyarrow as pa

        parts = []
        for label, fit in self.fitted.items():
            chains, draws, causes = fit.draws.shape
            flat = fit.draws.reshape(-1, causes)
            columns: dict[str, Any] = {
                "label": pa.array([label] * len(flat)).dictionary_encode().cast(pa.string()),
                "chain": np.repeat(np.arange(chains, dtype=np.int32), draws),
                "draw": np.tile(np.arange(draws, dtype=np.int32), chains),
                **{cause: flat[:, at] for at, cause in enumerate(fit.causes)},
            }
            parts.append(pa.table(columns))
        return pa.concat_tables(parts)


def calibrate_batch(
    assignment: Assignment,
    settings: BatchSettings,
    matrices: MisclassificationMatrices,
    *,
    progress: Progress = lambda label, share: None,
) -> CalibratedBatch:
    """Calibrate the fractions of a batch.

    Raises:
        InputError: causes that have no broad cause, nothing but unspecified deaths, or no matrix for the country.
    """
    counts = {name: broad.counts for name, broad in assignment.broad(settings.age_group).items()}
    kind = AS_DIRICHLET if settings.model == "Mmatprior" else MEAN
    chosen = {name: matrices.matrix(settings.age_group, name, settings.country, kind) for name in counts}
    causes = BROAD_CAUSES[settings.age_group]
    fitted = calibrate(
        counts, chosen, causes, settings.calibration, ensemble=settings.ensemble, progress=progress
    )
    reference = {
        **assignment.reference,
        "misclassification": {"version": matrices.version, "sha256": matrices.sha256},
    }
    return CalibratedBatch(replace(assignment, reference=reference), settings, fitted)


def check_matrices(settings: BatchSettings, matrices: MisclassificationMatrices) -> None:
    """Make sure, before any work, that there is a matrix for each algorithm of a batch.

    Raises:
        InputError: the country or one of the matrices is not there.
    """
    for algorithm in settings.algorithms:
        matrices.matrix(settings.age_group, algorithm, settings.country, AS_DIRICHLET)


def sensitivity_table(
    assignment: Assignment,
    settings: BatchSettings,
    matrices: MisclassificationMatrices,
    countries: Iterable[str],
    *,
    progress: Progress = lambda label, share: None,
) -> pa.Table:
    """The calibration of a batch under the matrices of several countries, one row for each country, fit and cause."""
    import pyarrow as pa

    parts = []
    for country in countries:
        batch = calibrate_batch(assignment, settings.in_country(country), matrices, progress=progress)
        table = batch.to_table()
        parts.append(table.add_column(0, "country", pa.array([country] * len(table))))
    return pa.concat_tables(parts)


def fractions_table(assignment: Assignment, settings: BatchSettings) -> pa.Table:
    """Fractions before calibration: for each algorithm by specific cause, and by broad cause where these are calibrated."""
    rows = [
        {"algorithm": one.algorithm, "level": "specific", "cause": cause, "deaths": None, "fraction": share}
        for one in assignment.assigned
        for cause, share in sorted(one.csmf.items(), key=lambda item: -item[1])
        if share > 0
    ]
    if settings.calibrates:
        for name, broad in assignment.broad(settings.age_group).items():
            rows += [
                {"algorithm": name, "level": "broad", "cause": cause, "deaths": count, "fraction": share}
                for cause, count, share in zip(
                    broad.causes, broad.counts.tolist(), fractions(broad.counts).tolist(), strict=True
                )
            ]
    import pyarrow as pa

    types = {"algorithm": pa.string(), "level": pa.string(), "cause": pa.string()}
    types |= {"deaths": pa.int64(), "fraction": pa.float64()}
    return pa.Table.from_pylist(rows, schema=pa.schema(types))


def mapping_rows(assignment: Assignment, age_group: str) -> list[dict[str, Any]]:
    """How many deaths of each cause count as which broad cause, for each algorithm, most first."""
    return [
        {"algorithm": one.algorithm, "cause": cause, "deaths": deaths, "broad cause": broad}
        for one in assignment.assigned
        for cause, deaths, broad in mapping_report(one.causes, age_group)
    ]


def agreement_table(assignment: Assignment, age_group: str) -> pa.Table:
    """For each pair of algorithms how many deaths both gave a broad cause, how often the same, and Cohen's kappa."""
    import pyarrow as pa

    broad = assignment.broad(age_group)
    ids = {one.algorithm.lower(): one.ids for one in assignment.assigned}
    found = agreements(
        BROAD_CAUSES[age_group], {name: (ids[name], one.of_death) for name, one in broad.items()}
    )
    rows = [
        {"first": a.first, "second": a.second, "deaths": a.deaths, "same": a.share, "kappa": a.kappa}
        for a in found
    ]
    types = {"first": pa.string(), "second": pa.string(), "deaths": pa.int64()}
    types |= {"same": pa.float64(), "kappa": pa.float64()}
    return pa.Table.from_pylist(rows, schema=pa.schema(types))


def _table(fits: Iterable[CalibratedFractions]) -> pa.Table:
    import pyarrow as pa

    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    for fit in fits:
        low, high = fit.bounds
        size = len(fit.causes)
        blank = [None] * size
        columns["label"] += [fit.label] * size
        columns["cause"] += fit.causes
        columns["deaths"] += fit.counts.tolist()
        columns["uncalibrated"] += fit.uncalibrated.tolist()
        columns["calibrated_mean"] += fit.mean.tolist()
        columns["calibrated_lower"] += blank if fit.ci_unreliable else low.tolist()
        columns["calibrated_upper"] += blank if fit.ci_unreliable else high.tolist()
        columns["calibrated_deaths"] += whole_deaths(fit.mean, int(fit.counts.sum())).tolist()
        columns["is_calibrated"] += fit.calibrated.tolist()
        columns["lambda_calibpath"] += [fit.path_lambda] * size
        columns["r_hat"] += [fit.convergence.r_hat] * size
        columns["effective_sample_size"] += [fit.convergence.sample_size] * size
        columns["path_correction_stalled"] += [fit.path_correction_stalled] * size
        columns["ci_omitted_reason"] += [fit.interval_problem] * size
    types = {"s": pa.string(), "i": pa.int64(), "f": pa.float64(), "b": pa.bool_()}
    return pa.table({name: pa.array(columns[name], types[kind]) for name, kind in _COLUMNS.items()})


_COLUMNS = {
    "label": "s", "cause": "s", "deaths": "i", "uncalibrated": "f", "calibrated_mean": "f", "calibrated_lower": "f",
    "calibrated_upper": "f", "calibrated_deaths": "i", "is_calibrated": "b", "lambda_calibpath": "f", "r_hat": "f",
    "effective_sample_size": "f", "path_correction_stalled": "b", "ci_omitted_reason": "s",
}  # fmt: skip


def _parquet(table: pa.Table) -> bytes:
    import pyarrow.parquet as pq

    target = io.BytesIO()
    pq.write_table(table, target, compression="zstd")
    return target.getvalue()
