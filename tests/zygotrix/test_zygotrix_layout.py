"""Collections are made, brought up to date, and every difference is told; nothing is dropped."""

from __future__ import annotations

import os
from typing import Any

import pytest
from bson import ObjectId
from zygotrix_documents import VALID

from genomics_assets.zygotrix.models import GwasJob, GwasResult
from genomics_assets.zygotrix.store_layout import LAYOUT, Drift, FoundCollection, FoundIndex, drift_of
from resources.mongo_io_manager import DocumentError
from resources.zygotrix_store import ZygotrixStore


def kinds(drift: list[Drift]) -> list[tuple[str, str]]:
    return sorted((d.collection, d.kind) for d in drift)


# -- against servers ---------------------------------------------------------------------------------------------------


def test_an_empty_database_gets_all_and_a_second_time_nothing(store: ZygotrixStore) -> None:
    assert kinds(store.drift()) == sorted((name, "missing_collection") for name in LAYOUT)
    first = store.ensure_layout()
    assert first.drift == []
    assert set(LAYOUT) <= set(store.mongo.database().list_collection_names())
    assert store.ensure_layout().done == []


def test_the_unique_indexes_hold(store: ZygotrixStore) -> None:
    from pymongo.errors import DuplicateKeyError

    store.ensure_layout()
    for name, document in (
        ("users", {"email": "a@b"}),
        ("traits", {"key": "k"}),
        ("gwas_results", {"job_id": ObjectId("65a1b2c3d4e5f60718293a4b")}),
        ("university_courses", {"slug": "s"}),
        ("university_enrollments", {"user_id": "u", "course_slug": "s"}),
    ):
        collection = store.collection(name)
        whole = {**LAYOUT[name].model.model_validate(VALID[name]).document(), **document}
        collection.insert_one({**whole, "_id": f"{name} 1"})
        with pytest.raises(DuplicateKeyError):
            collection.insert_one({**whole, "_id": f"{name} 2"})


def test_an_index_too_many_is_told_and_stays(store: ZygotrixStore) -> None:
    store.ensure_layout()
    store.collection("users").create_index("full_name")
    [drift] = store.ensure_layout().drift
    assert (drift.kind, drift.is_harmless) == ("extra_index", True)
    assert "full_name" in drift.what
    assert "full_name" in str([index["key"] for index in store.collection("users").list_indexes()])


def test_an_index_with_other_options_is_told_and_stays(store: ZygotrixStore) -> None:
    store.collection("users").create_index("email")
    [drift] = store.ensure_layout().drift
    assert (drift.collection, drift.kind, drift.is_harmless) == ("users", "conflicting_index", False)
    assert "(email 1), not (email 1) unique" in drift.what
    assert "dropIndex" in drift.remedy


def test_duplicates_keep_a_unique_index_from_being_made_and_are_told(store: ZygotrixStore) -> None:
    store.collection("users").insert_many([{"email": "same@x"}, {"email": "same@x"}])
    [drift] = store.ensure_layout().drift
    assert (drift.collection, drift.kind) == ("users", "missing_index")
    assert "(email 1) unique; the server refused" in drift.what
    assert "same@x" not in drift.what


def test_documents_come_back_as_they_were_put(store: ZygotrixStore) -> None:
    job = GwasJob.model_validate(VALID["gwas_jobs"])
    store.put(job)
    store.put(job)
    assert store.get(GwasJob, "j1") == job
    assert store.get(GwasJob, "j2") is None
    assert store.collection("gwas_jobs").count_documents({}) == 1


def test_a_result_over_16_mb_is_refused_before_it_is_written(store: ZygotrixStore) -> None:
    points: dict[str, Any] = {"expected": [0.5] * 1_000_000, "observed": [0.5] * 1_000_000}
    result = GwasResult.model_validate({**VALID["gwas_results"], "qq_plot_data": points})
    with pytest.raises(DocumentError, match=r"over MongoDB's limit.*Nothing was written.*Remedy"):
        store.put(result)
    assert store.collection("gwas_results").count_documents({}) == 0


@pytest.mark.skipif(
    "GENOMICS_TEST_MONGO_URL" not in os.environ, reason="the embedded server keeps no validators"
)
def test_a_real_server_enforces_the_models_and_keeps_foreign_validators(store: ZygotrixStore) -> None:
    from pymongo.errors import WriteError

    if not store.ensure_layout().keeps_validators:
        pytest.skip("the embedded server keeps no validators")
    with pytest.raises(WriteError):
        store.collection("gwas_jobs").insert_one({"status": "lost"})
    database = store.mongo.database()
    database.command("collMod", "users", validator={"$jsonSchema": {"title": "genomics_assets users"}})
    assert kinds(store.drift()) == [("users", "outdated_validator")]
    assert store.ensure_layout().drift == []
    database.command("collMod", "users", validator={"email": {"$exists": True}})
    assert kinds(store.ensure_layout().drift) == [("users", "foreign_validator")]


# -- what a real server would tell -------------------------------------------------------------------------------------


def as_a_server_tells(name: str) -> FoundCollection:
    layout = LAYOUT[name]
    return FoundCollection(
        [FoundIndex(i.name, i.keys, i.unique, i.sparse) for i in layout.indexes], layout.validator()
    )


@pytest.mark.parametrize("name", LAYOUT)
def test_what_is_as_it_should_be_does_not_drift(name: str) -> None:
    assert drift_of(LAYOUT[name], as_a_server_tells(name)) == []


def test_every_kind_of_drift_is_told_apart() -> None:
    traits = as_a_server_tells("traits")
    text = FoundIndex("name_text", (("name", "text"),))
    ttl = FoundIndex("type_1", (("type", 1),), more={"expireAfterSeconds": 60})
    backwards = FoundIndex("tags_-1", (("tags", -1),))
    other_name = FoundIndex("by_key", (("key", 1),), unique=True, sparse=True)
    found = FoundCollection(
        [text, ttl, backwards, other_name, traits.indexes[-1]], {"name": {"$exists": True}}
    )
    drift = drift_of(LAYOUT["traits"], found)
    assert [(d.kind, d.what.split()[0]) for d in drift] == [
        ("conflicting_index", "name_text"),
        ("conflicting_index", "type_1"),
        ("missing_index", "(tags"),
        ("extra_index", "tags_-1:"),
        ("foreign_validator", "a"),
    ]
    assert "expireAfterSeconds=60" in drift[1].what


def test_an_older_validator_of_ours_is_outdated_and_none_is_missing() -> None:
    users = as_a_server_tells("users")
    old = {"$jsonSchema": {"title": "genomics_assets users", "required": ["mail"]}}
    assert [d.kind for d in drift_of(LAYOUT["users"], FoundCollection(users.indexes, old))] == [
        "outdated_validator"
    ]
    assert [d.kind for d in drift_of(LAYOUT["users"], FoundCollection(users.indexes))] == [
        "missing_validator"
    ]


def test_the_seeds_indexes_are_all_there() -> None:
    names = {(name, index.name) for name, layout in LAYOUT.items() for index in layout.indexes}
    assert names >= {
        ("users", "email_1"), ("users", "role_1"), ("traits", "name_text_description_text"), ("traits", "type_1"),
        ("traits", "tags_1"), ("conversations", "user_id_1_updated_at_-1"), ("gwas_datasets", "user_id_1_created_at_-1"),
        ("gwas_datasets", "user_id_1"), ("gwas_jobs", "user_id_1_status_1"), ("gwas_jobs", "dataset_id_1"),
    }  # fmt: skip
    assert LAYOUT["users"].indexes[0].unique
