"""Faults on purpose, and what must hold after each: all or nothing is visible, nothing is lost, all stores agree."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
from corrupt import CORRUPTIONS
from stores import Stores, vcf

from genomics_assets import zygotrix
from resources import variant_io_managers
from resources.embedded import ensure_postgres, stop_servers
from resources.environment import Environment
from resources.migrations import migrate

RECORDS = 30_000


@pytest.fixture
def during_copy(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Does something, once, when the first rows of a load are on their way to the server and more will come."""

    def arrange(fault: Callable[[], None]) -> None:
        real = variant_io_managers._told
        waiting = [fault]

        def told(*arguments: Any) -> Iterator[Any]:
            for number, batch in enumerate(real(*arguments)):
                if number == 1 and waiting:
                    waiting.pop()()
                yield batch

        monkeypatch.setattr(variant_io_managers, "_told", told)

    return arrange


@pytest.fixture
def own_postgres(
    tmp_path: Path, mongo_url: str, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stores]:
    """Stores with a PostgreSQL that a test may stop."""
    monkeypatch.setenv("GENOMICS_HOME", str(tmp_path / "home"))
    migrate(ensure_postgres(Environment.from_environ()))
    stores = Stores(tmp_path, None, mongo_url.rpartition("/")[0] + "/of_faults", instance)
    yield stores
    stores.close()
    stop_servers(tmp_path / "home")


def test_postgres_restarted_during_copy(
    own_postgres: Stores, during_copy: Callable[..., None], key: str
) -> None:
    stores = own_postgres
    seen: list[int] = []

    def restart() -> None:
        seen.append(stores.rows(key))
        [pid_file] = (Path(os.environ["GENOMICS_HOME"]) / "postgres").rglob("postmaster.pid")
        server = psutil.Process(int(pid_file.read_text().split()[0]))
        server.send_signal(signal.SIGINT)  # a fast shutdown, as of an upgrade; its supervisor starts it again
        server.wait(60)

    during_copy(restart)
    stores.drop(f"vcf/{key}.vcf", vcf(RECORDS, samples=("a",)))

    status, told = stores.drain()

    assert seen == [0], "nothing was visible when the server went"
    # The file is loaded. The drain lost its hold on the ledger, says so, and is to be run again.
    assert status == 1
    assert any(line.startswith("ok") for line in told), told
    assert "what was not confirmed is asked for again" in told[-1]
    assert stores.drain()[0] == 0
    assert stores.rows(key) == RECORDS
    audit = stores.query(
        "SELECT status, variants_loaded FROM genomics.variant_load_audit WHERE partition_key = %s ORDER BY audit_id",
        key,
    )
    assert audit == [("rolled_back", 0), ("completed", RECORDS)]
    assert stores.violations() == []


