"""`up`: the embedded servers, Dagster's webserver and daemon, until Ctrl-C."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from genomics_assets.commands.children import Child, stop_all
from genomics_assets.commands.stack import PROJECT, Stack, dagster_variables, drop_examples, start_stack
from resources.embedded.supervisor import cut_log
from resources.environment import Environment

_HOST = "127.0.0.1"
_READY_SECONDS = 180.0
_SET_BACK_SECONDS = 5.0
_LONGEST_LOOK_SECONDS = 60.0
_LOCATIONS = """{workspaceOrError {__typename ... on Workspace {locationEntries {name locationOrLoadError {
__typename ... on PythonError {message}}}} ... on PythonError {message}}}"""


class UpError(RuntimeError):
    """The UI or the daemon cannot run; the message says why and what to do."""


def up(environment: Environment, port: int) -> int:
    """Run the whole stack in the foreground; returns the exit status, 0 after Ctrl-C or SIGTERM.

    Raises:
        UpError: when the port is taken, when it runs for this home already, or when a child process dies.
        ServerError: when an embedded server cannot start.
    """
    # From the first moment: whoever stops a start half-way gets a clean stop as well.
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)
    environment.home.mkdir(parents=True, exist_ok=True)
    children: list[Child] = []
    with _only_one(environment.home, port):
        _check_port(port)
        try:
            _say(f"starting the servers of {environment.home}")
            stack = start_stack(environment)
            children += _start_dagster(stack, port)
            _wait_until_ready(children, port)
            copied = drop_examples(environment)
            _say(f"UI      http://{_HOST}:{port}")
            _say(f"inbox   {environment.inbox}" + (f"   ({copied} examples dropped)" if copied else ""))
            _say("Ctrl-C stops everything.")
            clock = _ClockWatch(stack)
            while True:
                _check_children(children)
                clock.look()
                for child in children:
                    cut_log(child.log)
                time.sleep(0.5)
        except KeyboardInterrupt:
            _say("stopping")
            return 0
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            stop_all(children)


class _ClockWatch:
    """Keeps sensors looking after the clock was set back. Dagster is not loaded before that."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._ahead = time.time() - time.monotonic()
        self._again_at: float | None = None

    def look(self) -> None:
        before, self._ahead = self._ahead, time.time() - time.monotonic()
        now = time.monotonic()
        if self._ahead < before - _SET_BACK_SECONDS:
            # A look that began before may end after, and write down its time: once more, later.
            self._again_at = now + _LONGEST_LOOK_SECONDS
        elif self._again_at is None or now < self._again_at:
            return
        else:
            self._again_at = None
        from dagster import DagsterInstance

        from sensors.clock import forget_looks_to_come

        with dagster_variables(self._stack), DagsterInstance.get() as instance:
            if names := forget_looks_to_come(instance):
                _say(f"the clock was set back; these sensors look again: {', '.join(names)}")


def _start_dagster(stack: Stack, port: int) -> list[Child]:
    from resources.embedded import lease_fd

    sources = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    variables = os.environ | stack.dagster_variables() | {"PYTHONPATH": sources}
    # Never $DAGSTER_HOME/logs: Dagster posts what it finds there to its makers, telemetry enabled or not.
    logs = stack.environment.home / "logs"
    logs.mkdir(exist_ok=True)
    workspace = ["-w", str(PROJECT / "workspace.yaml")]
    keep = [lease_fd(stack.environment.home)]
    webserver = ["dagster_webserver", *workspace, "-h", _HOST, "-p", str(port)]
    commands = {"webserver": webserver, "daemon": ["dagster._daemon", "run", *workspace]}
    return [
        Child.start(name, [sys.executable, "-m", *command], logs / f"{name}.log", variables, keep)
        for name, command in commands.items()
    ]


def _wait_until_ready(children: Sequence[Child], port: int) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        _check_children(children)
        if _is_loaded(port):
            return
        time.sleep(0.3)
    raise UpError(
        f"the UI did not answer within {_READY_SECONDS:.0f} s. Remedy: look at {children[0].log.parent}.\n"
        f"{children[0].last_lines()}"
    )


def _is_loaded(port: int) -> bool:
    """Whether the UI answers and has loaded the code location.

    Raises:
        UpError: when the code location cannot be loaded.
    """
    request = urllib.request.Request(
        f"http://{_HOST}:{port}/graphql",
        data=json.dumps({"query": _LOCATIONS}).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        # No proxy: the address is this machine's own.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as answer:
            workspace = json.load(answer)["data"]["workspaceOrError"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if workspace["__typename"] != "Workspace":
        raise UpError(f"the workspace cannot be loaded: {workspace.get('message')}")
    loaded = [entry["locationOrLoadError"] for entry in workspace["locationEntries"]]
    for location in loaded:
        if location and location["__typename"] == "PythonError":
            raise UpError(f"the code location cannot be loaded: {location['message']}")
    return bool(loaded) and all(loaded)


def _check_children(children: Sequence[Child]) -> None:
    for child in children:
        status = child.process.poll()
        if status is not None:
            raise UpError(
                f"the {child.name} ended with status {status}. Remedy: see the end of {child.log}:\n"
                f"{child.last_lines()}"
            )


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except (OSError, OverflowError) as error:
            raise UpError(
                f"the UI cannot listen on {_HOST}:{port} ({error}). Remedy: stop what listens there, or "
                "choose another port with --port (`make up PORT=3001`)."
            ) from None


@contextmanager
def _only_one(home: Path, port: int) -> Iterator[None]:
    """Two daemons on one database would both run every file."""
    with (home / "up.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise UpError(
                f"it already runs for {home} ({lock.read().strip()}). Remedy: use that one, stop it with "
                "Ctrl-C, or set GENOMICS_HOME to another folder."
            ) from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()}, http://{_HOST}:{port}")
        lock.flush()
        yield


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _say(line: str) -> None:
    print(line, flush=True)
