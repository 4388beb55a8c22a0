"""The objects' part of a backup: each copied whole, and known by its SHA-256."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from resources.backup.manifest import BackupError, ObjectsPart, StoredFile, chunks, damaged, hashed_file
from resources.object_store import ObjectNotFoundError, ObjectStoreResource

LISTING = "objects.jsonl.gz"
_FOLDER = "objects"
_AT_A_TIME = 4

Given = TypeVar("Given")
Made = TypeVar("Made")


def dump_objects(objects: ObjectStoreResource, place: ObjectStoreResource) -> ObjectsPart:
    """Copy every object; one that is deleted meanwhile is left out."""
    count = size = 0
    with place.create(LISTING) as path:
        with path.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:
            for copied in _side_by_side(lambda key: _copy_out(objects, place, key), objects.list()):
                if copied is None:
                    continue
                file.write(json.dumps([copied.key, copied.size, copied.sha256]).encode() + b"\n")
                count, size = count + 1, size + copied.size
        listing = hashed_file(LISTING, path)
    return ObjectsPart(listing, count, size)


def restore_objects(objects: ObjectStoreResource, place: ObjectStoreResource) -> None:
    """Bring every object back, each checked on the way.

    Raises:
        BackupError: one is gone from the backup, or is not what was written.
    """
    for _ in _side_by_side(lambda file: _copy_in(objects, place, file), _listed(place)):
        pass


def check_no_objects(objects: ObjectStoreResource) -> None:
    """Make sure that the store holds nothing.

    Raises:
        BackupError: it does.
    """
    found = objects.list()
    if found:
        raise BackupError(
            f"the object store holds something already ({objects.uri(found[0])}). Remedy: restore into an empty one: set "
            "GENOMICS_HOME to a new folder, or GENOMICS_OBJECT_STORE_URL to a new prefix."
        )


def missing_objects(objects: ObjectStoreResource, place: ObjectStoreResource) -> list[str]:
    """Keys of the listing that the store does not hold, or holds with another size."""
    sizes = objects.sizes()
    return [file.key for file in _listed(place) if sizes.get(file.key) != file.size]


def _listed(place: ObjectStoreResource) -> Iterator[StoredFile]:
    with place.open(LISTING) as source, gzip.open(source, "rb") as lines:
        for line in lines:
            yield StoredFile(*json.loads(line))


def _copy_out(objects: ObjectStoreResource, place: ObjectStoreResource, key: str) -> StoredFile | None:
    try:
        with objects.open(key) as source, place.create(f"{_FOLDER}/{key}") as path, path.open("wb") as sink:
            digest = hashlib.sha256()
            for piece in chunks(source):
                digest.update(piece)
                sink.write(piece)
            return StoredFile(key, sink.tell(), digest.hexdigest())
    except ObjectNotFoundError:
        return None


def _copy_in(objects: ObjectStoreResource, place: ObjectStoreResource, file: StoredFile) -> None:
    kept = StoredFile(f"{_FOLDER}/{file.key}", file.size, file.sha256)
    try:
        with place.open(kept.key) as source, objects.create(file.key) as path:
            _write_checked(place, kept, path, chunks(source))
    except ObjectNotFoundError:
        raise BackupError(
            f"{place.uri(kept.key)} is gone from the backup. Remedy: use another backup."
        ) from None


def _write_checked(place: ObjectStoreResource, file: StoredFile, path: Path, pieces: Iterable[bytes]) -> None:
    digest = hashlib.sha256()
    with path.open("wb") as sink:
        for piece in pieces:
            digest.update(piece)
            sink.write(piece)
        size = sink.tell()
    if (size, digest.hexdigest()) != (file.size, file.sha256):
        raise damaged(place, file, size)


def _side_by_side(work: Callable[[Given], Made], given: Iterable[Given]) -> Iterator[Made]:
    """The results in order, a few at a time, without holding all that is given."""
    waiting = iter(given)
    with ThreadPoolExecutor(_AT_A_TIME, "backup") as pool:
        running = [pool.submit(work, one) for _, one in zip(range(2 * _AT_A_TIME), waiting, strict=False)]
        while running:
            made = running.pop(0).result()
            for one in waiting:
                running.append(pool.submit(work, one))
                break
            yield made
