"""Restoring a backup into stores that hold nothing, and making sure that what came is what was saved."""

from __future__ import annotations

from resources.backup.database import check_is_empty, count_rows, restore_database
from resources.backup.documents import check_no_documents, digest_of, restore_documents
from resources.backup.manifest import BackupError, Manifest, Out, check_file
from resources.backup.objects import check_no_objects, missing_objects, restore_objects
from resources.migrations import known_revisions
from resources.mongo import MongoResource
from resources.object_store import ObjectStoreResource


def restore(
    postgres_url: str,
    mongo: MongoResource,
    objects: ObjectStoreResource,
    place: ObjectStoreResource,
    out: Out,
) -> Manifest:
    """Bring everything back; objects first and rows last, so that no row is there before what it names.

    Args:
        postgres_url: an empty database.
        mongo: an empty one.
        objects: an empty one.
        place: what `take_backup` filled.
        out: takes a line for each part.

    Raises:
        BackupError: a store holds something, the backup is damaged or of a newer version, or what came is not
            what was saved.
    """
    manifest = Manifest.read(place)
    if manifest.database.revision not in known_revisions():
        raise BackupError(
            f"the backup's schema is at revision {manifest.database.revision}, which this version of the project does not "
            f"know: {manifest.product} took it. Remedy: update the project."
        )
    check_is_empty(postgres_url, manifest.database)
    check_no_documents(mongo)
    check_no_objects(objects)
    for file in (manifest.database.file, manifest.objects.listing):
        check_file(place, file)
    for part in manifest.collections.values():
        check_file(place, part.file)

    restore_objects(objects, place)
    out(f"objects    {manifest.objects.objects:,}, {manifest.objects.size:,} bytes")
    restore_documents(mongo, place, manifest.collections)
    documents = sum(part.documents for part in manifest.collections.values())
    out(f"documents  {documents:,} in {len(manifest.collections)} collections")
    restore_database(postgres_url, place, manifest.database)
    rows = manifest.database.rows
    out(f"database   {sum(rows.values()):,} rows in {len(rows)} tables")
    _compare(manifest, postgres_url, mongo, objects, place)
    return manifest


def _compare(
    manifest: Manifest,
    postgres_url: str,
    mongo: MongoResource,
    objects: ObjectStoreResource,
    place: ObjectStoreResource,
) -> None:
    """Make sure that every count and hash is that of the manifest.

    Raises:
        BackupError: naming what differs.
    """
    rows = count_rows(postgres_url)
    differences = [
        f"{table} holds {rows.get(table, 0):,} rows in place of {count:,}"
        for table, count in manifest.database.rows.items()
        if rows.get(table) != count
    ]
    for name, part in manifest.collections.items():
        if digest_of(mongo, name) != (part.documents, part.digest):
            differences.append(f"the documents of {name} are others")
    differences += [f"the object {key} is missing or cut off" for key in missing_objects(objects, place)]
    if differences:
        raise BackupError(
            f"what was restored is not what was saved: {'; '.join(differences[:5])}"
            f"{f' and {len(differences) - 5} more' if len(differences) > 5 else ''}. Remedy: empty the stores, make sure "
            "that nothing else writes to them, and restore again."
        )
