"""The nightly housekeeping: one job, its schedule, and nothing of how the work is done."""

from pathlib import Path

import dagster as dg

from resources.annotation_warehouse import AnnotationWarehouse
from resources.maintenance import compact
from resources.maintenance import prune_compute_logs as prune_logs
from resources.maintenance import prune_event_log as prune
from resources.postgres import PostgresResource
from resources.preview import preview_table
from resources.variant_lake import VariantLake
from resources.variant_warehouse import VariantWarehouse


class PruneConfig(dg.Config):
    """How much of the event log stays."""

    keep_days: int = 30
    """Days for which a finished run keeps its whole log; the history of assets and checks stays for ever."""


@dg.op(out=dg.Out(dg.Nothing), tags={"kind": "postgres"})
def prune_event_log(context: dg.OpExecutionContext, config: PruneConfig, postgres: PostgresResource) -> None:
    """Removes old events of finished runs from Dagster's log; partitions keep their status."""
    report = prune(postgres, config.keep_days)
    if not report.found:
        context.log.warning(
            "This database has no schema `dagster` with an event log, so there was nothing to prune. "
            "Where Dagster's storage is elsewhere, prune it there."
        )
        return
    context.log.info(f"{report.removed:,} events removed, {report.kept:,} kept in {report.seconds:.1f} s")
    context.add_output_metadata(
        {
            "keep_days": config.keep_days,
            "events_removed": report.removed,
            "events_kept": report.kept,
            "bytes_before": report.size_before,
            "bytes_after": report.size_after,
            "seconds": round(report.seconds, 3),
        }
    )


@dg.op(out=dg.Out(dg.Nothing))
def prune_compute_logs(context: dg.OpExecutionContext, config: PruneConfig) -> None:
    """Removes what steps of old runs printed, where it is on a local disk; a bucket has rules of its own for that."""
    from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager

    logs = context.instance.compute_log_manager
    if not isinstance(logs, LocalComputeLogManager):
        context.log.info("Compute logs are not on a local disk: give their bucket a rule that expires them.")
        return
    context.add_output_metadata({"runs_pruned": prune_logs(Path(logs._base_dir), config.keep_days)})


@dg.op(out=dg.Out(dg.Nothing), tags={"kind": "postgres"})
def compact_warehouse(context: dg.OpExecutionContext, postgres: PostgresResource) -> None:
    """Runs VACUUM (ANALYZE) on the variant warehouse, so that its queries keep their speed."""
    tables = compact(postgres, schema="genomics")
    columns = ["name", "rows", "size_before", "size_after", "seconds"]
    shown = [{**vars(table), "seconds": round(table.seconds, 2)} for table in tables]
    context.add_output_metadata(
        {
            "tables": len(tables),
            "rows": sum(table.rows for table in tables),
            "bytes_before": sum(table.size_before for table in tables),
            "bytes_after": sum(table.size_after for table in tables),
            "by_table": dg.MetadataValue.md(preview_table(shown, columns, cell=80)),
        }
    )


@dg.op(out=dg.Out(dg.Nothing), tags={"kind": "postgres"})
def sweep_loads(context: dg.OpExecutionContext, warehouse: VariantWarehouse, lake: VariantLake) -> None:
    """Closes the audit of loads whose worker died, and deletes rows and objects that superseded loads left behind."""
    context.add_output_metadata(
        {**warehouse.sweep(), "lake_parts_deleted": lake.remove(warehouse.all_superseded())}
    )


class RetentionConfig(dg.Config):
    """How long replaced versions of annotation sources can be brought back."""

    keep_days: int = 90
    """Days since the version that replaced them was loaded."""


@dg.op(out=dg.Out(dg.Nothing), tags={"kind": "postgres"})
def sweep_annotations(
    context: dg.OpExecutionContext, config: RetentionConfig, annotation_warehouse: AnnotationWarehouse
) -> None:
    """Drops what rollbacks to versions of annotation sources need, once it is past its time."""
    dropped = annotation_warehouse.sweep(config.keep_days)
    context.add_output_metadata({"keep_days": config.keep_days, "versions_dropped": dropped})


@dg.job(
    description="Prunes Dagster's event and compute logs, sweeps dead loads, compacts and analyses the warehouse."
)
def maintenance() -> None:
    """None waits for another: one that fails does not hold the others back."""
    prune_event_log()
    prune_compute_logs()
    sweep_loads()
    sweep_annotations()
    compact_warehouse()


maintenance_nightly = dg.ScheduleDefinition(
    name="maintenance_nightly",
    job=maintenance,
    cron_schedule="17 3 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night at 03:17.",
)
