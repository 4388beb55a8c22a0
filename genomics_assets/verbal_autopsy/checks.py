"""What can be wrong with a batch that was worked on: asset checks of verbal autopsy.

ERROR means that numbers contradict each other or cannot be relied on, WARN that they are unusual for what they claim to be.
"""

import dagster as dg
import pyarrow as pa

from genomics_assets.verbal_autopsy.partitions import va_partitions

CAUSES = dg.AssetKey(["verbal_autopsy", "cause_of_death"])
FRACTIONS = dg.AssetKey(["verbal_autopsy", "csmf"])
CALIBRATED = dg.AssetKey(["verbal_autopsy", "calibrated_csmf"])


@dg.asset_check(asset=CAUSES, partitions_def=va_partitions)
def records_reconcile(cause_of_death: pa.Table) -> dg.AssetCheckResult:
    """Every record of the file has a cause by an algorithm, or was rejected with a reason."""
    from genomics_assets.verbal_autopsy.assignment import Assignment
    from genomics_assets.verbal_autopsy.expectations import records_accounted_for

    told = records_accounted_for(Assignment.from_table(cause_of_death))
    return dg.AssetCheckResult(passed=told.met, description=told.sentence)


@dg.asset_check(asset=CAUSES, partitions_def=va_partitions)
def few_rejected(cause_of_death: pa.Table) -> dg.AssetCheckResult:
    """At most a tenth of the records was rejected."""
    from genomics_assets.verbal_autopsy.assignment import Assignment
    from genomics_assets.verbal_autopsy.expectations import few_records_rejected

    told = few_records_rejected(Assignment.from_table(cause_of_death))
    return dg.AssetCheckResult(
        passed=told.met, severity=dg.AssetCheckSeverity.WARN, description=told.sentence
    )


@dg.asset_check(asset=CAUSES, partitions_def=va_partitions)
def reference_is_real(cause_of_death: pa.Table) -> dg.AssetCheckResult:
    """The reference is a published one and not the made-up one of the demonstration."""
    from genomics_assets.verbal_autopsy.assignment import Assignment

    synthetic = Assignment.from_table(cause_of_death).is_synthetic
    return dg.AssetCheckResult(
        passed=not synthetic,
        severity=dg.AssetCheckSeverity.WARN,
        description="made-up reference: the causes say nothing about people" if synthetic else "published",
    )


@dg.asset_check(asset=FRACTIONS, partitions_def=va_partitions)
def fractions_sum_to_one(csmf: pa.Table) -> dg.AssetCheckResult:
    """The fractions of each algorithm sum to one, by specific and by broad cause."""
    from genomics_assets.verbal_autopsy.expectations import sums_to_one

    told = sums_to_one(csmf, ["algorithm", "level"], "fraction")
    return dg.AssetCheckResult(passed=told.met, description=told.sentence)


@dg.asset_check(asset=CALIBRATED, partitions_def=va_partitions)
def calibrated_fractions_sum_to_one(calibrated_csmf: pa.Table) -> dg.AssetCheckResult:
    """The calibrated fractions of each fit sum to one, and lie within their bounds."""
    from genomics_assets.verbal_autopsy.expectations import bounds_hold_means, sums_to_one

    sums, bounds = (
        sums_to_one(calibrated_csmf, ["label"], "calibrated_mean"),
        bounds_hold_means(calibrated_csmf),
    )
    return dg.AssetCheckResult(
        passed=sums.met and bounds.met, description=f"{sums.sentence}; {bounds.sentence}"
    )


@dg.asset_check(asset=CALIBRATED, partitions_def=va_partitions)
def chains_converged(calibrated_csmf: pa.Table) -> dg.AssetCheckResult:
    """R-hat is below 1.01 and the effective sample size above 400 for every fit."""
    from genomics_assets.verbal_autopsy.expectations import all_converged

    told = all_converged(calibrated_csmf)
    return dg.AssetCheckResult(passed=told.met, description=told.sentence)


@dg.asset_check(asset=CALIBRATED, partitions_def=va_partitions)
def path_correction_moved(calibrated_csmf: pa.Table) -> dg.AssetCheckResult:
    """No algorithm's path correction stalled, as a cause without any death makes it do."""
    from genomics_assets.verbal_autopsy.expectations import none_stalled

    told = none_stalled(calibrated_csmf)
    return dg.AssetCheckResult(
        passed=told.met, severity=dg.AssetCheckSeverity.WARN, description=told.sentence
    )


checks = [
    records_reconcile,
    few_rejected,
    reference_is_real,
    fractions_sum_to_one,
    calibrated_fractions_sum_to_one,
    chains_converged,
    path_correction_moved,
]
