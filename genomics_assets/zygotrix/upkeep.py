"""Jobs that change what is stored when a person asks for it: deleting a dataset, repairing what does not fit.

Both say what they would do until they are told to do it.
"""

from collections import Counter

import dagster as dg
from pydantic import Field

from genomics_assets.zygotrix.report import counts
from resources.zygotrix_removal import RemovalError, delete_dataset, repair
from resources.zygotrix_store import ZygotrixStore


class Deletion(dg.Config):
    """Which dataset is deleted."""

    dataset_id: str = Field(description="The _id of a document of gwas_datasets.")
    dry_run: bool = Field(default=True, description="Say what would be removed, and remove nothing.")


@dg.op(out=dg.Out(dg.Nothing), tags={"kind": "mongodb"})
def delete_gwas_dataset(context: dg.OpExecutionContext, config: Deletion, zygotrix: ZygotrixStore) -> None:
    """Deletes a dataset with its jobs, results and objects; one that was cut short is finished by running it again."""
    try:
        removed = delete_dataset(zygotrix, config.dataset_id, dry_run=config.dry_run)
    except (RemovalError, ValueError) as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    what = f"{removed.jobs:,} jobs, {removed.results:,} results, {removed.objects:,} objects"
    context.log.info(f"{'would remove' if config.dry_run else 'removed'} the dataset, {what}")
    context.add_output_metadata({"dry_run": config.dry_run, **vars(removed)})


class RepairConfig(dg.Config):
    """How far the repair goes."""

    dry_run: bool = Field(default=True, description="Say what would be done, and change nothing.")
    remove_objects: bool = Field(
        default=False,
        description="Remove objects that no document leads to. An upload that is under way looks the same.",
    )


@dg.op(out=dg.Out(dg.Nothing), tags={"kind": "mongodb"})
def repair_findings(context: dg.OpExecutionContext, config: RepairConfig, zygotrix: ZygotrixStore) -> None:
    """Does about the findings of `zygotrix/integrity` what can be done without a person."""
    repairs = repair(
        zygotrix, zygotrix.findings(), dry_run=config.dry_run, remove_objects=config.remove_objects
    )
    for one in repairs[:100]:
        context.log.info(f"{one.finding.kind} {one.finding.id}: {one.outcome}")
    outcomes = Counter(one.outcome.partition(":")[0].split()[0] for one in repairs)
    context.add_output_metadata(
        {"dry_run": config.dry_run, "findings": len(repairs), "outcomes": counts(dict(outcomes))}
    )


@dg.job(
    name="delete_dataset",
    description="Deletes one GWAS dataset with all that hangs on it. A dry run unless told otherwise.",
)
def delete_dataset_job() -> None:
    """One op."""
    delete_gwas_dataset()


@dg.job(
    name="repair_store",
    description="Repairs what `zygotrix/integrity` finds. A dry run unless told otherwise.",
)
def repair_store() -> None:
    """One op."""
    repair_findings()
