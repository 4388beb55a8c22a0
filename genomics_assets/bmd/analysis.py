"""The stages of an analysis, each from what is stored to what is to be stored.

What is computed is in the modules that are called; here it is put together, named, and given its lineage: parameters,
hashes of the inputs, versions, and ids upstream.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from genomics_assets.blocks import BlockMap, in_threads
from genomics_assets.bmd.analysis_settings import AnalysisSettings
from genomics_assets.bmd.best_model import SelectionSettings, select_best_models
from genomics_assets.bmd.canonical_json import canonical_json
from genomics_assets.bmd.categories import CategoryResults, analyse_categories, gene_categories
from genomics_assets.bmd.design import LogTransformation
from genomics_assets.bmd.experiment import Experiment
from genomics_assets.bmd.fit_statistics import fit_statistics, probe_stats_table
from genomics_assets.bmd.fitting import ModelFits, fit_models
from genomics_assets.bmd.gene_bmds import GeneBmds, gene_bmds
from genomics_assets.bmd.gene_sets import GeneSets
from genomics_assets.bmd.model_averaging import average_models
from genomics_assets.bmd.platform_annotation import PlatformAnnotation
from genomics_assets.bmd.points_of_departure import points_of_departure, points_table
from genomics_assets.bmd.prefilters import (
    PREFILTER_TYPES,
    PrefilterOutcome,
    PrefilterResults,
    PrefilterSettings,
    prefilter,
)
from genomics_assets.bmd.pybmds_engine import fit_with_pybmds
from genomics_assets.bmd.stored_results import NewFits, NewResult, StoredResult, identity_of
from genomics_assets.sidecars import parse_sidecar

if TYPE_CHECKING:
    import pyarrow as pa

# Changes when the same inputs and parameters would give other results.
ENGINE_VERSION = "native 2"
BMD_METHOD = "BMDS"
MODEL_AVERAGE = "model_average"
GENE = "GENE"

Progress = Callable[[float], None]


# -- prefilter ---------------------------------------------------------------------------------------------------------


# Keeps every probe, and tells their p-values all the same.
_NO_PREFILTER = PrefilterSettings(p_value_cutoff=9999, fold_change=None, filter_out_control_genes=False)


def prefilter_stage(
    experiment: Experiment, settings: AnalysisSettings, progress: Progress | None = None
) -> NewResult:
    """Test every probe; the details say of each whether it was kept, or why not. A chain has a result for each test."""
    matrix = experiment.matrix
    chain = settings.prefilters or (_NO_PREFILTER,)
    within, results = None, []
    for done, one in enumerate(chain, 1):
        found = prefilter(
            matrix.doses,
            matrix.responses,
            matrix.probes,
            settings.log_transformation,
            one,
            progress=progress,
            within=within,
        )
        within = found.kept
        results.append(_prefilter_result(experiment, chain[:done], found, settings.log_transformation))
    return replace(results[-1], before=results[:-1])


def _prefilter_result(
    experiment: Experiment,
    chain: Sequence[PrefilterSettings],
    found: PrefilterResults,
    log_transformation: LogTransformation,
) -> NewResult:
    """What the last test of a chain, or of its beginning, found."""
    table = found.table(experiment.matrix.probes)
    return NewResult(
        name=prefilter_name(experiment.stored.name, chain),
        method=PREFILTER_TYPES[chain[-1].method],
        rows=table,
        details=table,
        analysis_info=lineage(
            {"prefilters": [asdict(one) for one in chain], "log_transformation": log_transformation},
            {"matrix": experiment.stored.identity, "file": experiment.stored.file_hash},
        ),
        upstream={"experiment_id": experiment.stored.id},
    )


def prefilter_name(experiment: str, chain: Sequence[PrefilterSettings]) -> str:
    """What BMDExpress-3 would call it.

    >>> prefilter_name("heparg", [PrefilterSettings("williams", fold_change=1.5)])
    'heparg_williams_0.05_NOMTC_foldfilter1.5'
    """
    parts = [experiment]
    for one in chain:
        method = {"anova": "oneway", "curve_fit": "curvefitprefilter"}.get(one.method, one.method)
        corrected = "MTC" if one.use_multiple_testing_correction else "NOMTC"
        fold = "nofoldfilter" if one.fold_change is None else f"foldfilter{one.fold_change:g}"
        parts += [method, f"{one.p_value_cutoff:g}", corrected, fold]
    return _short("_".join(parts))


def kept_probes(result: StoredResult) -> list[str]:
    """Ids of the probes that a prefilter kept, in the matrix's order."""
    return [row["probe_id"] for row in result.rows if row["kept"]]


# -- fits --------------------------------------------------------------------------------------------------------------


