"""The assets of dose-response analysis: from a dropped matrix to points of departure, and to tables and pictures.

    expression_matrix -> prefilter_results -> model_fits -> bmd_results -> gene_bmds -> category_results
        -> points_of_departure, exports, charts

One partition is one experiment, `<project>/<experiment>`. Platforms and gene sets have partitions of their own. The
assets name their inputs, call one function of a pure module, and return a value; IO managers store it.
"""

from collections.abc import Callable
from typing import Any

import dagster as dg
import pyarrow as pa
from pydantic import Field

from genomics_assets.bmd.experiment import DroppedExperiment, Experiment
from genomics_assets.bmd.partitions import (
    EXPERIMENT_DROPS,
    GENE_SET_DROPS,
    PLATFORM_DROPS,
    experiment_partitions,
    gene_set_partitions,
    platform_partitions,
)
from genomics_assets.bmd.stored_results import NewFits, NewResult, ResultFiles, ResultRows, StoredResult
from genomics_assets.pools import CPU_HEAVY, POSTGRES_WRITE
from resources.bmd_reference import GENE_SET_TABLES, PLATFORM_TABLES, BmdReference
from resources.bmd_run_jobs import BmdRunJobs
from resources.bmd_store import BmdStore, StoredFits, refusing
from resources.compute_pool import ComputePool
from resources.inbox import InboxResource

OWNERS = ["team:toxicogenomics"]
# Lost connections and restarting servers pass; a file that cannot be taken raises Failure, which is never retried.
RETRIES = dg.RetryPolicy(max_retries=2, delay=1)
ONE_EXPERIMENT_A_RUN = dg.BackfillPolicy.multi_run(1)


def bmd_asset(**settings: Any) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """What all assets of the domain share."""
    decorator: Callable[[Callable[..., Any]], dg.AssetsDefinition] = dg.asset(
        key_prefix="bmd",
        group_name="bmd",
        owners=OWNERS,
        retry_policy=RETRIES,
        code_version="1",
        **{"pool": POSTGRES_WRITE, **settings},
    )
    return decorator


def experiment_asset(**settings: Any) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """What all assets of an experiment share."""
    return bmd_asset(partitions_def=experiment_partitions, backfill_policy=ONE_EXPERIMENT_A_RUN, **settings)


# -- platforms and gene sets -------------------------------------------------------------------------------------------


@bmd_asset(partitions_def=platform_partitions, kinds={"tsv", "postgres"})
def platforms(
    context: dg.AssetExecutionContext, inbox: InboxResource, bmd_store: BmdStore, bmd_reference: BmdReference
) -> dg.MaterializeResult[None]:
    """A platform: which probe stands for which genes. Other bytes under the same name are a new version of it."""
    from genomics_assets.bmd.reference_files import read_platform

    with bmd_store.taking(inbox, PLATFORM_DROPS, context.partition_key) as drop:
        platform = read_platform(drop, opened=inbox.local)
    version_id, is_new = bmd_reference.save_platform(platform)
    return _reference_result("bmd.chip_probes", version_id, is_new, platform.rows, ("probe_id", "gene"))


@bmd_asset(partitions_def=gene_set_partitions, kinds={"tsv", "postgres"})
def gene_sets(
    context: dg.AssetExecutionContext, inbox: InboxResource, bmd_store: BmdStore, bmd_reference: BmdReference
) -> dg.MaterializeResult[None]:
    """A collection of gene sets, GMT or category map. Other bytes under the same name are a new version of it."""
    from genomics_assets.bmd.reference_files import read_gene_set_collection

    with bmd_store.taking(inbox, GENE_SET_DROPS, context.partition_key) as drop:
        collection = read_gene_set_collection(drop, opened=inbox.local)
    version_id, is_new = bmd_reference.save_gene_sets(collection)
    return _reference_result(
        "bmd.gene_set_members", version_id, is_new, collection.rows, ("category_id", "gene")
    )


REFERENCE = [
    dg.AssetDep(platforms, partition_mapping=dg.AllPartitionMapping()),
    dg.AssetDep(gene_sets, partition_mapping=dg.AllPartitionMapping()),
]


# -- experiments -------------------------------------------------------------------------------------------------------


