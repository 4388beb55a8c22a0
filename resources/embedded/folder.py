"""The files through which the users of a home and its supervisor speak to each other.

`lease`            shared lock: one of each user; exclusive lock: the supervisor, while it stops the servers
`supervisor.lock`  exclusive lock of the supervisor; holds its process id
`<name>.request`   when a user last asked for this server (its modification time, in ns)
`state.json`       what the supervisor knows of each server; replaced as a whole, never written in place
`pinned`           keep the servers without a user
"""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from resources.embedded.errors import ServerError

ServerName = Literal["postgres", "mongo"]


@dataclass(frozen=True)
class ServerState:
    """What the supervisor last knew of one server.

    Attributes:
        state: `idle` until somebody asks for it.
        request: the newest request, in ns, that this state answers.
        port: on 127.0.0.1; it is kept over restarts where it is free.
        pid: the server's process id.
        problem: why it failed.
        remedy: what to do about that.
    """

    state: Literal["idle", "starting", "ready", "failed"] = "idle"
    request: int = 0
    port: int | None = None
    pid: int | None = None
    problem: str | None = None
    remedy: str | None = None

    def answers(self) -> bool:
        """Whether something accepts connections at the port; costs a fraction of a millisecond."""
        if self.port is None:
            return False
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=2).close()
        except OSError:
            return False
        return True


class ServerFolder:
    """`servers/` under a home."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.path = home / "servers"
        self.lease = self.path / "lease"
        self.lock = self.path / "supervisor.lock"
        self.pin = self.path / "pinned"
        self.state = self.path / "state.json"
        self.postgres_password = self.path / "postgres.password"
        self.supervisor_log = self.path / "supervisor.log"

    def log(self, name: ServerName) -> Path:
        """The server's log file."""
        return self.path / f"{name}.log"

    def make(self) -> None:
        """Create the folder, readable by its owner alone.

        Raises:
            ServerError: when the home cannot be written to.
        """
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            self.path.mkdir(mode=0o700, exist_ok=True)
            for file in (self.lease, self.lock):
                file.touch(mode=0o600)
        except OSError as error:
            raise unusable(self.path, error) from error

    def take_lease(self, *, timeout: float) -> int:
        """Open the lease file and lock it, shared; waits while a supervisor stops the servers."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                fd = os.open(self.lease, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise unusable(self.lease, error) from error
            try:
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
            else:
                return fd
            if time.monotonic() > deadline:
                raise ServerError(
                    f"the embedded servers of {self.home} have been stopping for {timeout:.0f} s",
                    f"look at {self.supervisor_log}, then run `make down`",
                )
            time.sleep(0.02)

    def supervisor(self) -> int | None:
        """Process id of the supervisor, or None where none runs; 0 while it has not written it yet."""
        try:
            fd = os.open(self.lock, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unusable(self.lock, error) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(os.read(fd, 20) or b"0")
        else:
            return None
        finally:
            os.close(fd)

    def take_supervision(self, *, timeout: float) -> int | None:
        """Lock `supervisor.lock`; None where another supervisor keeps it.

        One waits a moment: a user who looks whether there is a supervisor holds the lock for an instant.
        """
        fd = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(fd)
                    return None
                time.sleep(0.01)
            else:
                os.ftruncate(fd, 0)
                return fd

    def ask_for(self, name: ServerName) -> int:
        """Note that a user needs this server, and return the request's number."""
        request = time.time_ns()
        try:
            file = self.path / f"{name}.request"
            file.touch(mode=0o600)
            os.utime(file, ns=(request, request))
            return file.stat().st_mtime_ns
        except OSError as error:
            raise unusable(self.path, error) from error

    def asked_for(self, name: ServerName) -> int:
        """The newest request for this server; 0 where there is none."""
        try:
            return (self.path / f"{name}.request").stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def read_state(self) -> dict[ServerName, ServerState]:
        """What the last supervisor wrote; empty where there was none."""
        try:
            content = json.loads(self.state.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return {name: ServerState(**state) for name, state in content.items()}

    def write_state(self, states: Mapping[ServerName, ServerState]) -> None:
        """Replace the state file in one step."""
        new = self.state.with_suffix(".new")
        new.write_text(json.dumps({name: asdict(state) for name, state in states.items()}, indent=1))
        new.replace(self.state)


def unusable(path: Path, error: OSError) -> ServerError:
    """The error to show for a file of the home that cannot be written or read."""
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return disk_full(path)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ServerError(
            f"no permission to use {path} as {_user_name()} ({error.strerror})",
            "run as the owner of that folder, or set GENOMICS_HOME to a folder of your own",
        )
    return ServerError(
        f"{path} cannot be used: {error.strerror or error}", "set GENOMICS_HOME to another folder"
    )


def disk_full(path: Path) -> ServerError:
    """The error to show when there is no room for the servers' data."""
    return ServerError(
        f"the disk that holds {path} is full",
        "free some space there, or set GENOMICS_HOME to a folder on another disk",
    )


def _user_name() -> str:
    try:
        return f"user {getpass.getuser()!r}"
    except (OSError, KeyError):
        return f"user id {os.geteuid()}"
