"""Exports of one collection, one JSON object a line: each line becomes a document or a reject with its reason.

Memory stays flat: a line is read, checked by the collection's model, and kept in a temporary file as BSON. Rejects go to
another one, as lines of JSON that hold the line's number, the reason, and the record without its secrets. No message of
this module repeats a value of the file.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, NoReturn

import bson
from pydantic import ValidationError

from genomics_assets.document_rules import MAX_DOCUMENT_BYTES, unstorable
from genomics_assets.input_error import InputError
from genomics_assets.zygotrix.extended_json import plain
from genomics_assets.zygotrix.models import Document

MAX_LINE_BYTES = 64 * 1024 * 1024
BATCH_LINES = 500
BATCH_BYTES = 8 * 1024 * 1024
# Room for `_asset` and `_partition`, whose longest values are far below this.
_STAMP_ROOM = 4096
# What the store adds to every document; it comes back with an export of the store itself.
STORE_FIELDS = ("_asset", "_partition")

Reason = Literal[
    "not_utf8", "not_json", "line_too_long", "not_an_object", "repeated_field", "unstorable_value", "missing_field",
    "wrong_type", "unknown_word", "wrong_value", "repeated_record", "taken_key", "too_large",
]  # fmt: skip
REASONS: Mapping[Reason, str] = {
    "not_utf8": "bytes that are not UTF-8",
    "not_json": "not JSON, or cut off",
    "line_too_long": f"longer than {MAX_LINE_BYTES >> 20} MB",
    "not_an_object": "JSON, but not an object",
    "repeated_field": "a field given twice in one object",
    "unstorable_value": "a value or a field name that the store cannot keep",
    "missing_field": "a field that every document of the collection has",
    "wrong_type": "a value of another type than the field's",
    "unknown_word": "a word that the field does not know",
    "wrong_value": "a value that breaks the field's rule",
    "repeated_record": "the same natural key or _id as an earlier line of the file",
    "taken_key": "a natural key that a stored document has under another _id",
    "too_large": "a document over MongoDB's 16 MB",
}

_MISSING = frozenset({"missing"})
_WORDS = frozenset({"literal_error", "enum"})
_SECRET_NAME = re.compile(r"pass(word|wd|phrase)?|hash|secret|token|api_?key|salt|credential", re.IGNORECASE)
# Modular crypt format, argon2, PBKDF2, scrypt and bare hexadecimal digests.
_SECRET_VALUE = re.compile(
    r"\$(2[abxy]?|argon2\w*|scrypt|pbkdf2\S*|[156y])\$|pbkdf2|scrypt:|^[0-9a-fA-F]{32,}$"
)
_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,49}")


class RejectError(ValueError):
    """A line that does not become a document."""

    def __init__(self, reason: Reason, where: str | None = None, told: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.where = where
        self.told = told


@dataclass(frozen=True)
class Settled:
    """A document that may be stored, or the reason why it may not."""

    document: Document
    reason: Reason | None = None


Settle = Callable[[Sequence[Document]], Sequence[Settled]]


@dataclass
class CollectionDrop:
    """What an export came to. `close` gives the temporary files back.

    Attributes:
        lines: with something on them.
        accepted: documents.
        rejected: lines by reason.
        first: the first line of each reason.
        unknown_fields: fields that the model does not know, by how many documents have them; they are kept.
        begins_as_array: the first thing on the first line is a bracket.
    """

    model: type[Document]
    lines: int = 0
    accepted: int = 0
    rejected: Counter[Reason] = field(default_factory=Counter)
    first: dict[Reason, int] = field(default_factory=dict)
    unknown_fields: Counter[str] = field(default_factory=Counter)
    begins_as_array: bool = False
    _documents: IO[bytes] = field(default_factory=tempfile.TemporaryFile)
    _rejects: IO[bytes] = field(default_factory=tempfile.TemporaryFile)

    def documents(self) -> Iterator[dict[str, Any]]:
        """The accepted documents in the file's order, read once."""
        from bson.codec_options import CodecOptions

        options: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True)
        self._documents.seek(0)
        yield from bson.decode_file_iter(self._documents, options)

    def quarantine(self) -> IO[bytes]:
        """The rejects as lines of JSON, from the start."""
        self._rejects.seek(0)
        return self._rejects

    def close(self) -> None:
        """Give the temporary files back."""
        self._documents.close()
        self._rejects.close()

    def accept(self, document: Document, encoded: bytes) -> None:
        """Keep a document."""
        self.accepted += 1
        self._documents.write(encoded)
        for name in document.model_extra or {}:
            self.unknown_fields[name if _FIELD_NAME.fullmatch(name) else "(other names)"] += 1

    def reject(self, number: int, error: RejectError, record: Any = None) -> None:
        """Keep a reject, its record without secrets."""
        self.rejected[error.reason] += 1
        self.first.setdefault(error.reason, number)
        entry = {
            "line": number,
            "reason": error.reason,
            "field": error.where,
            "problem": error.told or REASONS[error.reason],
        }
        self._rejects.write(_quarantined(entry, record, self.model.secret_fields) + b"\n")


