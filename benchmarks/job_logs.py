"""What a job's log lines cost: the caller's time for a line, and lines a second that reach the table.

`python -m benchmarks.job_logs [lines]`. Beside it, what other ways of keeping a line cost: an INSERT of its own, and
Dagster's own event log.
"""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

import dagster as dg
import psycopg

from benchmarks.servers import BenchmarkServer, benchmark_home
from resources.jobs import ComsaJobs, ComsaRequest, JobOrigin
from resources.migrations import migrate
from resources.object_store import ObjectStoreResource
from resources.postgres import PostgresResource

ROUNDS = 3
LINES = 100_000
DEAR_LINES = 50
MESSAGE = "Chain 1 Iteration: {} / 7000 [Sampling], 60% completed, 12 divergent transitions"


@dataclass(frozen=True)
class Measured:
    """One round; microseconds of CPU for a line, and lines a second until all of them are kept."""

    caller_us: float
    process_us: float
    server_us: float
    lines_a_second: float
    kept: int


def our_lines(ledger: ComsaJobs, server: BenchmarkServer, lines: int) -> Measured:
    """The ledger's own way; lines come in bursts that the queue can hold, as those of an engine do."""
    job = ledger.begin(ComsaRequest("pipeline"), JobOrigin(str(uuid4())))
    messages = [MESSAGE.format(number) for number in range(lines)]
    wall, process, spent = time.perf_counter(), time.process_time(), 0.0
    of_server = server.cpu_seconds()
    for start in range(0, lines, 10_000):
        began = time.thread_time()
        for message in messages[start : start + 10_000]:
            job.log(message)
        spent += time.thread_time() - began
        time.sleep(0.2)
    with job.completion():
        pass
    seconds, cpu = time.perf_counter() - wall, time.process_time() - process
    of_server = server.cpu_seconds() - of_server
    with ledger.postgres.connection() as connection:
        row = connection.execute(
            "SELECT count(*) FROM comsa.job_logs WHERE job_id = %s AND level = 'info'", (job.id,)
        ).fetchone()
    us = 1e6 / lines
    return Measured(us * spent, us * cpu, us * of_server, lines / seconds, row[0] if row else 0)


def flood(ledger: ComsaJobs, lines: int) -> float:
    """Lines a second that are written while the caller logs as fast as it can and then waits."""
    job = ledger.begin(ComsaRequest("pipeline"), JobOrigin(str(uuid4())))
    messages = [MESSAGE.format(number) for number in range(lines)]
    began = time.perf_counter()
    for message in messages:
        job.log(message)
    with job.completion():
        pass
    return lines / (time.perf_counter() - began)


def single_inserts(ledger: ComsaJobs, lines: int) -> float:
    """Microseconds for a line that is an INSERT and a transaction of its own."""
    job_id = ledger.open(ComsaRequest("pipeline"), JobOrigin(str(uuid4())))
    with psycopg.connect(str(ledger.postgres.url), autocommit=True) as connection:
        return _us(
            lines,
            lambda message: connection.execute(
                "INSERT INTO comsa.job_logs (job_id, message) VALUES (%s, %s)", (job_id, message)
            ),
        )


def event_log(lines: int) -> float:
    """Microseconds for a line of Dagster's event log, in its own SQLite storage."""
    spent: list[float] = []

    @dg.op
    def chatter(context: dg.OpExecutionContext) -> None:
        spent.append(_us(lines, context.log.info))

    @dg.job(logger_defs={})
    def talk() -> None:
        chatter()

    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with dg.instance_for_test() as instance:
        talk.execute_in_process(instance=instance, run_config=quiet)
    return spent[0]


def _us(lines: int, keep: Callable[[str], object]) -> float:
    began = time.perf_counter()
    for number in range(lines):
        keep(MESSAGE.format(number))
    return 1e6 * (time.perf_counter() - began) / lines


def main(lines: int = LINES) -> None:
    """Print the medians of some rounds, interleaved."""
    ours: list[Measured] = []
    floods: list[float] = []
    inserts: list[float] = []
    events: list[float] = []
    with benchmark_home() as home:
        server = BenchmarkServer(home)
        url = server.make("job_logs")
        migrate(url)
        ledger = ComsaJobs(
            postgres=PostgresResource(url=url), objects=ObjectStoreResource(url=f"file://{home / 'objects'}")
        )
        for _ in range(ROUNDS):
            ours.append(our_lines(ledger, server, lines))
            floods.append(flood(ledger, lines))
            inserts.append(single_inserts(ledger, DEAR_LINES))
            events.append(event_log(DEAR_LINES))
        ledger.postgres.close()
    median = statistics.median
    print(f"{lines:,} lines of {len(MESSAGE)} characters, medians of {ROUNDS} rounds")
    print(f"  the caller pays        {median(m.caller_us for m in ours):10.2f} us a line (CPU of its thread)")
    print(
        f"  the process pays       {median(m.process_us for m in ours):10.2f} us a line (CPU, writer included)"
    )
    print(f"  the server pays        {median(m.server_us for m in ours):10.2f} us a line (CPU)")
    print(f"  kept while written     {median(floods):10,.0f} lines a second (wall)")
    print(f"  lines that are missing {lines * ROUNDS - sum(m.kept for m in ours):10,}")
    print(f"  INSERT for each line   {median(inserts):10.2f} us a line (wall)")
    print(f"  Dagster's event log    {median(events):10.2f} us a line (wall, SQLite)")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
