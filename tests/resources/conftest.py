"""A Dagster instance on the project's storage."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from resources.dagster_storage import dagster_schema, dagster_storage_url


@pytest.fixture(scope="module")
def instance(postgres_url: str) -> Iterator[dg.DagsterInstance]:
    with dagster_schema(postgres_url):
        pass
    storage = {
        "custom": {
            "module": "resources.pooled_storage",
            "class": "PooledPostgresStorage",
            "config": {"postgres_url": dagster_storage_url(postgres_url)},
        }
    }
    with dg.instance_for_test(overrides={"storage": storage}) as instance:
        yield instance
