"""What automation conditions ask for, made without a daemon, after a drain has loaded what was dropped."""

import time
import warnings
from collections.abc import Callable
from typing import Any

import dagster as dg
from dagster._core.definitions.asset_daemon_cursor import AssetDaemonCursor
from dagster._core.events import RunFailureReason
from dagster_shared.serdes import deserialize_value, serialize_value

from genomics_assets.input_error import InputError

# What was there when conditions were last evaluated; kept, so that a drain that dies loses no event.
_CURSOR = "genomics_assets drain automation"
# Assets that depend on one another need one evaluation each; a loop of conditions must end.
MOST_EVALUATIONS = 20

Out = Callable[[str], object]


class ConditionDrain:
    """Evaluates the automation conditions of all assets, and runs what they ask for.

    Args:
        definitions: the code location.
        instance: gets the runs; a daemon beside this may make the same assets once more, which does no harm.
        inbox_of_runs: the resource `inbox` of the runs.
        out: takes a line for each asset.
    """

    def __init__(
        self, definitions: dg.Definitions, instance: dg.DagsterInstance, inbox_of_runs: Any, out: Out
    ) -> None:
        self.definitions = definitions
        self.instance = instance
        self.inbox_of_runs = inbox_of_runs
        self.out = out

    def begin(self) -> None:
        """Take note of what is there already, where that was never done."""
        if self._automated() and self._cursor() is None:
            self._evaluate()

    def run(self) -> int:
        """Make what is asked for, until nothing is; returns the exit status: 0, or 1 if a run failed."""
        status = 0
        if not self._automated():
            return status
        for _ in range(MOST_EVALUATIONS):
            requested = self._evaluate()
            if not requested:
                break
            for key, partition in requested:
                status = max(status, self._make(key, partition))
        return status

    def _automated(self) -> bool:
        graph = self.definitions.resolve_asset_graph()
        return any(graph.get(key).automation_condition for key in graph.materializable_asset_keys)

    def _evaluate(self) -> list[tuple[dg.AssetKey, str | None]]:
        with warnings.catch_warnings():
            # Dagster's own evaluation uses a parameter that it calls beta.
            warnings.simplefilter("ignore", category=dg.BetaWarning)
            result = dg.evaluate_automation_conditions(self.definitions, self.instance, cursor=self._cursor())
        self.instance.daemon_cursor_storage.set_cursor_values({_CURSOR: serialize_value(result.cursor)})
        graph = self.definitions.resolve_asset_graph()
        return [
            (key, partition)
            for key in sorted(graph.materializable_asset_keys, key=str)
            for partition in sorted(result.get_requested_partitions(key), key=str)
        ]

    def _cursor(self) -> AssetDaemonCursor | None:
        kept = self.instance.daemon_cursor_storage.get_cursor_values({_CURSOR}).get(_CURSOR)
        return None if kept is None else deserialize_value(kept, AssetDaemonCursor)

    def _make(self, key: dg.AssetKey, partition: str | None) -> int:
        name = key.to_user_string() + ("" if partition is None else f" {partition}")
        started = time.monotonic()
        job = self.definitions.get_repository_def().get_implicit_job_def_for_assets([key])
        assert job is not None  # noqa: S101 - every asset that can be made has one
        result = job.execute_in_process(
            instance=self.instance,
            asset_selection=[key],
            partition_key=partition,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            resources={"inbox": self.inbox_of_runs},
            raise_on_error=False,
        )
        if was_interrupted(result):
            raise KeyboardInterrupt
        if result.success:
            self.out(f"ok      {name}: {time.monotonic() - started:.1f} s")
            return 0
        self.out(f"failed  {name}: {first_line(result)}")
        return 1


def was_interrupted(result: dg.ExecuteInProcessResult) -> bool:
    """Whether a signal ended the run; Dagster swallows it."""
    return any(
        event.job_failure_data.failure_reason == RunFailureReason.UNEXPECTED_TERMINATION
        for event in result.all_events
        if event.event_type == dg.DagsterEventType.RUN_FAILURE
    )


def first_line(result: dg.ExecuteInProcessResult) -> str:
    """The first line of the first failed step's error that a person can act on.

    That is the outermost one with a remedy, else the innermost cause.
    """
    for event in result.all_events:
        if not event.is_step_failure:
            continue
        failure = event.step_failure_data
        if failure.user_failure_data is not None and failure.user_failure_data.description:
            return failure.user_failure_data.description.splitlines()[0]
        error = failure.error
        # An error of ours that says what to do goes before the driver's that it came of.
        while error is not None and error.cause is not None and " Remedy: " not in error.message:
            error = error.cause
        if error is not None:
            # An InputError is a sentence for the one who dropped the file; of all others the name tells something.
            return error.message.strip().splitlines()[0].removeprefix(_INPUT_ERROR)
    return "the run failed before its first step; see its log in the UI"


_INPUT_ERROR = f"{InputError.__module__}.{InputError.__qualname__}: "
