"""What can be wrong with an analysis that ran: asset checks of dose-response analysis.

ERROR means that numbers or stores contradict each other, WARN that an experiment is unusual.
"""

import dagster as dg

from genomics_assets.bmd.partitions import experiment_partitions
from resources.bmd_reference import BmdReference
from resources.bmd_store import BmdStore
from resources.hybrid_storage import BMD, PREFILTER

MATRIX = dg.AssetKey(["bmd", "expression_matrix"])
FILTERED = dg.AssetKey(["bmd", "prefilter_results"])
FITS = dg.AssetKey(["bmd", "model_fits"])
RESULTS = dg.AssetKey(["bmd", "bmd_results"])
GENES = dg.AssetKey(["bmd", "gene_bmds"])
JANITOR = dg.AssetKey(["bmd", "storage_janitor"])

LEAST_COVERAGE = 0.5
MOST_CONSTANT = 0.5
# A curve along whose ridge the likelihood is flat may hide its maximum from a search; more than that is an error of ours.
MOST_OFF_PROFILE = 0.01


@dg.asset_check(asset=MATRIX, partitions_def=experiment_partitions)
def matrix_has_spread(context: dg.AssetCheckExecutionContext, bmd_store: BmdStore) -> dg.AssetCheckResult:
    """At least half of the probes vary: constant ones lie at the platform's floor and tell nothing."""
    matrix = bmd_store.matrix(bmd_store.expect_experiment(context.partition_key))
    constant = int((matrix.responses.max(axis=1) == matrix.responses.min(axis=1)).sum())
    single = [dose for dose, samples in matrix.replicates.items() if samples == 1]
    return dg.AssetCheckResult(
        passed=constant <= MOST_CONSTANT * len(matrix.probes) and not single,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{constant:,} of {len(matrix.probes):,} probes are constant; {len(single)} doses have one sample",
        metadata={"constant_probes": constant, "doses_with_one_sample": dg.MetadataValue.json(single)},
    )


@dg.asset_check(asset=FILTERED, partitions_def=experiment_partitions)
def some_probes_respond(context: dg.AssetCheckExecutionContext, bmd_store: BmdStore) -> dg.AssetCheckResult:
    """The prefilter keeps something, and more than its own error rate would of noise."""
    result = bmd_store.expect_result(PREFILTER, context.partition_key)
    kept = sum(row["kept"] for row in result.rows)
    return dg.AssetCheckResult(
        passed=kept > 0,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{kept:,} of {len(result.rows):,} probes are kept",
        metadata={"kept": kept, "share": round(kept / len(result.rows), 4) if result.rows else 0.0},
    )


@dg.asset_check(asset=FITS, partitions_def=experiment_partitions)
def likelihoods_in_order(context: dg.AssetCheckExecutionContext, bmd_store: BmdStore) -> dg.AssetCheckResult:
    """No model is less likely than a special case of it, none likelier than a mean of its own for each dose."""
    from genomics_assets.bmd.expectations import likelihoods_out_of_order
    from genomics_assets.bmd.fitting import ModelFits

    probes, fits = ModelFits.from_table(bmd_store.expect_fits(context.partition_key).table)
    found = likelihoods_out_of_order(fits, probes)
    return dg.AssetCheckResult(
        passed=not found.wrong,
        description=f"{found.wrong:,} of {found.checked:,} comparisons are out of order",
        metadata={
            "compared": found.checked,
            "wrong": found.wrong,
            "first": dg.MetadataValue.json(found.examples),
        },
    )


