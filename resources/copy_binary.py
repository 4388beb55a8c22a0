"""Arrow record batches into PostgreSQL tables by binary COPY; `copy_reading` is the way back.

A background thread makes and encodes the next batches while the server works on the last ones.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from genomics_assets.ahead import close, made_ahead
from resources.copy_encoding import (
    BatchEncoder,
    CopyError,
    NanPolicy,
    Progress,
    RepeatedKeyError,
    UnsupportedTypeError,
)
from resources.copy_reading import read_batches, read_pandas, read_schema, read_table
from resources.postgres_catalogue import PostgresColumn, table_columns, table_identifier

if TYPE_CHECKING:
    import psycopg
    import pyarrow as pa
    from psycopg import sql

__all__ = [
    "CopyError",
    "CopyReport",
    "RepeatedKeyError",
    "UnsupportedTypeError",
    "copy_batches",
    "read_batches",
    "read_pandas",
    "read_schema",
    "read_table",
]

T = TypeVar("T")

PIECES_AHEAD = 2
# The server's error is heard at the end of a statement only, and until then it swallows what is sent. So a
# long load is several statements of one transaction, for a wrong value at its begin to be told soon.
STATEMENT_BYTES = 32 << 20

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"


@dataclass(frozen=True)
class CopyReport:
    """What one COPY did: rows, bytes of COPY data, seconds from the first batch to the server's answer."""

    rows: int
    bytes: int
    seconds: float

    @property
    def rows_per_second(self) -> float:
        """Rows in a second; 0 where no time passed."""
        return self.rows / self.seconds if self.seconds else 0.0


def copy_batches(
    connection: psycopg.Connection[Any],
    table: str,
    batches: Iterable[pa.RecordBatch],
    *,
    schema: pa.Schema | None = None,
    columns: Sequence[PostgresColumn] | None = None,
    nan: NanPolicy = "keep",
    freeze: bool = False,
) -> CopyReport:
    """Append record batches to a table, inside the connection's transaction.

    Memory stays flat in the number of batches. They are made in a background thread, so their source must
    not use `connection`. An exception of the source aborts the COPY and is raised as it is.

    Args:
        connection: a psycopg connection; committing is the caller's.
        table: `schema.name`.
        batches: record batches of one schema. Columns are matched by name; columns of the table that the
            batches do not have get their defaults.
        schema: the batches' schema; default: that of the first batch.
        columns: the table's columns, where the caller has them already.
        nan: whether NaN is stored as NaN, as NULL, or refused.
        freeze: write rows as if they had been vacuumed; the table must have been made in this transaction.

    Raises:
        UnsupportedTypeError: a column's Arrow type does not fit, before anything is sent.
        RepeatedKeyError: a row has the key of another.
        CopyError: a value does not fit, here or by the server's word; names column and row where known.
        NoSuchTableError: there is no such table.
        psycopg.OperationalError: the connection was lost.
    """
    started = time.perf_counter()
    source = iter(batches)
    if schema is None:
        first = next(source, None)
        if first is None:
            return CopyReport(0, 0, time.perf_counter() - started)
        schema, source = first.schema, _Chained(first, source)
    encoder = BatchEncoder(schema, table_columns(connection, table) if columns is None else columns, nan=nan)
    progress = Progress()
    sent = 0
    with (
        _one_transaction(connection),
        connection.cursor() as cursor,
        _told_by_the_server(table, progress),
        made_ahead(encoder.pieces(source, progress), PIECES_AHEAD) as pieces,
    ):
        # How long a COPY lasts is the source's matter, not the server's.
        cursor.execute("SELECT set_config('statement_timeout', '0', true)")
        statement = _copy_in(table, schema.names, freeze=freeze)
        piece = next(pieces, None)
        while piece is not None:
            with cursor.copy(statement) as copy:
                copy.write(_HEADER)
                size = rows = 0
                while piece is not None and size < STATEMENT_BYTES:
                    copy.write(memoryview(piece.data))
                    size += len(piece.data)
                    rows += piece.rows
                    piece = next(pieces, None)
                copy.write(_TRAILER)
            progress.settled += rows
            sent += len(_HEADER) + size + len(_TRAILER)
    return CopyReport(progress.settled, sent, time.perf_counter() - started)


def _one_transaction(connection: psycopg.Connection[Any]) -> AbstractContextManager[Any]:
    """The transaction that the connection has open, or one of its own where each statement would be one."""
    return connection.transaction() if connection.autocommit else nullcontext()


class _Chained(Iterator[T]):
    """An iterator with its first item put back, closable as the iterator itself."""

    def __init__(self, first: T, rest: Iterator[T]) -> None:
        self._items = itertools.chain([first], rest)
        self._rest = rest

    def __next__(self) -> T:
        return next(self._items)

    def close(self) -> None:
        """Close what is left."""
        close(self._rest)


def _copy_in(table: str, names: Sequence[str], *, freeze: bool) -> sql.Composed:
    from psycopg import sql

    return sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary, FREEZE {})").format(
        table_identifier(table), sql.SQL(", ").join(map(sql.Identifier, names)), sql.Literal(freeze)
    )


@contextmanager
def _told_by_the_server(table: str, progress: Progress) -> Iterator[None]:
    """Turns what the server says about a value into a `CopyError` that names the column and the row."""
    import psycopg

    try:
        yield
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        said = error.diag
        row, column = _place_in_context(said.context)
        if row is not None:
            row += progress.settled
        column = column or said.column_name
        place = [table]
        if row is not None:
            place.append(progress.place(row))
        if column:
            place.append(f"column {column}")
        problem = (said.message_primary or str(error)).strip()
        if isinstance(error, psycopg.errors.CharacterNotInRepertoire) and "0x00" in problem:
            problem = "the text holds a NUL character, which PostgreSQL cannot store"
        # The detail of other errors quotes the whole row, which may hold what must not be shown.
        if (
            isinstance(error, psycopg.errors.UniqueViolation | psycopg.errors.ForeignKeyViolation)
            and said.message_detail
        ):
            problem = f"{problem}: {said.message_detail}"
        kind = RepeatedKeyError if isinstance(error, psycopg.errors.UniqueViolation) else CopyError
        raise kind(f"{', '.join(place)}: {problem}", column=column, row=row) from None
    except CopyError as error:
        raise CopyError(f"{table}, {error}", column=error.column, row=error.row) from error.__cause__


def _place_in_context(context: str | None) -> tuple[int | None, str | None]:
    """The 0-based row and the column of `COPY <table>, line <n>, column <name>`.

    >>> _place_in_context("COPY variants_1, line 3, column gene")
    (2, 'gene')
    """
    found = re.search(r"^COPY .*, \D+ (\d+)(?:, \S+ ([^\n]+))?$", context or "", re.MULTILINE)
    return (None, None) if found is None else (int(found[1]) - 1, found[2])
