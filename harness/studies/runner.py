"""Running a study: each step a process of its own, skipped when nothing it reads has changed.

A step waits for those that write what it reads; one that fails stops those that wait for it, and no
other. What was done lies in `steps/<step>.json`: command, seconds, peak memory, fingerprints of the
code, of what decided the result (`harness.studies.inputs`) and of what was written. A step is
skipped when these still hold, on any number of GPUs. How it began lies in `steps/<step>.begun`: one
that was stopped goes on from what it left if it begins so again, on as many GPUs. The study itself
lies in `steps/study.json`, see `harness.studies.record`.
"""

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common import processes
from common.errors import UserError
from common.files import clear
from common.typed import read_json
from harness.engines.gpus import visible
from harness.runs.folder import write_json
from harness.studies import inputs as inputs_of
from harness.studies import process, record
from harness.studies.fingerprints import Fingerprints
from harness.studies.folder import check_links, claim, locked
from harness.studies.forks import Forks
from harness.studies.step import (
    ACCUMULATE,
    COMMANDS,
    STATE,
    Design,
    Step,
    Study,
    after,
    record_name,
    room,
)

MEASURE_SECONDS = 1.0
"""Between two looks at the memory of the steps."""


def run(
    study: Study,
    out: Path,
    jobs: int | None = None,
    gpus: int = 1,
    *,
    steps: Sequence[Step] = (),
) -> None:
    """Run a study, or what is left of it.

    Args:
        study: It.
        out: Its folder; must be empty, new, or hold the same study.
        jobs: Steps at a time, by default one a core and at most four, or one a GPU.
        gpus: GPUs to use, where there are any.
        steps: Some of its steps, instead of all.

    Raises:
        UserError: The folder holds something else, there are too few GPUs, or steps failed.
    """
    out = out.absolute()
    check_gpus(study, gpus)
    free = visible()
    if 0 < len(free) < gpus:
        raise UserError(f"--gpus {gpus}, but {len(free)} are visible: give fewer")
    chosen = steps or study.steps
    claim(out, study, room(chosen))
    jobs = jobs or max(gpus, min(4, os.cpu_count() or 1))
    with locked(out):
        Scheduler(study, chosen, out, jobs=jobs, gpus=gpus, devices=free[:gpus]).go()


def check_gpus(study: Study, gpus: int) -> None:
    """Stop where the study's global batch cannot be shared out.

    Raises:
        UserError: `gpus` does not divide it.
    """
    batch = study.global_batch
    if batch and batch % gpus:
        able = ", ".join(str(n) for n in range(1, batch + 1) if batch % n == 0)
        raise UserError(
            f"--gpus {gpus} does not divide the study's global batch of {batch}: give one of {able}"
        )


# Running


