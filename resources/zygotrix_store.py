"""The document store of Zygotrix: its collections as `genomics_assets.zygotrix.store_layout` wants them.

Writes go through the models: what they refuse is refused here, whether or not the server keeps validators. The embedded
server keeps none; it also forgets the names and directions of indexes, and makes no text index.
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import dagster as dg
from pydantic import PrivateAttr

from genomics_assets.document_rules import MAX_DOCUMENT_BYTES
from genomics_assets.drops import Drop, DropKind
from genomics_assets.input_error import InputError
from resources.failures import permanent_failure
from resources.inbox import InboxResource
from resources.mongo import MongoResource, refusal
from resources.mongo_io_manager import BATCH_DOCUMENTS, COMPOUND_BATCH_DOCUMENTS, DocumentError
from resources.object_store import ObjectStoreResource

if TYPE_CHECKING:
    from pymongo.collection import Collection
    from pymongo.database import Database

    from genomics_assets.zygotrix.integrity import Finding, Snapshot
    from genomics_assets.zygotrix.jsonl import CollectionDrop, Settled
    from genomics_assets.zygotrix.models import Document, Trait
    from genomics_assets.zygotrix.store_layout import CollectionLayout, Drift, FoundCollection, FoundIndex
    from genomics_assets.zygotrix.usage import Usage

D = TypeVar("D", bound="Document")

_PLAIN_INDEX_OPTIONS = frozenset({"v", "key", "name", "unique", "sparse", "ns", "background"})
_TEXT_INDEX_OPTIONS = frozenset({"weights", "default_language", "language_override", "textIndexVersion"})
_EXISTS = 48

OBJECT_PREFIXES = ("gwas-datasets", "gwas-results")


@dataclass
class LayoutReport:
    """What `ensure_layout` did, and what it could not or must not do.

    Attributes:
        done: in words, one for each change.
        drift: what still differs.
        keeps_validators: whether the server enforces the models' rules on other writers as well.
    """

    done: list[str] = field(default_factory=list)
    drift: "list[Drift]" = field(default_factory=list)
    keeps_validators: bool = True


class ZygotrixStore(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The eight collections in MongoDB, and the objects that their documents name."""

    mongo: dg.ResourceDependency[MongoResource]
    objects: dg.ResourceDependency[ObjectStoreResource]

    _laid_out: bool = PrivateAttr(default=False)

    # -- layout --------------------------------------------------------------------------------------------------------

    def collection(self, name: str) -> "Collection[dict[str, Any]]":
        """One of the eight collections.

        Raises:
            KeyError: there is no such collection in the layout.
        """
        from genomics_assets.zygotrix.store_layout import LAYOUT

        return self.mongo.database()[LAYOUT[name].name]

    def drift(self) -> "list[Drift]":
        """How the store differs from its layout; changes nothing."""
        from genomics_assets.zygotrix.store_layout import LAYOUT, drift_of

        found = self._found()
        return [drift for layout in LAYOUT.values() for drift in drift_of(layout, found.get(layout.name))]

    def ensure_layout(self) -> LayoutReport:
        """Create what is missing and bring our own validators up to date; drop nothing.

        Safe to repeat, and under two starters at once.
        """
        from pymongo.errors import OperationFailure

        from genomics_assets.zygotrix.store_layout import LAYOUT

        database = self.mongo.database()
        report = LayoutReport(keeps_validators=self._is_exact())
        for drift in self.drift():
            if drift.kind == "missing_collection":
                _create(database, drift.collection)
                report.done.append(f"created {drift.collection}")
        failed: dict[Drift, str] = {}
        for drift in self.drift():
            layout = LAYOUT[drift.collection]
            try:
                if drift.kind == "missing_index":
                    _make_index(database, layout, drift.what)
                    report.done.append(f"{layout.name}: index {drift.what}")
                elif drift.kind in ("missing_validator", "outdated_validator"):
                    _set_validator(database, layout)
                    report.done.append(f"{layout.name}: validator")
            except OperationFailure as error:
                failed[drift] = refusal(error.details)
        report.drift = [
            replace(drift, what=f"{drift.what}; the server refused: {failed[drift]}")
            if drift in failed
            else drift
            for drift in self.drift()
        ]
        return report

    def make_ready(self) -> None:
        """`ensure_layout`, once for each process."""
        if not self._laid_out:
            self.ensure_layout()
            self._laid_out = True

    # -- single documents ----------------------------------------------------------------------------------------------

    def put(self, document: "Document") -> None:
        """Store a document under its `_id`, in place of what is there.

        Raises:
            DocumentError: it takes more than MongoDB's 16 MB.
        """
        import bson

        self.make_ready()
        stored = document.document()
        size = len(bson.encode(stored))
        if size > MAX_DOCUMENT_BYTES:
            raise DocumentError(
                f"{document.collection}: document {document.id} takes {size:,} bytes, over MongoDB's limit of "
                f"{MAX_DOCUMENT_BYTES:,}. Nothing was written. Remedy: put the bulk of it into the object store."
            )
        self.collection(document.collection).replace_one({"_id": document.id}, stored, upsert=True)

    def get(self, model: type[D], id: Any) -> D | None:
        """The document of this `_id`; None where there is none.

        Raises:
            pydantic.ValidationError: what is stored breaks the model's rules; another program wrote it.
        """
        from genomics_assets.zygotrix.extended_json import identifier

        found = self.collection(model.collection).find_one({"_id": identifier(id)})
        return None if found is None else model.model_validate(found)

    # -- exports -------------------------------------------------------------------------------------------------------

    @contextmanager
    def taking(self, inbox: InboxResource, kinds: Sequence[DropKind], partition_key: str) -> Iterator[Drop]:
        """The dropped file of a partition, which lies in the folder of one of the kinds.

        Raises:
            dagster.Failure: for every `InputError` of the block; it is not retried, for the same bytes would fail again.
        """
        drop: Drop | None = None
        try:
            drop = _only_drop(inbox, kinds, partition_key)
            yield drop
            inbox.check_unchanged(drop)
        except InputError as error:
            where = drop.uri if drop else f"{kinds[0].folder}/{partition_key}"
            raise permanent_failure(error if error.file else error.in_file(where), partition_key) from error

    def settle(self, documents: "Sequence[Document]") -> "list[Settled]":
        """Give documents of one collection the `_id` that the store has for their natural key.

        A document that came without an `_id` takes the stored one; one that came with another `_id` may not be stored.
        """
        from genomics_assets.zygotrix.jsonl import Settled

        self.make_ready()
        if documents[0].natural_key == ("_id",):
            return [Settled(document) for document in documents]
        stored = self._stored_ids(documents)
        settled = []
        for document in documents:
            stored_id = stored.get(document.natural_key_values(), document.id)
            if stored_id == document.id:
                settled.append(Settled(document))
            elif document.id == document.derived():
                settled.append(Settled(document.model_copy(update={"id": stored_id})))
            else:
                settled.append(Settled(document, "taken_key"))
        return settled

    def keep_rejects(self, drop: "CollectionDrop", partition_key: str) -> str:
        """Write the rejects of an export into its quarantine object, and remove the one of an earlier version.

        Returns:
            Where the object is, or would be.
        """
        key = quarantine_key(drop.model.collection, partition_key)
        if drop.rejected:
            with self.objects.create(key) as path, path.open("wb") as file:
                shutil.copyfileobj(drop.quarantine(), file)
        elif self.objects.exists(key):
            self.objects.delete(key)
        return self.objects.uri(key)

    def rejects(self, collection: str, partition_key: str) -> dict[str, int]:
        """Quarantined lines of an export by reason; none where all its lines were taken."""
        key = quarantine_key(collection, partition_key)
        if not self.objects.exists(key):
            return {}
        with self.objects.open(key) as lines:
            return dict(Counter(str(json.loads(line)["reason"]) for line in lines).most_common())

    def _stored_ids(self, documents: "Sequence[Document]") -> dict[tuple[Any, ...], Any]:
        names = documents[0].natural_key
        collection = self.collection(documents[0].collection)
        found: dict[tuple[Any, ...], Any] = {}
        step = BATCH_DOCUMENTS if len(names) == 1 else COMPOUND_BATCH_DOCUMENTS
        for start in range(0, len(documents), step):
            values = [document.natural_key_values() for document in documents[start : start + step]]
            wanted: dict[str, Any] = {"$or": [dict(zip(names, value, strict=True)) for value in values]}
            if len(names) == 1:
                wanted = {names[0]: {"$in": [value for (value,) in values]}}
            for stored in collection.find(wanted, dict.fromkeys(names, 1)):
                found[tuple(stored.get(name) for name in names)] = stored["_id"]
        return found

    # -- what the store looks like -------------------------------------------------------------------------------------

    def traits(self) -> "tuple[list[Trait], int]":
        """The stored traits in the order of their keys, and how many there are that break the model's rules."""
        from pydantic import ValidationError

        from genomics_assets.zygotrix.models import Trait

        traits, broken = [], 0
        for stored in self.collection("traits").find().sort("key"):
            try:
                traits.append(Trait.model_validate(stored))
            except ValidationError:
                broken += 1
        return traits, broken

    def findings(self) -> "list[Finding]":
        """What does not fit together, seen twice: work under way moves from one look to the next, defects stay."""
        from genomics_assets.zygotrix.integrity import findings

        first = findings(self.snapshot())
        if not first:
            return []
        second = set(findings(self.snapshot()))
        return [finding for finding in first if finding in second]

    def snapshot(self) -> "Snapshot":
        """What of the store decides on its integrity.

        A result is written before its job is completed, and objects before the documents that name them; so jobs are read
        before results, and objects last.
        """
        from genomics_assets.zygotrix.integrity import Snapshot

        jobs = self._fields("gwas_jobs", "user_id", "dataset_id", "status", "result_id")
        results = self._fields("gwas_results", "job_id", "user_id", "dataset_id", "associations_path")
        datasets = self._fields("gwas_datasets", "user_id", "status", "storage_path", "deleting_since")
        enrollments = self._fields("university_enrollments", "user_id", "course_slug")
        conversations = self._fields("conversations", "user_id")
        return Snapshot(
            users={user["_id"] for user in self._fields("users", "role")},
            courses={course.get("slug") for course in self._fields("university_courses", "slug")},
            datasets={dataset["_id"]: dataset for dataset in datasets},
            jobs={job["_id"]: job for job in jobs},
            results=results,
            conversations=conversations,
            enrollments=enrollments,
            objects={key for prefix in OBJECT_PREFIXES for key in self.objects.list(prefix)},
        )

    def usage(self) -> "list[Usage]":
        """What each user has and used."""
        from genomics_assets.zygotrix.usage import usage_of

        sizes = {key: size for prefix in OBJECT_PREFIXES for key, size in self.objects.sizes(prefix).items()}
        return usage_of(
            [user["_id"] for user in self._fields("users", "role")],
            self._fields("gwas_datasets", "user_id"),
            self._fields("gwas_jobs", "user_id", "status", "snps_tested", "cpu_seconds"),
            sizes,
        )

    def counts(self) -> dict[str, int]:
        """How many documents each collection holds."""
        from genomics_assets.zygotrix.store_layout import LAYOUT

        return {name: self.collection(name).estimated_document_count() for name in LAYOUT}

    def _fields(self, collection: str, *names: str) -> list[dict[str, Any]]:
        return list(self.collection(collection).find({}, dict.fromkeys(names, 1)))

    def _is_exact(self) -> bool:
        # The embedded server answers without a version.
        return "version" in self.mongo.database().client.server_info()

    def _found(self) -> "dict[str, FoundCollection]":
        from genomics_assets.zygotrix.store_layout import LAYOUT, FoundCollection

        database = self.mongo.database()
        exact = self._is_exact()
        return {
            info["name"]: FoundCollection(
                [
                    _found_index(index)
                    for index in database[info["name"]].list_indexes()
                    if index["name"] != "_id_"
                ],
                info.get("options", {}).get("validator") or None,
                exact,
            )
            for info in database.list_collections()
            # Views and other people's collections are none of ours.
            if info["name"] in LAYOUT
        }


