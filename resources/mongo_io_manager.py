"""Documents that an asset returns, kept in a MongoDB collection under a natural key.

An asset says where they go in its metadata:

- `key`: the field, or list of fields, that names a document (required).
- `collection`: default is the last part of the asset's key.
- `preview`: False keeps the documents' contents out of Dagster's event log (personal data).
- `take_over`: False leaves documents alone that somebody else wrote under the same key.

Each document also gets `_asset` and, for a partitioned asset, `_partition`: what this asset wrote and no
longer returns is removed, and what anybody else wrote in the collection is not. A document that another
asset or partition wrote under the same key is taken over, and counted, unless the asset declines.

MongoDB has no transaction on a single server. So everything is checked before the first write, new and
changed documents are upserted before vanished ones are removed, and a write that was cut short is mended by
running the partition again. Documents that are stored already are left alone: a re-run writes nothing.
"""

import datetime
import itertools
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import IO, TYPE_CHECKING, Any, TypeVar

import dagster as dg

from genomics_assets.document_rules import MAX_DOCUMENT_BYTES, plain_name, unstorable
from resources.mongo import MongoError, MongoResource, refusal
from resources.partition_slices import (
    asset_label,
    input_partitions,
    never_materialized,
    output_slices,
    wanted_type,
)
from resources.preview import preview_table

if TYPE_CHECKING:
    from pymongo.collection import Collection

T = TypeVar("T")

ASSET_FIELD = "_asset"
PARTITION_FIELD = "_partition"
# The server adds `_id` where a document has none.
OBJECT_ID_BYTES = 17
BATCH_BYTES = 8 * 1024 * 1024
BATCH_DOCUMENTS = 1000
# A compound key is looked up by one OR clause for each document; SQLite, under the embedded server, has
# room for 1000.
COMPOUND_BATCH_DOCUMENTS = 200
ATTEMPTS = 3
DUPLICATE_KEY = 11000


class DocumentError(ValueError):
    """A document, or the set of them, cannot be stored as it is; nothing was written."""


@dataclass(frozen=True)
class Documents:
    """Documents in a stream, for outputs and inputs that should not be held in memory.

    An asset may return it, and an input annotated with it reads lazily, once. It is how a generator is
    returned: Dagster takes a bare one for a series of events.

    Attributes:
        whole: False where some documents could not be read: what the asset wrote before and does not return
            now is kept then.
    """

    documents: Iterable[Mapping[str, Any]]
    whole: bool = True

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        """The documents, one by one."""
        return iter(self.documents)


