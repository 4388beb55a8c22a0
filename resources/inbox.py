"""The inbox: where files are dropped, a local folder or a prefix of an S3 bucket.

It says what lies there now and hands out local copies. What was seen before is the drop ledger's to know.
"""

import builtins
import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import dagster as dg
from pydantic import PrivateAttr

from genomics_assets.drops import (
    Drop,
    DropKind,
    Entry,
    Found,
    Oddity,
    gather,
    is_ignored,
    is_inside,
    original,
    storable,
)
from genomics_assets.input_error import InputError
from resources.drop_ledger import DropLedgerResource


class InboxError(RuntimeError):
    """The inbox itself cannot be looked at; the message says where it is and what to do."""


@dataclass(frozen=True)
class Look:
    """What lay in one kind's folder at one moment.

    Args:
        found: the drops, by path below the kind's folder.
        oddities: what is not taken, and why.
        at_once: files appear whole here (S3), so that nothing has to be seen twice.
    """

    found: list[Found]
    oddities: list[Oddity]
    at_once: bool


class InboxResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Where files are dropped, chosen by its URL."""

    url: str | None = None
    """A folder's path, `file:///folder` or `s3://bucket/prefix`. None: `GENOMICS_INBOX`, else `inbox` under the home."""

    s3_endpoint_url: str | None = None
    """Another endpoint than Amazon's. None: `GENOMICS_S3_ENDPOINT_URL`. Credentials come from `AWS_*`."""

    drop_ledger: dg.ResourceDependency[DropLedgerResource | None] = None  # type: ignore[assignment]
    """Tells which of two files has a partition key that would suit both. None: the order of the kind's endings."""

    _opened: Any = PrivateAttr(default=None)

    @property
    def root(self) -> str:
        """The inbox's address without a trailing slash, as `storable` writes it."""
        return self._place.root

    def uri(self, kind: DropKind, path: str) -> str:
        """The address of a path below the kind's folder."""
        return f"{self.root}/{storable(f'{kind.folder}/{path}')}"

    def look(self, kind: DropKind) -> Look:
        """Everything that lies in the kind's folder now. A local folder that is absent is made.

        Raises:
            InboxError: when the inbox cannot be listed.
        """
        listing = self._place.list(kind.folder)
        found, odd = gather(kind, listing.entries)
        if kind.unit == "file":
            odd += [Oddity(folder, "a folder") for folder in listing.folders if kind.ending_of(folder)]
        return Look(found, listing.oddities + odd, at_once=self._place.at_once and kind.unit == "file")

    def drop(self, kind: DropKind, partition_key: str) -> Drop:
        """The file or folder that a partition stands for, as it is now.

        Raises:
            InputError: when nothing in the inbox has this key any more.
            InboxError: when the inbox cannot be looked at.
        """
        wanted = original(partition_key)
        where = f"{kind.folder}/{partition_key}"
        if not is_inside(wanted):
            raise InputError(
                "a partition key must name a place in the inbox",
                remedy="use a key that the sensor made",
                file=where,
            )
        path = self._recorded_path(kind, partition_key)
        found = self._found(kind, wanted, path)
        if found is None:
            raise InputError(
                f"nothing of this name ({kind.describe()}) lies in the inbox {self.root}",
                remedy="drop it again under the same name, or leave this partition as it is",
                file=where,
            )
        return Drop(
            kind,
            partition_key,
            f"{self.root}/{storable(kind.folder)}" if kind.unit == "tree" else self.uri(kind, found.path),
            found.size,
            found.fingerprint,
            tuple(self.uri(kind, member) for member in found.members),
        )

    def unchanged(self, drop: Drop) -> bool:
        """Whether the drop, sidecars included, still is what it was: False once it was replaced, touched or deleted."""
        path = original(drop.uri.removeprefix(f"{self.root}/")).removeprefix(f"{drop.kind.folder}/")
        found = self._found(drop.kind, original(drop.partition_key), path)
        return found is not None and found.fingerprint == drop.fingerprint

    def check_unchanged(self, drop: Drop) -> None:
        """Make sure that what was read is what was dropped.

        Raises:
            InputError: when the drop was replaced, touched or deleted since.
        """
        if not self.unchanged(drop):
            raise InputError(
                "it was replaced or deleted while it was being read",
                remedy="do nothing: the new file is taken by itself once it holds still",
                file=drop.uri,
            )

    @contextmanager
    def local(self, drop_or_uri: Drop | str) -> Iterator[Path]:
        """A local path to read a drop, or one of its sidecars, while the block lasts.

        For a local inbox it is the path itself: never write to it. From S3 it is a copy, with its own name in a
        temporary folder; a folder comes with all that is below it.

        Raises:
            InputError: when it is gone.
            InboxError: when it cannot be fetched.
        """
        uri = drop_or_uri.uri if isinstance(drop_or_uri, Drop) else drop_or_uri
        with self._place.local(original(uri)) as path:
            yield path

    @contextmanager
    def deliver(self, path: str) -> Iterator[Path]:
        """A local path to fill; what is there when the block ends without an error is dropped, in one step.

        Nothing looks at the file before that. A block that leaves no file drops nothing.

        Args:
            path: where the file goes, below the inbox.

        Raises:
            InboxError: when the inbox cannot be written to, or the path leads out of it.
        """
        if not is_inside(path) or any(is_ignored(segment) for segment in path.split("/")):
            raise InboxError(
                f"{storable(path)!r} is no place in the inbox. Remedy: name a plain path below it."
            )
        with self._place.deliver(path) as unfinished:
            yield unfinished

    def paths(self) -> set[str]:
        """All that lies in the inbox now, by path below it.

        Raises:
            InboxError: when the inbox cannot be looked at.
        """
        return {entry.path for entry in self._place.below("")}

    # -- finding one drop ----------------------------------------------------------------------------------------------

    def _recorded_path(self, kind: DropKind, partition_key: str) -> str | None:
        if self.drop_ledger is None:
            return None
        return self.drop_ledger.path_of(kind, self.root, partition_key)

    def _found(self, kind: DropKind, wanted: str, path: str | None) -> Found | None:
        """The drop at `path`, or without one the drop that suits the key `wanted` best."""
        if kind.unit == "tree":
            return next(iter(gather(kind, self._place.below(kind.folder))[0]), None)
        if kind.unit == "folder":
            below = self._place.below(f"{kind.folder}/{wanted}")
            return next(iter(gather(kind, _moved(below, wanted))[0]), None)
        folder, _, name = (path or wanted).rpartition("/")
        ending = kind.ending_of(name)
        beside = self._place.below(f"{kind.folder}/{folder}", name[: -len(ending)] if ending else name)
        drops = {found.path: found for found in gather(kind, _moved(beside, folder))[0]}
        if path is not None:
            return drops.get(path)
        if wanted in drops:
            return drops[wanted]
        suiting = {
            ending.lower(): found
            for found in drops.values()
            if (ending := kind.ending_of(found.path)) and found.path[: -len(ending)] == wanted
        }
        return next((suiting[e.lower()] for e in kind.endings if e.lower() in suiting), None)

    # -- the place -----------------------------------------------------------------------------------------------------

    @property
    def _place(self) -> "_Place":
        if self._opened is None:
            self._opened = self._open()
        return cast("_Place", self._opened)

    def _open(self) -> "_Place":
        from resources.environment import SettingError, storage_place

        try:
            url, endpoint = storage_place(self.url, self.s3_endpoint_url, "inbox")
        except SettingError as error:
            raise InboxError(f"inbox {error}") from None
        if url.startswith("s3://"):
            return _Bucket(url, endpoint)
        return _Folder(Path(url))