def fit_lineage(experiment: Experiment, filtered: StoredResult, settings: AnalysisSettings) -> dict[str, Any]:
    """The lineage of the fits; with `identity_of`, fits that stand already are known by it."""
    return lineage(
        {
            "fit": settings.fit_settings,
            "log_transformation": settings.log_transformation,
            "engine": settings.engine,
            "variance": settings.variance,
        },
        {"matrix": experiment.stored.identity, "prefilter": filtered.results_hash},
        {"prefilter_id": filtered.id},
    )


def fit_identity(experiment: Experiment, filtered: StoredResult, settings: AnalysisSettings) -> str:
    """The identity that fits of these inputs have."""
    return identity_of(BMD_METHOD, fit_lineage(experiment, filtered, settings))


def fit_stage(
    experiment: Experiment,
    filtered: StoredResult,
    settings: AnalysisSettings,
    progress: Progress | None = None,
    blocks: BlockMap = in_threads,
) -> NewFits:
    """Fit every model to every probe that the prefilter kept, by the engine that is asked for.

    Raises:
        PybmdsError: `engine: pybmds`, and it ended in error.
        InputError: no interpreter for pybmds is named, or the engine does not have a model.
    """
    matrix, probes = experiment.matrix, kept_probes(filtered)
    place = {probe: row for row, probe in enumerate(matrix.probes)}
    responses = matrix.responses[[place[probe] for probe in probes]]
    asked = (matrix.doses, responses, settings.log_transformation, settings.fit_settings)
    if settings.engine == "pybmds":
        fits = fit_with_pybmds(*asked, variance=settings.variance, progress=progress)
    else:
        fits = fit_models(*asked, progress=progress, blocks=blocks)
    return new_fits(fits.table(probes), len(probes), experiment, filtered, settings)


def new_fits(
    table: pa.Table, probes: int, experiment: Experiment, filtered: StoredResult, settings: AnalysisSettings
) -> NewFits:
    """Fits, made just now or standing already, of these inputs."""
    return NewFits(
        name=_short(f"{filtered.name}_fits"),
        method=BMD_METHOD,
        table=table,
        probes=probes,
        analysis_info=fit_lineage(experiment, filtered, settings),
        upstream={"experiment_id": experiment.stored.id, "prefilter_id": filtered.id},
    )


# -- best models -------------------------------------------------------------------------------------------------------


def best_model_stage(
    table: pa.Table,
    selection: SelectionSettings,
    *,
    name: str,
    fits_hash: str,
    averaged: bool,
    upstream: Mapping[str, int | None],
) -> NewResult:
    """Choose a model for every probe, and average them where asked to; nothing is fitted.

    Args:
        table: the stored fits.
        selection: how to choose.
        name: of the experiment's prefilter.
        fits_hash: of the stored fits.
        averaged: whether each probe gets a row for the average of its models too.
        upstream: ids of the experiment, the prefilter and the fits.
    """
    import pyarrow as pa

    probes, fits = ModelFits.from_table(table)
    statistics = probe_stats_table(probes, fits, select_best_models(fits, selection))
    if averaged:
        statistics = pa.concat_tables([statistics, _average_rows(probes, fits)], promote_options="default")
    return NewResult(
        name=_short(f"{name}_BMD_{fits.settings.bmr.type}{fits.settings.bmr.factor:g}"),
        method=BMD_METHOD,
        rows=statistics,
        details=statistics,
        analysis_info=lineage(
            {"selection": selection, "fit": fits.settings, "model_averaging": averaged},
            {"fits": fits_hash},
            {"model_fit_id": upstream.get("model_fit_id")},
        ),
        upstream=upstream,
    )


def _average_rows(probes: Sequence[str], fits: ModelFits) -> pa.Table:
    """A row for each probe with the average of its models, in the columns of `probe_stat_results`."""
    import pyarrow as pa

    average = average_models(fits).table(probes)
    return (
        average.select(["probe_id", "bmd", "bmdl", "bmdu"])
        .append_column("model", pa.array([MODEL_AVERAGE] * len(probes), pa.string()))
        .append_column("is_best", pa.array([False] * len(probes)))
        .append_column("is_best_poly", pa.array([False] * len(probes)))
        .append_column("success", average["bmd"].is_valid())
    )


def selection_of(result: StoredResult) -> SelectionSettings:
    """The options that a stored choice of models was made with."""
    return SelectionSettings(**result.analysis_info["parameters"]["selection"])


# -- genes and categories ----------------------------------------------------------------------------------------------


def genes_of(
    table: pa.Table,
    result: StoredResult,
    filtered: StoredResult,
    annotation: PlatformAnnotation,
    settings: AnalysisSettings,
) -> GeneBmds:
    """BMDs of genes from stored fits, the stored choice of models, and the stored prefilter."""
    probes, fits = ModelFits.from_table(table)
    best = select_best_models(fits, selection_of(result))
    statistics = fit_statistics(fits)
    return gene_bmds(
        probes, fits, best, statistics, prefilter_of(filtered, probes), annotation, settings.probe_filters
    )


