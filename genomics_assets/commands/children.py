"""Child processes that never outlive their parent, and that say in a log file what they did."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_TERM_SECONDS = 20.0

_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Child:
    """A running child process.

    Attributes:
        name: for messages.
        process: it leads a session of its own, so that a Ctrl-C reaches it through the parent alone.
        log: where its output goes.
    """

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @classmethod
    def start(
        cls,
        name: str,
        command: Sequence[str],
        log: Path,
        variables: Mapping[str, str],
        keep: Sequence[int] = (),
    ) -> Child:
        """Start the command; its log begins anew, and the last one is kept as `<log>.1`.

        Args:
            name: for messages.
            command: the command line.
            log: the file for its output.
            variables: its environment.
            keep: file descriptors that it inherits.
        """
        if log.exists():
            log.replace(log.with_name(f"{log.name}.1"))
        parent = os.getpid()
        with log.open("ab") as output:
            process = subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=variables,
                pass_fds=keep,
                start_new_session=True,
                preexec_fn=lambda: _end_with(parent),  # the parent has one thread
            )
        return cls(name, process, log)

    def last_lines(self, count: int = 20) -> str:
        """The end of its log."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-count:])
        return ""


def stop_all(children: Sequence[Child]) -> None:
    """Ask all to end, wait, and end by force what is left of them and of their own children."""
    for child in children:
        if child.process.poll() is None:
            child.process.terminate()
    deadline = time.monotonic() + _TERM_SECONDS
    for child in children:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.process.wait(max(0.0, deadline - time.monotonic()))
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.process.pid, signal.SIGKILL)
        child.process.wait()


def _end_with(parent: int) -> None:
    """Have the kernel send SIGTERM when the parent dies, however it dies."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