@dataclass
class WriteReport:
    """What one write did, in documents; `bytes` is the BSON size of all documents returned by the asset."""

    inserted: int = 0
    replaced: int = 0
    unchanged: int = 0
    removed: int = 0
    taken_over: int = 0
    left: int = 0
    bytes: int = 0

    @property
    def documents(self) -> int:
        """Documents that the asset returned."""
        return self.inserted + self.replaced + self.unchanged + self.left

    def __add__(self, other: "WriteReport") -> "WriteReport":
        """The sum, field by field."""
        return WriteReport(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


class MongoIOManager(dg.ConfigurableIOManager):
    """Upserts documents by a natural key, partition by partition, and reads them back in the key's order."""

    mongo: dg.ResourceDependency[MongoResource]

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Stores a list, an iterable or `Documents`; a run of several partitions gives a dict of them.

        Raises:
            DocumentError: a document over 16 MB, without its key, with a duplicate key, or with a value that
                cannot be kept. Raised before anything is written.
            MongoError: the server cannot be reached or refused a write.
        """
        if obj is None:
            return
        target = _Target.of_output(context)
        slices = output_slices(context, obj)
        database = self.mongo.database()
        started = time.monotonic()
        spools: list[_Spool] = []
        try:
            keys: set[tuple[Any, ...]] = set()
            spools = [_Spool(target, partition, _is_whole(value)) for partition, value in slices]
            for spool, (_, documents) in zip(spools, slices, strict=True):
                spool.fill(_iterable(documents, target), keys)
            collection = database[target.collection]
            _make_indexes(collection, target)
            reports = [_write_slice(collection, target, spool) for spool in spools]
        finally:
            for spool in spools:
                spool.close()
        context.add_output_metadata(_metadata(context, target, spools, reports, time.monotonic() - started))

    def load_input(self, context: dg.InputContext) -> Any:
        """Reads documents back, without `_id`, `_asset` and `_partition`, sorted by the key.

        The input's annotation decides: `Documents` streams, anything else gets a list. The input's metadata
        `columns` names the top-level fields to read. Several partitions come as a dict.

        Raises:
            LookupError: nothing is stored because the asset or partition was never materialized.
        """
        target = _Target.of_input(context)
        collection = self.mongo.database()[target.collection]
        by_partition, wanted = wanted_type(context)
        partitions = input_partitions(context)
        if partitions is None:
            return self._read(context, collection, target, None, wanted)
        if not by_partition:
            return self._read(context, collection, target, partitions[0], wanted)
        return {key: self._read(context, collection, target, key, wanted) for key in partitions}

    def _read(
        self,
        context: dg.InputContext,
        collection: "Collection[dict[str, Any]]",
        target: "_Target",
        partition: str | None,
        wanted: Any,
    ) -> list[dict[str, Any]] | Documents:
        cursor = collection.find(target.stamp(partition), _projection(context, target)).sort(
            [(name, 1) for name in target.key]
        )
        first = _persist(lambda: next(cursor, None), target)
        if first is None and never_materialized(context, partition):
            what = target.asset if partition is None else f"partition {partition!r} of {target.asset}"
            raise LookupError(
                f"{target.asset}: collection {target.collection} holds nothing for it, and {what} was never "
                f"materialized. Remedy: materialize {what} first."
            )
        documents: Iterator[dict[str, Any]] = itertools.chain([] if first is None else [first], cursor)
        return Documents(documents) if wanted is Documents else list(documents)


@dataclass(frozen=True)
class _Target:
    """Where an asset's documents live."""

    asset: str
    collection: str
    key: tuple[str, ...]
    preview: bool = True
    take_over: bool = True

    @classmethod
    def of_output(cls, context: dg.OutputContext) -> "_Target":
        return cls._of(context, asset_label(context))

    @classmethod
    def of_input(cls, context: dg.InputContext) -> "_Target":
        if context.upstream_output is None:
            raise DocumentError(
                f"{asset_label(context)}: the asset that wrote this input is not known here, nor is its "
                "collection. Remedy: load the input from an asset of this code location."
            )
        return cls._of(context.upstream_output, asset_label(context))

    @classmethod
    def _of(cls, output: dg.OutputContext, asset: str) -> "_Target":
        metadata = output.definition_metadata
        key = metadata.get("key")
        names = (key,) if isinstance(key, str) else tuple(key or ())
        if not _top_level(names):
            raise DocumentError(
                f"{asset}: its metadata has no usable `key` ({key!r}). Remedy: name the top-level field, or "
                'the list of fields, that names a document, as in metadata={"key": "traitId"}.'
            )
        last = output.asset_key.path[-1] if output.has_asset_key else output.name
        preview, take_over = (metadata.get(name) is not False for name in ("preview", "take_over"))
        return cls(asset, str(metadata.get("collection", last)), names, preview, take_over)

    def stamp(self, partition: str | None) -> dict[str, str]:
        stamp = {ASSET_FIELD: self.asset}
        return stamp if partition is None else {**stamp, PARTITION_FIELD: partition}

    def key_of(self, document: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(document.get(name) for name in self.key)

    def named(self, key: Sequence[Any]) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in zip(self.key, key, strict=True))

    def any_of(self, keys: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
        """A filter for documents with one of the keys."""
        if len(self.key) == 1:
            return {self.key[0]: {"$in": [key[0] for key in keys]}}
        return {"$or": [dict(zip(self.key, key, strict=True)) for key in keys]}


@dataclass
class _Spool:
    """The checked documents of one slice, as BSON in a temporary file, so that memory stays flat."""

    target: _Target
    partition: str | None
    whole: bool = True
    keys: set[tuple[Any, ...]] = field(default_factory=set)
    size: int = 0
    first: list[dict[str, Any]] = field(default_factory=list)
    types: dict[str, set[str]] = field(default_factory=dict)
    _file: IO[bytes] = field(default_factory=tempfile.TemporaryFile)

    def fill(self, documents: Iterable[Any], seen: set[tuple[Any, ...]]) -> None:
        """Checks and keeps the documents; `seen` holds the keys of the whole output."""
        import bson

        for number, document in enumerate(documents, start=1):
            key = self._checked_key(document, number)
            if key in seen:
                raise self._refused(key, "is in the output twice", "return each document once")
            self._check_values(key, document)
            encoded = bson.encode({**document, **self.target.stamp(self.partition)})
            whole = len(encoded) + (0 if "_id" in document else OBJECT_ID_BYTES)
            if whole > MAX_DOCUMENT_BYTES:
                raise self._refused(
                    key,
                    f"takes {whole:,} bytes, over MongoDB's limit of {MAX_DOCUMENT_BYTES:,}",
                    "put the bulk of it into the object store and keep its key in the document",
                )
            seen.add(key)
            self.keys.add(key)
            self._file.write(encoded)
            self.size += len(encoded)
            self._describe(document)

    def batches(self) -> Iterator[list[dict[str, Any]]]:
        """The documents again, decoded as the server would give them back."""
        import bson
        from bson.codec_options import CodecOptions

        options: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True)
        most = BATCH_DOCUMENTS if len(self.target.key) == 1 else COMPOUND_BATCH_DOCUMENTS
        self._file.seek(0)
        batch: list[dict[str, Any]] = []
        begun = 0
        for document in bson.decode_file_iter(self._file, options):
            batch.append(document)
            if len(batch) >= most or self._file.tell() - begun >= BATCH_BYTES:
                yield batch
                batch, begun = [], self._file.tell()
        if batch:
            yield batch

    def close(self) -> None:
        self._file.close()

    def _checked_key(self, document: Any, number: int) -> tuple[Any, ...]:
        from bson import ObjectId

        place = f"{self.target.asset}: document {number}"
        if not isinstance(document, Mapping):
            raise DocumentError(f"{place} is a {type(document).__name__}. Remedy: return dicts.")
        for name in self.target.key:
            value = document.get(name)
            if isinstance(value, bool) or not isinstance(value, str | int | datetime.datetime | ObjectId):
                found = "nothing" if value is None else f"a {type(value).__name__}"
                raise DocumentError(
                    f"{place} has {found} in `{name}`, which is part of its key. Nothing was written. "
                    "Remedy: give it text, an integer, a datetime or an ObjectId."
                )
        return tuple(_as_stored(document[name]) for name in self.target.key)

    def _check_values(self, key: tuple[Any, ...], document: Mapping[str, Any]) -> None:
        for reserved in (ASSET_FIELD, PARTITION_FIELD):
            if reserved in document:
                raise self._refused(key, f"has a field `{reserved}`, which is ours", "rename the field")
        if "_id" in document and self.target.key != ("_id",):
            raise self._refused(
                key, "has an `_id`, which the server gives", "leave it out or make it the key"
            )
        trouble = unstorable(document)
        if trouble:
            raise self._refused(key, *trouble)

    def _refused(self, key: tuple[Any, ...], problem: str, remedy: str) -> DocumentError:
        partition = "" if self.partition is None else f", partition {self.partition!r}"
        return DocumentError(
            f"{self.target.asset}{partition}: the document {self.target.named(key)} {problem}. "
            f"Nothing was written. Remedy: {remedy}."
        )

    def _describe(self, document: Mapping[str, Any]) -> None:
        if len(self.first) < 5 and self.target.preview:
            self.first.append({name: str(v)[:200] for name, v in document.items() if v is not None})
        for name, value in document.items():
            if value is not None:
                self.types.setdefault(name, set()).add(_type_name(value))


def _type_name(value: Any) -> str:
    if isinstance(value, Mapping):
        return "object"
    return "array" if isinstance(value, list | tuple) else type(value).__name__


def _is_whole(value: Any) -> bool:
    return value.whole if isinstance(value, Documents) else True


def _iterable(value: Any, target: _Target) -> Iterable[Any]:
    if isinstance(value, Iterable) and not isinstance(value, Mapping | str | bytes):
        return value
    raise DocumentError(
        f"{target.asset}: a {type(value).__name__} is no set of documents. Remedy: return a list of dicts, "
        "an iterator of them, or Documents."
    )


def _top_level(names: Sequence[Any]) -> bool:
    """Whether these are names of top-level fields; the embedded server takes no dotted paths."""
    return bool(names) and all(map(plain_name, names))


def _as_stored(value: Any) -> Any:
    """A key's value as the server gives it back: datetimes in whole milliseconds, with their zone."""
    if not isinstance(value, datetime.datetime):
        return value
    aware = value if value.tzinfo else value.replace(tzinfo=datetime.UTC)
    return aware.replace(microsecond=aware.microsecond // 1000 * 1000)


def _make_indexes(collection: "Collection[dict[str, Any]]", target: _Target) -> None:
    from pymongo.errors import OperationFailure

    def make() -> None:
        if target.key != ("_id",):
            collection.create_index([(name, 1) for name in target.key], unique=True)
        collection.create_index([(ASSET_FIELD, 1), (PARTITION_FIELD, 1)])

    try:
        _persist(make, target)
    except OperationFailure as error:
        raise MongoError(
            f"{target.asset}: collection {target.collection} cannot get a unique index on "
            f"{', '.join(target.key)} ({refusal(error.details)}). Remedy: "
            "remove stored documents that share a key, or an index on these fields with other options."
        ) from None


def _write_slice(collection: "Collection[dict[str, Any]]", target: _Target, spool: _Spool) -> WriteReport:
    report = WriteReport(bytes=spool.size)
    for batch in spool.batches():
        report += _upsert(collection, target, batch)
    if spool.whole:
        report.removed = _remove_vanished(collection, target, spool)
    return report


def _upsert(
    collection: "Collection[dict[str, Any]]", target: _Target, batch: list[dict[str, Any]]
) -> WriteReport:
    from pymongo import ReplaceOne

    keys = [target.key_of(document) for document in batch]
    stored = {
        target.key_of(document): document
        for document in _persist(lambda: list(collection.find(target.any_of(keys))), target)
    }
    report = WriteReport()
    changes = []
    for key, document in zip(keys, batch, strict=True):
        old = stored.get(key)
        if old is None:
            report.inserted += 1
        elif _same({"_id": old["_id"], **document}, old):
            report.unchanged += 1
            continue
        elif not target.take_over and old.get(ASSET_FIELD) != document[ASSET_FIELD]:
            report.left += 1
            continue
        else:
            report.replaced += 1
            report.taken_over += any(old.get(f) != document.get(f) for f in (ASSET_FIELD, PARTITION_FIELD))
        changes.append(ReplaceOne(dict(zip(target.key, key, strict=True)), document, upsert=True))
    if changes:
        _persist(lambda: collection.bulk_write(changes, ordered=False), target, keys=changes)
    return report


def _remove_vanished(collection: "Collection[dict[str, Any]]", target: _Target, spool: _Spool) -> int:
    mine = target.stamp(spool.partition)
    projection = dict.fromkeys((*target.key, "_id"), 1)
    stored = _persist(lambda: list(collection.find(mine, projection)), target)
    gone = [document["_id"] for document in stored if target.key_of(document) not in spool.keys]
    removed = 0
    for start in range(0, len(gone), BATCH_DOCUMENTS):
        which = {"_id": {"$in": gone[start : start + BATCH_DOCUMENTS]}, **mine}
        removed += _persist(lambda which=which: collection.delete_many(which), target).deleted_count  # type: ignore[misc]
    return removed


def _same(new: Any, old: Any) -> bool:
    """Equal in value and, numbers apart from bool counting as integer or float, in type."""
    if isinstance(new, dict):
        return isinstance(old, dict) and new.keys() == old.keys() and all(_same(new[k], old[k]) for k in new)
    if isinstance(new, list):
        return isinstance(old, list) and len(new) == len(old) and all(map(_same, new, old))
    if isinstance(new, bool) or isinstance(old, bool) or isinstance(new, float) != isinstance(old, float):
        return new is old
    return bool(new == old)


def _persist(operation: Callable[[], T], target: _Target, keys: Sequence[Any] = ()) -> T:
    """Runs an operation that may safely run twice, again after a lost connection or a race for one key."""
    from pymongo.errors import AutoReconnect, BulkWriteError, ServerSelectionTimeoutError

    for attempt in range(1, ATTEMPTS + 1):
        try:
            return operation()
        except ServerSelectionTimeoutError as error:
            problem = f"no server answered ({str(error).split(' (configured')[0]})"
            break
        except AutoReconnect as error:
            problem = f"the connection was lost {attempt} times ({str(error).split(' (configured')[0]})"
        except BulkWriteError as error:
            # Not chained: pymongo's text holds whole documents.
            failed = error.details.get("writeErrors", [])
            problem = (
                f"{len(failed)} writes were refused, the first: {refusal(failed[0] if failed else None)}"
            )
            if any(refusal.get("code") != DUPLICATE_KEY for refusal in failed):
                break
    raise MongoError(
        f"{target.asset}: writing or reading collection {target.collection} failed: {problem}. "
        "Remedy: see that the server runs and has room, then run again; a repeated write is harmless."
    ) from None


def _projection(context: dg.InputContext, target: _Target) -> dict[str, int]:
    columns = context.definition_metadata.get("columns")
    if columns is None:
        return dict.fromkeys({ASSET_FIELD, PARTITION_FIELD, "_id"} - set(target.key), 0)
    names = [columns] if isinstance(columns, str) else list(columns)
    if not _top_level(names):
        raise DocumentError(
            f"{target.asset}: `columns` of input {context.name!r} must list top-level fields, not {columns!r}"
            ". Remedy: select the whole top-level field and take the nested one in code."
        )
    return {**dict.fromkeys(names, 1), **({} if "_id" in names else {"_id": 0})}


def _metadata(
    context: dg.OutputContext,
    target: _Target,
    spools: Sequence[_Spool],
    reports: Sequence[WriteReport],
    seconds: float,
) -> dict[str, Any]:
    total = sum(reports, WriteReport())
    metadata: dict[str, Any] = {
        "collection": target.collection,
        "inserted": total.inserted,
        "replaced": total.replaced,
        "unchanged": total.unchanged,
        "removed": total.removed,
        "taken_over": total.taken_over,
        **({} if target.take_over else {"left_to_others": total.left}),
        "bytes": total.bytes,
        "seconds": round(seconds, 3),
        "documents_per_second": round(total.documents / max(seconds, 1e-6), 1),
        "dagster/column_schema": _column_schema(spools),
    }
    if len(spools) == 1:
        count = "dagster/row_count" if spools[0].partition is None else "dagster/partition_row_count"
        metadata[count] = total.documents
    else:
        rows = [
            {"partition": spool.partition, "documents": report.documents, "removed": report.removed}
            for spool, report in zip(spools, reports, strict=True)
        ]
        metadata["documents"] = total.documents
        metadata["partitions"] = dg.MetadataValue.md(
            preview_table(rows[:100], ["partition", "documents", "removed"], cell=100)
        )
    first = [document for spool in spools for document in spool.first][:5]
    if target.preview and first:
        columns = list(dict.fromkeys(name for document in first for name in document))[:20]
        metadata["preview"] = dg.MetadataValue.md(preview_table(first, columns))
    return metadata


def _column_schema(spools: Sequence[_Spool]) -> dg.TableSchema:
    types: dict[str, set[str]] = {}
    for spool in spools:
        for name, found in spool.types.items():
            types.setdefault(name, set()).update(found)
    return dg.TableSchema(
        columns=[dg.TableColumn(name, " | ".join(sorted(found))) for name, found in list(types.items())[:200]]
    )
