"""A backup brings everything back into empty stores, and says no to everything else."""

from __future__ import annotations

import gzip
import json
import os
import stat
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from bson import Int64, ObjectId

from resources.backup import BackupError, Manifest, restore, take_backup
from resources.migrations import migrate
from resources.mongo import MongoResource
from resources.object_store import ObjectStoreResource

DOCUMENTS = [
    {
        "_id": ObjectId("65a000000000000000000001"),
        "when": datetime(2024, 2, 29, 12, 0, 0, 123000, tzinfo=UTC),
        "number": 5,
        "long": Int64(2**40),
        "ratio": 1.0,
        "nothing": None,
        "bytes": b"\0\xff",
        "nested": {"z": [1, {"$dollar": "ü"}], "a": True},
    },
    {"_id": "own key", "email": "ann@example.org"},
]


@dataclass
class Stores:
    """A database, a document store and an object store of a test's own."""

    postgres_url: str
    mongo: MongoResource
    objects: ObjectStoreResource

    def table(self, query: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.postgres_url) as connection:
            return connection.execute(query).fetchall()  # type: ignore[arg-type]

    def all_objects(self) -> dict[str, bytes]:
        return {key: self.objects.read_bytes(key) for key in self.objects.list()}


@pytest.fixture
def made(make_database: Callable[[], str], mongo_url: str, tmp_path: Path) -> Iterator[StoreMaker]:
    maker = StoreMaker(make_database, mongo_url, tmp_path)
    yield maker
    maker.end()


class StoreMaker:
    """Makes empty stores, and takes them away."""

    def __init__(self, make_database: Callable[[], str], mongo_url: str, folder: Path) -> None:
        self.make_database, self.mongo_url, self.folder = make_database, mongo_url, folder
        self.mongos: list[MongoResource] = []

    def empty(self) -> Stores:
        name = f"b{uuid.uuid4().hex[:12]}"
        self.mongos.append(MongoResource(url=urlunsplit(urlsplit(self.mongo_url)._replace(path=f"/{name}"))))
        objects = ObjectStoreResource(url=f"file://{self.folder}/{name}")
        return Stores(self.make_database(), self.mongos[-1], objects)

    def filled(self) -> Stores:
        stores = self.empty()
        migrate(stores.postgres_url)
        with psycopg.connect(stores.postgres_url, autocommit=True) as connection:
            connection.execute(
                'CREATE TABLE genomics."odd \'name" (id int PRIMARY KEY, data jsonb, raw bytea)'
            )
            connection.execute(
                "INSERT INTO genomics.\"odd 'name\" SELECT n, jsonb_build_object('n', n), int4send(n) "
                "FROM generate_series(1, 1000) AS n"
            )
        database = stores.mongo.database()
        database["traits"].insert_many([dict(document) for document in DOCUMENTS])
        database["users"].insert_many([{"_id": n, "text": "x" * 1000} for n in range(1200)])
        for number in range(30):
            stores.objects.put_bytes(f"projects/p{number}/matrix.bin", os.urandom(1000 * number))
        stores.objects.put_bytes("raw/tab\there.csv", b"odd")
        return stores

    def place(self) -> ObjectStoreResource:
        return ObjectStoreResource(url=f"file://{self.folder}/backup-{uuid.uuid4().hex[:8]}")

    def end(self) -> None:
        for mongo in self.mongos:
            mongo.database().client.drop_database(mongo.database().name)
            mongo.close()


def taken(stores: Stores, place: ObjectStoreResource) -> Manifest:
    return take_backup(stores.postgres_url, stores.mongo, stores.objects, place, lambda line: None)


def restored(stores: Stores, place: ObjectStoreResource) -> Manifest:
    return restore(stores.postgres_url, stores.mongo, stores.objects, place, lambda line: None)


def test_everything_comes_back(made: StoreMaker) -> None:
    before, place, after = made.filled(), made.place(), made.empty()

    manifest = taken(before, place)
    assert restored(after, place) == manifest

    odd = 'SELECT id, data, raw FROM genomics."odd \'name" ORDER BY id'
    assert after.table(odd) == before.table(odd)
    assert manifest.database.rows["genomics.odd 'name"] == 1000
    # Not their text: PostgreSQL writes casts in a CHECK in another way each time it reads them.
    constraints = "SELECT conname, contype, conrelid::regclass::text FROM pg_constraint ORDER BY 1, 3"
    assert after.table(constraints) == before.table(constraints)
    indexes = "SELECT indexname, tablename FROM pg_indexes WHERE schemaname IN ('genomics', 'bmd', 'comsa') ORDER BY 1"
    assert after.table(indexes) == before.table(indexes)
    assert migrate(after.postgres_url) == [], "the schema is of this version"
    assert list(after.mongo.database()["traits"].find()) == list(before.mongo.database()["traits"].find())
    assert after.mongo.database()["users"].count_documents({}) == 1200
    assert after.all_objects() == before.all_objects()
    assert len(before.all_objects()) == 31
    assert manifest.runs_meanwhile == 0


def test_the_same_stores_make_the_same_documents_and_listing(made: StoreMaker) -> None:
    stores = made.filled()
    first, second = taken(stores, made.place()), taken(stores, made.place())
    assert first.collections == second.collections
    assert first.objects == second.objects
    assert first.database.rows == second.database.rows


