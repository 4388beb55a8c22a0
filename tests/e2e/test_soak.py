"""Load: files of five kinds dropped at once on the embedded stack. `make soak`; it prints its figures.

`GENOMICS_SOAK_FILES` says how many: 2000 for the real thing, 60 to try it. `python -m benchmarks.scale` goes on from the
figures that it leaves in `benchmarks/results`.
"""

from __future__ import annotations

import json
import os
import statistics
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from small_files import (
    BATCH_SETTINGS,
    MATRIX_SETTINGS,
    VCF_RECORDS,
    small_batch,
    small_matrix,
    small_source,
    small_traits,
    small_vcf,
)
from stack import ROOT, Stack, wait_until

FILES = int(os.environ.get("GENOMICS_SOAK_FILES", "60"))
SOURCES = min(6, FILES // 20)
MATRICES = BATCHES = FILES // 12
TRAITS = FILES // 5
VCFS = FILES - SOURCES - MATRICES - BATCHES - TRAITS

RESULTS = ROOT / "benchmarks" / "results"

MOST_MILLISECONDS_OF_THE_UI = 500
MOST_SECONDS_OF_A_TICK = 2
MOST_GROWTH_OF_MEMORY = 0.25

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800 + 30 * FILES)]

QUERIES = {
    "runs": "{runsOrError(limit: 25) {... on Runs {results {runId status jobName startTime endTime tags {key value}}}}}",
    "partitions": '{assetNodeOrError(assetKey: {path: ["variants", "variants"]}) {... on AssetNode {'
    "partitionStats {numMaterialized numFailed numPartitions numMaterializing}}}}",
    "assets": "{assetNodes {assetKey {path} groupName}}",
    "sensors": '{sensorsOrError(repositorySelector: {repositoryName: "__repository__", '
    'repositoryLocationName: "genomics_assets"}) {... on Sensors {results {name sensorState {'
    "status ticks(limit: 1) {status timestamp}}}}}}",
}
ENDED_FILES = """
    SELECT count(DISTINCT (r.pipeline_name, t.value)) FROM dagster.runs AS r JOIN dagster.run_tags AS t
    ON t.run_id = r.run_id AND t.key = 'drop/file' WHERE r.status = 'SUCCESS'
"""
ACTIVE = "SELECT count(*) FROM dagster.runs WHERE status NOT IN ('SUCCESS', 'FAILURE', 'CANCELED')"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("soak") / "home")
    stack.up()
    yield stack
    stack.down()


class Watch:
    """Asks the UI, and looks at the memory of the standing processes, while the block lasts."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.milliseconds: dict[str, list[float]] = defaultdict(list)
        self.memory: dict[str, list[float]] = defaultdict(list)
        self._done = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._ask, self._weigh)]

    def __enter__(self) -> Watch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._done.wait(1):
            for name, query in QUERIES.items():
                started = time.perf_counter()
                ask(self.stack, query)
                self.milliseconds[name].append((time.perf_counter() - started) * 1000)

    def _weigh(self) -> None:
        standing = {
            "webserver": "dagster_webserver",
            "daemon": "dagster._daemon",
            "code server": "api grpc",
        }
        while not self._done.wait(5):
            sums: dict[str, float] = defaultdict(float)
            for process in self.stack.processes():
                try:
                    line = " ".join(process.cmdline())
                    for name, words in standing.items():
                        if words in line:
                            sums[name] += process.memory_info().rss / 2**20
                except psutil.Error:
                    continue
            for name, megabytes in sums.items():
                self.memory[name].append(megabytes)


def ask(stack: Stack, query: str) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{stack.port}/graphql",
        data=json.dumps({"query": query}).encode(),
        headers={"Content-Type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=120) as answer:
        found = json.load(answer)
    assert "errors" not in found, found["errors"]
    return found["data"]


def high(values: list[float]) -> float:
    """The 95th percentile."""
    return statistics.quantiles(values, n=20, method="inclusive")[-1]


def drop_everything(stack: Stack) -> None:
    for number in range(MATRICES):
        stack.put(f"bmd/soak/m{number:04}.yaml", MATRIX_SETTINGS)
        stack.put(f"bmd/soak/m{number:04}.txt", small_matrix(number))
    for number in range(BATCHES):
        stack.put(f"verbal_autopsy/b{number:04}.yaml", BATCH_SETTINGS)
        stack.put(f"verbal_autopsy/b{number:04}.csv", small_batch(number))
    for number in range(SOURCES):
        stack.put(f"annotations/clinvar_{number}/clinvar_20260104.vcf", small_source(8 * number))
    for number in range(TRAITS):
        stack.put(f"zygotrix/traits/t{number:04}.jsonl", small_traits(number))
    for number in range(VCFS):
        stack.put(f"vcf/soak/f{number:04}.vcf", small_vcf(number))


def test_files_of_all_kinds_dropped_at_once_land_exactly_once(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.number("SELECT 1")  # the address is asked for before the load begins
    started = time.monotonic()
    cpu = sum(psutil.cpu_times()[:3])
    with Watch(stack) as watch:
        drop_everything(stack)
        wait_until(
            "every file has a run that succeeded", lambda: stack.number(ENDED_FILES) == FILES, 30 * FILES + 600, 2
        )  # fmt: skip
        seconds = time.monotonic() - started
        cpu = sum(psutil.cpu_times()[:3]) - cpu
        wait_until("nothing is under way", lambda: stack.number(ACTIVE) == 0, seconds=600, every=2)

    assert_exactly_once(stack)
    figures = {
        "files": {"vcf": VCFS, "traits": TRAITS, "bmd": MATRICES, "verbal autopsy": BATCHES, "annotation sources": SOURCES},
        "seconds": round(seconds),
        "files an hour": round(FILES / seconds * 3600),
        "CPU-seconds of the machine a file": round(cpu / FILES, 2),
        "UI, milliseconds (median, p95)": {
            name: (round(statistics.median(found)), round(high(found)))
            for name, found in watch.milliseconds.items()
        },
        "ticks, seconds (p95, longest)": ticks(stack),
        "memory, MB (first quarter, last quarter)": quarters(watch),
        **event_log(stack),
    }  # fmt: skip
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "soak.json").write_text(json.dumps(figures, indent=2) + "\n")
    with capsys.disabled():
        print("\n" + json.dumps(figures, indent=2))
    every = [one for found in watch.milliseconds.values() for one in found]
    assert high(every) < MOST_MILLISECONDS_OF_THE_UI
    assert figures["ticks, seconds (p95, longest)"][0] < MOST_SECONDS_OF_A_TICK
    for name, (first, last) in figures["memory, MB (first quarter, last quarter)"].items():
        assert last < first * (1 + MOST_GROWTH_OF_MEMORY), f"the {name} grows"


def assert_exactly_once(stack: Stack) -> None:
    """Files, audit, tables, documents and jobs agree."""
    assert stack.query(
        "SELECT status, count(*), count(DISTINCT partition_key), sum(variants_loaded)::int "
        "FROM genomics.variant_load_audit GROUP BY 1"
    ) == [("completed", VCFS, VCFS, VCF_RECORDS * VCFS)]
    assert stack.query("SELECT count(*), count(DISTINCT pos) FROM genomics.variants") == [
        (VCF_RECORDS * VCFS, VCF_RECORDS * VCFS)
    ]
    assert stack.number("SELECT count(*) FROM genomics.current_loads") == VCFS
    experiments = "SELECT count(*), count(DISTINCT id) FROM bmd.dose_response_experiments"
    assert stack.query(experiments) == [(MATRICES, MATRICES)]
    assert stack.query("SELECT status, count(*) FROM comsa.jobs GROUP BY 1") == (
        [("completed", BATCHES)] if BATCHES else []
    )
    assert stack.number("SELECT count(*) FROM genomics.annotation_sources") == SOURCES
    from pymongo import MongoClient

    with MongoClient[dict[str, Any]](stack.settings["GENOMICS_MONGO_URL"]) as client:
        traits = client.get_default_database()["traits"]
        assert traits.count_documents({"key": {"$regex": "^dropped_"}}) == TRAITS


def ticks(stack: Stack) -> tuple[float, float]:
    """How long the sensors' looks took: 95th percentile and longest."""
    found = stack.query(
        "SELECT (tick_body::jsonb ->> 'end_timestamp')::float8 - (tick_body::jsonb ->> 'timestamp')::float8 "
        "FROM dagster.job_ticks WHERE type = 'SENSOR' AND tick_body::jsonb ->> 'end_timestamp' IS NOT NULL"
    )
    seconds = [row[0] for row in found]
    return round(high(seconds), 2), round(max(seconds), 2)


