"""Fits dose-response models to every probe of an experiment: maximum likelihood, BMD, exact BMDL and BMDU.

All probes of an experiment share their doses, so what depends on doses alone is computed once, and each probe is
reduced to its group means and its sum of squares within groups, which are sufficient for normal responses of constant
variance. The method is in `fit_kernels`.

A probe that cannot be fitted is flagged and never an error; a file that cannot be fitted is an `InputError`.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field, fields, replace
from enum import IntFlag
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genomics_assets.blocks import BlockMap, in_threads
from genomics_assets.bmd.design import LOG_BASES, Design, LogTransformation
from genomics_assets.bmd.models import MODEL_NAMES, MODELS, MOST_PARAMETERS, ModelName
from genomics_assets.input_error import InputError

if TYPE_CHECKING:
    import pyarrow as pa

    from genomics_assets.bmd.fit_kernels import Plan

Compat = Literal["bmds", "bmdexpress3"]
Progress = Callable[[float], None]
# Group means, sums of squares within groups, directions, and whether to fit: each (P, …).
_Probes = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]
# What was found, flags, and numbers of parameters on a bound: each (P, M, …).
_Fits = tuple[NDArray[np.float64], NDArray[np.uint8], NDArray[np.int8]]

_PROBES_AT_ONCE = 200
_GRID = (24, 12)
_GRID_OF_ONE = 48
_LARGEST_POWER = 18.0
# A fit that leaves less than this share of the spread runs through every point: it has no variance left to judge by.
_EXACT = 1e-12


class ProbeFlag(IntFlag):
    """What is particular about a probe's responses."""

    CONSTANT = 1
    """All responses are equal: no model is fitted."""
    NOT_FINITE = 2
    """A response is NaN or infinite: no model is fitted."""
    ZERO_VARIANCE_GROUP = 4
    """A dose group with replicates has no spread, as at the floor of a platform: fitted all the same."""
    NO_REPLICATES = 8
    """No dose group has replicates: fitted, but the fit cannot be tested."""


class FitFlag(IntFlag):
    """What became of one model on one probe."""

    NOT_CONVERGED = 1
    """No stable maximum of the likelihood was found, or the curve runs exactly through every mean."""
    NO_BMD = 2
    """The curve never changes as much as the benchmark response asks."""
    NO_BMDL = 4
    """The likelihood sets no lower limit."""
    NO_BMDU = 8
    """The likelihood sets no upper limit: the data agree with no response at all."""
    PARAMETER_AT_BOUND = 16
    ABOVE_HIGHEST_DOSE = 32
    """The BMD lies beyond the tested doses."""
    BELOW_LOWEST_DOSE = 64
    """The BMD lies below the lowest tested dose that is not zero."""
    NOT_FITTED = 128
    """The probe cannot be fitted; see its `ProbeFlag`."""


@dataclass(frozen=True)
class BenchmarkResponse:
    """How large a change counts.

    Attributes:
        type: `sd`: the change of the mean in standard deviations. `relative`: the change as a share of the control's
            mean; on logarithms a factor of 1 + share, that is an absolute change of log(1 + share).
        factor: how many standard deviations, or which share.
    """

    type: Literal["sd", "relative"] = "sd"
    factor: float = 1.349

    def __post_init__(self) -> None:
        if not (math.isfinite(self.factor) and self.factor > 0):
            raise InputError(
                f"bmr.factor is {self.factor:g}", remedy="write a number above 0, such as 1.349 with type sd"
            )


ETAP_MODELS: tuple[ModelName, ...] = ("hill", "power", "linear", "poly2", "exp3", "exp5")


