"""The PostgreSQL connection: a pool for each process, patience with a restarting server, named sessions.

What is done over a connection is the caller's matter.
"""

import atexit
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import PrivateAttr

if TYPE_CHECKING:
    import psycopg
    from psycopg_pool import ConnectionPool

_NAME = "genomics_assets"
# PostgreSQL cuts names at 63 bytes.
_LONGEST_NAME = 63
_FIRST_DELAY_SECONDS = 0.1
_LONGEST_DELAY_SECONDS = 2.0
# How long a check-out waits for the pool before it looks for itself whether the server answers.
_POOL_SECONDS = 3.0

# libpq gives no SQLSTATE for a refused connection, only the server's text. Waiting cannot mend these.
_PERMANENT = (
    "password authentication failed",
    "no password supplied",
    "authentication method",
    "no pg_hba.conf entry",
    "does not exist",
    "is not permitted to log in",
    "permission denied for database",
    "unsupported frontend protocol",
    "certificate",
    "invalid integer value",
    "invalid port number",
    "server does not support SSL",
)

# Pools outlive the copies that Dagster makes of a resource. The process is part of the key: a forked
# process must not share a connection, and must not close one either, so it leaves its parent's pools where
# they are.
_pools: "dict[tuple[int, str, int], ConnectionPool[psycopg.Connection[Any]]]" = {}


class PostgresError(RuntimeError):
    """PostgreSQL cannot be reached, or the URL cannot be used. The message never holds the password."""


class PostgresResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Connections from one pool for each process.

    The pool opens connections when they are asked for and closes idle ones. A connection is checked when
    it is taken; a server that is restarting is waited for.
    """

    url: str | None = None
    """`postgresql://user:password@host:port/database`. None: `GENOMICS_POSTGRES_URL`, else embedded."""

    max_connections: int = 8
    """Connections that one process may hold at a time."""

    patience_seconds: float = 30.0
    """How long a check-out waits for a server that does not answer, or for a free connection."""

    statement_timeout_seconds: float = 1800.0
    """The server cancels a statement after this time; 0: never. Bulk reads and writes have no limit."""

    lock_timeout_seconds: float = 0.0
    """The server cancels a statement that waited this long for a lock; 0: never."""

    _resolved: str | None = PrivateAttr(default=None)

    @contextmanager
    def connection(
        self,
        *,
        application_name: str | None = None,
        statement_timeout: float | None = None,
        lock_timeout: float | None = None,
        autocommit: bool = False,
    ) -> "Iterator[psycopg.Connection[Any]]":
        """A connection; its transaction is committed at the end of the block, rolled back on an exception.

        Args:
            application_name: shown in pg_stat_activity; default: names the run and step that execute.
            statement_timeout: seconds, in place of the resource's; 0: none.
            lock_timeout: seconds, in place of the resource's; 0: none.
            autocommit: each statement is a transaction of its own, as VACUUM wants it.

        Raises:
            PostgresError: the server does not answer, or refuses the connection.
        """
        pool, connection = self._checked_out()
        try:
            self._begin(
                connection,
                application_name or _name_of_this_step(),
                self.statement_timeout_seconds if statement_timeout is None else statement_timeout,
                self.lock_timeout_seconds if lock_timeout is None else lock_timeout,
                autocommit,
            )
            yield connection
            connection.commit()
        except BaseException:
            _roll_back(connection)
            raise
        finally:
            _reset(connection)
            pool.putconn(connection)

    def own_connection(self, *, application_name: str | None = None) -> "psycopg.Connection[Any]":
        """A connection outside of the pool, in autocommit, for a session that lasts; the caller closes it.

        Raises:
            PostgresError: the server does not answer, or refuses the connection.
        """
        import psycopg

        self._wait_for_server(time.monotonic() + self.patience_seconds)
        settings = {**_session_settings(), "application_name": application_name or _name_of_this_step()}
        return psycopg.connect(self._url(), autocommit=True, **settings)

    def close(self) -> None:
        """Close this process's pool; the next use opens another."""
        url = self._resolved or self.url
        pool = None if url is None else _pools.pop((os.getpid(), url, self.max_connections), None)
        if pool is not None:
            pool.close()

    @staticmethod
    def _begin(
        connection: "psycopg.Connection[Any]",
        name: str,
        statement_timeout: float,
        lock_timeout: float,
        autocommit: bool,
    ) -> None:
        """Settings hold for the check-out, over commits and rollbacks, hence outside of a transaction."""
        connection.autocommit = True
        connection.execute(
            "SELECT set_config('application_name', %s, false), set_config('statement_timeout', %s, false), "
            "set_config('lock_timeout', %s, false)",
            (name, f"{statement_timeout * 1000:.0f}", f"{lock_timeout * 1000:.0f}"),
        )
        connection.autocommit = autocommit

    def _checked_out(self) -> "tuple[ConnectionPool[psycopg.Connection[Any]], psycopg.Connection[Any]]":
        from psycopg_pool import PoolClosed, PoolTimeout

        deadline = time.monotonic() + self.patience_seconds
        while True:
            pool = self._pool(deadline)
            left = max(0.1, deadline - time.monotonic())
            try:
                return pool, pool.getconn(timeout=min(left, _POOL_SECONDS))
            except PoolClosed:
                _pools.pop((os.getpid(), self._url(), self.max_connections), None)
            except PoolTimeout:
                # The pool does not say why, so ask the server.
                self._wait_for_server(deadline)
                if time.monotonic() >= deadline:
                    raise PostgresError(self._all_in_use()) from None

    def _pool(self, deadline: float) -> "ConnectionPool[psycopg.Connection[Any]]":
        key = (os.getpid(), self._url(), self.max_connections)
        if key not in _pools:
            self._wait_for_server(deadline)
            key = (os.getpid(), self._url(), self.max_connections)
        pool = _pools.get(key)
        if pool is None:
            # Two threads may get here at once: the dict keeps one pool, and a pool that was not opened
            # holds nothing.
            if not _pools:
                atexit.register(_close_pools)
            pool = _pools.setdefault(key, self._new_pool(self._url()))
            pool.open()
        return pool

    def _new_pool(self, url: str) -> "ConnectionPool[psycopg.Connection[Any]]":
        from psycopg_pool import ConnectionPool

        return ConnectionPool(
            url,
            kwargs=_session_settings(),
            min_size=0,
            max_size=self.max_connections,
            open=False,
            name=_NAME,
            check=ConnectionPool.check_connection,
            # Short: a failed check-out looks for the reason itself and then asks the pool again.
            reconnect_timeout=_POOL_SECONDS,
            max_idle=120.0,
            num_workers=1,
        )

    def _wait_for_server(self, deadline: float) -> None:
        """Returns once the server takes a connection.

        Raises:
            PostgresError: it did not before the deadline, or says something that waiting cannot mend.
        """
        import psycopg

        delay = _FIRST_DELAY_SECONDS
        while True:
            url = self._url()
            try:
                psycopg.connect(url, **_session_settings()).close()
            except psycopg.OperationalError as error:
                problem = _without_password(" ".join(str(error).split()), url)
            except (psycopg.ProgrammingError, ValueError) as error:
                problem = _without_password(" ".join(str(error).split()), url)
                raise PostgresError(_unusable(_shown(url), problem)) from None
            else:
                return
            # Not chained: the driver's own text may repeat what the URL holds.
            if any(sign in problem for sign in _PERMANENT):
                raise PostgresError(_refused(_shown(url), problem)) from None
            if time.monotonic() + delay > deadline:
                raise PostgresError(_absent(_shown(url), problem, self.patience_seconds)) from None
            time.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - spreads clients, keeps no secret
            delay = min(2 * delay, _LONGEST_DELAY_SECONDS)
            # An embedded server may come back on another port.
            self._resolved = None

    def _all_in_use(self) -> str:
        return (
            f"all {self.max_connections} connections of this process to {_shown(self._url())} were in use "
            f"for {self.patience_seconds:g} s. Remedy: raise max_connections of the resource, or give "
            "connections back sooner."
        )

    def _url(self) -> str:
        if self._resolved is None:
            self._resolved = self.url or _url_of_environment()
        return self._resolved


