"""The three ledgers against real servers."""

import os
import uuid
from collections.abc import Iterator
from multiprocessing import forkserver
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import dagster as dg
import psycopg
import pytest
from ledger_bench import LEDGERS
from ledger_harness import FORKS, HERE, Bench

from resources.postgres import PostgresResource


@pytest.fixture(scope="module")
def places(postgres_url: str, mongo_url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Addresses of a fresh database, a fresh Mongo database and an object store."""
    mongo = f"{mongo_url.rsplit('/', 1)[0]}/jobs_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgres_url) as connection:
        if connection.execute("SELECT to_regclass('bmd.jobs')").fetchone() == (None,):
            connection.execute((HERE / "bmd_jobs.sql").read_text())  # type: ignore[arg-type]
        connection.execute(
            "INSERT INTO bmd.users (id, username, email, password_hash, role) VALUES (1, 'a', 'b', 'c', 'd')"
        )
    return {
        "postgres": postgres_url,
        "mongo": mongo,
        "objects": f"file://{tmp_path_factory.mktemp('objects')}",
    }


@pytest.fixture(scope="module")
def module_instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture(scope="session", autouse=True)
def forks() -> None:
    """The process that workers are forked from; it finds modules by PYTHONPATH alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, [HERE.parents[1], HERE])))
        FORKS.set_forkserver_preload(["ledger_bench"])
        forkserver.ensure_running()


@pytest.fixture(scope="module")
def mongodb(places: dict[str, str]) -> Iterator[dict[str, str]]:
    """The same addresses with a real MongoDB, where one is given."""
    server = os.environ.get("GENOMICS_TEST_MONGO_URL")
    if not server:
        pytest.skip("GENOMICS_TEST_MONGO_URL is not set: no MongoDB to test against")
    name = places["mongo"].rpartition("/")[2]
    yield {**places, "mongo": urlunsplit(urlsplit(server)._replace(path=f"/{name}"))}
    from pymongo import MongoClient

    with MongoClient(server) as client:
        client.drop_database(name)


@pytest.fixture(params=[*LEDGERS, "gwas on MongoDB"])
def bench(request: Any, places: dict[str, str], module_instance: dg.DagsterInstance) -> Bench:
    """Each ledger in turn, that of the document store on both kinds of server."""
    if request.param in LEDGERS:
        return Bench(request.param, places, module_instance)
    return Bench("gwas", request.getfixturevalue("mongodb"), module_instance)


@pytest.fixture
def comsa(places: dict[str, str], module_instance: dg.DagsterInstance) -> Bench:
    return Bench("comsa", places, module_instance)


@pytest.fixture
def key() -> str:
    """A run key that no other test uses."""
    return f"key {uuid.uuid4().hex[:10]}"


@pytest.fixture(scope="module", autouse=True)
def close_pools(places: dict[str, str]) -> Iterator[None]:
    yield
    PostgresResource(url=places["postgres"]).close()
