"""MongoDB's part of a backup: every collection as lines of canonical extended JSON, which keeps each type."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from resources.backup.manifest import BackupError, CollectionPart, hashed_file
from resources.environment import masked
from resources.mongo import MongoResource
from resources.object_store import ObjectStoreResource
from resources.zygotrix_store import ZygotrixStore

if TYPE_CHECKING:
    from pymongo.database import Database

_BATCH_DOCUMENTS = 500
_BATCH_BYTES = 8 << 20
_DIGESTS = 1 << 256


def dump_documents(mongo: MongoResource, place: ObjectStoreResource) -> dict[str, CollectionPart]:
    """Every collection of the database, but for those of the server itself and views."""
    database = mongo.database()
    # The embedded server forgets parts of what an index was made with, and keeps no validators.
    exact = "version" in database.client.server_info()
    parts = {}
    for info in sorted(database.list_collections(), key=lambda info: str(info["name"])):
        name = str(info["name"])
        if name.startswith("system.") or info.get("type", "collection") != "collection":
            continue
        indexes = [dict(index) for index in database[name].list_indexes()] if exact else []
        parts[name] = _dump(database, place, name, dict(info.get("options", {})) if exact else {}, indexes)
    return parts


def restore_documents(
    mongo: MongoResource, place: ObjectStoreResource, parts: Mapping[str, CollectionPart]
) -> None:
    """Bring the documents back, then the indexes and validators: those of the dump, and the project's own.

    Raises:
        BackupError: a line is not a document, or the server refuses one.
    """
    from bson import json_util
    from pymongo.errors import PyMongoError

    database = mongo.database()
    try:
        for name, part in parts.items():
            _insert(database, place, name, part)
            options = json_util.loads(json.dumps(part.options))
            if options:
                database.command("collMod", name, **_changeable(options))
            specifications = json_util.loads(json.dumps(list(part.indexes.values())))
            if specifications:
                database.command("createIndexes", name, indexes=specifications)
    except PyMongoError as error:
        # Its text may repeat a document.
        raise BackupError(
            f"MongoDB refused a part of {name!r} ({type(error).__name__}). Remedy: empty the database and restore again."
        ) from None
    if parts:
        ZygotrixStore(mongo=mongo, objects=place).ensure_layout()


def check_no_documents(mongo: MongoResource) -> None:
    """Make sure that no collection holds anything.

    Raises:
        BackupError: one does.
    """
    database = mongo.database()
    for name in sorted(database.list_collection_names()):
        if not name.startswith("system.") and database[name].find_one({}, {"_id": 1}) is not None:
            raise BackupError(
                f"the collection {name!r} at {masked(_address(mongo))} holds documents already. Remedy: restore "
                "into an empty database: set GENOMICS_HOME to a new folder, or GENOMICS_MONGO_URL to a new database."
            )


def digest_of(mongo: MongoResource, collection: str) -> tuple[int, str]:
    """How many documents a collection holds, and their digest, as in `CollectionPart`."""
    count = total = 0
    for line in _lines(mongo.database(), collection):
        count, total = count + 1, total + _number(line)
    return count, f"{total % _DIGESTS:064x}"


def _dump(
    database: Database[dict[str, Any]],
    place: ObjectStoreResource,
    name: str,
    options: dict[str, Any],
    indexes: list[dict[str, Any]],
) -> CollectionPart:
    from bson import json_util

    key = f"mongo/{name}.jsonl.gz"
    count = total = 0
    with place.create(key) as path:
        # No time in its header, so that the same documents make the same file.
        with path.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:
            for line in _lines(database, name):
                file.write(line + b"\n")
                count, total = count + 1, total + _number(line)
        stored = hashed_file(key, path)
    kept = {
        str(index["name"]): {field: value for field, value in index.items() if field not in ("v", "ns")}
        for index in indexes
        if index["name"] != "_id_"
    }
    return CollectionPart(
        stored,
        count,
        f"{total % _DIGESTS:064x}",
        _plain(json_util.dumps(options, json_options=json_util.CANONICAL_JSON_OPTIONS)),
        _plain(json_util.dumps(kept, json_options=json_util.CANONICAL_JSON_OPTIONS)),
    )


def _insert(
    database: Database[dict[str, Any]], place: ObjectStoreResource, name: str, part: CollectionPart
) -> None:
    from bson import json_util
    from pymongo.errors import CollectionInvalid

    with suppress(CollectionInvalid):  # it is there, and empty
        database.create_collection(name)
    batch: list[dict[str, Any]] = []
    size = 0
    with place.open(part.file.key) as source, gzip.open(source, "rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                batch.append(json_util.loads(line, json_options=json_util.CANONICAL_JSON_OPTIONS))
            except (ValueError, TypeError):
                raise BackupError(
                    f"{place.uri(part.file.key)}, line {number}: not a document. Remedy: use another backup."
                ) from None
            size += len(line)
            if len(batch) >= _BATCH_DOCUMENTS or size >= _BATCH_BYTES:
                database[name].insert_many(batch)
                batch, size = [], 0
    if batch:
        database[name].insert_many(batch)


def _lines(database: Database[dict[str, Any]], name: str) -> Iterator[bytes]:
    from bson import json_util

    for document in database[name].find({}):
        yield json_util.dumps(document, json_options=json_util.CANONICAL_JSON_OPTIONS).encode()


def _number(line: bytes) -> int:
    return int.from_bytes(hashlib.sha256(line).digest())


def _changeable(options: Mapping[str, Any]) -> dict[str, Any]:
    """What `collMod` takes of a collection's options."""
    return {
        name: options[name]
        for name in ("validator", "validationLevel", "validationAction")
        if name in options
    }


def _plain(text: str) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(text)
    return plain


def _address(mongo: MongoResource) -> str:
    host, port = mongo.database().client.address or ("?", 0)
    return f"mongodb://{host}:{port}/{mongo.database().name}"