def test_a_backup_to_a_bucket_comes_back(made: StoreMaker, s3_endpoint: str, s3_prefix: str) -> None:
    before, after = made.filled(), made.empty()
    place = ObjectStoreResource(url=f"{s3_prefix}/backup", s3_endpoint_url=s3_endpoint)
    after.objects = ObjectStoreResource(url=f"{s3_prefix}/objects", s3_endpoint_url=s3_endpoint)

    taken(before, place)
    restored(after, place)

    assert after.all_objects() == before.all_objects()


def test_a_store_that_holds_something_is_refused_and_left_alone(made: StoreMaker) -> None:
    before, place = made.filled(), made.place()
    taken(before, place)

    busy = made.empty()
    migrate(busy.postgres_url)
    with pytest.raises(BackupError, match=r"the database at .* holds tables already \(bmd\..*\)\. Remedy: "):
        restored(busy, place)
    busy = made.empty()
    busy.mongo.database()["users"].insert_one({"_id": 1})
    with pytest.raises(BackupError, match=r"the collection 'users' at .* holds documents already\. Remedy: "):
        restored(busy, place)
    busy = made.empty()
    busy.objects.put_bytes("mine", b"x")
    with pytest.raises(BackupError, match=r"the object store holds something already \(.*mine\)\. Remedy: "):
        restored(busy, place)
    assert busy.all_objects() == {"mine": b"x"}
    assert busy.table("SELECT FROM pg_tables WHERE schemaname = 'genomics'") == []


@pytest.mark.parametrize(
    "key", ["postgres.dump", "mongo/users.jsonl.gz", "objects/projects/p7/matrix.bin", "objects.jsonl.gz"]
)
def test_a_damaged_backup_is_refused(made: StoreMaker, key: str) -> None:
    before, place, after = made.filled(), made.place(), made.empty()
    taken(before, place)
    whole = place.read_bytes(key)

    place.put_bytes(key, whole[:-5])
    with pytest.raises(BackupError, match=rf"{key} is damaged: it holds .* of .* bytes\. Remedy: "):
        restored(after, place)
    assert after.table("SELECT FROM pg_tables WHERE schemaname = 'genomics'") == []
    assert after.mongo.database().list_collection_names() == []


def test_a_backup_that_was_never_finished_is_none(made: StoreMaker) -> None:
    before, place, after = made.filled(), made.place(), made.empty()
    taken(before, place)
    place.delete("manifest.json")
    with pytest.raises(BackupError, match=r"manifest\.json is not there: .* never finished\. Remedy: "):
        restored(after, place)


def test_a_backup_of_a_newer_version_is_refused(made: StoreMaker) -> None:
    before, place, after = made.filled(), made.place(), made.empty()
    manifest = taken(before, place)
    replace(manifest, database=replace(manifest.database, revision="9999")).write(place)
    with pytest.raises(
        BackupError, match=r"at revision 9999, which this version .* Remedy: update the project"
    ):
        restored(after, place)


def test_a_place_that_holds_something_or_lies_in_the_store_is_refused(made: StoreMaker) -> None:
    stores, place = made.filled(), made.place()
    place.put_bytes("mine", b"x")
    with pytest.raises(BackupError, match=r"holds something already\. Remedy: name a new folder"):
        taken(stores, place)
    inside = ObjectStoreResource(url=stores.objects.uri("backups"))
    with pytest.raises(BackupError, match=r"lies within the object store .* Remedy: name another place"):
        taken(stores, inside)


def test_a_database_of_others_is_no_backup(made: StoreMaker) -> None:
    with pytest.raises(BackupError, match=r"holds nothing of this project\. Remedy: "):
        taken(made.empty(), made.place())


def test_client_programs_that_are_too_old_or_absent_are_said(
    made: StoreMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = made.filled()
    old = tmp_path / "bin" / "pg_dump"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 12.3'\n")
    old.chmod(old.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(old.parent), prepend=os.pathsep)
    place = made.place()
    taken(stores, place)  # the bundled one is new enough

    monkeypatch.setattr("resources.embedded.postgres_server.bundled_program", lambda name: None)
    with pytest.raises(
        BackupError, match=r"pg_dump for PostgreSQL \d+ is too old \(.*/pg_dump is 12\)\. Remedy: "
    ):
        taken(stores, made.place())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackupError, match=r"pg_dump for PostgreSQL \d+ is not there\. Remedy: install"):
        taken(stores, made.place())


def test_a_password_is_never_shown(made: StoreMaker) -> None:
    stores = made.filled()
    parts = urlsplit(stores.postgres_url)
    wrong = urlunsplit(parts._replace(netloc=f"postgres:open-sesame@{parts.hostname}:{parts.port}"))
    with pytest.raises(BackupError, match="does not answer, or refuses") as caught:
        take_backup(wrong, stores.mongo, stores.objects, made.place(), print)
    assert "open-sesame" not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_the_documents_are_lines_that_other_tools_read(made: StoreMaker) -> None:
    place = made.place()
    taken(made.filled(), place)
    lines = gzip.decompress(place.read_bytes("mongo/traits.jsonl.gz")).decode().splitlines()
    assert json.loads(lines[0])["long"] == {"$numberLong": "1099511627776"}
    assert json.loads(lines[1]) == {"_id": "own key", "email": "ann@example.org"}
