"""Dagster's own cost for one dropped file: the whole stack, as `make up` starts it, and the events of its runs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.vcf_generator import VcfGenerator, write_vcf
from resources.environment import Environment

_PATIENCE_SECONDS = 180.0
_RECORDS = 500
_ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Drop:
    """One file from the sensor's tick to its rows.

    Attributes:
        settled: seconds from the drop to the tick that asked for the run; the file had to hold still over two looks.
        committed: seconds from that tick to the commit of the rows.
        stages: where those seconds went, in order.
        finished: seconds from that tick to the end of the whole run, checks included.
    """

    settled: float
    committed: float
    stages: dict[str, float]
    finished: float


def drop_files(home: Path, count: int) -> list[Drop]:
    """Start the stack in a home of its own, drop small files one after the other, and follow each."""
    with _stack(home) as url:
        from dagster import DagsterInstance

        from genomics_assets.commands.stack import dagster_variables, start_stack

        stack = start_stack(Environment.from_environ({"GENOMICS_HOME": str(home)}))
        with dagster_variables(stack), DagsterInstance.from_config(str(stack.dagster_home)) as instance:
            return [
                _follow(instance, url, home / "inbox" / "vcf", f"small_{number}", number)
                for number in range(count)
            ]


def _follow(instance: Any, url: str, inbox: Path, name: str, seed: int) -> Drop:
    part = inbox.parent.parent / f"{name}.vcf"
    write_vcf(part, VcfGenerator(_RECORDS, consequences=True, seed=seed))
    inbox.mkdir(parents=True, exist_ok=True)
    # At another point between two looks each time.
    time.sleep(seed * 1.3 % 5)
    dropped = time.time()
    part.rename(inbox / part.name)
    committed, run_id = _wait(f"rows of {name}", lambda: _committed(url, name), lambda: _last_words(instance))
    run = _wait(f"the end of run {run_id}", lambda: _finished(instance, run_id))
    tick = _tick_of(instance, run_id)
    return Drop(
        tick - dropped, committed - tick, _stages(instance, run_id, tick, committed), run.end_time - tick
    )


def _stages(instance: Any, run_id: str, tick: float, committed: float) -> dict[str, float]:
    moments = {"tick": tick}
    for entry in instance.all_logs(run_id):
        event = entry.dagster_event
        if event is None:
            continue
        name = f"{event.event_type_value} {event.step_key or ''}".strip()
        moments.setdefault(name, entry.timestamp)
    stops = (
        ("look at the inbox, write the request", "PIPELINE_ENQUEUED"),
        ("wait in the queue", "PIPELINE_DEQUEUED"),
        ("launch", "PIPELINE_STARTING"),
        ("start the worker, import", "PIPELINE_START"),
        ("resources, plan", "STEP_START variants__vcf_files"),
        ("vcf_files", "STEP_SUCCESS variants__vcf_files"),
        ("to the next step", "STEP_START variants__variants"),
    )
    stages, last = {}, tick
    for stage, stop in stops:
        if stop in moments:
            stages[stage] = moments[stop] - last
            last = moments[stop]
    stages["variants, to the commit"] = committed - last
    return stages


def _committed(url: str, name: str) -> tuple[float, str] | None:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            """
            SELECT extract(epoch FROM load_completed_at)::float8, run_id FROM genomics.variant_load_audit
            WHERE partition_key = %s AND status = 'completed'
            """,
            (name,),
        ).fetchone()
    return None if row is None else (row[0], row[1])


def _finished(instance: Any, run_id: str) -> Any:
    record = instance.get_run_record_by_id(run_id)
    return record if record is not None and record.end_time is not None else None


def _tick_of(instance: Any, run_id: str) -> float:
    for state in instance.all_instigator_state():
        for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=200):
            if run_id in (tick.run_ids or ()):
                return float(tick.timestamp)
    raise RuntimeError(f"no tick asked for run {run_id}")


def _last_words(instance: Any) -> str:
    """What the latest runs and ticks say, for somebody who waits in vain."""
    runs = [
        f"run {run.run_id[:8]} of {run.tags.get('dagster/partition')}: {run.status.value}"
        for run in instance.get_runs(limit=3)
    ]
    ticks = [
        f"tick of {state.instigator_name}: {tick.status.value} {tick.skip_reason or tick.error or ''}"
        for state in instance.all_instigator_state()
        for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
    ]
    return "; ".join([*runs, *ticks])


def _wait(what: str, look: Callable[[], Any], otherwise: Callable[[], str] = str) -> Any:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.25)
    raise RuntimeError(f"waited {_PATIENCE_SECONDS:.0f} s in vain for {what}. {otherwise()}")


@contextmanager
def _stack(home: Path) -> Iterator[str]:
    """`up` in a home without examples; gives the URL of its PostgreSQL."""
    from resources.embedded import ensure_postgres

    (home / "examples-dropped").touch()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("GENOMICS_", "DAGSTER_")) and name != "PYTHONDONTWRITEBYTECODE"
    }
    log = home / "up.log"
    with log.open("w") as out:
        up = subprocess.Popen(
            [sys.executable, "-m", "genomics_assets", "up", "--port", str(port)],
            cwd=_ROOT, env=environment | {"GENOMICS_HOME": str(home)}, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            _wait("`up` to be ready", lambda: up.poll() is None and "Ctrl-C stops" in log.read_text())
            yield ensure_postgres(Environment.from_environ({"GENOMICS_HOME": str(home)}))
        finally:
            up.send_signal(signal.SIGINT)
            up.wait(90)
