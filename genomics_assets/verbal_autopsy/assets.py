"""The assets of verbal autopsy: from a dropped batch to calibrated cause-specific mortality fractions.

    probbase, misclassification_matrices (reference data of others)
    cause_of_death -> csmf -> calibrated_csmf; algorithm_agreement; country_sensitivity

One partition is one dropped batch; the assets of one run share one job of `comsa.jobs`. The assets name their inputs,
call one function of a pure module, and return a table that an IO manager keeps as Parquet.
"""

from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg
import pyarrow as pa
from pydantic import Field

from genomics_assets.pools import CPU_HEAVY
from genomics_assets.verbal_autopsy.batch_job import batch_at_work, for_the_dropper, settings_of
from genomics_assets.verbal_autopsy.partitions import va_partitions
from resources.environment import Environment
from resources.inbox import InboxResource
from resources.jobs import ComsaJobs
from resources.preview import picture, preview_table

OWNERS = ["team:verbal-autopsy"]
GROUP = "verbal_autopsy"


def batch_asset(**settings: Any) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """What all assets of a batch share; ids of deaths stay out of the event log."""
    decorator: Callable[[Callable[..., Any]], dg.AssetsDefinition] = dg.asset(
        key_prefix=GROUP,
        group_name=GROUP,
        partitions_def=va_partitions,
        owners=OWNERS,
        io_manager_key="objects_io",
        retry_policy=dg.RetryPolicy(max_retries=2, delay=1),
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        code_version="1",
        **settings,
    )
    return decorator


# -- reference data ------------------------------------------------------------------------------------------------------


@dg.asset(key_prefix=GROUP, group_name=GROUP, owners=OWNERS, kinds={"csv"}, code_version="1")
def probbase() -> dg.MaterializeResult[None]:
    """The symptom-cause matrix of InterVA-5 and InSilicoVA that the user supplies, with its version and SHA-256.

    Nothing is copied: batches read the file of the folder GENOMICS_VA_REFERENCE, and say which bytes they used.
    """
    from genomics_assets.verbal_autopsy.probbase import find_probbase, read_probbase

    with for_the_dropper("probbase"):
        file = find_probbase(Environment.from_environ().va_reference)
        found = read_probbase(file)
    return dg.MaterializeResult(
        metadata={
            "version": found.version,
            "sha256": found.sha256,
            "size": file.size,
            "indicators": len(found.indicators),
            "causes": len(found.cause_names),
            "synthetic": found.is_synthetic,
        },
        data_version=dg.DataVersion(found.sha256),
    )


@dg.asset(key_prefix=GROUP, group_name=GROUP, owners=OWNERS, kinds={"csv"}, code_version="1")
def misclassification_matrices() -> dg.MaterializeResult[None]:
    """How algorithms err, by age group and country: the CHAMPS matrices that the user supplies, version and SHA-256.

    Nothing is copied: batches read the file of the folder GENOMICS_VA_REFERENCE, and say which bytes they used.
    """
    from genomics_assets.verbal_autopsy.misclassification import read_matrices
    from genomics_assets.verbal_autopsy.reference_file import find_reference

    with for_the_dropper("misclassification_matrices"):
        file = find_reference(Environment.from_environ().va_reference, "misclassification")
        found = read_matrices(file)
    return dg.MaterializeResult(
        metadata={
            "version": found.version,
            "sha256": found.sha256,
            "size": file.size,
            "matrices": len(found.matrices),
            "countries": ", ".join(found.countries),
            "synthetic": found.is_synthetic,
        },
        data_version=dg.DataVersion(found.sha256),
    )


# -- one batch -----------------------------------------------------------------------------------------------------------


@batch_asset(kinds={"parquet"}, deps=[probbase], metadata={"preview": False}, pool=CPU_HEAVY)
def cause_of_death(
    context: dg.AssetExecutionContext, inbox: InboxResource, comsa_jobs: ComsaJobs
) -> pa.Table:
    """One row for each death and algorithm: the cause that the algorithm assigns, or that the file brought along.

    Records that cannot be taken are counted by reason, with their lines. Ids are in the table alone.
    """
    from genomics_assets.verbal_autopsy.assignment import assign_batch, assignment_reference
    from genomics_assets.verbal_autopsy.calibrated_batch import check_matrices
    from genomics_assets.verbal_autopsy.misclassification import find_matrices
    from genomics_assets.verbal_autopsy.submission import read_table

    folder = Environment.from_environ().va_reference
    with batch_at_work(context, inbox, comsa_jobs, closes=False) as batch:
        settings, job = batch.settings, batch.job
        for uri in (batch.drop.uri, *batch.drop.sidecars):
            with inbox.local(uri) as path:
                job.input(path.name, path)
        if settings.calibrates:
            check_matrices(settings, find_matrices(folder))
        with inbox.local(batch.drop) as path:
            table = read_table(path)
        job.log(f"Data loaded: {table.records} records")
        reference = assignment_reference(folder, settings, table)
        assignment = assign_batch(table, settings, reference, progress=batch.assigning)
        inbox.check_unchanged(batch.drop)
        for one in assignment.assigned:
            job.log(f"openVA {one.algorithm} complete: {len(one.ids)} causes assigned")
        if assignment.rejects:
            job.log(f"{assignment.rejected} records rejected", "warning")
    context.add_output_metadata(
        {
            "records": assignment.records,
            "rejected": assignment.rejected,
            "rejects": dg.MetadataValue.md(
                preview_table(assignment.rejects, ["reason", "count", "meaning", "lines"], cell=80)
            ),
            "algorithms": ", ".join(settings.algorithms),
            "age_group": settings.age_group,
            "country": settings.country,
            "job_id": str(job.id),
            "reference": dg.MetadataValue.json(assignment.reference),
        }
    )
    return assignment.to_table()