def _moved(entries: list[Entry], folder: str) -> list[Entry]:
    """The entries as seen from where `folder` lies."""
    if not folder:
        return entries
    return [Entry(f"{folder}/{entry.path}", entry.size, entry.stamp) for entry in entries]


@dataclass(frozen=True)
class _Listing:
    """All that is below a folder, by path from there."""

    entries: list[Entry]
    folders: list[str] = field(default_factory=list)
    oddities: list[Oddity] = field(default_factory=list)


class _Place(Protocol):
    """What the two kinds of inbox do; folders are below the inbox, `/`-separated."""

    root: str
    at_once: bool

    def list(self, folder: str) -> _Listing: ...

    def below(self, folder: str, prefix: str | None = None) -> builtins.list[Entry]:
        """All files below a folder, or only those right in it whose name has the prefix; none where it is absent."""
        ...

    def local(self, address: str) -> AbstractContextManager[Path]: ...

    def deliver(self, path: str) -> AbstractContextManager[Path]: ...


class _Folder:
    """An inbox on the local disk."""

    at_once = False

    def __init__(self, root: Path) -> None:
        self.path = os.path.abspath(root.expanduser())  # noqa: PTH100 - resolve() would follow the last link
        self.root = storable(self.path)

    def list(self, folder: str) -> _Listing:
        top = f"{self.path}/{folder}"
        try:
            Path(top).mkdir(parents=True, exist_ok=True)
            with os.scandir(top):
                pass
        except OSError as error:
            raise InboxError(
                f"the inbox {storable(top)} cannot be listed: {error.strerror or error}. Remedy: check the folder's "
                "permissions, and GENOMICS_INBOX."
            ) from error
        return self._walk(top)

    def below(self, folder: str, prefix: str | None = None) -> builtins.list[Entry]:
        top = f"{self.path}/{folder}"
        if not Path(top).is_dir():
            return []
        return self._walk(top, prefix).entries

    def local(self, address: str) -> AbstractContextManager[Path]:
        path = Path(address.removeprefix("file://"))
        if not path.exists():
            raise _gone(str(path))
        return nullcontext(path)

    @contextmanager
    def deliver(self, path: str) -> Iterator[Path]:
        target = Path(f"{self.path}/{path}")
        # Hidden, hence ignored; the same name each time, so that a killed writer leaves at most one behind.
        unfinished = target.with_name(f".arriving-{target.name}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            unfinished.unlink(missing_ok=True)
        except OSError as error:
            raise InboxError(
                f"{storable(str(target))} cannot be written: {error.strerror or error}. Remedy: check the folder's "
                "permissions, and GENOMICS_INBOX."
            ) from error
        try:
            yield unfinished
            if unfinished.exists():
                with unfinished.open("rb") as file:
                    os.fsync(file.fileno())
                unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)

    def _walk(self, top: str, prefix: str | None = None) -> _Listing:
        found = _Listing([])
        folders = [""]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(f"{top}/{folder}") as items:
                    for item in items:
                        if is_ignored(item.name) or not item.name.startswith(prefix or ""):
                            continue
                        if (inner := self._sort_in(item, folder + item.name, found)) and prefix is None:
                            folders.append(f"{inner}/")
            except OSError as error:
                found.oddities.append(
                    Oddity(folder.rstrip("/"), f"cannot be listed: {error.strerror or error}")
                )
        return found

    @staticmethod
    def _sort_in(item: "os.DirEntry[str]", path: str, found: _Listing) -> str | None:
        """Puts one name where it belongs; returns the path of a folder to look into."""
        try:
            if item.is_dir(follow_symlinks=False):
                found.folders.append(path)
                return path
            status = item.stat()
        except FileNotFoundError:
            # A file that went between listing and asking is no oddity.
            if item.is_symlink():
                found.oddities.append(Oddity(path, "a link to nothing"))
            return None
        except OSError as error:
            looped = error.errno == errno.ELOOP
            found.oddities.append(
                Oddity(path, "a link in a loop" if looped else error.strerror or str(error))
            )
            return None
        if stat.S_ISREG(status.st_mode):
            found.entries.append(Entry(path, status.st_size, str(status.st_mtime_ns)))
        elif stat.S_ISDIR(status.st_mode):
            found.oddities.append(Oddity(path, "a link to a folder, which is not followed"))
        else:
            found.oddities.append(Oddity(path, "neither a file nor a folder"))
        return None