def quarters(watch: Watch) -> dict[str, tuple[int, int]]:
    """Mean memory in the first and in the last quarter of the time."""
    return {
        name: (
            round(statistics.fmean(found[: max(1, len(found) // 4)])),
            round(statistics.fmean(found[-max(1, len(found) // 4) :])),
        )
        for name, found in watch.memory.items()
    }


def event_log(stack: Stack) -> dict[str, Any]:
    """What a file costs in Dagster's tables, before and after the purge; partitions keep their status."""
    from resources.maintenance import prune_event_log
    from resources.postgres import PostgresResource

    size = "SELECT pg_total_relation_size('dagster.event_logs')"
    all_of_dagster = (
        "SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class "
        "WHERE relnamespace = 'dagster'::regnamespace AND relkind = 'r'"
    )
    before = stack.number(size), stack.number(all_of_dagster)
    status = ask(stack, QUERIES["partitions"])
    assert status["assetNodeOrError"]["partitionStats"]["numMaterialized"] == VCFS
    url = stack.settings["GENOMICS_POSTGRES_URL"]
    with_age(url, 31)
    postgres = PostgresResource(url=url)
    pruned = prune_event_log(postgres, keep_days=30)
    with postgres.connection(autocommit=True, statement_timeout=0) as connection:
        connection.execute("UPDATE dagster.asset_keys SET cached_status_data = NULL")
        connection.execute("VACUUM FULL dagster.event_logs")
    postgres.close()
    assert ask(stack, QUERIES["partitions"]) == status, "the purge keeps the status of partitions"
    return {
        "event rows a file (before, after the purge)": (
            round((pruned.removed + pruned.kept) / FILES, 1),
            round(pruned.kept / FILES, 1),
        ),
        "event log, KB a file (before, after the purge)": (
            round(before[0] / FILES / 1024, 1),
            round(stack.number(size) / FILES / 1024, 1),
        ),
        "all of Dagster's tables, KB a file": round(before[1] / FILES / 1024, 1),
        "variant warehouse, KB a file of 3 records": round(
            stack.number(
                "SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class "
                "WHERE relnamespace = 'genomics'::regnamespace AND relkind IN ('r', 'm')"
            )
            / max(VCFS, 1)
            / 1024,
            1,
        ),
    }


def with_age(url: str, days: int) -> None:
    """Move all runs and events into the past."""
    import psycopg

    with psycopg.connect(url) as connection:
        connection.execute(
            "UPDATE dagster.event_logs SET \"timestamp\" = \"timestamp\" - make_interval(days => %s)", (days,)
        )  # fmt: skip
        connection.execute(
            "UPDATE dagster.runs SET end_time = end_time - %s * 86400, "
            "update_timestamp = update_timestamp - make_interval(days => %s)",
            (days, days),
        )
