"""Taking things out of the document store: a dataset with all that hangs on it, and what the integrity report found.

Every removal begins at the leaves and ends with the document that leads to them: objects, then results, then jobs, the
dataset last. A dataset that is being deleted has `deleting_since`, so that one that was cut short is known and finished.
"""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from genomics_assets.zygotrix.extended_json import identifier
from genomics_assets.zygotrix.integrity import Finding, dataset_prefix, result_prefix
from genomics_assets.zygotrix.models import ACTIVE_JOB
from resources.zygotrix_store import ZygotrixStore

LOST_RESULT = "its result is not in the store any more; run it again"
LOST_FILE = "its file is not in the object store any more; drop it again"


class RemovalError(RuntimeError):
    """What was to be removed is not there, or is being worked on."""


@dataclass(frozen=True)
class Removal:
    """What was removed, or in a dry run would have been."""

    datasets: int = 0
    jobs: int = 0
    results: int = 0
    objects: int = 0


@dataclass(frozen=True)
class Repair:
    """What became of a finding."""

    finding: Finding
    outcome: str


def delete_dataset(store: ZygotrixStore, dataset_id: Any, *, dry_run: bool = True) -> Removal:
    """Delete a dataset with its jobs, results and objects. One that was cut short is finished by calling it again.

    Raises:
        RemovalError: there is no such dataset, or jobs of it are pending or running.
    """
    wanted = identifier(dataset_id)
    datasets = store.collection("gwas_datasets")
    dataset = datasets.find_one({"_id": wanted})
    if dataset is None:
        raise RemovalError(
            f"There is no dataset {wanted}. Remedy: give the _id of a document of gwas_datasets."
        )
    if dry_run:
        _expect_idle(store, wanted)
        return _counted(store, dataset)
    begun = dataset.get("deleting_since") is not None
    if not begun:
        # First of all, so that no job is started from here on.
        datasets.update_one(
            {"_id": wanted}, {"$set": {"deleting_since": datetime.datetime.now(datetime.UTC)}}
        )
    try:
        _expect_idle(store, wanted)
    except RemovalError:
        if not begun:
            datasets.update_one({"_id": wanted}, {"$unset": {"deleting_since": ""}})
        raise
    removed = _counted(store, dataset)
    for job in list(store.collection("gwas_jobs").find({"dataset_id": wanted}, {"user_id": 1})):
        _remove_job(store, job["_id"], job.get("user_id"))
    for result in list(
        store.collection("gwas_results").find({"dataset_id": wanted}, {"job_id": 1, "user_id": 1})
    ):
        _remove_result(store, result)
    store.objects.delete(_prefix(dataset))
    datasets.delete_one({"_id": wanted})
    return removed


def repair(
    store: ZygotrixStore, found: Iterable[Finding], *, dry_run: bool = True, remove_objects: bool = False
) -> list[Repair]:
    """Do about findings what can be done without a person; in a dry run only say so.

    Args:
        store: the document store.
        found: of its integrity report.
        dry_run: change nothing.
        remove_objects: remove objects that no document leads to. Not by itself, for an upload that is still under way
            looks the same.
    """
    return [Repair(finding, _repaired(store, finding, dry_run, remove_objects)) for finding in found]


def _repaired(store: ZygotrixStore, finding: Finding, dry_run: bool, remove_objects: bool) -> str:
    if not finding.rule.repair:
        return "left: a person must decide"
    if finding.kind.startswith("objects_without_") and not remove_objects:
        return "left: removing objects was not asked for"
    if dry_run:
        return f"would {finding.rule.repair}"
    try:
        _REPAIRS[finding.kind](store, finding.id)
    except RemovalError as error:
        return f"left: {error}"
    return f"done: {finding.rule.repair}"


