"""What an export of a collection looks like in the inbox, and the partitions of the collections that come that way."""

from dataclasses import dataclass

import dagster as dg

from genomics_assets.drops import DropKind


@dataclass(frozen=True)
class Export:
    """A collection that is exported to files: one partition is one file.

    Attributes:
        collection: where the documents are stored.
        kinds: the folders of the inbox; all but the first one are other names for it.
        partitions: gets one for each file.
    """

    collection: str
    kinds: tuple[DropKind, ...]
    partitions: dg.DynamicPartitionsDefinition


def _export(collection: str, *folders: str) -> Export:
    kinds = tuple(
        DropKind(name=f"zygotrix_{folder}", folder=f"zygotrix/{folder}", endings=(".jsonl",))
        for folder in (collection, *folders)
    )
    return Export(collection, kinds, dg.DynamicPartitionsDefinition(name=f"zygotrix_{collection}"))


USERS = _export("users")
TRAITS = _export("traits")
CONVERSATIONS = _export("conversations")
COURSES = _export("university_courses", "courses")
ENROLLMENTS = _export("university_enrollments", "enrollments")
EXPORTS = (USERS, TRAITS, CONVERSATIONS, COURSES, ENROLLMENTS)
