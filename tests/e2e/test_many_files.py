"""Many small files dropped at once all land exactly once, through the real daemon.

`GENOMICS_TEST_FILES` says how many; the default keeps the suite short.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from small_files import MATRIX_SETTINGS, small_matrix, small_vcf
from stack import ROOT, Stack, wait_until

FILES = int(os.environ.get("GENOMICS_TEST_FILES", "8"))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("many") / "home")
    stack.up()
    yield stack
    stack.down()


@pytest.mark.timeout(500 + 60 * FILES)
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


@pytest.mark.timeout(900)
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
