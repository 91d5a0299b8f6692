"""What a running study shows: the steps under way, how long they have taken, what is left."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.studies.process import Running
    from harness.studies.runner import Scheduler

QUIET = 60.0
"""Seconds after which a pipe hears that all goes on."""

FRESH = 2.0
"""Seconds for which the time left is not worked out anew."""

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
        self.started = self.said = time.monotonic()
        self.asked = self.end = 0.0

    def update(self) -> None:
        """Tell what has ended since the last call; redraw the panel."""
        for name, seconds in self.scheduler.done.items():
            if name not in self.told:
                self.told.add(name)
                self._say(f"{name}: done in {seconds:.0f} s{self._left()}")
        for name, why in self.scheduler.failed.items():
            if name not in self.told:
                self.told.add(name)
                self._say(why)
        if self.live:
            self.live.update(self._panel())
        elif time.monotonic() - self.said > QUIET and self.scheduler.running:
            now = time.time()
            running = (
                f"{r.step.name} for {clock(now - r.started)}" for r in self.scheduler.running
            )
            self._say(f"running {', '.join(running)}{self._left()}")

    def _say(self, text: str) -> None:
        self.said = time.monotonic()
        self.console.print(f"{self._count()} {text}", markup=False, soft_wrap=True)

    def _left(self) -> str:
        return "" if self.live else f", about {clock(self.left())} left"

    def finish(self, seconds: float) -> None:
        """The closing line."""
        ran, skipped = len(self.scheduler.done), self.scheduler.skipped
        unchanged = f", {skipped} unchanged and skipped" if skipped else ""
        self.console.print(f"{ran} steps run{unchanged}, {clock(seconds)}")
        found = [(place, what) for place, what in self._worth() if place.exists()]
        if found:
            self.console.print("Worth opening:")
        for place, what in found or [(self.scheduler.out, "")]:
            self.console.print(f"{shortened(place)}  {what}".strip(), markup=False, soft_wrap=True)

    def _worth(self) -> Iterator[tuple[Path, str]]:
        out = self.scheduler.out
        for folder in (out / path for step in self.scheduler.steps for path in step.writes):
            if (folder / "index.html").exists():
                yield folder / "index.html", "what came out, with every question and answer"
                yield folder / "study.md", "what the study says, as text"
                yield folder / "comparison.md", "the tables, as text"
                yield out / "steps", "what each step did, and its log"

    def left(self) -> float:
        """Seconds until the end; worked out anew every few seconds."""
        from harness.studies.forecast import left

        scheduler, now = self.scheduler, time.time()
        if now - self.asked > FRESH:
            steps = {step.name: step for step in scheduler.steps}
            rest = left(
                scheduler.waiting,
                {run.step: now - run.started for run in scheduler.running},
                {steps[name]: seconds for name, seconds in scheduler.done.items()},
                scheduler.after,
                jobs=scheduler.jobs,
            )
            self.asked, self.end = now, now + rest
        return max(0.0, self.end - now)

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


def shortened(path: Path) -> Path:
    """A path as it is typed here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def clock(seconds: float) -> str:
    """`9 s`, `2 min 05 s`, `1 h 20 min`."""
    whole = round(max(0.0, seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
