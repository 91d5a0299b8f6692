"""What `memory: low` costs and gives, against float32 in the same run.

    python perf/low_memory.py --bytes
    python perf/low_memory.py --pocket runs/pocket/seed-0/llava_next

`--bytes`: each arm in a process of its own, three steps with gradient checkpointing on a batch so
short that what is held for each parameter shows; peak resident memory over that before the model.
`--pocket` trains the VLM of a finished pocket study: the loss of the last 20 steps, ρ, the share of
256 chains not trained on that are worked out right (greedily: every token is the likeliest, given
those before), and the share of the trained weights that moved.
"""

import argparse
import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from step_time import batch_of, prior_of, small

from common import torch_guard
from drift.injector import Injector
from drift.pocket import world
from drift.training import low_memory
from drift.training import trainer as training
from drift.training.config import TrainConfig
from drift.training.trainable import freeze

SEEDS = (0, 1, 2)


def resident(field: str) -> int:
    """Bytes of this process by the kernel: `VmRSS` now, `VmHWM` at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def peak(memory: str, drift: bool) -> None:
    """Print the peak bytes for each trained parameter."""
    import transformers as tf

    tf.logging.set_verbosity_error()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    shallow = small()
    shallow.text_config.num_hidden_layers = 1
    shallow.text_config.layer_types = shallow.text_config.layer_types[:1]
    steps(shallow, memory == "low", drift)  # all that is imported and kept is there before
    before = resident("VmRSS")
    trained = steps(small(), memory == "low", drift)
    print((resident("VmHWM") - before) / trained)


def steps(config: Any, low: bool, drift: bool) -> int:
    """Take three steps.

    Returns:
        The number of trained parameters.
    """
    import transformers as tf

    torch.set_default_dtype(torch.bfloat16 if low else torch.float32)
    model = tf.Qwen2_5_VLForConditionalGeneration(config).train()
    torch.set_default_dtype(torch.float32)
    trained = freeze(model, ("attention", "mlp"))
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.disable_input_require_grads()
    injector = Injector(model, prior_of(model)) if drift else None
    params = [param for param in model.parameters() if param.requires_grad]
    arguments = tf.TrainingArguments(tempfile.mkdtemp(), use_cpu=True, learning_rate=1e-6)
    kind, settings = low_memory.optimizer(arguments) if low else (torch.optim.AdamW, {"lr": 1e-6})
    optimizer = kind(params, weight_decay=0.0, **settings)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    for _ in range(3):
        batch = batch_of(model.config, 1, 96, "cpu")
        labels = batch.pop("labels")
        with torch.autocast("cpu", torch.bfloat16):
            outputs = model(**batch, use_cache=False)
        training.answer_loss(outputs, labels).backward()
        if injector is not None:
            injector.apply()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return trained


def tell_bytes() -> None:
    """Print the table of peak memory."""
    # Freed blocks go back to the kernel at once, so that what is resident is what is held.
    env = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
    print("| | float32 | low | ratio |\n|---|---|---|---|")
    for name in ("SFT", "DRIFT"):
        found = []
        for memory in ("float32", "low"):
            words = [
                sys.executable,
                "-P",
                __file__,
                "--peak",
                memory,
                *["--drift"][: name != "SFT"],
            ]
            found.append(float(subprocess.check_output(words, text=True, env=env)))
        print(f"| {name} | {found[0]:.2f} | {found[1]:.2f} | {found[1] / found[0]:.3f} |")


def right(model: torch.nn.Module, samples: training.Samples, pad: int) -> float:
    """The share of `samples` whose whole answer is the likeliest."""
    hits = 0
    with torch.no_grad():
        for sample in samples:
            batch = training.collate([sample], pad, False)
            batch.pop("rows", None)
            labels = batch.pop("labels")[:, 1:]
            said = model(**batch).logits[:, :-1].argmax(-1)
            hits += bool((said == labels)[labels != training.IGNORED].all())
    return hits / len(samples)


def arm(config: TrainConfig, out: Path, by_chance: bool) -> dict[str, float]:
    """Train, and measure."""
    from transformers import AutoModelForImageTextToText as Auto

    kept, given = (low_memory.optimizer, low_memory.rounds_by_chance)
    if not by_chance:
        low_memory.optimizer = lambda arguments: (
            low_memory.adamw(),
            kept(arguments)[1] | {"bf16_stochastic_round": False},
        )
        low_memory.rounds_by_chance = lambda optimizer: True  # or it would be refused
    try:
        training.train(config, out)
    finally:
        low_memory.optimizer, low_memory.rounds_by_chance = kept, given
    log = [json.loads(line) for line in (out / training.LOG).read_text().splitlines()]
    asked = training.replace(
        config, data=str(out.parent / "fresh" / "train.jsonl"), day="2026-01-01"
    )
    data = training._data(asked, training.family_of(config.vlm))
    first, last = (Auto.from_pretrained(one, dtype=torch.float32) for one in (config.vlm, out))
    if config.memory == "low":
        first.bfloat16().float()  # as training saw it
    moved = total = 0
    before = dict(first.named_parameters())
    freeze(last, config.train)
    for name, param in last.named_parameters():
        if param.requires_grad:
            moved += int((param != before[name]).sum())
            total += param.numel()
    return {
        "loss": statistics.mean(line["loss"] for line in log[-20:]),
        "rho": log[-1]["rho"],
        "right": 100 * right(last.eval(), data.samples, data.pad),
        "moved": 100 * moved / total,
    }


def tell_pocket(folder: Path, rates: list[float]) -> None:
    """Print the table of where training goes."""
    print("| lr | weights | loss | ρ | right, % | moved, % |\n|---|---|---|---|---|---|")
    arms = {
        "float32": ("float32", True),
        "low: rounded by chance": ("low", True),
        "bfloat16, rounded to the nearest": ("low", False),
    }
    with tempfile.TemporaryDirectory() as scratch:
        world.write(Path(scratch) / "fresh", 1000, 256, 1, 1)
        for rate in rates:
            for name, (memory, by_chance) in arms.items():
                found = []
                for seed in SEEDS:
                    config = training_config(folder, memory, rate, seed)
                    out = Path(scratch) / f"{rate}-{memory}-{by_chance}-{seed}"
                    with contextlib.redirect_stdout(io.StringIO()):
                        found.append(arm(config, out, by_chance))
                cells = (
                    f"{statistics.mean(values):.4g} ± {statistics.stdev(values):.2g}"
                    for values in ([one[key] for one in found] for key in found[0])
                )
                print(f"| {rate:g} | {name} | {' | '.join(cells)} |", flush=True)


def training_config(folder: Path, memory: str, lr: float, seed: int) -> TrainConfig:
    """DRIFT on the pocket's data."""
    from drift.training.config import load

    data = folder.parent / "world" / "train.jsonl"
    places = {"vlm": str(folder / "vlm"), "reasoner": str(folder / "reasoner"), "data": str(data)}
    more = {"memory": memory, "dtype": "bfloat16", "lr": lr, "seed": seed}
    return load("pocket_drift", places | more)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bytes", action="store_true")
    parser.add_argument("--pocket", type=Path, help="folder of a family in a finished pocket study")
    parser.add_argument("--lr", type=float, nargs="+", default=[2e-4, 2e-5])
    parser.add_argument("--peak", choices=["float32", "low"], help=argparse.SUPPRESS)
    parser.add_argument("--drift", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch_guard.install()
    if args.peak:
        peak(args.peak, args.drift)
    if args.bytes:
        tell_bytes()
    if args.pocket:
        torch.set_num_threads(1)
        tell_pocket(args.pocket, args.lr)


if __name__ == "__main__":
    main()
