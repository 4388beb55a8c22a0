"""Ids and moments as people and programs write them, brought to the one form in which they are stored.

A MongoDB export is Extended JSON (v2): `{"$oid": "…"}`, `{"$date": "…"}`, `{"$numberLong": "…"}`. Other exports write
the same things as plain text. An id of 24 hexadecimal digits is an ObjectId whatever it was written as; any other text
stays text. So an id never has two types, and references always meet what they refer to.

Source: https://github.com/mongodb/specifications, extended-json.
"""

from __future__ import annotations

import datetime
import hashlib
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any

from bson import ObjectId
from pydantic import BeforeValidator, PlainValidator, WithJsonSchema

MAX_ID_LENGTH = 200
# BSON has 64 bits for the milliseconds; Python's datetimes end before that.
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_OBJECT_ID = re.compile(r"[0-9a-fA-F]{24}")
_UNUSABLE_IN_ID = re.compile(r"[\x00-\x1f\x7f/\\\ud800-\udfff]")


def identifier(value: Any) -> ObjectId | str:
    """An id in its one form.

    Raises:
        ValueError: not an id: empty, longer than 200 characters, or with a slash or a control character, for ids become
            parts of object keys.

    >>> identifier("65A1b2c3d4e5f60718293a4b")
    ObjectId('65a1b2c3d4e5f60718293a4b')
    >>> identifier({"$oid": "65a1b2c3d4e5f60718293a4b"}) == identifier("65a1b2c3d4e5f60718293a4b")
    True
    >>> identifier("user123")
    'user123'
    """
    if isinstance(value, Mapping) and set(value) == {"$oid"}:
        value = value["$oid"]
        if not (isinstance(value, str) and _OBJECT_ID.fullmatch(value)):
            raise ValueError("an $oid has 24 hexadecimal digits")
    if isinstance(value, ObjectId):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise ValueError("an id is text or an ObjectId")
    if _OBJECT_ID.fullmatch(value):
        return ObjectId(value)
    if (
        not value.strip()
        or value in (".", "..")
        or len(value) > MAX_ID_LENGTH
        or _UNUSABLE_IN_ID.search(value)
    ):
        raise ValueError(f"an id has 1 to {MAX_ID_LENGTH} characters, without slashes and control characters")
    return value


def derived_id(collection: str, *natural_key: object) -> ObjectId:
    """The id of a document that came without one: the same for the same natural key, whenever it comes.

    >>> derived_id("users", "ada@example.org") == derived_id("users", "ada@example.org")
    True
    """
    text = "\0".join([collection, *map(str, natural_key)])
    return ObjectId(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:12])


def moment(value: Any) -> datetime.datetime:
    """A point in time, in UTC and whole milliseconds as BSON has it; without a zone it is UTC.

    Takes ISO 8601 text, a datetime, and Extended JSON's `$date` in all its forms.

    Raises:
        ValueError: not a point in time, or outside the years 1 to 9999.

    >>> moment("2024-02-29T12:00:00.123456+01:00")
    datetime.datetime(2024, 2, 29, 11, 0, 0, 123000, tzinfo=datetime.timezone.utc)
    >>> moment({"$date": {"$numberLong": "0"}}) == moment("1970-01-01")
    True
    """
    try:
        found = _moment(value)
        return found.replace(microsecond=found.microsecond // 1000 * 1000)
    except (ValueError, OverflowError, TypeError):
        raise ValueError("not a date and time as ISO 8601 or Extended JSON writes it") from None


def _moment(value: Any) -> datetime.datetime:
    if isinstance(value, Mapping) and set(value) == {"$date"}:
        value = plain(value["$date"])
        if isinstance(value, int) and not isinstance(value, bool):
            return _EPOCH + datetime.timedelta(milliseconds=value)
    if isinstance(value, str):
        value = datetime.datetime.fromisoformat(value.strip())
    if not isinstance(value, datetime.datetime):
        raise ValueError
    return value.astimezone(datetime.UTC) if value.tzinfo else value.replace(tzinfo=datetime.UTC)


def plain(value: Any) -> Any:
    """A value with all of Extended JSON's wrappers taken off, at any depth.

    Raises:
        ValueError: a wrapper whose type the store does not keep (`$binary`, `$regularExpression`, …), or one with
            unusable contents.

    >>> plain({"n": {"$numberLong": "5"}, "at": [{"$date": "1970-01-01T00:00:00Z"}]})
    {'n': 5, 'at': [datetime.datetime(1970, 1, 1, 0, 0, tzinfo=datetime.timezone.utc)]}
    """
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    wrapper = next(iter(value), "")
    if len(value) == 1 and wrapper in _WRAPPERS:
        return _WRAPPERS[wrapper](value)
    return {name: plain(item) for name, item in value.items()}


def _whole(value: dict[str, Any]) -> int:
    return int(next(iter(value.values())))


def _real(value: dict[str, Any]) -> float:
    number = float(value["$numberDouble"])
    if not math.isfinite(number):
        raise ValueError("a number that is not finite")
    return number


def _text(value: dict[str, Any]) -> str:
    text = next(iter(value.values()))
    if not isinstance(text, str):
        raise ValueError("a wrapped text that is none")
    return text


_WRAPPERS = {
    "$oid": identifier,
    "$date": moment,
    "$numberInt": _whole,
    "$numberLong": _whole,
    "$numberDouble": _real,
    "$uuid": _text,
    "$symbol": _text,
}

Identifier = Annotated[
    ObjectId | str, PlainValidator(identifier), WithJsonSchema({"bsonType": ["objectId", "string"]})
]
Moment = Annotated[datetime.datetime, BeforeValidator(moment), WithJsonSchema({"bsonType": "date"})]