def quarantine_key(collection: str, partition_key: str) -> str:
    """Where the rejects of an export are kept.

    >>> quarantine_key("users", "2024/march")
    'quarantine/zygotrix/users/2024/march.jsonl'
    """
    return f"quarantine/zygotrix/{collection}/{partition_key}.jsonl"


def _only_drop(inbox: InboxResource, kinds: Sequence[DropKind], partition_key: str) -> Drop:
    found: list[Drop] = []
    missing: InputError | None = None
    for kind in kinds:
        try:
            found.append(inbox.drop(kind, partition_key))
        except InputError as error:
            missing = missing or error
    if len(found) == 1:
        return found[0]
    if missing is not None and not found:
        raise missing
    raise InputError(
        f"files of this name lie in {' and in '.join(drop.kind.folder for drop in found)}",
        remedy="rename one of them",
        file=found[0].uri,
    )


def _create(database: "Database[dict[str, Any]]", name: str) -> None:
    from pymongo.errors import CollectionInvalid, OperationFailure

    try:
        database.create_collection(name)
    except CollectionInvalid:  # another starter was faster
        return
    except OperationFailure as error:
        if error.code != _EXISTS:
            raise


def _set_validator(database: "Database[dict[str, Any]]", layout: "CollectionLayout") -> None:
    # Moderate: documents that broke the rules before may still be changed.
    database.command(
        "collMod",
        layout.name,
        validator=layout.validator(),
        validationLevel="moderate",
        validationAction="error",
    )


def _make_index(database: "Database[dict[str, Any]]", layout: "CollectionLayout", description: str) -> None:
    index = next(index for index in layout.indexes if index.description == description)
    options: dict[str, Any] = {name: True for name in ("unique", "sparse") if getattr(index, name)}
    database[layout.name].create_index(list(index.keys), name=index.name, **options)


def _found_index(described: Mapping[str, Any]) -> "FoundIndex":
    from genomics_assets.zygotrix.store_layout import FoundIndex

    keys = tuple(described["key"].items())
    ordinary = _PLAIN_INDEX_OPTIONS
    if any(direction == "text" for _, direction in keys):
        keys = tuple((name, "text") for name in described.get("weights", {}))
        ordinary = ordinary | _TEXT_INDEX_OPTIONS
    return FoundIndex(
        str(described["name"]),
        keys,
        bool(described.get("unique")),
        bool(described.get("sparse")),
        {name: value for name, value in described.items() if name not in ordinary},
    )
