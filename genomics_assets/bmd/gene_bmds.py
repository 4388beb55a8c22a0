"""From probes to genes: filters on the best models, then one BMD for each gene.

The filters are BMDExpress-3's (`CategoryMapTool`), in its order. A probe that fails one is gone; a gene is there while
one of its probes is. A gene's BMD is the mean over its surviving probes, and so are its limits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from genomics_assets.bmd.best_model import BestModels
from genomics_assets.bmd.fit_statistics import FitStatistics
from genomics_assets.bmd.fitting import ModelFits
from genomics_assets.bmd.platform_annotation import PlatformAnnotation
from genomics_assets.bmd.prefilters import PrefilterResults

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class ProbeFilters:
    """What a probe must pass to speak for its gene; None and False switch a filter off.

    Attributes:
        remove_promiscuous_probes: whether probes of several genes are left out.
        remove_bmd_above_highest_dose: BMD <= highest dose.
        fit_p_value_cutoff: p-value of the fit >= it.
        r_squared_cutoff: R² >= it.
        bmd_bmdl_ratio, bmdu_bmd_ratio, bmdu_bmdl_ratio: the ratio <= it; a limit that is missing fails.
        bmd_fold_below_lowest_dose: lowest dose above zero / BMD <= it.
        fold_change: largest fold change of the means, in size, >= it.
        prefilter_p_value_cutoff, prefilter_adjusted_p_value_cutoff: p-value of the prefilter <= it.
        prefilter_fit_p_value_cutoff: p-value of the curve-fit prefilter, which speaks for the curve, >= it.
        model_fold_change: fold change of the curve, in size, >= it.
        z_score: in size, >= it.
        remove_step_functions, remove_steps_below_lowest_dose: see `FitStatistics`.
        direction: only probes that rise, or fall.
    """

    remove_promiscuous_probes: bool = False
    remove_bmd_above_highest_dose: bool = True
    fit_p_value_cutoff: float | None = None
    r_squared_cutoff: float | None = None
    bmd_bmdl_ratio: float | None = None
    bmdu_bmd_ratio: float | None = None
    bmdu_bmdl_ratio: float | None = None
    bmd_fold_below_lowest_dose: float | None = None
    fold_change: float | None = None
    prefilter_p_value_cutoff: float | None = None
    prefilter_adjusted_p_value_cutoff: float | None = None
    prefilter_fit_p_value_cutoff: float | None = None
    model_fold_change: float | None = None
    z_score: float | None = None
    remove_step_functions: bool = False
    remove_steps_below_lowest_dose: bool = False
    direction: Literal["up", "down"] | None = None


@dataclass(frozen=True, eq=False)
class GeneBmds:
    """G genes that have a probe with a best model, sorted by name.

    Attributes:
        genes: their names.
        symbols: what people call them.
        filters: names of the filters that were on, in order.
        passed: (G,) how many filters in a row the gene's best probe passed; all of them: the gene survives.
        probes: the surviving probes of each gene.
        bmd, bmdl, bmdu: (G,) means over the surviving probes; NaN for genes that do not survive, and where no probe has
            the limit.
        fit_p_value: (G,) mean over the surviving probes.
        fold_change: (G,) largest in size among the surviving probes.
        direction: (G,) int8, +1 up, -1 down, 0 where the surviving probes disagree.
        correlation: (G,) smallest correlation between the group means of two surviving probes; NaN for one probe.
    """

    genes: tuple[str, ...]
    symbols: tuple[str, ...]
    filters: tuple[str, ...]
    passed: NDArray[np.int64]
    probes: tuple[tuple[str, ...], ...]
    bmd: NDArray[np.float64]
    bmdl: NDArray[np.float64]
    bmdu: NDArray[np.float64]
    fit_p_value: NDArray[np.float64]
    fold_change: NDArray[np.float64]
    direction: NDArray[np.int8]
    correlation: NDArray[np.float64]

    @property
    def survives(self) -> NDArray[np.bool_]:
        """(G,): whether the gene has a BMD."""
        return np.asarray(self.passed == len(self.filters))

    def left_after(self) -> dict[str, int]:
        """How many genes are left after each filter, in order."""
        return {name: int((self.passed > place).sum()) for place, name in enumerate(self.filters)}

    def table(self) -> pa.Table:
        """One row for each gene that survives, sorted by BMD and name."""
        import pyarrow as pa

        rows = np.flatnonzero(self.survives)
        rows = rows[np.argsort(self.bmd[rows], kind="stable")]

        def numbers(values: NDArray[np.float64]) -> pa.Array:
            return pa.array(values[rows], pa.float64(), from_pandas=True)

        directions = {1: "UP", -1: "DOWN", 0: "CONFLICT"}
        return pa.table(
            {
                "gene": pa.array([self.genes[i] for i in rows], pa.string()),
                "symbol": pa.array([self.symbols[i] for i in rows], pa.string()),
                "bmd": numbers(self.bmd),
                "bmdl": numbers(self.bmdl),
                "bmdu": numbers(self.bmdu),
                "direction": pa.array([directions[int(self.direction[i])] for i in rows], pa.string()),
                "fold_change": numbers(self.fold_change),
                "fit_p_value": numbers(self.fit_p_value),
                "probe_correlation": numbers(self.correlation),
                "probes": pa.array([self.probes[i] for i in rows], pa.list_(pa.string())),
            }
        )


def gene_bmds(
    probe_ids: Sequence[str],
    fits: ModelFits,
    best: BestModels,
    statistics: FitStatistics,
    prefilter: PrefilterResults | None,
    annotation: PlatformAnnotation,
    filters: ProbeFilters | None = None,
) -> GeneBmds:
    """Filter the probes' best models and gather them by gene.

    Args:
        probe_ids: names of the P probes of `fits`.
        fits: what was fitted.
        best: the choice of models.
        statistics: of the same fits.
        prefilter: of the same P probes, for the filters on its fold change and p-values; None: these filters are off.
        annotation: which probe is which gene.
        filters: what a probe must pass.
    """
    filters = filters or ProbeFilters()
    names, tests = _tests(fits, best, statistics, prefilter, filters)
    stage = np.cumprod(np.array(tests, np.bool_).reshape(len(names), len(fits)), axis=0).sum(axis=0)
    rows_by_gene: dict[str, list[int]] = {}
    for row in np.flatnonzero(best.model >= 0).tolist():
        found = annotation.genes_by_probe.get(probe_ids[row], ())
        if not (filters.remove_promiscuous_probes and len(found) > 1):
            for gene in found:
                rows_by_gene.setdefault(gene, []).append(row)
    genes = tuple(sorted(rows_by_gene))
    passed = np.array([stage[rows_by_gene[gene]].max() for gene in genes], np.int64)
    surviving = [[row for row in rows_by_gene[gene] if stage[row] == len(names)] for gene in genes]
    fit_p = best.of_winner(fits.fit_p_value(best.settings.compat))
    change = (
        prefilter.best_fold_change if prefilter is not None else best.of_winner(statistics.fold_change_to_top)
    )
    direction = _directions(fits, best)
    signs = [set(direction[rows].tolist()) for rows in surviving]
    return GeneBmds(
        genes=genes,
        symbols=tuple(annotation.symbol(gene) for gene in genes),
        filters=names,
        passed=passed,
        probes=tuple(tuple(probe_ids[row] for row in rows) for rows in surviving),
        bmd=_means(best.bmd, surviving),
        bmdl=_means(best.bmdl, surviving),
        bmdu=_means(best.bmdu, surviving),
        fit_p_value=_means(fit_p, surviving),
        fold_change=np.array(
            [change[rows][np.abs(change[rows]).argmax()] if rows else np.nan for rows in surviving]
        ),
        direction=np.array([found.pop() if len(found) == 1 else 0 for found in signs], np.int8),
        correlation=np.array([_smallest_correlation(fits.group_means[rows]) for rows in surviving]),
    )


def _tests(
    fits: ModelFits,
    best: BestModels,
    statistics: FitStatistics,
    prefilter: PrefilterResults | None,
    filters: ProbeFilters,
) -> tuple[tuple[str, ...], list[NDArray[np.bool_]]]:
    """The filters that are on, and which probes pass each; a number that is missing fails."""
    lowest, highest = fits.doses[fits.doses > 0][0], fits.doses[-1]
    tests: dict[str, NDArray[np.bool_]] = {"best_model": best.model >= 0}

    def at_least(name: str, values: NDArray[np.float64]) -> None:
        if (cutoff := getattr(filters, name)) is not None:
            tests[name] = values >= cutoff

    def at_most(name: str, values: NDArray[np.float64]) -> None:
        if (cutoff := getattr(filters, name)) is not None:
            tests[name] = values <= cutoff

    if filters.remove_bmd_above_highest_dose:
        tests["remove_bmd_above_highest_dose"] = best.bmd <= highest
    at_least("fit_p_value_cutoff", best.of_winner(fits.fit_p_value(best.settings.compat)))
    at_least("r_squared_cutoff", best.of_winner(statistics.r_squared))
    at_most("bmd_bmdl_ratio", best.bmd / best.bmdl)
    at_most("bmdu_bmd_ratio", best.bmdu / best.bmd)
    at_most("bmdu_bmdl_ratio", best.bmdu / best.bmdl)
    at_most("bmd_fold_below_lowest_dose", lowest / best.bmd)
    if prefilter is not None:
        at_least("fold_change", np.abs(prefilter.best_fold_change))
        if prefilter.settings.method == "curve_fit":
            at_least("prefilter_fit_p_value_cutoff", prefilter.p_value)
        else:
            at_most("prefilter_p_value_cutoff", prefilter.p_value)
            at_most("prefilter_adjusted_p_value_cutoff", prefilter.adjusted_p_value)
    at_least("model_fold_change", np.abs(best.of_winner(statistics.fold_change_to_top)))
    at_least("z_score", np.abs(best.of_winner(statistics.z_score)))
    if filters.remove_step_functions:
        tests["remove_step_functions"] = best.of_winner(statistics.is_step_function.astype(np.float64)) == 0
    if filters.remove_steps_below_lowest_dose:
        tests["remove_steps_below_lowest_dose"] = (
            best.of_winner(statistics.is_step_below_lowest.astype(np.float64)) == 0
        )
    if filters.direction is not None:
        tests["direction"] = _directions(fits, best) == (1 if filters.direction == "up" else -1)
    return tuple(tests), list(tests.values())


def _directions(fits: ModelFits, best: BestModels) -> NDArray[np.int8]:
    """(P,): the sign of the winner's change from control to the highest dose, of the means where there is no winner."""
    from genomics_assets.bmd.models import model_mean

    signs = fits.direction.copy()
    for model, name in enumerate(fits.models):
        won = best.model == model
        ends = model_mean(name, fits.parameters[won, model], fits.doses[[0, -1]])
        signs[won] = np.where(ends[:, 1] >= ends[:, 0], 1, -1)
    return signs


def _means(values: NDArray[np.float64], rows_by_gene: list[list[int]]) -> NDArray[np.float64]:
    means = np.full(len(rows_by_gene), np.nan)
    for place, rows in enumerate(rows_by_gene):
        found = values[rows]
        found = found[np.isfinite(found)]
        if found.size:
            means[place] = found.mean()
    return means


def _smallest_correlation(means: NDArray[np.float64]) -> float:
    if len(means) < 2:
        return float("nan")
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.corrcoef(means).min())
