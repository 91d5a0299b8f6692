"""A server that speaks OpenAI's protocol from a function, and misbehaves on demand."""

import hashlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = dict[str, Any] | tuple[int, dict[str, Any]] | tuple[int, dict[str, Any], dict[str, str]]
"""A body, with a status, with headers; or a function of the connection that replies itself."""


def completion(text: Any, finish: str | None = "stop", **message: Any) -> dict[str, Any]:
    words = len(str(text or "").split())
    return {
        "model": "vlm",
        "choices": [{"message": {"content": text, **message}, "finish_reason": finish}],
        "usage": {"prompt_tokens": 10, "completion_tokens": words},
    }


def answer(body: dict[str, Any], of: int = 10) -> str:
    """Tell one of some answers from the message alone: whoever is asked says the same."""
    content = json.dumps(body["messages"], sort_keys=True)
    return str(int(hashlib.sha256(content.encode()).hexdigest(), 16) % of)


def raw(content: bytes, status: bytes = b"200 OK", length: int | None = None) -> Any:
    """Return a reply of these bytes; of another length than it tells, the connection ends in it."""
    size = len(content) if length is None else length

    def reply(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 %s\r\ncontent-length: %d\r\n\r\n" % (status, size) + content)
        handler.close_connection = size != len(content)

    return reply


@dataclass
class Pretend:
    """Serves while it is entered."""

    reply: Callable[[int, dict[str, Any]], Any] = lambda number, body: completion(answer(body))
    """Number of the request (from 0) and its body → `Reply`."""
    card: dict[str, Any] = field(default_factory=lambda: {"id": "vlm", "owned_by": "vllm"})
    listing: Any = None
    """`Reply` to who asks for the models, instead of a list of the card."""
    version: Any = "0.32.0"
    """Or a `Reply` to who asks for it."""
    port: int = 0
    bodies: list[dict[str, Any]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    most: int = 0
    """Requests that were in flight together."""

    def __enter__(self) -> "Pretend":
        pretend, lock = self, threading.Lock()
        flying = 0

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                listing, version = pretend.listing, pretend.version
                pages: dict[str, Any] = {
                    "/v1/models": {"data": [pretend.card]} if listing is None else listing,
                    "/version": {"version": version} if isinstance(version, str) else version,
                }
                told = pages.get(self.path, (404, {"error": {"message": "there is no such page"}}))
                if callable(told):
                    return told(self)
                self.send(*told) if isinstance(told, tuple) else self.send(200, told)

            def do_POST(self) -> None:
                nonlocal flying
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with lock:
                    number = len(pretend.bodies)
                    pretend.bodies.append(body)
                    pretend.times.append(time.monotonic())
                    pretend.headers.append({k.lower(): v for k, v in self.headers.items()})
                    flying += 1
                    pretend.most = max(pretend.most, flying)
                try:
                    reply = pretend.reply(number, body)
                    if callable(reply):
                        return reply(self)
                finally:
                    with lock:
                        flying -= 1
                self.send(*reply) if isinstance(reply, tuple) else self.send(200, reply)

            def send(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
                content = json.dumps(body).encode()
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: Any) -> None:
                pass  # the other side is gone

        self._handlers: set[Any] = set()
        handlers = self._handlers

        class Tracked(Handler):
            def setup(self) -> None:
                super().setup()
                handlers.add(self.connection)

            def finish(self) -> None:
                handlers.discard(self.connection)
                super().finish()

        self._server = Server(("127.0.0.1", self.port), Tracked)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.die()

    def die(self) -> None:
        """Take no connections and drop those that are open, as a killed process does."""
        import socket

        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for connection in list(self._handlers):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"
