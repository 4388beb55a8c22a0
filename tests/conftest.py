"""Real servers for the tests: one embedded stack for the session, one fresh database for each test module.

`GENOMICS_TEST_POSTGRES_URL` points the tests at a PostgreSQL of one's own (a role that may create databases);
`GENOMICS_TEST_MONGO_URL` runs the tests of the document store on a MongoDB as well; `GENOMICS_TEST_S3_ENDPOINT_URL`
with `AWS_*` runs the tests of S3 on a server of one's own, in the bucket `genomics-assets-test`.
"""

from __future__ import annotations

import logging
import os
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from xdist.scheduler import LoadScopeScheduling

STACKS = sorted(path.name for path in (Path(__file__).parent / "e2e").glob("test_*.py"))
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with whole stacks, which wait much and compute little, and end with files of few tests."""
    sizes = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.path.parent.name != "e2e", -sizes[item.path]))


class Together(LoadScopeScheduling):
    """Keeps the tests of a file in one process; whole stacks in two, for more at once leave no core to any."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        # It would sort by number of tests alone, and keep the long ones for the end.
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return f"stack {STACKS.index(Path(file).name) % 2}" if Path(file).parent.name == "e2e" else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """How `--numprocesses` spreads the tests."""
    return Together(config, log)


@pytest.fixture(scope="session", autouse=True)
def scripts_of_migrations_are_read_once() -> Iterator[None]:
    """Dagster reads its own migrations anew for each instance that it makes, and tests make one at each look."""
    read = ScriptDirectory.from_config
    kept: dict[str | None, ScriptDirectory] = {}

    def read_once(config: Config) -> ScriptDirectory:
        place = config.get_main_option("script_location")
        if place not in kept:
            kept[place] = read(config)
        return kept[place]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", read_once)
        yield


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A GENOMICS_HOME of the test run's own, so that it never meets a running checkout."""
    folder = tmp_path_factory.mktemp("genomics")
    outside = {
        name: os.environ.pop(name)
        for name in list(os.environ)
        if re.match(r"GENOMICS_(?!TEST_|NATIVE)", name)
    }
    os.environ["GENOMICS_HOME"] = str(folder)
    yield folder
    from resources.embedded import stop_servers

    stop_servers(folder)
    os.environ.pop("GENOMICS_HOME")
    os.environ.update(outside)


@pytest.fixture(scope="session")
def postgres_server(home: Path) -> str:
    """URL of a running PostgreSQL."""
    if url := os.environ.get("GENOMICS_TEST_POSTGRES_URL"):
        return url
    from resources.embedded import ensure_postgres
    from resources.environment import Environment

    return ensure_postgres(replace(Environment.from_environ(), postgres_url=None))


@pytest.fixture(scope="session")
def mongo_url(home: Path) -> str:
    """URL of a running server that speaks MongoDB's protocol."""
    from resources.embedded import ensure_mongo
    from resources.environment import Environment

    return ensure_mongo(replace(Environment.from_environ(), mongo_url=None))


@pytest.fixture(params=["embedded", "mongodb"])
def fresh_mongo_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of an empty database of the test's own, on the embedded server and on a MongoDB where one is given."""
    with fresh_document_store(request) as url:
        yield url


@pytest.fixture(scope="module", params=["embedded", "mongodb"])
def module_mongo_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The same, for all tests of a module."""
    with fresh_document_store(request) as url:
        yield url


@contextmanager
def fresh_document_store(request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of an empty database of the server that a fixture's parameter names; it is dropped at the end."""
    if request.param == "embedded":
        server = request.getfixturevalue("mongo_url")
    elif not (server := os.environ.get("GENOMICS_TEST_MONGO_URL", "")):
        pytest.skip("GENOMICS_TEST_MONGO_URL is not set: no MongoDB to test against")
    name = f"t{uuid.uuid4().hex[:12]}"
    yield urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
    from pymongo import MongoClient

    with MongoClient(server) as client:
        client.drop_database(name)


S3_BUCKET = "genomics-assets-test"


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Endpoint of a real S3 server with a bucket `S3_BUCKET`; its credentials are in the environment."""
    import boto3
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    own = os.environ.get("GENOMICS_TEST_S3_ENDPOINT_URL")
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
    with pytest.MonkeyPatch.context() as environment:
        server = None
        if own is None:
            for name, value in keys.items():
                environment.setenv(name, value)
            logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it would tell of each request
            server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
            server.start()
        endpoint = own or "http://{}:{}".format(*server.get_host_and_port())
        client = boto3.client("s3", endpoint_url=endpoint)
        if S3_BUCKET not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
            client.create_bucket(Bucket=S3_BUCKET)
        yield endpoint
        if server is not None:
            server.stop()


@pytest.fixture
def s3_prefix(s3_endpoint: str) -> str:
    """An `s3://` address below which nothing is yet."""
    return f"s3://{S3_BUCKET}/{uuid.uuid4().hex}"


@pytest.fixture(scope="module")
def empty_postgres_url(postgres_server: str) -> Iterator[str]:
    """URL of a fresh, empty database."""
    with fresh_database(postgres_server) as url:
        yield url


@pytest.fixture(scope="session")
def migrated(postgres_server: str) -> Iterator[str]:
    """Name of a migrated database to copy, which takes a tenth of the time of migrating."""
    from resources.migrations import migrate

    with fresh_database(postgres_server) as url:
        migrate(url)
        yield urlsplit(url).path[1:]


@pytest.fixture(scope="module")
def postgres_url(postgres_server: str, migrated: str) -> Iterator[str]:
    """URL of a fresh, migrated database."""
    with fresh_database(postgres_server, migrated) as url:
        yield url


@pytest.fixture
def own_postgres_url(postgres_server: str, migrated: str) -> Iterator[str]:
    """The same, for one test."""
    with fresh_database(postgres_server, migrated) as url:
        yield url


class fresh_database:  # noqa: N801 - read as a statement: with fresh_database(...)
    """Creates a database, as a copy of another where one is named, and drops it at the end, with whatever is connected."""

    def __init__(self, server: str, template: str = "template1") -> None:
        self.server = server
        self.template = template
        self.name = f"test_{uuid.uuid4().hex[:12]}"

    def __enter__(self) -> str:
        self._run(f'CREATE DATABASE "{self.name}" TEMPLATE "{self.template}"')
        return urlunsplit(urlsplit(self.server)._replace(path=f"/{self.name}"))

    def __exit__(self, *_: object) -> None:
        self._run(f'DROP DATABASE IF EXISTS "{self.name}" WITH (FORCE)')

    def _run(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(self.server, autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def make_database(postgres_server: str) -> Iterator[Callable[[], str]]:
    """Makes a fresh, empty database at each call and gives its URL; all of them go at the end."""
    with ExitStack() as made:
        yield lambda: made.enter_context(fresh_database(postgres_server))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """A folder of small real inputs beside the checkout."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the folder of real inputs is not beside this checkout")
    return SHARED_DATA
