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

from genomics_assets.drops import storable
from resources.drop_ledger import DropLedgerError, DropLedgerResource, LedgerSession, Request
from resources.inbox import InboxError, InboxResource
from sensors.condition_drain import ConditionDrain, first_line, was_interrupted
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

    Then what automation conditions ask for, now that it is there. Prints one line for each file: `ok`, `failed` with
    the first line of the error, or `known`; one for each that is not taken; and one for each asset made by condition.

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
    opened = {key: resources[key] for key in ("inbox", "drop_ledger")}
    status = 0
    conditions = ConditionDrain(definitions, instance, resources["inbox"], out)
    conditions.begin()
    with dg.build_resources(opened, instance=instance) as ready:
        for sensor in sensors:
            work = _KindDrain(
                definitions, instance, sensor, ready.inbox, ready.drop_ledger, resources["inbox"], out
            )
            try:
                status = max(status, work.run())
            except (InboxError, DropLedgerError) as error:
                out(f"failed  {sensor.drop_kind.folder}: {error}")
                status = 1
            except KeyboardInterrupt:
                out("interrupted; what was not loaded is taken by the next drain")
                return INTERRUPTED
    try:
        return max(status, conditions.run())
    except KeyboardInterrupt:
        out("interrupted; what was not made is made after the next drain")
        return INTERRUPTED


class _KindDrain:
    """The drain of one sensor's files."""

    def __init__(
        self,
        definitions: dg.Definitions,
        instance: dg.DagsterInstance,
        sensor: FileDropSensorDefinition,
        inbox: InboxResource,
        ledger: DropLedgerResource,
        inbox_of_runs: Any,
        out: Out,
    ) -> None:
        self.definitions = definitions
        self.instance = instance
        self.sensor = sensor
        self.kind = sensor.drop_kind
        self.inbox = inbox
        self.ledger = ledger
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
        if was_interrupted(result):
            raise KeyboardInterrupt
        if result.success:
            self._tell("ok", request.path, f"{time.monotonic() - started:.1f} s")
            return
        self.failed = True
        self._tell("failed", request.path, first_line(result))

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
