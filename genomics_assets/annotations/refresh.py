"""Refreshing sources from their publishers: which files, how often, what is asked of a server, and what its answer means.

HTTP's conditional requests, ranges and Retry-After are those of RFC 9110. Nothing here talks to a server.
"""

from __future__ import annotations

import email.utils
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit, urlunsplit

from genomics_assets.annotations.field_config import LONGEST_SOURCE_NAME, check_source_name
from genomics_assets.annotations.source_files import TABLE_ENDINGS, VCF_ENDINGS, ending_of
from genomics_assets.input_error import InputError
from genomics_assets.sidecars import read_sidecar

Every = Literal["daily", "weekly", "monthly"]

SCHEMES = ("https", "http", "s3", "file")
CRON: dict[Every, str] = {"daily": "23 4 * * *", "weekly": "23 4 * * 2", "monthly": "23 4 3 * *"}
# A look that is due is late after this long, and missing after twice as long.
PATIENCE: dict[Every, timedelta] = {
    "daily": timedelta(hours=26), "weekly": timedelta(days=8), "monthly": timedelta(days=33)
}  # fmt: skip
CHECKSUMS: dict[str, int] = {"sha256": 64, "md5": 32}

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")
_LONGEST_PAUSE = 300.0


@dataclass(frozen=True)
class Feed:
    """Where a source is published.

    Attributes:
        url: of its file, or of each of its files: http(s)://, s3:// or file://.
        every: how often it is looked at; None: ClinVar weekly, any other monthly.
    """

    url: str | list[str]
    every: Every | None = None


@dataclass(frozen=True)
class RefreshSettings:
    """What `GENOMICS_ANNOTATION_REFRESH` names: a YAML file with the sources to keep fresh."""

    sources: dict[str, Feed] = field(default_factory=dict)


@dataclass(frozen=True)
class RemoteFile:
    """A published file, and the name under which it is dropped."""

    url: str
    name: str

    @property
    def shown(self) -> str:
        """The URL without what may be secret in it: user, password and query.

        >>> RemoteFile("https://ann:secret@host:81/a.vcf.gz?token=x", "a.vcf.gz").shown
        'https://host:81/a.vcf.gz'
        """
        parts = urlsplit(self.url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


@dataclass(frozen=True)
class SourceFeed:
    """A feed whose names were checked."""

    source: str
    files: tuple[RemoteFile, ...]
    every: Every


def read_settings(path: Path) -> tuple[SourceFeed, ...]:
    """The feeds that a settings file names.

    Raises:
        InputError: the file is absent or not as it must be, or a name in it cannot be used.
    """
    try:
        settings = read_sidecar(path, RefreshSettings)
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror or error}",
            remedy="correct GENOMICS_ANNOTATION_REFRESH, or unset it",
            file=path.name,
        ) from None
    try:
        return tuple(_feed(source, feed) for source, feed in settings.sources.items())
    except InputError as error:
        raise error.in_file(path.name) from None


def _feed(source: str, feed: Feed) -> SourceFeed:
    try:
        check_source_name(source)
    except InputError:
        raise InputError(
            f"the source {source[:80]!r} cannot name a table",
            remedy=f"write at most {LONGEST_SOURCE_NAME} lower-case letters, digits and underscores",
        ) from None
    urls = [feed.url] if isinstance(feed.url, str) else feed.url
    files = tuple(map(remote_file, urls))
    if not files or len({file.name for file in files}) < len(files):
        raise InputError(
            f"the URLs of source {source} do not name files of different names", remedy="name each file once"
        )
    return SourceFeed(source, files, feed.every or ("weekly" if source == "clinvar" else "monthly"))


