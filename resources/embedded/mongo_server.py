"""The embedded MongoDB-wire server: nx-27017 over SQLite files in `mongo/` of a home.

It knows no passwords, and therefore listens on the loopback interface alone.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import sys
from collections.abc import Callable
from typing import ClassVar

from resources.embedded.account import Account
from resources.embedded.errors import ServerError
from resources.embedded.folder import ServerFolder, disk_full
from resources.embedded.processes import command_line, is_alive
from resources.embedded.server import EmbeddedServer, log

_ROOM_TO_START = 20 << 20
_OP_MSG = 2013


class MongoServer(EmbeddedServer):
    """nx-27017 in `mongo/` of a home, one SQLite file for each database."""

    name = "mongo"
    stop_signals: ClassVar = [(signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0)]

    def __init__(self, folder: ServerFolder) -> None:
        self.data = (folder.home / "mongo").resolve()
        super().__init__(folder, Account.for_data(self.data, folder.home))
        self.pid_file = self.data / "server.pid"

    def prepare(self) -> Callable[[], None] | None:
        """Create the data folder.

        Raises:
            ServerError: on a full disk or a folder that is closed to this user.
        """
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in [self.data, *self.data.iterdir()]:
            self.account.own(path)
        if shutil.disk_usage(self.data).free < _ROOM_TO_START:
            raise disk_full(self.data)
        # It would refuse to start where the process id in an old file belongs to some other program now.
        self.pid_file.unlink(missing_ok=True)
        if not self.account.switch:
            return None
        try:
            return self.account.way_in([sys.executable, "-c", "import nx_27017.daemon"], self.data, closed=[])
        except ServerError as error:
            # Unlike PostgreSQL it can run as root; better that than to open folders above the Python to others.
            log.warning("running as root: %s", error)
            return None

    def command(self, port: int) -> list[str]:
        """The server's command line."""
        return [
            *(sys.executable, "-m", "nx_27017.nx_27017", "--data-dir", str(self.data)),
            *("--host", "127.0.0.1", "--port", str(port)),
            *("--pid-file", str(self.pid_file), "--log-file", os.devnull),
        ]

    def environment(self) -> dict[str, str]:
        """The environment variables of the server."""
        return super().environment() | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}

    def is_ready(self, port: int) -> bool:
        """Whether it answers a ping; written out, because a client of pymongo would start threads here."""
        import bson

        body = b"\0\0\0\0\0" + bson.encode({"ping": 1, "$db": "admin"})
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
                connection.sendall(struct.pack("<4i", 16 + len(body), 1, 0, _OP_MSG) + body)
                return len(connection.recv(16)) == 16
        except OSError:
            return False

    def running(self) -> tuple[int, int] | None:
        """The server that the pid file names, where it is alive and works on this folder."""
        try:
            pid = int(self.pid_file.read_text())
        except (FileNotFoundError, ValueError):
            return None
        words = command_line(pid) if is_alive(pid) else []
        if str(self.data) not in words or "--port" not in words:
            return None
        return pid, int(words[words.index("--port") + 1])

    def diagnose(self, output: str) -> ServerError | None:
        """What the end of a server's log means."""
        if "No space left on device" in output or "database or disk is full" in output:
            return disk_full(self.data)
        if "Permission denied" in output or "unable to open database file" in output:
            return ServerError(
                f"the MongoDB-wire server (it runs as {self.account.name}) has no permission on {self.data}",
                f"give the folder back to that user, for example: chown -R {self.account.uid} '{self.data}'",
            )
        last = output.strip().splitlines()[-1:]
        return ServerError(
            f"the MongoDB-wire server does not start: {''.join(last) or 'it wrote nothing'}",
            f"look at {self.log_file}",
        )
