"""The one sensor behind every kind of dropped file, and the evaluation that `sensors.drain` shares with it.

A tick looks at the inbox, lets the ledger say which files are new and hold still, claims at most
`REQUESTS_A_TICK` of them, and asks for one run each. Its cursor is the claim alone: a claim that the next tick's
cursor does not name never got through, and is asked for again under the same run key.
"""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from dagster._core.storage.tags import RUN_KEY_TAG, SENSOR_NAME_TAG

from genomics_assets.drops import DropKind, Oddity, storable
from resources.drop_ledger import DRAIN, DropLedgerResource, LedgerSession, Observation, Request
from resources.inbox import InboxResource

REQUESTS_A_TICK = 50
ODDITIES_NAMED = 3

FILE_TAG = "drop/file"
KIND_TAG = "drop/kind"
DRAIN_TAG = "drop/drain"


@dataclass(frozen=True)
class JobOpener:
    """Opens the job of a drop in its ledger when the drop's run is asked for.

    Args:
        open: gets resources by attribute, and the request; opening twice must do no harm. What it raises holds
            nothing up: the run itself opens the job where it is not open.
        resource_keys: the resources that it needs.
    """

    open: Callable[[Any, Request], object]
    resource_keys: frozenset[str]

    def open_all(self, resources: Any, requests: Sequence[Request]) -> list[str]:
        """Open the jobs of these requests; returns what went wrong, by partition."""
        problems = []
        for request in requests:
            try:
                self.open(resources, request)
            except Exception as error:  # noqa: BLE001 - whatever it is, the file must be taken
                problems.append(f"{request.partition_key}: its job was not opened ({type(error).__name__})")
        return problems


class FileDropSensorDefinition(dg.SensorDefinition):
    """A sensor that knows what it looks for, so that `drain` can do its work without a daemon."""

    drop_kind: DropKind
    drop_job: Any
    drop_partitions: dg.DynamicPartitionsDefinition
    job_opener: JobOpener | None


@dataclass(frozen=True)
class Tick:
    """What one evaluation came to.

    Args:
        requests: what was claimed; committed, not yet asked for.
        claim: names the claim; None where nothing was claimed.
        observation: how far every drop got.
        oddities: what is not taken, and why.
    """

    requests: list[Request] = field(default_factory=list)
    claim: str | None = None
    observation: Observation = field(default_factory=Observation)
    oddities: list[Oddity] = field(default_factory=list)

    def describe(self, next_look_seconds: float) -> str:
        """What is waited for, in one line."""
        seen = self.observation
        parts = [
            f"{_count(seen.settling, 'file')} still settling" if seen.settling else "",
            f"{len(seen.pending):,} claimed by another sensor" if seen.pending else "",
            f"{len(seen.known):,} known",
            f"next look in {next_look_seconds:g} s",
        ]
        text = ", ".join(part for part in parts if part)
        if not self.oddities:
            return text
        named = ", ".join(str(oddity) for oddity in self.oddities[:ODDITIES_NAMED])
        more = len(self.oddities) - ODDITIES_NAMED
        return f"{text}; not taken: {named}" + (f" and {more:,} more" if more > 0 else "")


