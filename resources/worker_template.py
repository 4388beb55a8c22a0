"""A process that has the code location loaded, and becomes a run's worker by forking.

    python -m resources.worker_template CODE_POINTER

Importing and building the definitions takes some seconds of CPU time; a fork of a process that has done so takes some
milliseconds. It answers its parent line by line on standard output: first the source files that it has loaded, then, for
each order on standard input, the number of the worker's process. It ends when standard input does; workers go on.
"""

import importlib
import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

# What workers import when they first need it, and is dear.
_IMPORTED_LATE = (
    "pandas", "pyarrow.compute", "pyarrow.csv", "pyarrow.acero", "pyarrow.parquet", "psycopg_pool", "psycopg2.extras",
    "sqlalchemy.dialects.postgresql.psycopg2", "resources.pooled_storage", "pymongo", "upath.implementations.local",
    "isal.isal_zlib", "matplotlib.backends.backend_agg", "matplotlib.figure", "PIL.PngImagePlugin", "dagster._cli.api",
    "dagster._grpc.impl", "dagster._core.storage.local_compute_log_manager",
)  # fmt: skip


def main() -> None:
    """Load, and fork a worker for each order."""
    orders = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    # What anything prints goes to the parent's log, and workers have no input.
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    began = time.time()
    _load(sys.argv[1])
    # Nobody waits for workers: run monitoring looks after them.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _answer(answers, {"sources": _sources(began)})
    for line in orders:
        worker = os.fork()
        if worker == 0:
            orders.close()
            answers.close()
            _become_worker(json.loads(line))
        _answer(answers, {"worker": worker})


def _load(code_pointer: str) -> None:
    from dagster._core.definitions.reconstruct import reconstruct_repository_def_from_pointer
    from dagster._serdes import deserialize_value

    reconstruct_repository_def_from_pointer(deserialize_value(code_pointer))  # type: ignore[arg-type]
    for name in _IMPORTED_LATE:
        with suppress(ImportError):
            importlib.import_module(name)


def _sources(began: float) -> dict[str, float | None]:
    """Files of loaded modules that are no installed package, which a developer may change, with their times of change.

    A file that was changed since loading began has none: nobody knows which text was loaded.
    """
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    installed = (sys.prefix, sys.base_prefix)
    times = {file: changed(file) for file in sorted(filter(None, files)) if not file.startswith(installed)}
    now = time.time()
    return {file: None if at is None or began <= at <= now else at for file, at in times.items()}


def changed(file: str) -> float | None:
    """When a file was changed last, in seconds since 1970; None where there is none."""
    try:
        return Path(file).stat().st_mtime
    except OSError:
        return None


def _answer(answers: Any, what: dict[str, Any]) -> None:
    answers.write(json.dumps(what).encode() + b"\n")
    answers.flush()


def _become_worker(order: dict[str, str]) -> None:
    """Work on a run, and end the process."""
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _execute(order["run_id"], order["instance"])
        status = 0
    finally:
        sys.stderr.flush()
        # Without the template's own exit handlers.
        os._exit(status)


def _execute(run_id: str, instance_ref: str) -> None:
    from dagster import DagsterInstance
    from dagster._cli.api import _execute_run_command_body
    from dagster._core.instance import InstanceRef
    from dagster._serdes import deserialize_value
    from dagster._utils.interrupts import capture_interrupts, setup_interrupt_handlers

    setup_interrupt_handlers()
    with (
        capture_interrupts(),
        DagsterInstance.from_ref(deserialize_value(instance_ref, InstanceRef)) as instance,
    ):
        _execute_run_command_body(run_id, instance, lambda event: None, set_exit_code_on_failure=False)


if __name__ == "__main__":
    main()
