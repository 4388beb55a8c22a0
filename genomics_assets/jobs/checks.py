"""What can be wrong with a migration that ran through."""

import dagster as dg
import pyarrow as pa

from genomics_assets.jobs.partitions import LEGACY_DROPS, legacy_partitions
from resources.inbox import InboxResource
from resources.jobs import ComsaJobs

LEGACY_JOBS = dg.AssetKey(["jobs", "comsa_legacy_jobs"])


@dg.asset_check(asset=LEGACY_JOBS, partitions_def=legacy_partitions)
def every_file_accounted_for(
    context: dg.AssetCheckExecutionContext,
    comsa_legacy_jobs: pa.Table,
    inbox: InboxResource,
    comsa_jobs: ComsaJobs,
) -> dg.AssetCheckResult:
    """Each dropped file has one outcome, and each that was taken over has its row and its object."""
    from genomics_assets.jobs.legacy import member_paths
    from genomics_assets.jobs.legacy_report import reports_of, unaccounted
    from resources.jobs.legacy_import import without_backing

    reports = reports_of(comsa_legacy_jobs)
    forgotten = unaccounted(reports, member_paths(inbox.drop(LEGACY_DROPS, context.partition_key)))
    unbacked = without_backing(comsa_jobs, reports)
    return dg.AssetCheckResult(
        passed=not forgotten and not unbacked,
        description=f"{len(reports):,} outcomes; {forgotten:,} files without one, {len(unbacked):,} without row or object",
        metadata={
            "without_outcome": forgotten,
            "without_row_or_object": dg.MetadataValue.json(unbacked[:20]),
        },
    )


@dg.asset_check(asset=LEGACY_JOBS, partitions_def=legacy_partitions)
def every_job_taken(comsa_legacy_jobs: pa.Table) -> dg.AssetCheckResult:
    """Nothing was left behind: no broken job, no file without its job, no output that a job names and lacks."""
    from genomics_assets.jobs.legacy_report import not_taken, reports_of

    reports = reports_of(comsa_legacy_jobs)
    left = not_taken(reports)
    return dg.AssetCheckResult(
        passed=not left,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{len(left):,} of {len(reports):,} files were left behind; the report says why",
        metadata={
            "not_taken": len(left),
            "first": dg.MetadataValue.json([f"{r.path}: {r.outcome}, {r.reason}" for r in left[:20]]),
        },
    )


checks = [every_file_accounted_for, every_job_taken]
