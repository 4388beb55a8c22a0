"""A document store for each test: on the embedded server, and on a real MongoDB where one is given."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from application import Application

from resources.mongo import MongoResource
from resources.object_store import ObjectStoreResource
from resources.zygotrix_store import ZygotrixStore

REAL = "GENOMICS_TEST_MONGO_URL"


@pytest.fixture(params=["embedded", "mongodb"])
def mongo(request: pytest.FixtureRequest) -> Iterator[MongoResource]:
    """An empty database of the test's own. Every promise is kept by both servers, so every test runs on both."""
    if request.param == "embedded":
        server = request.getfixturevalue("mongo_url")
    elif not (server := os.environ.get(REAL, "")):
        pytest.skip(f"{REAL} is not set: no real MongoDB to test against")
    base, _, options = server.partition("?")
    scheme, _, rest = base.partition("://")
    url = f"{scheme}://{rest.split('/')[0]}/t{uuid.uuid4().hex[:12]}" + (f"?{options}" if options else "")
    resource = MongoResource(url=url)
    database = resource.database()
    yield resource
    database.client.drop_database(database.name)
    resource.close()


@pytest.fixture
def store(mongo: MongoResource, tmp_path: Path) -> ZygotrixStore:
    return ZygotrixStore(mongo=mongo, objects=ObjectStoreResource(url=str(tmp_path / "objects")))


@pytest.fixture
def application(tmp_path: Path, mongo: MongoResource, postgres_url: str) -> Iterator[Application]:
    application = Application(tmp_path, mongo, postgres_url)
    yield application
    application.store.mongo.close()
