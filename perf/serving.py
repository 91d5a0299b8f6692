"""How fast `driftbench eval` gets answers of a served model, beside what the server could give.

    python perf/serving.py
    python perf/serving.py --rows "10000 0 512 queue"

The server is a process of its own on this machine. It answers each question after the same time, so
many at a time as it bears; what is more it lets wait, as vLLM does, or turns away at once (429).
Asking is the time from the first question that reaches it to the last answer. The ideal is as many
rounds as the server needs, each of one answer's time; where an answer takes none, it is a bare
client that posts bodies and throws the replies away.
"""

import argparse
import asyncio
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
ROWS = (
    "240 0.2 120 queue",
    "240 0.2 120 reject",
    "3000 5 512 queue",
    "3000 5 512 reject",
    "10000 0 512 queue",
    "50000 0 512 queue",
)
REPLY = json.dumps(
    {
        "model": "vlm",
        "choices": [{"message": {"content": "7"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 1},
    }
)


def main() -> None:
    """Print a line for each row, or be the server."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rows", nargs="*", default=ROWS, help="questions, seconds, limit, over")
    options.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.serve:
        seconds, limit, over = given.serve
        asyncio.run(Server(float(seconds), int(limit), over == "reject").run())
        return
    for row in given.rows:
        count, seconds, limit, over = row.split()
        with tempfile.TemporaryDirectory() as place:
            os.environ["XDG_CACHE_HOME"] = f"{place}/cache"
            words = [sys.executable, __file__, "--serve", seconds, limit, over]
            server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
            try:
                assert server.stdout
                url = server.stdout.readline().strip()
                print(f"{row}: {_measured(Path(place), url, int(count), row)}", flush=True)
            finally:
                server.kill()
                server.wait()


def _measured(place: Path, url: str, count: int, row: str) -> str:
    seconds, limit = float(row.split()[1]), int(row.split()[2])
    data = _world(place / "world", count)
    ideal = math.ceil(count / limit) * seconds or asyncio.run(_bare(url, count, limit))
    _told(url)
    began = time.monotonic()
    words = ["eval", "vlm", "--tasks", "pocket", "--data", str(data), "--out", f"{place}/run"]
    subprocess.run(
        [sys.executable, "-P", "-m", "driftbench", *words, "--engine", "server", "--endpoint", url],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    whole = time.monotonic() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    told = _told(url)
    card = json.loads((place / "run" / "run.json").read_bytes())
    asking = told["last"] - told["first"]
    return (
        f"ideal {ideal:.2f} s, asking {asking:.2f} s ({ideal / asking:.2f} of it), "
        f"run.json {card['seconds']:.2f} s, whole command {whole:.2f} s; {count / asking:.0f} a "
        f"second, {told['most']} in flight, {told['away']} turned away, {peak:.0f} MiB"
    )


def _told(url: str) -> dict[str, Any]:
    """Return what the server has seen since it was last asked."""
    with urllib.request.urlopen(f"{url}/seen") as reply:
        return json.loads(reply.read())


async def _bare(url: str, count: int, limit: int) -> float:
    """Return the seconds of a client that does nothing but ask."""
    import aiohttp

    body = json.dumps({"model": "vlm", "messages": [{"role": "user", "content": "x" * 600}]})
    left = iter(range(count))

    async def one(session: aiohttp.ClientSession) -> None:
        for _ in left:
            async with session.post(f"{url}/chat/completions", data=body) as reply:
                json.loads(await reply.read())

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        began = time.monotonic()
        await asyncio.gather(*(one(session) for _ in range(limit)))
        return time.monotonic() - began


def _world(folder: Path, count: int) -> Path:
    """Write questions with a small picture."""
    sys.path += [str(ROOT / "tests"), str(ROOT / "tests" / "harness")]
    import tiny_models as tiny

    folder.mkdir()
    (folder / "a.png").write_bytes(tiny.picture(1))
    with (folder / "test.jsonl").open("w") as file:
        for number in range(count):
            row = {"id": f"q{number}", "question": f"<image>q{number}", "answer": "7"}
            file.write(json.dumps(row | {"group": "perception", "images": ["a.png"]}) + "\n")
    return folder


class Server:
    """Answers after a time, so many at a time."""

    def __init__(self, seconds: float, limit: int, rejects: bool) -> None:
        self._seconds, self._limit, self._rejects = seconds, limit, rejects
        self._room = asyncio.Semaphore(limit)
        self._clear()
        self._busy = 0

    def _clear(self) -> None:
        self._first, self._last, self._most, self._away = 0.0, 0.0, 0, 0

    async def run(self) -> None:
        """Serve until killed; print the address."""
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, backlog=1024)
        print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
        await server.serve_forever()

    async def _connection(self, reader: Any, writer: Any) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(size or 0))
                status, content = await self._reply(head.split(b" ", 2)[1].decode())
                top = f"HTTP/1.1 {status} x\r\ncontent-length: {len(content)}\r\n\r\n"
                writer.write(f"{top}{content}".encode())
        writer.close()

    async def _reply(self, path: str) -> tuple[int, str]:
        if path.endswith("/models"):
            return 200, json.dumps({"data": [{"id": "vlm", "owned_by": "me"}]})
        if path.endswith("/seen"):
            told = {"first": self._first, "last": self._last, "most": self._most}
            content = json.dumps(told | {"away": self._away})
            self._clear()
            return 200, content
        self._first = self._first or time.monotonic()
        if self._rejects and self._room.locked():
            self._away += 1
            return 429, "{}"
        self._busy += 1
        self._most = max(self._most, self._busy)
        async with self._room:
            if self._seconds:
                await asyncio.sleep(self._seconds)
        self._busy -= 1
        self._last = time.monotonic()
        return 200, REPLY


if __name__ == "__main__":
    main()
