from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

import resources.embedded
from resources.embedded import ServerError, ensure_mongo, ensure_postgres, pin_servers, stop_servers
from resources.embedded.folder import ServerFolder
from resources.embedded.processes import is_alive
from resources.embedded.supervisor import cut_log
from resources.environment import Environment

PROJECT = Path(resources.embedded.__file__).parents[2]
AS_ROOT = os.geteuid() == 0

# A user of the servers, in a process of its own: says the address, then stays until its input ends.
USER = """
import sys
import resources.embedded as embedded
from resources.environment import Environment
embedded.GRACE_SECONDS = 0.5
try:
    print(embedded.ensure_postgres(Environment.from_environ({"GENOMICS_HOME": sys.argv[1]})), flush=True)
except embedded.ServerError as error:
    sys.exit(f"ServerError: {error}")
sys.stdin.read()
"""


class User:
    """A process that uses the servers of a home."""

    def __init__(self, home: Path, *prefix: str) -> None:
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-c", USER, str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
        )

    def url(self) -> str:
        assert self.process.stdout is not None
        url = self.process.stdout.readline().strip()
        if not url:
            assert self.process.stderr is not None
            raise AssertionError(self.process.stderr.read())
        return url

    def error(self) -> str:
        return self.process.communicate()[1]

    def leave(self) -> None:
        self.process.communicate()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def new_home(tmp_path: Path) -> Iterator[Path]:
    """A home whose servers are gone after the test."""
    yield tmp_path / "home"
    stop_servers(tmp_path / "home")


@pytest.fixture(scope="module")
def running_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home whose servers this process uses, for tests that leave them running."""
    home = tmp_path_factory.mktemp("running")
    ensure_postgres(environment_of(home))
    yield home
    stop_servers(home)


def environment_of(home: Path) -> Environment:
    return Environment.from_environ({"GENOMICS_HOME": str(home)})


def postgres_pid(home: Path) -> int:
    return int((home / "postgres" / "data" / "postmaster.pid").read_text().split()[0])


def supervisor_pid(home: Path) -> int:
    pid = ServerFolder(home).supervisor()
    assert pid
    return pid


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def execute(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def execute_again(url: str, statement: str) -> list[tuple[object, ...]]:
    """As a client with retries sees it, across a restart of the server."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return execute(url, statement)
        except psycopg.OperationalError:
            assert time.monotonic() < deadline, "the server did not come back"
            time.sleep(0.1)


def test_the_database_is_ready_with_its_settings_and_extensions(running_home: Path) -> None:
    url = ensure_postgres(environment_of(running_home))

    assert execute(url, "SELECT current_database(), current_setting('TimeZone'), current_setting('jit')") == [
        ("genomics", "UTC", "off")
    ]
    assert execute(url, "SELECT current_setting('fsync'), current_setting('synchronous_commit')") == [
        ("on", "on")
    ]
    execute(url, "CREATE EXTENSION btree_gist")
    execute(url, "CREATE EXTENSION pg_trgm")
    assert execute(url, "SELECT lower('ÄÖ')") == [("äö",)]


def test_only_who_can_read_the_home_gets_in(running_home: Path) -> None:
    url = ensure_postgres(environment_of(running_home))
    wrong = re.sub(r":[0-9a-f]{32}@", ":guess@", url)

    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        execute(wrong, "SELECT 1")
    assert ServerFolder(running_home).postgres_password.stat().st_mode & 0o777 == 0o600
    assert ServerFolder(running_home).path.stat().st_mode & 0o777 == 0o700
    assert execute(
        url, "SELECT current_setting('listen_addresses'), current_setting('unix_socket_directories')"
    ) == [("127.0.0.1", "")]


def test_logs_and_process_list_hold_no_password(running_home: Path) -> None:
    password = ServerFolder(running_home).postgres_password.read_text()

    for log in ServerFolder(running_home).path.glob("*.log"):
        assert password not in log.read_text()
    assert password not in subprocess.run(["ps", "axww"], capture_output=True, text=True, check=True).stdout