def read_export(
    path: Path, model: type[Document], settle: Settle, *, file_name: str | None = None
) -> CollectionDrop:
    """Read an export of one collection.

    Args:
        path: the file.
        model: of the collection.
        settle: gives each document the `_id` that it has in the store; is asked for some hundred at a time.
        file_name: how the file is called in errors.

    Raises:
        InputError: the file as a whole is none: empty, compressed, UTF-16, or without a line.
    """
    drop = CollectionDrop(model)
    try:
        _check_container(path)
        seen: dict[bytes, int] = {}
        batch: list[_Line] = []
        size = 0
        for number, line in _lines(path):
            drop.lines += 1
            if drop.lines == 1 and line is not None:
                drop.begins_as_array = line.startswith(b"[")
            batch.append(_read_line(number, line, model, seen))
            size += len(line or b"")
            if len(batch) >= BATCH_LINES or size >= BATCH_BYTES:
                _keep(batch, settle, drop, seen)
                batch, size = [], 0
        _keep(batch, settle, drop, seen)
        if not drop.lines:
            raise InputError("no line holds anything", remedy="export the collection again")
    except InputError as error:
        drop.close()
        raise error.in_file(file_name or path.name) from None
    except BaseException:
        drop.close()
        raise
    return drop


def expect_usable(drop: CollectionDrop, *, file_name: str, quarantine: str) -> None:
    """Make sure that a file with rejects has documents too.

    Raises:
        InputError: every line was rejected.
    """
    if drop.accepted:
        return
    if drop.begins_as_array:
        raise InputError(
            "it is one JSON array",
            remedy="write one object a line, as `mongoexport` without --jsonArray or `jq -c '.[]'` do",
            file=file_name,
        )
    reason, count = drop.rejected.most_common(1)[0]
    raise InputError(
        f"none of its {drop.lines:,} lines is a document of {drop.model.collection}; {count:,} times: {REASONS[reason]}",
        remedy=f"see {quarantine} for every line; correct the file and drop it again",
        file=file_name,
        line=drop.first[reason],
    )


