"""A step that runs in a process of its own must not go on when the process of its run is killed."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import TYPE_CHECKING

from resources.run_launcher import worker_of_run

if TYPE_CHECKING:
    import dagster as dg

_PR_SET_PDEATHSIG = 1


def die_with_run_worker(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Let the kernel end this process with its parent, where the parent is the process that Dagster calls the run's.

    With the default executor the run's process is the step's: nothing is done then, nor where the system is not Linux.

    Returns:
        Whether this process is tied to its parent now.
    """
    worker = worker_of_run(instance, run_id)
    if sys.platform != "linux" or worker is None or worker[0] != os.getppid():
        return False
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != worker[0]:
        # The parent went between the two looks.
        os.kill(os.getpid(), signal.SIGKILL)
    return True


def process_is_gone(worker: str | None, host: str) -> bool:
    """Whether a worker, written `host:pid`, was on this host and is there no more.

    >>> process_is_gone("elsewhere:1", "here"), process_is_gone(None, "here")
    (False, False)
    """
    import psutil

    name, _, process = (worker or "").rpartition(":")
    return name == host and process.isdigit() and not psutil.pid_exists(int(process))
