"""Where `memory: low` takes training, against float32 and against bfloat16 rounded to the nearest.

    python perf/low_memory.py runs/pocket/seed-0/llava_next
    python perf/low_memory.py runs/pocket/seed-0/llava_next --wide 4 --batch 8 --found wide.jsonl

Trains the VLM of a family in a finished pocket study, SFT and DRIFT, with several seeds: the mean
loss of the last 20 steps (or the last fifth), that of chains not trained on, the share of them
that are worked out right (greedily: every token is the likeliest, given those before), ρ, and the
share of the trained weights that moved. With `--wide` its decoder gets so many layers of the size
of SmolLM2-135M's, 30 being all, with random weights, and its reasoner lies a tenth of their size
away. With `--found` each training is kept there, and not done again.
"""

import argparse
import contextlib
import io
import itertools
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
from drift.training import low_memory, mixin
from drift.training import trainer as training
from drift.training.config import TrainConfig, load
from drift.training.data import prepared
from drift.training.encode import IGNORED
from drift.training.samples import collate
from drift.training.saving import LOG
from drift.training.trainable import freeze

SMOLLM2 = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 64,
    "initializer_range": 0.02,
}
"""Of a layer of HuggingFaceTB/SmolLM2-135M."""
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
    parser.add_argument("--wide", type=int, help="layers of SmolLM2-135M's size; it has 30")
    parser.add_argument("--found", type=Path, help="JSON lines of what was measured; goes on there")
    parser.add_argument("--fresh", type=int, default=256, help="chains not trained on")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        world.write(scratch / "fresh", 1000, args.fresh, 1, 1)
        data = args.folder.parent / "world" / "train.jsonl"
        places = {name: str(args.folder / name) for name in ("vlm", "reasoner")}
        if args.wide:
            places = widened(places, args.wide, scratch)
        more = {"data": str(data), "dtype": "bfloat16", "steps": args.steps, "batch": args.batch}
        kept = {} if args.found is None else read(args.found)
        rows = itertools.product(args.lr, ("pocket_drift", "pocket_sft"), ARMS)
        for number, (lr, recipe, arm) in enumerate(rows):
            found = []
            for seed in range(args.seeds):
                key = (args.wide, args.steps, args.batch, lr, recipe, arm, seed)
                if key not in kept:
                    config = load(recipe, places | more | {"lr": lr, "seed": seed})
                    kept[key] = measured(config, arm, places["reasoner"], scratch)
                    if args.found is not None:
                        with args.found.open("a") as file:
                            file.write(json.dumps([key, kept[key]]) + "\n")
                found.append(kept[key])
            if not number:
                print(f"| lr | method | weights | {' | '.join(found[0])} |\n{'|---' * 8}|")
            row = [f"{lr:g}", recipe.removeprefix("pocket_"), arm, *cells(found)]
            print(f"| {' | '.join(row)} |", flush=True)


def read(path: Path) -> dict[tuple, dict[str, float]]:
    """What was measured before."""
    lines = path.read_text().splitlines() if path.is_file() else []
    return {tuple(key): found for key, found in map(json.loads, lines)}


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
    with mock.patch.object(mixin, "refuse_lost_steps", mock.Mock()), mock.patch.object(
        low_memory, "bfloat16_by_chance", torch.Tensor.bfloat16 if nearest else by_chance
    ), contextlib.redirect_stdout(io.StringIO()):  # fmt: skip
        training.train(config, out, overwrite=True)
    log = [json.loads(line) for line in (out / LOG).read_text().splitlines()]
    first, last = (Auto.from_pretrained(one, dtype=torch.float32) for one in (config.vlm, out))
    if config.memory == "low":
        first.bfloat16().float()  # as training saw it
    freeze(last, config.train)
    before, after = dict(first.named_parameters()), dict(last.named_parameters())
    trained = [name for name, param in after.items() if param.requires_grad]
    moved = sum(int((after[name] != before[name]).sum()) for name in trained)
    tail = log[-min(20, max(1, len(log) // 5)) :]
    loss, right = on_fresh(last.eval(), config, scratch)
    return {
        "loss": statistics.mean(line["loss"] for line in tail),
        "fresh loss": loss,
        "right, %": right,
        "ρ": displacement(config.vlm, reasoner, out).rho,
        "moved, %": 100 * moved / sum(after[name].numel() for name in trained),
    }


def on_fresh(model: torch.nn.Module, config: TrainConfig, scratch: Path) -> tuple[float, float]:
    """Of chains not trained on: the mean loss, and the percentage whose answer is the likeliest."""
    fresh = replace(config, data=str(scratch / "fresh" / "train.jsonl"), day="2026-01-01")
    data = prepared(fresh, family_of(config.vlm), None)
    losses, hits = [], 0
    with torch.no_grad():
        for sample in data.samples:
            batch = collate([sample], data.pad, False)
            batch.pop("rows", None)
            labels = batch.pop("labels")
            said = model(**batch)
            losses.append(float(mixin.answer_loss(said, labels)))
            learnt = labels[:, 1:] != IGNORED
            hits += bool((said.logits[:, :-1].argmax(-1) == labels[:, 1:])[learnt].all())
    return statistics.mean(losses), 100 * hits / len(losses)


def widened(places: dict[str, str], layers: int, scratch: Path) -> dict[str, str]:
    """The pair with a decoder of `layers` layers of SmolLM2-135M's size."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(places["vlm"])
    for name, value in (SMOLLM2 | {"num_hidden_layers": layers}).items():
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
