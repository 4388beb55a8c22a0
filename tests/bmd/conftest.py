"""A dose-response store for each test module, and a partition key for each test."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from resources.bmd_store import BmdStore
from resources.object_store import ObjectStoreResource
from resources.postgres import PostgresResource


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> ObjectStoreResource:
    """An object store on the disk."""
    return ObjectStoreResource(url=f"file://{tmp_path_factory.mktemp('objects')}")


@pytest.fixture(scope="module")
def store(postgres_url: str, objects: ObjectStoreResource) -> Iterator[BmdStore]:
    """The store of a fresh, migrated database."""
    postgres = PostgresResource(url=postgres_url)
    yield BmdStore(postgres=postgres, objects=objects)
    postgres.close()


@pytest.fixture(scope="module")
def query(postgres_url: str) -> Callable[..., list[tuple[Any, ...]]]:
    """Runs one statement as a user of the database would."""

    def run(sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(postgres_url) as connection:
            return connection.execute(sql, parameters).fetchall()  # type: ignore[arg-type]

    return run


@pytest.fixture
def key() -> str:
    """A partition key that no other test uses."""
    return f"project{uuid.uuid4().hex[:6]}/experiment"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder."""
    return tmp_path