def _expect_idle(store: ZygotrixStore, dataset_id: Any) -> None:
    wanted = {"dataset_id": dataset_id, "status": {"$in": sorted(ACTIVE_JOB)}}
    active = store.collection("gwas_jobs").count_documents(wanted)
    if active:
        raise RemovalError(
            f"Dataset {dataset_id} has {active} pending or running jobs. Remedy: cancel their runs or wait for them."
        )


def _counted(store: ZygotrixStore, dataset: dict[str, Any]) -> Removal:
    mine = {"dataset_id": dataset["_id"]}
    jobs = list(store.collection("gwas_jobs").find(mine, {"user_id": 1}))
    results = list(store.collection("gwas_results").find(mine, {"job_id": 1, "user_id": 1}))
    prefixes = {_prefix(dataset)}
    prefixes |= {result_prefix(job.get("user_id"), job["_id"]) for job in jobs}
    prefixes |= {result_prefix(result.get("user_id"), result.get("job_id")) for result in results}
    objects = sum(len(store.objects.list(prefix)) for prefix in prefixes)
    return Removal(1, len(jobs), len(results), objects)


def _prefix(dataset: dict[str, Any]) -> str:
    return dataset_prefix(dataset) or f"gwas-datasets/{dataset.get('user_id')}/{dataset['_id']}"


def _remove_job(store: ZygotrixStore, job_id: Any, user_id: Any) -> None:
    store.objects.delete(result_prefix(user_id, job_id))
    for result in list(
        store.collection("gwas_results").find({"job_id": job_id}, {"job_id": 1, "user_id": 1})
    ):
        _remove_result(store, result)
    store.collection("gwas_jobs").delete_one({"_id": job_id})


def _remove_result(store: ZygotrixStore, result: dict[str, Any]) -> None:
    store.objects.delete(result_prefix(result.get("user_id"), result.get("job_id")))
    store.collection("gwas_results").delete_one({"_id": result["_id"]})


def _remove_orphaned_job(store: ZygotrixStore, job_id: Any) -> None:
    job = store.collection("gwas_jobs").find_one({"_id": job_id}, {"user_id": 1, "status": 1})
    if job is None:
        return
    if job.get("status") in ACTIVE_JOB:
        raise RemovalError("it is pending or running")
    _remove_job(store, job_id, job.get("user_id"))


def _remove_orphaned_result(store: ZygotrixStore, result_id: Any) -> None:
    result = store.collection("gwas_results").find_one({"_id": result_id}, {"job_id": 1, "user_id": 1})
    if result is not None:
        _remove_result(store, result)


def _fail_job(store: ZygotrixStore, job_id: Any) -> None:
    store.collection("gwas_jobs").update_one(
        {"_id": job_id, "status": "completed"},
        {"$set": {"status": "failed", "error": LOST_RESULT, "result_id": None}},
    )


def _name_result(store: ZygotrixStore, job_id: Any) -> None:
    result = store.collection("gwas_results").find_one({"job_id": job_id}, {"job_id": 1})
    if result is not None:
        store.collection("gwas_jobs").update_one({"_id": job_id}, {"$set": {"result_id": result["_id"]}})


def _fail_dataset(store: ZygotrixStore, dataset_id: Any) -> None:
    store.collection("gwas_datasets").update_one(
        {"_id": dataset_id, "status": "processed"}, {"$set": {"status": "error", "error": LOST_FILE}}
    )


def _remove_objects(store: ZygotrixStore, prefix: Any) -> None:
    store.objects.delete(str(prefix))


def _finish_deletion(store: ZygotrixStore, dataset_id: Any) -> None:
    delete_dataset(store, dataset_id, dry_run=False)


_REPAIRS = {
    "job_without_dataset": _remove_orphaned_job,
    "result_without_job": _remove_orphaned_result,
    "completed_job_without_result": _fail_job,
    "job_names_other_result": _name_result,
    "raw_file_missing": _fail_dataset,
    "objects_without_dataset": _remove_objects,
    "objects_without_job": _remove_objects,
    "deletion_unfinished": _finish_deletion,
}
