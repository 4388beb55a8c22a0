"""A warehouse for each test module, and a partition key for each test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from warehouse_harness import Warehouse


@pytest.fixture(scope="module")
def warehouse(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    """One warehouse a test module; tests use partition keys of their own."""
    warehouse = Warehouse(tmp_path_factory.mktemp("warehouse"), postgres_url)
    yield warehouse
    warehouse.resources["postgres"].close()


@pytest.fixture
def name() -> str:
    """A partition key that no other test uses."""
    return f"f{uuid.uuid4().hex[:10]}"