def test_processes_share_one_server(running_home: Path) -> None:
    user = User(running_home)

    assert user.url() == ensure_postgres(environment_of(running_home))

    user.leave()


def test_mongo_keeps_documents_over_a_kill(new_home: Path) -> None:
    import pymongo

    url = ensure_mongo(environment_of(new_home))
    with pymongo.MongoClient[dict[str, object]](url) as client:
        client.get_default_database()["traits"].insert_one({"_id": "height"})
        pid = ServerFolder(new_home).read_state()["mongo"].pid
        assert pid
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: ServerFolder(new_home).read_state()["mongo"].pid not in (None, pid))
        wait_until(lambda: ServerFolder(new_home).read_state()["mongo"].state == "ready")
        assert ensure_mongo(environment_of(new_home)) == url
        assert client.get_default_database()["traits"].find_one() == {"_id": "height"}
    assert not (new_home / "postgres").exists()


def test_a_configured_server_is_taken_as_it_is(tmp_path: Path) -> None:
    environment = Environment.from_environ(
        {
            "GENOMICS_HOME": str(tmp_path / "home"),
            "GENOMICS_POSTGRES_URL": "postgresql://ann:pw@db.example/genomics",
            "GENOMICS_MONGO_URL": "mongodb://db.example/zygotrix",
        }
    )

    assert ensure_postgres(environment) == "postgresql://ann:pw@db.example/genomics"
    assert ensure_mongo(environment) == "mongodb://db.example/zygotrix"
    assert not (tmp_path / "home").exists()


def test_the_printed_address_of_the_own_server_still_means_the_own_server(running_home: Path) -> None:
    url = ensure_postgres(environment_of(running_home))
    printed_before_a_restart = re.sub(r":\d+/", ":1/", url)

    environment = Environment.from_environ(
        {"GENOMICS_HOME": str(running_home), "GENOMICS_POSTGRES_URL": printed_before_a_restart}
    )
    assert ensure_postgres(environment) == url


def test_starters_at_once_start_one_server(new_home: Path) -> None:
    users = [User(new_home) for _ in range(4)]

    urls = {user.url() for user in users}

    assert len(urls) == 1
    log = ServerFolder(new_home).supervisor_log.read_text()
    assert log.count("started postgres") == 1
    assert log.count("supervising") == 1
    for user in users:
        user.kill()


def test_a_killed_server_comes_back_with_what_was_committed(new_home: Path) -> None:
    url = ensure_postgres(environment_of(new_home))
    execute(url, "CREATE TABLE kept AS SELECT 1 AS n")
    before = postgres_pid(new_home)
    with psycopg.connect(url) as open_transaction:
        open_transaction.execute("INSERT INTO kept VALUES (2)")
        killer = threading.Timer(0.5, os.kill, (before, signal.SIGKILL))
        killer.start()
        with contextlib.suppress(psycopg.OperationalError):
            # So busy that it does not look whether its server lives, which the next one must not wait for.
            open_transaction.execute("DO $$ BEGIN LOOP END LOOP; END $$")

    assert execute_again(url, "SELECT n FROM kept") == [(1,)]
    assert postgres_pid(new_home) != before


def test_a_killed_supervisor_is_replaced_and_its_servers_are_taken_over(new_home: Path) -> None:
    url = ensure_postgres(environment_of(new_home))
    server, supervisor = postgres_pid(new_home), supervisor_pid(new_home)
    os.kill(supervisor, signal.SIGKILL)
    wait_until(lambda: ServerFolder(new_home).supervisor() is None)

    assert ensure_postgres(environment_of(new_home)) == url
    assert postgres_pid(new_home) == server
    assert supervisor_pid(new_home) != supervisor

    os.kill(server, signal.SIGKILL)
    assert execute_again(url, "SELECT 1") == [(1,)]
    stop_servers(new_home)
    assert not (new_home / "postgres" / "data" / "postmaster.pid").exists()


