"""What a document may hold, so that every server of MongoDB's protocol keeps it as it is.

The limits are MongoDB's own, and those of the embedded server, which keeps JSON's types, datetimes and ObjectIds.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

MAX_DOCUMENT_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 100

_SURROGATE = re.compile("[\ud800-\udfff]")
_NAME_REMEDY = "use names without '$', '.' and NUL"


def plain_name(name: Any) -> bool:
    """Whether a field may be called this.

    >>> plain_name("snp_count"), plain_name("a.b"), plain_name("$set"), plain_name("")
    (True, False, False, False)
    """
    return (
        isinstance(name, str)
        and bool(name)
        and not name.startswith("$")
        and not {".", "\0"} & set(name)
        and not _SURROGATE.search(name)
    )


def unstorable(value: Any, path: str = "", depth: int = 1) -> tuple[str, str] | None:
    """What is wrong with the first value that cannot be kept, and the remedy; None where all can.

    The problem names the field, never the value.

    >>> unstorable({"a": [1, {"b": float("nan")}]})
    ('has nan in a[1].b', 'store null instead')
    """
    if isinstance(value, Mapping | list | tuple) and depth > MAX_DEPTH:
        return f"is nested more than {MAX_DEPTH} levels deep", "flatten it"
    if isinstance(value, Mapping):
        for name in value:
            if not plain_name(name):
                return f"has a field named {name!r} {f'in {path}' if path else ''}".rstrip(), _NAME_REMEDY
        return _first(
            unstorable(v, f"{path}.{name}" if path else name, depth + 1) for name, v in value.items()
        )
    if isinstance(value, list | tuple):
        return _first(unstorable(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value))
    return _unstorable_scalar(value, path)


def _unstorable_scalar(value: Any, path: str) -> tuple[str, str] | None:
    from bson import ObjectId

    if value is None or isinstance(value, bool | datetime.datetime | ObjectId):
        return None
    if isinstance(value, str):
        if "\0" in value:
            return f"has a NUL character in {path}", "remove the character"
        if _SURROGATE.search(value):
            return f"has half of a surrogate pair in {path}", "write the text as UTF-8"
        return None
    if isinstance(value, float):
        return None if math.isfinite(value) else (f"has {value} in {path}", "store null instead")
    if isinstance(value, int):
        fits = -(2**63) <= value < 2**63
        return None if fits else (f"has an integer over 64 bits in {path}", "store it as text")
    return (
        f"has a {type(value).__module__}.{type(value).__name__} in {path}",
        "convert it to text, a number, a datetime, a list or a dict; keep bytes in the object store",
    )


def _first(found: Iterable[tuple[str, str] | None]) -> tuple[str, str] | None:
    return next((trouble for trouble in found if trouble), None)
