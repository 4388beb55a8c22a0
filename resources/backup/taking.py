"""Taking a backup: database, documents, objects, and then the manifest that says it is whole."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version

from resources.backup.database import dump_database, runs_since
from resources.backup.documents import dump_documents
from resources.backup.manifest import BackupError, Manifest, Out
from resources.backup.objects import dump_objects
from resources.mongo import MongoResource
from resources.object_store import ObjectStoreResource


def take_backup(
    postgres_url: str,
    mongo: MongoResource,
    objects: ObjectStoreResource,
    place: ObjectStoreResource,
    out: Out,
) -> Manifest:
    """Copy everything to an empty place.

    Args:
        postgres_url: the database.
        mongo: the documents.
        objects: the objects.
        place: where the backup goes, as an object store of its own.
        out: takes a line for each part.

    Raises:
        BackupError: the place is not empty, no pg_dump fits, or a store does not answer.
    """
    _check_place(objects, place)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    database = dump_database(postgres_url, place)
    out(f"database   {sum(database.rows.values()):,} rows in {len(database.rows)} tables")
    collections = dump_documents(mongo, place)
    documents = sum(part.documents for part in collections.values())
    out(f"documents  {documents:,} in {len(collections)} collections")
    stored = dump_objects(objects, place)
    out(f"objects    {stored.objects:,}, {stored.size:,} bytes")
    manifest = Manifest(
        f"genomics_assets {version('genomics_assets')}",
        started,
        datetime.now(UTC).isoformat(timespec="seconds"),
        runs_since(postgres_url, started),
        database,
        collections,
        stored,
    )
    manifest.write(place)
    return manifest


def _check_place(objects: ObjectStoreResource, place: ObjectStoreResource) -> None:
    here, there = place.uri("x")[:-1], objects.uri("x")[:-1]
    if here.startswith(there) or there.startswith(here):
        raise BackupError(
            f"{here} lies within the object store {there}, or around it. Remedy: name another place."
        )
    if place.list():
        raise BackupError(f"{here} holds something already. Remedy: name a new folder or prefix.")
