"""How far work is, on standard error: a moving line on a terminal, else a plain one at times."""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")

QUIET_SECONDS = 2.0
"""What is over sooner shows no progress."""
PLAIN_SECONDS = 30.0
"""Between two lines where standard error is no terminal."""
LARGE_FILE = 1 << 30
"""Bytes; a smaller file is read in no time."""


class Bar:
    """Counts what is done of what there is to do, from any number of threads."""

    def __init__(self, what: str, total: float, done: float = 0, unit: str = "") -> None:
        """Begin.

        Args:
            what: What goes on, for the reader.
            total: What there is to do.
            done: What of it is done already.
            unit: Of both, shown with one decimal; none: they are counts.
        """
        self._what, self._total, self._unit = what, total, unit
        self._done = self._first = done
        self._began = self._shown = time.monotonic()
        self._lock = threading.Lock()
        self._moving: Progress | None = None

    def __enter__(self) -> "Bar":
        self._began = self._shown = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave nothing of it on a terminal."""
        if self._moving:
            self._moving.stop()

    def add(self, count: float = 1, said: str = "") -> None:
        """Count more of it as done.

        Args:
            count: How much.
            said: What else there is to say of it.
        """
        with self._lock:
            self._done += count
            now = time.monotonic()
            if sys.stderr.isatty():
                if now - self._began > QUIET_SECONDS:
                    self._move(said)
            elif now - self._shown > PLAIN_SECONDS:
                self._shown = now
                parts = [self._counts(), said, f"eta {self._eta(now)}"]
                line = f"{self._what}: {'  '.join(filter(None, parts))}"
                print(line, file=sys.stderr, flush=True)

    def _counts(self) -> str:
        digits = 1 if self._unit else 0
        return f"{self._done:.{digits}f}/{self._total:.{digits}f} {self._unit}".rstrip()

    def _eta(self, now: float) -> str:
        rate = (self._done - self._first) / (now - self._began)
        left = round((self._total - self._done) / rate) if rate else 0
        return f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02}"

    def _move(self, said: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        if self._moving is None:
            self._moving = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=10),
                TextColumn("{task.fields[counts]}", markup=False),
                TextColumn("{task.fields[said]}", markup=False),
                TextColumn("eta"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._moving.add_task(self._what, total=self._total, counts="", said="")
            self._moving.start()
        task = self._moving.task_ids[0]
        self._moving.update(task, completed=self._done, counts=self._counts(), said=said)


def counted(what: str, items: Iterable[T], total: int) -> Iterator[T]:
    """Pass items on, and show how many have come if it takes long.

    Args:
        what: What goes on, for the reader.
        items: In their order.
        total: How many will come.
    """
    with Bar(what, total) as bar:
        for item in items:
            bar.add()
            yield item


@contextmanager
def working(what: str) -> Iterator[Callable[[str], None]]:
    """Say what goes on where it takes long: a moving line on a terminal, else a line for each.

    Args:
        what: What goes on, for the reader.

    Yields:
        A function to be told what goes on next.
    """
    if sys.stderr.isatty():
        from rich.console import Console

        with Console(stderr=True).status(what) as status:
            yield status.update
        return
    now = [what]
    ended = threading.Event()

    def tell() -> None:
        said = ""
        while not ended.wait(QUIET_SECONDS):
            if now[0] != said:
                said = now[0]
                print(f"{said} …", file=sys.stderr, flush=True)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield lambda text: now.__setitem__(0, text)
    finally:
        ended.set()
        teller.join()


@contextmanager
def reading(what: str, size: int) -> Iterator[Callable[[int], None]]:
    """Show how far large files are read; elsewhere than on a terminal say at once that they are.

    Args:
        what: What goes on, for the reader.
        size: Of the files, in bytes.

    Yields:
        A function to be told the bytes of each piece.
    """
    if size >= LARGE_FILE and not sys.stderr.isatty():
        print(f"{what} ({size / 1e9:.1f} GB)", file=sys.stderr, flush=True)
    with Bar(what, size / 1e9, unit="GB") as bar:
        yield lambda count: bar.add(count / 1e9)
