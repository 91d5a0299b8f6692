"""How far work is, on standard error: a moving line on a terminal, else a plain one at times."""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Timer
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")

QUIET_SECONDS = 2.0
"""What is over sooner shows no progress."""
PLAIN_SECONDS = 60.0
"""Between two lines where standard error is no terminal; the first comes after QUIET_SECONDS."""
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
        self._closed = False
        self._first_sign = Timer(QUIET_SECONDS, self._appear)
        self._first_sign.daemon = True
        self._first_sign.start()

    def __enter__(self) -> "Bar":
        self._began = self._shown = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave nothing of it on a terminal."""
        self._first_sign.cancel()
        with self._lock:
            self._closed = True
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
                self._print(now, said)

    def _appear(self) -> None:
        """Show that it goes on, though nothing of it may be done yet."""
        with self._lock:
            if self._closed or self._done == self._total:
                return
            if sys.stderr.isatty():
                self._move("")
            else:
                self._print(time.monotonic(), "")

    def _print(self, now: float, said: str) -> None:
        self._shown = now
        eta = f"eta {self._eta(now)}" if self._done > self._first else "…"
        line = f"{self._what}: {'  '.join(filter(None, [self._counts(), said, eta]))}"
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
                redirect_stdout=sys.stdout.isatty(),  # what goes into a file is not for a terminal
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


_outermost: Callable[[str], None] | None = None
"""Tells what the work within `working` is at."""


@contextmanager
def working(what: str) -> Iterator[Callable[[str], None]]:
    """Say what goes on where it takes long: a moving line on a terminal, else a line at times.

    Within another, that one says it.

    Args:
        what: What goes on, for the reader.

    Yields:
        A function to be told what goes on next.
    """
    global _outermost
    if _outermost is not None:
        _outermost(what)
        yield _outermost
        return
    now = [what]
    ended = threading.Event()
    teller = threading.Thread(target=_tell, args=(now, ended), daemon=True)
    teller.start()
    _outermost = lambda text: now.__setitem__(0, text)  # noqa: E731
    try:
        yield _outermost
    finally:
        _outermost = None
        ended.set()
        teller.join()


def _tell(now: list[str], ended: threading.Event) -> None:
    """Say what goes on until it has ended, but not before QUIET_SECONDS."""
    said, shown = "", 0.0
    while not ended.wait(QUIET_SECONDS):
        if sys.stderr.isatty():
            return _spin(now, ended)
        if now[0] != said or time.monotonic() - shown > PLAIN_SECONDS:
            said, shown = now[0], time.monotonic()
            print(f"{said} …", file=sys.stderr, flush=True)


def _spin(now: list[str], ended: threading.Event) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.spinner import Spinner

    spinner = Spinner("dots", text=now[0])
    with Live(
        spinner,
        console=Console(stderr=True),
        refresh_per_second=10,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
    ):
        while not ended.wait(0.1):
            spinner.update(text=now[0])


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
