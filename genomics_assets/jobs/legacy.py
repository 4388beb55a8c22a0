"""The file-based job system that the COMSA ledger replaces: `jobs/{id}.json`, `uploads/{id}/…`, `outputs/{id}/…`.

Its jobs were written by R (jsonlite), so a missing value may be `{}`, `[]`, `null` or `"NA"`, and a single value may be
a list of one. Times have no zone. Log lines are `[YYYY-MM-DD HH:MM:SS] text`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from genomics_assets.drops import Drop, original
from genomics_assets.input_error import InputError
from genomics_assets.jobs.endings import EndingKind, JobEnding
from genomics_assets.jobs.states import COMSA_WORDS, JobState

MAX_JOB_BYTES = 64 << 20
FOLDERS = {"uploads": "input", "outputs": "output"}
LONGEST_FILE_NAME = 200
_LONGEST = {"type": 50, "algorithm": 50, "age_group": 50, "country": 100, "calib_model_type": 50}
_KNOWN = frozenset(
    {*_LONGEST, "id", "status", "ensemble", "created_at", "started_at", "completed_at", "error", "result", "log",
     "user_id"}
)  # fmt: skip
_LOG_LINE = re.compile(r"\[(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?)\] ?(.*)", re.DOTALL)
_MICROSECOND = timedelta(microseconds=1)


class FileOutcome(StrEnum):
    """What became of a file of the tree; each has exactly one."""

    MIGRATED = "migrated"
    UNCHANGED = "unchanged"
    """It was there already."""
    BROKEN_JOB = "broken_job"
    """The JSON of a job cannot be taken; the reason says why."""
    NO_JOB = "no_job"
    """A file of a job whose JSON is broken or not there."""
    MISPLACED = "misplaced"
    """Not at a place that the file-based system used."""
    UNREADABLE = "unreadable"
    """The file is there and cannot be read."""
    CONFLICT = "conflict"
    """The ledger has a job of this id that did not come from here."""
    MISSING = "missing"
    """A job names it as its output, and it is not there. The only outcome of something that is no file."""


@dataclass(frozen=True)
class FileReport:
    """What became of one file; `path` is below the tree, `size` in bytes."""

    path: str
    outcome: FileOutcome
    job_id: str | None = None
    reason: str | None = None
    size: int | None = None
    sha256: str | None = None


class BrokenJobError(ValueError):
    """The JSON of a job cannot be taken; says why, without what is in it."""


@dataclass(frozen=True)
class LegacyLine:
    """One line of a job's log."""

    timestamp: datetime
    message: str


@dataclass(frozen=True)
class LegacyFile:
    """A file of a job: `input` or `output`, its name, and its path below the tree."""

    file_type: str
    name: str
    path: str


@dataclass(frozen=True)
class LegacyJob:
    """A job of the file-based system, as the ledger takes it.

    Attributes:
        columns: values by column of `comsa.jobs`, JSON values as Python objects.
        log: its lines, in order, with strictly increasing timestamps.
        named_outputs: the output files that its result names.
        size: of the JSON file, in bytes.
        sha256: of the JSON file.
    """

    id: UUID
    path: str
    columns: Mapping[str, Any]
    log: tuple[LegacyLine, ...]
    named_outputs: tuple[str, ...]
    size: int
    sha256: str


@dataclass
class LegacyTree:
    """What a tree holds, by the paths of its files.

    Attributes:
        jobs: path of the JSON by id of the job.
        files: the files of each id, whether or not it has a JSON.
        misplaced: paths of all other files, with the reason.
    """

    jobs: dict[str, str] = field(default_factory=dict)
    files: dict[str, list[LegacyFile]] = field(default_factory=dict)
    misplaced: dict[str, str] = field(default_factory=dict)


def member_paths(drop: Drop) -> list[str]:
    """Paths of a dropped tree's files, below the tree."""
    return [original(uri.removeprefix(f"{drop.uri}/")) for uri in drop.sidecars]