@experiment_asset(
    io_manager_key="bmd_experiment_io",
    kinds={"tsv", "postgres"},
    metadata={"table": "bmd.dose_response_experiments"},
)
def expression_matrix(
    context: dg.AssetExecutionContext,
    inbox: InboxResource,
    bmd_store: BmdStore,
    bmd_reference: BmdReference,
    bmd_run_jobs: BmdRunJobs,
) -> DroppedExperiment:
    """The dropped matrix, samples sorted by dose, with what its sidecar asks for; it fits its platform and gene sets."""
    from genomics_assets.bmd.dropped import check_reference, read_experiment, settings_of
    from genomics_assets.bmd.report import doses_table

    with bmd_run_jobs.step(context), bmd_store.taking(inbox, EXPERIMENT_DROPS, context.partition_key) as drop:
        experiment = read_experiment(drop, opened=inbox.local)
        settings = settings_of(experiment.options)
        bmd_reference.wait_for(inbox, PLATFORM_TABLES, PLATFORM_DROPS, settings.chip)
        bmd_reference.wait_for(inbox, GENE_SET_TABLES, GENE_SET_DROPS, settings.gene_sets)
        annotation, _ = bmd_reference.annotation(settings.chip, experiment.matrix.probes)
        sets, _ = bmd_reference.collection(settings.gene_sets)
        check_reference(experiment.matrix.probes, settings.chip, annotation, sets)
    for note in experiment.notes:
        context.log.warning(note)
    context.add_output_metadata(
        {
            **({"done otherwise": "\n".join(experiment.notes)} if experiment.notes else {}),
            "probes": len(experiment.matrix.probes),
            "samples": len(experiment.matrix.samples),
            "doses": dg.MetadataValue.md(doses_table(experiment.matrix)),
            "sha256": experiment.file_hash,
            "options": dg.MetadataValue.json(dict(experiment.options)),
        }
    )
    return experiment


@experiment_asset(
    io_manager_key="bmd_results_io", kinds={"numpy", "postgres"}, metadata={"table": "bmd.prefilter_results"}
)
def prefilter_results(
    context: dg.AssetExecutionContext, expression_matrix: Experiment, bmd_run_jobs: BmdRunJobs
) -> NewResult:
    """Which probes respond at all: the test, its correction, fold change, and the reason why a probe was left out."""
    from genomics_assets.bmd.analysis import prefilter_stage
    from genomics_assets.bmd.dropped import settings_of
    from genomics_assets.bmd.report import counts_of, lowest_rows, reasons_table, rows_table

    with bmd_run_jobs.step(context) as progress:
        result = prefilter_stage(expression_matrix, settings_of(expression_matrix.stored.options), progress)
    outcomes = counts_of(result.details["outcome"].to_pylist())
    best = lowest_rows(result.details, "kept", "p_value")
    columns = ("probe_id", "p_value", "adjusted_p_value", "best_fold_change", "notel_dose", "lotel_dose")
    context.add_output_metadata(
        {
            "kept": outcomes.get("kept", 0),
            "outcomes": dg.MetadataValue.md(reasons_table(outcomes)),
            "first probes": dg.MetadataValue.md(rows_table(best, columns)),
        }
    )
    return result


@experiment_asset(
    io_manager_key="bmd_fits_io",
    kinds={"numba", "parquet"},
    metadata={"table": "bmd.model_fits"},
    pool=CPU_HEAVY,
)
def model_fits(
    context: dg.AssetExecutionContext,
    expression_matrix: Experiment,
    prefilter_results: StoredResult,
    bmd_store: BmdStore,
    bmd_run_jobs: BmdRunJobs,
    compute: ComputePool,
) -> NewFits:
    """Every model fitted to every probe that the prefilter kept: BMD, exact BMDL and BMDU, likelihood, parameters.

    Fits of the same matrix, probes, models and benchmark response that stand already are taken as they are.
    """
    from time import perf_counter

    from genomics_assets.bmd.analysis import fit_identity, fit_stage, kept_probes, new_fits
    from genomics_assets.bmd.dropped import settings_of
    from genomics_assets.bmd.report import flag_counts, reasons_table

    settings = settings_of(expression_matrix.stored.options)
    with bmd_run_jobs.step(context) as progress:
        identity = fit_identity(expression_matrix, prefilter_results, settings)
        standing = bmd_store.current_fits(context.partition_key, identity=identity)
        if standing is not None:
            probes = len(kept_probes(prefilter_results))
            return new_fits(standing.table, probes, expression_matrix, prefilter_results, settings)
        started = perf_counter()
        with compute.blocks() as blocks:
            fits = fit_stage(expression_matrix, prefilter_results, settings, progress, blocks)
        seconds = perf_counter() - started
    context.add_output_metadata(
        {
            "probes": fits.probes,
            "fits": fits.table.num_rows,
            "seconds to fit": round(seconds, 3),
            "probes_per_second": round(fits.probes / seconds) if seconds else 0,
            "flags": dg.MetadataValue.md(reasons_table(flag_counts(fits.table))),
        }
    )
    return fits


