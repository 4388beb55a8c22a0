"""What a backup says of itself, and reading it back with suspicion."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from resources.object_store import ObjectNotFoundError, ObjectStoreError, ObjectStoreResource

MANIFEST = "manifest.json"
FORMAT = 1
_CHUNK = 1 << 20

# Takes each line that is told.
Out = Callable[[str], object]


class BackupError(RuntimeError):
    """A backup cannot be taken or restored; the message says why and what to do."""


@dataclass(frozen=True)
class StoredFile:
    """A file of the backup.

    Attributes:
        key: where it is, below the backup's place.
        size: in bytes.
        sha256: of its bytes, in hexadecimal.
    """

    key: str
    size: int
    sha256: str


@dataclass(frozen=True)
class DatabasePart:
    """The dump of PostgreSQL.

    Attributes:
        file: pg_dump's custom format.
        server: major version of the server that was dumped.
        revision: the schema's revision, as `genomics.schema_version` has it.
        rows: how many rows each table holds, by `schema.table`.
        roles: roles that were granted something, which the dump names but does not create.
    """

    file: StoredFile
    server: int
    revision: str
    rows: dict[str, int]
    roles: list[str]


@dataclass(frozen=True)
class CollectionPart:
    """One collection of MongoDB.

    Attributes:
        file: one document a line, canonical extended JSON, gzip.
        documents: how many lines.
        digest: sum of the SHA-256 of all lines modulo 2^256, in hexadecimal; the order of documents has no part in it.
        options: what the collection was made with, such as a validator.
        indexes: by name, what `create_index` needs; the one on `_id` is not among them.
    """

    file: StoredFile
    documents: int
    digest: str
    options: dict[str, Any]
    indexes: dict[str, Any]


@dataclass(frozen=True)
class ObjectsPart:
    """All objects.

    Attributes:
        listing: key, size and SHA-256 of each, one JSON object a line, gzip.
        objects: how many.
        size: of all, in bytes.
    """

    listing: StoredFile
    objects: int
    size: int


@dataclass(frozen=True)
class Manifest:
    """What is in a backup.

    Attributes:
        product: name and version of what took it.
        started: when, in UTC.
        finished: when, in UTC.
        runs_meanwhile: runs of Dagster that were at work while it was taken; at 0 its parts fit together exactly.
        database: PostgreSQL.
        collections: MongoDB, by collection.
        objects: the object store.
        format: of the backup.
    """

    product: str
    started: str
    finished: str
    runs_meanwhile: int
    database: DatabasePart
    collections: dict[str, CollectionPart]
    objects: ObjectsPart
    format: int = FORMAT

    def write(self, place: ObjectStoreResource) -> None:
        """Put it where the backup is, as its last file."""
        place.put_bytes(MANIFEST, json.dumps(asdict(self), indent=1, sort_keys=True).encode())

    @classmethod
    def read(cls, place: ObjectStoreResource) -> Manifest:
        """The manifest of the backup in a place.

        Raises:
            BackupError: there is none, or it is not of a format that is known here.
        """
        where = place.uri(MANIFEST)
        try:
            found = json.loads(place.read_bytes(MANIFEST))
            if found.get("format") != FORMAT:
                raise BackupError(
                    f"{where} has format {found.get('format')}, and format {FORMAT} is known here. "
                    "Remedy: restore it with the version of the project that took it."
                )
            return cls(
                **{
                    **found,
                    "database": DatabasePart(**{**found["database"], "file": _file(found["database"])}),
                    "collections": {
                        name: CollectionPart(**{**part, "file": _file(part)})
                        for name, part in found["collections"].items()
                    },
                    "objects": ObjectsPart(
                        **{**found["objects"], "listing": _file(found["objects"], "listing")}
                    ),
                }
            )
        except ObjectNotFoundError:
            raise BackupError(
                f"{where} is not there: no backup, or one that was never finished. Remedy: name a finished backup."
            ) from None
        except ObjectStoreError as error:
            raise BackupError(str(error)) from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BackupError(f"{where} is damaged ({error!r}). Remedy: use another backup.") from error


def hashed_file(key: str, path: Path) -> StoredFile:
    """What to say of a local file that goes under `key`."""
    with path.open("rb") as file:
        return StoredFile(key, path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def chunks(source: BinaryIO) -> Iterator[bytes]:
    """What can be read, in pieces that fit in memory."""
    while piece := source.read(_CHUNK):
        yield piece


def check_file(place: ObjectStoreResource, file: StoredFile) -> None:
    """Make sure that a file of the backup is what was written.

    Raises:
        BackupError: it is gone, was cut off or was changed.
    """
    digest, size = hashlib.sha256(), 0
    try:
        with place.open(file.key) as source:
            for piece in chunks(source):
                digest.update(piece)
                size += len(piece)
    except ObjectStoreError as error:
        raise BackupError(f"{error}. Remedy: use another backup.") from error
    if (size, digest.hexdigest()) != (file.size, file.sha256):
        raise damaged(place, file, size)


def damaged(place: ObjectStoreResource, file: StoredFile, size: int) -> BackupError:
    """What to say of a file that is not what was written."""
    how = f"it holds {size:,} of {file.size:,} bytes" if size != file.size else "its SHA-256 is another"
    return BackupError(f"{place.uri(file.key)} is damaged: {how}. Remedy: use another backup.")


def _file(part: dict[str, Any], name: str = "file") -> StoredFile:
    return StoredFile(**part[name])
