"""Live tracking: what a training or an evaluation tells TensorBoard, trackio or Weights & Biases.

By the callbacks of transformers' Trainer, which knows them by the same names (`report_to`).
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from common import torch_guard
from common.errors import UserError
from common.text import printable

TRACKERS = ("tensorboard", "trackio", "wandb")
PROJECT = "driftbench"
"""Under which trackio files a run, and W&B where WANDB_PROJECT names no other."""


def trackers(text: str | None) -> tuple[str, ...]:
    """Read comma-separated names.

    Raises:
        UserError: There is no such tracker, or its package is not installed.
    """
    names = tuple(dict.fromkeys(word.strip() for word in (text or "").split(",") if word.strip()))
    for name in names:
        if name not in TRACKERS:
            raise UserError(f"--report-to takes {', '.join(TRACKERS)}, not {name}")
        if find_spec(name) is None:
            raise UserError(
                f"--report-to {name} needs the package {name}, which is not installed: "
                f"pip install {name}"
            )
    return names


def callbacks(names: Sequence[str], out: Path) -> list[Any]:
    """Return the callbacks of a Trainer that tell these trackers.

    Args:
        names: As `trackers` gives them.
        out: What is written; TensorBoard's files go beside it, each start into a folder of its own.
    """
    if not names:
        return []
    torch_guard.install()
    from transformers.integrations import get_reporting_integration_callbacks

    os.environ.setdefault("WANDB_PROJECT", PROJECT)
    made = [kind() for kind in get_reporting_integration_callbacks(list(names))]
    for one in made:
        if hasattr(one, "logging_dir"):
            now = f"{datetime.now():%Y-%m-%dT%H-%M-%S}"
            one.logging_dir = str(out.with_name(f"{out.name}.tensorboard") / now)
    return made


@contextmanager
def told(names: Sequence[str]) -> Iterator[None]:
    """Say in one sentence what a tracker does not accept: no key, no network.

    Raises:
        UserError: One of `names` raised an error of its own.
    """
    try:
        yield
    except Exception as error:
        name = type(error).__module__.partition(".")[0]
        if name not in names:
            raise
        first = printable(str(error).strip().partition("\n")[0].rstrip("."))
        raise UserError(
            f"{name} refuses: {first}; mend that, or leave --report-to {name} out"
        ) from error


def tell(
    names: Sequence[str], out: Path, settings: Mapping[str, Any], numbers: Mapping[str, float]
) -> None:
    """Tell of something that is over, as a run of its own.

    Args:
        names: As `trackers` gives them.
        out: The run folder, which names it.
        settings: How it was made.
        numbers: What came out.

    Raises:
        UserError: See `told`.
    """
    torch_guard.install()
    from transformers import TrainerControl, TrainerState, TrainingArguments

    class Arguments(TrainingArguments):
        """Whose settings are those of the run, where a Trainer's would be of a training."""

        def to_dict(self) -> dict[str, Any]:
            return json.loads(json.dumps(settings))

    arguments = Arguments(
        output_dir=str(out), run_name=out.name, project=PROJECT, report_to="none", use_cpu=True
    )
    state, control = TrainerState(), TrainerControl()
    logs = {f"eval_{name}": value for name, value in numbers.items()}
    with told(names):
        for one in callbacks(names, out):
            one.on_train_begin(arguments, state, control)
            one.on_log(arguments, state, control, logs=logs)
            one.on_train_end(arguments, state, control)
        if "wandb" in names:
            import wandb

            wandb.finish()  # which the callback leaves to the end of the process