@dataclass(frozen=True)
class FitSettings:
    """What is fitted, and how.

    Attributes:
        models: names from `MODEL_NAMES`.
        bmr: the benchmark response.
        compat: `bmds`: direction by the shift of the treated groups, parameters on a bound not counted. `bmdexpress3`:
            direction by the slope, Exp3 counts its unused parameter, Poly3 and Poly4 count all, Exp5 may have d < 1.
        monotonic_poly2: whether b1 and b2 must have the sign of the direction.
        restart: whether each limit is checked against a global search; without it a few limits are those of a local
            optimum.
        confidence: one-sided, of BMDL and of BMDU.
    """

    models: tuple[ModelName, ...] = ETAP_MODELS
    bmr: BenchmarkResponse = BenchmarkResponse()
    compat: Compat = "bmds"
    monotonic_poly2: bool = False
    restart: bool = True
    confidence: float = 0.95

    def __post_init__(self) -> None:
        for name in self.models:
            if name not in MODEL_NAMES:
                raise InputError(f"unknown model {name!r}", remedy=f"the models are {', '.join(MODEL_NAMES)}")
        if not self.models or len(set(self.models)) < len(self.models):
            raise InputError("models are none or repeated", remedy="name each model once")
        if not 0.5 < self.confidence < 1:
            raise InputError(
                f"confidence is {self.confidence:g}", remedy="write a number between 0.5 and 1, such as 0.95"
            )

    @property
    def quantile(self) -> float:
        """Twice the log-likelihood that a limit gives away: of chi-squared with one degree of freedom."""
        from scipy.special import chdtri

        return float(chdtri(1, 2 * (1 - self.confidence)))