class BestModelOptions(dg.Config):
    """How best models are chosen, in place of what the experiment's sidecar asks for; nothing is fitted again."""

    best_poly: str | None = Field(default=None, description="lowest_aic or nested_chi_squared.")
    poly_p_value_cutoff: float | None = Field(default=None, description="Of the test between two degrees.")
    bmdl_bmdu: str | None = Field(
        default=None,
        description="Which limits must be numbers: compute_and_utilize_bmd_bmdl, compute_and_utilize, "
        "compute_but_ignore or do_not_compute.",
    )
    flag_hill: bool | None = Field(
        default=None, description="Whether Hill curves with a very low k are flagged."
    )
    hill_k_ratio: float | None = Field(
        default=None, description="Flagged below this share of the lowest dose above 0."
    )
    flagged_hill: str | None = Field(
        default=None, description="include, exclude_flagged, exclude_all_hill, modify or next_best."
    )
    compat: str | None = Field(
        default=None, description="bmds or bmdexpress3: whose counting of parameters the AIC uses."
    )


@experiment_asset(
    io_manager_key="bmd_results_io", kinds={"numpy", "postgres"}, metadata={"table": "bmd.bmd_results"}
)
def bmd_results(
    context: dg.AssetExecutionContext,
    config: BestModelOptions,
    expression_matrix: Experiment,
    prefilter_results: StoredResult,
    model_fits: StoredFits,
    bmd_run_jobs: BmdRunJobs,
) -> NewResult:
    """The best model of each probe, with every model's numbers beside it.

    Materialize it alone, with other options, to choose again without fitting again.
    """
    from genomics_assets.bmd.analysis import best_model_stage, reselected
    from genomics_assets.bmd.dropped import settings_of
    from genomics_assets.bmd.report import counts_of, lowest_rows, reasons_table, rows_table

    settings = settings_of(expression_matrix.stored.options)
    with bmd_run_jobs.step(context), refusing(context.partition_key):
        result = best_model_stage(
            model_fits.table,
            reselected(settings.best_model, config.model_dump()),
            name=prefilter_results.name,
            fits_hash=model_fits.fits_hash,
            averaged=settings.model_averaging,
            upstream={
                "experiment_id": model_fits.experiment_id,
                "prefilter_id": model_fits.prefilter_id,
                "model_fit_id": model_fits.id,
            },
        )
    winners = result.details.filter(result.details["is_best"])
    columns = ("probe_id", "model", "bmd", "bmdl", "bmdu", "fit_p_value", "r_squared")
    context.add_output_metadata(
        {
            "with a best model": winners.num_rows,
            "best models": dg.MetadataValue.md(reasons_table(counts_of(winners["model"].to_pylist()))),
            "lowest BMDs": dg.MetadataValue.md(rows_table(lowest_rows(winners, "is_best", "bmd"), columns)),
            "selection": dg.MetadataValue.json(result.analysis_info["parameters"]["selection"]),
        }
    )
    return result


