"""Care for jobs that nobody else closes: their worker was killed, or their run ended without them.

The worker of a job closes it in every case that it lives to see. What is left is seen here, every half minute, and by
`drain` before and after its work.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import dagster as dg
from dagster._core.storage.tags import RUN_KEY_TAG

from genomics_assets.jobs.endings import EndingKind, JobEnding
from resources.jobs import BmdJobs, ClosedJob, ComsaJobs, GwasJobs, JobLedger
from resources.jobs.store import StoredJob
from sensors.file_drops import DRAIN_TAG

SECONDS_BETWEEN_LOOKS = 30
# A run that was asked for exists within seconds; this long after, its request was lost.
NEVER_STARTED_SECONDS = 900.0

_WORKING = (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED)


@dataclass
class Care:
    """What one look came to.

    Args:
        closed: jobs that were closed.
        runs: runs that were reported failed with their jobs.
        problems: ledgers that could not be looked at, and why.
    """

    closed: list[ClosedJob] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def describe(self) -> str:
        """In one line."""
        told = [f"{job.ledger} job {job.id}: {job.ending.kind}" for job in self.closed]
        told += [f"run {run} reported failed" for run in self.runs]
        return "; ".join([*told, *self.problems]) or "every open job has its worker or waits for its run"


def care_for_jobs(ledgers: Sequence[JobLedger], instance: dg.DagsterInstance) -> Care:
    """Close the jobs of lost workers and of runs that ended, and report runs failed whose worker is lost.

    No ledger waits for another. Several may do this at once.
    """
    care = Care()
    for ledger in ledgers:
        try:
            reaped = ledger.reap()
            care.closed += reaped + _close_with_runs(ledger, instance)
            care.runs += _fail_runs(reaped, ledger, instance)
        except Exception as error:  # noqa: BLE001 - drivers have no common ancestor
            care.problems.append(f"{type(ledger).__name__} cannot be looked at ({type(error).__name__})")
    return care


@dg.sensor(
    minimum_interval_seconds=SECONDS_BETWEEN_LOOKS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Closes jobs whose worker was killed, and jobs whose run ended without them.",
)
def job_liveness(
    context: dg.SensorEvaluationContext, comsa_jobs: ComsaJobs, bmd_jobs: BmdJobs, gwas_jobs: GwasJobs
) -> dg.SkipReason:
    """One look at the three ledgers."""
    care = care_for_jobs([comsa_jobs, bmd_jobs, gwas_jobs], context.instance)
    for problem in care.problems:
        context.log.warning(problem)
    return dg.SkipReason(care.describe())


def _close_with_runs(ledger: JobLedger, instance: dg.DagsterInstance) -> list[ClosedJob]:
    """Close open jobs whose run has ended, or never came."""
    closed = []
    for job in ledger.store.open_jobs():
        ending = _ending_by_run(job, instance)
        if ending is not None and (done := ledger.end_run(job, ending)):
            closed.append(done)
    return closed


def _ending_by_run(job: StoredJob, instance: dg.DagsterInstance) -> JobEnding | None:
    """How a job ends whose run has ended; None while the run goes on, or is not of this instance."""
    if job.run_id is not None:
        run = instance.get_run_by_id(job.run_id)
    else:
        runs = instance.get_runs(dg.RunsFilter(tags={RUN_KEY_TAG: str(job.run_key)}), limit=1)
        if not runs and job.age > NEVER_STARTED_SECONDS:
            return JobEnding(EndingKind.NEVER_STARTED, "no run took this job up; drop its file again")
        run = runs[0] if runs else None
    if run is None or not run.is_finished:
        return None
    if run.status is dg.DagsterRunStatus.CANCELED:
        return JobEnding(EndingKind.CANCELLED, f"run {run.run_id} was cancelled")
    return JobEnding(EndingKind.RUN_FAILED, f"run {run.run_id} ended without this job; its log says why")


def _fail_runs(reaped: Sequence[ClosedJob], ledger: JobLedger, instance: dg.DagsterInstance) -> list[str]:
    """Report the runs of reaped jobs failed, unless another job of theirs is still worked on, or a drain did."""
    alive = {job.run_id for job in ledger.store.open_jobs()}
    failed = []
    for job in reaped:
        run = None if job.run_id is None or job.run_id in alive else instance.get_run_by_id(job.run_id)
        # A drain's run is closed by whoever takes its file again: were it closed here, the file would count as done with.
        if run is not None and run.status in _WORKING and DRAIN_TAG not in run.tags:
            instance.report_run_failed(run, f"The process that worked on {job.ledger} job {job.id} is gone.")
            failed.append(run.run_id)
    return failed
