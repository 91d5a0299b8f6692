"""How far a run is, on standard error: a moving line on a terminal, else a plain one at times."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from harness.runs.schema import How, Response

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

T = TypeVar("T")

QUIET_SECONDS = 2.0
"""What is over sooner shows no progress."""
PLAIN_SECONDS = 30.0
"""Between two lines where standard error is no terminal."""
LARGE_FILE = 1 << 30
"""Bytes; a smaller file is read in no time."""


class Progress:
    """Counts answers while they come."""

    def __init__(self, name: str, total: int) -> None:
        self._name, self._total = name, total
        self._began = self._shown = time.monotonic()
        self._done = self._tokens = 0
        self._unread = {"unparsed": 0, "truncated": 0, "error": 0}
        self._bar: Bar | None = None

    def __enter__(self) -> "Progress":
        self._began = self._shown = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def say(self, text: str) -> None:
        """Print one line about this run."""
        print(f"{self._name}: {text}", file=sys.stderr, flush=True)

    def step(self, response: Response, how: How) -> None:
        """Count one answer, and how its verdict was found."""
        self._done += 1
        self._tokens += response.tokens_out
        if how in self._unread:
            self._unread[how] += 1
        now = time.monotonic()
        if sys.stderr.isatty():
            if now - self._began > QUIET_SECONDS:
                self._move(now)
        elif now - self._shown > PLAIN_SECONDS:
            self._shown = now
            self.say(f"{self._done}/{self._total}  {self._rates(now)}  eta {self._eta(now)}")

    def _rates(self, now: float) -> str:
        seconds = max(now - self._began, 1e-9)
        unread = "  ".join(f"{count} {how}" for how, count in self._unread.items() if count)
        rates = f"{self._done / seconds:.1f}/s  {self._tokens / seconds:.0f} tokens/s"
        return f"{rates}  {unread}".rstrip()

    def _eta(self, now: float) -> str:
        left = round((now - self._began) / self._done * (self._total - self._done))
        return f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02}"

    def _move(self, now: float) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        if self._bar is None:
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(bar_width=10),
                TextColumn("{task.completed}/{task.total}"),
                TextColumn("{task.fields[rates]}"),
                TextColumn("eta"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.add_task(self._name, total=self._total, rates="")
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=self._done, rates=self._rates(now))


def counted(what: str, items: Iterable[T], total: int) -> Iterator[T]:
    """Pass items on, and show how many have come if it takes long.

    Args:
        what: What goes on, for the reader.
        items: In their order.
        total: How many will come.
    """
    began = shown = time.monotonic()
    bar: Bar | None = None
    try:
        for done, item in enumerate(items):
            now = time.monotonic()
            if not sys.stderr.isatty():
                if now - shown > PLAIN_SECONDS:
                    shown = now
                    print(f"driftbench: {what}: {done}/{total}", file=sys.stderr, flush=True)
            elif now - began > QUIET_SECONDS:
                bar = bar or _plain_bar(what, total)
                bar.update(bar.task_ids[0], completed=done)
            yield item
    finally:
        if bar:
            bar.stop()


def _plain_bar(what: str, total: int) -> "Bar":
    from rich.console import Console
    from rich.progress import Progress as Bar

    bar = Bar(console=Console(stderr=True), transient=True)
    bar.add_task(what, total=total)
    bar.start()
    return bar


@contextmanager
def reading(what: str, size: int) -> Iterator[Callable[[int], None]]:
    """Show on a terminal how far a large file is read; elsewhere say so once.

    Args:
        what: What goes on, for the reader.
        size: Of the file, in bytes.

    Yields:
        A function to be told the bytes of each piece.
    """
    if size < LARGE_FILE:
        yield lambda count: None
    elif not sys.stderr.isatty():
        print(f"driftbench: {what} ({size / 1e9:.1f} GB)", file=sys.stderr, flush=True)
        yield lambda count: None
    else:
        from rich.console import Console
        from rich.progress import Progress as Bar

        with Bar(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(what, total=size)
            yield lambda count: bar.advance(task, count)
