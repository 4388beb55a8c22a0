"""Dagster's run launcher for one machine where most runs are short: workers are forks of a process that has all loaded.

Starting a worker by importing the code location anew takes longer than loading a small file. Changed source files are
seen: the next run has a template of its own.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dagster._core.launcher.base import LaunchRunContext
from dagster._core.storage.tags import GRPC_INFO_TAG

from resources.run_launcher import LocalRunLauncher, worker_of_run
from resources.worker_template import changed

if TYPE_CHECKING:
    from dagster._core.storage.dagster_run import DagsterRun

_SECONDS_TO_LOAD = 300.0
_SECONDS_TO_FORK = 60.0


class WorkerTemplateError(RuntimeError):
    """The template does not load the code location, or does not answer; its own words are in the daemon's log."""


class ForkingRunLauncher(LocalRunLauncher):
    """Launches runs as forks of a template that it keeps; elsewhere than on Linux as its base does."""

    def __init__(self, inst_data: Any = None) -> None:
        super().__init__(inst_data)
        self._template: _Template | None = None
        self._one_at_a_time = threading.Lock()

    def launch_run(self, context: LaunchRunContext) -> None:
        """Start the run's worker.

        Raises:
            DagsterUserCodeUnreachableError: it could not be started; the queue tries again later.
        """
        from dagster._core.errors import DagsterUserCodeUnreachableError
        from dagster._serdes import serialize_value

        run = context.dagster_run
        # Other systems' libraries do not bear a fork without an exec.
        if sys.platform != "linux" or run.job_code_origin is None:
            super().launch_run(context)
            return
        order = {"run_id": run.run_id, "instance": serialize_value(self._instance.get_ref())}
        try:
            with self._one_at_a_time:
                self._template_for(run).fork(order)
        except WorkerTemplateError as error:
            raise DagsterUserCodeUnreachableError(str(error)) from error
        self._run_ids.add(run.run_id)

    def terminate(self, run_id: str) -> bool:
        """Interrupt the run's worker; whether there was one."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        worker = worker_of_run(self._instance, run_id)
        if worker is None or GRPC_INFO_TAG in run.tags:
            return bool(super().terminate(run_id))  # type: ignore[no-untyped-call]
        self._instance.report_run_canceling(run)
        try:
            os.kill(worker[0], signal.SIGINT)
        except ProcessLookupError:
            return False
        return True

    def dispose(self) -> None:
        """Let the template go; workers go on."""
        if self._template is not None:
            self._template.end()
        super().dispose()

    def _template_for(self, run: "DagsterRun") -> "_Template":
        from dagster._serdes import serialize_value

        assert run.job_code_origin is not None  # noqa: S101 - `launch_run` asked
        pointer = serialize_value(run.job_code_origin.repository_origin.code_pointer)  # type: ignore[arg-type]
        template = self._template
        if template is not None and (template.code_pointer != pointer or not template.is_current()):
            template.end()
            template = None
        if template is None:
            template = self._template = _Template.start(pointer)
        return template


@dataclass(frozen=True)
class _Template:
    """A running `resources.worker_template`.

    Attributes:
        sources: the files that it has loaded, with their times of change; none for one that was changed meanwhile.
    """

    code_pointer: str
    process: subprocess.Popen[bytes]
    sources: dict[str, float | None]

    @classmethod
    def start(cls, code_pointer: str) -> "_Template":
        """Start one, and wait until it has loaded the code location.

        Raises:
            WorkerTemplateError: it cannot.
        """
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "resources.worker_template", code_pointer],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        template = cls(code_pointer, process, {})
        loaded = template._answer(_SECONDS_TO_LOAD)
        template.sources.update(loaded["sources"])
        return template

    def is_current(self) -> bool:
        """Whether it lives, and what it has loaded is what lies there."""
        return self.process.poll() is None and all(
            time is not None and changed(file) == time for file, time in self.sources.items()
        )

    def fork(self, order: dict[str, str]) -> int:
        """Start a worker; its process number.

        Raises:
            WorkerTemplateError: the template is gone.
        """
        assert self.process.stdin is not None  # noqa: S101 - it is a pipe
        try:
            self.process.stdin.write(json.dumps(order).encode() + b"\n")
            self.process.stdin.flush()
        except OSError as error:
            raise WorkerTemplateError(f"the template of run workers is gone: {error}") from error
        return int(self._answer(_SECONDS_TO_FORK)["worker"])

    def end(self) -> None:
        """Close its input, at which it ends."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        self.process.wait(_SECONDS_TO_FORK)

    def _answer(self, seconds: float) -> dict[str, Any]:
        assert self.process.stdout is not None  # noqa: S101 - it is a pipe
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            line = self.process.stdout.readline() if selector.select(seconds) else b""
        if not line:
            self.process.kill()
            self.process.wait()
            raise WorkerTemplateError(
                "the code location could not be loaded for a run. Remedy: see the daemon's log for the reason; "
                "the run stays in the queue and is tried again."
            )
        return dict(json.loads(line))
