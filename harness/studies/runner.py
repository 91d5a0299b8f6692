"""A study as a list of steps, each its own process, each skipped when nothing it reads has changed.

A step waits for those that write what it reads. What was done lies in `steps/<step>.json`: command,
seconds, peak memory, fingerprints of the code, of what was read and of what was written. A step is
skipped when these still hold, on any number of GPUs. What the steps are: `harness.studies.recipe`.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from common.errors import UserError
from common.files import Stamped, clear, unlinked
from harness.evaluate import data_parallel
from harness.runs.folder import write_json
from harness.studies.recipe import ACCUMULATE, GPUS, Recipe, Step, after

STATE = "steps"
MEASURE_SECONDS = 1.0
"""Between two looks at the memory of the steps."""
PACKAGES_READ = {
    "drift": ("drift",),
    "harness": ("harness", "tasks"),
    "reports": ("reports", "harness", "tasks"),
}
"""Package run → packages whose code decides what it writes; any other stands for itself."""


@dataclass
class Running:
    """A step under way."""

    step: Step
    process: subprocess.Popen[bytes]
    log: Path
    started: float
    reads: dict[str, str]
    devices: tuple[str, ...] = ()
    """GPUs that it was given, as CUDA_VISIBLE_DEVICES names them."""
    peak: int = field(default=0)


def run(study: Recipe, out: Path, jobs: int | None = None, gpus: int = 1) -> None:
    """Run a study, or what is left of it.

    Args:
        study: Its steps.
        out: Its folder; must be empty, new, or hold the same study.
        jobs: Steps at a time, by default one a core and at most four, or one a GPU.
        gpus: GPUs to use, where there are any.

    Raises:
        UserError: The folder holds something else, there are too few GPUs, or a step failed.
    """
    out = out.absolute()
    check_gpus(study, gpus)
    _claim(out, study)
    with _locked(out):
        Scheduler(study, out, jobs or max(gpus, min(4, os.cpu_count() or 1)), gpus).go()


def check_gpus(study: Recipe, gpus: int) -> None:
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


# The folder


def _claim(out: Path, study: Recipe) -> None:
    """Make the folder, or check that it holds this study."""
    record = out / STATE / "study.json"
    if record.is_file():
        held = json.loads(record.read_text())["recipe"]
        if held != study.name:
            raise UserError(
                f"{out} holds the study {held!r}, not {study.name!r}; give another --out"
            )
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} holds something other than a study; give a new folder as --out")
    place = next(parent for parent in (out, *out.parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if free < study.disk_bytes and not record.is_file():
        raise UserError(
            f"{place} has {free / 2**30:.1f} GiB free, "
            f"the study needs {study.disk_bytes / 2**30:.1f}"
        )
    (out / STATE).mkdir(parents=True, exist_ok=True)
    if not record.is_file():
        write_json(record, {"recipe": study.name, "about": study.about})


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    with open(out / STATE / "lock", "w", opener=unlinked) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process is running the study in {out}") from None
        yield


class Fingerprints(Stamped):
    """Content hashes of files and folders; a file is read again only when it was touched."""

    def tree(self, path: Path) -> str | None:
        """Of a file, or of all files below a folder; None when there is nothing."""
        if path.is_file():
            return self.of(path, _sha256)
        if not path.is_dir():
            return None
        total = hashlib.sha256()
        for file in sorted(p for p in path.rglob("*") if p.is_file() and not _passing(p)):
            total.update(f"{file.relative_to(path)} {self.of(file, _sha256)}\n".encode())
        return total.hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _passing(path: Path) -> bool:
    """Locks and byte code come and go without meaning anything."""
    return path.suffix in (".lock", ".pyc") or path.name == "lock"


def _code(package: str, fingerprints: Fingerprints) -> str:
    """Of the source of the packages that decide what a step writes."""
    total = hashlib.sha256()
    for name in PACKAGES_READ.get(package, (package,)):
        spec = find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            raise UserError(
                f"a step runs `python -m {package}`, but no package {name} is installed"
            )
        total.update((fingerprints.tree(Path(spec.submodule_search_locations[0])) or "").encode())
    return total.hexdigest()


# Running


class Scheduler:
    """Starts what is ready, skips what is unchanged, tells how it goes."""

    def __init__(self, study: Recipe, out: Path, jobs: int, gpus: int = 1) -> None:
        self.study, self.out, self.jobs, self.gpus = study, out, jobs, gpus
        self.fingerprints = Fingerprints(out / STATE / "fingerprints.json")
        self.code = {step.run[0]: _code(step.run[0], self.fingerprints) for step in study.steps}
        self.waiting = list(study.steps)
        self.after = after(study.steps)
        self.running: list[Running] = []
        self.skipped = 0
        self.done: dict[str, float] = {}
        self.peak = 0
        self.measured = 0.0
        self.free = data_parallel.visible()
        self.on_gpus = bool(self.free)
        if self.on_gpus and len(self.free) < gpus:
            raise UserError(f"--gpus {gpus}, but {len(self.free)} are visible: give fewer")
        del self.free[gpus:]

    def go(self) -> None:
        """Until nothing is left."""
        from harness.studies.display import display

        started = time.monotonic()
        with display(self) as shown:
            try:
                self._start_ready()
                while self.running:
                    time.sleep(0.1)
                    if self._collect():
                        self._start_ready()
                    shown.update()
            except BaseException:
                self._stop_all()
                raise
            finally:
                self.fingerprints.save()
        record = self.out / STATE / "study.json"
        if self.done:
            held = {"recipe": self.study.name, "about": self.study.about}
            seconds = round(time.monotonic() - started, 1)
            write_json(record, held | {"seconds": seconds, "peak_memory_bytes": self.peak})
        shown.finish(time.monotonic() - started)

    def _start_ready(self) -> None:
        """Skip or start whatever waits for nothing more, as far as there is room."""
        looking = True
        while looking:
            looking = False
            for step in list(self.waiting):
                if self._must_wait(step):
                    continue
                reads = {path: self._read(step, path) for path in step.reads}
                if self._unchanged(step, reads):
                    self.waiting.remove(step)
                    self.skipped += 1
                    looking = True  # what reads its output may be ready now
                elif len(self.running) < self.jobs and self._gpus_of(step) <= len(self.free):
                    self.waiting.remove(step)
                    self.running.append(self._start(step, reads))
        if self.waiting and not self.running:
            names = ", ".join(step.name for step in self.waiting)
            raise UserError(f"these steps wait for one another: {names}")

    def _must_wait(self, step: Step) -> bool:
        pending = {one.name for one in (*self.waiting, *(run.step for run in self.running))}
        return not self.after[step.name].isdisjoint(pending)

    def _read(self, step: Step, path: str) -> str:
        found = self.fingerprints.tree(self.out / path)
        if found is None:
            raise UserError(f"step {step.name} reads {path}, which no step has written")
        return found

    def _gpus_of(self, step: Step) -> int:
        if not (step.gpu and self.on_gpus):
            return 0
        return 1 if step.gpu == "one" else self.gpus

    def _record(self, step: Step) -> Path:
        return self.out / STATE / (step.name.replace("/", "--") + ".json")

    def _unchanged(self, step: Step, reads: dict[str, str]) -> bool:
        record = self._record(step)
        if not record.is_file():
            return False
        held = json.loads(record.read_text())
        now = {
            "run": list(step.run),
            "threads": self.study.threads,
            "code": self.code[step.run[0]],
            "reads": reads,
            "writes": {path: self.fingerprints.tree(self.out / path) for path in step.writes},
        }
        return all(held.get(name) == value for name, value in now.items())

    def _start(self, step: Step, reads: dict[str, str]) -> Running:
        if not step.resumes:
            for path in step.writes:
                clear(self.out / path)
        log = self._record(step).with_suffix(".log")
        count = self._gpus_of(step)
        devices, self.free = tuple(self.free[:count]), self.free[count:]
        environment = os.environ | {
            "OMP_NUM_THREADS": str(self.study.threads),
            "PYTHONUNBUFFERED": "1",
            "PYTHONSAFEPATH": "1",  # as -P, also for the processes that torchrun starts
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }
        if devices:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(devices)
        if step.gpu == "ranks" and self.gpus > 1:
            environment |= dict(self.study.sharding)
        with open(log, "wb", opener=unlinked) as file:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", *command(step, self.study, self.gpus)],
                cwd=self.out,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                preexec_fn=_die_with_parent,
            )
        return Running(step, process, log, time.time(), reads, devices)

    def _collect(self) -> bool:
        """Put what has ended on record; whether anything has."""
        before = len(self.running)
        if time.monotonic() - self.measured > MEASURE_SECONDS:
            self.peak = max(self.peak, sum(map(_memory, self.running)))
            self.measured = time.monotonic()
        for run in list(self.running):
            if run.process.poll() is None:
                continue
            self.running.remove(run)
            self.free.extend(run.devices)
            if run.process.returncode != 0:
                raise UserError(_failure(run))
            missing = [path for path in run.step.writes if not (self.out / path).exists()]
            if missing:
                raise UserError(f"step {run.step.name} ended well but did not write {missing[0]}")
            self._keep(run)
        return len(self.running) < before

    def _keep(self, run: Running) -> None:
        step, finished = run.step, time.time()
        self.done[step.name] = finished - run.started
        record = asdict(step) | {
            "threads": self.study.threads,
            "code": self.code[step.run[0]],
            "reads": run.reads,
            "writes": {path: self.fingerprints.tree(self.out / path) for path in step.writes},
            "command": ["python", "-m", *command(step, self.study, self.gpus)],
            "started": run.started,
            "finished": finished,
            "seconds": round(finished - run.started, 1),
            "peak_memory_bytes": run.peak,
        }
        write_json(self._record(step), record)

    def _stop_all(self) -> None:
        for run in self.running:
            run.process.terminate()
        for run in self.running:
            try:
                run.process.wait(5)
            except subprocess.TimeoutExpired:
                run.process.kill()


def command(step: Step, study: Recipe, gpus: int) -> list[str]:
    """What `python -m` is given for a step on so many GPUs."""
    share = (study.global_batch or gpus) // gpus
    words = [w.replace(GPUS, str(gpus)).replace(ACCUMULATE, str(share)) for w in step.run]
    if words[0] in PACKAGES_READ:
        words[0] = "driftbench"
    if step.gpu != "ranks" or gpus == 1:
        return words
    together = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(gpus)]
    return [*together, "-m", *words]


def _memory(run: Running) -> int:
    """Resident bytes of a step and its children; its own peak is kept on the way."""
    import psutil

    try:
        process = psutil.Process(run.process.pid)
        total = sum(p.memory_info().rss for p in (process, *process.children(recursive=True)))
    except psutil.Error:
        return 0
    run.peak = max(run.peak, total)
    return total


def _die_with_parent() -> None:
    """Let no step outlive a killed study: it would write beside its successor. Linux only."""
    import ctypes

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _failure(run: Running) -> str:
    lines = last_lines(run.log, 3)
    reason = next((line for line in reversed(lines) if line.startswith("driftbench: ")), None)
    said = (
        reason.removeprefix("driftbench: ")
        if reason
        else (lines[-1] if lines else "it said nothing")
    )
    code = run.process.returncode
    ended = f"was killed by signal {-code}" if code < 0 else f"failed with exit status {code}"
    return (
        f"step {run.step.name} {ended}: {said} (log: {run.log}); the same command goes on from here"
    )


def last_lines(log: Path, count: int) -> list[str]:
    """The last lines of a log, without control characters."""
    with _tail(log) as file:
        text = file.read().decode(errors="replace")
    lines = [line.strip() for line in re.split(r"[\r\n]+", text)]
    return ["".join(c for c in line if c.isprintable()) for line in lines if line][-count:]


@contextmanager
def _tail(log: Path) -> Iterator[IO[bytes]]:
    with log.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - 4096))
        yield file