@batch_asset(kinds={"parquet"})
def csmf(
    context: dg.AssetExecutionContext, cause_of_death: pa.Table, inbox: InboxResource, comsa_jobs: ComsaJobs
) -> pa.Table:
    """Cause-specific mortality fractions before calibration, by specific and by broad cause.

    A batch that is not to be calibrated ends here: its job is completed with `causes.csv` and the result.
    """
    from genomics_assets.verbal_autopsy.assignment import Assignment
    from genomics_assets.verbal_autopsy.calibrated_batch import fractions_table, mapping_rows
    from genomics_assets.verbal_autopsy.result_documents import assignment_result, causes_csv

    assignment = Assignment.from_table(cause_of_death)
    with batch_at_work(context, inbox, comsa_jobs, closes=None) as batch:
        table = fractions_table(assignment, batch.settings)
        if not batch.settings.calibrates:
            batch.job.output("causes.csv", causes_csv(assignment.assigned).encode())
            batch.job.result = assignment_result(assignment.assigned, {"causes": "causes.csv"})
    if batch.settings.calibrates:
        rows = mapping_rows(assignment, batch.settings.age_group)
        context.add_output_metadata({"mapping": dg.MetadataValue.md(preview_table(rows, list(rows[0])))})
    return table


@batch_asset(kinds={"parquet"}, output_required=False)
def algorithm_agreement(
    context: dg.AssetExecutionContext, cause_of_death: pa.Table, inbox: InboxResource
) -> Iterator[dg.Output[pa.Table]]:
    """How often two algorithms give a death the same broad cause, and Cohen's kappa; for batches with several."""
    from genomics_assets.verbal_autopsy.assignment import Assignment
    from genomics_assets.verbal_autopsy.calibrated_batch import agreement_table

    with for_the_dropper(context.partition_key):
        settings = settings_of(inbox, context.partition_key)
        if len(settings.algorithms) > 1 and settings.calibrates:
            yield dg.Output(agreement_table(Assignment.from_table(cause_of_death), settings.age_group))


@batch_asset(
    kinds={"parquet"}, deps=[csmf, misclassification_matrices], output_required=False, pool=CPU_HEAVY
)
def calibrated_csmf(
    context: dg.AssetExecutionContext, cause_of_death: pa.Table, inbox: InboxResource, comsa_jobs: ComsaJobs
) -> Iterator[dg.Output[pa.Table]]:
    """Cause-specific mortality fractions calibrated for the errors of the algorithms, with 95 % credible intervals.

    The job is completed with its result, its files and the posterior draws. Bounds that are not sound are left out, and
    why is in `ci_omitted_reason`. A batch of type openva_only has no such fractions.
    """
    from genomics_assets.verbal_autopsy.assignment import Assignment
    from genomics_assets.verbal_autopsy.calibrated_batch import calibrate_batch
    from genomics_assets.verbal_autopsy.misclassification import find_matrices
    from genomics_assets.verbal_autopsy.pictures import csmf_picture, matrices_picture

    with for_the_dropper(context.partition_key):
        if not settings_of(inbox, context.partition_key).calibrates:
            return
    matrices_folder = Environment.from_environ().va_reference
    with batch_at_work(context, inbox, comsa_jobs, closes=True) as batch:
        batch.job.log(f"missmat_type = {batch.settings.model}, ensemble = {batch.settings.ensemble}")
        calibrated = calibrate_batch(
            Assignment.from_table(cause_of_death),
            batch.settings,
            find_matrices(matrices_folder),
            progress=batch.calibrating,
        )
        batch.job.log("Calibration complete")
        for name, content in calibrated.files().values():
            batch.job.output(name, content)
        batch.job.result = calibrated.result()
        batch.job.log("All results saved")
    primary = calibrated.primary
    yield dg.Output(
        calibrated.to_table(),
        metadata={
            "fractions": picture(csmf_picture(calibrated.fitted), "cause-specific mortality fractions"),
            "misclassification": picture(
                matrices_picture(calibrated.fitted), "misclassification matrices, prior and posterior"
            ),
            "r_hat": round(primary.convergence.r_hat, 4),
            "effective_sample_size": round(primary.convergence.sample_size),
            "path_correction_stalled": primary.path_correction_stalled,
            "ci_unreliable": primary.ci_unreliable,
            "job_id": str(batch.job.id),
        },
    )


class Countries(dg.Config):
    """Under which countries' matrices a batch is calibrated anew."""

    countries: list[str] = Field(default=[], description="Countries by name; none: all that have matrices.")


@batch_asset(kinds={"parquet"}, deps=[misclassification_matrices], pool=CPU_HEAVY)
def country_sensitivity(
    context: dg.AssetExecutionContext, config: Countries, cause_of_death: pa.Table, inbox: InboxResource
) -> pa.Table:
    """The same batch calibrated under the matrices of every country: how much the choice of the country decides.

    No drop asks for it, for it takes as many calibrations as there are countries; materialize or backfill it.
    """
    from genomics_assets.verbal_autopsy.assignment import Assignment
    from genomics_assets.verbal_autopsy.calibrated_batch import sensitivity_table
    from genomics_assets.verbal_autopsy.misclassification import find_matrices

    with for_the_dropper(context.partition_key):
        settings = settings_of(inbox, context.partition_key)
        matrices = find_matrices(Environment.from_environ().va_reference)
        countries = config.countries or matrices.countries
        return sensitivity_table(Assignment.from_table(cause_of_death), settings, matrices, countries)


assets = [
    probbase,
    misclassification_matrices,
    cause_of_death,
    csmf,
    algorithm_agreement,
    calibrated_csmf,
    country_sensitivity,
]