@dataclass(frozen=True, eq=False)
class ModelFits:
    """Fits of M models to P probes over J doses; NaN where there is no number.

    Attributes:
        settings: what was fitted.
        log_transformation: what had been done to the responses.
        doses: (J,) float64.
        group_sizes: (J,) int64.
        group_means: (P, J) float64.
        within: (P, J) float64, sum of squares within each group.
        probe_flags: (P,) uint8 of `ProbeFlag`.
        direction: (P,) int8, +1 or -1.
        flags: (P, M) uint8 of `FitFlag`.
        bounded: (P, M) int8, parameters on a bound.
        bmd, bmdl, bmdu: (P, M) float64, in the unit of the doses.
        log_likelihood: (P, M) float64, with its constant.
        sigma: (P, M) float64.
        parameters: (P, M, 5) float64, see `Model.parameters`; doses in their own unit.
        stated_p_value: (P, M) of the fits, where an engine states them itself.
    """

    settings: FitSettings
    log_transformation: LogTransformation
    doses: NDArray[np.float64]
    group_sizes: NDArray[np.int64]
    group_means: NDArray[np.float64]
    within: NDArray[np.float64]
    probe_flags: NDArray[np.uint8]
    direction: NDArray[np.int8]
    flags: NDArray[np.uint8]
    bounded: NDArray[np.int8]
    bmd: NDArray[np.float64]
    bmdl: NDArray[np.float64]
    bmdu: NDArray[np.float64]
    log_likelihood: NDArray[np.float64]
    sigma: NDArray[np.float64]
    parameters: NDArray[np.float64] = field(repr=False)
    stated_p_value: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.bmd)

    @property
    def models(self) -> tuple[ModelName, ...]:
        """The models, in the order of the second axis."""
        return self.settings.models

    @property
    def samples(self) -> int:
        """N."""
        return int(self.group_sizes.sum())

    def parameters_counted(self, compat: Compat | None = None) -> NDArray[np.int8]:
        """(P, M): how many parameters AIC and the test of fit count, sigma included."""
        free = np.array([MODELS[name].free for name in self.models])
        if (compat or self.settings.compat) == "bmds":
            return np.asarray(free - self.bounded, np.int8)
        polynomials = np.isin(self.models, ("poly3", "poly4"))
        extra = np.isin(self.models, ("exp2", "exp3"))
        return np.asarray(np.where(polynomials, free, free + extra - self.bounded), np.int8)

    def aic(self, compat: Compat | None = None) -> NDArray[np.float64]:
        """(P, M): Akaike's information criterion."""
        return 2.0 * self.parameters_counted(compat) - 2.0 * self.log_likelihood

    def fit_p_value(self, compat: Compat | None = None) -> NDArray[np.float64]:
        """(P, M): likelihood ratio test of the model against a mean of its own for each dose (BMDS, test 4)."""
        from scipy.special import chdtrc

        if self.stated_p_value is not None:
            return self.stated_p_value
        degrees = self.doses.size + 1 - self.parameters_counted(compat)
        within = self.within.sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            full = -0.5 * self.samples * (np.log(2 * np.pi * within / self.samples) + 1)
            p = chdtrc(np.maximum(degrees, 1), np.maximum(2 * (full[:, None] - self.log_likelihood), 0))
        return np.where((degrees > 0) & (within > 0)[:, None], p, np.nan)

    def take(self, rows: NDArray[Any]) -> ModelFits:
        """The fits of some probes: indices or a mask."""
        whole = {f.name: getattr(self, f.name) for f in fields(self)}
        taken = {name: whole[name][rows] for name in _BY_PROBE if whole[name] is not None}
        return replace(self, **taken)

    def table(self, probe_ids: Sequence[str]) -> pa.Table:
        """One row for each probe and model, probes in order; settings and doses are in the schema's metadata.

        Everything is in it: `from_table` gives the fits back, from Parquet too.
        """
        import pyarrow as pa

        probes, models = self.bmd.shape
        ids = pa.array(probe_ids, pa.string())
        columns: dict[str, Any] = {
            "probe_id": ids.take(pa.array(np.repeat(np.arange(probes), models))),
            "model": pa.DictionaryArray.from_arrays(
                np.tile(np.arange(models, dtype=np.int8), probes), pa.array(self.models, pa.string())
            ),
        }
        for name in ("probe_flags", "direction"):
            columns[name] = np.repeat(getattr(self, name), models)
        for name in ("flags", "bounded"):
            columns[name] = getattr(self, name).ravel()
        for name in ("bmd", "bmdl", "bmdu", "log_likelihood", "sigma"):
            columns[name] = pa.array(getattr(self, name).ravel(), from_pandas=True)
        columns["aic"] = pa.array(self.aic().ravel(), from_pandas=True)
        columns["fit_p_value"] = pa.array(self.fit_p_value().ravel(), from_pandas=True)
        columns["parameters"] = pa.FixedSizeListArray.from_arrays(
            pa.array(self.parameters.ravel(), from_pandas=True), MOST_PARAMETERS
        )
        for name in ("group_means", "within"):
            repeated = np.repeat(getattr(self, name), models, axis=0)
            columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(repeated.ravel()), self.doses.size)
        about = {
            "settings": asdict(self.settings),
            "log_transformation": self.log_transformation,
            "doses": self.doses.tolist(),
            "group_sizes": self.group_sizes.tolist(),
            "p_values_are_stated": self.stated_p_value is not None,
        }
        table = pa.table(columns)
        return table.replace_schema_metadata({"bmd_fits": json.dumps(about, sort_keys=True)})

    @classmethod
    def from_table(cls, table: pa.Table) -> tuple[list[str], ModelFits]:
        """Probe ids and fits from what `table` made.

        Raises:
            ValueError: the table has no fits in it.
        """
        about = (table.schema.metadata or {}).get(b"bmd_fits")
        if about is None:
            raise ValueError("the table was not written by ModelFits.table")
        said = json.loads(about)
        stated = said["settings"]
        settings = FitSettings(
            **stated | {"models": tuple(stated["models"]), "bmr": BenchmarkResponse(**stated["bmr"])}
        )
        models = len(settings.models)

        def numbers(name: str, dtype: type, *shape: int) -> NDArray[Any]:
            column = table[name].combine_chunks()
            flat = column.flatten() if shape else column
            return np.asarray(flat.to_numpy(zero_copy_only=False).astype(dtype).reshape(-1, models, *shape))

        doses = np.array(said["doses"])
        values: dict[str, Any] = {
            name: numbers(name, np.float64) for name in ("bmd", "bmdl", "bmdu", "log_likelihood", "sigma")
        }
        values |= {name: numbers(name, np.float64, doses.size)[:, 0] for name in ("group_means", "within")}
        fits = cls(
            settings=settings,
            log_transformation=said["log_transformation"],
            doses=doses,
            group_sizes=np.array(said["group_sizes"]),
            probe_flags=numbers("probe_flags", np.uint8)[:, 0],
            direction=numbers("direction", np.int8)[:, 0],
            flags=numbers("flags", np.uint8),
            bounded=numbers("bounded", np.int8),
            parameters=numbers("parameters", np.float64, MOST_PARAMETERS),
            stated_p_value=numbers("fit_p_value", np.float64) if said["p_values_are_stated"] else None,
            **values,
        )
        return table["probe_id"].to_pylist()[::models], fits


