"""What one can learn about a process that is not one's child."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

_PROC = Path("/proc")


def can_see_processes() -> bool:
    """Whether the system shows its processes in /proc."""
    return (_PROC / "self").exists()


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended but was not waited for does not."""
    with contextlib.suppress(ChildProcessError, OSError):
        os.waitpid(pid, os.WNOHANG)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        status = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return not can_see_processes()
    return status.rpartition(")")[2].split()[0] not in "ZX"


def command_line(pid: int) -> list[str]:
    """The process's arguments; empty where they cannot be read."""
    if can_see_processes():
        try:
            return os.fsdecode((_PROC / str(pid) / "cmdline").read_bytes()).split("\0")[:-1]
        except OSError:
            return []
    listing = subprocess.run(  # noqa: S603
        ["/bin/ps", "-o", "command=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
    )
    return listing.stdout.split()


def in_folder(folder: Path) -> list[int]:
    """Processes whose working folder is `folder`; a PostgreSQL server's all work in its data folder.

    Empty where the system has no /proc.
    """
    found = []
    with contextlib.suppress(OSError):
        for entry in _PROC.iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if (entry / "cwd").readlink() == folder:
                        found.append(int(entry.name))
    return found


def end(pid: int, signals: list[tuple[signal.Signals, float]]) -> bool:
    """Send each signal and wait up to its seconds for the process to go; True when it has gone."""
    for number, seconds in signals:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return True
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not is_alive(pid):
                return True
            time.sleep(0.02)
    return not is_alive(pid)