def file_drop_sensor(
    kind: DropKind,
    *,
    job: Any,
    partitions_def: dg.DynamicPartitionsDefinition,
    minimum_interval_seconds: int = 5,
    job_opener: JobOpener | None = None,
) -> dg.SensorDefinition:
    """A sensor that asks for one run of `job` for each dropped file, and for each new version of it.

    It needs the resources `inbox` and `drop_ledger`.

    Args:
        kind: what is looked for, and where.
        job: a job whose assets are partitioned by `partitions_def`.
        partitions_def: gets a partition for each new drop.
        minimum_interval_seconds: time between two looks.
        job_opener: opens a job in a ledger for each run that is asked for.
    """

    def evaluate_tick(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        inbox: InboxResource = context.resources.inbox
        ledger: DropLedgerResource = context.resources.drop_ledger
        with ledger.session(kind, inbox.root) as session:
            if session is None:
                return dg.SensorResult(
                    skip_reason=f"a drain or another sensor is at work on {inbox.root}/{kind.folder}; "
                    f"next look in {minimum_interval_seconds} s",
                    cursor=context.cursor,
                )
            tick = evaluate(
                kind,
                inbox=inbox,
                session=session,
                instance=context.instance,
                claimant=_claimant(context),
                confirmed=_claims_of([context.cursor]),
            )
        if not tick.requests:
            return dg.SensorResult(skip_reason=tick.describe(minimum_interval_seconds), cursor=context.cursor)
        if job_opener is not None:
            for problem in job_opener.open_all(context.resources, tick.requests):
                context.log.warning(problem)
        return dg.SensorResult(
            run_requests=[run_request(kind, request) for request in tick.requests],
            dynamic_partitions_requests=[
                partitions_def.build_add_request(keys)
                for keys in [new_partitions(context.instance, partitions_def, tick.requests)]
                if keys
            ],
            cursor=json.dumps({"claim": tick.claim}),
        )

    sensor = FileDropSensorDefinition(
        name=f"{kind.name}_drops",
        evaluation_fn=evaluate_tick,
        job=job,
        minimum_interval_seconds=minimum_interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={"inbox", "drop_ledger"}
        | (set() if job_opener is None else job_opener.resource_keys),
        description=f"Takes what is dropped into the inbox's folder {kind.folder} ({kind.describe()}): new files, and "
        "files with new bytes, once size and modification time held still over two looks.",
    )
    sensor.drop_kind, sensor.drop_job, sensor.drop_partitions = kind, job, partitions_def
    sensor.job_opener = job_opener
    return sensor


def evaluate(
    kind: DropKind,
    *,
    inbox: InboxResource,
    session: LedgerSession,
    instance: dg.DagsterInstance,
    claimant: str,
    confirmed: Collection[str],
) -> Tick:
    """One look: confirm and give back old claims, take note of what lies there, claim what is ready.

    Args:
        kind: what is looked for.
        inbox: where.
        session: sole access to the ledger; everything is committed when this returns.
        instance: knows the runs of claims that were lost.
        claimant: who asks; the same name for every evaluation of one sensor.
        confirmed: claims that are known to have got through.

    Raises:
        resources.inbox.InboxError: when the inbox cannot be looked at; nothing is changed then.
    """
    look = inbox.look(kind)
    session.confirm(confirmed)
    recover(session, instance, session.lost(claimant))
    seen = session.observe(look.found, at_once=look.at_once)
    claim, requests = session.claim(seen, claimant, REQUESTS_A_TICK) if seen.ready else (None, [])
    session.commit()
    return Tick(requests, claim if requests else None, seen, look.oddities + seen.oddities)


def recover(session: LedgerSession, instance: dg.DagsterInstance, lost: Sequence[Request]) -> None:
    """Find out what became of claims that nobody confirmed.

    A run that was never created, or never started, is asked for again under its key. A drain that died takes its run
    with it: that run is closed and the file gets another one. Every other run is as good as confirmed.
    """
    for request in lost:
        runs = instance.get_runs(dg.RunsFilter(tags={RUN_KEY_TAG: request.run_key}))
        started = [run for run in runs if run.status != dg.DagsterRunStatus.NOT_STARTED]
        cut_off = [run for run in started if DRAIN_TAG in run.tags and not _ended(run)]
        for run in cut_off:
            instance.report_run_failed(
                run, "The drain that worked on this run is gone; the file is taken again."
            )
        if cut_off:
            session.give_back([request], cut_off=True)
        elif started:
            session.mark_requested([request])
        else:
            session.give_back([request])


def run_request(kind: DropKind, request: Request) -> dg.RunRequest:
    """The run for one claimed drop."""
    return dg.RunRequest(
        run_key=request.run_key,
        partition_key=request.partition_key,
        tags={FILE_TAG: storable(f"{kind.folder}/{request.path}"), KIND_TAG: kind.name},
    )


def run_tags(sensor_name: str, request: dg.RunRequest) -> dict[str, str]:
    """The tags that the daemon would give the run; by them it knows that the run was asked for already."""
    return {**request.tags, RUN_KEY_TAG: str(request.run_key), SENSOR_NAME_TAG: sensor_name}


def new_partitions(
    instance: dg.DagsterInstance, partitions_def: dg.DynamicPartitionsDefinition, requests: Sequence[Request]
) -> list[str]:
    """Partition keys of the requests that Dagster does not know yet, in order."""
    known = set(instance.get_dynamic_partitions(str(partitions_def.name)))
    return [request.partition_key for request in requests if request.partition_key not in known]


def committed_claims(instance: dg.DagsterInstance, sensor_name: str) -> set[str]:
    """The claims that the daemon's cursors of sensors of this name confirm."""
    cursors = [
        getattr(state.instigator_data, "cursor", None)
        for state in instance.all_instigator_state()
        if state.instigator_name == sensor_name
    ]
    return _claims_of(cursors)


def drain_claimant(name: str) -> str:
    """The claimant's name of a drain."""
    return f"{DRAIN}{name}"


def _claims_of(cursors: Sequence[str | None]) -> set[str]:
    """The claims that cursors name; a cursor that somebody edited names none, which costs a repeated request."""
    claims = set()
    for cursor in cursors:
        try:
            claim = json.loads(cursor or "{}")["claim"]
        except (ValueError, KeyError, TypeError):
            continue
        claims.add(str(claim))
    return claims


def _claimant(context: dg.SensorEvaluationContext) -> str:
    """One name for each sensor of each instance: its ticks never overlap, those of others may."""
    storage = getattr(context.instance.run_storage, "get_run_storage_id", str)()
    location = getattr(context.code_location_origin, "location_name", "")
    return f"sensor {storage} {location} {context.sensor_name}"


def _ended(run: dg.DagsterRun) -> bool:
    return run.status in (
        dg.DagsterRunStatus.SUCCESS,
        dg.DagsterRunStatus.FAILURE,
        dg.DagsterRunStatus.CANCELED,
    )


def _count(items: Sequence[object], noun: str) -> str:
    return f"{len(items):,} {noun}" + ("" if len(items) == 1 else "s")
