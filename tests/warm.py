"""Steps of a study in processes that share one import of torch, transformers and vLLM.

A study starts `python -P -m driftbench …` for each step. Here the same words run in processes
forked from one that has imported what takes ten seconds, so that a study of eighty steps can be
run by a test. Nothing else is shared: no model, no file, no setting.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.studies import arms, process, runner
from harness.studies.step import Study

if "WARM" in os.environ:
    import torch

    torch.set_num_threads(1)
    import drift.training.trainer  # noqa: F401
    from harness.engines import vllm as engine

    engine._settle(on_cpu=True)
    import vllm  # noqa: F401


def _step(words: list[str], cwd: str, log: str, environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    with open(os.devnull) as nothing, open(log, "wb") as file:
        for number, target in enumerate((nothing, file, file)):
            os.dup2(target.fileno(), number)
    sys.argv[:] = words
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)


class Process:
    """What a scheduler asks of `subprocess.Popen`."""

    def __init__(self, command: list[str], **how: Any) -> None:
        assert command[:3] == [sys.executable, "-P", "-m"]
        context = multiprocessing.get_context("forkserver")
        arguments = command[3:], str(how["cwd"]), how["stdout"].name, dict(how["env"])
        self._process = context.Process(target=_step, args=arguments)
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()

    def wait(self, timeout: float | None = None) -> None:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("step", timeout or 0)


def subprocesses() -> SimpleNamespace:
    """Stand-in for the module `subprocess` in `harness.studies.process`."""
    before = dict(os.environ)
    forkserver._forkserver._stop()  # another test may have started it with less
    forkserver.set_forkserver_preload(["warm"])
    # What is preloaded is looked for along the path of a fresh interpreter.
    path = [str(Path(__file__).parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    os.environ |= {"WARM": "1", "PYTHONPATH": os.pathsep.join(filter(None, path))}
    forkserver.ensure_running()
    os.environ.clear()
    os.environ.update(before)
    names = ("DEVNULL", "STDOUT", "TimeoutExpired")
    return SimpleNamespace(Popen=Process, **{name: getattr(subprocess, name) for name in names})


def run(study: Study, out: Path) -> None:
    """Run a whole study, two steps at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "subprocess", subprocesses())
        runner.run(study, out, jobs=2)


@contextmanager
def one_seed_of_tuning() -> Iterator[None]:
    """Leave out the second seed: it would tell nothing but the time it takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arms, "SEEDS", arms.SEEDS[:1])
        yield
