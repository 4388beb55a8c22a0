"""Stores for each test module, and Dagster instances that remember nothing of each other."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import dagster as dg
import pytest
from stores import Stores


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as instance:
        yield instance


@pytest.fixture(scope="module")
def module_mongo_url(mongo_url: str) -> Iterator[str]:
    """URL of an empty database on the embedded server."""
    from pymongo import MongoClient

    name = f"t{uuid.uuid4().hex[:12]}"
    yield urlunsplit(urlsplit(mongo_url)._replace(path=f"/{name}"))
    with MongoClient(mongo_url) as client:
        client.drop_database(name)


@pytest.fixture(scope="module")
def stores(
    postgres_url: str,
    module_mongo_url: str,
    instance: dg.DagsterInstance,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stores]:
    stores = Stores(tmp_path_factory.mktemp("stores"), postgres_url, module_mongo_url, instance)
    yield stores
    stores.close()


@pytest.fixture
def key() -> str:
    """A partition key that no other test uses."""
    return f"f{uuid.uuid4().hex[:10]}"