def _close_pools() -> None:
    """Close what is left when the process ends: a pool that is merely dropped makes the end wait for its threads."""
    for pool in [_pools.pop(key) for key in list(_pools)]:
        pool.close(timeout=1)


def _unusable(shown: str, problem: str) -> str:
    return (
        f"the URL {shown} cannot be used: {problem}. "
        "Remedy: write postgresql://user:password@host:port/database, reserved characters percent-encoded."
    )


def _refused(shown: str, problem: str) -> str:
    return (
        f"PostgreSQL at {shown} refuses the connection: {problem}. "
        "Remedy: check user, password and database in GENOMICS_POSTGRES_URL."
    )


def _absent(shown: str, problem: str, seconds: float) -> str:
    return (
        f"PostgreSQL at {shown} did not answer within {seconds:g} s: {problem}. "
        "Remedy: start the server (`make up` starts the embedded one) or correct GENOMICS_POSTGRES_URL."
    )


def session_name(run_id: str | None, step: str | None) -> str:
    """What pg_stat_activity shows for a step of a run; at most 63 bytes of ASCII.

    >>> session_name("0f7c2a1e-4b6d-4c53-9a30-2f9f5f3c6a11", "variants__variants")
    'genomics_assets/0f7c2a1e/variants__variants'
    """
    parts = [_NAME, (run_id or "")[:8], step or ""]
    name = "/".join(part for part in parts if part)
    return name.encode("ascii", "replace").decode("ascii")[:_LONGEST_NAME]


def _name_of_this_step() -> str:
    """The name of the step that executes in this thread, if one does."""
    with suppress(dg.DagsterInvariantViolationError):
        context = dg.OpExecutionContext.get()
        return session_name(context.run_id, context.get_step_execution_context().step.key)
    return _NAME


def _session_settings() -> dict[str, Any]:
    """Connection settings: a peer that vanished is noticed within a minute, also in the middle of a COPY."""
    return {
        "application_name": _NAME,
        "client_encoding": "utf8",
        "connect_timeout": 10,
        "keepalives": 1,
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 60_000,
    }


def _reset(connection: "psycopg.Connection[Any]") -> None:
    """A connection goes back to the pool without the settings and session locks of its last user.

    One that cannot be reset is broken, which the pool sees for itself.
    """
    import psycopg

    with suppress(psycopg.Error):
        connection.autocommit = True
        connection.execute("RESET ALL; SELECT pg_advisory_unlock_all()")
        connection.autocommit = False


def _roll_back(connection: "psycopg.Connection[Any]") -> None:
    """A connection that died has nothing to roll back, and must not hide what happened."""
    import psycopg

    with suppress(psycopg.Error):
        connection.rollback()


def _url_of_environment() -> str:
    from resources.environment import Environment

    environment = Environment.from_environ()
    if environment.postgres_url:
        return environment.postgres_url
    from resources.embedded import ensure_postgres

    return ensure_postgres(environment)


def _shown(url: str) -> str:
    from resources.environment import masked

    return _without_password(masked(url), url)


def _without_password(text: str, url: str) -> str:
    """The text without the password of `url`, however libpq reads it."""
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    from resources.environment import without_password

    secret = ""
    with suppress(ProgrammingError):
        secret = str(conninfo_to_dict(url).get("password") or "")
    return without_password(text, url, secret)
