"""How the document store is laid out: the collections with their indexes and validators, and how a store differs.

An index is here because the Zygotrix documents ask for it, or because a query of this project uses it. Nothing here
talks to a server: `resources.zygotrix_store` says what a store holds, `drift_of` says what is wrong about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from genomics_assets.zygotrix.models import MODELS, Document
from genomics_assets.zygotrix.mongo_schema import mongo_schema

Direction = Literal[1, -1, "text"]
DriftKind = Literal[
    "missing_collection", "missing_index", "conflicting_index", "extra_index",
    "missing_validator", "outdated_validator", "foreign_validator",
]  # fmt: skip

# By this title a validator is known as one of ours, which a newer one may replace.
_TITLE = "genomics_assets"


@dataclass(frozen=True)
class Index:
    """An index as it should be.

    Attributes:
        keys: fields with their direction; all `text` for a text index.
        unique: no two documents have the same values.
        sparse: documents without the field are left out.
    """

    keys: tuple[tuple[str, Direction], ...]
    unique: bool = False
    sparse: bool = False

    @property
    def name(self) -> str:
        """The name that MongoDB gives it by itself.

        >>> Index((("user_id", 1), ("created_at", -1))).name
        'user_id_1_created_at_-1'
        """
        return "_".join(f"{name}_{direction}" for name, direction in self.keys)

    @property
    def is_text(self) -> bool:
        """Whether it serves `$text` queries."""
        return any(direction == "text" for _, direction in self.keys)

    @property
    def description(self) -> str:
        """Keys and options.

        >>> Index((("email", 1),), unique=True).description
        '(email 1) unique'
        """
        return _described(self.keys, {"unique": self.unique, "sparse": self.sparse})


@dataclass(frozen=True)
class CollectionLayout:
    """A collection as it should be."""

    model: type[Document]
    indexes: tuple[Index, ...]

    @property
    def name(self) -> str:
        """The collection's name."""
        return self.model.collection

    def validator(self) -> dict[str, Any]:
        """The validator that a server gets which keeps them."""
        return {"$jsonSchema": {"title": f"{_TITLE} {self.name}", **mongo_schema(self.model)}}


@dataclass(frozen=True)
class FoundIndex:
    """An index as a server describes it; a text index has the keys `(field, "text")`."""

    name: str
    keys: tuple[tuple[str, Direction], ...]
    unique: bool = False
    sparse: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def description(self) -> str:
        """Keys and options."""
        return _described(self.keys, {"unique": self.unique, "sparse": self.sparse, **self.more})


@dataclass(frozen=True)
class FoundCollection:
    """A collection as a server describes it.

    Attributes:
        indexes: all but the one on `_id`.
        validator: None where it has none.
        exact: False for a server that forgets names, directions, text indexes, sparseness and validators, as the
            embedded one does: what it does not tell is not compared.
    """

    indexes: Sequence[FoundIndex]
    validator: Mapping[str, Any] | None = None
    exact: bool = True


@dataclass(frozen=True)
class Drift:
    """One difference between a store and its layout."""

    collection: str
    kind: DriftKind
    what: str
    remedy: str

    @property
    def is_harmless(self) -> bool:
        """Whether everything still works; an index too many costs room and time alone."""
        return self.kind == "extra_index"


def _index(*fields: str, unique: bool = False, sparse: bool = False) -> Index:
    return Index(
        tuple((name.removeprefix("-"), -1 if name.startswith("-") else 1) for name in fields), unique, sparse
    )


# What `resources.mongo_io_manager` keeps in every collection that it writes.
WRITTEN_BY = _index("_asset", "_partition")