_BY_PROBE = (
    "group_means", "within", "probe_flags", "direction", "flags", "bounded", "bmd", "bmdl", "bmdu", "log_likelihood",
    "sigma", "parameters", "stated_p_value",
)  # fmt: skip


def fit_models(
    sample_doses: ArrayLike,
    responses: NDArray[np.floating],
    log_transformation: LogTransformation,
    settings: FitSettings,
    progress: Progress | None = None,
    threads: int | None = None,
    blocks: BlockMap = in_threads,
) -> ModelFits:
    """Fit every model to every probe.

    Args:
        sample_doses: (N,).
        responses: (P, N), as they are stored; never transformed.
        log_transformation: what was done to them; it decides what a relative benchmark response means.
        settings: models and benchmark response.
        progress: told the share that is done, in the calling thread.
        threads: how many share the probes; all cores by default. The result does not depend on it.
        blocks: where probes are fitted; the result does not depend on it either.

    Raises:
        InputError: fewer than three doses, a negative one.
    """
    design = Design.of(sample_doses)
    responses = np.asarray(responses)
    finite = np.isfinite(responses).all(axis=1)
    usable = np.where(finite[:, None], responses, 0)
    means, within = design.group_means(usable)
    probe_flags = probe_flags_of(design, usable, within, finite)
    fitted = (probe_flags & (ProbeFlag.CONSTANT | ProbeFlag.NOT_FINITE)) == 0
    direction = design.shift(means) if settings.compat == "bmds" else design.trend(means)
    found, flags, bounded = _fit_all(
        plan_of(design, log_transformation, settings),
        means,
        within.sum(axis=1),
        direction,
        fitted,
        progress,
        threads,
        blocks,
    )
    fits = _in_units_of_dose(found, design, settings, direction, means, log_transformation)
    total = (
        (means - (means @ design.group_sizes / design.group_sizes.sum())[:, None]) ** 2
    ) @ design.group_sizes
    exact = fits["sigma"] ** 2 * design.group_sizes.sum() <= _EXACT * (total + within.sum(axis=1))[:, None]
    for name in ("bmd", "bmdl", "bmdu", "log_likelihood"):
        fits[name][exact] = np.nan
    flags[exact] |= np.uint8(FitFlag.NOT_CONVERGED | FitFlag.NO_BMD | FitFlag.NO_BMDL | FitFlag.NO_BMDU)
    flags[~fitted] = FitFlag.NOT_FITTED
    flags[fits["bmd"] > design.doses[-1]] |= np.uint8(FitFlag.ABOVE_HIGHEST_DOSE)
    flags[fits["bmd"] < design.doses[design.doses > 0][0]] |= np.uint8(FitFlag.BELOW_LOWEST_DOSE)
    return ModelFits(
        settings=settings,
        log_transformation=log_transformation,
        doses=design.doses,
        group_sizes=design.group_sizes,
        group_means=np.where(finite[:, None], means, np.nan),
        within=np.where(finite[:, None], within, np.nan),
        probe_flags=probe_flags,
        direction=direction,
        flags=flags,
        bounded=bounded,
        **fits,
    )


