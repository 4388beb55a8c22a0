"""Objects under keys, on the local disk or in an S3 bucket.

An object appears whole or not at all: locally a finished temporary file is renamed over the old one, in S3 a
finished file is put in one call. Streaming straight into S3 would leave a truncated object when the writer
fails.
"""

import errno
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import dagster as dg
from pydantic import PrivateAttr

UNFINISHED = ".writing-"
ABANDONED_SECONDS = 24 * 3600
MAX_KEY_BYTES = 1024
MAX_SEGMENT_BYTES = 255
# C0 and DEL, C1, and lone surrogates, which stand for bytes of a file name that are not UTF-8.
# Parts of an upload, some of which are in memory at a time. S3 takes from 5 MiB to 5 GiB, and 10,000 of them.
PART_BYTES = 8 * 1024 * 1024
MOST_PARTS = 10_000
PARTS_AT_A_TIME = 4
_ENCODED_CONTROL = re.compile(
    "%[01][0-9A-F]|%7F|%C2%[89][0-9A-F]|%ED%[AB][0-9A-F]%[89AB][0-9A-F]",
)


class ObjectStoreError(RuntimeError):
    """The store could not be reached, or refused what was asked of it."""


class ObjectNotFoundError(ObjectStoreError, FileNotFoundError):
    """No object has this key."""


class ObjectKeyError(ValueError):
    """A key that no store of ours takes."""


def stored_key(key: str) -> str:
    r"""The key as it is stored: control characters, and what cannot be UTF-8, percent-encoded.

    A key that holds them percent-encoded already (in capitals) is the same key. Any other `%` stays as it is.

    Raises:
        ObjectKeyError: the key is empty, absolute, has an empty, `.` or `..` segment, or is too long.

    >>> stored_key("raw/tab\there 50%.csv")
    'raw/tab%09here 50%.csv'
    """
    encoded = re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", _percent, key)
    if key.startswith("/"):
        raise _bad_key(key, "it begins with '/'")
    for segment in encoded.split("/"):
        if segment in ("", ".", "..") or segment.startswith(UNFINISHED):
            raise _bad_key(key, f"a segment is {segment!r}")
        if len(segment.encode()) > MAX_SEGMENT_BYTES:
            raise _bad_key(key, f"a segment is longer than {MAX_SEGMENT_BYTES} bytes")
    if len(encoded.encode()) > MAX_KEY_BYTES:
        raise _bad_key(key, f"it is longer than {MAX_KEY_BYTES} bytes")
    return encoded


def original_key(stored: str) -> str:
    r"""The key that `stored_key` made this of.

    >>> original_key("raw/tab%09here%2A.csv")
    'raw/tab\there%2A.csv'
    """
    return _ENCODED_CONTROL.sub(_unpercent, stored)


class ObjectStoreResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The object store, chosen by its URL."""

    url: str | None = None
    """`file:///folder`, a folder's path or `s3://bucket/prefix`. None: `GENOMICS_OBJECT_STORE_URL`, else
    `objects` under the home."""

    s3_endpoint_url: str | None = None
    """Another endpoint than Amazon's. None: `GENOMICS_S3_ENDPOINT_URL`. Credentials come from `AWS_*`."""

    _opened: Any = PrivateAttr(default=None)

    @contextmanager
    def create(self, key: str) -> Iterator[Path]:
        """A local path to fill; the object appears, or is replaced, when the block ends without an error."""
        stored = stored_key(key)
        with self._explained(key), self._store.create(stored) as path:
            yield path

    def put_bytes(self, key: str, data: bytes | bytearray | memoryview) -> None:
        """Stores the bytes, replacing what was there."""
        with self.create(key) as path:
            path.write_bytes(data)

    def put_file(self, key: str, path: str | os.PathLike[str]) -> None:
        """Stores a copy of a local file, replacing what was there."""
        with Path(path).open("rb") as source, self.create(key) as target, target.open("wb") as sink:
            shutil.copyfileobj(source, sink, 1024 * 1024)

    def open(self, key: str) -> BinaryIO:
        """Opens the object for reading, seekable.

        Raises:
            ObjectNotFoundError: no object has this key.
        """
        with self._explained(key):
            return self._store.open(stored_key(key))

    def read_bytes(self, key: str) -> bytes:
        """The whole object.

        Raises:
            ObjectNotFoundError: no object has this key.
        """
        with self._explained(key), self.open(key) as source:
            return source.read()

    def exists(self, key: str) -> bool:
        """Whether an object has this key; a prefix alone is no object."""
        with self._explained(key):
            return self._store.size(stored_key(key)) is not None

    def size(self, key: str) -> int:
        """The object's size in bytes.

        Raises:
            ObjectNotFoundError: no object has this key.
        """
        with self._explained(key):
            size = self._store.size(stored_key(key))
        if size is None:
            raise self._not_found(key)
        return size

    def list(self, prefix: str = "") -> list[str]:
        """Sorted keys at and below a prefix of whole segments (`lake/variants`, not `lake/var`)."""
        with self._explained(prefix):
            return sorted(map(original_key, self._store.list(stored_key(prefix) if prefix else "")))

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Sizes in bytes of all objects at and below a prefix of whole segments, by key."""
        with self._explained(prefix):
            found = self._store.sizes(stored_key(prefix) if prefix else "")
        return {original_key(key): size for key, size in sorted(found.items())}

    def delete(self, prefix: str) -> int:
        """Removes the object of this key and everything below it; returns how many objects that were."""
        stored = stored_key(prefix)
        with self._explained(prefix):
            keys = self._store.list(stored)
            for key in keys:
                self._store.delete(key)
        return len(keys)

    def uri(self, key: str) -> str:
        """Where other programs find the object: `file:///…` or `s3://…`."""
        return self._store.root_url + "/" + stored_key(key)

    @property
    def _store(self) -> "_Store":
        if self._opened is None:
            self._opened = self._open_store()
        return cast("_Store", self._opened)

    def _open_store(self) -> "_Store":
        from resources.environment import SettingError, storage_place

        try:
            url, endpoint = storage_place(self.url, self.s3_endpoint_url, "object_store_url")
        except SettingError as error:
            raise ObjectStoreError(f"object store {error}") from None
        if url.startswith("s3://"):
            return _Bucket(url, endpoint)
        return _Folder(Path(url))

    @contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        """Turns the store's errors into ours, which name the object and the remedy."""
        try:
            yield
        except (ObjectStoreError, ObjectKeyError):
            raise
        except _Missing:
            raise self._not_found(key) from None
        except _StoreFailure as failure:
            raise ObjectStoreError(
                f"{self._store.root_url}/{key}: {failure}. Remedy: {self._store.remedy}."
            ) from failure.__cause__

    def _not_found(self, key: str) -> ObjectNotFoundError:
        return ObjectNotFoundError(f"{self._store.root_url}/{key}: no such object")


class _Missing(Exception):  # noqa: N818 - never leaves this module
    """No object has the key."""


class _StoreFailure(Exception):  # noqa: N818 - never leaves this module
    """The store itself failed, in one clause."""


class _Store(Protocol):
    """What the two kinds of store do, with stored keys.

    They raise `_Missing` and `_StoreFailure`; an error of the body that fills an object goes through, but for a full disk.
    """

    root_url: str
    remedy: str

    def create(self, key: str) -> Any: ...
    def open(self, key: str) -> BinaryIO: ...
    def size(self, key: str) -> int | None: ...
    def list(self, prefix: str) -> list[str]: ...
    def sizes(self, prefix: str) -> dict[str, int]: ...
    def delete(self, key: str) -> None: ...


class _Folder:
    """A store on the local disk."""

    remedy = "check the folder's permissions, its free space and GENOMICS_OBJECT_STORE_URL"

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()
        self.root_url = f"file://{self.root}"
        self._swept: set[Path] = set()

    @contextmanager
    def create(self, key: str) -> Iterator[Path]:
        path = self.root / key
        with _writing():
            unfinished = _new_file_in(path.parent)
            self._sweep(path.parent)
        try:
            with _room(self.root):
                yield unfinished
            with _writing():
                _sync(unfinished)
                unfinished.replace(path)
                _sync(path.parent)
        finally:
            unfinished.unlink(missing_ok=True)

    def open(self, key: str) -> BinaryIO:
        with _disk():
            return (self.root / key).open("rb")

    def size(self, key: str) -> int | None:
        path = self.root / key
        with _disk():
            return path.stat().st_size if path.is_file() else None

    def list(self, prefix: str) -> list[str]:
        start = self.root / prefix
        with _disk():
            if start.is_file():
                return [prefix]
            return [
                (Path(folder) / name).relative_to(self.root).as_posix()
                for folder, _, names in os.walk(start, onerror=_raise_unless_gone)
                for name in names
                if not name.startswith(UNFINISHED)
            ]

    def sizes(self, prefix: str) -> dict[str, int]:
        found: dict[str, int] = {}
        for key in self.list(prefix):
            with suppress(FileNotFoundError):  # deleted meanwhile
                found[key] = (self.root / key).stat().st_size
        return found

    def delete(self, key: str) -> None:
        path = self.root / key
        with _disk():
            path.unlink(missing_ok=True)
        for folder in path.parents:
            if folder == self.root:
                return
            try:
                folder.rmdir()
            except OSError:  # it still holds something
                return

    def _sweep(self, folder: Path) -> None:
        """Once for each folder: removes what a killed writer left long ago."""
        if folder in self._swept:
            return
        self._swept.add(folder)
        with os.scandir(folder) as entries:
            left = [entry for entry in entries if entry.name.startswith(UNFINISHED)]
        for entry in left:
            with suppress(FileNotFoundError):
                if time.time() - entry.stat().st_mtime > ABANDONED_SECONDS:
                    Path(entry.path).unlink()


