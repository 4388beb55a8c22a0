"""Jobs of the file-based system, taken over into the COMSA ledger."""

import dagster as dg
import pyarrow as pa
from pydantic import Field

from genomics_assets.input_error import InputError
from genomics_assets.jobs.partitions import LEGACY_DROPS, legacy_partitions
from resources.failures import permanent_failure
from resources.inbox import InboxResource
from resources.jobs import ComsaJobs


class LegacyConfig(dg.Config):
    """How the old tree is to be read."""

    time_zone: str = Field(
        default="UTC", description="Zone of the old server's clock, such as Africa/Maputo."
    )


@dg.asset(
    key_prefix="jobs",
    group_name="jobs",
    partitions_def=legacy_partitions,
    io_manager_key="objects_io",
    kinds={"json", "postgres", "parquet"},
    owners=["team:genomics-data"],
    retry_policy=dg.RetryPolicy(max_retries=2, delay=1),
    backfill_policy=dg.BackfillPolicy.multi_run(1),
    code_version="1",
    metadata={"preview": False},
)
def comsa_legacy_jobs(
    context: dg.AssetExecutionContext, config: LegacyConfig, inbox: InboxResource, comsa_jobs: ComsaJobs
) -> pa.Table:
    """One row for each file of the dropped tree: what became of it.

    Jobs become rows of `comsa.jobs` with their logs, uploads and outputs become objects with rows of
    `comsa.job_files`. A broken job is reported by name and the others are taken; the same tree again changes nothing.
    """
    from genomics_assets.jobs.legacy import member_paths, time_zone
    from genomics_assets.jobs.legacy_report import counts, report_markdown, report_table
    from resources.jobs.legacy_import import import_tree

    try:
        zone = time_zone(config.time_zone)
        drop = inbox.drop(LEGACY_DROPS, context.partition_key)
        with inbox.local(drop) as root:
            reports = import_tree(comsa_jobs, root, member_paths(drop), zone=zone)
        inbox.check_unchanged(drop)
    except InputError as error:
        raise permanent_failure(error, context.partition_key) from error
    context.add_output_metadata(
        {
            "files": len(drop.sidecars),
            "report": dg.MetadataValue.md(report_markdown(reports)),
            **counts(reports),
        }
    )
    return report_table(reports)


assets = [comsa_legacy_jobs]
