"""`doctor` names what is wrong with any store and what to do about it, and shows no secret."""

from __future__ import annotations

import json
import shutil
import socket
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from dead_workers import abandon
from stores import Stores, vcf

from genomics_assets.commands.doctor import doctor
from resources.environment import Environment
from resources.jobs import JobOrigin
from resources.jobs.comsa import ComsaRequest
from resources.object_store import ObjectStoreResource

SECRET = "hunter2swordfish"


@pytest.fixture(scope="module", autouse=True)
def filled(stores: Stores) -> None:
    stores.drop("vcf/family.vcf", vcf(20, samples=("a", "b")))
    assert stores.drain()[0] == 0
    stores.resources["zygotrix"].ensure_layout()


@pytest.fixture
def environment(stores: Stores, home: Path) -> Environment:
    return replace(
        Environment.from_environ(), inbox=str(stores.inbox), postgres_url=stores.url, mongo_url=stores.mongo_url,
        object_store_url=f"file://{stores.objects}",
    )  # fmt: skip


class Visit:
    """One call of the doctor."""

    def __init__(self, environment: Environment, *, deep: bool = True) -> None:
        told: list[str] = []
        self.status = doctor(environment, deep=deep, as_json=True, out=lambda line: told.append(str(line)))
        self.said = "\n".join(told)
        self.findings = [json.loads(line) for line in told]

    def wrong(self) -> dict[str, str]:
        """What was found, by check, where all is not well."""
        return {f["check"]: f["what"] for f in self.findings if f["state"] != "ok" and f["check"] != "disk"}

    def remedy(self, check: str) -> str:
        return next(f["remedy"] for f in self.findings if f["check"] == check and f["state"] != "ok")


def load_id(stores: Stores) -> str:
    return str(stores.query("SELECT load_batch_id FROM genomics.current_loads")[0][0])


def test_all_is_well(environment: Environment) -> None:
    visit = Visit(environment)

    # No daemon and no Dagster tables are here; nothing else is missing.
    assert set(visit.wrong()) <= {"dagster"}
    assert visit.status == 0
    assert {"postgres", "schema", "mongo", "mongo layout", "object store", "inbox", "contents"} <= {
        f["check"] for f in visit.findings
    }


def test_the_table_is_for_people(environment: Environment) -> None:
    told: list[str] = []
    assert doctor(environment, out=lambda line: told.append(str(line))) == 0
    assert any(line.startswith("ok") and "PostgreSQL" in line for line in told)
    assert told[-1].startswith("0 problems")


def test_a_deleted_row_is_named(stores: Stores, environment: Environment) -> None:
    with psycopg.connect(stores.url) as connection:
        connection.execute(
            "CREATE TABLE public.kept AS SELECT * FROM genomics.genotypes WHERE pos = 1000 AND chrom = 'chr1'"
        )
        connection.execute("DELETE FROM genomics.genotypes WHERE pos = 1000 AND chrom = 'chr1'")
    visit = Visit(environment)
    with psycopg.connect(stores.url) as connection:
        connection.execute("INSERT INTO genomics.genotypes SELECT * FROM public.kept")
        connection.execute("DROP TABLE public.kept")

    assert load_id(stores) in visit.wrong()["genotypes differ"]
    assert "materialize" in visit.remedy("genotypes differ")
    assert visit.status == 1


def test_a_deleted_object_and_an_orphan_are_named(stores: Stores, environment: Environment) -> None:
    objects: ObjectStoreResource = stores.resources["objects"]
    [part, *_] = objects.list("lake")
    kept = objects.read_bytes(part)
    objects.delete(part)
    missing = Visit(environment)
    objects.put_bytes(part, kept)
    objects.put_bytes("projects/7/experiments/7/matrix.bin", b"left")
    orphan = Visit(environment)
    objects.delete("projects/7")

    assert load_id(stores) in missing.wrong()["lake differs"]
    assert missing.status == 1
    assert "projects/7/experiments/7/matrix.bin" in orphan.wrong()["dose response object without row"]
    assert "storage_janitor" in orphan.remedy("dose response object without row")
    assert orphan.status == 0, "left-overs are a warning"


def test_a_stuck_job_is_named(stores: Stores, environment: Environment) -> None:
    jobs = stores.resources["comsa_jobs"]
    job = jobs.begin(ComsaRequest("openva_only"), JobOrigin("key", "batch", str(uuid.uuid4())))
    assert "job without worker" not in Visit(environment).wrong(), "its worker lives"
    abandon(job, stores.url)
    visit = Visit(environment)
    jobs.reap()

    assert str(job.id) in visit.wrong()["job without worker"]


def test_a_dropped_column_is_named(stores: Stores, environment: Environment) -> None:
    with psycopg.connect(stores.url) as connection:
        connection.execute("ALTER TABLE comsa.job_logs RENAME COLUMN level TO levl")
    visit = Visit(environment)
    with psycopg.connect(stores.url) as connection:
        connection.execute("ALTER TABLE comsa.job_logs RENAME COLUMN levl TO level")

    assert visit.wrong()["schema drift"] == "column comsa.job_logs.level is missing"
    assert visit.status == 1


@pytest.mark.parametrize(
    ("revision", "remedy"), [("0003", "python -m genomics_assets env"), ("9999", "update the project")]
)
def test_another_revision_is_named_with_the_way_out(
    stores: Stores, environment: Environment, revision: str, remedy: str
) -> None:
    [(head,)] = stores.query("SELECT version_num FROM genomics.schema_version")
    stores.execute("UPDATE genomics.schema_version SET version_num = %s", revision)
    visit = Visit(environment)
    stores.execute("UPDATE genomics.schema_version SET version_num = %s", head)

    assert f"revision {revision}" in visit.wrong()["schema"]
    assert remedy in visit.remedy("schema")


def test_an_empty_database_is_told_how_to_begin(environment: Environment, postgres_server: str) -> None:
    visit = Visit(replace(environment, postgres_url=postgres_server.rpartition("/")[0] + "/template1"))

    assert "no schema" in visit.wrong()["schema"]
    assert visit.status == 1


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port that nobody listens on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_stores_that_are_away_are_named_without_their_secrets(
    environment: Environment, nobody: int, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    visit = Visit(
        replace(
            environment,
            postgres_url=f"postgresql://ann:{SECRET}@127.0.0.1:{nobody}/genomics",
            mongo_url=f"mongodb://ann:{SECRET}@127.0.0.1:{nobody}/zygotrix",
            object_store_url=f"file://{tmp_path}/file/objects",
            inbox=str(tmp_path / "file"),
        )
    )

    assert {"postgres", "mongo", "object store"} <= set(visit.wrong())
    assert all(visit.remedy(check) for check in ("postgres", "mongo", "object store"))
    assert visit.status == 1
    assert SECRET not in visit.said


def test_a_full_disk_is_a_problem(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    usage = shutil.disk_usage("/")
    for free, state in ((1 << 20, "problem"), (1 << 30, "warning"), (1 << 40, "ok")):
        monkeypatch.setattr(psutil, "disk_usage", lambda _, free=free: usage._replace(free=free))
        [disk] = {f["state"] for f in Visit(environment, deep=False).findings if f["check"] == "disk"}
        assert disk == state


def test_a_clock_that_is_off_is_named(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    import resources.diagnosis as diagnosis

    real = diagnosis.time.time
    monkeypatch.setattr(diagnosis.time, "time", lambda: real() - 60)
    assert "60.0 s ahead of" in Visit(environment, deep=False).wrong()["postgres clock"]
