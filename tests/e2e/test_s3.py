"""Inbox and objects in a bucket, and nothing on the local disk: crashes, a busy server, backup, and the whole demo."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pyarrow.parquet as pq
import pytest
from pymongo import MongoClient
from s3_proxy import S3Proxy
from stack import ROOT, Stack

from resources.object_store import ObjectStoreResource

EXAMPLES = ROOT / "examples" / "inbox"

pytestmark = pytest.mark.timeout(1500)


class Bucketful(Stack):
    """A stack whose inbox and objects lie below a prefix of a bucket."""

    def __init__(self, home: Path, prefix: str, endpoint: str, reached_by: str | None = None) -> None:
        keys = boto3.Session().get_credentials().get_frozen_credentials()
        variables = {
            "GENOMICS_INBOX": f"{prefix}/inbox",
            "GENOMICS_OBJECT_STORE_URL": f"{prefix}/objects",
            "GENOMICS_S3_ENDPOINT_URL": reached_by or endpoint,
            "AWS_ACCESS_KEY_ID": keys.access_key,
            "AWS_SECRET_ACCESS_KEY": keys.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        super().__init__(home, variables)
        self.prefix = prefix
        self.objects = ObjectStoreResource(url=f"{prefix}/objects", s3_endpoint_url=endpoint)
        self.inbox = ObjectStoreResource(url=f"{prefix}/inbox", s3_endpoint_url=endpoint)

    def drop_example(self, folder: str) -> None:
        for file in (EXAMPLES / folder).rglob("*"):
            if file.is_file():
                self.inbox.put_file(file.relative_to(EXAMPLES).as_posix(), file)

    def documents(self, collection: str) -> list[dict[str, Any]]:
        with MongoClient(self.settings["GENOMICS_MONGO_URL"]) as client:
            return list(client.get_default_database()[collection].find({}))

    def tables(self) -> dict[str, tuple[int, str]]:
        """Rows of each table, and a hash that does not look at their order."""
        found = {}
        with psycopg.connect(self.settings["GENOMICS_POSTGRES_URL"]) as connection:
            names = connection.execute(
                "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('genomics', 'bmd', 'comsa', 'dagster')"
            ).fetchall()
            for schema, table in names:
                found[f"{schema}.{table}"] = connection.execute(
                    "SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)), 0)::text "  # type: ignore[arg-type]
                    f'FROM ONLY "{schema}"."{table}" AS t'
                ).fetchone()
        return found

    def is_local(self) -> list[str]:
        """What a local object store, inbox or log store would hold."""
        places = [self.home / "objects", self.home / "inbox", self.home / "dagster" / "storage"]
        return [str(file) for place in places for file in place.rglob("*") if file.is_file()]


@pytest.fixture(scope="module")
def proxy(s3_endpoint: str) -> Iterator[S3Proxy]:
    with S3Proxy(s3_endpoint) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def stack(s3_endpoint: str, proxy: S3Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucketful]:
    """One home for the tests of this page, which run in its order."""
    folder = tmp_path_factory.mktemp("bucket")
    stack = Bucketful(
        folder / "home", f"s3://genomics-assets-test/{folder.name}-{os.getpid()}", s3_endpoint, proxy.url
    )
    yield stack
    stack.down()


def kill_when_put(stack: Bucketful, proxy: S3Proxy, name: str) -> bytes:
    """Drain, and kill it between the object of this name and whatever comes after; gives the object's bytes."""
    killed: list[str] = []

    def kill(method: str, path: str) -> None:
        key = path.partition("?")[0]
        if method in ("PUT", "POST") and key.endswith(name) and not killed:
            killed.append(key)
            os.killpg(drain.pid, signal.SIGKILL)

    proxy.after = kill
    drain = stack.start("drain")
    assert drain.wait(800) == -signal.SIGKILL, (stack.home / "drain.test.log").read_text()
    proxy.after = lambda method, path: None
    [key] = [key for key in stack.objects.list() if killed[0].endswith(key)]
    return stack.objects.read_bytes(key)


def test_a_crash_between_object_and_row_leaves_no_row_and_a_rerun_the_same_bytes(
    stack: Bucketful, proxy: S3Proxy
) -> None:
    stack.inbox.put_file("vcf/panel.vcf", EXAMPLES / "vcf" / "panel.vcf")
    stack.drop_example("zygotrix")
    # A short experiment: the head of the bundled one, and two models that are quick to fit.
    matrix = (EXAMPLES / "bmd" / "synthetic" / "hepatocytes.txt").read_bytes().splitlines(keepends=True)
    stack.inbox.put_bytes("bmd/pilot/short.yaml", b"log_transformation: BASE2\nmodels: [linear, power]\n")
    stack.inbox.put_bytes("bmd/pilot/short.txt", b"".join(matrix[:20]))

    written = kill_when_put(stack, proxy, "matrix.bin")
    assert stack.query("SELECT * FROM bmd.dose_response_experiments") == []

    drain_while_busy(stack, proxy)
    named = [
        key for (key,) in stack.query("SELECT expression_matrix_s3_key FROM bmd.dose_response_experiments")
    ]
    assert [stack.objects.read_bytes(key) for key in named] == [written]
    rows = stack.number("SELECT count(*) FROM genomics.variants")
    parts = [stack.objects.read_bytes(key) for key in stack.objects.list("lake/variants")]
    assert sum(pq.read_metadata(io.BytesIO(part)).num_rows for part in parts) == rows > 0
    assert stack.objects.list("dagster/storage"), "what the runs printed"
    assert stack.is_local() == []


