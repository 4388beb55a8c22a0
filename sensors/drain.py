"""Everything that the inbox holds, loaded without a daemon: the same evaluation as the sensor's, run by run.

While a drain works it alone has the ledger of each kind, so a sensor's tick waits for it, and so does another drain.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import dagster as dg
from dagster._core.events import RunFailureReason

from genomics_assets.drops import storable
from genomics_assets.input_error import InputError
from resources.drop_ledger import DropLedgerError, DropLedgerResource, LedgerSession, Request
from resources.inbox import InboxError, InboxResource
from resources.jobs import JobLedger
from sensors.file_drops import (
    DRAIN_TAG,
    FileDropSensorDefinition,
    Tick,
    committed_claims,
    drain_claimant,
    evaluate,
    new_partitions,
    run_request,
    run_tags,
)
from sensors.jobs import care_for_jobs

# A file that still changes after so many looks is being written by something slow; the next drain takes it.
PATIENCE_LOOKS = 20
LOCK_PATIENCE_SECONDS = 10.0
INTERRUPTED = 130

Out = Callable[[str], object]


def drain(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    *,
    inbox: str | None = None,
    out: Out = print,
) -> int:
    """Run what every file-drop sensor would ask for, one run after the other, until nothing is new.

    Prints one line for each file: `ok`, `failed` with the first line of the error, or `known`; and one for each that
    is not taken.

    Args:
        definitions: the code location.
        instance: gets the runs and the partitions; a daemon of this instance does not ask for the same runs again.
        inbox: another inbox than the resource's.
        out: takes each line.

    Returns:
        The exit status: 0; 1 if a run failed or an inbox or the ledger could not be used; 130 if interrupted.
    """
    resources = dict(definitions.resources or {})
    if inbox is not None:
        configured: InboxResource = resources["inbox"]
        resources["inbox"] = InboxResource(
            url=inbox, s3_endpoint_url=configured.s3_endpoint_url, drop_ledger=configured.drop_ledger
        )
    sensors = [s for s in definitions.sensors or [] if isinstance(s, FileDropSensorDefinition)]
    ledgers = {key for key, resource in resources.items() if isinstance(resource, JobLedger)}
    needed = {"inbox", "drop_ledger", *ledgers}.union(
        *(s.job_opener.resource_keys for s in sensors if s.job_opener)
    )
    opened = {key: resources[key] for key in needed}
    status = 0
    with dg.build_resources(opened, instance=instance) as ready:
        # There may be no daemon that would.
        care_for_jobs([getattr(ready, key) for key in sorted(ledgers)], instance)
        for sensor in sensors:
            work = _KindDrain(definitions, instance, sensor, ready, resources["inbox"], out)
            try:
                status = max(status, work.run())
            except (InboxError, DropLedgerError) as error:
                out(f"failed  {sensor.drop_kind.folder}: {error}")
                status = 1
            except KeyboardInterrupt:
                out("interrupted; what was not loaded is taken by the next drain")
                return INTERRUPTED
    return status


class _KindDrain:
    """The drain of one sensor's files."""

    def __init__(
        self,
        definitions: dg.Definitions,
        instance: dg.DagsterInstance,
        sensor: FileDropSensorDefinition,
        resources: Any,
        inbox_of_runs: Any,
        out: Out,
    ) -> None:
        self.definitions = definitions
        self.instance = instance
        self.sensor = sensor
        self.kind = sensor.drop_kind
        self.resources = resources
        self.inbox: InboxResource = resources.inbox
        self.ledger: DropLedgerResource = resources.drop_ledger
        self.inbox_of_runs = inbox_of_runs
        self.out = out
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self.told: set[str] = set()
        self.failed = False

    def run(self) -> int:
        """Look and load until nothing is new."""
        with self._session() as session:
            if session is None:
                self.out(
                    f"skipped {self.kind.folder}: another drain or a sensor is at work on {self.inbox.root}"
                )
                return 0
            idle = 0
            while True:
                tick = self._look(session)
                self._tell_standing(tick)
                if tick.requests:
                    idle = 0
                    self._load_all(session, tick.requests)
                    continue
                waiting = [*tick.observation.settling, *tick.observation.pending]
                idle += 1
                if not waiting:
                    break
                if idle > PATIENCE_LOOKS and not tick.observation.pending:
                    for path in tick.observation.settling:
                        self._tell("waiting", path, "it is still being written; the next drain takes it")
                    break
                time.sleep(session.settle_seconds)
        return int(self.failed)

    @contextmanager
    def _session(self) -> Iterator[LedgerSession | None]:
        """The ledger, once a sensor's tick that may be using it is over."""
        deadline = time.monotonic() + LOCK_PATIENCE_SECONDS
        with ExitStack() as stack:
            while True:
                attempt = ExitStack()
                session = attempt.enter_context(self.ledger.session(self.kind, self.inbox.root))
                if session is not None or time.monotonic() >= deadline:
                    stack.push(attempt)
                    yield session
                    return
                attempt.close()
                time.sleep(0.2)

    def _look(self, session: LedgerSession) -> Tick:
        return evaluate(
            self.kind,
            inbox=self.inbox,
            session=session,
            instance=self.instance,
            claimant=drain_claimant(self.name),
            confirmed=committed_claims(self.instance, self.sensor.name),
        )

    def _load_all(self, session: LedgerSession, requests: list[Request]) -> None:
        """Run what was claimed; what an interrupt leaves over is given back."""
        left = list(requests)
        try:
            keys = new_partitions(self.instance, self.sensor.drop_partitions, requests)
            if keys:
                self.instance.add_dynamic_partitions(str(self.sensor.drop_partitions.name), keys)
            while left:
                self._load(left[0])
                session.mark_requested([left.pop(0)])
                session.commit()
        except KeyboardInterrupt:
            session.give_back(left[:1], cut_off=True)
            session.give_back(left[1:])
            session.commit()
            raise

    def _load(self, request: Request) -> None:
        if self.sensor.job_opener is not None:
            self.sensor.job_opener.open_all(self.resources, [request])
        asked = run_request(self.kind, request)
        started = time.monotonic()
        result = self.definitions.resolve_job_def(self.sensor.drop_job.name).execute_in_process(
            instance=self.instance,
            partition_key=request.partition_key,
            tags={**run_tags(self.sensor.name, asked), DRAIN_TAG: self.name},
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            resources={"inbox": self.inbox_of_runs},
            raise_on_error=False,
        )
        if _was_interrupted(result):
            raise KeyboardInterrupt
        if result.success:
            self._tell("ok", request.path, f"{time.monotonic() - started:.1f} s")
            return
        self.failed = True
        self._tell("failed", request.path, _first_line(result))

    def _tell_standing(self, tick: Tick) -> None:
        """What needs no run: known already, claimed elsewhere, or not taken."""
        for path in tick.observation.known:
            if path not in self.told:
                self._tell("known", path)
        for oddity in tick.oddities:
            if oddity.path not in self.told:
                self._tell("ignored", oddity.path, oddity.reason)

    def _tell(self, word: str, path: str, more: str = "") -> None:
        self.told.add(path)
        self.out(f"{word:<7} {storable(f'{self.kind.folder}/{path}')}" + (f": {more}" if more else ""))


def _was_interrupted(result: dg.ExecuteInProcessResult) -> bool:
    """Whether a signal ended the run; Dagster swallows it."""
    return any(
        event.job_failure_data.failure_reason == RunFailureReason.UNEXPECTED_TERMINATION
        for event in result.all_events
        if event.event_type == dg.DagsterEventType.RUN_FAILURE
    )


def _first_line(result: dg.ExecuteInProcessResult) -> str:
    """The first line of the error that a person can act on: the innermost cause of the first failed step."""
    for event in result.all_events:
        if not event.is_step_failure:
            continue
        failure = event.step_failure_data
        if failure.user_failure_data is not None and failure.user_failure_data.description:
            return failure.user_failure_data.description.splitlines()[0]
        error = failure.error
        while error is not None and error.cause is not None:
            error = error.cause
        if error is not None:
            # An InputError is a sentence for the one who dropped the file; of all others the name tells something.
            return error.message.strip().splitlines()[0].removeprefix(_INPUT_ERROR)
    return "the run failed before its first step; see its log in the UI"


_INPUT_ERROR = f"{InputError.__module__}.{InputError.__qualname__}: "