@experiment_asset(
    io_manager_key="bmd_rows_io",
    kinds={"numpy", "postgres"},
    deps=REFERENCE,
    metadata={"table": "bmd.gene_bmds"},
)
def gene_bmds(
    context: dg.AssetExecutionContext,
    expression_matrix: Experiment,
    prefilter_results: StoredResult,
    model_fits: StoredFits,
    bmd_results: StoredResult,
    bmd_reference: BmdReference,
    bmd_run_jobs: BmdRunJobs,
) -> ResultRows:
    """One BMD for each gene: the mean over its probes that pass the filters."""
    from genomics_assets.bmd.analysis import genes_of
    from genomics_assets.bmd.dropped import settings_of
    from genomics_assets.bmd.platform_annotation import mapping_coverage
    from genomics_assets.bmd.report import rows_table

    settings = settings_of(expression_matrix.stored.options)
    with bmd_run_jobs.step(context):
        annotation, platform = bmd_reference.annotation(settings.chip, expression_matrix.matrix.probes)
        genes = genes_of(model_fits.table, bmd_results, prefilter_results, annotation, settings)
    table, coverage = genes.table(), mapping_coverage(annotation, expression_matrix.matrix.probes)
    columns = ("gene", "symbol", "bmd", "bmdl", "bmdu", "direction", "probes")
    context.add_output_metadata(
        {
            "probes mapped": coverage.mapped,
            "share of probes mapped": round(coverage.share, 4),
            "platform": dg.MetadataValue.json(platform),
            "genes left after each filter": dg.MetadataValue.json(genes.left_after()),
            "lowest BMDs": dg.MetadataValue.md(rows_table(table.slice(0, 10).to_pylist(), columns)),
        }
    )
    return ResultRows(bmd_results.id, table)


@experiment_asset(
    io_manager_key="bmd_results_io",
    kinds={"numpy", "postgres"},
    deps=[gene_bmds],
    metadata={"table": "bmd.category_results"},
)
def category_results(
    context: dg.AssetExecutionContext,
    expression_matrix: Experiment,
    prefilter_results: StoredResult,
    model_fits: StoredFits,
    bmd_results: StoredResult,
    bmd_reference: BmdReference,
    bmd_run_jobs: BmdRunJobs,
) -> NewResult:
    """Gene sets with the BMDs of their genes, percentiles, directions, and Fisher's test for enrichment."""
    from genomics_assets.bmd.analysis import analyse_gene_sets
    from genomics_assets.bmd.dropped import settings_of
    from genomics_assets.bmd.report import rows_table

    settings = settings_of(expression_matrix.stored.options)
    with bmd_run_jobs.step(context):
        annotation, platform = bmd_reference.annotation(settings.chip, expression_matrix.matrix.probes)
        collection, about = bmd_reference.collection(settings.gene_sets)
        result = analyse_gene_sets(
            model_fits.table, bmd_results, prefilter_results, settings,
            annotation=annotation, platform=platform, collection=collection, about=about,
        )  # fmt: skip
    columns = (
        "title",
        "genes_with_bmd",
        "genes_on_platform",
        "percentage",
        "bmd_median",
        "fishers_two_tail",
        "direction",
    )
    context.add_output_metadata({"first sets": dg.MetadataValue.md(rows_table(result.rows, columns))})
    return result


@experiment_asset(
    io_manager_key="bmd_rows_io", kinds={"numpy", "postgres"}, metadata={"table": "bmd.points_of_departure"}
)
def points_of_departure(
    context: dg.AssetExecutionContext,
    expression_matrix: Experiment,
    prefilter_results: StoredResult,
    model_fits: StoredFits,
    bmd_results: StoredResult,
    category_results: StoredResult,
    bmd_reference: BmdReference,
    bmd_run_jobs: BmdRunJobs,
) -> ResultRows:
    """The dose from which on the genes respond, by several customs, each with its bootstrap interval."""
    from genomics_assets.bmd.analysis import points_of
    from genomics_assets.bmd.dropped import settings_of
    from genomics_assets.bmd.report import rows_table

    settings = settings_of(expression_matrix.stored.options)
    with bmd_run_jobs.step(context):
        annotation, _ = bmd_reference.annotation(settings.chip, expression_matrix.matrix.probes)
        points = points_of(
            model_fits.table, bmd_results, prefilter_results, category_results, annotation, settings
        )
    columns = ("method", "value", "bmdl", "lower", "upper", "genes", "basis")
    context.add_output_metadata({"points": dg.MetadataValue.md(rows_table(points.to_pylist(), columns))})
    return ResultRows(bmd_results.id, points)


