"""One job in `bmd.jobs` for each run of the dose-response assets: its steps share it, its last output completes it.

The last output and the job's end are one transaction. A step that fails ends the job with the reason.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dagster as dg

from genomics_assets.input_error import InputError
from genomics_assets.jobs.endings import ending_of
from resources.bmd_store import BmdStore
from resources.drop_ledger import Request
from resources.failures import permanent_failure
from resources.hybrid_storage import BMD
from resources.jobs import BmdJobs, BmdRequest, JobOrigin

if TYPE_CHECKING:
    import psycopg

JOB_TYPE = "BMD_ANALYSIS"
# In the order of the run.
STAGES = (
    "expression_matrix", "prefilter_results", "model_fits", "bmd_results", "gene_bmds", "category_results",
    "points_of_departure", "exports", "charts",
)  # fmt: skip

Progress = Callable[[float], None]


class BmdRunJobs(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Ties runs to jobs."""

    jobs: dg.ResourceDependency[BmdJobs]
    store: dg.ResourceDependency[BmdStore]

    @contextmanager
    def step(self, context: dg.AssetExecutionContext) -> Iterator[Progress]:
        """Work on the run's job while one of its assets is made; gives what takes the share of this step that is done."""
        stage = context.asset_key.path[-1]
        in_run = _stages_of(context.get_step_execution_context())
        before = in_run.index(stage) if stage in in_run else 0
        with self.jobs.running(context, self.request(context.partition_key), closes=False) as job:

            def progress(share: float) -> None:
                job.progress((before + min(1.0, share)) / max(1, len(in_run)), stage.replace("_", " "))

            progress(0.0)
            try:
                yield progress
            except InputError as error:
                raise permanent_failure(error, context.partition_key) from error

    def request(self, partition_key: str) -> BmdRequest:
        """What a job of a partition is asked to do."""
        user_id, project_id = self.store.owner_of(partition_key)
        return BmdRequest(user_id, JOB_TYPE, project_id, {"experiment": partition_key})

    @contextmanager
    def storing(self, context: dg.OutputContext) -> "Iterator[psycopg.Connection[Any] | None]":
        """Store an output: in the transaction that completes the run's job where it is the last one, else in its own."""
        job = self.jobs.current(context.run_id)
        if job is None:
            yield None
            return
        try:
            if not _is_last(context):
                yield None
                return
            with job.completion() as transaction:
                yield transaction
                job.result = self._result_id(transaction, context.partition_key)
        except BaseException as error:
            job.end(ending_of(error, context.run_id))
            raise

    @staticmethod
    def _result_id(transaction: "psycopg.Connection[Any]", partition_key: str) -> int | None:
        from psycopg import sql

        row = transaction.execute(
            sql.SQL("SELECT id FROM bmd.{} WHERE partition_key = %s AND superseded_at IS NULL").format(
                sql.Identifier(BMD.table)
            ),
            (partition_key,),
        ).fetchone()
        return None if row is None else int(row[0])


def open_job(resources: Any, request: Request) -> None:
    """Open the job of a dropped matrix when its run is asked for."""
    run_jobs: BmdRunJobs = resources.bmd_run_jobs
    run_jobs.jobs.open(
        run_jobs.request(request.partition_key), JobOrigin(request.run_key, request.partition_key)
    )


def _stages_of(step: Any) -> list[str]:
    """The stages that a run makes, in order."""
    planned = set(step.plan_data.execution_plan.step_keys_to_execute)
    return [stage for stage in STAGES if f"bmd__{stage}" in planned]


def _is_last(context: dg.OutputContext) -> bool:
    """Whether every other stage of the run is stored already."""
    step = context.step_context
    done = {
        record.event_log_entry.step_key
        for record in step.instance.get_records_for_run(
            context.run_id, of_type=dg.DagsterEventType.STEP_SUCCESS
        ).records
    }
    return all(f"bmd__{stage}" in done for stage in _stages_of(step) if f"bmd__{stage}" != step.step.key)
