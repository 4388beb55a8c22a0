"""A whole stack of its own for a test: `up` in a home of its own, files to drop, processes to kill."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import psycopg

ROOT = Path(__file__).resolve().parents[2]


def wait_until(what: str, holds: Callable[[], Any], seconds: float = 120, every: float = 0.1) -> Any:
    """Poll until `holds()` is truthy, and give its value; fail naming what was waited for."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := holds():
            return value
        time.sleep(every)
    raise AssertionError(f"waited {seconds} s in vain: {what}")


class Stack:
    """Commands of the project against one GENOMICS_HOME.

    Args:
        home: the home.
        variables: settings beside it.
    """

    def __init__(self, home: Path, variables: Mapping[str, str] | None = None) -> None:
        self.home = home
        self.environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("GENOMICS_", "DAGSTER_"))
            },
            "GENOMICS_HOME": str(home),
            **(variables or {}),
        }
        self.up_process: subprocess.Popen[str] | None = None
        self._settings: dict[str, str] = {}

    # -- commands ----------------------------------------------------------------------------------------------

    def command(self, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "genomics_assets", *arguments],
            cwd=ROOT, env=self.environment, text=True, capture_output=True, timeout=timeout, check=False,
        )  # fmt: skip

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        self.home.mkdir(parents=True, exist_ok=True)
        log = (self.home / f"{arguments[0]}.test.log").open("w")
        return subprocess.Popen(
            [sys.executable, "-m", "genomics_assets", *arguments],
            cwd=ROOT, env=self.environment, text=True, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def up(self) -> None:
        if self.up_process is not None and self.up_process.poll() is None:
            return
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        # The examples are for people; a test drops its own files.
        self.home.mkdir(parents=True, exist_ok=True)
        (self.home / "examples-dropped").touch()
        self.up_process = self.start("up", "--port", str(self.port))
        wait_until("`up` says that it is ready", self._is_ready, seconds=400)

    def _is_ready(self) -> bool:
        assert self.up_process is not None
        said = (self.home / "up.test.log").read_text()
        assert self.up_process.poll() is None, said
        return f"http://127.0.0.1:{self.port}" in said

    def down(self) -> None:
        if self.up_process is not None and self.up_process.poll() is None:
            self.up_process.send_signal(signal.SIGINT)
            self.up_process.wait(60)
        self.command("down")

    @property
    def settings(self) -> dict[str, str]:
        if not self._settings:
            printed = self.command("env")
            assert printed.returncode == 0, printed.stderr
            lines = [line.partition("=") for line in printed.stdout.splitlines() if "=" in line]
            self._settings = {name: value.strip("'\"") for name, _, value in lines}
        return self._settings

    # -- files and tables --------------------------------------------------------------------------------------

    def drop(self, name: str, content: bytes, folder: str = "vcf") -> Path:
        """Put a file into a folder of the inbox."""
        return self.put(f"{folder}/{name}", content)

    def put(self, name: str, content: bytes) -> Path:
        """Put a file into the inbox the careful way: under a name that is not taken, then renamed."""
        path = self.home / "inbox" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        part.write_bytes(content)
        part.rename(path)
        return path

    def query(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.settings["GENOMICS_POSTGRES_URL"]) as connection:
            return connection.execute(sql, parameters).fetchall()  # type: ignore[arg-type]

    def number(self, sql: str, *parameters: object) -> int:
        return int(self.query(sql, *parameters)[0][0])

    # -- processes ---------------------------------------------------------------------------------------------

    def processes(self) -> list[psutil.Process]:
        """Every process that works for this home."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("GENOMICS_HOME") == str(self.home):
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
        return found

    def kill(self, *words: str) -> int:
        """`kill -9` the processes of this home whose command line has all the words; say how many there were."""
        killed = 0
        for process in self.processes():
            try:
                line = " ".join(process.cmdline())
                if all(word in line for word in words):
                    process.kill()
                    killed += 1
            except psutil.NoSuchProcess:
                continue
        return killed

    def kill_workers(self) -> int:
        """`kill -9` the processes that work on runs; say how many there were. Theirs is the command line of their parent."""
        killed = 0
        for process in self.processes():
            try:
                parent = process.parent()
                if parent is not None and all(
                    "resources.worker_template" in p.cmdline() for p in (process, parent)
                ):
                    process.kill()
                    killed += 1
            except psutil.NoSuchProcess:
                continue
        return killed

    def kill_everything(self) -> None:
        """`kill -9` every process of this home at once, as a power cut does; the servers too."""
        self.kill_postgres()
        deadline = time.monotonic() + 30
        while self.kill() and time.monotonic() < deadline:
            time.sleep(0.1)
        if self.up_process is not None:
            self.up_process.wait()

    def kill_postgres(self) -> None:
        """`kill -9` the server's first process; its children notice and go."""
        [pid_file] = self.home.rglob("postmaster.pid")
        os.kill(int(pid_file.read_text().split()[0]), signal.SIGKILL)
