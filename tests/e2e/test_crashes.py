"""`kill -9` of everything that takes part in a load, while it loads: nothing is visible, and a re-run completes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from stack import Stack, wait_until

RECORDS = 100_000

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One home for all: the tests run in the order of this page, and each kills something else."""
    stack = Stack(tmp_path_factory.mktemp("crashes") / "home")
    assert stack.settings["GENOMICS_POSTGRES_URL"]
    yield stack
    stack.down()
    for process in stack.processes():
        process.kill()


def large_vcf(seed: int) -> bytes:
    """A file that takes long enough to be hit in the middle; another content for each seed."""
    header = "##fileformat=VCFv4.2\n##contig=<ID=chr1,length=248956422>\n"
    header += '##INFO=<ID=DP,Number=1,Type=Integer,Description="Depth">\n'
    header += "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    rows = (f"chr1\t{1000 + 40 * i}\trs{i}\tA\tG\t50\tPASS\tDP={seed}\n" for i in range(RECORDS))
    return (header + "".join(rows)).encode()


class Watched:
    """What a reader sees of one file."""

    def __init__(self, stack: Stack, key: str, seed: int) -> None:
        self.stack = stack
        self.key = key
        self.seed = seed

    def drop(self) -> None:
        self.stack.drop(f"{self.key}.vcf", large_vcf(self.seed))

    def visible(self) -> int:
        """Rows of this file that a reader sees; -1 while there is no server."""
        try:
            return self.stack.number(
                "SELECT count(*) FROM genomics.variants WHERE load_batch_id IN "
                "(SELECT load_batch_id FROM genomics.variant_load_audit WHERE partition_key = %s)",
                self.key,
            )
        except psycopg.OperationalError:
            return -1

    def wait_until_loading(self) -> None:
        """Until the server has rows of the file that nobody sees."""
        with psycopg.connect(self.stack.settings["GENOMICS_POSTGRES_URL"], autocommit=True) as connection:

            def copied() -> bool:
                rows = connection.execute(
                    "SELECT coalesce(max(tuples_processed), 0) FROM pg_stat_progress_copy "
                    "WHERE relid::regclass::text LIKE '%variants%'"
                ).fetchall()
                return bool(rows[0][0] > 2_000)

            wait_until("the load is under way", copied, seconds=400, every=0.005)

    def audit(self) -> list[tuple[Any, ...]]:
        return self.stack.query(
            "SELECT status, total_variants_in_file, variants_loaded, variants_skipped FROM genomics.variant_load_audit "
            "WHERE partition_key = %s AND status <> 'rolled_back' ORDER BY audit_id",
            self.key,
        )

    def is_complete(self) -> bool:
        """The last asset of the run has seen the whole load."""
        summed = self.stack.query(
            "SELECT sum(variants)::int FROM genomics.variant_summary JOIN genomics.current_loads USING (load_batch_id) "
            "WHERE partition_key = %s",
            self.key,
        )
        return summed == [(RECORDS,)]

    def check_complete(self) -> None:
        wait_until(f"{self.key} is complete", self.is_complete, seconds=400, every=0.5)
        assert self.visible() == RECORDS
        assert self.audit() == [("completed", RECORDS, RECORDS, 0)]


def test_a_killed_step_leaves_nothing_and_the_next_drain_completes(stack: Stack) -> None:
    file = Watched(stack, "step", 1)
    file.drop()
    drain = stack.start("drain")
    file.wait_until_loading()
    drain.send_signal(signal.SIGKILL)
    drain.wait()
    assert file.visible() == 0
    assert [status for status, *_ in file.audit()] == ["started"]

    again = stack.command("drain")

    assert again.returncode == 0, again.stdout + again.stderr
    file.check_complete()


def test_a_killed_run_worker_is_replaced(stack: Stack) -> None:
    stack.up()
    file = Watched(stack, "worker", 2)
    file.drop()
    file.wait_until_loading()
    assert stack.kill_workers() > 0
    assert file.visible() == 0
    file.check_complete()


def test_a_killed_postgres_comes_back_and_the_load_completes(stack: Stack) -> None:
    stack.up()
    file = Watched(stack, "postgres", 3)
    file.drop()
    file.wait_until_loading()
    stack.kill_postgres()
    seen = wait_until("the server is back", lambda: file.visible() + 1, seconds=60) - 1
    assert seen in (0, RECORDS), "all or nothing"
    file.check_complete()


def test_a_killed_daemon_costs_nothing(stack: Stack) -> None:
    stack.up()
    file = Watched(stack, "daemon", 4)
    file.drop()
    file.wait_until_loading()
    assert stack.kill("dagster._daemon", "run") > 0
    assert stack.up_process is not None
    assert stack.up_process.wait(60) != 0, "`up` says that its daemon died"
    assert file.visible() in (0, RECORDS), "all or nothing"

    stack.up()

    file.check_complete()
