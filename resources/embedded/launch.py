"""Starting and ending the supervisor of a home, from one of its users."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import resources
from resources.embedded.errors import ServerError
from resources.embedded.folder import ServerFolder, unusable
from resources.embedded.processes import end

ALREADY_SUPERVISED = 3
"""Exit status of a supervisor that found another one in its place."""

_STOP_SECONDS = 60.0


def start_supervisor(folder: ServerFolder, grace: float) -> None:
    """Start the supervisor and return when it, or one that was quicker, holds the lock.

    Raises:
        ServerError: when it does not come up.
    """
    sources = str(Path(resources.__file__).resolve().parents[1])
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, [sources, os.environ.get("PYTHONPATH")]))
    try:
        log = os.open(folder.supervisor_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise unusable(folder.supervisor_log, error) from error
    try:
        status = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "resources.embedded.supervisor", str(folder.home), str(grace)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=variables,
            start_new_session=True,
            check=False,
        ).returncode
    finally:
        os.close(log)
    if status not in (0, ALREADY_SUPERVISED):
        last = folder.supervisor_log.read_text(errors="replace").strip().splitlines()[-1:]
        raise ServerError(
            f"the supervisor of the servers of {folder.home} ended with status {status}: {''.join(last)}",
            f"look at {folder.supervisor_log}",
        )


def end_supervisor(folder: ServerFolder) -> None:
    """Ask the supervisor to stop its servers and end, and wait until it has.

    Raises:
        ServerError: when it is still there after a minute.
    """
    deadline = time.monotonic() + _STOP_SECONDS
    asked: int | None = None
    while (pid := folder.supervisor()) is not None:
        if pid not in (0, asked):
            end(pid, [(signal.SIGTERM, 0)])
            asked = pid
        if time.monotonic() > deadline:
            raise ServerError(
                f"the embedded servers of {folder.home} did not stop within {_STOP_SECONDS:.0f} s",
                f"look at {folder.supervisor_log}; process {pid} supervises them",
            )
        time.sleep(0.02)


def stop_orphans(folder: ServerFolder) -> None:
    """Stop servers whose supervisor was killed."""
    supervision = folder.take_supervision(timeout=1)
    if supervision is None:
        return
    try:
        from resources.embedded.supervisor import servers_of

        for server in servers_of(folder):
            server.stop_orphan()
    finally:
        os.close(supervision)
