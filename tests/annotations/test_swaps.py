"""Readers, long queries and dying workers beside new versions of a source."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psycopg
from annotation_harness import AnnotatedWarehouse, vcf

ROOT = Path(__file__).resolve().parents[2]
AF_FIELD = {"field": "AF", "alias": "af"}
ROWS = 300
MANY = 30_000


def version(number: int, rows: int = ROWS) -> str:
    """A version whose rows all tell which one it is; some keys come and go with it."""
    kept = [f"1 {pos} A C AF=0.{number:03}" for pos in range(1, rows - 20)]
    return vcf(
        *kept,
        *(f"1 {pos} A C AF=0.{number:03}" for pos in range(rows * (number + 1), rows * (number + 1) + 21)),
    )


def load(warehouse: AnnotatedWarehouse, source: str, content: str) -> None:
    """Drop a version and do what the asset and its IO manager do, without a run."""
    folder = warehouse.put(source, "a.vcf", content).parent
    load_folder(warehouse.resources["annotation_warehouse"], folder, source)


def load_folder(annotations: Any, folder: Path, source: str) -> None:
    from genomics_assets.annotations.source_files import read_folder
    from genomics_assets.annotations.source_load import Likeness, prepare_load

    found = prepare_load(
        read_folder(folder, source), file_path=str(folder), genome="human", fasta=None,
        likeness=Likeness(accept_any=True), unchanged=lambda: True,
    )  # fmt: skip
    annotations.load(found, "a run")


def test_a_reader_in_a_loop_never_sees_an_error_or_two_versions(
    warehouse: AnnotatedWarehouse, source: str
) -> None:
    warehouse.put_fields(source, AF_FIELD)
    load(warehouse, source, version(0))
    seen: list[tuple[int, int, float]] = []
    wrong: list[object] = []
    done = threading.Event()

    def read() -> None:
        with psycopg.connect(warehouse.url, autocommit=True) as connection:
            while not done.is_set():
                try:
                    rows = connection.execute(
                        f"SELECT count(*), count(DISTINCT af), max(af), "
                        f"(SELECT version_id FROM genomics.annotation_sources WHERE name = '{source}') "
                        f"FROM genomics.anno_{source}"
                    ).fetchall()
                    seen.append(rows[0][:3])
                    if rows[0][:2] != (ROWS, 1):
                        wrong.append(rows)
                except psycopg.Error as error:
                    wrong.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for number in range(1, 21):
            load(warehouse, source, version(number))
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert wrong == []
    assert len({round(af, 3) for *_, af in seen}) > 3, "the reader saw versions come"
    assert warehouse.query(f"SELECT count(*), max(af)::text FROM genomics.anno_{source}") == [(ROWS, "0.02")]


def test_a_long_query_keeps_its_version_and_holds_nobody_up(
    warehouse: AnnotatedWarehouse, source: str
) -> None:
    warehouse.put_fields(source, AF_FIELD)
    load(warehouse, source, version(1))
    with psycopg.connect(warehouse.url) as slow:
        slow.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        with slow.cursor(name="long") as cursor:
            cursor.itersize = 10
            cursor.execute(f"SELECT af FROM genomics.anno_{source}")  # type: ignore[arg-type]
            values = [cursor.fetchone()]
            load(warehouse, source, version(2))
            # A new reader is not queued behind anybody.
            with psycopg.connect(warehouse.url, options="-c statement_timeout=5000") as fresh:
                now = fresh.execute(f"SELECT DISTINCT af::text FROM genomics.anno_{source}").fetchall()  # type: ignore[arg-type]
            values += cursor.fetchall()
    assert now == [("0.002",)]
    assert len(values) == ROWS
    assert {round(af, 4) for (af,) in values if af} == {0.001}  # type: ignore[misc]


def test_a_change_of_columns_waits_for_a_long_query_without_holding_readers_up(
    warehouse: AnnotatedWarehouse, source: str
) -> None:
    warehouse.put_fields(source, AF_FIELD)
    load(warehouse, source, version(1))
    warehouse.put_fields(source, AF_FIELD, {"field": "FILTER", "alias": "passed"})
    with psycopg.connect(warehouse.url) as slow:
        slow.execute(f"SELECT count(*) FROM genomics.anno_{source}")  # type: ignore[arg-type]
        loading = threading.Thread(target=load, args=(warehouse, source, version(2)))
        loading.start()
        deadline = time.monotonic() + 1.5
        with psycopg.connect(warehouse.url, autocommit=True, options="-c statement_timeout=5000") as fresh:
            while time.monotonic() < deadline:
                assert fresh.execute(f"SELECT DISTINCT af::text FROM genomics.anno_{source}").fetchall() == [
                    ("0.001",)
                ]  # type: ignore[arg-type]
        assert loading.is_alive()
    loading.join(60)
    assert warehouse.query(f"SELECT DISTINCT af::text, passed FROM genomics.anno_{source}") == [
        ("0.002", "PASS")
    ]


def test_views_and_grants_of_others_outlive_a_new_version(warehouse: AnnotatedWarehouse, source: str) -> None:
    warehouse.put_fields(source, AF_FIELD)
    load(warehouse, source, version(1))
    with psycopg.connect(warehouse.url, autocommit=True) as connection:
        connection.execute(
            f"CREATE VIEW public.mine_{source} AS SELECT max(af)::text FROM genomics.anno_{source}"
        )  # type: ignore[arg-type]
        connection.execute(f"GRANT SELECT ON genomics.anno_{source} TO PUBLIC")  # type: ignore[arg-type]
    load(warehouse, source, version(2))
    assert warehouse.query(f"SELECT * FROM public.mine_{source}") == [("0.002",)]
    assert warehouse.query(
        "SELECT count(*) FROM information_schema.role_table_grants WHERE table_name = %s AND grantee = 'PUBLIC'",
        f"anno_{source}",
    ) == [(1,)]


KILLED = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[4:]
from resources.annotation_warehouse import AnnotationWarehouse
from resources.postgres import PostgresResource
import test_swaps
annotations = AnnotationWarehouse(postgres=PostgresResource(url=sys.argv[1]))
test_swaps.load_folder(annotations, Path(sys.argv[2]), sys.argv[3])
"""


def test_a_worker_killed_in_a_load_leaves_the_old_version_and_a_rerun_completes(
    warehouse: AnnotatedWarehouse, source: str
) -> None:
    warehouse.put_fields(source, AF_FIELD)
    load(warehouse, source, version(1, MANY))
    paths = [str(ROOT / "tests" / name) for name in ("", "annotations", "variants")]
    folder = warehouse.put(source, "a.vcf", version(2, MANY)).parent
    worker = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", KILLED, warehouse.url, str(folder), source, *paths],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    deadline = time.monotonic() + 120
    under_way = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE %s"
    while warehouse.query(under_way, "%annotation_build_%")[0][0] == 0:
        assert worker.poll() is None, "the worker ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    state = f"SELECT count(*), max(af)::text FROM genomics.anno_{source}"
    assert warehouse.query(state) == [(MANY, "0.001")]
    assert warehouse.query("SELECT count(*) FROM genomics.annotation_versions WHERE source = %s", source) == [
        (1,)
    ]

    load(warehouse, source, version(2, MANY))

    assert warehouse.query(state) == [(MANY, "0.002")]
    leftovers = warehouse.query("SELECT relname FROM pg_class WHERE starts_with(relname, 'annotation_build')")
    assert leftovers == []
