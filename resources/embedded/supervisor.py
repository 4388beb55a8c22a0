"""The process that owns the servers of one home: `python -m resources.embedded.supervisor HOME SECONDS`.

It has one thread, so that it may run code between fork and exec. It outlives who started it, and ends when
the last user has been gone for that many seconds, at a SIGTERM, or when its folder was deleted.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from resources.embedded.folder import ServerFolder, ServerState
from resources.embedded.launch import ALREADY_SUPERVISED

if TYPE_CHECKING:
    from resources.embedded.server import EmbeddedServer

log = logging.getLogger(__name__)

_TICK_BUSY, _TICK = 0.03, 0.2
_LOG_BYTES = 10 << 20
_LOG_CHECK_SECONDS = 30.0


def servers_of(folder: ServerFolder) -> list[EmbeddedServer]:
    """The servers that a home can have."""
    from resources.embedded.mongo_server import MongoServer
    from resources.embedded.postgres_server import PostgresServer

    return [PostgresServer(folder), MongoServer(folder)]


class Supervisor:
    """Starts what users ask for, and decides when it is time to go."""

    def __init__(self, folder: ServerFolder, grace: float) -> None:
        self.folder = folder
        self.grace = grace
        self.stopping = False
        self.lease = os.open(folder.lease, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.unused_since: float | None = None
        self.logs_checked = 0.0
        self.servers = servers_of(folder)

    def run(self) -> None:
        """Serve until it is time to go, then stop the servers."""
        try:
            while not (self.stopping or self._is_deserted() or self._is_unused()):
                for server in self.servers:
                    server.tick(self.folder.asked_for(server.name))
                self._write_state()
                self._cut_logs()
                busy = any(server.state.state == "starting" for server in self.servers)
                time.sleep(_TICK_BUSY if busy else _TICK)
        finally:
            # A second SIGTERM must not keep the servers from ending as they should.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            for server in self.servers:
                server.stop()
            if not self._is_deserted():
                self._write_state()

    def request_stop(self, *_: object) -> None:
        """A signal's handler."""
        self.stopping = True

    def _is_unused(self) -> bool:
        """Whether there was no user for the grace time; then it keeps the lease, so that nobody comes."""
        if self.folder.pin.exists():
            self.unused_since = None
            return False
        try:
            fcntl.flock(self.lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.unused_since = None
            return False
        now = time.monotonic()
        self.unused_since = self.unused_since or now
        if now - self.unused_since >= self.grace:
            log.info("nobody uses the servers any more")
            return True
        fcntl.flock(self.lease, fcntl.LOCK_UN)
        return False

    def _is_deserted(self) -> bool:
        """Whether the home was deleted, or replaced, under the servers."""
        try:
            return not os.path.samestat(os.fstat(self.lease), self.folder.lease.stat())
        except OSError:
            return True

    def _write_state(self) -> None:
        states = {server.name: server.state for server in self.servers}
        if states != self.folder.read_state():
            with contextlib.suppress(OSError):
                self.folder.write_state(states)

    def _cut_logs(self) -> None:
        if time.monotonic() - self.logs_checked < _LOG_CHECK_SECONDS:
            return
        self.logs_checked = time.monotonic()
        for file in self.folder.path.glob("*.log"):
            with contextlib.suppress(OSError):
                cut_log(file)


def cut_log(file: Path, limit: int = _LOG_BYTES) -> None:
    """Move a log's content to `<name>.1` once it is over `limit` bytes; its writers keep it open."""
    if file.stat().st_size <= limit:
        return
    older = file.with_name(f"{file.name}.1")
    older.touch(mode=0o600)
    older.write_bytes(file.read_bytes()[-limit:])
    os.truncate(file, 0)


def main(home: Path, grace: float) -> int:
    """Take the lock, go to the background, supervise. The caller sees the foreground process end with 0."""
    folder = ServerFolder(home)
    lock = folder.take_supervision(timeout=1)
    if lock is None:
        return ALREADY_SUPERVISED
    # Nobody must take what an earlier supervisor knew for the present state; the ports are worth keeping.
    folder.write_state({name: ServerState(port=state.port) for name, state in folder.read_state().items()})
    if os.fork() != 0:
        # The lock stays with the child, so whoever waited for this process knows that there is a supervisor.
        os._exit(0)
    os.write(lock, str(os.getpid()).encode())
    os.umask(0o022)
    supervisor = Supervisor(folder, grace)
    signal.signal(signal.SIGTERM, supervisor.request_stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    log.info("supervising the servers of %s", home)
    supervisor.run()
    # In this order: a user who gets the lease must not find a supervisor that is about to end.
    os.close(lock)
    os.close(supervisor.lease)
    return 0


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    try:
        sys.exit(main(Path(sys.argv[1]), float(sys.argv[2])))
    except Exception:
        log.exception("the supervisor ends")
        raise
