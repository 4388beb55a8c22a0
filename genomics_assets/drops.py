"""What a drop is: which files of the inbox belong together, what their partition is called, and when one is new.

Pure rules over names, sizes and stamps. Looking at a store is `resources.inbox`, remembering what was seen is
`resources.drop_ledger`, asking for runs is `sensors.file_drops`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

# Dagster keeps partition keys and run keys in B-tree indexes of Postgres, whose entries end at 2,704 bytes.
MAX_KEY_BYTES = 1000

# What the only drop of a kind is called whose drop is its whole folder.
WHOLE_TREE = "tree"

UNFINISHED_ENDINGS = (".part", ".partial", ".tmp", ".filepart", ".crdownload", "~")


@dataclass(frozen=True)
class DropKind:
    """A kind of dropped data, and what its files look like.

    Args:
        name: names the sensor (`<name>_drops`), the ledger's rows and the run keys.
        folder: the inbox's subfolder, `/`-separated.
        endings: endings of the files that carry the data, in any case; a longer one wins. For folders: a folder
            without any such file is not a drop; empty: any file will do.
        sidecar_endings: endings that, after a file's name without its own ending, make a sidecar of it.
        unit: `file`: each file is a drop, at any depth. `folder`: all files below a folder are one drop. `tree`: all
            files below the kind's own folder are the one drop that it has.
        depth: for folders: how many levels below `folder` the drops are.
    """

    name: str
    folder: str
    endings: tuple[str, ...] = ()
    sidecar_endings: tuple[str, ...] = ()
    unit: Literal["file", "folder", "tree"] = "file"
    depth: int = 0

    def __post_init__(self) -> None:
        if self.unit == "folder" and self.depth < 1:
            raise ValueError(
                f"drop kind {self.name!r}: a folder is found at a depth of at least 1, not {self.depth}"
            )
        if self.unit != "folder" and not self.endings:
            raise ValueError(f"drop kind {self.name!r}: files are told by their endings, and none is given")

    def ending_of(self, path: str) -> str | None:
        """The ending by which a path belongs to this kind, as the path writes it; None where it does not belong.

        >>> DropKind("vcf", "vcf", (".vcf", ".vcf.gz")).ending_of("run1/S1.VCF.gz")
        '.VCF.gz'
        """
        return _ending(path, self.endings)

    def describe(self) -> str:
        """What is expected, for messages.

        >>> DropKind("vcf", "vcf", (".vcf", ".bcf")).describe()
        '*.vcf, *.bcf'
        """
        return ", ".join(f"*{ending}" for ending in self.endings) or "any file"


@dataclass(frozen=True)
class Drop:
    """One dropped file or folder, as it was when it was looked at.

    Args:
        kind: what it was dropped as.
        partition_key: its partition.
        uri: where it is, as `storable` writes it: an absolute path, or `s3://bucket/key`.
        size: bytes, sidecars not counted.
        fingerprint: changes with the size, the modification time (S3: the ETag) or the set of its files.
        sidecars: where its sidecars are, or for a folder or a tree all of its files.
    """

    kind: DropKind
    partition_key: str
    uri: str
    size: int
    fingerprint: str
    sidecars: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """A regular file that a look found: path below the kind's folder, size in bytes, modification stamp or ETag."""

    path: str
    size: int
    stamp: str


@dataclass(frozen=True)
class Oddity:
    """Something in the inbox that is not taken, and why."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{storable(self.path)} ({self.reason})"


@dataclass(frozen=True)
class Found:
    """A drop before it has a partition key; paths are below the kind's folder."""

    path: str
    size: int
    fingerprint: str
    members: tuple[str, ...] = ()


# -- names -------------------------------------------------------------------------------------------------------------


def storable(path: str) -> str:
    r"""A name that Dagster takes as a partition key, Postgres as text and a terminal as one line.

    Control characters, bytes that are not UTF-8, `%` and the third dot of `...` are percent-encoded; all else stays.

    >>> storable("run 1/naïve...100%\n.vcf")
    'run 1/naïve..%2E100%25%0A.vcf'
    """
    encoded = re.sub(r"[%\x00-\x1f\x7f-\x9f\u2028\u2029\udc80-\udcff]", _percent, path)
    return encoded.replace("...", "..%2E")


def original(stored: str) -> str:
    r"""The name that `storable` was given.

    >>> original("naïve..%2E100%25%0A.vcf")
    'naïve...100%\n.vcf'
    """
    return re.sub(r"(?:%[0-9A-Fa-f]{2})+", _unpercent, stored)


def is_inside(path: str) -> bool:
    """Whether a path, relative to a folder, stays below that folder.

    >>> is_inside("run1/a.vcf"), is_inside("run1/../../etc/passwd"), is_inside("/etc/passwd"), is_inside("")
    (True, False, False, False)
    """
    return all(segment not in ("", ".", "..") for segment in path.split("/"))


def short_key(kind: DropKind, path: str) -> str:
    """The partition key that a drop has by right: its path without the ending.

    >>> short_key(DropKind("vcf", "vcf", (".vcf", ".vcf.gz")), "run1/S1.vcf.gz")
    'run1/S1'
    """
    ending = kind.ending_of(path) if kind.unit == "file" else None
    return storable(path[: -len(ending)] if ending else path)


