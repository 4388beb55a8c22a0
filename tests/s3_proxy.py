"""A proxy before an S3 server that fails as networks and busy servers do: 503s, answers cut off, watched requests."""

from __future__ import annotations

import http.client
import random
import socketserver
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

_SLOW_DOWN = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code>'
    b"<Message>Please reduce your request rate.</Message></Error>"
)


class S3Proxy:
    """Hands every request on to an S3 server, but for those that it fails.

    Args:
        endpoint: the server.
        busy: share of the requests that are answered with 503 and never handed on.
        cut: share of the GETs of more than 1 kB whose answer ends half-way.
        seed: makes the failures the same each time.
    """

    def __init__(self, endpoint: str, *, busy: float = 0.0, cut: float = 0.0, seed: int = 1) -> None:
        self.busy, self.cut = busy, cut
        self.failed = self.served = self.cut_off = 0
        self.after: Callable[[str, str], None] = lambda method, path: None
        """Called with method and path of each request that the server has carried out, before the answer."""
        self._target = urlsplit(endpoint).netloc
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> S3Proxy:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def falls_on(self, share: float) -> bool:
        with self._lock:
            return self._chance.random() < share


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    request_queue_size = 100

    def handle_error(self, *_: object) -> None:
        """A client that was killed is what tests do."""


def _handler(proxy: S3Proxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self._body()
            if proxy.falls_on(proxy.busy):
                proxy.failed += 1
                self._answer(503, [("Content-Type", "application/xml")], _SLOW_DOWN)
                return
            onward = http.client.HTTPConnection(proxy._target, timeout=60)
            onward.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("transfer-encoding", "content-length", "connection", "expect"):
                    onward.putheader(name, value)
            onward.putheader("Content-Length", str(len(body)))
            onward.endheaders(body)
            answer = onward.getresponse()
            found = answer.read()
            onward.close()
            proxy.served += 1
            proxy.after(self.command, self.path)
            self._answer(answer.status, answer.getheaders(), found)

        def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            self.send_response_only(status)
            lengths = [value for name, value in headers if name.lower() == "content-length"]
            for name, value in headers:
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            # A HEAD has a length and no body.
            self.send_header(
                "Content-Length", lengths[0] if self.command == "HEAD" and lengths else str(len(body))
            )
            self.end_headers()
            if self.command == "HEAD":
                return
            if self.command == "GET" and len(body) > 1000 and proxy.falls_on(proxy.cut):
                proxy.cut_off += 1
                self.wfile.write(body[: len(body) // 2])
                self.close_connection = True
                return
            self.wfile.write(body)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                pieces = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    pieces.append(self.rfile.read(size))
                    self.rfile.readline()
                while self.rfile.readline().strip():
                    pass
                return b"".join(pieces)
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any  # noqa: N815 - the server looks for these

        def log_message(self, *_: object) -> None: ...

    return Handler
