"""The containers of docker-compose.yml as plain processes: the same commands, environment and secrets, on loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import yaml
from stack import ROOT, wait_until


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Containers:
    """Services of the compose file; each has a home and a folder for temporary files of its own.

    Args:
        folder: for homes, secrets and logs.
        settings: what takes the place of addresses that only containers can reach.
        secrets: contents of the secrets by name.
    """

    def __init__(self, folder: Path, settings: dict[str, str], secrets: dict[str, str]) -> None:
        import re

        text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (ROOT / "docker-compose.yml").read_text())
        self.services: dict[str, Any] = yaml.safe_load(text)["services"]
        self.folder, self.settings = folder, settings
        self.code_port = free_port()
        self.ui_ports = {"webserver": free_port(), "webserver-read-only": free_port()}
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        (folder / "secrets").mkdir()
        for name, secret in secrets.items():
            (folder / "secrets" / name).write_text(secret)

    def environment(self, name: str) -> dict[str, str]:
        """What the compose file gives the service, and of this process only what finds programs."""
        own = self.folder / name
        (own / "tmp").mkdir(parents=True, exist_ok=True)
        given = {
            variable: str(value)
            .replace("/run/secrets", str(self.folder / "secrets"))
            .replace("/scratch", str(own / "tmp"))
            for variable, value in self.services[name].get("environment", {}).items()
        }
        return {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(own),
            "TMPDIR": str(own / "tmp"),
            **given,
            **{variable: value for variable, value in self.settings.items() if variable in given},
            "GENOMICS_HOME": str(own / "home"),
            "GENOMICS_CODE_HOST": "127.0.0.1",
            "GENOMICS_CODE_PORT": str(self.code_port),
        }

    def command(self, name: str, words: list[str]) -> list[str]:
        here = {"0.0.0.0": "127.0.0.1", "4000": str(self.code_port)}
        if name in self.ui_ports:
            here["3000"] = str(self.ui_ports[name])
        return [here.get(word, word.replace(":3000/", f":{here.get('3000')}/")) for word in words]

    def start(self, name: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                self.command(name, self.services[name]["command"]),
                cwd=ROOT, env=self.environment(name), stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
        return self.running[name]

    def finish(self, name: str) -> str:
        """Run a service that ends, and give what it said."""
        status = self.start(name).wait(180)
        assert status == 0, self.log(name)
        return self.log(name)

    def wait_until_healthy(self, name: str) -> None:
        """Until it listens, where it listens at all, and then until the compose file's own health check says so."""
        kind, *check = self.services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        port = self.code_port if name == "code" else self.ui_ports.get(name)

        def listening() -> bool:
            assert self.running[name].poll() is None, self.log(name)
            with socket.socket() as probe:
                return port is None or probe.connect_ex(("127.0.0.1", port)) == 0

        def healthy() -> bool:
            assert self.running[name].poll() is None, self.log(name)
            asked = subprocess.run(
                self.command(name, check), cwd=ROOT, env=self.environment(name), capture_output=True, check=False
            )  # fmt: skip
            return asked.returncode == 0

        wait_until(f"{name} listens", listening, seconds=300, every=0.2)
        # A check starts a Python; more of them would only hold up what they wait for.
        wait_until(f"{name} is healthy", healthy, seconds=300, every=5)

    def kill(self, name: str) -> None:
        """What a container's end is: every process in it is gone at once."""
        process = self.running.pop(name)
        family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        for one in family:
            one.suspend()
        for one in family:
            one.kill()
        process.wait()

    def stop(self) -> None:
        for process in self.running.values():
            if process.poll() is None:
                process.terminate()
        for name, process in list(self.running.items()):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill(name)
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")
