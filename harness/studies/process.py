"""A step as a process: how it is started, what it takes, what it said when it failed."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common import processes
from common.files import unlinked
from harness.studies import tuning
from harness.studies.forks import Fork, Forks
from harness.studies.step import ACCUMULATE, GPUS, Step, Study

DOOR = "driftbench"
"""Module that runs the words of a step."""


@dataclass(kw_only=True)
class Running:
    """A step under way."""

    step: Step
    process: subprocess.Popen[bytes] | Fork
    log: Path
    started: float
    inputs: dict[str, Any]
    """What decides its result, see `harness.studies.inputs`."""
    devices: tuple[str, ...]
    """GPUs that it was given, as CUDA_VISIBLE_DEVICES names them."""
    peak: int = 0


@contextmanager
def bytecode() -> Iterator[dict[str, str]]:
    """Yield an environment in which steps keep the modules that Python compiled, if none would.

    To compile what a training imports takes as long as half of a small training. Where Python is
    told to write no bytecode beside its sources, it lies in a folder that goes with this process.
    """
    if not sys.dont_write_bytecode or sys.pycache_prefix:
        yield {}
        return
    with TemporaryDirectory(prefix="driftbench-", ignore_cleanup_errors=True) as folder:
        yield {"PYTHONPYCACHEPREFIX": folder, "PYTHONDONTWRITEBYTECODE": ""}


def surroundings(study: Study, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a study's steps; `environment` is that of `bytecode`."""
    return (
        os.environ
        | environment
        | {
            "OMP_NUM_THREADS": str(study.threads),
            "PYTHONUNBUFFERED": "1",
            "PYTHONSAFEPATH": "1",  # as -P, also for the processes that torchrun starts
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }
    )


def start(
    step: Step,
    words: Sequence[str],
    study: Study,
    out: Path,
    *,
    gpus: int,
    devices: Sequence[str],
    log: Path,
    inputs: dict[str, Any],
    environment: Mapping[str, str],
    forks: Forks | None,
) -> Running:
    """Start a step of a study in a folder.

    Args:
        step: It.
        words: See `command`.
        study: Whose sharding it gets.
        out: Where it runs.
        gpus: GPUs of the study.
        devices: Those that it is given.
        log: File for what it says.
        inputs: See `Running`.
        environment: See `surroundings`.
        forks: What it forks from, where it need not be a new process.
    """
    if devices:
        environment = {**environment, "CUDA_VISIBLE_DEVICES": ",".join(devices)}
    if step.gpu == "ranks" and gpus > 1:
        environment = {**environment, **study.sharding}
    with open(log, "wb", opener=unlinked) as file:
        process = (
            forks.start(words, out, environment, file.fileno())
            if forks
            else subprocess.Popen(
                [sys.executable, "-P", "-m", *words],
                cwd=out,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                preexec_fn=processes.tie(),
            )
        )
    return Running(
        step=step,
        process=process,
        log=log,
        started=time.time(),
        inputs=inputs,
        devices=tuple(devices),
    )


def filled(step: Step, study: Study, gpus: int, out: Path | None = None) -> list[str]:
    """Return the words of a step on so many GPUs, with what was chosen in `out`, if that is told.

    Raises:
        UserError: What it wants was not chosen.
    """
    ranks = gpus if step.gpu == "ranks" else 1
    share = (study.global_batch or ranks) // ranks
    words = [w.replace(GPUS, str(gpus)).replace(ACCUMULATE, str(share)) for w in step.run]
    return words if out is None else [tuning.filled(word, out) for word in words]


def command(step: Step, study: Study, gpus: int, out: Path | None = None) -> list[str]:
    """What `python -P -m` is given for a step, see `filled`."""
    words = [DOOR, *filled(step, study, gpus, out)]
    if step.gpu != "ranks" or gpus == 1:
        return words
    together = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(gpus)]
    return [*together, "-m", *words]


def memory(run: Running) -> int:
    """Resident bytes of a step and its children; its own peak is kept on the way."""
    import psutil

    try:
        process = psutil.Process(run.process.pid)
        total = sum(p.memory_info().rss for p in (process, *process.children(recursive=True)))
    except psutil.Error:
        return 0
    run.peak = max(run.peak, total)
    return total


def failure(run: Running) -> str:
    """Why a step ended, as a sentence."""
    lines = last_lines(run.log, 3) or ["it said nothing"]
    told = [line for line in lines if line.startswith("driftbench: ")]
    said = (told or lines)[-1].removeprefix("driftbench: ")
    code = run.process.wait()
    ended = f"was killed by signal {-code}" if code < 0 else f"failed with exit status {code}"
    return f"step {run.step.name} {ended}: {said} (log: {run.log})"


def last_lines(log: Path, count: int) -> list[str]:
    """The last lines of a log, without control characters."""
    with log.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - 4096))
        text = file.read().decode(errors="replace")
    lines = [line.strip() for line in re.split(r"[\r\n]+", text)]
    return ["".join(c for c in line if c.isprintable()) for line in lines if line][-count:]
