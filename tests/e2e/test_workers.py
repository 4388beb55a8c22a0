"""Two workers with homes of their own, as on two machines, do the runs of a third; one is killed half-way.

They share PostgreSQL, the document store, a bucket and the queue, and no folder. `GENOMICS_TEST_WORKER_FILES` says how
many files are dropped.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from small_files import VCF_RECORDS, small_traits, small_vcf
from stack import Stack, wait_until

FILES = int(os.environ.get("GENOMICS_TEST_WORKER_FILES", "16"))
TRAITS = FILES // 4
VCFS = FILES - TRAITS
KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}

pytestmark = [
    pytest.mark.distributed,
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server on this machine"),
    pytest.mark.timeout(900 + 20 * FILES),
]

LOADED = "SELECT count(*) FROM genomics.current_loads"
ENDED = """
    SELECT count(DISTINCT t.value) FROM dagster.runs AS r JOIN dagster.run_tags AS t
    ON t.run_id = r.run_id AND t.key = 'dagster/partition' WHERE r.status = 'SUCCESS'
"""


@dataclass(frozen=True)
class Machines:
    """The machine with UI and daemon, the two that work, and the bucket that all reach."""

    first: Stack
    workers: list[Stack]
    processes: list[subprocess.Popen[str]]
    s3: Any


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(*command: str, port: int) -> Iterator[None]:
    """A server process on this machine, until the end of the block."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(f"{command[0]} listens", listens, seconds=60)
        yield
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    import boto3

    folder = tmp_path_factory.mktemp("machines")
    redis, s3 = free_port(), free_port()
    stores = Stack(folder / "stores")
    with ExitStack() as stack:
        stack.enter_context(
            server("redis-server", "--port", str(redis), "--bind", "127.0.0.1", "--save", "", port=redis)
        )
        moto = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(s3)]
        stack.enter_context(server(*moto, port=s3))
        stack.callback(stores.command, "down")
        endpoint = f"http://127.0.0.1:{s3}"
        client = boto3.client(
            "s3", endpoint_url=endpoint, aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1"
        )  # fmt: skip
        client.create_bucket(Bucket="genomics")
        shared = {
            **KEYS,
            "GENOMICS_POSTGRES_URL": stores.settings["GENOMICS_POSTGRES_URL"],
            "GENOMICS_MONGO_URL": stores.settings["GENOMICS_MONGO_URL"],
            "GENOMICS_S3_ENDPOINT_URL": endpoint,
            "GENOMICS_OBJECT_STORE_URL": "s3://genomics/objects",
            "GENOMICS_INBOX": "s3://genomics/inbox",
            "GENOMICS_RUN_QUEUE_URL": f"redis://127.0.0.1:{redis}/0",
        }
        first = Stack(folder / "first", shared)
        workers = [Stack(folder / name, shared) for name in ("second", "third")]
        stack.callback(first.down)
        first.up()
        processes = []
        for worker in workers:
            processes.append(worker.start("worker", "--processes", "1"))
            stack.callback(end, processes[-1])
        for worker in workers:
            wait_until("the worker is ready", lambda worker=worker: " ready." in log_of(worker), seconds=300)
        yield Machines(first, workers, processes, client)


def end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def log_of(worker: Stack) -> str:
    return (worker.home / "worker.test.log").read_text()


def tasks(worker: Stack, word: str) -> set[str]:
    """Numbers of the tasks of which a worker says that they were `received` or `succeeded`."""
    return set(re.findall(rf"Task execute_job\[([0-9a-f-]+)\] {word}", log_of(worker)))


def test_a_worker_killed_half_way_loses_and_doubles_nothing(machines: Machines) -> None:
    first, (killed, left) = machines.first, machines.workers
    for number in range(VCFS):
        machines.s3.put_object(
            Bucket="genomics", Key=f"inbox/vcf/batch/f{number:04}.vcf", Body=small_vcf(number)
        )
    for number in range(TRAITS):
        machines.s3.put_object(
            Bucket="genomics", Key=f"inbox/zygotrix/traits/t{number:04}.jsonl", Body=small_traits(number)
        )

    def at_work() -> set[str]:
        return tasks(killed, "received") - tasks(killed, "succeeded")

    wait_until("half of the files are loaded", lambda: first.number(LOADED) >= VCFS // 2, 60 * FILES, 0.2)
    wait_until("the worker has a run in hand", at_work, seconds=120, every=0.01)
    os.killpg(machines.processes[0].pid, signal.SIGKILL)
    machines.processes[0].wait()
    in_hand = at_work()
    done_by_the_killed = len(tasks(killed, "succeeded"))

    wait_until("every file has a run that succeeded", lambda: first.number(ENDED) == FILES, 60 * FILES, 1)
    active = "SELECT count(*) FROM dagster.runs WHERE status NOT IN ('SUCCESS', 'FAILURE', 'CANCELED')"
    wait_until("nothing is under way", lambda: first.number(active) == 0, seconds=300, every=1)

    assert in_hand, "the worker was killed at work"
    assert done_by_the_killed, "it had done some"
    assert len(tasks(left, "succeeded")) >= FILES - done_by_the_killed
    files = (
        "load_batch_id IN (SELECT load_batch_id FROM genomics.variant_load_audit WHERE status = 'completed')"
    )
    assert first.query(
        "SELECT count(*), count(DISTINCT partition_key), sum(variants_loaded)::int "
        "FROM genomics.variant_load_audit WHERE status = 'completed'"
    ) == [(VCFS, VCFS, VCF_RECORDS * VCFS)]
    assert first.number(LOADED) == VCFS
    assert first.query(f"SELECT count(*), count(DISTINCT pos) FROM genomics.variants WHERE {files}") == [
        (VCF_RECORDS * VCFS, VCF_RECORDS * VCFS)
    ]
    assert first.number("SELECT count(*) FROM genomics.variants") == VCF_RECORDS * VCFS
    assert traits_of(first) == [f"dropped_{number:05}" for number in range(TRAITS)]
    lake = machines.s3.list_objects_v2(Bucket="genomics", Prefix="objects/lake/variants/")["Contents"]
    assert len([found for found in lake if found["Key"].endswith(".parquet")]) == VCFS
    successes = first.query(
        "SELECT max(n) FROM (SELECT count(*) AS n FROM dagster.runs AS r JOIN dagster.run_tags AS t "
        "ON t.run_id = r.run_id AND t.key = 'dagster/partition' WHERE status = 'SUCCESS' GROUP BY pipeline_name, value) AS each"
    )
    assert successes == [(1,)], "a run that was cut off is done again, one that was not is not"


def traits_of(stack: Stack) -> list[str]:
    """Keys of the dropped traits in the document store, sorted."""
    from pymongo import MongoClient

    url = stack.environment["GENOMICS_MONGO_URL"]
    with MongoClient[dict[str, Any]](url) as client:
        found = client.get_default_database()["traits"].find({"key": {"$regex": "^dropped_"}})
        return sorted(document["key"] for document in found)
