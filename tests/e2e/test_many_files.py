"""Many small files dropped at once all land exactly once, through the real daemon; and so they do after mishaps.

`GENOMICS_TEST_FILES` says how many; the default keeps the suite short. The tests share a stack, in this order.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from small_files import MATRIX_SETTINGS, VCF_RECORDS, small_matrix, small_vcf
from stack import ROOT, Stack, wait_until

FILES = int(os.environ.get("GENOMICS_TEST_FILES", "8"))
ACTIVE = "SELECT count(*) FROM dagster.runs WHERE status NOT IN ('SUCCESS', 'FAILURE', 'CANCELED')"
LOADED = "SELECT count(*) FROM genomics.current_loads WHERE starts_with(partition_key, %s)"


pytestmark = pytest.mark.timeout(900 + 60 * FILES)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("many") / "home")
    stack.up()
    yield stack
    stack.down()


def test_files_dropped_at_once_land_exactly_once(stack: Stack) -> None:
    for number in range(FILES):
        stack.drop(f"batch/file {number:04}.vcf", small_vcf(number))

    loads = "FROM dagster.runs WHERE pipeline_name = 'load_vcf'"
    ended = f"SELECT count(*) {loads} AND status IN ('SUCCESS', 'FAILURE')"
    wait_until("every run has ended", lambda: stack.number(ended) >= FILES, seconds=60 * FILES, every=1)

    assert stack.query(f"SELECT status, count(*) {loads} GROUP BY 1") == [("SUCCESS", FILES)]
    audit = stack.query(
        "SELECT status, count(*), count(DISTINCT partition_key), sum(variants_loaded)::int "
        "FROM genomics.variant_load_audit GROUP BY 1"
    )
    assert audit == [("completed", FILES, FILES, 3 * FILES)]
    assert stack.number("SELECT count(*) FROM genomics.variants") == 3 * FILES
    assert stack.number("SELECT count(DISTINCT pos) FROM genomics.variants") == 3 * FILES


def test_runs_of_a_pool_of_one_place_never_overlap(stack: Stack) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "dagster", "instance", "concurrency", "set", "cpu-heavy", "1"],
        cwd=ROOT, env=stack.environment | stack.settings, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    for number in range(3):
        for ending, content in ((".yaml", MATRIX_SETTINGS), (".txt", small_matrix(number))):
            stack.put(f"bmd/pool/m{number}{ending}", content)
    heavy = "FROM dagster.runs WHERE pipeline_name = 'analyze_experiment'"
    ended = f"SELECT count(*) {heavy} AND status = 'SUCCESS'"
    wait_until("the three are analysed", lambda: stack.number(ended) == 3, seconds=600, every=1)

    times = stack.query(f"SELECT start_time, end_time {heavy} ORDER BY start_time")
    for (_, ended_at), (began_at, _) in itertools.pairwise(times):
        assert began_at >= ended_at


# -- what people and machines do by mistake ------------------------------------------------------------------------------


@contextmanager
def another_daemon(stack: Stack) -> Iterator[subprocess.Popen[bytes]]:
    """A second daemon on the same instance, as somebody starts who does not know of the first."""
    log = (stack.home / "another_daemon.log").open("w")
    daemon = subprocess.Popen(
        [sys.executable, "-m", "dagster._daemon", "run", "-w", str(ROOT / "workspace.yaml")],
        cwd=ROOT, env=stack.environment | stack.settings, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        yield daemon
    finally:
        daemon.terminate()
        daemon.wait(60)


def wait_for(stack: Stack, folder: str, files: int) -> None:
    """Until so many files below a folder are loaded and nothing is under way."""
    wait_until(
        f"{folder} is loaded", lambda: stack.number(LOADED, f"{folder}/") == files, seconds=400, every=0.5
    )
    wait_until("nothing is under way", lambda: stack.number(ACTIVE) == 0, seconds=200, every=0.5)


def loads(stack: Stack, folder: str) -> list[tuple[object, ...]]:
    """Completed loads of the files below a folder: how many, of how many files, and their rows as a reader sees them."""
    return stack.query(
        "SELECT count(*), count(DISTINCT partition_key), sum((SELECT count(*) FROM genomics.variants AS v "
        "WHERE v.load_batch_id = a.load_batch_id))::int FROM genomics.variant_load_audit AS a "
        "WHERE status = 'completed' AND starts_with(partition_key, %s)",
        f"{folder}/",
    )


def test_two_daemons_by_mistake_load_each_file_once(stack: Stack) -> None:
    with another_daemon(stack) as daemon:
        told = stack.home / "another_daemon.log"
        wait_until("the second daemon is at work", lambda: "SensorDaemon" in told.read_text(), seconds=200)
        for number in range(3):
            stack.drop(f"two/{number}.vcf", small_vcf(10_000 + number))
        wait_for(stack, "two", 3)
        assert daemon.poll() is None, "it was there all the time"
    assert loads(stack, "two") == [(3, 3, VCF_RECORDS * 3)]


def test_the_same_file_under_two_names_at_once_is_stored_once(stack: Stack) -> None:
    content = small_vcf(10_100)
    for name in ("a", "b", "c"):
        stack.drop(f"twins/{name}.vcf", content)
    wait_for(stack, "twins", 3)
    assert stack.query(
        "SELECT count(*), count(DISTINCT load_batch_id) FROM genomics.current_loads WHERE starts_with(partition_key, 'twins/')"
    ) == [(3, 1)]
    assert (
        stack.number("SELECT count(*) FROM genomics.variants WHERE pos BETWEEN 101001 AND 101003")
        == VCF_RECORDS
    )


def test_files_from_machines_with_a_wrong_clock_are_loaded_once(stack: Stack) -> None:
    now = time.time()
    for number, seconds in enumerate((-50 * 365 * 86400, 86400, 3600, -3600)):
        path = stack.drop(f"clocks/{number}.vcf", small_vcf(10_200 + number))
        os.utime(path, (now + seconds, now + seconds))
    wait_for(stack, "clocks", 4)
    [(completed, files, rows)] = loads(stack, "clocks")
    assert (files, rows) == (4, 4 * VCF_RECORDS)
    assert completed == 4, "an unchanged content is not loaded again, whenever it was seen first"


def test_a_killed_webserver_costs_nothing(stack: Stack) -> None:
    stack.drop("web/1.vcf", small_vcf(10_300))
    assert stack.kill("dagster_webserver") > 0
    assert stack.up_process is not None
    assert stack.up_process.wait(100) != 0, "`up` says that its webserver died"

    stack.up()

    wait_for(stack, "web", 1)
    assert loads(stack, "web") == [(1, 1, VCF_RECORDS)]
