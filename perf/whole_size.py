"""A recipe of a published size on this machine, disk to disk: memory as estimated, and as it was.

Writes the recipe's VLM and reasoner in their published dimensions with random weights (tokenizer
and processor are the pocket's: only the weights cost anything) and rows of a picture and an answer
of `--tokens` words, and runs the command that a user would. Of Qwen2.5-VL's sizes.

    python perf/whole_size.py qwen2_5_vl_drift
    python perf/whole_size.py qwen2_5_vl_3b_drift --set max_tokens=2048 --work /scratch
"""

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from common import torch_guard

torch_guard.install()  # before transformers is imported

import transformers as tf

from drift.families import decoder
from drift.pocket import models, world
from drift.published import PUBLISHED, Published
from drift.training.config import load

FAMILY = "qwen2_5_vl"
GIB = 1 << 30
WORDS = ("bos_token_id", "eos_token_id", "pad_token_id")
NOISE = 0.002
"""Of the reasoner's weights, beside the 0.02 of random ones."""


def main() -> None:
    """Write what the recipe names, and run it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("recipe")
    parser.add_argument("--set", action="append", default=[], help="field=value, as of `train`")
    parser.add_argument("--tokens", type=int, default=2048, help="of a row")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--work", type=Path, default=Path("runs/whole_size"))
    args = parser.parse_args()
    config = load(args.recipe, {})
    named = (config.vlm, config.reasoner)
    pair = next((one for one in PUBLISHED if (one.vlm, one.llm) == named), None)
    if pair is None or pair.model_type != FAMILY:
        raise SystemExit(f"whole_size: {args.recipe} is of {named[0]}; give one of Qwen2.5-VL")
    args.work.mkdir(parents=True, exist_ok=True)
    places = checkpoints(pair, args.work)
    places["data"] = rows(args.work, args.tokens)
    fields = [f"{name}={value}" for name, value in places.items()]
    fields += [f"steps={args.steps}", "save_every=0", *args.set]
    given = [word for field in fields for word in ("--set", field)]
    out = args.work / "trained"
    spent = run("train", args.recipe, *given, "--overwrite", "--out", str(out))
    cost = json.loads((out / "made.json").read_text())["cost"]
    log = [json.loads(line) for line in (out / "drift_log.jsonl").read_text().splitlines()]
    print(
        f"{cost['device']}, torch {torch.__version__}, transformers {tf.__version__}: peak "
        f"{cost['peak_memory_bytes'] / GIB:.2f} GiB, {cost['seconds']:.1f} s for {cost['steps']} "
        f"steps, the whole command {spent:.0f} s; loss {log[0]['loss']:.3f} to "
        f"{log[-1]['loss']:.3f}\n{json.dumps(cost)}\n{json.dumps(log[-1])}"
    )


def run(*words: str) -> float:
    """`driftbench` with these words; the seconds it took."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "driftbench", *words], check=True)
    return time.perf_counter() - start


def checkpoints(pair: Published, work: Path) -> dict[str, str]:
    """VLM and reasoner in bfloat16; the weights of one are near the other's."""
    places = {"vlm": work / "vlm", "reasoner": work / "reasoner"}
    if not places["reasoner"].exists():
        read_with = models.processor(FAMILY)
        config = as_pocket(pair, models.vlm(FAMILY, 1e6).config)
        vlm = fresh(tf.AutoModelForImageTextToText, config)
        models.write(vlm, read_with, places["vlm"])
        kind = {key: value for key, value in pair.partner.items() if key != "model_type"}
        of_text = tf.AutoConfig.for_model(pair.partner["model_type"], **kind)
        text = fresh(tf.AutoModelForCausalLM, of_text)
        theirs, ours = decoder(vlm)[1], decoder(text)[1]
        with torch.no_grad():
            for name, weight in ours.items():
                weight.copy_(theirs[name]).add_(NOISE * torch.randn_like(weight))
        models.write(text, read_with.tokenizer, places["reasoner"])
        del vlm, text, theirs, ours, weight
        torch.cuda.empty_cache()
    return {role: str(place) for role, place in places.items()}


def as_pocket(pair: Published, pocket: Any) -> tf.PreTrainedConfig:
    """The configuration of the pair's VLM, whose pictures and special words are the pocket's."""
    tokens = {name: value for name, value in pocket.to_dict().items() if name.endswith("_id")}
    words = {name: getattr(pocket.text_config, name) for name in WORDS}
    patches = {name: getattr(pocket.vision_config, name) for name in ("patch_size", "window_size")}
    told = pair.of_vlm()
    return tf.Qwen2_5_VLConfig(
        text_config=told["text_config"] | words,
        vision_config=told["vision_config"] | patches,
        tie_word_embeddings=told["tie_word_embeddings"],
        **tokens,
    )


def fresh(kind: Any, config: Any) -> Any:
    """Random weights in bfloat16, on a GPU if there is one."""
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        return kind.from_config(config, dtype=torch.bfloat16)


def rows(work: Path, tokens: int) -> str:
    """64 rows of the pocket's questions with answers of so many words in all."""
    folder = work / "world"
    if not folder.exists():
        world.write(folder, 0, 64, 1, 1)
    path = folder / f"train-{tokens}.jsonl"
    rng = random.Random(0)
    lines = []
    for line in (folder / "train.jsonl").read_text().splitlines():
        row = json.loads(line)
        short = tokens - len(row["question"].split()) - 16
        row["answer"] = " ".join(str(rng.randrange(10)) for _ in range(short))
        lines.append(json.dumps(row))
    path.write_text("\n".join(lines) + "\n")
    return str(path)


if __name__ == "__main__":
    main()
