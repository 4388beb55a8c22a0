"""Single steps on the tables of schema `bmd`, each inside of its caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, LiteralString

if TYPE_CHECKING:
    import psycopg
    import pyarrow as pa


def lock(connection: psycopg.Connection[Any], what: str) -> None:
    """Wait until no other transaction holds the lock on `what`; it goes with the transaction."""
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 5))", (what,))


def next_id(connection: psycopg.Connection[Any], table: LiteralString) -> int:
    """An id of one's own before the row is there, for the object's key."""
    row = connection.execute("SELECT nextval(pg_get_serial_sequence(%s, 'id'))", (f"bmd.{table}",)).fetchone()
    assert row is not None  # noqa: S101 - a SELECT of one expression gives one row
    return int(row[0])


def supersede(connection: psycopg.Connection[Any], table: LiteralString, partition_key: str) -> None:
    """Mark what a partition stands for as replaced; the caller inserts what replaces it."""
    from psycopg import sql

    connection.execute(
        sql.SQL(
            "UPDATE bmd.{} SET superseded_at = LOCALTIMESTAMP WHERE partition_key = %s AND superseded_at IS NULL"
        ).format(sql.Identifier(table)),
        (partition_key,),
    )


def insert_row(connection: psycopg.Connection[Any], table: LiteralString, columns: Mapping[str, Any]) -> None:
    """Insert one row."""
    from psycopg import sql

    connection.execute(
        sql.SQL("INSERT INTO bmd.{} ({}) VALUES ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.SQL(", ").join([sql.Placeholder()] * len(columns)),
        ),
        list(columns.values()),
    )


def copy_rows(
    connection: psycopg.Connection[Any], table: str, rows: pa.Table, constants: Mapping[str, int]
) -> None:
    """Append rows, with further columns that have one value; NaN becomes NULL."""
    import pyarrow as pa

    from resources.copy_binary import copy_batches

    for name, value in constants.items():
        rows = rows.append_column(name, pa.array([value], pa.int64()).take(_zeros(rows.num_rows)))
    copy_batches(connection, table, rows.to_batches(max_chunksize=20_000), schema=rows.schema, nan="null")


def _zeros(count: int) -> pa.Array:
    import numpy as np
    import pyarrow as pa

    return pa.array(np.zeros(count, np.int64))