def test_down_stops_servers_whose_supervisor_was_killed(new_home: Path) -> None:
    ensure_postgres(environment_of(new_home))
    server = postgres_pid(new_home)
    os.kill(supervisor_pid(new_home), signal.SIGKILL)

    stop_servers(new_home)

    assert not is_alive(server)


def test_the_last_user_out_stops_the_servers_even_when_killed(new_home: Path) -> None:
    first, second = User(new_home), User(new_home)
    assert first.url() == second.url()
    server, supervisor = postgres_pid(new_home), supervisor_pid(new_home)

    first.leave()
    time.sleep(1.5)
    assert is_alive(server)

    second.kill()
    wait_until(lambda: not is_alive(supervisor))
    assert not is_alive(server)
    assert not (new_home / "postgres" / "data" / "postmaster.pid").exists()


def test_pinned_servers_stay_without_a_user_until_they_are_stopped(new_home: Path) -> None:
    user = User(new_home)
    user.url()
    pin_servers(new_home)
    user.leave()
    time.sleep(1.5)
    server = postgres_pid(new_home)
    assert is_alive(server)

    stop_servers(new_home)

    assert not is_alive(server)
    assert ServerFolder(new_home).supervisor() is None
    assert not ServerFolder(new_home).pin.exists()


def test_two_homes_never_meet(new_home: Path, running_home: Path) -> None:
    here, there = ensure_postgres(environment_of(new_home)), ensure_postgres(environment_of(running_home))
    execute(there, "CREATE TABLE IF NOT EXISTS only_there ()")

    stop_servers(new_home)

    assert here != there
    assert execute(there, "SELECT to_regclass('only_there')::text") == [("only_there",)]


def test_data_outlives_a_stop_and_a_taken_port_is_left_to_its_taker(new_home: Path) -> None:
    url = ensure_postgres(environment_of(new_home))
    execute(url, "CREATE TABLE kept AS SELECT 1 AS n")
    stop_servers(new_home)
    port = ServerFolder(new_home).read_state()["postgres"].port
    assert port
    with socket.create_server(("127.0.0.1", port)):
        elsewhere = ensure_postgres(environment_of(new_home))

        assert f":{port}/" not in elsewhere
        assert execute(elsewhere, "SELECT n FROM kept") == [(1,)]

    stop_servers(new_home)
    assert ensure_postgres(environment_of(new_home)) == elsewhere


def test_a_lost_password_file_costs_no_data(new_home: Path) -> None:
    execute(ensure_postgres(environment_of(new_home)), "CREATE TABLE kept AS SELECT 1 AS n")
    stop_servers(new_home)
    ServerFolder(new_home).postgres_password.unlink()

    assert execute(ensure_postgres(environment_of(new_home)), "SELECT n FROM kept") == [(1,)]


@contextlib.contextmanager
def another_program(like: Path, then: str) -> Iterator[int]:
    """A process of the user that owns `like`; what it does is `then`. Its parent takes no note of its end."""
    script = """
import os, sys, time
pid = os.fork()
if pid == 0:
    os.setuid(int(sys.argv[1]))
    exec(sys.argv[2])
    os._exit(0)
print(pid, flush=True)
time.sleep(600)
"""
    command = [sys.executable, "-c", script, str(like.stat().st_uid), then]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as parent:
        assert parent.stdout is not None
        try:
            yield int(parent.stdout.readline())
        finally:
            os.killpg(parent.pid, signal.SIGKILL)


