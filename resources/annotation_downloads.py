"""Downloads of published annotation files into the inbox: only what changed, only what is whole.

What is asked and what an answer means is `genomics_assets.annotations.refresh`; this module does it, with patience that
ends. A file arrives in the inbox in one step, and the file-drop sensor takes it from there.
"""

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import dagster as dg

from genomics_assets.annotations.refresh import (
    CHECKSUMS,
    Answer,
    Body,
    Known,
    Refused,
    RemoteFile,
    SourceFeed,
    TryAgain,
    Unchanged,
    ended,
    interpret,
    pause_before,
    published_checksum,
    request_headers,
)
from resources.inbox import InboxResource
from resources.postgres import PostgresResource

if TYPE_CHECKING:
    import psycopg

FOLDER = "annotations"
_PIECE = 1 << 20
_LONGEST_CHECKSUM_FILE = 1 << 16


class DownloadError(RuntimeError):
    """A published file could not be had; the inbox is as it was."""


class _RefusedError(DownloadError):
    """The server will not give it."""


@dataclass(frozen=True)
class Download:
    """What became of one published file.

    Attributes:
        outcome: `downloaded`; `not modified` where the server said so; `same bytes` where it sent what was known.
        size: bytes.
        sha256: 64 hexadecimal digits.
        checksum: the kind of checksum beside the file that was compared; None where there is none.
        requests: how often the file was asked for.
    """

    file: RemoteFile
    outcome: str
    size: int
    sha256: str
    etag: str | None
    last_modified: str | None
    checksum: str | None = None
    requests: int = 1


@dataclass
class _Arrival:
    """The bytes of a file that came so far, and the answer that they belong to."""

    path: Path
    size: int = 0
    body: Body | None = None
    requests: int = 0

    def take(self, body: Body, stream: BinaryIO, deadline: float) -> TryAgain | None:
        """Write what comes until the deadline of the monotonic clock; None where the file is whole then."""
        self.body, self.size = body, body.start
        # One that waits for whole pieces would wait for ever on a server that sends a byte now and then.
        read = getattr(stream, "read1", stream.read)
        with self.path.open("r+b" if body.start else "wb") as file:
            file.truncate(body.start)
            file.seek(body.start)
            while piece := read(_PIECE):
                file.write(piece)
                self.size += len(piece)
                if time.monotonic() > deadline:
                    return TryAgain("the server took too long")
        return ended(body, self.size)

    def forget(self) -> None:
        """Begin anew."""
        self.size, self.body = 0, None