@experiment_asset(io_manager_key="bmd_files_io", kinds={"csv", "parquet"}, deps=[points_of_departure])
def exports(
    context: dg.AssetExecutionContext,
    expression_matrix: Experiment,
    prefilter_results: StoredResult,
    bmd_results: StoredResult,
    gene_bmds: pa.Table,
    category_results: StoredResult,
    bmd_reference: BmdReference,
    bmd_store: BmdStore,
    bmd_run_jobs: BmdRunJobs,
) -> ResultFiles:
    """Everything as tables for other programs, CSV and Parquet: one wide row a probe, genes, gene sets, points."""
    from genomics_assets.bmd.dropped import settings_of
    from genomics_assets.bmd.exports import STATISTICS_COLUMNS, all_exports

    settings = settings_of(expression_matrix.stored.options)
    with bmd_run_jobs.step(context):
        annotation, _ = bmd_reference.annotation(settings.chip, expression_matrix.matrix.probes)
        files = all_exports(
            bmd_store.probe_statistics(bmd_results.id, STATISTICS_COLUMNS), prefilter_results.rows,
            annotation.genes_by_probe, gene_bmds, category_results.rows,
            bmd_store.rows_of("bmd.points_of_departure", bmd_results.id),
        )  # fmt: skip
    return ResultFiles(bmd_results.id, files)


@experiment_asset(io_manager_key="bmd_files_io", kinds={"matplotlib"}, deps=[points_of_departure])
def charts(
    context: dg.AssetExecutionContext,
    expression_matrix: Experiment,
    prefilter_results: StoredResult,
    model_fits: StoredFits,
    bmd_results: StoredResult,
    category_results: StoredResult,
    bmd_reference: BmdReference,
    bmd_run_jobs: BmdRunJobs,
) -> ResultFiles:
    """Pictures: curves of the most sensitive probes, accumulation of genes, shares of models, gene sets."""
    from genomics_assets.bmd.charts import all_charts
    from genomics_assets.bmd.dropped import settings_of
    from resources.preview import picture

    settings = settings_of(expression_matrix.stored.options)
    with bmd_run_jobs.step(context):
        annotation, _ = bmd_reference.annotation(settings.chip, expression_matrix.matrix.probes)
        drawn = all_charts(
            expression_matrix,
            model_fits.table,
            bmd_results,
            prefilter_results,
            category_results,
            annotation,
            settings,
        )
    context.add_output_metadata({chart.name: picture(chart.png, chart.name) for chart in drawn})
    return ResultFiles(bmd_results.id, drawn)


# -- housekeeping ------------------------------------------------------------------------------------------------------


class JanitorOptions(dg.Config):
    """What becomes of garbage."""

    delete: bool = Field(default=False, description="Remove the objects that no row names.")


@bmd_asset(kinds={"postgres"})
def storage_janitor(config: JanitorOptions, bmd_store: BmdStore) -> dg.MaterializeResult[None]:
    """Objects that no row names, left by a writer that died between the two, and rows whose object is gone.

    Nothing is removed unless it is asked for. It waits for writers at work.
    """
    survey = bmd_store.survey(delete=config.delete)
    return dg.MaterializeResult(
        metadata={
            "objects": survey.objects,
            "garbage": len(survey.garbage),
            "garbage_bytes": sum(survey.garbage.values()),
            "deleted": config.delete,
            "garbage_keys": dg.MetadataValue.json(sorted(survey.garbage)[:100]),
            "missing": len(survey.missing),
            "missing_keys": dg.MetadataValue.json(survey.missing[:100]),
        }
    )


def _reference_result(
    table: str, version_id: int, is_new: bool, rows: pa.Table, names: tuple[str, str]
) -> dg.MaterializeResult[None]:
    import pyarrow.compute as pc

    return dg.MaterializeResult(
        metadata={
            "outcome": "a new version" if is_new else "already there: the same bytes stand",
            "version_id": version_id,
            "dagster/partition_row_count": rows.num_rows,
            "dagster/table_name": table,
            **{name: pc.count_distinct(rows[name]).as_py() for name in names},
        }
    )


experiment_assets = [
    expression_matrix, prefilter_results, model_fits, bmd_results, gene_bmds, category_results, points_of_departure,
    exports, charts,
]  # fmt: skip
assets = [platforms, gene_sets, *experiment_assets, storage_janitor]