class Scheduler:
    """Starts what is ready, skips what is unchanged, tells how it goes."""

    def __init__(
        self,
        study: Study,
        steps: Sequence[Step],
        out: Path,
        *,
        jobs: int,
        gpus: int,
        devices: Sequence[str],
    ) -> None:
        self.study, self.steps, self.out, self.jobs, self.gpus = study, steps, out, jobs, gpus
        self.fingerprints = Fingerprints(out / STATE / "fingerprints.json")
        made_by = {COMMANDS[step.run[0]] for step in steps}
        self.code = {packages: self.fingerprints.code(packages) for packages in made_by}
        self.outside = inputs_of.Outside(out, self.fingerprints)
        self.design = Design()
        self.waiting = list(steps)
        self.after = after(steps)
        self.running: list[process.Running] = []
        self.read: dict[str, str | None] = {}
        self.skipped = 0
        self.done: dict[str, float] = {}
        self.failed: dict[str, str] = {}
        """Step → why."""
        self.barred: list[str] = []
        """Steps that wait for one that failed."""
        self.peak = 0
        self.measured = 0.0
        self.environment: dict[str, str] = {}
        self.forks: Forks | None = None
        self.free = list(devices)
        self.on_gpus = bool(self.free)

    def go(self) -> None:
        """Until nothing is left.

        Raises:
            UserError: Steps failed; it names them all.
        """
        from harness.studies.display import display

        started = time.monotonic()
        processes.end_spawned()  # torchrun's ranks, and engines of the steps
        record.write(self.study, self.out)
        self.design = record.read(self.out) or Design()
        with process.bytecode() as bytecode, display(self) as shown:
            self.environment = process.surroundings(self.study, bytecode)
            try:
                self._start_ready()
                while self.running:
                    time.sleep(0.1)
                    if self._collect():
                        self._start_ready()
                    shown.update()
            except BaseException:
                processes.stop(run.process for run in self.running)
                raise
            finally:
                if self.forks:
                    self.forks.stop()
                self.fingerprints.save()
                seconds = time.monotonic() - started
                if self.done:
                    whole = len(self.done) == len(self.study.steps)
                    record.spend(self.out, seconds, self.peak, whole=whole)
        shown.finish(seconds)
        if self.failed:
            barred = f"; not run, as they need these: {', '.join(self.barred)}"
            raise UserError(
                "; ".join(self.failed.values())
                + (barred if self.barred else "")
                + "; the same command goes on from here"
            )

    def _start_ready(self) -> None:
        """Skip or start whatever waits for nothing more, as far as there is room."""
        looking = True
        while looking:
            looking = False
            for step in list(self.waiting):
                if step not in self.waiting or self._must_wait(step):
                    continue
                reads = {path: self._read(path) for path in step.reads}
                if missing := [path for path, found in reads.items() if found is None]:
                    self.waiting.remove(step)
                    said = f"step {step.name} reads {missing[0]}, which no step has written"
                    self._fail(step, said)
                    looking = True
                elif self._unchanged(step, inputs := self._inputs(step, reads)):
                    self.waiting.remove(step)
                    self.skipped += 1
                    looking = True  # what reads its output may be ready now
                elif len(self.running) < self.jobs and self._has_gpus(step):
                    self.waiting.remove(step)
                    try:
                        self.running.append(self._start(step, inputs))
                    except UserError as error:
                        self._fail(step, f"step {step.name} cannot start: {error}")
                        looking = True

    def _fail(self, step: Step, why: str) -> None:
        """Put a failure on record, and leave out what needs the step."""
        self.failed[step.name] = why
        lost = {step.name}
        while more := [one for one in self.waiting if self.after[one.name] & lost]:
            lost |= {one.name for one in more}
            self.barred += [one.name for one in more]
            self.waiting = [one for one in self.waiting if one not in more]

    def _must_wait(self, step: Step) -> bool:
        pending = {one.name for one in (*self.waiting, *(run.step for run in self.running))}
        return not self.after[step.name].isdisjoint(pending)

    def _gpus_of(self, step: Step) -> int:
        if not (step.gpu and self.on_gpus):
            return 0
        return 1 if step.gpu == "one" else self.gpus

    def _has_gpus(self, step: Step) -> bool:
        """Whether a step's GPUs are free, and not for another.

        One that takes a single GPU, for hours, comes after all that take every GPU and need
        nothing of its kind: these would wait for it with the others idle.
        """
        if self._gpus_of(step) > len(self.free):
            return False
        if step.gpu != "one" or not self.on_gpus or self.gpus == 1:
            return True
        pending = [*self.waiting, *(run.step for run in self.running)]
        late = {one.name for one in pending if one.gpu == "one"}
        while more := {one.name for one in pending if self.after[one.name] & late} - late:
            late |= more
        return not any(one.gpu and one.name not in late for one in self.waiting)

    def _read(self, path: str) -> str | None:
        """Fingerprint of what a step reads: looked at once, as all that write it have ended."""
        if self.read.get(path) is None:
            self.read[path] = self.fingerprints.tree(self.out / path)
        return self.read[path]

    def _record(self, step: Step) -> Path:
        return self.out / STATE / f"{record_name(step.name)}.json"

    def _inputs(self, step: Step, reads: dict[str, str | None]) -> dict[str, Any]:
        return inputs_of.of(step, reads, self.design, self.outside)

    def _unchanged(self, step: Step, inputs: dict[str, Any]) -> bool:
        held = _noted(self._record(step))
        if held is None:
            return False
        now = {"run": list(step.run), **inputs, **self._made_of(step)}
        lacking = {name: now[name] for name in inputs_of.LATER if name in now.keys() - held.keys()}
        if any((held | lacking).get(name) != value for name, value in now.items()):
            return False
        if lacking:
            write_json(self._record(step), held | lacking)
        return True

    def _made_by(self, step: Step) -> dict[str, Any]:
        made: dict[str, Any] = {
            "threads": self.study.threads,
            "code": self.code[COMMANDS[step.run[0]]],
        }
        if any(ACCUMULATE in word for word in step.run):
            made["global_batch"] = self.study.global_batch
        return made

    def _made_of(self, step: Step) -> dict[str, Any]:
        writes = {path: self.fingerprints.tree(self.out / path) for path in step.writes}
        return {**self._made_by(step), "writes": writes}

    def _start(self, step: Step, inputs: dict[str, Any]) -> process.Running:
        # Before anything is removed: a setting may not have been chosen.
        words = process.command(step, self.study, self.gpus, self.out)
        note = self._record(step).with_suffix(".begun")
        made_by = {name: by for name, by in self._made_by(step).items() if name != "code"}
        begun = {"command": words, **inputs, **made_by}
        # A training goes on from its checkpoints in `<out>.partial`, and refuses those of another.
        is_another = _noted(note) not in (None, begun)
        for path in step.writes:
            check_links(self.out, path)
            if not step.resumes:
                clear(self.out / path)
            if is_another:
                clear(self.out / f"{path}.partial")
        write_json(note, begun)
        devices = self.free[: self._gpus_of(step)]
        if self.study.forked and not self.on_gpus and sys.platform == "linux" and not self.forks:
            self.forks = Forks(self.environment, self.out / STATE / "forks.log")
        running = process.start(
            step,
            words,
            self.study,
            self.out,
            gpus=self.gpus,
            devices=devices,
            log=self._record(step).with_suffix(".log"),
            inputs=inputs,
            environment=self.environment,
            forks=self.forks,
        )
        del self.free[: len(devices)]
        return running

    def _collect(self) -> bool:
        """Put what has ended on record; whether anything has."""
        before = len(self.running)
        if time.monotonic() - self.measured > MEASURE_SECONDS:
            self.peak = max(self.peak, sum(map(process.memory, self.running)))
            self.measured = time.monotonic()
        for run in list(self.running):
            if run.process.poll() is None:
                continue
            self.running.remove(run)
            self.free.extend(run.devices)
            missing = [path for path in run.step.writes if not (self.out / path).exists()]
            if run.process.returncode != 0:
                self._fail(run.step, process.failure(run))
            elif missing:
                why = f"step {run.step.name} ended well but did not write {missing[0]}"
                self._fail(run.step, why)
            else:
                self._keep(run)
        return len(self.running) < before

    def _keep(self, run: process.Running) -> None:
        step, finished = run.step, time.time()
        self.done[step.name] = finished - run.started
        took = {
            "command": [
                "python",
                "-P",
                "-m",
                *process.command(step, self.study, self.gpus, self.out),
            ],
            "started": run.started,
            "finished": finished,
            "seconds": round(finished - run.started, 1),
            "peak_memory_bytes": run.peak,
        }
        write_json(self._record(step), asdict(step) | run.inputs | self._made_of(step) | took)


def _noted(place: Path) -> dict[str, Any] | None:
    """What is kept of a step; None where nothing is that can be read."""
    try:
        return read_json(place)
    except (FileNotFoundError, UserError):
        return None
