"""A bounded queue of log lines, cheap for the one who logs, and COPY for the one who writes them."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from time import time
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    import psycopg

Level = Literal["debug", "info", "warning", "error"]

MOST_WAITING = 100_000
LONGEST_LINE = 10_000
BATCH = 5_000
_AT_ONCE = frozenset({"warning", "error"})
# What COPY's text form gives a meaning, and what PostgreSQL's text cannot hold.
_SPECIAL = re.compile(r"[\\\n\r\t\0]")
_ESCAPES = {"\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\0": "\ufffd"}


class LogLine(NamedTuple):
    """One line: number from 1, seconds since 1970, level and text."""

    seq: int
    timestamp: float
    level: str
    message: str


class LogLines:
    """Lines on their way to the store. `add` may be called from every thread, `take` from one.

    When more than `limit` lines wait, new ones are dropped and counted; the count becomes a line of its own.
    """

    def __init__(self, wake: threading.Event, *, limit: int = MOST_WAITING, after: int = 0) -> None:
        self._waiting: deque[tuple[float, str, str]] = deque()
        self._wake = wake
        self._limit = limit
        self._seq = after
        self._last_timestamp = 0.0
        self._dropped = 0
        self._drop_lock = threading.Lock()
        self.dropped = 0

    def add(self, message: str, level: Level = "info") -> None:
        """Take a line; never blocks."""
        if len(self._waiting) >= self._limit:
            with self._drop_lock:
                self._dropped += 1
            return
        self._waiting.append((time(), level, message))
        if level in _AT_ONCE:
            self._wake.set()

    def take(self) -> list[LogLine]:
        """Up to `BATCH` lines in their order, numbered; their timestamps increase strictly."""
        lines = [self._numbered(*self._waiting.popleft()) for _ in range(min(len(self._waiting), BATCH))]
        if self._dropped and len(lines) < BATCH:
            with self._drop_lock:
                dropped, self._dropped = self._dropped, 0
            self.dropped += dropped
            lines.append(self._numbered(time(), "warning", _loss(dropped)))
        return lines

    def _numbered(self, timestamp: float, level: str, message: str) -> LogLine:
        self._seq += 1
        # The resolution of PostgreSQL's timestamps; a clock that was set back does not set lines back.
        self._last_timestamp = max(timestamp, self._last_timestamp + 1e-6)
        return LogLine(self._seq, self._last_timestamp, level, _shortened(message))


def copy_lines(connection: psycopg.Connection[Any], job_id: Any, lines: Sequence[LogLine]) -> None:
    """Write the lines into `comsa.job_logs`, all or none."""
    with (
        connection.transaction(),
        connection.cursor() as cursor,
        cursor.copy("COPY comsa.job_logs (job_id, seq, timestamp, level, message) FROM STDIN") as copy,
    ):
        copy.write("".join(_copy_rows(str(job_id), lines)).encode("utf-8", "replace"))


def _copy_rows(job_id: str, lines: Sequence[LogLine]) -> Iterator[str]:
    shown, second = "", -1
    for seq, timestamp, level, message in lines:
        whole, micros = divmod(round(timestamp * 1e6), 1_000_000)
        if whole != second:
            second = whole
            shown = datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%d %H:%M:%S")
        if _SPECIAL.search(message):
            message = _SPECIAL.sub(lambda found: _ESCAPES[found[0]], message)
        yield f"{job_id}\t{seq}\t{shown}.{micros:06d}+00\t{level}\t{message}\n"


def _loss(lines: int) -> str:
    return f"{lines:,} log lines were dropped here: they came faster than they could be written"


def _shortened(message: str) -> str:
    if len(message) <= LONGEST_LINE:
        return message
    return f"{message[:LONGEST_LINE]}… ({len(message) - LONGEST_LINE:,} more characters)"