_INDEXES: Mapping[str, tuple[Index, ...]] = {
    "users": (_index("email", unique=True), _index("role"), WRITTEN_BY),
    "traits": (
        Index((("name", "text"), ("description", "text"))),
        _index("type"),
        _index("tags"),
        _index("key", unique=True, sparse=True),
        WRITTEN_BY,
    ),
    "conversations": (_index("user_id", "-updated_at"), WRITTEN_BY),
    "gwas_datasets": (_index("user_id", "-created_at"), _index("user_id"), WRITTEN_BY),
    "gwas_jobs": (
        _index("user_id", "status"),
        _index("dataset_id"),
        _index("status", "-created_at"),
        WRITTEN_BY,
    ),
    "gwas_results": (_index("job_id", unique=True), _index("dataset_id"), _index("user_id"), WRITTEN_BY),
    "university_courses": (_index("slug", unique=True, sparse=True), WRITTEN_BY),
    "university_enrollments": (_index("user_id", "course_slug", unique=True), WRITTEN_BY),
}

LAYOUT: Mapping[str, CollectionLayout] = {
    name: CollectionLayout(model, _INDEXES[name]) for name, model in MODELS.items()
}


def drift_of(layout: CollectionLayout, found: FoundCollection | None) -> list[Drift]:
    """Everything about a collection that is not as it should be.

    Args:
        layout: how it should be.
        found: how it is; None where the server does not have it.
    """
    if found is None:
        return [Drift(layout.name, "missing_collection", layout.name, "materialize zygotrix/collections")]
    return [*_index_drift(layout, found), *_validator_drift(layout, found)]


def _index_drift(layout: CollectionLayout, found: FoundCollection) -> Iterable[Drift]:
    name = layout.name
    left = list(found.indexes)
    for wanted in layout.indexes:
        if wanted.is_text and not found.exact:
            continue
        same = [index for index in left if _same_keys(wanted, index, exact=found.exact)]
        agreeing = [index for index in same if _same_options(wanted, index, exact=found.exact)]
        for index in same:
            left.remove(index)
        if agreeing:
            continue
        named = [index for index in left if found.exact and index.name == wanted.name]
        text = [index for index in left if wanted.is_text and any(d == "text" for _, d in index.keys)]
        for blocking in [*same, *named, *text][:1]:
            if blocking in left:
                left.remove(blocking)
            yield Drift(
                name,
                "conflicting_index",
                f"{blocking.name} is {blocking.description}, not {wanted.description}",
                f'db.{name}.dropIndex("{blocking.name}"), then materialize zygotrix/collections',
            )
            break
        else:
            yield Drift(name, "missing_index", wanted.description, "materialize zygotrix/collections")
    for index in left:
        yield Drift(
            name,
            "extra_index",
            f"{index.name}: {index.description}",
            f'db.{name}.dropIndex("{index.name}") if nothing needs it',
        )


def _validator_drift(layout: CollectionLayout, found: FoundCollection) -> Iterable[Drift]:
    if not found.exact or found.validator == layout.validator():
        return
    if found.validator is None:
        yield Drift(layout.name, "missing_validator", "no validator", "materialize zygotrix/collections")
    elif is_ours(found.validator):
        yield Drift(
            layout.name,
            "outdated_validator",
            "the validator of another version",
            "materialize zygotrix/collections",
        )
    else:
        yield Drift(
            layout.name,
            "foreign_validator",
            "a validator that somebody else set",
            f'db.runCommand({{collMod: "{layout.name}", validator: {{}}}}), then materialize zygotrix/collections',
        )


def is_ours(validator: Mapping[str, Any]) -> bool:
    """Whether a validator was set by this project, in any version."""
    schema = validator.get("$jsonSchema")
    return isinstance(schema, Mapping) and str(schema.get("title", "")).startswith(_TITLE)


def _same_keys(wanted: Index, found: FoundIndex, *, exact: bool) -> bool:
    if wanted.is_text:
        return set(wanted.keys) == set(found.keys)
    if exact:
        return wanted.keys == found.keys
    return [name for name, _ in wanted.keys] == [name for name, _ in found.keys]


def _same_options(wanted: Index, found: FoundIndex, *, exact: bool) -> bool:
    if wanted.unique != found.unique or found.more:
        return False
    return not exact or wanted.sparse == found.sparse


def _described(keys: Sequence[tuple[str, Direction]], options: Mapping[str, Any]) -> str:
    named = ", ".join(f"{name} {direction}" for name, direction in keys)
    words = [name if value is True else f"{name}={value}" for name, value in options.items() if value]
    return " ".join([f"({named})", *words])