@pytest.mark.parametrize("then", ["time.sleep(600)", "pass"], ids=["it-lives", "its-end-is-unnoticed"])
def test_a_process_id_in_a_stale_file_does_not_hinder_a_start(new_home: Path, then: str) -> None:
    ensure_postgres(environment_of(new_home))
    stop_servers(new_home)
    data = new_home / "postgres" / "data"
    (data.with_name("data.unfinished-1") / "base").mkdir(parents=True)
    (new_home / "mongo").mkdir(exist_ok=True)

    with another_program(data, then) as pid:
        (data / "postmaster.pid").write_text(f"{pid}\n{data}\n1700000000\n5432\n\n127.0.0.1\n")
        (new_home / "mongo" / "server.pid").write_text(str(pid))

        assert execute(ensure_postgres(environment_of(new_home)), "SELECT 1") == [(1,)]
        assert ensure_mongo(environment_of(new_home)).startswith("mongodb://127.0.0.1:")
        assert then == "pass" or is_alive(pid)
    assert not data.with_name("data.unfinished-1").exists()


def test_a_deleted_home_takes_its_servers_along(new_home: Path) -> None:
    user = User(new_home)
    user.url()
    server = postgres_pid(new_home)

    shutil.rmtree(new_home / "servers")

    wait_until(lambda: not is_alive(server))
    user.kill()


def test_data_of_a_newer_postgres_is_refused_and_left_alone(new_home: Path) -> None:
    ensure_postgres(environment_of(new_home))
    stop_servers(new_home)
    version = new_home / "postgres" / "data" / "PG_VERSION"
    ours = version.read_text()
    version.write_text("99\n")

    with pytest.raises(
        ServerError, match=r"was made by PostgreSQL 99, .* brings PostgreSQL 18\. Remedy: update this"
    ):
        ensure_postgres(environment_of(new_home))
    version.write_text("14\n")
    with pytest.raises(ServerError, match=r"was made by PostgreSQL 14.*Remedy: dump it"):
        ensure_postgres(environment_of(new_home))

    version.write_text(ours)
    assert execute(ensure_postgres(environment_of(new_home)), "SELECT 1") == [(1,)]


def test_a_folder_of_something_else_is_refused(new_home: Path) -> None:
    (new_home / "postgres" / "data").mkdir(parents=True)
    (new_home / "postgres" / "data" / "thesis.doc").touch()

    with pytest.raises(
        ServerError, match=r"is not empty, but holds no PostgreSQL data\. Remedy: move it away"
    ):
        ensure_postgres(environment_of(new_home))
    assert (new_home / "postgres" / "data" / "thesis.doc").exists()


def test_a_damaged_data_folder_is_an_error_in_the_servers_own_words(new_home: Path) -> None:
    ensure_postgres(environment_of(new_home))
    stop_servers(new_home)
    (new_home / "postgres" / "data" / "global" / "pg_control").unlink()

    with pytest.raises(
        ServerError, match=r"PostgreSQL does not start: .*pg_control.* Remedy: look at .*postgres\.log"
    ):
        ensure_postgres(environment_of(new_home))


def test_data_in_use_by_another_checkout_is_refused_and_its_server_lives_on(
    running_home: Path, new_home: Path
) -> None:
    url = ensure_postgres(environment_of(running_home))
    server = postgres_pid(running_home)
    new_home.mkdir()
    (new_home / "postgres").symlink_to(running_home / "postgres")

    with pytest.raises(
        ServerError, match=r"is in use by a server of another checkout.*Remedy: stop it there"
    ):
        ensure_postgres(environment_of(new_home))

    (new_home / "postgres").unlink()
    stop_servers(new_home)
    assert execute(url, "SELECT 1") == [(1,)]
    assert postgres_pid(running_home) == server


