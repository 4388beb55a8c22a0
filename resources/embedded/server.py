"""What the two embedded servers share: start, watch, restart, stop, moved on by `tick`."""

from __future__ import annotations

import logging
import random
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from resources.embedded.account import Account
from resources.embedded.errors import ServerError
from resources.embedded.folder import ServerFolder, ServerName, ServerState, unusable
from resources.embedded.processes import end, is_alive

log = logging.getLogger(__name__)

# Below the range that Linux hands out to outgoing connections, so that a port is still free after a restart.
_PORTS = range(20_000, 32_000)
_PORT_ATTEMPTS = 10
_RECOVERY_SECONDS = 900.0
_DEATHS, _DEATHS_WITHIN = 5, 60.0
_LOG_TAIL = 20_000


class EmbeddedServer(ABC):
    """One server of a home. Only its supervisor, or who holds the supervisor's lock, may use it."""

    name: ClassVar[ServerName]
    stop_signals: ClassVar[list[tuple[signal.Signals, float]]]

    def __init__(self, folder: ServerFolder, account: Account) -> None:
        self.folder = folder
        self.account = account
        self.log_file = folder.log(self.name)
        known = folder.read_state().get(self.name, ServerState())
        self.state = ServerState(port=known.port)
        self._way_in: Callable[[], None] | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        self._attempts = 0
        self._deadline = 0.0
        self._deaths: deque[float] = deque(maxlen=_DEATHS)

    @abstractmethod
    def prepare(self) -> Callable[[], None] | None:
        """Make the data folder ready; returns what the child does before it executes the server."""

    @abstractmethod
    def command(self, port: int) -> Sequence[str]:
        """The server's command line."""

    @abstractmethod
    def is_ready(self, port: int) -> bool:
        """Whether the server answers; a failure that waiting cannot cure raises `ServerError`."""

    @abstractmethod
    def running(self) -> tuple[int, int] | None:
        """Process id and port of a server that an earlier supervisor left behind."""

    @abstractmethod
    def diagnose(self, output: str) -> ServerError | None:
        """The error that the server's own words amount to, or None to start it again after a moment."""

    def environment(self) -> dict[str, str]:
        """The environment variables of the server."""
        return {"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/local/bin:/usr/bin:/bin"}

    def tick(self, request: int) -> None:
        """Do what is due. Never waits for the server, only for its preparation."""
        try:
            if self.state.state in ("idle", "failed"):
                if request > self.state.request:
                    self._attempts = 0
                    self._start(request)
            elif self.state.state == "starting":
                self._watch_start()
            else:
                self._watch(request)
        except ServerError as error:
            self._fail(error)
        except OSError as error:
            self._fail(unusable(Path(error.filename or self.folder.home), error))

    def stop(self) -> None:
        """Stop the server and wait for it."""
        known_to_be_ours = self._child is not None or self.state.state == "ready"
        if self.state.pid is not None and known_to_be_ours and self._alive():
            log.info("stopping %s (process %d)", self.name, self.state.pid)
            if not end(self.state.pid, self.stop_signals):
                log.error("%s (process %d) does not end", self.name, self.state.pid)
            self.after_death()
        self.state = ServerState(port=self.state.port)

    def stop_orphan(self) -> None:
        """Stop the server that a killed supervisor left behind."""
        left = self.running()
        if left is not None:
            self.state = ServerState(state="ready", pid=left[0], port=left[1])
            self.stop()

    def after_death(self) -> None:  # noqa: B027 - most servers leave nothing behind
        """Remove what a server that ended may have left."""

    def _start(self, request: int) -> None:
        # The request counts as answered from here on: one that comes in the meantime is a request of its own.
        self.state = ServerState(state="starting", request=request, port=self.state.port)
        left = self.running()
        self._deadline = time.monotonic() + _RECOVERY_SECONDS
        if left is not None:
            log.info("taking over %s (process %d, port %d)", self.name, *left)
            self.state = replace(self.state, pid=left[0], port=left[1])
            self._child = None
            return
        self._way_in = self.prepare()
        self._launch(self._choose_port())

    def _launch(self, port: int) -> None:
        self._attempts += 1
        with self.log_file.open("ab") as output:
            self._log_start = output.tell()
            self._child = subprocess.Popen(  # noqa: S603
                self.command(port),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self.environment(),
                preexec_fn=self._way_in,  # the supervisor has one thread
                # A Ctrl-C in the terminal is for who uses the server, not for the server.
                start_new_session=True,
            )
        self.state = replace(self.state, state="starting", port=port, pid=self._child.pid)
        log.info("started %s as process %d on port %d", self.name, self._child.pid, port)

    def _watch_start(self) -> None:
        if not self._alive():
            self._start_again()
        elif self.state.port is not None and self.is_ready(self.state.port):
            log.info("%s is ready on port %d", self.name, self.state.port)
            self._attempts = 0
            self.state = replace(self.state, state="ready")
        elif time.monotonic() > self._deadline:
            self.stop()
            raise ServerError(
                f"{self.name} did not answer within {_RECOVERY_SECONDS / 60:.0f} minutes",
                f"look at {self.log_file}",
            )

    def _start_again(self) -> None:
        output = self._output()
        if "address already in use" in output.lower() and self._attempts < _PORT_ATTEMPTS:
            log.warning("port %s was taken by another program in the meantime", self.state.port)
            self._launch(_free_port())
            return
        error = self.diagnose(output)
        if error is not None:
            raise error
        if self._attempts >= _PORT_ATTEMPTS:
            raise ServerError(
                f"{self.name} ends as soon as it starts: {_last_line(output)}", f"look at {self.log_file}"
            )
        time.sleep(0.5)
        self.after_death()
        self._launch(self._choose_port())

    def _watch(self, request: int) -> None:
        if self._alive():
            if request > self.state.request:
                self.state = replace(self.state, request=request)
            return
        log.error("%s (process %s) died: %s", self.name, self.state.pid, _last_line(self._output()))
        self.after_death()
        self._deaths.append(time.monotonic())
        if len(self._deaths) == _DEATHS and self._deaths[-1] - self._deaths[0] < _DEATHS_WITHIN:
            self._deaths.clear()
            raise ServerError(
                f"{self.name} died {_DEATHS} times within {_DEATHS_WITHIN:.0f} s", f"look at {self.log_file}"
            )
        self._start(max(request, self.state.request))

    def _alive(self) -> bool:
        if self._child is not None:
            return self._child.poll() is None
        return self.state.pid is not None and is_alive(self.state.pid)

    def _fail(self, error: ServerError) -> None:
        log.error("%s: %s", self.name, error)
        # Never a server that is not our child: it may turn out to be another checkout's.
        if self._child is not None and self._alive():
            end(self._child.pid, self.stop_signals)
        self.state = replace(self.state, state="failed", pid=None, problem=error.problem, remedy=error.remedy)

    def _choose_port(self) -> int:
        known = self.state.port
        if known is not None and _is_free(known):
            return known
        if known is not None:
            log.warning("port %d, where %s was, is taken by another program", known, self.name)
        return _free_port()

    def _output(self) -> str:
        with self.log_file.open("rb") as text:
            text.seek(0, 2)
            # The log may have been cut since.
            start = self._log_start if self._log_start <= text.tell() else 0
            text.seek(max(start, text.tell() - _LOG_TAIL))
            return text.read().decode(errors="replace")


def _free_port() -> int:
    for port in random.sample(_PORTS, 200):
        if _is_free(port):
            return port
    raise ServerError(
        f"no free port between {_PORTS.start} and {_PORTS.stop} on 127.0.0.1",
        "check that the loopback interface is up, and stop programs that listen there",
    )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the servers do: connections of an earlier server that linger do not make a port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _last_line(output: str) -> str:
    lines = [line for line in output.strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it wrote nothing"
