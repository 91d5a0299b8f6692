"""What a running study shows: the steps under way, how long they have taken, what is left."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.studies.process import Running
    from harness.studies.runner import Scheduler

UNSAID = ("it/s]", "Warning", "warn")


@contextmanager
def display(scheduler: "Scheduler") -> Iterator["_Display"]:
    """A live panel on a terminal, a line a step elsewhere."""
    from rich.console import Console

    console = Console(stderr=True)
    shown = _Display(scheduler, console)
    if not console.is_terminal:
        yield shown
        return
    from rich.live import Live

    with Live(console=console, refresh_per_second=4, transient=True) as live:
        shown.live = live
        yield shown


class _Display:
    def __init__(self, scheduler: "Scheduler", console: Any) -> None:
        self.scheduler, self.console = scheduler, console
        self.live: Any = None
        self.told: set[str] = set()
        self.started = time.monotonic()

    def update(self) -> None:
        """Tell what has ended since the last call; redraw the panel."""
        for name, seconds in self.scheduler.done.items():
            if name not in self.told:
                self.told.add(name)
                left = "" if self.live else f", about {clock(self.left())} left"
                said = f"{self._count()} {name}: done in {seconds:.0f} s{left}"
                self.console.print(said, markup=False)
        for name, why in self.scheduler.failed.items():
            if name not in self.told:
                self.told.add(name)
                self.console.print(f"{self._count()} {why}", markup=False)
        if self.live:
            self.live.update(self._panel())

    def finish(self, seconds: float) -> None:
        """The closing line."""
        ran, skipped = len(self.scheduler.done), self.scheduler.skipped
        unchanged = f", {skipped} unchanged and skipped" if skipped else ""
        out = self.scheduler.out
        written = [
            out / path / "index.html" for step in self.scheduler.steps for path in step.writes
        ]
        pages = [page for page in written if page.is_file()]
        self.console.print(f"{ran} steps run{unchanged}, {clock(seconds)}")
        for place in pages or [out]:
            self.console.print(str(place), markup=False, soft_wrap=True)

    def left(self) -> float:
        """Seconds until the end: the steps' figures, scaled by how they came true so far."""
        steps = {step.name: step.seconds for step in self.scheduler.steps}
        expected = sum(steps[name] for name in self.scheduler.done)
        pace = sum(self.scheduler.done.values()) / expected if expected else 1.0
        rest = sum(step.seconds for step in self.scheduler.waiting)
        for run in self.scheduler.running:
            rest += max(0.0, run.step.seconds - (time.time() - run.started) / pace)
        return rest * pace / min(self.scheduler.jobs, max(1, len(steps)))

    def _count(self) -> str:
        ended = len(self.scheduler.done) + len(self.scheduler.failed) + self.scheduler.skipped
        return f"[{ended}/{len(self.scheduler.steps)}]"

    def _panel(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, show_header=False, padding=(0, 1))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, justify="right")
        table.add_column(no_wrap=True, overflow="ellipsis", style="dim")
        for run in self.scheduler.running:
            table.add_row(run.step.name, clock(time.time() - run.started), Text(_saying(run)))
        table.add_row(
            self._count(),
            clock(time.monotonic() - self.started),
            Text(f"about {clock(self.left())} left"),
        )
        return table


def _saying(run: "Running") -> str:
    from harness.studies.process import last_lines

    lines = [line for line in last_lines(run.log, 20) if not any(w in line for w in UNSAID)]
    return lines[-1] if lines else ""


def clock(seconds: float) -> str:
    """`9 s`, `2 min 05 s`, `1 h 20 min`."""
    whole = round(max(0.0, seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