class AnnotationDownloads(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Looks at published files, and drops those that changed."""

    postgres: dg.ResourceDependency[PostgresResource]
    inbox: dg.ResourceDependency[InboxResource]

    timeout_seconds: float = 60.0
    """How long a server may be silent."""

    longest_seconds: float = 6 * 3600.0
    """How long one answer may take."""

    attempts: int = 6
    """How often in a row a file is asked for in vain before it is given up; one that gained a megabyte begins anew."""

    first_pause_seconds: float = 2.0
    """The pause after the first failure; it doubles with each."""

    def refresh(self, feed: SourceFeed) -> list[Download]:
        """Ask for each file of a source, and drop what changed, all of it at the end.

        Raises:
            DownloadError: a file could not be had, or is not what its checksum says; nothing was dropped.
        """
        with self.postgres.connection(statement_timeout=0, autocommit=True) as connection:
            # One at a time for each source; the connection gives the lock back when it goes back to its pool.
            connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 4))", (feed.source,))
            with ExitStack() as deliveries:
                done = []
                for file in feed.files:
                    to = f"{FOLDER}/{feed.source}/{file.name}"
                    path = deliveries.enter_context(self.inbox.deliver(to))
                    done.append(self._refreshed(file, _known(connection, feed.source, file), path))
            # After the drop: a crash in between makes the next look drop the same bytes again, which changes nothing.
            for download in done:
                _record(connection, feed.source, download)
        return done

    def _refreshed(self, file: RemoteFile, known: Known, path: Path) -> Download:
        arrival = _Arrival(path)
        if not self._fetch(file, known, arrival):
            return Download(
                file, "not modified", 0, known.sha256 or "", known.etag, known.last_modified, None, arrival.requests
            )  # fmt: skip
        algorithm, is_right = self._compared(file, path)
        if not is_right:
            # The publisher may be in the middle of replacing the file and its checksum.
            arrival.forget()
            self._fetch(file, Known(), arrival)
            algorithm, is_right = self._compared(file, path)
        if not is_right:
            raise DownloadError(
                f"{file.shown}: its bytes are not those of the {algorithm} beside it, so they were not dropped. "
                "Remedy: wait until the publisher has mended it, and refresh again."
            )
        sha256 = _digest(path, "sha256")
        same = sha256 == known.sha256
        if same:
            path.unlink()
        body = arrival.body or Body(0, None, None, None)
        return Download(
            file, "same bytes" if same else "downloaded", arrival.size, sha256, body.etag, body.last_modified, algorithm,
            arrival.requests,
        )  # fmt: skip

    def _fetch(self, file: RemoteFile, known: Known, arrival: _Arrival) -> bool:
        """Whether bytes came: False where the version is the known one.

        Raises:
            DownloadError: they did not come, after all attempts.
        """
        attempt = 0
        while True:
            attempt += 1
            before = arrival.size
            answer = self._attempt(file, known, arrival)
            if answer is None or isinstance(answer, Unchanged):
                return answer is None
            if isinstance(answer, Refused):
                raise _RefusedError(f"{file.shown}: {answer.reason}. Remedy: correct its URL, or its access.")
            if answer.from_start:
                arrival.forget()
            if arrival.size - before >= _PIECE:
                attempt = 1
            if attempt >= self.attempts:
                raise DownloadError(
                    f"{file.shown}: {answer.reason}, and so {attempt} times. Remedy: refresh again once the server is well; "
                    "the version that was loaded stays."
                )
            time.sleep(pause_before(attempt, self.first_pause_seconds, answer))

    def _attempt(
        self, file: RemoteFile, known: Known, arrival: _Arrival
    ) -> Unchanged | Refused | TryAgain | None:
        """Ask once; None where the file is whole."""
        arrival.requests += 1
        try:
            with self._asked(file, known, arrival) as (answer, stream):
                if isinstance(answer, Body):
                    return arrival.take(answer, stream, time.monotonic() + self.longest_seconds)
                return answer
        except FileNotFoundError:
            return Refused("there is no such file")
        except PermissionError:
            return Refused("it may not be read")
        except (OSError, http.client.HTTPException) as error:
            return TryAgain(_clause(error))
        except Exception as error:
            if not type(error).__module__.startswith(("botocore.", "aiobotocore.", "aiohttp.")):
                raise
            return TryAgain(_clause(error))

    @contextmanager
    def _asked(self, file: RemoteFile, known: Known, arrival: _Arrival) -> Iterator[tuple[Answer, BinaryIO]]:
        if not file.url.startswith(("http://", "https://")):
            with _opened_in_store(file, known) as answer_and_stream:
                yield answer_and_stream
            return
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked
            file.url, headers=request_headers(known, arrival.size, arrival.body)
        )
        try:
            response = urllib.request.urlopen(request, timeout=self.timeout_seconds)  # noqa: S310 - as above
        except urllib.error.HTTPError as error:
            response = error
        with response:
            answer = interpret(response.status, dict(response.headers), arrival.size)
            yield answer, cast(BinaryIO, response)

    def _compared(self, file: RemoteFile, path: Path) -> tuple[str | None, bool]:
        """Which checksum lies beside a file, and whether the bytes are those that it tells; none is right too."""
        for algorithm in CHECKSUMS:
            beside = RemoteFile(_with_ending(file.url, f".{algorithm}"), f"{file.name}.{algorithm}")
            arrival = _Arrival(path.with_name(f"{path.name}.{algorithm}"))
            try:
                if not self._fetch(beside, Known(), arrival) or arrival.size > _LONGEST_CHECKSUM_FILE:
                    continue
                told = published_checksum(arrival.path.read_text("utf-8", "replace"), file.name, algorithm)
            except _RefusedError:
                continue
            finally:
                arrival.path.unlink(missing_ok=True)
            if told is not None:
                return algorithm, told == _digest(path, algorithm)
        return None, True


@contextmanager
def _opened_in_store(file: RemoteFile, known: Known) -> Iterator[tuple[Answer, BinaryIO]]:
    """A file on a disk or in a bucket: it is read from its start, if it is not the known version."""
    import fsspec

    from resources.environment import Environment

    endpoint = Environment.from_environ().s3_endpoint_url
    options = {"endpoint_url": endpoint, "use_listings_cache": False} if file.url.startswith("s3://") else {}
    files, path = fsspec.core.url_to_fs(file.url, **options)
    told: dict[str, Any] = files.info(path)
    etag = str(told.get("ETag") or f"{told['size']}-{told.get('mtime')}")
    if etag == known.etag:
        yield Unchanged(), cast(BinaryIO, None)
        return
    with files.open(path, "rb") as stream:
        yield Body(0, int(told["size"]), etag, None), stream


# -- what is known -----------------------------------------------------------------------------------------------


def _known(connection: "psycopg.Connection[Any]", source: str, file: RemoteFile) -> Known:
    """What was last dropped of a file, if it came from the same place."""
    row = connection.execute(
        """
        SELECT etag, last_modified, sha256 FROM genomics.annotation_downloads
        WHERE source = %s AND file_name = %s AND url = %s
        """,
        (source, file.name, file.shown),
    ).fetchone()
    return Known() if row is None else Known(*row)


def _record(connection: "psycopg.Connection[Any]", source: str, download: Download) -> None:
    if download.outcome == "not modified":
        connection.execute(
            "UPDATE genomics.annotation_downloads SET checked_at = now() WHERE source = %s AND file_name = %s",
            (source, download.file.name),
        )
        return
    connection.execute(
        """
        INSERT INTO genomics.annotation_downloads AS known (source, file_name, url, etag, last_modified, size, sha256)
        VALUES (%s, %s, %s, %s, %s, %s, %s)
        ON CONFLICT (source, file_name) DO UPDATE
        SET url = excluded.url, etag = excluded.etag, last_modified = excluded.last_modified, size = excluded.size,
            sha256 = excluded.sha256, checked_at = now(),
            downloaded_at = CASE WHEN known.sha256 = excluded.sha256 THEN known.downloaded_at ELSE now() END
        """,
        (
            source,
            download.file.name,
            download.file.shown,
            download.etag,
            download.last_modified,
            download.size,
            download.sha256,
        ),
    )


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _with_ending(url: str, ending: str) -> str:
    """The URL of a file beside: the ending goes before the query.

    >>> _with_ending("https://host/a.vcf.gz?token=x", ".md5")
    'https://host/a.vcf.gz.md5?token=x'
    """
    path, question, query = url.partition("?")
    return f"{path}{ending}{question}{query}"


def _clause(error: Exception) -> str:
    """An error as one clause; the reason inside an URLError says more than the error."""
    reason = getattr(error, "reason", None) or error
    if isinstance(reason, TimeoutError):
        return "the server was silent for too long"
    return " ".join(str(reason).split()) or type(reason).__name__
