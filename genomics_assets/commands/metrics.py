"""`metrics`: what Prometheus asks for, over HTTP or once as text."""

from __future__ import annotations

import threading
from collections.abc import Callable

from resources.environment import Environment

Out = Callable[[str], object]


class PortTakenError(RuntimeError):
    """The exporter cannot listen; the message says where and what to do."""


def metrics(
    environment: Environment, *, port: int | None, address: str = "127.0.0.1", out: Out = print
) -> int:
    """Serve metrics until Ctrl-C, or print them once for a textfile collector.

    Args:
        environment: the settings.
        port: to listen on; None: print once.
        address: to listen on; there is no login, so that the default is this machine alone.
        out: takes each line.

    Raises:
        PortTakenError: something else listens there.
    """
    from prometheus_client import CollectorRegistry, generate_latest, start_http_server

    from resources.metrics import StoreMetrics
    from resources.mongo import MongoResource
    from resources.postgres import PostgresResource

    registry = CollectorRegistry()
    registry.register(
        StoreMetrics(
            PostgresResource(url=environment.postgres_url, patience_seconds=5, max_connections=2),
            MongoResource(url=environment.mongo_url, server_selection_seconds=5),
        )
    )
    if port is None:
        out(generate_latest(registry).decode().rstrip("\n"))
        return 0
    try:
        server, _ = start_http_server(port, address, registry)
    except OSError as error:
        raise PortTakenError(
            f"cannot listen on {address}:{port} ({error.strerror}). Remedy: choose another port with --port."
        ) from None
    out(f"http://{address}:{server.server_port}/metrics")
    try:
        threading.Event().wait()
    finally:
        server.shutdown()
    return 0
