"""What the steps of a study of published models are given: the real thing, or stand-ins."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.errors import UserError, near
from harness.studies.step import Tuning


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What stands for models, data and benchmarks."""

    models: Mapping[str, str]
    """What is fetched, by its name in the study → its name on the hub, or a folder."""
    gib: Mapping[str, float]
    """The same → its size."""
    seeing: str
    """Benchmarks with pictures, of a sweep."""
    everything: str
    """Benchmarks of each checkpoint."""
    rule: Tuning
    """By which settings are chosen, and on which benchmark."""
    text: str
    """Benchmarks of the reasoners."""
    reasoning: str
    """Benchmarks of what is trained once."""
    swapped: str = ""
    """Layers that get the reasoner's share in layer swap."""
    rows: str = "data"
    teacher: str = ""
    """Model of the study that wrote the answers of the rows; empty: not looked at."""
    options: tuple[str, ...] = ()
    """Of asking."""
    options_validation: tuple[str, ...] = ()
    """Of asking what chooses; none: `options`."""
    options_text: tuple[str, ...] = ()
    """Over those of each reasoner."""
    engine: tuple[str, ...] = ()
    training: tuple[str, ...] = ()
    sampling: tuple[str, ...] = ()
    """Fields of trainings that sample answers (GRPO)."""
    standins: tuple[str, ...] = ()
    """What all that is fetched or asked is made from."""

    @property
    def validation(self) -> str:
        """Benchmark of the rule."""
        return self.rule.task

    def disk(self, place: str) -> float:
        """GiB of a checkpoint in the folder of a family, or of that folder's VLM."""
        return self.gib[f"{place.split('/')[1]}/vlm"]


RULE = Tuning(
    task="mmbench", group="l2: logic_reasoning", keeps="l2: coarse_perception", against="vlm"
)
"""MMBench's dev split is reported nowhere, and has both: of the settings that lose at most 5 points
of perception, the one that reasons best."""
STANDINS: Mapping[str, Any] = {
    "rows": "data/train.jsonl",
    "seeing": "pocket",
    "everything": "pocket",
    "reasoning": "pocket",
    "text": "gsm8k",
    "rule": Tuning(
        task="pocket_validation", group="reasoning-image", keeps="perception", against="vlm"
    ),
    "options_validation": ("--data", "standins/world", "--max-tokens", "4"),
    "options": ("--data", "standins/world", "--limit", "3", "--max-tokens", "4"),
    "options_text": ("--data", "standins/text", "--limit", "3", "--max-tokens", "4"),
    "engine": ("--engine", "hf"),
    "training": (
        *("--set", "steps=2", "--set", "lr=0.001"),
        *("--set", "dtype=float32", "--set", "max_tokens=1024"),
    ),
    "sampling": ("engine=hf", "questions=1", "generations=2", "batch=2", "answer_tokens=4"),
    "standins": ("standins",),
}
"""Of `Scale`, for random tiny models of the same classes and a handful of questions. Answers come
from transformers, but for the sweeps."""


def given(scale: Scale, models: Mapping[str, str], offload: bool) -> Scale:
    """A scale with folders of one's own in the place of names on the hub.

    What is there from the current folder is meant from there: steps run in the study's.

    Raises:
        UserError: One of `models` is none of the scale's.
    """
    if unknown := [name for name in models if name not in scale.models]:
        hint = near(unknown[0], scale.models)
        raise UserError(f"--set {unknown[0]}: {hint}there are offload, {', '.join(scale.models)}")
    here = {name: Path(os.path.expanduser(place)).absolute() for name, place in models.items()}
    models = {**models, **{name: str(path) for name, path in here.items() if path.exists()}}
    more = ("--set", "offload=true") if offload else ()
    return replace(scale, models={**scale.models, **models}, training=(*scale.training, *more))