class _Bucket:
    """A prefix of an S3 bucket."""

    remedy = "check GENOMICS_OBJECT_STORE_URL, GENOMICS_S3_ENDPOINT_URL and the AWS_* credentials"

    def __init__(self, url: str, endpoint: str | None) -> None:
        bucket, _, prefix = url.removeprefix("s3://").strip("/").partition("/")
        self.root = f"{bucket}/{prefix}" if prefix else bucket
        self.root_url = f"s3://{self.root}"
        self.endpoint = endpoint

    @property
    def _files(self) -> Any:
        import fsspec

        # fsspec keeps one file system for each process and set of options.
        return fsspec.filesystem("s3", endpoint_url=self.endpoint, use_listings_cache=False)

    @contextmanager
    def create(self, key: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="genomics-object-") as folder:
            path = Path(folder) / "object"
            with _room(Path(folder).parent):
                yield path
            size = path.stat().st_size
            part = max(PART_BYTES, -(-size // MOST_PARTS))
            target = f"{self.root}/{key}"
            with _remote():
                # Above two parts' size it goes up in parts, and appears when the last of them is there.
                self._files.put_file(str(path), target, chunksize=part, max_concurrency=PARTS_AT_A_TIME)
                kept = int(self._files.info(target)["size"])
            if kept != size:
                raise _StoreFailure(f"the server keeps {kept:,} of {size:,} bytes")

    def open(self, key: str) -> BinaryIO:
        with _remote():
            # Opening is lazy in s3fs; the size is asked for now so that a missing object fails here.
            opened = self._files.open(f"{self.root}/{key}", "rb", block_size=8 * 1024 * 1024)
            _ = opened.size
            return cast(BinaryIO, opened)

    def size(self, key: str) -> int | None:
        try:
            with _remote():
                found = self._files.info(f"{self.root}/{key}")
        except _Missing:
            return None
        return int(found["size"]) if found["type"] == "file" else None

    def list(self, prefix: str) -> list[str]:
        with _remote():
            found = self._files.find(f"{self.root}/{prefix}".rstrip("/"))
        return [path[len(self.root) + 1 :] for path in found if not path.endswith("/")]

    def sizes(self, prefix: str) -> dict[str, int]:
        with _remote():
            found = self._files.find(f"{self.root}/{prefix}".rstrip("/"), detail=True)
        return {
            path[len(self.root) + 1 :]: int(about["size"])
            for path, about in found.items()
            if not path.endswith("/")
        }

    def delete(self, key: str) -> None:
        with _remote():
            self._files.rm_file(f"{self.root}/{key}")


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise _Missing from error
    except OSError as error:
        raise _StoreFailure(error.strerror or str(error)) from error


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _StoreFailure(error.strerror or str(error)) from error


@contextmanager
def _room(folder: Path) -> Iterator[None]:
    """A disk that is full while an object is being filled is the store's failure, whoever fills it."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _StoreFailure(f"{os.strerror(error.errno)} ({folder})") from error


def _new_file_in(folder: Path) -> Path:
    """An empty file of a new name, made at once: it keeps a tidying neighbour from removing the folder."""
    path = folder / f"{UNFINISHED}{uuid.uuid4().hex}"
    for _ in range(5):
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            path.touch(exist_ok=False)
            break
    return path


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


@contextmanager
def _remote() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        if "bucket does not exist" in str(error):
            raise _StoreFailure("the bucket does not exist") from error
        raise _Missing from error
    except OSError as error:
        raise _StoreFailure(str(error)) from error
    except Exception as error:
        if not type(error).__module__.startswith(("botocore.", "aiobotocore.")):
            raise
        raise _StoreFailure(str(error)) from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _bad_key(key: str, problem: str) -> ObjectKeyError:
    return ObjectKeyError(
        f"object key {key!r}: {problem}. Remedy: use a relative key such as 'lake/variants/part.parquet'."
    )


def _percent(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogatepass"))


def _unpercent(found: re.Match[str]) -> str:
    return bytes.fromhex(found[0].replace("%", "")).decode("utf-8", "surrogatepass")