def plan_of(design: Design, log_transformation: LogTransformation, settings: FitSettings) -> Plan:
    """What all probes share, see `fit_kernels.Plan`."""
    from genomics_assets.bmd import fit_kernels

    scaled = design.doses / design.doses[-1]
    log_dose = np.where(scaled > 0, np.log(np.where(scaled > 0, scaled, 1.0)), -1e300)
    sizes = design.group_sizes.astype(np.float64)
    kinds = np.array([_kind(name) for name in settings.models], np.int64)
    grids, bounds = zip(*(_grid(kind, scaled, settings) for kind in kinds.tolist()), strict=True)
    most = max(len(grid) for grid in grids)
    grid = np.zeros((len(kinds), most, 2))
    shape = np.zeros((len(kinds), 2, most, sizes.size))
    mean = np.zeros((len(kinds), 2, most))
    for model, (kind, points) in enumerate(zip(kinds.tolist(), grids, strict=True)):
        grid[model, : len(points)] = points
        for side, s in enumerate((-1.0, 1.0)):
            shapes = np.zeros((len(points), sizes.size))
            if len(points):
                fit_kernels.grid_shapes(kind, s, log_dose, points, shapes)
            if kind not in (fit_kernels.EXP2, fit_kernels.EXP3):
                mean[model, side, : len(points)] = shapes @ sizes / sizes.sum()
            shape[model, side, : len(points)] = shapes - mean[model, side, : len(points), None]
    basis, triangle, terms = _polynomial_tables(
        scaled, sizes, max(MODELS[name].degree for name in settings.models)
    )
    goal, change = _benchmark(settings.bmr, log_transformation)
    return fit_kernels.Plan(
        log_dose=log_dose,
        sizes=sizes,
        kinds=kinds,
        degrees=np.array([MODELS[name].degree for name in settings.models], np.int64),
        monotonic=np.array(
            [
                name in ("poly3", "poly4") or (name == "poly2" and settings.monotonic_poly2)
                for name in settings.models
            ]
        ),
        bounds=np.array(bounds),
        points=np.array([len(points) for points in grids], np.int64),
        columns=np.array([max(len(np.unique(points[:, 1])), 1) for points in grids], np.int64),
        grid=grid,
        grid_shape=shape * sizes,
        grid_square=(shape**2) @ sizes,
        grid_mean=mean,
        basis=basis,
        triangle=triangle,
        terms=terms,
        goals=np.array([fit_kernels.MAXIMUM, goal], np.int64),
        change=change,
        quantile=settings.quantile,
        restart=settings.restart,
    )


def _kind(name: ModelName) -> int:
    from genomics_assets.bmd import fit_kernels

    return fit_kernels.POLYNOMIAL if MODELS[name].degree else int(getattr(fit_kernels, name.upper()))


def _benchmark(bmr: BenchmarkResponse, log_transformation: LogTransformation) -> tuple[int, float]:
    from genomics_assets.bmd import fit_kernels

    if bmr.type == "sd":
        return fit_kernels.SD, bmr.factor
    if log_transformation == "NONE":
        return fit_kernels.RELATIVE, bmr.factor
    return fit_kernels.ABSOLUTE, math.log1p(bmr.factor) / math.log(LOG_BASES[log_transformation])