def drain_while_busy(stack: Bucketful, proxy: S3Proxy) -> None:
    """Drain while a third of all requests is answered with 503."""
    proxy.busy = 1 / 3
    served, failed = proxy.served, proxy.failed
    done = stack.command("drain", timeout=900)
    proxy.busy = 0.0
    assert done.returncode == 0, done.stdout + done.stderr
    assert proxy.failed - failed > 0.2 * (proxy.served - served), "the server was busy all along"


def test_a_backup_brings_everything_into_another_home(
    stack: Bucketful, s3_endpoint: str, tmp_path: Path
) -> None:
    backup = tmp_path / "backup"
    taken = stack.command("backup", str(backup))
    assert taken.returncode == 0, taken.stdout + taken.stderr
    assert "runs were at work" not in taken.stdout

    other = Bucketful(tmp_path / "other home", f"{stack.prefix}/restored", s3_endpoint)
    other.environment["GENOMICS_INBOX"] = stack.environment["GENOMICS_INBOX"]
    try:
        restored = other.command("restore", str(backup))
        assert restored.returncode == 0, restored.stdout + restored.stderr
        assert "every count and hash is as it was" in restored.stdout
        assert restored.stdout.splitlines()[-1] == "invariants all hold"

        assert other.tables() == stack.tables()
        for collection in ("traits", "users"):
            assert other.documents(collection) == stack.documents(collection)
        assert stack.documents("traits")
        assert other.objects.sizes() == stack.objects.sizes()
        for key in stack.objects.list("projects"):
            assert other.objects.read_bytes(key) == stack.objects.read_bytes(key)

        again = other.command("restore", str(backup))
        assert again.returncode == 1
        assert "holds tables already" in again.stderr
        drained = other.command("drain")
        assert drained.returncode == 0, drained.stdout + drained.stderr
        assert {line.split()[0] for line in drained.stdout.splitlines()} <= {"known", "ignored"}
    finally:
        other.down()


def same_table(one: bytes, other: bytes) -> bool:
    return bool(pq.read_table(io.BytesIO(one)).equals(pq.read_table(io.BytesIO(other))))


@pytest.mark.soak
def test_a_crash_between_associations_and_their_document_leaves_no_document(
    s3_endpoint: str, s3_prefix: str, tmp_path: Path
) -> None:
    with S3Proxy(s3_endpoint) as proxy:
        stack = Bucketful(tmp_path / "home", s3_prefix, s3_endpoint, proxy.url)
        try:
            stack.drop_example("gwas")
            associations = kill_when_put(stack, proxy, "associations.parquet")
            assert [job for job in stack.documents("gwas_jobs") if job["status"] == "completed"] == []
            assert stack.documents("gwas_results") == []

            drain_while_busy(stack, proxy)
            # The killed job keeps what it wrote, below its own id; the results are those of the jobs after it.
            results = stack.documents("gwas_results")
            completed = [job for job in stack.documents("gwas_jobs") if job["status"] == "completed"]
            assert len(results) == len(completed) > 0
            again = [stack.objects.read_bytes(result["associations_path"]) for result in results]
            assert [same_table(one, associations) for one in again].count(True) == 1
        finally:
            stack.down()


@pytest.mark.soak
def test_the_whole_demo_works_in_a_bucket(s3_endpoint: str, s3_prefix: str, tmp_path: Path) -> None:
    stack = Bucketful(tmp_path / "home", s3_prefix, s3_endpoint)
    try:
        demo = stack.command("demo", timeout=1200)
        assert demo.returncode == 0, demo.stdout + demo.stderr
        assert "failed" not in demo.stdout
        assert "error" not in demo.stdout.split("checks (")[1]
        counts = {
            "genomics.variants": 1, "genomics.anno_clinvar": 1, "genomics.anno_gnomad": 1, "bmd.bmd_results": 1,
            "bmd.probe_responses": 1, "comsa.jobs": 2,
        }  # fmt: skip
        for table, least in counts.items():
            assert stack.number(f"SELECT count(*) FROM {table}") >= least, table
        for collection in ("users", "traits", "conversations", "university_courses", "gwas_results"):
            assert stack.documents(collection), collection
        for prefix in (
            "lake/variants",
            "projects",
            "gwas-datasets",
            "gwas-results",
            "comsa/jobs",
            "dagster/storage",
        ):
            assert stack.objects.list(prefix), prefix
        dropped = {file.relative_to(EXAMPLES).as_posix() for file in EXAMPLES.rglob("*") if file.is_file()}
        assert dropped <= set(stack.inbox.list())
        assert stack.is_local() == []
    finally:
        stack.down()
