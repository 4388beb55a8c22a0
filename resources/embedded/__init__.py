"""PostgreSQL and a MongoDB-wire server that belong to one GENOMICS_HOME and are shared by all its processes.

A supervisor process of each home starts the servers that somebody asked for, restarts one that died, and
stops them about ten seconds after the last user has gone. A user is a process that holds a shared lock on the
lease file; the kernel drops it however the process ends. `pin_servers` keeps the servers without a user.

Files under the home: `servers/` (locks, passwords, logs, state), `postgres/data`, `mongo/`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from urllib.parse import urlsplit

from resources.embedded.errors import ServerError
from resources.embedded.folder import ServerFolder, ServerName, ServerState
from resources.embedded.launch import end_supervisor, start_supervisor, stop_orphans
from resources.environment import Environment

__all__ = [
    "ServerError",
    "ensure_mongo",
    "ensure_postgres",
    "ensure_servers",
    "lease_fd",
    "pin_servers",
    "stop_servers",
]

START_SECONDS = 120.0
"""How long a user waits for a server. Recovery after a crash of a busy server is what can take long."""

GRACE_SECONDS = 10.0
"""How long the servers outlive their last user, so that one command after another meets them warm."""

_leases: dict[Path, int] = {}


def ensure_postgres(environment: Environment) -> str:
    """URL of a PostgreSQL that answers: the configured one as it is, else the embedded one of this home.

    The embedded server is started where it does not run yet, and is kept for as long as this process lives.

    Raises:
        ServerError: when the server cannot start; says why and what to do.
    """
    if environment.postgres_url and not _is_own(environment):
        return environment.postgres_url
    _ensure(environment.home, ["postgres"])
    return _postgres_url(ServerFolder(environment.home))


def ensure_mongo(environment: Environment) -> str:
    """URL of a server that speaks MongoDB's protocol: the configured one, else the embedded one of this home.

    The embedded one has no passwords; it listens on the loopback interface alone.

    Raises:
        ServerError: when the server cannot start; says why and what to do.
    """
    if environment.mongo_url and not _is_own_mongo(environment):
        return environment.mongo_url
    _ensure(environment.home, ["mongo"])
    return _mongo_url(ServerFolder(environment.home))


def ensure_servers(environment: Environment) -> tuple[str, str]:
    """Both URLs, PostgreSQL's and MongoDB's; servers that have to be started start side by side."""
    wanted: list[ServerName] = []
    if not environment.postgres_url or _is_own(environment):
        wanted.append("postgres")
    if not environment.mongo_url or _is_own_mongo(environment):
        wanted.append("mongo")
    if wanted:
        _ensure(environment.home, wanted)
    return ensure_postgres(environment), ensure_mongo(environment)


def pin_servers(home: Path) -> None:
    """Keep the servers of this home running without a user, until `stop_servers`."""
    folder = ServerFolder(home)
    folder.make()
    folder.pin.touch()


def stop_servers(home: Path) -> None:
    """Stop the servers of this home at once, whoever uses them, and forget the pin.

    Raises:
        ServerError: when they are still there after a minute.
    """
    folder = ServerFolder(home)
    if not folder.path.is_dir():
        return
    folder.pin.unlink(missing_ok=True)
    end_supervisor(folder)
    stop_orphans(folder)


def lease_fd(home: Path) -> int:
    """Descriptor of this process's lease; a child that inherits it keeps the servers as well.

    Raises:
        ServerError: when the servers are being stopped and do not come to an end.
    """
    held = _leases.get(home)
    if held is not None and _same_file(held, ServerFolder(home).lease):
        return held
    folder = ServerFolder(home)
    folder.make()
    _leases[home] = folder.take_lease(timeout=START_SECONDS)
    if held is not None:
        os.close(held)
    return _leases[home]


def _ensure(home: Path, names: list[ServerName]) -> None:
    lease_fd(home)
    folder = ServerFolder(home)
    if folder.supervisor() is not None:
        state = folder.read_state()
        if all(name in state and state[name].state == "ready" and state[name].answers() for name in names):
            return
    asked = {name: folder.ask_for(name) for name in names}
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if folder.supervisor() is None:
            start_supervisor(folder, GRACE_SECONDS)
        state = folder.read_state()
        if all(_settled(state.get(name), asked[name]) for name in names):
            return
        time.sleep(0.02)
    slow = ", ".join(name for name in names if not _settled(folder.read_state().get(name), asked[name]))
    raise ServerError(
        f"the embedded server ({slow}) of {home} did not answer within {START_SECONDS:.0f} s",
        f"look at {names[0]}.log and supervisor.log in {folder.path}; a PostgreSQL that recovers needs time",
    )


def _settled(state: ServerState | None, asked: int) -> bool:
    if state is None or state.request < asked:
        return False
    if state.state == "failed":
        raise ServerError(state.problem or "the embedded server failed", state.remedy or "look at its log")
    return state.state == "ready"


def _postgres_url(folder: ServerFolder) -> str:
    password = folder.postgres_password.read_text().strip()
    return f"postgresql://postgres:{password}@127.0.0.1:{folder.read_state()['postgres'].port}/genomics"


def _mongo_url(folder: ServerFolder) -> str:
    return f"mongodb://127.0.0.1:{folder.read_state()['mongo'].port}/zygotrix"


def _is_own(environment: Environment) -> bool:
    """Whether the configured address is what `env` printed for this home; the port may have changed since."""
    try:
        password = ServerFolder(environment.home).postgres_password.read_text().strip()
    except OSError:
        return False
    return urlsplit(environment.postgres_url or "").password == password


def _is_own_mongo(environment: Environment) -> bool:
    folder = ServerFolder(environment.home)
    known = folder.read_state().get("mongo")
    return known is not None and environment.mongo_url == f"mongodb://127.0.0.1:{known.port}/zygotrix"


def _same_file(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except OSError:
        return False
