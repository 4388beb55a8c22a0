"""Tells people: runs that failed, jobs that are stuck, sources that are stale, stores that do not answer.

One look a minute. It sends one message for each kind, and none about the same trouble for a day.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from genomics_assets import alerts as messages
from genomics_assets.alerts import Alert, FailedRun
from genomics_assets.input_error import InputError
from resources.alert_channels import AlertChannels
from resources.environment import Environment
from resources.invariants import stuck_jobs
from resources.jobs import BmdJobs, ComsaJobs, GwasJobs, JobLedger
from resources.postgres import PostgresError, PostgresResource
from resources.staleness import stale_sources

SECONDS_BETWEEN_LOOKS = 60
STUCK_SECONDS = 300.0
SECONDS_BETWEEN_REMINDERS = 24 * 3600.0
MOST_RUNS = 1000


@dataclass
class Memory:
    """What the sensor remembers from one look to the next.

    Attributes:
        failures_until: runs that failed up to then were told, as a Unix time.
        told_runs: those of that very moment.
        seen: since when each trouble is there.
        told: when each was told last.
    """

    failures_until: float
    told_runs: list[str] = field(default_factory=list)
    seen: dict[str, float] = field(default_factory=dict)
    told: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, cursor: str | None, now: float) -> "Memory":
        """The memory of a cursor; without one, what failed before now is not told."""
        return cls(now) if cursor is None else cls(**json.loads(cursor))

    def as_cursor(self) -> str:
        """For the next look."""
        return json.dumps(vars(self))

    def lasting(self, present: Sequence[str], kind: str, now: float, seconds: float) -> list[str]:
        """Which of what is present lasts for so many seconds and was not told within a day; takes note of all."""
        prefix = f"{kind} "
        keys = {prefix + subject: subject for subject in present}
        for remembered in (self.seen, self.told):
            for key in [key for key in remembered if key.startswith(prefix) and key not in keys]:
                del remembered[key]
        due = []
        for key, subject in keys.items():
            began = self.seen.setdefault(key, now)
            if now - began >= seconds and now - self.told.get(key, 0.0) >= SECONDS_BETWEEN_REMINDERS:
                due.append(subject)
        return due

    def note_told(self, subjects: Sequence[str], kind: str, now: float) -> None:
        """These were told."""
        self.told |= {f"{kind} {subject}": now for subject in subjects}


@dg.sensor(
    name="alerts",
    minimum_interval_seconds=SECONDS_BETWEEN_LOOKS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells of failed runs, stuck jobs, stale sources and absent stores, where GENOMICS_ALERT_… says whom.",
)
def alerts(
    context: dg.SensorEvaluationContext,
    alert_channels: AlertChannels,
    postgres: PostgresResource,
    comsa_jobs: ComsaJobs,
    bmd_jobs: BmdJobs,
    gwas_jobs: GwasJobs,
) -> dg.SensorResult | dg.SkipReason:
    """One look."""
    settings = alert_channels.settings()
    if not settings.channels:
        return dg.SkipReason(
            "no channel is configured: set GENOMICS_ALERT_WEBHOOK_URL, …_SLACK_URL or …_SMTP_URL"
        )
    memory = Memory.of(context.cursor, time.time())
    sent = 0
    for alert in look(
        context.instance,
        postgres,
        [comsa_jobs, bmd_jobs, gwas_jobs],
        memory,
        settings.ui,
        settings.stale_days,
    ):
        for problem in alert_channels.send(alert):
            context.log.warning(problem)
        sent += 1
    return dg.SensorResult(cursor=memory.as_cursor(), skip_reason=f"{sent} alerts sent")


def look(
    instance: dg.DagsterInstance,
    postgres: PostgresResource,
    ledgers: Sequence[JobLedger],
    memory: Memory,
    ui: str | None,
    stale_days: float | None,
) -> Iterator[Alert]:
    """What is to be told now; `memory` takes note of each alert once the caller comes back for the next."""
    now = time.time()
    failed = _failed_runs(instance, memory)
    if failed:
        yield messages.run_failures([FailedRun(run.run_id, run.job_name) for _, run in failed], ui)
        memory.failures_until = failed[-1][0]
        memory.told_runs = [run.run_id for moment, run in failed if moment == memory.failures_until]
    away: list[str] = []
    stuck = _stuck(ledgers, away)
    due = memory.lasting(stuck, "stuck", now, STUCK_SECONDS)
    if due:
        yield messages.stuck_jobs(due, STUCK_SECONDS / 60)
        memory.note_told(due, "stuck", now)
    try:
        stale = dict(stale_sources(postgres, _feeds(), stale_days))
    except PostgresError:
        stale = {}
        away.append("PostgreSQL")
    due = memory.lasting(list(stale), "stale", now, 0)
    if due:
        yield messages.stale_sources([(name, stale[name]) for name in due])
        memory.note_told(due, "stale", now)
    due = memory.lasting(sorted(set(away)), "away", now, STUCK_SECONDS)
    if due:
        yield messages.store_away(due)
        memory.note_told(due, "away", now)


def _failed_runs(instance: dg.DagsterInstance, memory: Memory) -> list[tuple[float, Any]]:
    """Runs that failed and were not told, with the moment, oldest first. What is run again is told when that fails."""
    records = instance.get_run_records(
        dg.RunsFilter(
            statuses=[dg.DagsterRunStatus.FAILURE],
            # One millisecond back: storages differ in how they keep fractions. Who was told is not told again.
            updated_after=datetime.fromtimestamp(memory.failures_until - 0.001, UTC),
        ),
        limit=MOST_RUNS,
        order_by="update_timestamp",
        ascending=True,
    )
    found = [
        (
            record.update_timestamp.replace(tzinfo=record.update_timestamp.tzinfo or UTC).timestamp(),
            record.dagster_run,
        )
        for record in records
    ]
    return [
        (moment, run)
        for moment, run in found
        if run.run_id not in memory.told_runs and run.tags.get("dagster/will_retry") != "true"
    ]


def _stuck(ledgers: Sequence[JobLedger], away: list[str]) -> list[str]:
    stuck = []
    for ledger in ledgers:
        try:
            stuck += [violation.subject for violation in stuck_jobs(ledger)]
        except Exception:  # noqa: BLE001 - drivers have no common ancestor
            away.append(f"the store of {ledger.store.name} jobs")
    return stuck


def _feeds() -> dict[str, str]:
    """How often each configured source is looked at; a settings file that cannot be used is told elsewhere."""
    from genomics_assets.annotations.refresh import read_settings

    settings = Environment.from_environ().annotation_refresh
    if settings is None:
        return {}
    try:
        return {feed.source: feed.every for feed in read_settings(settings)}
    except InputError:
        return {}
