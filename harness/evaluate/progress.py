"""How far a run is: answers, their rate, and those that could not be read."""

import sys
import time

from common.progress import Bar
from harness.runs.schema import How, Response


class Progress:
    """Counts answers while they come."""

    def __init__(self, name: str, total: int) -> None:
        self._name, self._bar = name, Bar(name, total)
        self._began = time.monotonic()
        self._done = self._tokens = 0
        self._unread = {"unparsed": 0, "truncated": 0, "error": 0}

    def __enter__(self) -> "Progress":
        self._began = time.monotonic()
        self._bar.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def say(self, text: str) -> None:
        """Print one line about this run."""
        print(f"{self._name}: {text}", file=sys.stderr, flush=True)

    def step(self, response: Response, how: How) -> None:
        """Count one answer, and how its verdict was found."""
        self._done += 1
        self._tokens += response.tokens_out
        if how in self._unread:
            self._unread[how] += 1
        self._bar.add(said=self._rates(time.monotonic() - self._began))

    def _rates(self, seconds: float) -> str:
        seconds = max(seconds, 1e-9)
        unread = "  ".join(f"{count} {how}" for how, count in self._unread.items() if count)
        rates = f"{self._done / seconds:.1f}/s  {self._tokens / seconds:.0f} tokens/s"
        return f"{rates}  {unread}".rstrip()
