"""The index set "full" of `genomics.variants`: the dear indexes, built when somebody asks for them.

The set "standard" is made by the migrations and kept during loads. What is added here makes later loads dearer. Each
partition has indexes of its own, so that building them never locks the whole table.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

    Connect = Callable[[], AbstractContextManager[psycopg.Connection[Any]]]

# By the ending of the index's name: what follows `CREATE INDEX … ON partition`. What an index of the standard set
# serves already is not here.
FULL_INDEXES = {
    "region_gist": "USING gist (pos_range)",
    "info_gin": "USING gin (info jsonb_path_ops)",
    "hgvs_p_trgm": "USING gin (hgvs_p gin_trgm_ops)",
    "consequence": "(consequence) WHERE consequence IS NOT NULL",
    "transcript": "(transcript) WHERE transcript IS NOT NULL",
}
# The default partition holds many contigs; every other one holds one chromosome.
REGION_OF_MANY_CONTIGS = "USING gist (chrom, pos_range)"
EXTENSIONS = ("btree_gist", "pg_trgm")


@dataclass(frozen=True)
class FullIndex:
    """One index of the full set, over all partitions.

    Attributes:
        name: key of `FULL_INDEXES`.
        partitions: how many partitions have it.
        seconds: what building it took, added up over the partitions; near 0 where it was there already.
        size: bytes, over all partitions.
    """

    name: str
    partitions: int
    seconds: float
    size: int


def build_full_indexes(connect: Connect, *, concurrently: bool, connections: int) -> list[FullIndex]:
    """Build what is missing of the full set.

    Readers never wait. A load waits for the builds on the partitions that it writes to, unless `concurrently`.

    Args:
        connect: gives connections in autocommit mode.
        concurrently: build without holding loads up, which takes about twice as long.
        connections: how many partitions are worked on at a time.
    """
    with connect() as connection:
        for extension in EXTENSIONS:
            connection.execute(f"CREATE EXTENSION IF NOT EXISTS {extension}")
        _drop(connection, [built.index for built in _built(connection) if not built.is_valid])
        partitions = _partitions(connection)
    seconds = dict.fromkeys(FULL_INDEXES, 0.0)
    with ThreadPoolExecutor(connections, thread_name_prefix="full-index") as pool:
        # The largest partitions first, so that all connections come to an end at about the same time.
        for spent in pool.map(
            lambda partition: _build(connect, partition, concurrently=concurrently), partitions
        ):
            for name in FULL_INDEXES:
                seconds[name] += spent[name]
    with connect() as connection:
        there = _built(connection)
    return [
        FullIndex(name, len(sizes), seconds[name], sum(sizes))
        for name, sizes in (
            (name, [built.size for built in there if built.name == name]) for name in FULL_INDEXES
        )
    ]


def drop_full_indexes(connect: Connect) -> int:
    """Drop every index of the full set, and say how many there were, counted by partition."""
    with connect() as connection:
        indexes = [built.index for built in _built(connection)]
        _drop(connection, indexes)
    return len(indexes)


@dataclass(frozen=True)
class _Partition:
    table: str
    is_default: bool

    def definition(self, name: str) -> str:
        """What follows `CREATE INDEX … ON table`."""
        if name == "region_gist" and self.is_default:
            return REGION_OF_MANY_CONTIGS
        return FULL_INDEXES[name]


@dataclass(frozen=True)
class _Built:
    """An index of the set on one partition; one that a crash left unfinished is not valid."""

    index: str
    name: str
    size: int
    is_valid: bool


def _built(connection: psycopg.Connection[Any]) -> list[_Built]:
    rows = connection.execute(
        """
        SELECT c.relname, substring(c.relname FROM %(ending)s), pg_relation_size(c.oid), i.indisvalid
        FROM pg_partition_tree('genomics.variants') AS t
        JOIN pg_index AS i ON i.indrelid = t.relid JOIN pg_class AS c ON c.oid = i.indexrelid
        WHERE c.relname ~ %(ending)s
        """,
        {"ending": f"_({'|'.join(FULL_INDEXES)})_full$"},
    ).fetchall()
    return [_Built(*row) for row in rows]


def _partitions(connection: psycopg.Connection[Any]) -> list[_Partition]:
    """The partitions, the largest first."""
    rows = connection.execute(
        """
        SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) = 'DEFAULT'
        FROM pg_partition_tree('genomics.variants') AS t JOIN pg_class AS c ON c.oid = t.relid
        WHERE t.isleaf ORDER BY pg_relation_size(c.oid) DESC
        """
    ).fetchall()
    return [_Partition(*row) for row in rows]


def _build(connect: Connect, partition: _Partition, *, concurrently: bool) -> dict[str, float]:
    """Build what a partition lacks; seconds by index.

    All of a partition's indexes come in one transaction, since 26 commits cost less than 234.
    """
    with connect() as connection:
        # Partitions are done side by side already: workers for one index would take the others' cores. An index
        # that a crash takes back is built by the next materialization, so nobody waits for the disk.
        connection.execute("SET max_parallel_maintenance_workers = 0")
        connection.execute("SET synchronous_commit = off")
        with nullcontext() if concurrently else connection.transaction():
            return {name: _create(connection, partition, name, concurrently) for name in FULL_INDEXES}


def _create(
    connection: psycopg.Connection[Any], partition: _Partition, name: str, concurrently: bool
) -> float:
    from psycopg import sql

    statement = sql.SQL("CREATE INDEX {} IF NOT EXISTS {} ON {} {}").format(
        sql.SQL("CONCURRENTLY" if concurrently else ""),
        sql.Identifier(f"{partition.table}_{name}_full"),
        sql.Identifier("genomics", partition.table),
        sql.SQL(partition.definition(name)),
    )
    started = time.perf_counter()
    connection.execute(statement)
    return time.perf_counter() - started


def _drop(connection: psycopg.Connection[Any], indexes: list[str]) -> None:
    from psycopg import sql

    for index in indexes:
        connection.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier("genomics", index)))
