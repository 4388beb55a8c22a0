"""A document store for each test: on the embedded server, and on a real MongoDB where one is given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from zygotrix_application import Application

from resources.mongo import MongoResource
from resources.object_store import ObjectStoreResource
from resources.zygotrix_store import ZygotrixStore


@pytest.fixture
def mongo(fresh_mongo_url: str) -> Iterator[MongoResource]:
    """An empty database. Every promise is kept by both kinds of server, so every test runs on both."""
    resource = MongoResource(url=fresh_mongo_url)
    yield resource
    resource.close()


@pytest.fixture
def store(mongo: MongoResource, tmp_path: Path) -> ZygotrixStore:
    return ZygotrixStore(mongo=mongo, objects=ObjectStoreResource(url=str(tmp_path / "objects")))


@pytest.fixture
def application(tmp_path: Path, mongo: MongoResource, postgres_url: str) -> Iterator[Application]:
    application = Application(tmp_path, mongo, postgres_url)
    yield application
    application.store.mongo.close()