def remote_file(url: str) -> RemoteFile:
    """A file by its URL.

    Raises:
        InputError: the URL is of another kind, or does not end in the name of a VCF, a BCF or a table.

    >>> remote_file("https://ftp.ncbi.nlm.nih.gov/pub/clinvar/vcf_GRCh38/clinvar.vcf.gz").name
    'clinvar.vcf.gz'
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    name = unquote(posixpath.basename(parts.path))
    shown = RemoteFile(url, name).shown[:200]
    if "@" in parts.netloc:
        raise InputError(
            f"the URL of {shown!r} holds a user or password", remedy="take them out; settings files are no place for secrets"
        )  # fmt: skip
    if parts.scheme not in SCHEMES or (parts.scheme != "file" and not parts.hostname):
        raise InputError(
            f"{shown!r} is no address that can be asked", remedy="write it as https://…, http://…, s3://… or file:///…"
        )  # fmt: skip
    if parts.scheme in ("http", "https") and not re.fullmatch("[!-~]+", url):
        raise InputError(
            f"the URL of {shown!r} holds blanks or letters beyond ASCII", remedy="percent-encode them"
        )
    if not _FILE_NAME.fullmatch(name) or ending_of(Path(name)) is None:
        raise InputError(
            f"{shown!r} does not end in the name of a source's file",
            remedy=f"name a file that ends in {', '.join((*VCF_ENDINGS, *TABLE_ENDINGS))}",
        )
    return RemoteFile(url, name)


# -- HTTP --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Known:
    """What is known of a file from the last time.

    Attributes:
        etag: by which the server knows its version.
        last_modified: HTTP date.
        sha256: of its bytes, 64 hexadecimal digits.
    """

    etag: str | None = None
    last_modified: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Unchanged:
    """The server still has the version that is known."""


@dataclass(frozen=True)
class Body:
    """Bytes come.

    Attributes:
        start: the first of them, counted from 0.
        total: how many bytes the whole file has; None where the server does not tell.
        etag: of this version.
        last_modified: of this version.
    """

    start: int
    total: int | None
    etag: str | None
    last_modified: str | None


@dataclass(frozen=True)
class TryAgain:
    """It did not work, and may work later.

    Attributes:
        reason: one clause.
        after: seconds that the server asks for; None where it does not.
        from_start: what is there so far must be forgotten.
    """

    reason: str
    after: float | None = None
    from_start: bool = False


@dataclass(frozen=True)
class Refused:
    """It does not work, and trying again cannot help."""

    reason: str


Answer = Unchanged | Body | TryAgain | Refused


def request_headers(known: Known, have: int = 0, version: Body | None = None) -> dict[str, str]:
    """The headers of a request.

    Args:
        known: what must have changed for the file to be sent.
        have: bytes that are there already of `version`; then only the rest is asked for.
        version: the answer that gave those bytes.

    >>> request_headers(Known('"v1"'))["If-None-Match"]
    '"v1"'
    >>> request_headers(Known('"v1"'), 100, Body(0, 200, '"v2"', None))["Range"]
    'bytes=100-'
    """
    # As it is: a file that ends in .gz is to arrive as such.
    headers = {"Accept-Encoding": "identity", "User-Agent": "genomics_assets"}
    validator = None if version is None else _strong(version.etag) or version.last_modified
    if have and validator:
        return headers | {"Range": f"bytes={have}-", "If-Range": validator}
    if known.etag:
        headers["If-None-Match"] = known.etag
    if known.last_modified:
        headers["If-Modified-Since"] = known.last_modified
    return headers


def interpret(status: int, headers: Mapping[str, str], have: int = 0, now: datetime | None = None) -> Answer:
    """What an answer means.

    Args:
        status: HTTP's.
        headers: by name, in any case.
        have: bytes that were there when the rest was asked for.
        now: for a Retry-After that is a date.

    >>> interpret(304, {})
    Unchanged()
    >>> interpret(503, {"Retry-After": "7"})
    TryAgain(reason='the server answers 503', after=7.0, from_start=False)
    >>> interpret(404, {})
    Refused(reason='the server answers 404')
    """
    told = {name.lower(): value.strip() for name, value in headers.items()}
    if status == 304:
        return Unchanged()
    if status == 200:
        return _body(0, told.get("content-length"), told)
    if status == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", told.get("content-range", ""))
        if found is None or int(found[1]) != have:
            return TryAgain("the server sends another part than was asked for", from_start=True)
        return _body(have, found[2], told)
    if status == 416:
        return TryAgain("the server has no such part", from_start=True)
    reason = f"the server answers {status}"
    if status in (408, 425, 429) or status >= 500:
        return TryAgain(reason, _pause(told.get("retry-after"), now or datetime.now(UTC)))
    return Refused(reason)


def ended(body: Body, have: int) -> TryAgain | None:
    """Whether the bytes that came are all of a file; None where they are.

    >>> ended(Body(0, 10, None, None), 4)
    TryAgain(reason='4 of 10 bytes came', after=None, from_start=False)
    """
    if body.total is None or have == body.total:
        return None
    return TryAgain(f"{have:,} of {body.total:,} bytes came", from_start=have > body.total)


def pause_before(attempt: int, first: float, answer: TryAgain) -> float:
    """Seconds to wait after the given attempt, counted from 1: twice as long each time, or what the server asks for.

    >>> [pause_before(attempt, 2.0, TryAgain("")) for attempt in (1, 2, 3)]
    [2.0, 4.0, 8.0]
    """
    return min(max(first * 2.0 ** (attempt - 1), answer.after or 0.0), _LONGEST_PAUSE)


def _body(start: int, total: str | None, headers: Mapping[str, str]) -> Body:
    known = total is not None and total.isdecimal()
    return Body(start, int(total or 0) if known else None, headers.get("etag"), headers.get("last-modified"))


def _strong(etag: str | None) -> str | None:
    """An ETag that promises the same bytes; a weak one does not."""
    return None if etag is None or etag.startswith("W/") else etag


def _pause(told: str | None, now: datetime) -> float | None:
    if told is None:
        return None
    if told.isdecimal():
        return float(told[:6])
    try:
        moment = email.utils.parsedate_to_datetime(told)
        return max(0.0, float((moment - now).total_seconds()))
    except (ValueError, TypeError):
        return None


# -- checksums -----------------------------------------------------------------------------------------------------


def published_checksum(text: str, name: str, algorithm: str) -> str | None:
    """The checksum of a file by what lies beside it; None where the text tells none.

    Args:
        text: `HASH  NAME` lines as of md5sum, `MD5 (NAME) = HASH` as of BSD, or the hash alone.
        name: of the file.
        algorithm: `sha256` or `md5`.

    >>> published_checksum("d41d8cd98f00b204e9800998ecf8427e  /pub/clinvar.vcf.gz", "clinvar.vcf.gz", "md5")
    'd41d8cd98f00b204e9800998ecf8427e'
    """
    digest = rf"(?P<hash>[0-9a-fA-F]{{{CHECKSUMS[algorithm]}}})"
    for line in text.splitlines():
        found = re.fullmatch(rf"\s*{digest}(?:\s+\*?(?P<name>.+?))?\s*", line) or re.fullmatch(
            rf"\s*\w+\s*\((?P<name>.+)\)\s*=\s*{digest}\s*", line
        )
        if found and (found["name"] is None or posixpath.basename(found["name"]) == name):
            return found["hash"].lower()
    return None
