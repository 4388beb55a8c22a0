"""Whether the store fits together is found out, repaired when asked for, and survives a kill in mid-deletion."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from run_results import failure
from zygotrix_application import Application, checks, metadata
from zygotrix_documents import OID, VALID

from genomics_assets.zygotrix.integrity import RULES, Finding
from genomics_assets.zygotrix.models import MODELS, GwasDataset, GwasJob, GwasResult
from resources.mongo import MongoResource
from resources.object_store import ObjectStoreResource
from resources.zygotrix_removal import RemovalError, delete_dataset, repair
from resources.zygotrix_store import ZygotrixStore


def fill(store: ZygotrixStore, dataset: str = "d1", jobs: int = 1, user: str = OID) -> None:
    """A whole dataset of one user: the file, its jobs, their results and tables."""
    for name in ("users", "university_courses", "university_enrollments", "conversations"):
        store.put(MODELS[name].model_validate(VALID[name]))
    path = f"gwas-datasets/{user}/{dataset}/raw/test.vcf"
    store.objects.put_bytes(path, b"x" * 100)
    store.objects.put_bytes(f"gwas-datasets/{user}/{dataset}/processed/genotypes.bed", b"x" * 11)
    store.put(
        GwasDataset.model_validate(
            {**VALID["gwas_datasets"], "_id": dataset, "user_id": user, "storage_path": path}
        )
    )
    for number in range(1, jobs + 1):
        job = f"{dataset}-j{number}"
        table = f"gwas-results/{user}/{job}/associations.parquet"
        store.objects.put_bytes(table, b"x" * 7)
        ids = {
            "job_id": job,
            "dataset_id": dataset,
            "user_id": user,
            "associations_path": table,
            "_id": f"{job}-r",
        }
        store.put(GwasResult.model_validate({**VALID["gwas_results"], **ids}))
        ids = {"_id": job, "dataset_id": dataset, "user_id": user, "result_id": f"{job}-r"}
        store.put(GwasJob.model_validate({**VALID["gwas_jobs"], **ids}))


def kinds(store: ZygotrixStore) -> list[str]:
    return sorted(finding.kind for finding in store.findings())


@pytest.fixture
def whole(store: ZygotrixStore) -> ZygotrixStore:
    fill(store)
    assert store.findings() == []
    return store


def change(store: ZygotrixStore, collection: str, id: str, **values: Any) -> None:
    assert store.collection(collection).update_one({"_id": id}, {"$set": values}).matched_count == 1


def remove(store: ZygotrixStore, collection: str, id: Any) -> None:
    assert store.collection(collection).delete_one({"_id": id}).deleted_count == 1


BREAKS: dict[str, Any] = {
    "dataset_without_user": lambda s: (
        change(s, "gwas_datasets", "d1", user_id="nobody", storage_path="gwas-datasets/nobody/d1/raw/test.vcf"),
        s.objects.put_bytes("gwas-datasets/nobody/d1/raw/test.vcf", b"x"),
        s.objects.delete(f"gwas-datasets/{OID}/d1"),
        change(s, "gwas_jobs", "d1-j1", user_id="nobody"),
        change(s, "gwas_results", "d1-j1-r", user_id="nobody"),
        s.objects.put_bytes("gwas-results/nobody/d1-j1/associations.parquet", b"x"),
        change(s, "gwas_results", "d1-j1-r", associations_path="gwas-results/nobody/d1-j1/associations.parquet"),
        s.objects.delete(f"gwas-results/{OID}/d1-j1"),
    ),
    "job_without_dataset": lambda s: (remove(s, "gwas_datasets", "d1"), s.objects.delete(f"gwas-datasets/{OID}/d1")),
    "result_without_job": lambda s: remove(s, "gwas_jobs", "d1-j1"),
    "conversation_without_user": lambda s: change(s, "conversations", "c1", user_id="nobody"),
    "enrollment_without_user": lambda s: s.collection("university_enrollments").update_one({}, {"$set": {"user_id": "x"}}),
    "enrollment_without_course": lambda s: s.collection("university_courses").delete_many({}),
    "completed_job_without_result": lambda s: remove(s, "gwas_results", "d1-j1-r"),
    "result_of_unfinished_job": lambda s: change(s, "gwas_jobs", "d1-j1", status="failed"),
    "job_names_other_result": lambda s: change(s, "gwas_jobs", "d1-j1", result_id="other"),
    "job_owner_differs": lambda s: (
        s.collection("users").insert_one({"_id": "eve", "email": "eve@x.y"}),
        change(s, "gwas_jobs", "d1-j1", user_id="eve"),
        change(s, "gwas_results", "d1-j1-r", user_id="eve"),
        s.objects.put_bytes("gwas-results/eve/d1-j1/associations.parquet", b"x"),
        s.objects.delete(f"gwas-results/{OID}/d1-j1"),
        change(s, "gwas_results", "d1-j1-r", associations_path="gwas-results/eve/d1-j1/associations.parquet"),
    ),
    "result_owner_differs": lambda s: change(s, "gwas_results", "d1-j1-r", user_id="eve"),
    "result_dataset_differs": lambda s: change(s, "gwas_results", "d1-j1-r", dataset_id="d2"),
    "raw_file_missing": lambda s: s.objects.delete(f"gwas-datasets/{OID}/d1/raw/test.vcf"),
    "associations_missing": lambda s: s.objects.delete(f"gwas-results/{OID}/d1-j1"),
    "objects_without_dataset": lambda s: s.objects.put_bytes("gwas-datasets/eve/d9/raw/a.vcf", b"x"),
    "objects_without_job": lambda s: s.objects.put_bytes("gwas-results/eve/j9/associations.parquet", b"x"),
    "deletion_unfinished": lambda s: change(s, "gwas_datasets", "d1", deleting_since="2026-01-01"),
}  # fmt: skip
REPAIRED = sorted(kind for kind in BREAKS if RULES[kind].repair)


@pytest.mark.parametrize("kind", BREAKS)
def test_each_thing_that_does_not_fit_is_found_by_its_name(whole: ZygotrixStore, kind: str) -> None:
    BREAKS[kind](whole)
    assert kinds(whole) == [kind]


def test_every_rule_is_tried() -> None:
    # A second result of a job cannot be stored while the unique index is there.
    assert set(RULES) - set(BREAKS) == {"second_result_of_job"}


@pytest.mark.parametrize("kind", REPAIRED)
def test_repair_is_a_dry_run_until_told_otherwise(whole: ZygotrixStore, kind: str) -> None:
    BREAKS[kind](whole)
    before = contents(whole)
    found = whole.findings()
    assert [one.outcome.split()[0] for one in repair(whole, found, remove_objects=True)] == ["would"]
    assert contents(whole) == before
    assert [one.outcome for one in repair(whole, found, dry_run=False, remove_objects=True)] == [
        f"done: {RULES[kind].repair}"  # type: ignore[index]
    ]
    assert whole.findings() == []


def test_what_a_person_must_decide_is_left(whole: ZygotrixStore) -> None:
    BREAKS["result_dataset_differs"](whole)
    BREAKS["objects_without_job"](whole)
    before = contents(whole)
    outcomes = [one.outcome for one in repair(whole, whole.findings(), dry_run=False)]
    assert outcomes == ["left: a person must decide", "left: removing objects was not asked for"]
    assert contents(whole) == before


def test_work_under_way_is_no_finding(whole: ZygotrixStore, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([{"gwas-results/u/new/associations.parquet"}, set()])
    snapshot = ZygotrixStore.snapshot

    def between_object_and_document(store: ZygotrixStore) -> Any:
        seen = snapshot(store)
        seen.objects |= next(looks)
        return seen

    monkeypatch.setattr(ZygotrixStore, "snapshot", between_object_and_document)
    assert whole.findings() == []


# -- deleting a dataset ------------------------------------------------------------------------------------------------


def contents(store: ZygotrixStore) -> dict[str, list[str]]:
    documents = {
        name: sorted(str(d["_id"]) for d in store.collection(name).find({}, {"_id": 1}))
        for name in ("gwas_datasets", "gwas_jobs", "gwas_results")
    }
    return {**documents, "objects": store.objects.list()}


def test_a_dataset_goes_with_all_that_hangs_on_it_and_nothing_else(store: ZygotrixStore) -> None:
    fill(store, "d2", jobs=2)
    others = contents(store)
    fill(store, "d1", jobs=3)
    before = contents(store)
    planned = delete_dataset(store, "d1")
    assert (planned.datasets, planned.jobs, planned.results, planned.objects) == (1, 3, 3, 5)
    assert contents(store) == before
    assert delete_dataset(store, "d1", dry_run=False) == planned
    assert contents(store) == others
    assert store.findings() == []
    with pytest.raises(RemovalError, match=r"no dataset d1.*Remedy"):
        delete_dataset(store, "d1", dry_run=False)


def test_a_dataset_that_is_worked_on_is_not_deleted(store: ZygotrixStore) -> None:
    fill(store)
    change(store, "gwas_jobs", "d1-j1", status="running")
    before = contents(store)
    for dry_run in (True, False):
        with pytest.raises(RemovalError, match=r"1 pending or running.*Remedy"):
            delete_dataset(store, "d1", dry_run=dry_run)
    assert contents(store) == before
    assert store.get(GwasDataset, "d1").deleting_since is None  # type: ignore[union-attr]


# Eleven changes; the twelfth is never reached.
STEPS = 12


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_a_deletion_that_is_killed_is_known_and_finished(store: ZygotrixStore, step: int) -> None:
    fill(store, "d2")
    others = contents(store)
    fill(store, "d1", jobs=2)
    assert killed_in_step(store, step) == (step < STEPS)
    left = contents(store)
    if "d1" in left["gwas_datasets"]:
        # Half of it is never taken for something whole, nor for something broken.
        assert store.findings() in ([Finding("deletion_unfinished", "gwas_datasets", "d1")], [])
        assert (store.findings() == []) == (step == 1)
        delete_dataset(store, "d1", dry_run=False)
    assert contents(store) == others
    assert store.findings() == []


def killed_in_step(store: ZygotrixStore, step: int) -> bool:
    """Delete d1 in a process that is killed right before its nth change; whether it came so far."""
    child = os.fork()
    if child == 0:
        left = step

        def count_down(*_: Any) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            mine = ZygotrixStore(
                mongo=MongoResource(url=store.mongo.url), objects=ObjectStoreResource(url=store.objects.url)
            )
            before_each_change(count_down)
            delete_dataset(mine, "d1", dry_run=False)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def before_each_change(call: Any) -> None:
    """Call something before each change of collections and objects, in this process from now on."""
    from pymongo.collection import Collection

    for owner, name in (
        (Collection, "update_one"), (Collection, "delete_one"), (ObjectStoreResource, "delete"),
    ):  # fmt: skip
        change = getattr(owner, name)

        def counted(self: Any, *args: Any, change: Any = change, **options: Any) -> Any:
            call()
            return change(self, *args, **options)

        setattr(owner, name, counted)


# -- through the jobs --------------------------------------------------------------------------------------------------


def test_the_report_has_a_check_for_each_promise(application: Application) -> None:
    fill(application.store)
    BREAKS["result_dataset_differs"](application.store)
    BREAKS["enrollment_without_course"](application.store)
    result = application.run("look_after_store")
    said = checks(result)
    assert {name: said[name] for name in ("owners_agree", "no_orphans", "results_one_to_one", "objects_exist")} == {
        "owners_agree": "error", "no_orphans": "warn", "results_one_to_one": "passed", "objects_exist": "passed",
    }  # fmt: skip
    told = metadata(result, "integrity")
    assert told["findings"] == 2
    assert "a result of another dataset than its job" in told["summary"]


def test_usage_by_user(application: Application) -> None:
    import pyarrow.parquet as pq

    fill(application.store, "d1", jobs=2)
    fill(application.store, "d2", jobs=1, user="user123")
    application.store.collection("gwas_jobs").update_one({"_id": "d1-j2"}, {"$set": {"status": "failed"}})
    result = application.run("look_after_store")
    assert metadata(result, "usage")["snps_tested"] == 27000
    with application.objects.open("zygotrix/usage.parquet") as file:
        rows = {row["user_id"]: row for row in pq.read_table(file).to_pylist()}
    first, second = rows[OID], rows["user123"]
    assert (first["datasets"], first["jobs"], first["jobs_completed"], first["jobs_failed"]) == (1, 2, 1, 1)
    assert (first["snps_tested"], first["cpu_seconds"]) == (18000, 3.0)
    assert (first["dataset_bytes"], first["result_bytes"]) == (111, 14)
    assert (second["dataset_bytes"], second["result_bytes"], second["jobs"]) == (111, 7, 1)


def test_the_jobs_for_deletion_and_repair_are_dry_runs_by_default(application: Application) -> None:
    store = application.store
    fill(store)
    before = contents(store)

    def delete(**config: Any) -> Any:
        return application.run(
            "delete_dataset", run_config={"ops": {"delete_gwas_dataset": {"config": config}}}
        )

    assert delete(dataset_id="d1").success
    assert contents(store) == before
    assert "There is no dataset d9" in failure(delete(dataset_id="d9", dry_run=False))
    assert delete(dataset_id="d1", dry_run=False).success
    assert contents(store) == {"gwas_datasets": [], "gwas_jobs": [], "gwas_results": [], "objects": []}

    fill(store)
    BREAKS["result_without_job"](store)
    assert application.run("repair_store").success
    assert kinds(store) == ["result_without_job"]
    config = {"ops": {"repair_findings": {"config": {"dry_run": False}}}}
    assert application.run("repair_store", run_config=config).success
    assert kinds(store) == []