def assign_keys(
    kind: DropKind, found: Iterable[Found], known: Mapping[str, str]
) -> tuple[dict[str, str], list[Oddity]]:
    """Partition keys by path, for the drops that have none yet.

    The first of two files with one key keeps it, the other one's key is its whole name. Within one look, the order of
    `kind.endings` and then of the names decides.

    Args:
        kind: what was dropped.
        found: what a look found.
        known: path -> partition key of everything that was ever seen, files that are gone included.

    Returns:
        The keys of the new drops, and those drops that cannot have one.
    """
    taken = set(known.values())
    new = sorted((f.path for f in found if f.path not in known), key=lambda path: _precedence(kind, path))
    keys: dict[str, str] = {}
    odd: list[Oddity] = []
    for path in new:
        whole = storable(path)
        key = next((key for key in (short_key(kind, path), whole) if key not in taken), None)
        if key is None:
            odd.append(Oddity(path, "another file has its partition key; rename it"))
        elif len(key.encode()) > MAX_KEY_BYTES:
            odd.append(Oddity(path, f"its path is longer than {MAX_KEY_BYTES} bytes; shorten it"))
        else:
            taken.add(key)
            keys[path] = key
    return keys, odd


def _precedence(kind: DropKind, path: str) -> tuple[int, str]:
    ending = (kind.ending_of(path) or "").lower()
    order = [known.lower() for known in kind.endings]
    return (order.index(ending) if ending in order else len(order), storable(path))


# -- what belongs together -------------------------------------------------------------------------------------------


def is_ignored(name: str) -> bool:
    """Whether a file or folder of this name is passed over without a word: hidden, or an upload under way.

    >>> [is_ignored(name) for name in (".DS_Store", "a.vcf.part", "a.vcf~", "a.vcf")]
    [True, True, True, False]
    """
    return name.startswith(".") or name.lower().endswith(UNFINISHED_ENDINGS)


def gather(kind: DropKind, entries: Iterable[Entry]) -> tuple[list[Found], list[Oddity]]:
    """Drops from single files: sidecars and folders put together, each with its fingerprint, sorted by path."""
    usable: list[Entry] = []
    odd: list[Oddity] = []
    for entry in entries:
        if not is_inside(entry.path):
            odd.append(Oddity(entry.path, "its name leads out of the folder"))
        elif not any(is_ignored(segment) for segment in entry.path.split("/")):
            usable.append(entry)
    found, more_odd = {"file": _files, "folder": _folders, "tree": _tree}[kind.unit](kind, usable)
    return sorted(found, key=lambda f: f.path), odd + more_odd


def _files(kind: DropKind, entries: list[Entry]) -> tuple[list[Found], list[Oddity]]:
    data: list[tuple[Entry, str]] = []
    others: dict[str, Entry] = {}
    for entry in entries:
        ending = kind.ending_of(entry.path)
        if ending is None:
            others[entry.path] = entry
        else:
            data.append((entry, entry.path[: -len(ending)]))
    used: set[str] = set()
    sidecars: dict[str, list[Entry]] = {}
    for entry in others.values():
        if (ending := _ending(entry.path, kind.sidecar_endings)) is not None:
            sidecars.setdefault(entry.path[: -len(ending)], []).append(entry)
    found = []
    for entry, stem in data:
        beside = sorted(sidecars.get(stem, ()), key=lambda sidecar: sidecar.path)
        used.update(sidecar.path for sidecar in beside)
        found.append(
            Found(entry.path, entry.size, _fingerprint(entry, beside), tuple(s.path for s in beside))
        )
    odd = [
        Oddity(
            path,
            "a sidecar without its file"
            if _ending(path, kind.sidecar_endings)
            else f"not one of {kind.describe()}",
        )
        for path in others
        if path not in used
    ]
    return found, odd


def _folders(kind: DropKind, entries: list[Entry]) -> tuple[list[Found], list[Oddity]]:
    members: dict[str, list[Entry]] = {}
    odd: list[Oddity] = []
    for entry in entries:
        segments = entry.path.split("/")
        if len(segments) <= kind.depth:
            odd.append(Oddity(entry.path, f"not in a folder {kind.depth} deep"))
        else:
            members.setdefault("/".join(segments[: kind.depth]), []).append(entry)
    found = []
    for folder, files in members.items():
        files.sort(key=lambda entry: entry.path)
        if kind.endings and not any(kind.ending_of(entry.path) for entry in files):
            odd.append(Oddity(folder, f"holds none of {kind.describe()}"))
            continue
        found.append(_whole(folder, files))
    return found, odd


def _tree(kind: DropKind, entries: list[Entry]) -> tuple[list[Found], list[Oddity]]:
    if not any(kind.ending_of(entry.path) for entry in entries):
        return [], [Oddity(entry.path, f"there is none of {kind.describe()} beside it") for entry in entries]
    return [_whole(WHOLE_TREE, sorted(entries, key=lambda entry: entry.path))], []


def _whole(path: str, files: list[Entry]) -> Found:
    size = sum(entry.size for entry in files)
    return Found(path, size, f"{size}-{_digest(files)}", tuple(entry.path for entry in files))


def _fingerprint(entry: Entry, sidecars: list[Entry]) -> str:
    plain = f"{entry.size}-{entry.stamp}"
    return f"{plain}+{_digest(sidecars)}" if sidecars else plain


def _digest(entries: Iterable[Entry]) -> str:
    text = "\n".join(f"{storable(e.path)} {e.size} {e.stamp}" for e in entries)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _ending(path: str, endings: Iterable[str]) -> str | None:
    name = path.rpartition("/")[2]
    lower = name.lower()
    longest = max((len(e) for e in endings if lower.endswith(e.lower())), default=None)
    return None if longest is None else name[-longest:]


def _percent(found: re.Match[str]) -> str:
    # Bytes of a file name that are not UTF-8 arrive as the lone surrogates of PEP 383.
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogateescape"))


def _unpercent(found: re.Match[str]) -> str:
    return bytes.fromhex(found[0].replace("%", "")).decode("utf-8", "surrogateescape")