def time_zone(name: str) -> tzinfo:
    """The zone of this name.

    Raises:
        InputError: there is none.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InputError(
            f"there is no time zone {name!r}",
            remedy="write one as in Africa/Maputo, or UTC",
            file="run config",
        ) from None


def sort_tree(paths: Iterable[str]) -> LegacyTree:
    """Say what each file is, by its path below the tree.

    >>> tree = sort_tree(["jobs/j1.json", "outputs/j1/causes.csv", "readme.txt"])
    >>> tree.jobs, [file.name for file in tree.files["j1"]], list(tree.misplaced)
    ({'j1': 'jobs/j1.json'}, ['causes.csv'], ['readme.txt'])
    """
    tree = LegacyTree()
    for path in paths:
        segments = path.split("/")
        if len(segments) == 2 and segments[0] == "jobs" and path.lower().endswith(".json"):
            tree.jobs[segments[1][: -len(".json")]] = path
        elif len(segments) == 3 and segments[0] in FOLDERS:
            _, job_id, name = segments
            if len(name.encode("utf-8", "surrogateescape")) > LONGEST_FILE_NAME:
                tree.misplaced[path] = f"its name is longer than {LONGEST_FILE_NAME} bytes"
            else:
                tree.files.setdefault(job_id, []).append(LegacyFile(FOLDERS[segments[0]], name, path))
        else:
            tree.misplaced[path] = "not jobs/{id}.json, uploads/{id}/{file} or outputs/{id}/{file}"
    return tree


def read_job(path: Path, name: str, *, relative: str, zone: tzinfo = UTC) -> LegacyJob:
    """Read the JSON of a job.

    Args:
        path: the file.
        name: its name without the ending, which is the job's id.
        relative: its path below the tree.
        zone: of its times.

    Raises:
        BrokenJobError: it cannot be taken.
    """
    size = path.stat().st_size
    if size > MAX_JOB_BYTES:
        raise BrokenJobError(f"{size:,} bytes, {MAX_JOB_BYTES:,} are the limit")
    data = path.read_bytes()
    return parse_job(data, name, relative=relative, zone=zone)


def parse_job(data: bytes, name: str, *, relative: str = "", zone: tzinfo = UTC) -> LegacyJob:
    """Read the text of a job's JSON; see `read_job`.

    >>> text = b'{"type": ["pipeline"], "status": "completed", "created_at": "2025-12-31 00:53:54", "country": {}}'
    >>> job = parse_job(text, "653475d0-3a75-4bb6-b1cb-a3c466a6c02e")
    >>> job.columns["type"], job.columns["country"], job.columns["created_at"].isoformat()
    ('pipeline', None, '2025-12-31T00:53:54+00:00')
    """
    record = _record(data)
    job_id = _job_id(record, name)
    times = {column: _time(record, column, zone) for column in ("created_at", "started_at", "completed_at")}
    if times["created_at"] is None:
        raise BrokenJobError("it has no created_at")
    log = tuple(_log(record.get("log"), times["started_at"] or times["created_at"], zone))
    texts = {column: _short_text(record, column, longest) for column, longest in _LONGEST.items()}
    if texts["type"] is None:
        raise BrokenJobError("it has no type")
    status, error, ended = _ending(record, times["completed_at"])
    if ended is None and status == COMSA_WORDS.failed:
        ended = log[-1].timestamp if log else times["started_at"] or times["created_at"]
    result = _mapping(record.get("result"))
    columns = {
        "id": job_id,
        **texts,
        "status": status,
        "ensemble": _flag(record.get("ensemble")),
        **times,
        "completed_at": ended,
        "error": error,
        "result": result,
        "owner": _text_of(record.get("user_id")),
        "parameters": {key: value for key, value in record.items() if key not in _KNOWN} or None,
    }
    digest = hashlib.sha256(data).hexdigest()
    return LegacyJob(job_id, relative, columns, log, _output_names(result), len(data), digest)


def _record(data: bytes) -> dict[str, Any]:
    try:
        record = json.loads(data.decode("utf-8-sig"), parse_constant=_refuse, parse_float=_finite)
    except UnicodeDecodeError:
        raise BrokenJobError("not UTF-8") from None
    except json.JSONDecodeError as error:
        raise BrokenJobError(f"not JSON (line {error.lineno}, column {error.colno})") from None
    except BrokenJobError:
        raise
    except (RecursionError, ValueError):
        raise BrokenJobError("not JSON that can be read: nested too deep, or a number too long") from None
    if not isinstance(record, dict):
        raise BrokenJobError("not a JSON object")
    return {str(key): value for key, value in _storable(record).items()}


def _job_id(record: Mapping[str, Any], name: str) -> UUID:
    try:
        named = UUID(name)
    except ValueError:
        raise BrokenJobError("its name is not a job's id (a UUID)") from None
    written = _scalar(record.get("id"))
    if written is not None and str(written).lower() != str(named):
        raise BrokenJobError("its name is not the id that it holds")
    return named


def _ending(
    record: Mapping[str, Any], completed: datetime | None
) -> tuple[str, dict[str, Any], datetime | None]:
    """Status, error and time of the end. The file-based system is gone: what it left open has failed."""
    status = _text_of(record.get("status"))
    try:
        state = COMSA_WORDS.state(str(status))
    except ValueError:
        raise BrokenJobError("its status is none of pending, running, completed, failed") from None
    if state is JobState.PENDING:
        lost = JobEnding(EndingKind.NEVER_STARTED, "it was still waiting when the file-based system was left")
        return COMSA_WORDS.failed, lost.to_json(), completed
    if state is JobState.RUNNING:
        lost = JobEnding(EndingKind.WORKER_LOST, "it was still running when the file-based system was left")
        return COMSA_WORDS.failed, lost.to_json(), completed
    return COMSA_WORDS.word(state), _error(record.get("error")), completed


def _error(value: Any) -> dict[str, Any]:
    """The error in the form of the ledger: `{}`, or an object with a `message`."""
    error = dict(value) if isinstance(value, dict) else {"message": value}
    text = _text_of(error.pop("message", None))
    return error if text is None else {"message": text, **error}


def _log(lines: Any, start: datetime | None, zone: tzinfo) -> Iterator[LegacyLine]:
    """The lines; one without a time has the time of the line before. A microsecond apart, so that they sort."""
    last: datetime | None = None
    moment = start
    for line in [lines] if isinstance(lines, str) else lines if isinstance(lines, list) else []:
        text = _text_of(line)
        if text is None:
            continue
        found = _LOG_LINE.fullmatch(text)
        if found is not None and (said := _moment(found[1], zone)) is not None:
            moment, text = said, found[2]
        assert moment is not None  # noqa: S101 - created_at is required before
        last = moment if last is None else max(moment, last + _MICROSECOND)
        yield LegacyLine(last, text)


def _time(record: Mapping[str, Any], column: str, zone: tzinfo) -> datetime | None:
    text = _text_of(record.get(column))
    if text is None:
        return None
    moment = _moment(text, zone)
    if moment is None:
        raise BrokenJobError(f"its {column} is not a time")
    return moment


def _moment(text: str, zone: tzinfo) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _short_text(record: Mapping[str, Any], column: str, longest: int) -> str | None:
    value = record.get(column)
    texts = [_text_of(item) for item in value] if isinstance(value, list) else [_text_of(value)]
    text = ",".join(item for item in texts if item) or None
    if text is not None and len(text) > longest:
        raise BrokenJobError(f"its {column} is longer than {longest} characters")
    return text


def _text_of(value: Any) -> str | None:
    value = _scalar(value)
    if value is None or isinstance(value, dict | list):
        return None
    return str(value)


def _flag(value: Any) -> bool:
    return _scalar(value) in (True, "true", "TRUE", "T", 1)


def _scalar(value: Any) -> Any:
    """What R meant: a list of one is its value, and the many ways to write nothing are None."""
    if isinstance(value, list) and len(value) == 1:
        return _scalar(value[0])
    return None if value in ({}, [], "", "NA", None) else value


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _output_names(result: Mapping[str, Any]) -> tuple[str, ...]:
    files = result.get("files")
    values = files.values() if isinstance(files, dict) else files if isinstance(files, list) else []
    return tuple(dict.fromkeys(name for value in values if (name := _text_of(value)) and "/" not in name))


def _storable(value: Any) -> Any:
    """The value without what PostgreSQL's JSON cannot hold: NUL and lone surrogates."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    return [_storable(item) for item in value] if isinstance(value, list) else value


def _refuse(constant: str) -> Any:
    raise BrokenJobError(f"not JSON: {constant}")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise BrokenJobError("it holds a number that is too large")
    return number
