"""The document store of Zygotrix: its collections as `genomics_assets.zygotrix.store_layout` wants them.

Writes go through the models: what they refuse is refused here, whether or not the server keeps validators. The embedded
server keeps none; it also forgets the names and directions of indexes, and makes no text index.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import dagster as dg
from pydantic import PrivateAttr

from genomics_assets.document_rules import MAX_DOCUMENT_BYTES
from resources.mongo import MongoResource, refusal
from resources.mongo_io_manager import DocumentError
from resources.object_store import ObjectStoreResource

if TYPE_CHECKING:
    from pymongo.collection import Collection
    from pymongo.database import Database

    from genomics_assets.zygotrix.models import Document
    from genomics_assets.zygotrix.store_layout import CollectionLayout, Drift, FoundCollection, FoundIndex

D = TypeVar("D", bound="Document")

_PLAIN_INDEX_OPTIONS = frozenset({"v", "key", "name", "unique", "sparse", "ns", "background"})
_TEXT_INDEX_OPTIONS = frozenset({"weights", "default_language", "language_override", "textIndexVersion"})
_EXISTS = 48


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

    def _is_exact(self) -> bool:
        # The embedded server answers without a version.
        return "version" in self.mongo.database().client.server_info()

    def _found(self) -> "dict[str, FoundCollection]":
        from genomics_assets.zygotrix.store_layout import FoundCollection

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
        }


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