def _grid(
    kind: int, scaled: NDArray[np.float64], settings: FitSettings
) -> tuple[NDArray[np.float64], list[float]]:
    """Starting points (G, 2) of the curve's own parameters, and their bounds."""
    from genomics_assets.bmd import fit_kernels as kernels

    lowest = math.log(scaled[scaled > 0].min())
    steepest = math.log(_LARGEST_POWER)
    first, second = _GRID
    if kind == kernels.POLYNOMIAL:
        return np.zeros((0, 2)), [0.0] * 4
    if kind == kernels.POWER:
        return _points(np.linspace(0, steepest, _GRID_OF_ONE), np.zeros(1)), [0.0, steepest, 0.0, 0.0]
    if kind == kernels.HILL:
        place = np.linspace(lowest - math.log(20), math.log(5), first)
        return _points(place, np.linspace(0, steepest, second)), [math.log(1e-6), math.log(5), 0.0, steepest]
    if kind in (kernels.EXP2, kernels.EXP3):
        limits = [-20.0, math.log(12), 0.0, steepest if kind == kernels.EXP3 else 0.0]
        if kind == kernels.EXP2:
            return _points(np.linspace(-7, limits[1], _GRID_OF_ONE), np.zeros(1)), limits
        return _points(np.linspace(-7, limits[1], first), np.linspace(0, steepest, second)), limits
    highest = math.log(20) - lowest
    if kind == kernels.EXP4:
        return _points(np.linspace(-math.log(50), highest, _GRID_OF_ONE), np.zeros(1)), [
            -12.0,
            highest + 5,
            0.0,
            0.0,
        ]
    flattest = math.log(0.05) if settings.compat == "bmdexpress3" else 0.0
    place = np.linspace(-math.log(5), highest, first)
    return _points(place, np.linspace(flattest, steepest, second)), [-12.0, highest + 5, flattest, steepest]