def test_data_copied_from_a_running_server_is_refused(running_home: Path, new_home: Path) -> None:
    ensure_postgres(environment_of(running_home))
    data = new_home / "postgres" / "data"
    shutil.copytree(running_home / "postgres" / "data", data)
    data.chmod(0o700)
    if AS_ROOT:
        owner = (running_home / "postgres" / "data").stat()
        os.chown(data, owner.st_uid, owner.st_gid)

    with pytest.raises(ServerError, match=r"was copied from .* while the server there \(process \d+\) ran"):
        ensure_postgres(environment_of(new_home))


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(
        ServerError, match=r"/file/home/servers cannot be used: Not a directory\. Remedy: set GENOMICS"
    ):
        ensure_postgres(environment_of(tmp_path / "file" / "home"))


@pytest.mark.skipif(not AS_ROOT, reason="mounts a small file system")
def test_a_full_disk_is_named(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", disk], check=False, capture_output=True
    )
    if mount.returncode != 0:
        pytest.skip("this system does not let root mount a file system")
    try:
        with pytest.raises(
            ServerError, match=r"the disk that holds .*/disk/home.* is full\. Remedy: free some space"
        ):
            ensure_postgres(environment_of(disk / "home"))
    finally:
        stop_servers(disk / "home")
        os.close(resources.embedded._leases.pop(disk / "home"))
        # The supervisor's last file descriptors close with its process, an instant after its lock.
        wait_until(lambda: subprocess.run(["umount", disk], check=False, capture_output=True).returncode == 0)


@pytest.mark.skipif(not AS_ROOT, reason="only root's servers run as somebody else")
def test_roots_servers_run_without_rights_behind_a_closed_folder(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    home = closed / "home"
    try:
        url = ensure_postgres(environment_of(home))

        assert Path(f"/proc/{postgres_pid(home)}").stat().st_uid != 0
        ensure_mongo(environment_of(home))
        assert Path(f"/proc/{ServerFolder(home).read_state()['mongo'].pid}").stat().st_uid != 0
        # Nothing on the way was opened to others.
        assert closed.stat().st_mode & 0o777 == 0o700
        assert ServerFolder(home).path.stat().st_mode & 0o777 == 0o700
        execute(url, "CREATE TABLE kept AS SELECT 1 AS n")
        os.kill(postgres_pid(home), signal.SIGKILL)
        assert execute_again(url, "SELECT n FROM kept") == [(1,)]
    finally:
        stop_servers(home)


@pytest.mark.skipif(not AS_ROOT, reason="becomes another user")
def test_an_ordinary_user_starts_and_stops_servers_of_its_own(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    as_nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    # Its first exec may still have root's reach into a closed folder; what that process starts has not.
    starts = "import psycopg, subprocess, sys; subprocess.run([sys.executable, '-c', ''], check=True)"
    probe = subprocess.run([*as_nobody, sys.executable, "-c", starts], cwd=PROJECT, check=False)
    if probe.returncode != 0:
        pytest.skip("other users cannot reach this checkout's Python")
    folder = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    try:
        os.chown(folder, 65534, 65534)
        user = User(folder / "home", *as_nobody)
        assert execute(user.url(), "SELECT 1") == [(1,)]
        server, supervisor = postgres_pid(folder / "home"), supervisor_pid(folder / "home")
        assert Path(f"/proc/{supervisor}").stat().st_uid == 65534
        user.kill()
        wait_until(lambda: not is_alive(server))

        (folder / "closed").mkdir(mode=0o700)
        refused = User(folder / "closed" / "home", *as_nobody).error()
        assert re.search(
            r"no permission to use .*/closed/home.* Remedy: run as the owner of that folder", refused
        )
    finally:
        stop_servers(folder / "home")
        shutil.rmtree(folder)


def test_a_log_is_cut_before_it_fills_the_disk(tmp_path: Path) -> None:
    log = tmp_path / "postgres.log"
    with log.open("ab") as writer:
        writer.write(b"x" * 999 + b"\n")
        writer.flush()
        cut_log(log, limit=500)
        writer.write(b"next\n")

    assert log.read_bytes() == b"next\n"
    assert (tmp_path / "postgres.log.1").read_bytes() == b"x" * 499 + b"\n"
