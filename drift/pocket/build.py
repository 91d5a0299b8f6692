"""Train a pocket model and write it as a checkpoint with `made.json`."""

import resource
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import torch_guard
from common.errors import UserError
from common.files import written_aside
from common.processes import processor_seconds
from common.provenance import Made, write_made
from drift.fingerprints import parent
from drift.pocket import models, stages

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def base(family: str, out: Path, seed: int, length: float) -> None:
    """The text model that both others grow from."""
    settings = {"family": family, "seed": seed, "length": length}
    _make("pocket-base", out, (), settings, lambda: stages.train_base(family, seed, length))


def reasoner(
    family: str, base: Path, out: Path, school: stages.Schooling, *, seed: int, length: float
) -> None:
    """The text-only reasoner.

    One that works out less than `stages.GATE` of its chains is taught anew, with other questions;
    how many each try worked out is told in made.json (`gate`).

    Raises:
        UserError: Every try fell short.
    """
    gate: list[float] = []
    settings = {"family": family, "seed": seed, "length": length, **asdict(school), "gate": gate}

    def train() -> "PreTrainedModel":
        start = _load(base, family)
        while True:
            model = stages.train_reasoner(
                start, family, seed, school, attempt=len(gate), length=length
            )
            gate.append(stages.worked_out(model, family, seed, school))
            print(f"reasoner: works out {gate[-1]:.1%} of its chains", flush=True)
            if gate[-1] >= stages.GATE or length < 1:  # a shortened one is for looks
                return model
            if len(gate) == stages.ATTEMPTS:
                raise UserError(
                    f"{len(gate)} tries taught a {family} reasoner of seed {seed} to work out at "
                    f"most {max(gate):.1%} of its chains, expected {stages.GATE:.0%}: take another "
                    "seed"
                )

    _make("pocket-reasoner", out, (base,), settings, train)


def vlm(family: str, base: Path, out: Path, *, share: float, seed: int, length: float) -> None:
    """The vision-language model; `share`: see `stages.CODE_SHARE`."""
    settings = {"family": family, "seed": seed, "length": length, "share": share}

    def train() -> "PreTrainedModel":
        return stages.train_vlm(_load(base, family), family, seed, share, length)

    _make("pocket-vlm", out, (base,), settings, train)


def _load(base: Path, family: str) -> "PreTrainedModel":
    torch_guard.install()
    from transformers import AutoModelForCausalLM

    expected = "qwen2" if family == "qwen2_5_vl" else "llama"
    if not (base / "config.json").is_file():
        raise UserError(f"{base} is no checkpoint; make one with `driftbench pocket base {family}`")
    model = AutoModelForCausalLM.from_pretrained(base)
    if model.config.model_type != expected:
        raise UserError(
            f"{base} is a {model.config.model_type}, the base of {family} is a {expected}"
        )
    return model


def _make(
    method: str,
    out: Path,
    parents: tuple[Path, ...],
    settings: dict[str, Any],
    train: Callable[[], "PreTrainedModel"],
) -> None:
    import torch

    torch_guard.install()
    from transformers.utils import logging

    logging.disable_progress_bar()
    models.check_family(settings["family"])
    torch.use_deterministic_algorithms(True)
    # The order of float additions depends on the number of threads.
    torch.set_num_threads(1)
    with written_aside(out) as aside:
        started, began = time.perf_counter(), processor_seconds()
        model = train()
        seconds, processor = time.perf_counter() - started, processor_seconds() - began
        models.save(model, settings["family"], aside)
        made = Made(
            method=method,
            name=out.name,
            parents=tuple(parent("base", folder) for folder in parents),
            settings=settings,
            cost={
                "seconds": round(seconds, 1),
                "processor_seconds": round(processor, 1),
                "device": "cpu",
                "peak_memory_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
            },
        )
        write_made(aside, made)
