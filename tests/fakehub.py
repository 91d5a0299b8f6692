"""A hub in miniature on the loopback: folders below a root are its repositories.

`models/owner/name` and `datasets/owner/name`; `main` and the commit, a digest of the content, are
their revisions. `hub.faults["owner/name"]` says what is wrong with one.
"""

import hashlib
import json
import threading
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import sleep
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True)
class Fault:
    """What a repository answers instead."""

    status: int = 0
    code: str = ""
    """`X-Error-Code`, by which the hub's client tells what is meant."""
    cut: bool = False
    """Files break off in the middle."""
    seconds: float = 0.0
    """Each answer takes so long."""
    only_files: bool = False
    """What it is, is told all the same."""


GATED = Fault(401, "GatedRepo")


class FakeHub:
    """The server; a context manager."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.faults: dict[str, Fault] = {}
        self.requests: list[str] = []
        """Paths, in order."""
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        # A client that has given up waiting is no news.
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> "FakeHub":
        serve = partial(self.server.serve_forever, poll_interval=0.01)
        threading.Thread(target=serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def folder(self, name: str, kind: str = "models") -> Path:
        """Return the folder of a repository, made if it is not there."""
        found = self.root / kind / name
        found.mkdir(parents=True, exist_ok=True)
        return found

    def files(self, folder: Path) -> dict[str, bytes]:
        """Return the content of a repository by name."""
        found = sorted(path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}

    def commit(self, name: str, kind: str = "models") -> str:
        """Return the commit of what a repository holds now."""
        return hashlib.sha1(repr(self.files(self.folder(name, kind))).encode()).hexdigest()

    def fetched(self) -> list[str]:
        """Return the names of the files that were fetched."""
        files = {unquote(path) for path in self.requests if "/resolve/" in path}
        return sorted(path.split("/resolve/")[1].split("/", 1)[1] for path in files)


def _handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            hub.requests.append(self.path)
            words = unquote(urlsplit(self.path).path).strip("/").split("/")
            api = words[0] == "api"
            words = words[api:]
            kind = words.pop(0) if words[0] in ("models", "datasets") else "models"
            name, what = "/".join(words[:2]), words[2:] or ["revision", "main"]
            folder, fault = hub.root / kind / name, hub.faults.get(name, Fault())
            sleep(fault.seconds)
            if fault.status and not (api and fault.only_files):
                return self.reply(fault.status, X_Error_Code=fault.code)
            if not folder.is_dir():
                return self.reply(401, X_Error_Code="RepoNotFound")
            commit = hub.commit(name, kind)
            if what[1] not in ("main", commit):
                return self.reply(404, X_Error_Code="RevisionNotFound")
            files = hub.files(folder)
            if not api:
                content = files["/".join(what[2:])]
                etag = f'"{hashlib.sha1(content).hexdigest()}"'
                return self.reply(200, content, fault.cut, X_Repo_Commit=commit, ETag=etag)
            if what[0] == "tree":
                return self.json([_entry(*item, "path") for item in files.items()])
            siblings = [_entry(*item, "rfilename") for item in files.items()]
            return self.json({"_id": "0", "id": name, "sha": commit, "siblings": siblings})

        def json(self, value: object) -> None:
            self.reply(200, json.dumps(value).encode(), Content_Type="application/json")

        def reply(self, status: int, content: bytes = b"", cut: bool = False, **head: str) -> None:
            self.send_response(status)
            for field, value in head.items():
                self.send_header(field.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content[: len(content) // 2] if cut else content)
            self.close_connection = self.close_connection or cut

    return Handler


def _entry(name: str, content: bytes, field: str) -> dict[str, object]:
    oid = hashlib.sha1(content).hexdigest()
    return {"type": "file", field: name, "size": len(content), "oid": oid, "blobId": oid}
