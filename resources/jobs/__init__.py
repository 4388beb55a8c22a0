"""The job ledgers: three stores of jobs behind one state machine.

`ComsaJobs`, `BmdJobs` and `GwasJobs` are the resources; assets use `running`, and what it gives.
"""

from resources.jobs.bmd import BmdJobs, BmdRequest
from resources.jobs.comsa import ComsaJob, ComsaJobs, ComsaRequest
from resources.jobs.gwas import GwasJobs, GwasRequest
from resources.jobs.ledger import ClosedJob, JobLedger, RunningJob
from resources.jobs.store import JobClosedError, JobError, JobHeldError, JobOrigin

__all__ = [
    "BmdJobs",
    "BmdRequest",
    "ClosedJob",
    "ComsaJob",
    "ComsaJobs",
    "ComsaRequest",
    "GwasJobs",
    "GwasRequest",
    "JobClosedError",
    "JobError",
    "JobHeldError",
    "JobLedger",
    "JobOrigin",
    "RunningJob",
]
