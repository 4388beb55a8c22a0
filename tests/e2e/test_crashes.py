"""`kill -9` of everything that takes part in a load, while it loads: nothing is visible, and a re-run completes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from stack import Stack, wait_until

RECORDS = 150_000
VISIBLE = "SELECT count(*) FROM genomics.variants"
STARTED = "SELECT count(*) FROM genomics.variant_load_audit WHERE status = 'started'"
COMPLETED = "SELECT count(*) FROM genomics.variant_load_audit WHERE status = 'completed'"


@pytest.fixture(scope="module")
def large_vcf() -> bytes:
    """A file that takes long enough to be hit in the middle."""
    header = "##fileformat=VCFv4.2\n##contig=<ID=chr1,length=248956422>\n"
    header += '##INFO=<ID=DP,Number=1,Type=Integer,Description="Depth">\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n'
    rows = (f"chr1\t{1000 + 40 * i}\trs{i}\tA\tG\t50\tPASS\tDP={i % 90}\n" for i in range(RECORDS))
    return (header + "".join(rows)).encode()


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(tmp_path / "home")
    assert stack.settings["GENOMICS_POSTGRES_URL"]
    yield stack
    stack.down()
    for process in stack.processes():
        process.kill()


def loading(stack: Stack) -> bool:
    """A load is under way: its audit row is there, and the server has rows of it that nobody sees."""
    if stack.number(STARTED) == 0:
        return False
    copying = stack.query("SELECT coalesce(max(tuples_processed), 0) FROM pg_stat_progress_copy")
    return int(copying[0][0]) > 2_000


def nothing_visible(stack: Stack) -> None:
    assert stack.number(VISIBLE) == 0
    assert stack.number(COMPLETED) == 0


def everything_there(stack: Stack, loads: int = 1) -> None:
    assert stack.number(VISIBLE) == RECORDS
    assert stack.number("SELECT count(DISTINCT pos) FROM genomics.variants") == RECORDS
    assert stack.number(COMPLETED) == loads
    assert stack.number(STARTED) == 0
    assert stack.query(
        "SELECT total_variants_in_file, variants_loaded, variants_skipped FROM genomics.variant_load_audit "
        "WHERE status = 'completed'"
    ) == [(RECORDS, RECORDS, 0)]
    assert stack.number("SELECT sum(variants) FROM genomics.variant_summary") == RECORDS


def test_a_killed_step_leaves_nothing_and_the_next_drain_completes(stack: Stack, large_vcf: bytes) -> None:
    stack.drop("large.vcf", large_vcf)
    drain = stack.start("drain")
    wait_until("the load is under way", lambda: loading(stack), every=0.01)
    drain.send_signal(signal.SIGKILL)
    drain.wait()
    nothing_visible(stack)

    again = stack.command("drain")

    assert again.returncode == 0, again.stdout + again.stderr
    everything_there(stack)
    assert stack.number("SELECT count(*) FROM genomics.variant_load_audit WHERE status = 'rolled_back'") == 1


def test_a_killed_run_worker_is_replaced(stack: Stack, large_vcf: bytes) -> None:
    stack.up()
    stack.drop("large.vcf", large_vcf)
    wait_until("the load is under way", lambda: loading(stack), every=0.01)
    # Run workers are the spawned children of the code server that have no command of their own.
    assert stack.kill("multiprocessing", "spawn_main") > 0
    nothing_visible(stack)
    wait_until(
        "the run is tried again and completes", lambda: stack.number(VISIBLE) == RECORDS, seconds=180, every=1
    )
    wait_until(
        "the summary follows",
        lambda: stack.number("SELECT count(*) FROM genomics.variant_summary"),
        seconds=60,
    )
    everything_there(stack)


def test_a_killed_daemon_costs_nothing(stack: Stack, large_vcf: bytes) -> None:
    stack.up()
    stack.drop("large.vcf", large_vcf)
    wait_until("the load is under way", lambda: loading(stack), every=0.01)
    assert stack.kill("dagster", "daemon", "run") > 0
    assert stack.up_process is not None
    assert stack.up_process.wait(60) != 0, "`up` says that its daemon died"
    visible = stack.number(VISIBLE)
    assert visible in (0, RECORDS), "all or nothing"

    stack.up()

    wait_until(
        "a restart completes",
        lambda: stack.number("SELECT count(*) FROM genomics.variant_summary"),
        seconds=180,
    )
    everything_there(stack)


def test_a_killed_postgres_comes_back_and_the_load_completes(stack: Stack, large_vcf: bytes) -> None:
    stack.up()
    stack.drop("large.vcf", large_vcf)
    wait_until("the load is under way", lambda: loading(stack), every=0.01)
    assert stack.kill("postgres", "-D") > 0

    def visible() -> int:
        try:
            return stack.number(VISIBLE)
        except Exception:  # noqa: BLE001 - the server is coming back
            return -1

    first = wait_until("the server is back", lambda: visible() + 1, seconds=60) - 1
    assert first in (0, RECORDS), "all or nothing"
    wait_until("the load completes", lambda: visible() == RECORDS, seconds=180, every=1)
    wait_until(
        "the summary follows",
        lambda: stack.number("SELECT count(*) FROM genomics.variant_summary"),
        seconds=60,
    )
    everything_there(stack)