def without_secrets(value: Any, names: Iterable[str] = ()) -> Any:
    """A value with everything that may be a password, its hash or a token replaced, at any depth.

    >>> without_secrets({"email": "a@b.c", "password_hash": "x", "old": ["$2b$12$abc"]})
    {'email': 'a@b.c', 'password_hash': '***', 'old': ['***']}
    """
    names = frozenset(names)
    if isinstance(value, Mapping):
        return {
            name: "***" if name in names or _SECRET_NAME.search(str(name)) else without_secrets(item, names)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [without_secrets(item, names) for item in value]
    return "***" if isinstance(value, str) and _SECRET_VALUE.search(value) else value


def _quarantined(entry: dict[str, Any], record: Any, secret: frozenset[str]) -> bytes:
    if record is not None:
        with suppress(RecursionError):  # nested too deeply to be looked through for secrets
            whole = {**entry, "record": without_secrets(record, secret)}
            return json.dumps(whole, default=str).encode()
    return json.dumps(entry).encode()


# -- lines -------------------------------------------------------------------------------------------------------------


def _check_container(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(4096)
    if not head:
        raise InputError(
            "it is empty", remedy="export the collection again; an empty export is not taken for a deletion"
        )
    if head.startswith((b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")):
        raise InputError("it is compressed", remedy="decompress it, then drop it again")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in head[:64]:
        raise InputError("it is not UTF-8 text", remedy="write it as UTF-8")


def _lines(path: Path) -> Iterator[tuple[int, bytes | None]]:
    """Numbers and contents of lines that hold something; None for one that is too long."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                while line and not line.endswith(b"\n"):
                    line = file.readline(MAX_LINE_BYTES)
                yield number, None
                continue
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line := line.strip():
                yield number, line


@dataclass(frozen=True)
class _Line:
    """What a line came to; the record is what could be read of it, `stored` what is to be stored."""

    number: int
    found: Document | RejectError
    record: Any = None
    stored: dict[str, Any] = field(default_factory=dict)


def _read_line(number: int, line: bytes | None, model: type[Document], seen: dict[bytes, int]) -> _Line:
    record: Any = None
    try:
        record = _record(line)
        document, stored = _document(record, model)
        _expect_new(document, seen, number)
    except RejectError as error:
        return _Line(number, error, record)
    return _Line(number, document, record, stored)


def _record(line: bytes | None) -> dict[str, Any]:
    if line is None:
        raise RejectError("line_too_long")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        raise RejectError("not_utf8") from None
    try:
        record = json.loads(text, object_pairs_hook=_object, parse_constant=_no_number)
    except RejectError:
        raise
    except (ValueError, RecursionError):
        raise RejectError("not_json") from None
    if not isinstance(record, dict):
        raise RejectError("not_an_object")
    for name in STORE_FIELDS:
        record.pop(name, None)
    return record


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise RejectError("repeated_field")
    return found


def _no_number(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _document(record: dict[str, Any], model: type[Document]) -> tuple[Document, dict[str, Any]]:
    try:
        values = {name: value if name == "_id" else plain(value) for name, value in record.items()}
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise RejectError("unstorable_value") from None
    try:
        document = model.model_validate(values)
    except ValidationError as error:
        raise _refused(error, model) from None
    stored = document.document()
    if trouble := unstorable(stored):
        raise RejectError("unstorable_value", told=trouble[0])
    return document, stored


def _refused(error: ValidationError, model: type[Document]) -> RejectError:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    kind, message = str(first["type"]), str(first["msg"])
    where = str(first["loc"][0]) if first["loc"] else None
    if kind in _MISSING or message.endswith("_id is missing"):
        return RejectError("missing_field", where or "_id", message)
    if kind in _WORDS:
        return RejectError("unknown_word", where, message)
    if kind.endswith("_type") or kind in ("int_from_float", "date_from_datetime_inexact"):
        return RejectError("wrong_type", where, message)
    return RejectError("wrong_value", where, message.removeprefix("Value error, "))


def _expect_new(document: Document, seen: dict[bytes, int], number: int) -> None:
    # Sixteen bytes a key, whatever the key's length: an export may have millions of lines.
    names = {_digest("natural", document.natural_key_values()), _digest("_id", (document.id,))}
    for name in names:
        if name in seen:
            raise RejectError("repeated_record", told=f"the same record as line {seen[name]}")
    seen.update(dict.fromkeys(names, number))


def _digest(kind: str, values: tuple[Any, ...]) -> bytes:
    return hashlib.blake2b(repr((kind, *values)).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _keep(batch: Sequence[_Line], settle: Settle, drop: CollectionDrop, seen: dict[bytes, int]) -> None:
    """Settle the documents of a batch, and keep documents and rejects in the order of their lines."""
    documents = [line.found for line in batch if isinstance(line.found, Document)]
    settled = iter(settle(documents) if documents else ())
    for line in batch:
        try:
            if isinstance(line.found, RejectError):
                raise line.found
            document = next(settled)
            drop.accept(document.document, _encoded(document, line, seen))
        except RejectError as error:
            drop.reject(line.number, error, None if error.reason == "too_large" else line.record)


def _encoded(settled: Settled, line: _Line, seen: dict[bytes, int]) -> bytes:
    if settled.reason is not None:
        raise RejectError(settled.reason)
    named = seen.setdefault(_digest("_id", (settled.document.id,)), line.number)
    if named != line.number:
        raise RejectError("repeated_record", told=f"the stored record that line {named} means too")
    encoded = bson.encode({**line.stored, "_id": settled.document.id})
    if len(encoded) > MAX_DOCUMENT_BYTES - _STAMP_ROOM:
        raise RejectError("too_large")
    return encoded