@dg.asset_check(asset=FITS, partitions_def=experiment_partitions)
def limits_on_profile(context: dg.AssetCheckExecutionContext, bmd_store: BmdStore) -> dg.AssetCheckResult:
    """At BMDL and BMDU the likelihood has fallen by what their confidence says, for a random sample, computed anew."""
    from genomics_assets.bmd.expectations import limits_off_profile
    from genomics_assets.bmd.fitting import ModelFits

    probes, fits = ModelFits.from_table(bmd_store.expect_fits(context.partition_key).table)
    found = limits_off_profile(fits, probes)
    few = found.wrong <= MOST_OFF_PROFILE * found.checked
    return dg.AssetCheckResult(
        passed=not found.wrong,
        severity=dg.AssetCheckSeverity.WARN if few else dg.AssetCheckSeverity.ERROR,
        description=f"{found.wrong} of {found.checked} limits are not at deviance {fits.settings.quantile:.4f} ± 0.02",
        metadata={
            "limits": found.checked,
            "wrong": found.wrong,
            "first": dg.MetadataValue.json(found.examples),
        },
    )


@dg.asset_check(asset=RESULTS, partitions_def=experiment_partitions)
def limits_in_order(context: dg.AssetCheckExecutionContext, bmd_store: BmdStore) -> dg.AssetCheckResult:
    """BMDL <= BMD <= BMDU for every probe and model."""
    from genomics_assets.bmd.expectations import LIMITS, limits_out_of_order

    result = bmd_store.expect_result(BMD, context.partition_key)
    found = limits_out_of_order(bmd_store.probe_statistics(result.id, LIMITS))
    return dg.AssetCheckResult(
        passed=not found.wrong,
        description=f"{found.wrong:,} of {found.checked:,} fits have limits out of order",
        metadata={
            "fits": found.checked,
            "wrong": found.wrong,
            "first": dg.MetadataValue.json(found.examples),
        },
    )


@dg.asset_check(asset=RESULTS, partitions_def=experiment_partitions)
def stored_by_the_rule(context: dg.AssetCheckExecutionContext, bmd_store: BmdStore) -> dg.AssetCheckResult:
    """Results lie on their side of 1,048,576 bytes, and are the bytes that were written."""
    problems = bmd_store.misplaced_results(context.partition_key)
    return dg.AssetCheckResult(
        passed=not problems,
        description="; ".join(problems) or "every result of this experiment is where it belongs",
    )


@dg.asset_check(asset=GENES, partitions_def=experiment_partitions)
def probes_are_mapped(
    context: dg.AssetCheckExecutionContext, bmd_store: BmdStore, bmd_reference: BmdReference
) -> dg.AssetCheckResult:
    """The platform knows at least half of the matrix's probes."""
    from genomics_assets.bmd.platform_annotation import mapping_coverage

    experiment = bmd_store.expect_experiment(context.partition_key)
    probes = bmd_store.matrix(experiment).probes
    annotation, platform = bmd_reference.annotation(experiment.chip, probes)
    coverage = mapping_coverage(annotation, probes)
    return dg.AssetCheckResult(
        passed=coverage.share >= LEAST_COVERAGE,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{coverage.mapped:,} of {coverage.probes:,} probes have a gene on platform {platform['name']}",
        metadata={
            "mapped": coverage.mapped,
            "share": round(coverage.share, 4),
            "promiscuous": coverage.promiscuous,
            "platform": dg.MetadataValue.json(platform),
        },
    )


@dg.asset_check(asset=JANITOR)
def objects_and_rows_agree(bmd_store: BmdStore) -> dg.AssetCheckResult:
    """Every row finds its object, which is an error otherwise; every object has a row, else it is garbage."""
    survey = bmd_store.survey()
    return dg.AssetCheckResult(
        passed=not survey.missing and not survey.garbage,
        severity=dg.AssetCheckSeverity.ERROR if survey.missing else dg.AssetCheckSeverity.WARN,
        description=f"{len(survey.missing)} objects are missing, {len(survey.garbage)} of {survey.objects} are garbage",
        metadata={"missing": len(survey.missing), "garbage": len(survey.garbage)},
    )


checks = [
    matrix_has_spread,
    some_probes_respond,
    likelihoods_in_order,
    limits_on_profile,
    limits_in_order,
    stored_by_the_rule,
    probes_are_mapped,
    objects_and_rows_agree,
]
