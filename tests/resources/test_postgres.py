"""The PostgreSQL resource: transactions, patience with a restarting server, named sessions, kept secrets."""

import os
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import dagster as dg
import psycopg
import pytest

from resources import postgres as postgres_module
from resources.postgres import PostgresError, PostgresResource, session_name


@pytest.fixture
def postgres(empty_postgres_url: str) -> Iterator[PostgresResource]:
    resource = PostgresResource(url=empty_postgres_url)
    yield resource
    resource.close()


class Gate:
    """A TCP port before the real server that can be shut, as by a crash, and opened again."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.server = (parts.hostname or "127.0.0.1", parts.port or 5432)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        userinfo = parts.netloc.rpartition("@")[0]
        self.url = urlunsplit(parts._replace(netloc=f"{userinfo}@127.0.0.1:{self.port}"))
        self.listener: socket.socket | None = None
        self.pipes: list[socket.socket] = []

    def open(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def shut(self) -> None:
        if self.listener is not None:
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
        for pipe in self.pipes:
            pipe.close() if pipe.fileno() == -1 else _hang_up(pipe)
        self.pipes.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(self.server)
            self.pipes += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        _hang_up(sink)


def _hang_up(pipe: socket.socket) -> None:
    try:
        pipe.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


@pytest.fixture
def gate(empty_postgres_url: str) -> Iterator[Gate]:
    gate = Gate(empty_postgres_url)
    yield gate
    gate.shut()


def number(resource: PostgresResource, query: str) -> int:
    with resource.connection() as connection:
        row = connection.execute(query).fetchone()  # type: ignore[call-overload]
        assert row is not None
        return int(row[0])


class TroubleError(Exception):
    pass


def test_a_block_commits_and_an_exception_rolls_back(postgres: PostgresResource) -> None:
    def insert(number: int, trouble: bool) -> None:
        with postgres.connection() as connection:
            connection.execute("INSERT INTO kept VALUES (%s)", (number,))
            if trouble:
                raise TroubleError

    with postgres.connection() as connection:
        connection.execute("CREATE TABLE kept (n integer)")
    insert(1, trouble=False)
    with pytest.raises(TroubleError):
        insert(2, trouble=True)
    assert number(postgres, "SELECT sum(n) FROM kept") == 1


def test_a_statement_that_fails_does_not_spoil_the_next_check_out(postgres: PostgresResource) -> None:
    with pytest.raises(psycopg.errors.UndefinedTable), postgres.connection() as connection:
        connection.execute("SELECT * FROM nowhere")
    assert number(postgres, "SELECT 1") == 1


def test_connections_are_pooled_over_copies_of_the_resource(
    postgres: PostgresResource, empty_postgres_url: str
) -> None:
    first = number(postgres, "SELECT pg_backend_pid()")
    assert number(PostgresResource(url=empty_postgres_url), "SELECT pg_backend_pid()") == first


def test_settings_of_one_user_do_not_reach_the_next(postgres: PostgresResource) -> None:
    with postgres.connection(application_name="odd", statement_timeout=7, lock_timeout=8) as connection:
        connection.execute("SET search_path = nowhere")
        connection.execute("SELECT pg_advisory_lock(77)")
    with postgres.connection() as connection:
        shown = [
            connection.execute(f"SHOW {name}").fetchone()[0]  # type: ignore[index,call-overload]
            for name in ("search_path", "statement_timeout", "lock_timeout", "application_name")
        ]
        locks = connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 77")
        assert shown == ['"$user", public', "30min", "0", "genomics_assets"]
        assert locks.fetchone() == (0,)


def test_a_statement_times_out(postgres: PostgresResource, empty_postgres_url: str) -> None:
    with (
        pytest.raises(psycopg.errors.QueryCanceled),
        postgres.connection(statement_timeout=0.1) as connection,
    ):
        connection.execute("SELECT pg_sleep(20)")
    impatient = PostgresResource(url=empty_postgres_url, statement_timeout_seconds=0.1)
    with impatient.connection() as connection:
        connection.commit()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(20)")
        connection.rollback()


def test_waiting_for_a_lock_times_out(postgres: PostgresResource) -> None:
    with postgres.connection() as holder:
        holder.execute("SELECT pg_advisory_xact_lock(5)")
        with pytest.raises(psycopg.errors.LockNotAvailable), postgres.connection(lock_timeout=0.1) as waiter:
            waiter.execute("SELECT pg_advisory_xact_lock(5)")


def test_vacuum_runs_with_autocommit_and_the_next_check_out_has_a_transaction(
    postgres: PostgresResource,
) -> None:
    with postgres.connection(autocommit=True) as connection:
        connection.execute("VACUUM pg_catalog.pg_description")
    with postgres.connection() as connection:
        assert not connection.autocommit


# -- names ----------------------------------------------------------------------------------------------


def test_the_session_is_named_by_run_and_step(postgres: PostgresResource) -> None:
    @dg.asset(key_prefix="group")
    def who(postgres: PostgresResource) -> str:
        with postgres.connection() as connection, postgres.connection() as other:
            query = "SELECT application_name FROM pg_stat_activity WHERE pid = %s"
            return str(other.execute(query, (connection.info.backend_pid,)).fetchone())

    result = dg.materialize([who], resources={"postgres": postgres})
    assert result.output_for_node("group__who") == f"('genomics_assets/{result.run_id[:8]}/group__who',)"


def test_a_session_name_fits_and_is_ascii() -> None:
    assert session_name("0f7c2a1e-4b6d", "ü" * 80) == "genomics_assets/0f7c2a1e/" + "?" * 38
    assert session_name(None, None) == "genomics_assets"


# -- a server that goes and comes -----------------------------------------------------------------------


def test_a_server_that_is_starting_is_waited_for(gate: Gate) -> None:
    resource = PostgresResource(url=gate.url)
    timer = threading.Timer(1.0, gate.open)
    timer.start()
    try:
        assert number(resource, "SELECT 1") == 1
    finally:
        timer.join()
        resource.close()


def test_a_pool_outlives_a_restart_of_the_server(gate: Gate) -> None:
    gate.open()
    resource = PostgresResource(url=gate.url)
    try:
        before = number(resource, "SELECT pg_backend_pid()")
        gate.shut()
        timer = threading.Timer(1.0, gate.open)
        timer.start()
        assert number(resource, "SELECT pg_backend_pid()") != before
        timer.join()
    finally:
        resource.close()


def test_a_connection_that_dies_in_use_surfaces_and_is_replaced(gate: Gate) -> None:
    gate.open()
    resource = PostgresResource(url=gate.url)

    def use() -> None:
        with resource.connection() as connection:
            gate.shut()
            connection.execute("SELECT 1")

    try:
        with pytest.raises(psycopg.OperationalError):
            use()
        gate.open()
        assert number(resource, "SELECT 1") == 1
    finally:
        resource.close()


def test_a_server_that_comes_back_at_another_address_is_found(
    gate: Gate, empty_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENOMICS_POSTGRES_URL", gate.url)
    resource = PostgresResource()
    timer = threading.Timer(0.5, monkeypatch.setenv, ("GENOMICS_POSTGRES_URL", empty_postgres_url))
    timer.start()
    try:
        assert number(resource, "SELECT 1") == 1
    finally:
        timer.join()
        resource.close()


def test_patience_ends_with_what_to_do(gate: Gate) -> None:
    resource = PostgresResource(url=gate.url, patience_seconds=0.5)
    with pytest.raises(
        PostgresError, match=r"did not answer within 0\.5 s: .*refused.*Remedy: start the server"
    ):
        number(resource, "SELECT 1")


def test_too_many_users_at_a_time_are_told_so(empty_postgres_url: str) -> None:
    resource = PostgresResource(url=empty_postgres_url, max_connections=1, patience_seconds=0.5)
    with (
        resource.connection(),
        pytest.raises(PostgresError, match="all 1 connections of this process"),
        resource.connection(),
    ):
        pass
    assert number(resource, "SELECT 1") == 1
    resource.close()


def test_a_forked_process_has_a_pool_of_its_own(postgres: PostgresResource) -> None:
    mine = number(postgres, "SELECT pg_backend_pid()")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, str(number(postgres, "SELECT pg_backend_pid()")).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    theirs = int(os.read(reading, 100))
    assert theirs != mine
    assert number(postgres, "SELECT pg_backend_pid()") == mine


# -- secrets --------------------------------------------------------------------------------------------

SECRET = "s3cr3t%2Fw%40rd"
DECODED = "s3cr3t/w@rd"


def everything_shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (f"postgresql://ann:{SECRET}@127.0.0.1:1/db", "did not answer"),
        (f"postgresql://ann:{SECRET}@127.0.0.1:port/db", "refuses the connection: .*invalid integer"),
        (f"postgresql://ann:{SECRET}@127.0.0.1:1/db?nonsense=1", "cannot be used"),
        (f"postgresql://127.0.0.1:1/db?user=ann&password={SECRET}", "did not answer"),
        (f"postgresql://ann:{SECRET}%zz@127.0.0.1:1/db", "cannot be used"),
        (f"postgresql//ann:{SECRET}@127.0.0.1/db", "cannot be used"),
    ],
)
def test_a_password_never_is_in_an_error(url: str, told: str) -> None:
    with pytest.raises(PostgresError, match=told) as caught:
        number(PostgresResource(url=url, patience_seconds=0.2), "SELECT 1")
    shown = everything_shown(caught.value)
    for secret in (SECRET, DECODED, "s3cr3t"):
        assert secret not in shown


def test_a_database_that_is_not_there_is_told_at_once(empty_postgres_url: str) -> None:
    url = urlunsplit(urlsplit(empty_postgres_url)._replace(path="/absent"))
    started = time.monotonic()
    with pytest.raises(
        PostgresError, match=r'refuses the connection: .*"absent" does not exist.*Remedy: check'
    ):
        number(PostgresResource(url=url), "SELECT 1")
    assert time.monotonic() - started < 15


def test_the_environment_names_the_server(monkeypatch: pytest.MonkeyPatch, empty_postgres_url: str) -> None:
    monkeypatch.setenv("GENOMICS_POSTGRES_URL", empty_postgres_url)
    resource = PostgresResource()
    database = urlsplit(empty_postgres_url).path[1:]
    with resource.connection() as connection:
        assert connection.info.dbname == database
    resource.close()
    assert not any(database in key[1] for key in postgres_module._pools)
