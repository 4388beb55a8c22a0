"""Where Dagster keeps its own tables: the project's database, in a schema apart, since one is named `jobs`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

_SCHEMA = "dagster"


def dagster_storage_url(postgres_url: str) -> str:
    """The address of Dagster's own tables: the same database, in a schema of their own.

    Dagster's storage works with psycopg2 alone, so the driver is named.

    >>> dagster_storage_url("postgresql://ann:pw@db:5432/genomics?sslmode=require")
    'postgresql+psycopg2://ann:pw@db:5432/genomics?sslmode=require&options=-csearch_path%3Ddagster'
    """
    parts = urlsplit(postgres_url)
    query = dict(parse_qsl(parts.query))
    query["options"] = f"{query.get('options', '')} -csearch_path={_SCHEMA}".strip()
    return urlunsplit(parts._replace(scheme="postgresql+psycopg2", query=urlencode(query, quote_via=quote)))


@contextmanager
def dagster_schema(postgres_url: str) -> Iterator[bool]:
    """Make the schema where it is missing, and say whether it holds tables; other starters wait meanwhile."""
    import psycopg

    with psycopg.connect(postgres_url, autocommit=True) as connection:
        # The lock goes with the connection.
        connection.execute("SELECT pg_advisory_lock(hashtext('genomics_assets: tables of Dagster'))")
        connection.execute("CREATE SCHEMA IF NOT EXISTS dagster")
        found = connection.execute("SELECT to_regclass('dagster.job_ticks') IS NOT NULL").fetchone()
        yield found == (True,)
