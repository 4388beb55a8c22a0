"""Which probes respond at all: tests, their correction, fold change, and the lowest dose that does something.

The order is that of BMDExpress-3 (`PrefilterService`): test every probe; correct over all of them; drop by p-value; drop
control probes; drop by fold change; find NOTEL and LOTEL, the highest dose without and the lowest dose with an effect.

- `anova`: one-way analysis of variance over the dose groups with replicates.
- `williams`: two-sided trend test of Williams (1971), with permutations shared by all probes in place of its tables.
- `oriogen`: order-restricted inference after Peddada et al. (2003): the best of the monotone and the one-turn profiles,
  with a bootstrap p-value. BMDExpress-3's own implementation is closed; this one agrees in purpose, not in every digit.
- `curve_fit`: the models of `fitting` are fitted, and a probe stays when one converges with a BMD up to the highest dose.
  Its p-value is that of the fit; it tells how good the curve is and drops nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genomics_assets.bmd.best_model import SelectionSettings, select_best_models
from genomics_assets.bmd.design import LOG_BASES, Design, LogTransformation
from genomics_assets.bmd.fitting import BenchmarkResponse, FitSettings, Progress, fit_models, run_in_threads
from genomics_assets.bmd.models import ModelName
from genomics_assets.input_error import InputError

if TYPE_CHECKING:
    import pyarrow as pa

Method = Literal["anova", "williams", "oriogen", "curve_fit"]

PREFILTER_TYPES: dict[str, str] = {
    "anova": "ONE_WAY_ANOVA", "williams": "WILLIAMS", "oriogen": "ORIOGEN", "curve_fit": "CURVE_FIT",
}  # fmt: skip
CONTROL_PREFIX = "AFFX"
# A cutoff from here on means that the p-value decides nothing, as in BMDExpress-3.
_NO_CUTOFF = 9999
_DUNNETT_DRAWS = 15_000
_PROBES_AT_ONCE = 250


class PrefilterOutcome(IntEnum):
    """What became of a probe: kept, or the first reason to drop it."""

    KEPT = 0
    NOT_IN_UPSTREAM = 1
    """An earlier prefilter of the chain dropped it."""
    NOT_TESTABLE = 2
    """The test has no p-value: the probe is constant, not finite, or without replicates."""
    P_VALUE = 3
    CONTROL_PROBE = 4
    FOLD_CHANGE = 5
    NO_CURVE = 6
    """No model converged with a BMD up to the highest dose."""


@dataclass(frozen=True)
class PrefilterSettings:
    """How probes are filtered; the defaults are BMDExpress-3's.

    Attributes:
        method: the test.
        p_value_cutoff: probes at or above it are dropped; 9999 keeps all. Not of the curve fit.
        use_multiple_testing_correction: whether the cutoff is held against the corrected p-value.
        filter_out_control_genes: whether probes named AFFX... are dropped.
        fold_change: the least largest fold change, in size; None for no such filter.
        fold_change_lotel, p_value_lotel, lotel_test: a dose has an effect when its fold change is above the first and
            its p-value against the control below the second. `welch`: t test of unequal variances.
        permutations: of the Williams test.
        initial_bootstraps, max_bootstraps, s0_adjustment: of ORIOGEN; s0 is that percentile of the standard errors.
        models, bmr: of the curve fit.
        seed: of everything that is drawn.
    """

    method: Method = "anova"
    p_value_cutoff: float = 0.05
    use_multiple_testing_correction: bool = False
    filter_out_control_genes: bool = True
    fold_change: float | None = 2.0
    fold_change_lotel: float = 1.5
    p_value_lotel: float = 0.05
    lotel_test: Literal["dunnett", "welch"] = "dunnett"
    permutations: int = 10_000
    initial_bootstraps: int = 500
    max_bootstraps: int = 1000
    s0_adjustment: float = 5.0
    models: tuple[ModelName, ...] = ("hill", "power", "linear", "exp3", "exp5")
    bmr: BenchmarkResponse = field(default_factory=lambda: BenchmarkResponse("sd", 1.021))
    seed: int = 23524

    def __post_init__(self) -> None:
        if not self.p_value_cutoff > 0:
            raise InputError(f"p_value_cutoff is {self.p_value_cutoff:g}", remedy="write a number above 0")
        if (
            self.permutations < 1
            or self.initial_bootstraps < 1
            or self.max_bootstraps < self.initial_bootstraps
        ):
            raise InputError(
                "permutations or bootstraps are too few", remedy="ask for at least 1, and max >= initial"
            )


@dataclass(frozen=True, eq=False)
class PrefilterResults:
    """What the prefilter found of P probes over J doses; NaN where there is no number.

    Attributes:
        settings: how it was done.
        doses: (J,) float64.
        outcome: (P,) int8 of `PrefilterOutcome`.
        p_value, adjusted_p_value: (P,) float64, the latter after Benjamini and Hochberg.
        f_value: (P,) float64, the test's statistic.
        df1, df2: degrees of freedom of the F test, else None.
        fold_changes: (P, J-1) float32 against the lowest dose, at least 1 in size, negative where lower.
        best_fold_change: (P,) float32, the largest in size.
        notel_lotel_p_values: (P, J-1) float64.
        notel_dose, lotel_dose: (P,) float64.
        profile: (P,) of ORIOGEN, else None.
        best_model, bmd, bmdl: (P,) of the curve fit, else None.
    """

    settings: PrefilterSettings
    doses: NDArray[np.float64]
    outcome: NDArray[np.int8]
    p_value: NDArray[np.float64]
    adjusted_p_value: NDArray[np.float64]
    f_value: NDArray[np.float64]
    df1: int | None
    df2: int | None
    fold_changes: NDArray[np.float32]
    best_fold_change: NDArray[np.float32]
    notel_lotel_p_values: NDArray[np.float64]
    notel_dose: NDArray[np.float64]
    lotel_dose: NDArray[np.float64]
    profile: list[str | None] | None = None
    best_model: list[str | None] | None = None
    bmd: NDArray[np.float64] | None = None
    bmdl: NDArray[np.float64] | None = None

    @property
    def kept(self) -> NDArray[np.bool_]:
        """(P,): which probes go on."""
        return np.asarray(self.outcome == PrefilterOutcome.KEPT)

    def take(self, rows: NDArray[Any]) -> PrefilterResults:
        """The results of some probes, by index or by mask; as they were corrected among all of them."""
        arrays: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name == "doses" or not isinstance(value, np.ndarray | list):
                continue
            arrays[f.name] = (
                value[rows] if isinstance(value, np.ndarray) else np.array(value, object)[rows].tolist()
            )
        return replace(self, **arrays)

    def table(self, probe_ids: Sequence[str]) -> pa.Table:
        """One row for each probe: the columns of `prefilter_result_details`, `kept` and `outcome`."""
        import pyarrow as pa

        probes = len(self.outcome)

        def numbers(values: NDArray[Any] | None, kind: pa.DataType) -> pa.Array:
            if values is None:
                return pa.nulls(probes, kind)
            return pa.array(np.where(np.isfinite(values), values, np.nan), kind, from_pandas=True)

        def lists(values: NDArray[Any], kind: pa.DataType) -> pa.Array:
            flat = numbers(values.ravel(), kind)
            offsets = np.arange(probes + 1, dtype=np.int32) * values.shape[1]
            return pa.ListArray.from_arrays(pa.array(offsets), flat)

        def whole(value: int | None) -> pa.Array:
            return pa.array(np.full(probes, value or 0), pa.int16(), mask=np.full(probes, value is None))

        names = {int(outcome): outcome.name.lower() for outcome in PrefilterOutcome}
        return pa.table(
            {
                "probe_id": pa.array(probe_ids, pa.string()),
                "p_value": numbers(self.p_value, pa.float64()),
                "adjusted_p_value": numbers(self.adjusted_p_value, pa.float64()),
                "f_value": numbers(self.f_value, pa.float64()),
                "df1": whole(self.df1),
                "df2": whole(self.df2),
                "best_fold_change": numbers(self.best_fold_change, pa.float32()),
                "fold_changes": lists(self.fold_changes, pa.float32()),
                "notel_lotel_p_values": lists(self.notel_lotel_p_values, pa.float32()),
                "notel_dose": numbers(self.notel_dose, pa.float32()),
                "lotel_dose": numbers(self.lotel_dose, pa.float32()),
                "profile": pa.array(self.profile or [None] * probes, pa.string()),
                "best_model": pa.array(self.best_model or [None] * probes, pa.string()),
                "bmd": numbers(self.bmd, pa.float64()),
                "bmdl": numbers(self.bmdl, pa.float64()),
                "kept": pa.array(self.kept),
                "outcome": pa.array([names[int(outcome)] for outcome in self.outcome], pa.string()),
            }
        )


@dataclass(frozen=True, eq=False)
class _Test:
    p_value: NDArray[np.float64]
    statistic: NDArray[np.float64]
    df1: int | None = None
    df2: int | None = None
    more: dict[str, Any] = field(default_factory=dict)


def prefilter(
    sample_doses: ArrayLike,
    responses: NDArray[np.floating],
    probe_ids: Sequence[str],
    log_transformation: LogTransformation,
    settings: PrefilterSettings | None = None,
    progress: Progress | None = None,
    threads: int | None = None,
    within: NDArray[np.bool_] | None = None,
) -> PrefilterResults:
    """Test and filter every probe.

    Args:
        sample_doses: (N,).
        responses: (P, N).
        probe_ids: P names.
        log_transformation: what was done to the responses; it decides what a fold change is.
        settings: how; the defaults are BMDExpress-3's.
        progress: told the share that is done, in the calling thread.
        threads: how many share the probes; all cores by default. The result does not depend on it.
        within: (P,) the probes that an earlier prefilter of a chain kept; only these are tested and corrected for.

    Raises:
        InputError: fewer than three doses, a negative one.
    """
    settings = settings or PrefilterSettings()
    design = Design.of(sample_doses)
    responses = np.asarray(responses)
    order = np.argsort(design.group_of_sample, kind="stable")
    responses = responses[:, order]
    design = Design(design.doses, design.group_of_sample[order], design.group_sizes)
    candidates = np.ones(len(responses), np.bool_) if within is None else within
    test = _run_test(design, responses, log_transformation, settings, progress, threads, candidates)
    adjusted = false_discovery_rate(test.p_value, int(candidates.sum()))
    fold_changes = fold_changes_of(design, responses, log_transformation)
    best = _largest(fold_changes)
    p_lotel = notel_lotel_p_values(design, responses, settings)
    notel, lotel = notel_lotel(design, fold_changes, p_lotel, settings)
    decisive = adjusted if settings.use_multiple_testing_correction else test.p_value
    outcome = np.full(len(responses), PrefilterOutcome.KEPT, np.int8)
    if settings.fold_change is not None:
        outcome[~(np.abs(best) >= settings.fold_change)] = PrefilterOutcome.FOLD_CHANGE
    if settings.filter_out_control_genes:
        outcome[[name.startswith(CONTROL_PREFIX) for name in probe_ids]] = PrefilterOutcome.CONTROL_PROBE
    if settings.method == "curve_fit":
        outcome[np.isnan(test.more["bmd"])] = PrefilterOutcome.NO_CURVE
    elif settings.p_value_cutoff < _NO_CUTOFF:
        outcome[decisive >= settings.p_value_cutoff] = PrefilterOutcome.P_VALUE
        outcome[np.isnan(decisive)] = PrefilterOutcome.NOT_TESTABLE
    outcome[~candidates] = PrefilterOutcome.NOT_IN_UPSTREAM
    return PrefilterResults(
        settings=settings,
        doses=design.doses,
        outcome=outcome,
        p_value=test.p_value,
        adjusted_p_value=adjusted,
        f_value=test.statistic,
        df1=test.df1,
        df2=test.df2,
        fold_changes=fold_changes,
        best_fold_change=best,
        notel_lotel_p_values=p_lotel,
        notel_dose=notel,
        lotel_dose=lotel,
        **test.more,
    )


def _run_test(
    design: Design,
    responses: NDArray[np.floating],
    log_transformation: LogTransformation,
    settings: PrefilterSettings,
    progress: Progress | None,
    threads: int | None,
    candidates: NDArray[np.bool_],
) -> _Test:
    chosen = np.flatnonzero(candidates)
    tested = responses[chosen]
    if settings.method == "anova":
        test = one_way_anova(design, tested)
    elif settings.method == "williams":
        test = _williams(design, tested, settings, progress, threads)
    elif settings.method == "oriogen":
        test = _oriogen(design, tested, settings, progress, threads)
    else:
        test = _curve_fit(design, tested, log_transformation, settings, progress, threads)
    return _Test(
        _spread(test.p_value, chosen, len(responses)),
        _spread(test.statistic, chosen, len(responses)),
        test.df1,
        test.df2,
        {name: _spread(values, chosen, len(responses)) for name, values in test.more.items()},
    )


def _spread(values: Any, rows: NDArray[np.intp], count: int) -> Any:
    """Values of some rows among all of them, NaN or None elsewhere."""
    if isinstance(values, list):
        whole: list[Any] = [None] * count
        for row, value in zip(rows.tolist(), values, strict=True):
            whole[row] = value
        return whole
    spread = np.full(count, np.nan)
    spread[rows] = values
    return spread


# -- tests -------------------------------------------------------------------------------------------------------------


def one_way_anova(design: Design, responses: NDArray[np.floating]) -> _Test:
    """F test over the dose groups with more than one sample; NaN for probes without spread in any group."""
    from scipy.special import fdtrc

    used = design.group_sizes > 1
    sizes = design.group_sizes[used]
    df1, df2 = int(used.sum()) - 1, int(sizes.sum() - used.sum())
    if df1 < 1:
        return _Test(np.full(len(responses), np.nan), np.full(len(responses), np.nan))
    means, squares = design.group_means(responses)
    means, inside = means[:, used], squares[:, used].sum(axis=1)
    grand = means @ sizes / sizes.sum()
    between = ((means - grand[:, None]) ** 2) @ sizes
    with np.errstate(divide="ignore", invalid="ignore"):
        f = (between / df1) / (inside / df2)
        p = fdtrc(df1, df2, f)
    return _Test(np.where(np.isfinite(f), p, np.nan), np.where(np.isfinite(f), f, np.nan), df1, df2)


def false_discovery_rate(p_values: NDArray[np.float64], tests: int | None = None) -> NDArray[np.float64]:
    """Benjamini and Hochberg's (1995) corrected p-values; NaN stays.

    Args:
        p_values: (P,).
        tests: how many there were; all of `p_values`, NaN too, by default. BMDExpress-3 counts constant probes as well.

    >>> false_discovery_rate(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.04, 0.04]
    """
    adjusted = np.full(p_values.shape, np.nan)
    order = np.argsort(p_values, kind="stable")[: int(np.isfinite(p_values).sum())]
    scaled = p_values[order] * (tests or p_values.size) / np.arange(1, order.size + 1)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1)
    return adjusted


def _williams(
    design: Design,
    responses: NDArray[np.floating],
    settings: PrefilterSettings,
    progress: Progress | None,
    threads: int | None,
) -> _Test:
    from genomics_assets.bmd import permutation_kernels

    statistics, p_values = np.full((2, len(responses)), np.nan)
    if design.group_of_sample.size <= design.doses.size:
        return _Test(p_values, statistics)
    draw = np.random.default_rng(settings.seed)
    samples = np.tile(np.arange(design.group_of_sample.size, dtype=np.int32), (settings.permutations, 1))
    orders = draw.permuted(samples, axis=1)
    sizes = design.group_sizes.astype(np.float64)

    def work(part: slice) -> None:
        permutation_kernels.williams_p(
            responses[part].astype(np.float64), orders, sizes, statistics[part], p_values[part]
        )

    run_in_threads(work, _pieces(len(responses)), progress, threads)
    return _Test(p_values, statistics)


def _oriogen(
    design: Design,
    responses: NDArray[np.floating],
    settings: PrefilterSettings,
    progress: Progress | None,
    threads: int | None,
) -> _Test:
    from genomics_assets.bmd import permutation_kernels

    count, groups = design.group_of_sample.size, design.doses.size
    p_values = np.full(len(responses), np.nan)
    means, squares = design.group_means(responses)
    spread = means.max(axis=1) - means.min(axis=1) + squares.sum(axis=1)
    statistics = np.where(np.isfinite(spread) & (spread > 0), 0.0, np.nan)
    profiles = np.zeros(len(responses), np.int64)
    if count <= groups or not np.isfinite(statistics).any():
        return _Test(p_values, np.full(len(responses), np.nan), more={"profile": [None] * len(responses)})
    errors = np.sqrt(squares.sum(axis=1) / (count - groups))
    fudge = float(np.percentile(errors[np.isfinite(statistics)], settings.s0_adjustment))
    orders = np.random.default_rng(settings.seed).integers(
        0, count, (settings.max_bootstraps, count), np.int32
    )
    sizes = design.group_sizes.astype(np.float64)

    def work(part: slice) -> None:
        permutation_kernels.oriogen_p(
            responses[part].astype(np.float64), orders, sizes, settings.initial_bootstraps, settings.max_bootstraps,
            fudge, profiles[part], statistics[part], p_values[part],
        )  # fmt: skip

    run_in_threads(work, _pieces(len(responses)), progress, threads)
    names = [
        profile_name(int(profile), groups) if np.isfinite(p) else None
        for profile, p in zip(profiles, p_values, strict=True)
    ]
    return _Test(p_values, statistics, more={"profile": names})


def profile_name(profile: int, groups: int) -> str:
    """The name of an order-restricted profile over so many dose groups.

    >>> profile_name(0, 5), profile_name(2, 5), profile_name(5, 5)
    ('increasing', 'up to dose 2, then down', 'down to dose 3, then up')
    """
    first, second = ("up", "down") if profile % 2 == 0 else ("down", "up")
    if profile < 2:
        return "increasing" if profile == 0 else "decreasing"
    return f"{first} to dose {profile // 2 + 1}, then {second}"


def _curve_fit(
    design: Design,
    responses: NDArray[np.floating],
    log_transformation: LogTransformation,
    settings: PrefilterSettings,
    progress: Progress | None,
    threads: int | None,
) -> _Test:
    """Best model by AIC among those that converged with a BMD up to the highest dose."""
    sample_doses = design.doses[design.group_of_sample]
    asked = FitSettings(models=settings.models, bmr=settings.bmr)
    fits = fit_models(sample_doses, responses, log_transformation, asked, progress, threads)
    inside = fits.bmd <= design.doses[-1]
    fits.bmd[~inside] = np.nan
    best = select_best_models(fits, SelectionSettings(flag_hill=False))
    names = [fits.models[i] if i >= 0 else None for i in best.model.tolist()]
    p = best.of_winner(fits.fit_p_value())
    return _Test(p, np.full(len(p), np.nan), more={"best_model": names, "bmd": best.bmd, "bmdl": best.bmdl})


def _pieces(count: int) -> list[slice]:
    return [slice(start, start + _PROBES_AT_ONCE) for start in range(0, count, _PROBES_AT_ONCE)]


# -- fold change, NOTEL and LOTEL ------------------------------------------------------------------------------------


def fold_changes_of(
    design: Design, responses: NDArray[np.floating], log_transformation: LogTransformation
) -> NDArray[np.float32]:
    """(P, J-1): each dose against the lowest, from means in float32; at least 1 in size, negative where lower."""
    means = design.group_means(responses)[0].astype(np.float32)
    control, treated = means[:, :1], means[:, 1:]
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        if log_transformation == "NONE":
            size = np.maximum(treated, control) / np.minimum(treated, control)
        else:
            size = np.float32(LOG_BASES[log_transformation]) ** np.abs(treated - control)
    return np.asarray(np.where(treated < control, -size, size), np.float32)


def _largest(fold_changes: NDArray[np.float32]) -> NDArray[np.float32]:
    at = np.nan_to_num(np.abs(fold_changes), nan=-1).argmax(axis=1)
    return np.asarray(np.take_along_axis(fold_changes, at[:, None], axis=1)[:, 0])


def notel_lotel_p_values(
    design: Design, responses: NDArray[np.floating], settings: PrefilterSettings
) -> NDArray[np.float64]:
    """(P, J-1): each dose against the lowest, two-sided; NaN where one of the two groups has one sample."""
    means, squares = design.group_means(responses)
    sizes = design.group_sizes.astype(np.float64)
    if settings.lotel_test == "welch":
        return _welch(means, squares, sizes)
    return _dunnett(means, squares, sizes, settings.seed)


def _welch(
    means: NDArray[np.float64], squares: NDArray[np.float64], sizes: NDArray[np.float64]
) -> NDArray[np.float64]:
    from scipy.special import stdtr

    with np.errstate(divide="ignore", invalid="ignore"):
        error = squares / (sizes - 1) / sizes
        both = error[:, 1:] + error[:, :1]
        t = (means[:, 1:] - means[:, :1]) / np.sqrt(both)
        degrees = both**2 / (error[:, 1:] ** 2 / (sizes[1:] - 1) + error[:, :1] ** 2 / (sizes[0] - 1))
        p = 2 * stdtr(degrees, -np.abs(t))
    return np.where(np.isfinite(t), p, np.nan)


def _dunnett(
    means: NDArray[np.float64], squares: NDArray[np.float64], sizes: NDArray[np.float64], seed: int
) -> NDArray[np.float64]:
    """Dunnett's (1955) test; the distribution of the largest |t| depends on the design alone, and is drawn once."""
    degrees = sizes.sum() - sizes.size
    if degrees < 1:
        return np.full((len(means), sizes.size - 1), np.nan)
    draw = np.random.default_rng(seed)
    noise = draw.standard_normal((_DUNNETT_DRAWS, sizes.size)) / np.sqrt(sizes)
    scale = np.sqrt(draw.chisquare(degrees, _DUNNETT_DRAWS) / degrees)
    error = np.sqrt(1 / sizes[1:] + 1 / sizes[0])
    largest = np.sort((np.abs(noise[:, 1:] - noise[:, :1]) / error).max(axis=1) / scale)
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = np.sqrt(squares.sum(axis=1) / degrees)[:, None]
        t = np.abs(means[:, 1:] - means[:, :1]) / (pooled * error)
    above = _DUNNETT_DRAWS - np.searchsorted(largest, np.nan_to_num(t, nan=0.0))
    p = (above + 1) / (_DUNNETT_DRAWS + 1)
    known = np.isfinite(t) & (sizes[1:] > 1) & (sizes[0] > 1)
    return np.where(known, p, np.nan)


def notel_lotel(
    design: Design,
    fold_changes: NDArray[np.float32],
    p_values: NDArray[np.float64],
    settings: PrefilterSettings,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The lowest dose with an effect (LOTEL) and the dose below it (NOTEL): (P,) each, NaN where no dose has one."""
    works = (np.abs(fold_changes) > settings.fold_change_lotel) & (p_values < settings.p_value_lotel)
    first = works.argmax(axis=1)
    any_works = works.any(axis=1)
    return np.where(any_works, design.doses[first], np.nan), np.where(
        any_works, design.doses[first + 1], np.nan
    )