def prefilter_of(filtered: StoredResult, probes: Sequence[str]) -> PrefilterResults:
    """A stored prefilter's numbers for some probes, as filters on genes ask for them."""
    by_probe = {row["probe_id"]: row for row in filtered.rows}
    rows = [by_probe[probe] for probe in probes]

    def numbers(name: str) -> Any:
        return np.array([np.nan if row[name] is None else row[name] for row in rows], np.float64)

    nothing = np.full((len(rows), 0), np.nan)
    return PrefilterResults(
        settings=PrefilterSettings(),
        doses=np.zeros(0),
        outcome=np.full(len(rows), PrefilterOutcome.KEPT, np.int8),
        p_value=numbers("p_value"),
        adjusted_p_value=numbers("adjusted_p_value"),
        f_value=numbers("f_value"),
        df1=None,
        df2=None,
        fold_changes=nothing.astype(np.float32),
        best_fold_change=numbers("best_fold_change").astype(np.float32),
        notel_lotel_p_values=nothing,
        notel_dose=numbers("notel_dose"),
        lotel_dose=numbers("lotel_dose"),
    )


def analyse_gene_sets(
    table: pa.Table,
    result: StoredResult,
    filtered: StoredResult,
    settings: AnalysisSettings,
    *,
    annotation: PlatformAnnotation,
    platform: Mapping[str, Any],
    collection: GeneSets | None,
    about: Mapping[str, Any] | None,
) -> NewResult:
    """Gene sets with the BMDs of their genes, ready to be stored.

    Args:
        table: the stored fits.
        result: the BMD result.
        filtered: the prefilter's result.
        settings: filters and limits.
        annotation: the platform.
        platform: name, version and hash of it.
        collection: the gene sets; None: every gene by itself.
        about: name, version, hash and category_type of the collection.
    """
    import pyarrow as pa

    genes = genes_of(table, result, filtered, annotation, settings)
    sets = gene_categories(annotation) if collection is None else collection
    kind = GENE if about is None else str(about["category_type"])
    rows = [dict(row) for row in analyse_categories(genes, sets, annotation, settings.categories).rows]
    details = pa.table(
        {
            "category_id": pa.array([row["category_id"] for row in rows], pa.string()),
            "stats": pa.array([canonical_json(row).decode() for row in rows], pa.string()),
        }
    )
    hashes = {"platform": platform.get("sha256"), "gene_sets": None if about is None else about["sha256"]}
    return NewResult(
        name=_short(f"{result.name}_{kind}_{sets.name}"),
        method=kind,
        rows=rows,
        details=details,
        analysis_info=lineage(
            {"categories": settings.categories, "probe_filters": settings.probe_filters},
            {"bmd_result": result.results_hash, "prefilter": filtered.results_hash, **hashes},
            {"bmd_result_id": result.id, "platform": platform, "gene_sets": about},
        ),
        upstream={"experiment_id": result.experiment_id, "bmd_result_id": result.id},
    )


def stored_categories(result: StoredResult, settings: AnalysisSettings) -> CategoryResults | None:
    """Stored results of gene sets; None where every gene was a set of its own."""
    return None if result.method == GENE else CategoryResults(settings.categories, tuple(result.rows))


def points_of(
    table: pa.Table,
    result: StoredResult,
    filtered: StoredResult,
    categories: StoredResult,
    annotation: PlatformAnnotation,
    settings: AnalysisSettings,
) -> pa.Table:
    """One row for each point of departure."""
    genes = genes_of(table, result, filtered, annotation, settings)
    return points_table(points_of_departure(genes, stored_categories(categories, settings)))


# -- lineage -----------------------------------------------------------------------------------------------------------


def lineage(
    parameters: Mapping[str, Any], inputs: Mapping[str, Any], upstream: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """`analysis_info`: what decided on a result, and what it was made from.

    Args:
        parameters: settings, each a dataclass or a plain value.
        inputs: SHA-256 of what was read.
        upstream: ids of rows.
    """
    from importlib.metadata import version

    plain = {
        name: asdict(value) if hasattr(value, "__dataclass_fields__") else value
        for name, value in parameters.items()
    }
    return {
        "parameters": plain,
        "inputs": dict(inputs),
        "versions": {"engine": ENGINE_VERSION},
        "upstream": dict(upstream or {}),
        "made_by": {"genomics_assets": version("genomics_assets")},
    }


def reselected(selection: SelectionSettings, given: Mapping[str, Any]) -> SelectionSettings:
    """The options, with those that are given in place of the experiment's own.

    Raises:
        InputError: an option has none of its choices.

    >>> reselected(SelectionSettings(), {"best_poly": "nested_chi_squared", "flag_hill": None}).best_poly
    'nested_chi_squared'
    """
    options = asdict(selection) | {name: value for name, value in given.items() if value is not None}
    return parse_sidecar(json.dumps(options), SelectionSettings)


def _short(name: str) -> str:
    return name if len(name) <= 255 else f"{name[:254]}…"
