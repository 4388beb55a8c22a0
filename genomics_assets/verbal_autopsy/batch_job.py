"""A batch and its job: the dropped file, its settings, and the row of `comsa.jobs` that tells what becomes of it.

Assets of one run share one job. An error that the person who dropped the file can mend fails the job with its sentence,
and the run with a failure that is not retried.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from genomics_assets.drops import Drop
from genomics_assets.input_error import InputError
from genomics_assets.verbal_autopsy.batch_settings import BatchSettings, read_batch_settings
from genomics_assets.verbal_autopsy.partitions import VA_DROPS
from resources.drop_ledger import Request
from resources.failures import permanent_failure
from resources.inbox import InboxResource
from resources.jobs import ComsaJob, ComsaJobs, ComsaRequest, JobOrigin

UNREADABLE = "unknown"


@dataclass(frozen=True)
class Batch:
    """A batch that is worked on."""

    drop: Drop
    settings: BatchSettings
    job: ComsaJob

    def assigning(self, algorithm: str, share: float) -> None:
        """Progress of one algorithm's causes."""
        self._tell(f"causes by {algorithm}", share)

    def calibrating(self, label: str, share: float) -> None:
        """Progress of the calibration of one algorithm, or of the ensemble."""
        self._tell(f"calibration of {label}", share)

    def _tell(self, phase: str, share: float) -> None:
        phases = self.settings.phases
        done = phases.index(phase) if phase in phases else 0
        self.job.progress((done + share) / len(phases), phase)


@contextmanager
def batch_at_work(
    context: dg.AssetExecutionContext, inbox: InboxResource, comsa_jobs: ComsaJobs, *, closes: bool | None
) -> Iterator[Batch]:
    """Work on a partition's batch; its job is opened where the sensor did not.

    Args:
        context: of the step.
        inbox: where the batch lies.
        comsa_jobs: the ledger.
        closes: whether the job is completed at the end of the block; None: where nothing is calibrated.

    Raises:
        dagster.Failure: for every `InputError`; it is not retried, for the same bytes would fail again.
    """
    with for_the_dropper(context.partition_key):
        drop, settings, problem = _look(inbox, context.partition_key)
        completes = closes if closes is not None else not (settings and settings.calibrates)
        with comsa_jobs.running(context, job_request(settings), closes=completes) as job:
            if problem is not None or drop is None or settings is None:
                raise problem or InputError("the batch is gone", remedy="drop it again")
            yield Batch(drop, settings, job)


def settings_of(inbox: InboxResource, partition_key: str) -> BatchSettings:
    """The settings of a batch.

    Raises:
        InputError: the batch is gone, or its sidecar cannot be taken.
    """
    return _settings(inbox, inbox.drop(VA_DROPS, partition_key))


@contextmanager
def for_the_dropper(partition_key: str) -> Iterator[None]:
    """An `InputError` of the block becomes a failure that names the file and is not retried."""
    try:
        yield
    except InputError as error:
        told = error if error.file else error.in_file(f"{VA_DROPS.folder}/{partition_key}")
        raise permanent_failure(told, partition_key) from told


def open_job(resources: Any, request: Request) -> object:
    """Open the pending job of a batch whose run is asked for."""
    try:
        settings = settings_of(resources.inbox, request.partition_key)
    except InputError:
        settings = None
    return resources.comsa_jobs.open(job_request(settings), JobOrigin(request.run_key, request.partition_key))


def job_request(settings: BatchSettings | None) -> ComsaRequest:
    """What the job is asked for; of a sidecar that cannot be read nothing is known."""
    if settings is None:
        return ComsaRequest(UNREADABLE)
    return ComsaRequest(
        type=settings.job_type,
        algorithm=",".join(settings.algorithms),
        age_group=settings.age_group,
        country=settings.country,
        calib_model_type=settings.model if settings.calibrates else None,
        ensemble=settings.ensemble,
        parameters=settings.as_params(),
    )


def _look(
    inbox: InboxResource, partition_key: str
) -> tuple[Drop | None, BatchSettings | None, InputError | None]:
    drop = None
    try:
        drop = inbox.drop(VA_DROPS, partition_key)
        return drop, _settings(inbox, drop), None
    except InputError as error:
        return drop, None, error


def _settings(inbox: InboxResource, drop: Drop) -> BatchSettings:
    name = Path(drop.uri).name
    for uri in drop.sidecars:
        with inbox.local(uri) as path:
            return read_batch_settings(path, name)
    return read_batch_settings(None, name)
