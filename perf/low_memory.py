"""Where `memory: low` takes training, against float32 and against bfloat16 rounded to the nearest.

    python perf/low_memory.py runs/pocket/seed-0/llava_next
    python perf/low_memory.py runs/pocket/seed-0/llava_next --wide --steps 40 --lr 2e-5

Trains the VLM of a family in a finished pocket study, SFT and DRIFT, with several seeds: the mean
loss of the last 20 steps (or the last fifth), ρ, the share of 256 chains not trained on that are
worked out right (greedily: every token is the likeliest, given those before), and the share of the
trained weights that moved. With `--wide` its decoder is given the size of SmolLM2-135M, and random
weights, and its reasoner lies a tenth of their size away.
"""

import argparse
import contextlib
import io
import json
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch

from drift.displacement import displacement
from drift.families import decoder, family_of
from drift.papers import copy_papers
from drift.pocket import world
from drift.training import low_memory
from drift.training import trainer as training
from drift.training.config import TrainConfig, load
from drift.training.trainable import freeze

SMOLLM2 = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 64,
    "initializer_range": 0.02,
}
"""Of HuggingFaceTB/SmolLM2-135M, all but the vocabulary."""
by_chance = low_memory.bfloat16_by_chance
ARMS = ("float32", "memory: low", "bfloat16, rounded to the nearest")


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="of a family in a finished pocket study")
    parser.add_argument("--lr", type=float, nargs="+", default=[2e-4, 2e-5])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--wide", action="store_true", help="a decoder of SmolLM2-135M's size")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| lr | method | weights | loss | ρ | right, % | moved, % |\n|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        world.write(scratch / "fresh", 1000, 256, 1, 1)
        data = args.folder.parent / "world" / "train.jsonl"
        places = {name: str(args.folder / name) for name in ("vlm", "reasoner")}
        if args.wide:
            places = widened(places, scratch)
        more = {"data": str(data), "dtype": "bfloat16", "steps": args.steps, "batch": args.batch}
        for lr in args.lr:
            for recipe in ("pocket_sft", "pocket_drift"):
                for arm in ARMS:
                    found = []
                    for seed in range(args.seeds):
                        config = load(recipe, places | more | {"lr": lr, "seed": seed})
                        found.append(measured(config, arm, places["reasoner"], scratch))
                    row = [f"{lr:g}", recipe.removeprefix("pocket_"), arm, *cells(found)]
                    print(f"| {' | '.join(row)} |", flush=True)


def cells(found: list[dict[str, float]]) -> list[str]:
    """Mean and spread of each measure."""
    spread = statistics.stdev if len(found) > 1 else (lambda values: 0.0)
    columns = ([one[name] for one in found] for name in found[0])
    return [f"{statistics.mean(values):.4g} ± {spread(values):.2g}" for values in columns]


def measured(config: TrainConfig, arm: str, reasoner: str, scratch: Path) -> dict[str, float]:
    """Train one arm, and measure."""
    from transformers import AutoModelForImageTextToText as Auto

    config = replace(config, memory="float32" if arm == "float32" else "low")
    out = scratch / "out"
    nearest = arm == ARMS[2]
    # The trainer would refuse steps that are lost.
    with mock.patch.object(training, "refuse_lost_steps", mock.Mock()), mock.patch.object(
        low_memory, "bfloat16_by_chance", torch.Tensor.bfloat16 if nearest else by_chance
    ), contextlib.redirect_stdout(io.StringIO()):  # fmt: skip
        training.train(config, out, overwrite=True)
    log = [json.loads(line) for line in (out / training.LOG).read_text().splitlines()]
    first, last = (Auto.from_pretrained(one, dtype=torch.float32) for one in (config.vlm, out))
    if config.memory == "low":
        first.bfloat16().float()  # as training saw it
    freeze(last, config.train)
    before, after = dict(first.named_parameters()), dict(last.named_parameters())
    trained = [name for name, param in after.items() if param.requires_grad]
    moved = sum(int((after[name] != before[name]).sum()) for name in trained)
    tail = log[-min(20, max(1, len(log) // 5)) :]
    return {
        "loss": statistics.mean(line["loss"] for line in tail),
        "rho": displacement(config.vlm, reasoner, out).rho,
        "right": 100 * right(last.eval(), config, scratch),
        "moved": 100 * moved / sum(after[name].numel() for name in trained),
    }


def right(model: torch.nn.Module, config: TrainConfig, scratch: Path) -> float:
    """The share of chains not trained on whose whole answer is the likeliest."""
    fresh = replace(config, data=str(scratch / "fresh" / "train.jsonl"), day="2026-01-01")
    data = training._data(fresh, family_of(config.vlm), None)
    hits = 0
    with torch.no_grad():
        for sample in data.samples:
            batch = training.collate([sample], data.pad, False)
            batch.pop("rows", None)
            labels = batch.pop("labels")[:, 1:]
            said = model(**batch).logits[:, :-1].argmax(-1)
            hits += bool((said == labels)[labels != training.IGNORED].all())
    return hits / len(data.samples)


def widened(places: dict[str, str], scratch: Path) -> dict[str, str]:
    """The pair with a decoder of SmolLM2-135M's size."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(places["vlm"])
    for name, value in SMOLLM2.items():
        setattr(config.text_config, name, value)
    vlm = AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
    llm = AutoModelForCausalLM.from_config(config.text_config, dtype=torch.float32)
    ours, theirs = decoder(vlm)[1], decoder(llm)[1]
    with torch.no_grad():
        for name, param in theirs.items():
            param.copy_(ours[name] + 0.1 * ours[name].std() * torch.randn_like(param))
    found = {}
    for name, model in (("vlm", vlm), ("reasoner", llm)):
        found[name] = str(scratch / name)
        copy_papers(Path(places[name]), scratch / name)
        model.save_pretrained(scratch / name)
    return found


if __name__ == "__main__":
    main()