class _Bucket:
    """An inbox below a prefix of an S3 bucket."""

    at_once = True

    def __init__(self, url: str, endpoint: str | None) -> None:
        self.prefix = url.removeprefix("s3://").strip("/")
        self.root = storable(f"s3://{self.prefix}")
        self.endpoint = endpoint

    @property
    def _files(self) -> Any:
        import fsspec

        # fsspec keeps one file system for each process and set of options. A server that does not answer must
        # fail the tick before Dagster gives the tick up.
        return fsspec.filesystem(
            "s3",
            endpoint_url=self.endpoint,
            use_listings_cache=False,
            config_kwargs={"connect_timeout": 5, "read_timeout": 6, "retries": {"max_attempts": 5}},
        )

    def list(self, folder: str) -> _Listing:
        entries = self.below(folder)
        if not entries:
            self._require_bucket()
        return _Listing(entries)

    def below(self, folder: str, prefix: str | None = None) -> builtins.list[Entry]:
        top = f"{self.prefix}/{folder}".rstrip("/")
        with self._explained():
            listing: dict[str, Any] = self._files.find(top, detail=True, prefix=prefix or "")
        entries = [
            Entry(path.removeprefix(f"{top}/"), int(info["size"]), str(info.get("ETag", "")).strip('"'))
            for path, info in listing.items()
            if info["type"] == "file" and path.startswith(f"{top}/") and not path.endswith("/")
        ]
        return entries if prefix is None else [entry for entry in entries if "/" not in entry.path]

    @contextmanager
    def local(self, address: str) -> Iterator[Path]:
        source = address.removeprefix("s3://")
        with tempfile.TemporaryDirectory(prefix="genomics-inbox-") as folder:
            target = Path(folder) / _short_name(source.rpartition("/")[2])
            with self._explained():
                if self._files.isfile(source):
                    self._files.get_file(source, str(target))
                else:
                    self._get_folder(source, target)
            yield target

    @contextmanager
    def deliver(self, path: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="genomics-inbox-") as folder:
            unfinished = Path(folder) / _short_name(path.rpartition("/")[2])
            yield unfinished
            if unfinished.exists():
                with self._explained():
                    self._files.put_file(str(unfinished), f"{self.prefix}/{path}")

    def _get_folder(self, source: str, target: Path) -> None:
        found: dict[str, Any] = self._files.find(source, detail=True)
        below = {path: info for path, info in found.items() if is_inside(path.removeprefix(f"{source}/"))}
        if not below:
            raise _gone(f"s3://{source}")
        for path, info in below.items():
            copy = target / path.removeprefix(f"{source}/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            self._files.get_file(path, str(copy))
            # Which of two files came last must not depend on the order of copying.
            if written := info.get("LastModified"):
                os.utime(copy, (written.timestamp(), written.timestamp()))

    def _require_bucket(self) -> None:
        """A bucket that is absent lists as empty; say so, or a wrong name would wait for ever."""
        bucket = self.prefix.partition("/")[0]
        with self._explained():
            if not self._files.exists(bucket):
                raise FileNotFoundError(f"there is no bucket {bucket!r}, or these credentials may not see it")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if not isinstance(error, OSError) and not type(error).__module__.startswith(
                ("botocore.", "aiobotocore.", "aiohttp.")
            ):
                raise
            raise InboxError(
                f"the inbox {self.root} cannot be read: {error}. Remedy: check GENOMICS_INBOX, "
                "GENOMICS_S3_ENDPOINT_URL and the AWS_* credentials."
            ) from error


def _gone(address: str) -> InputError:
    return InputError("it is gone from the inbox", remedy="drop it again", file=storable(address))


def _short_name(name: str) -> str:
    """A name for a local copy; a key in S3 may be longer than a file name may be."""
    return name if len(name.encode()) <= 200 else name[-50:]
