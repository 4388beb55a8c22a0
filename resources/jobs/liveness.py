"""Who works on a job: a session advisory lock in Postgres that the worker's own connection holds.

The server frees it the moment the worker is gone, however it went. A job that says `running` while its lock is free has
lost its worker.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from resources.jobs.store import JobHeldError
from resources.postgres import PostgresResource

if TYPE_CHECKING:
    import psycopg

# One number for all locks of jobs; other locks of the project have 0, 1 and 2 here.
_SPACE = 3
# Somebody who looks whether the worker lives holds the lock for a moment.
_PATIENCE_SECONDS = 5.0
# After a restart of the server workers come back within seconds, and until then their locks are free.
RESTART_GRACE_SECONDS = 20.0
PING_SECONDS = 5.0

_TRY = f"SELECT pg_try_advisory_lock(hashtextextended(%s, {_SPACE}))"
_TRY_FOR_TRANSACTION = f"SELECT pg_try_advisory_xact_lock(hashtextextended(%s, {_SPACE}))"
# The checkpointer is started anew with the server, and also when a crash of one session reset all others.
_UP_SECONDS = """
SELECT extract(epoch FROM clock_timestamp() - coalesce(
    (SELECT max(backend_start) FROM pg_stat_activity WHERE backend_type = 'checkpointer'), pg_postmaster_start_time()
))::float8
"""


def lock_name(ledger: str, job_id: Any) -> str:
    """What the lock of a job is called."""
    return f"{ledger} job {job_id}"


class LivenessLock:
    """The lock of one job, and the connection that holds it. Not safe for two threads at once.

    Raises:
        JobHeldError: another session holds it.
    """

    def __init__(self, postgres: PostgresResource, name: str) -> None:
        self._postgres = postgres
        self._name = name
        self.connection = self._locked()
        self._used = time.monotonic()

    def ping(self) -> None:
        """Ask the server for a sign of life if it was not used lately, so that a lost connection is noticed."""
        if time.monotonic() - self._used >= PING_SECONDS:
            self.connection.execute("SELECT 1")
            self._used = time.monotonic()

    def renew(self) -> None:
        """Connect again and take the lock again, after the connection was lost.

        Raises:
            JobHeldError: another session took it meanwhile.
            PostgresError: the server does not answer.
        """
        self.release()
        self.connection = self._locked()

    def release(self) -> None:
        """Close the connection, and give the lock back with it."""
        import psycopg

        with suppress(psycopg.Error, OSError):
            self.connection.close()

    def _locked(self) -> psycopg.Connection[Any]:
        connection = self._postgres.own_connection(application_name="genomics_assets/job")
        _close_in_children(connection)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not _first(connection.execute(_TRY, (self._name,)).fetchone()):
            if time.monotonic() > deadline:
                connection.close()
                raise JobHeldError(
                    f"{self._name}: another process works on it. Remedy: wait for it, or end it first."
                )
            time.sleep(0.05)
        return connection


@contextmanager
def lost_worker(postgres: PostgresResource, name: str) -> Iterator[bool]:
    """Whether nobody holds the lock of a job; while the block lasts, nobody else can take it either."""
    with postgres.connection() as connection:
        yield bool(_first(connection.execute(_TRY_FOR_TRANSACTION, (name,)).fetchone()))


def server_is_settled(postgres: PostgresResource) -> bool:
    """Whether the server has been up long enough for every living worker to have taken its lock again."""
    with postgres.connection() as connection:
        up = _first(connection.execute(_UP_SECONDS).fetchone())
    return float(up) >= RESTART_GRACE_SECONDS


def _first(row: tuple[Any, ...] | None) -> Any:
    return None if row is None else row[0]


_held: weakref.WeakSet[Any] = weakref.WeakSet()


def _close_in_children(connection: psycopg.Connection[Any]) -> None:
    """A forked child must not keep its parent's session alive: the lock would outlive the worker."""
    if not _held:
        os.register_at_fork(after_in_child=_let_go)
    _held.add(connection)


def _let_go() -> None:
    for connection in list(_held):
        with suppress(Exception):
            # The descriptor alone: closing the connection would end the parent's session.
            os.close(connection.fileno())
    _held.clear()
