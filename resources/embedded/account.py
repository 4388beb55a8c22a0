"""As whom the servers run: PostgreSQL refuses to run as root, so root's run as an account without rights.

That account has to reach the server's binaries and data even where a folder above them is closed to it, as
/root is. The gentlest way that works is taken: nothing at all; the right to pass and read closed folders,
which the kernel hands down to this one process tree (the ambient CAP_DAC_READ_SEARCH); else, search permission.
"""

from __future__ import annotations

import ctypes
import logging
import os
import pwd
import stat
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from resources.embedded.errors import ServerError

log = logging.getLogger(__name__)

_PR_SET_SECUREBITS = 28
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAP_DAC_READ_SEARCH = 2
_NO_SETUID_FIXUP = 1 << 2
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Account:
    """The user and group that a server runs as.

    Attributes:
        name: for messages.
        uid: user id.
        gid: group id.
        switch: whether that is somebody else than the caller, who is then root.
    """

    name: str
    uid: int
    gid: int
    switch: bool

    @classmethod
    def for_data(cls, data: Path, home: Path) -> Account:
        """The caller; for root the owner of the data, else of the home, else `nobody`."""
        if os.geteuid() != 0:
            return cls(f"user id {os.geteuid()}", os.geteuid(), os.getegid(), switch=False)
        for path in (data, home):
            if path.exists() and path.stat().st_uid != 0:
                return cls(
                    f"user id {path.stat().st_uid}", path.stat().st_uid, path.stat().st_gid, switch=True
                )
        try:
            entry = pwd.getpwnam("nobody")
        except KeyError:
            raise ServerError(
                "PostgreSQL refuses to run as root, and this system has no account 'nobody' to run it as",
                "create that account, or run as another user than root",
            ) from None
        return cls(entry.pw_name, entry.pw_uid, entry.pw_gid, switch=True)

    def own(self, path: Path) -> None:
        """Give the file or folder to the account."""
        if self.switch and path.stat().st_uid != self.uid:
            os.chown(path, self.uid, self.gid)

    def way_in(self, probe: Sequence[str], folder: Path, closed: Sequence[Path]) -> Callable[[], None] | None:
        """What a child has to do before it executes a server, so that it runs as this account.

        Args:
            probe: a command that proves that the binaries can be run.
            folder: a folder of the account that the server works in.
            closed: paths that may need search permission, as the last resort.

        Raises:
            ServerError: when the account cannot reach the binaries or its data.
        """
        if not self.switch:
            return None
        plain = _Drop(self, capable=False, folder=folder)
        for way in (plain, _Drop(self, capable=True, folder=folder)):
            if _hindrance(way, probe) is None:
                return way
        for path in closed:
            _open_path(path)
        hindrance = _hindrance(plain, probe)
        if hindrance is None:
            return plain
        raise ServerError(
            f"the account {self.name!r}, which runs the server for root, cannot use {probe[0]} and {folder}: "
            f"{hindrance}",
            "move the checkout out of the closed folder, or run as another user than root",
        )


class _Drop:
    """Turns root into the account, in the child, between fork and exec."""

    def __init__(self, account: Account, *, capable: bool, folder: Path) -> None:
        self.account = account
        self.capable = capable
        self.folder = folder

    def __call__(self) -> None:
        libc = _libc
        capable = self.capable and libc is not None
        if libc is not None and capable:
            # Else access(2), by which initdb looks for its files, would not count the capability of a non-root user.
            _prctl(libc, _PR_SET_SECUREBITS, _NO_SETUID_FIXUP)
        os.setgroups([])
        os.setgid(self.account.gid)
        os.setuid(self.account.uid)
        if libc is not None:
            if capable:
                _keep_read_search(libc)
            _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1)
        os.chdir(self.folder)
        next(Path().iterdir(), None)


def _hindrance(way: Callable[[], None], probe: Sequence[str]) -> str | None:
    """Why the probe does not run that way; None where it does."""
    try:
        subprocess.run(  # noqa: S603
            probe,
            preexec_fn=way,
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
        )
    except subprocess.CalledProcessError as error:
        return error.stderr.decode(errors="replace").strip() or f"status {error.returncode}"
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return None


def _prctl(libc: ctypes.CDLL, option: int, *values: int) -> None:
    padded = [ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4]]
    if libc.prctl(option, *padded) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def _keep_read_search(libc: ctypes.CDLL) -> None:
    bit = 1 << _CAP_DAC_READ_SEARCH
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    # Effective, permitted, inheritable, for capabilities 0 to 31; then the same for the rest.
    if libc.capset(header, struct.pack("6I", bit, bit, bit, 0, 0, 0)) != 0:
        raise OSError(ctypes.get_errno(), "capset")
    _prctl(libc, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_READ_SEARCH)


def _open_path(path: Path) -> None:
    for folder in path.resolve().parents:
        mode = stat.S_IMODE(folder.stat().st_mode)
        if not mode & stat.S_IXOTH:
            log.warning(
                "giving others search permission (not reading) on %s, whose mode was %o", folder, mode
            )
            folder.chmod(mode | stat.S_IXOTH)


def open_binaries(binary: Path, folders: Sequence[Path]) -> None:
    """Let others read and run what a package index serves to all, where a strict umask kept them out."""
    needed = stat.S_IROTH | stat.S_IXOTH
    if os.geteuid() != 0 or binary.stat().st_mode & needed == needed:
        return
    for folder in folders:
        for path in [folder, *folder.rglob("*")]:
            if not path.is_symlink():
                mode = stat.S_IMODE(path.stat().st_mode)
                path.chmod(mode | (0o555 if path.is_dir() or mode & stat.S_IXUSR else 0o444))
