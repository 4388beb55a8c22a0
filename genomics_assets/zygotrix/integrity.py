"""Whether the store's documents fit together: references, owners, the pairing of jobs and results, and objects.

Pure rules over a snapshot of the store. Findings hold ids and never contents.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pyarrow as pa

Check = Literal["no_orphans", "results_one_to_one", "owners_agree", "objects_exist", "deletions_finished"]
Kind = Literal[
    "dataset_without_user", "job_without_dataset", "result_without_job", "conversation_without_user",
    "enrollment_without_user", "enrollment_without_course", "completed_job_without_result", "result_of_unfinished_job",
    "job_names_other_result", "second_result_of_job", "job_owner_differs", "result_owner_differs",
    "result_dataset_differs", "raw_file_missing", "associations_missing", "objects_without_dataset",
    "objects_without_job", "deletion_unfinished",
]  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """What a kind of finding means.

    Attributes:
        check: the asset check that reports it.
        meaning: for people.
        repair: what the repair job does about it; empty where a person must decide.
        is_error: whether numbers or owners are wrong; else it is only untidy.
    """

    check: Check
    meaning: str
    repair: str = ""
    is_error: bool = True


RULES: Mapping[Kind, Rule] = {
    "dataset_without_user": Rule("no_orphans", "a dataset of a user who is not in users", is_error=False),
    "job_without_dataset": Rule("no_orphans", "a job of a dataset that is gone", "remove it with its result"),
    "result_without_job": Rule("no_orphans", "a result of a job that is gone", "remove it with its objects"),
    "conversation_without_user": Rule("no_orphans", "a conversation of nobody in users", is_error=False),
    "enrollment_without_user": Rule("no_orphans", "an enrollment of nobody in users", is_error=False),
    "enrollment_without_course": Rule(
        "no_orphans", "an enrollment in a course that is not there", is_error=False
    ),
    "completed_job_without_result": Rule(
        "results_one_to_one", "a completed job without a result", "set the job to failed"
    ),
    "result_of_unfinished_job": Rule("results_one_to_one", "a result of a job that is not completed"),
    "job_names_other_result": Rule(
        "results_one_to_one", "a job whose result_id is not that of its result", "set result_id"
    ),
    "second_result_of_job": Rule("results_one_to_one", "a second result of one job"),
    "job_owner_differs": Rule("owners_agree", "a job of another user than its dataset"),
    "result_owner_differs": Rule("owners_agree", "a result of another user than its job"),
    "result_dataset_differs": Rule("owners_agree", "a result of another dataset than its job"),
    "raw_file_missing": Rule(
        "objects_exist", "a dataset whose file is not in the object store", "set the dataset to error"
    ),
    "associations_missing": Rule("objects_exist", "a result whose table is not in the object store"),
    "objects_without_dataset": Rule(
        "objects_exist",
        "objects of a dataset that is not there",
        "remove them, where that was asked for",
        False,
    ),
    "objects_without_job": Rule(
        "objects_exist", "objects of a job that is not there", "remove them, where that was asked for", False
    ),
    "deletion_unfinished": Rule("deletions_finished", "a deletion that was cut short", "finish it", False),
}


@dataclass(frozen=True)
class Finding:
    """One thing that does not fit.

    Attributes:
        kind: what is wrong.
        collection: of the document; for objects without one, where it should be.
        id: of the document, or the prefix of the objects.
    """

    kind: Kind
    collection: str
    id: Any

    @property
    def rule(self) -> Rule:
        """What it means."""
        return RULES[self.kind]


@dataclass
class Snapshot:
    """What of the store decides on its integrity; documents hold the fields that are read here, and `_id`.

    Attributes:
        objects: keys at and below `gwas-datasets` and `gwas-results`.
    """

    users: set[Any] = field(default_factory=set)
    courses: set[Any] = field(default_factory=set)
    datasets: dict[Any, Mapping[str, Any]] = field(default_factory=dict)
    jobs: dict[Any, Mapping[str, Any]] = field(default_factory=dict)
    results: Sequence[Mapping[str, Any]] = field(default_factory=list)
    conversations: Sequence[Mapping[str, Any]] = field(default_factory=list)
    enrollments: Sequence[Mapping[str, Any]] = field(default_factory=list)
    objects: set[str] = field(default_factory=set)


def findings(store: Snapshot) -> list[Finding]:
    """Everything that does not fit together."""
    return [
        *_dataset_findings(store),
        *_job_findings(store),
        *_result_findings(store),
        *_university_and_conversation_findings(store),
        *_object_findings(store),
    ]


def dataset_prefix(dataset: Mapping[str, Any]) -> str | None:
    """Where a dataset's objects lie; None where its storage path is not of the agreed form.

    >>> dataset_prefix({"storage_path": "gwas-datasets/u1/d1/raw/a.vcf"})
    'gwas-datasets/u1/d1'
    """
    parts = str(dataset.get("storage_path") or "").split("/")
    if len(parts) != 5 or parts[0] != "gwas-datasets" or parts[3] != "raw" or not all(parts):
        return None
    return "/".join(parts[:3])


def result_prefix(user_id: Any, job_id: Any) -> str:
    """Where a job's objects lie.

    >>> result_prefix("u1", "j1")
    'gwas-results/u1/j1'
    """
    return f"gwas-results/{user_id}/{job_id}"


def by_kind(found: Iterable[Finding]) -> dict[str, int]:
    """How often each kind was found, in the order of the rules."""
    counts = Counter(finding.kind for finding in found)
    return {kind: counts[kind] for kind in RULES if counts[kind]}


def findings_table(found: Iterable[Finding]) -> pa.Table:
    """Findings as a table: check, kind, collection, id, meaning, repair."""
    import pyarrow as pa

    rows = [
        {
            "check": finding.rule.check,
            "kind": finding.kind,
            "collection": finding.collection,
            "id": str(finding.id),
            "meaning": finding.rule.meaning,
            "repair": finding.rule.repair or None,
        }
        for finding in found
    ]
    names = ("check", "kind", "collection", "id", "meaning", "repair")
    return pa.Table.from_pylist(rows, schema=pa.schema([pa.field(name, pa.string()) for name in names]))


def _dataset_findings(store: Snapshot) -> Iterator[Finding]:
    for dataset_id, dataset in store.datasets.items():
        if dataset.get("deleting_since") is not None:
            yield Finding("deletion_unfinished", "gwas_datasets", dataset_id)
            continue
        if dataset.get("user_id") not in store.users:
            yield Finding("dataset_without_user", "gwas_datasets", dataset_id)
        # Before it is processed the upload may be under way; after an error there may be nothing.
        if dataset.get("status") == "processed" and dataset.get("storage_path") not in store.objects:
            yield Finding("raw_file_missing", "gwas_datasets", dataset_id)


def _job_findings(store: Snapshot) -> Iterator[Finding]:
    result_of = {result.get("job_id"): result.get("_id") for result in store.results}
    for job_id, job in store.jobs.items():
        dataset = store.datasets.get(job.get("dataset_id"))
        if dataset is None:
            yield Finding("job_without_dataset", "gwas_jobs", job_id)
            continue
        if dataset.get("deleting_since") is not None:
            continue
        if dataset.get("user_id") != job.get("user_id"):
            yield Finding("job_owner_differs", "gwas_jobs", job_id)
        if job.get("status") != "completed":
            continue
        if job_id not in result_of:
            yield Finding("completed_job_without_result", "gwas_jobs", job_id)
        elif job.get("result_id") != result_of[job_id]:
            yield Finding("job_names_other_result", "gwas_jobs", job_id)


def _result_findings(store: Snapshot) -> Iterator[Finding]:
    seen: set[Any] = set()
    for result in store.results:
        result_id, job_id = result.get("_id"), result.get("job_id")
        job = store.jobs.get(job_id)
        if job is None:
            yield Finding("result_without_job", "gwas_results", result_id)
            continue
        if job_id in seen:
            yield Finding("second_result_of_job", "gwas_results", result_id)
        seen.add(job_id)
        if store.datasets.get(job.get("dataset_id"), {}).get("deleting_since") is not None:
            continue
        if job.get("status") in ("failed", "cancelled"):
            yield Finding("result_of_unfinished_job", "gwas_results", result_id)
        if job.get("user_id") != result.get("user_id"):
            yield Finding("result_owner_differs", "gwas_results", result_id)
        if job.get("dataset_id") != result.get("dataset_id"):
            yield Finding("result_dataset_differs", "gwas_results", result_id)
        path = result.get("associations_path")
        if path is not None and path not in store.objects:
            yield Finding("associations_missing", "gwas_results", result_id)


def _university_and_conversation_findings(store: Snapshot) -> Iterator[Finding]:
    for conversation in store.conversations:
        if conversation.get("user_id") not in store.users:
            yield Finding("conversation_without_user", "conversations", conversation.get("_id"))
    for enrollment in store.enrollments:
        if enrollment.get("user_id") not in store.users:
            yield Finding("enrollment_without_user", "university_enrollments", enrollment.get("_id"))
        if enrollment.get("course_slug") not in store.courses:
            yield Finding("enrollment_without_course", "university_enrollments", enrollment.get("_id"))


def _object_findings(store: Snapshot) -> Iterator[Finding]:
    datasets = {dataset_prefix(dataset) for dataset in store.datasets.values()}
    jobs = {result_prefix(job.get("user_id"), job_id) for job_id, job in store.jobs.items()}
    # A result keeps its objects even where its job is gone: that is one finding, not two.
    jobs |= {result_prefix(result.get("user_id"), result.get("job_id")) for result in store.results}
    prefixes = sorted({"/".join(key.split("/")[:3]) for key in store.objects})
    for prefix in prefixes:
        if prefix.startswith("gwas-datasets/") and prefix not in datasets:
            yield Finding("objects_without_dataset", "gwas_datasets", prefix)
        elif prefix.startswith("gwas-results/") and prefix not in jobs:
            yield Finding("objects_without_job", "gwas_jobs", prefix)