def _points(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack(np.meshgrid(first, second, indexing="ij"), -1).reshape(-1, 2)


def _polynomial_tables(
    scaled: NDArray[np.float64], sizes: NDArray[np.float64], degree: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """For every set of powers: an orthonormal basis, the inverse of its triangle, and the power of each column.

    A set with more columns than doses stands for no polynomial; its columns beyond the doses are left out.
    """
    basis, triangle = np.zeros((16, 5, sizes.size)), np.zeros((16, 5, 5))
    terms = np.zeros((16, 5), np.int64)
    root = np.sqrt(sizes)
    for powers in range(1 << degree):
        used = [0, *(k + 1 for k in range(degree) if powers >> k & 1)][: sizes.size]
        q, r = np.linalg.qr(scaled[:, None] ** used * root[:, None])
        basis[powers, : len(used)] = (q / root[:, None]).T
        triangle[powers, : len(used), : len(used)] = np.linalg.inv(r)
        terms[powers, : len(used)] = used
    return basis, triangle, terms


def probe_flags_of(
    design: Design, responses: NDArray[np.floating], within: NDArray[np.float64], finite: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """(P,): `ProbeFlag` of each probe."""
    flags = np.zeros(len(responses), np.uint8)
    if not len(responses):
        return flags
    replicated = design.group_sizes > 1
    flags[(within[:, replicated] == 0).any(axis=1)] |= np.uint8(ProbeFlag.ZERO_VARIANCE_GROUP)
    if not replicated.any():
        flags |= np.uint8(ProbeFlag.NO_REPLICATES)
    flags[responses.max(axis=1) == responses.min(axis=1)] = ProbeFlag.CONSTANT
    flags[~finite] = ProbeFlag.NOT_FINITE
    return flags


def _fit_all(
    plan: Plan,
    means: NDArray[np.float64],
    within: NDArray[np.float64],
    direction: NDArray[np.int8],
    fitted: NDArray[np.bool_],
    progress: Progress | None,
    threads: int | None,
    blocks: BlockMap,
) -> tuple[NDArray[np.float64], NDArray[np.uint8], NDArray[np.int8]]:
    signs = direction.astype(np.float64)
    pieces = [slice(start, start + _PROBES_AT_ONCE) for start in range(0, len(means), _PROBES_AT_ONCE)]

    def read(part: slice) -> _Probes:
        return means[part], within[part], signs[part], fitted[part]

    fits = [_unfitted(plan, 0)]
    for fit in blocks(read, partial(_fit_piece, plan), pieces, threads or len(os.sched_getaffinity(0))):
        fits.append(fit)
        if progress is not None:
            progress((len(fits) - 1) / len(pieces))
    found, flags, bounded = zip(*fits, strict=True)
    return np.concatenate(found), np.concatenate(flags), np.concatenate(bounded)


def _fit_piece(plan: Plan, probes: _Probes) -> _Fits:
    """Fit some probes; called from several threads, perhaps of other machines."""
    from genomics_assets.bmd import fit_kernels

    fits = _unfitted(plan, len(probes[0]))
    fit_kernels.fit_probes(plan, *probes, *fits)
    return fits


def _unfitted(plan: Plan, probes: int) -> _Fits:
    from genomics_assets.bmd import fit_kernels

    shape = (probes, plan.kinds.size)
    found = np.full((*shape, fit_kernels.FOUND_COLUMNS), np.nan)
    return found, np.zeros(shape, np.uint8), np.zeros(shape, np.int8)


def run_in_threads(
    work: Callable[[slice], None], pieces: Sequence[slice], progress: Progress | None, threads: int | None
) -> None:
    """Do pieces of work that release the interpreter's lock; the first error stops what has not begun."""
    count = threads or len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(count) as pool:
        waiting = {pool.submit(work, piece) for piece in pieces}
        try:
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                if progress is not None:
                    progress(1 - len(waiting) / len(pieces))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _in_units_of_dose(
    found: NDArray[np.float64],
    design: Design,
    settings: FitSettings,
    direction: NDArray[np.int8],
    means: NDArray[np.float64],
    log_transformation: LogTransformation,
) -> dict[str, Any]:
    """What the kernels found, with doses in their own unit and parameters by the names of `models`."""
    from genomics_assets.bmd import fit_kernels as kernels

    highest = design.doses[-1]
    raw = found[:, :, kernels.PARAMETERS :]
    parameters = np.full((*found.shape[:2], MOST_PARAMETERS), np.nan)
    overall = means @ design.group_sizes
    sign = np.where(overall >= 0, direction, -direction)
    for model, name in enumerate(settings.models):
        into = parameters[:, model]
        control, v, t1, t2 = (raw[:, model, i] for i in range(4))
        degree = MODELS[name].degree
        if degree:
            into[:, : degree + 1] = raw[:, model, : degree + 1] / highest ** np.arange(degree + 1)
        elif name == "hill":
            into[:, :4] = np.stack([control, v, np.exp(t1) * highest, np.exp(t2)], axis=1)
        elif name == "power":
            into[:, :3] = np.stack([control, v / highest ** np.exp(t1), np.exp(t1)], axis=1)
        elif name in ("exp2", "exp3"):
            d = np.exp(t2)
            columns = (
                [v, np.exp(t1 / d) / highest, d, sign] if name == "exp3" else [v, np.exp(t1) / highest, sign]
            )
            into[:, : len(columns)] = np.stack(columns, axis=1)
        else:
            with np.errstate(divide="ignore", invalid="ignore"):
                columns = [control, np.exp(t1) / highest, 1 + v / control, np.exp(t2)]
            into[:, : len(MODELS[name].parameters)] = np.stack(columns, axis=1)[
                :, : len(MODELS[name].parameters)
            ]
    return {
        "bmd": found[:, :, kernels.BMD] * highest,
        "bmdl": found[:, :, kernels.BMDL] * highest,
        "bmdu": found[:, :, kernels.BMDU] * highest,
        "log_likelihood": found[:, :, kernels.LOG_LIKELIHOOD].copy(),
        "sigma": found[:, :, kernels.SIGMA].copy(),
        "parameters": parameters,
    }