class MongoProcess:
    """A server that a test may stop and start."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}/zygotrix"

    def start(self) -> None:
        (self.folder / "server.pid").unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nx_27017.nx_27017", "--data-dir", str(self.folder), "--host", "127.0.0.1",
             "--port", str(self.port), "--pid-file", str(self.folder / "server.pid"), "--log-file", os.devnull],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def mongo_process(tmp_path: Path) -> Iterator[MongoProcess]:
    server = MongoProcess(tmp_path / "mongo")
    yield server
    server.kill()


def user(number: int) -> dict[str, Any]:
    at = {"$date": "2024-03-01T08:00:00Z"}
    return {
        "_id": {"$oid": f"{number:024x}"}, "email": f"user{number}@example.org", "full_name": f"User {number}",
        "password_hash": "$2b$12$abcdefghijklmnopqrstuv", "role": "user", "created_at": at, "updated_at": at,
    }  # fmt: skip


@pytest.mark.parametrize("seconds", [3, pytest.param(20, marks=pytest.mark.soak)])
def test_mongo_gone_in_the_middle_of_a_write(
    seconds: int,
    own_postgres_url: str,
    mongo_process: MongoProcess,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    key: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from resources import mongo_io_manager

    stores = Stores(tmp_path, own_postgres_url, mongo_process.url, instance, domains=[zygotrix])
    real, gone = mongo_io_manager._Spool.batches, []

    def batches(spool: Any) -> Iterator[Any]:
        for number, batch in enumerate(real(spool)):
            if number == 1 and not gone:
                mongo_process.kill()
                gone.append(threading.Timer(seconds, mongo_process.start))
                gone[0].start()
            yield batch

    monkeypatch.setattr(mongo_io_manager._Spool, "batches", batches)
    lines = [json.dumps(user(number)) for number in range(1, 2501)]
    stores.drop(f"zygotrix/users/{key}.jsonl", ("\n".join(lines) + "\n").encode())

    status, told = stores.drain()

    assert gone, "the server was stopped"
    gone[0].join()
    assert status == 0, told
    assert stores.resources["zygotrix"].collection("users").count_documents({}) == len(lines)
    assert stores.violations() == []
    stores.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("no small disk can be mounted here: only root may, and not in every container")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_in_the_object_store(
    small_disk: Path,
    own_postgres_url: str,
    module_mongo_url: str,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    key: str,
) -> None:
    stores = Stores(
        tmp_path,
        own_postgres_url,
        module_mongo_url,
        instance,
        object_store_url=f"file://{small_disk}/objects",
    )
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(760 * 1024))
    stores.drop(f"vcf/{key}.vcf", vcf(RECORDS))

    status, told = stores.drain()

    assert status == 1
    [failed] = [line for line in told if line.startswith("failed")]
    assert "No space left on device" in failed
    assert "its free space" in failed
    left = [file for file in (small_disk / "objects").rglob("*") if file.is_file()]
    assert left == [], "neither an unfinished object nor part of the load"
    assert stores.violations(settled=False) == []

    ballast.unlink()

    assert stores.load(key).success
    assert stores.violations() == []
    stores.close()


def test_a_file_replaced_while_it_is_read(stores: Stores, during_copy: Callable[..., None], key: str) -> None:
    new = vcf(500, seed=2, samples=("a",))
    during_copy(lambda: stores.drop(f"vcf/{key}.vcf", new) and None)
    stores.drop(f"vcf/{key}.vcf", vcf(RECORDS, seed=1, samples=("a",)))

    status, told = stores.drain()

    assert status == 1, "the first version was not loaded"
    assert any(line.startswith("failed") and "taken again when it holds still" in line for line in told), told
    assert any(line.startswith("ok") for line in told), "the new one was"
    assert stores.rows(key) == 500
    assert stores.violations() == []


@pytest.mark.parametrize(
    ("bad", "good"),
    [(len(CORRUPTIONS), 3), pytest.param(1000, 100, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])],
)
def test_corrupt_files_among_good_ones(bad: int, good: int, stores: Stores, key: str) -> None:
    dice = random.Random(7)
    names = list(CORRUPTIONS)
    for number in range(bad):
        ending, corrupt = CORRUPTIONS[names[number % len(names)]]
        stores.drop(f"vcf/{key}/bad{number}{ending}", corrupt(vcf(20, seed=number), dice))
    for number in range(good):
        stores.drop(f"vcf/{key}/good{number}.vcf", vcf(20, seed=10_000 + number, samples=("a", "b")))
    began = time.monotonic()

    status, told = stores.drain()

    words = {line.partition(" ")[2].strip().partition(":")[0]: line for line in told}
    failed = {name for name, line in words.items() if line.startswith("failed")}
    assert status == 1
    assert failed == {f"vcf/{key}/bad{n}{CORRUPTIONS[names[n % len(names)]][0]}" for n in range(bad)}
    assert all("Remedy: " in words[name] for name in failed)
    assert [stores.rows(f"{key}/good{number}") for number in range(good)] == [20] * good
    assert not any(stores.rows(f"{key}/bad{number}") for number in range(bad))
    assert stores.violations() == []
    print(f"{bad:,} corrupt and {good:,} good files in {time.monotonic() - began:.0f} s")
