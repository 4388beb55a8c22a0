"""A warehouse for each test module, and a source name for each test."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "variants"))
from annotation_harness import AnnotatedWarehouse


@pytest.fixture(scope="module")
def warehouse(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AnnotatedWarehouse]:
    """One warehouse a test module; tests use sources and partition keys of their own."""
    warehouse = AnnotatedWarehouse(tmp_path_factory.mktemp("warehouse"), postgres_url)
    yield warehouse
    warehouse.resources["postgres"].close()


@pytest.fixture
def source() -> str:
    """A source that no other test has."""
    return f"s{uuid.uuid4().hex[:10]}"


@pytest.fixture
def name() -> str:
    """A partition key that no other test uses."""
    return f"f{uuid.uuid4().hex[:10]}"
