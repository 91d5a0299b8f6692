import io
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from harness.studies import display
from harness.studies.step import Step


@dataclass
class Scheduler:
    """What the display reads of a running study."""

    out: Path
    steps: list = field(default_factory=list)
    waiting: list = field(default_factory=list)
    running: list = field(default_factory=list)
    done: dict = field(default_factory=dict)
    failed: dict = field(default_factory=dict)
    after: dict = field(default_factory=dict)
    skipped: int = 0
    jobs: int = 1


@pytest.fixture
def pipe():
    return Console(file=io.StringIO(), width=200)


def test_a_pipe_hears_of_every_step_and_once_a_minute_that_all_goes_on(tmp_path, pipe, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "time", lambda: now[0])
    a, b = (Step(name=name, run=("train", "sft"), seconds=100) for name in "ab")
    scheduler = Scheduler(tmp_path, steps=[a, b], waiting=[b])
    scheduler.running = [SimpleNamespace(step=a, started=100.0)]
    shown = display._Display(scheduler, pipe)
    for _ in range(130):
        now[0] += 1
        shown.update()
    scheduler.done, scheduler.waiting = {"a": 130.0}, []
    scheduler.running = [SimpleNamespace(step=b, started=230.0)]
    shown.update()
    assert pipe.file.getvalue().splitlines() == [
        "[0/2] running a for 1 min 01 s, about 2 min 19 s left",
        "[0/2] running a for 2 min 02 s, about 2 min 20 s left",
        "[1/2] a: done in 130 s, about 2 min 10 s left",
    ]


def test_the_end_says_what_is_worth_opening(tmp_path, pipe, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = Step(name="report", run=("report", "."), writes=("report",))
    scheduler = Scheduler(tmp_path / "runs", steps=[report], done={"report": 3.0}, skipped=2)
    shown = display._Display(scheduler, pipe)
    shown.finish(3.0)
    assert pipe.file.getvalue().splitlines()[1:] == ["runs"]
    for name in ("report/index.html", "report/comparison.md", "steps/report.json"):
        path = tmp_path / "runs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    shown.finish(3.0)
    assert pipe.file.getvalue().splitlines()[2:] == [
        "1 steps run, 2 unchanged and skipped, 3 s",
        "Worth opening:",
        "runs/report/index.html  what came out, with every question and answer",
        "runs/report/comparison.md  the tables, as text",
        "runs/steps  what each step did, and its log",
    ]
