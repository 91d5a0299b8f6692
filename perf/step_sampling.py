"""What sampling the answers of a GRPO step costs: ours, against transformers' `generate`.

    python perf/step_sampling.py SEED/llava_next/sft SEED/world/train.jsonl

8 questions of the rows, 8 answers of at most 32 tokens to each, as the pocket's recipe has it;
processor seconds of one thread, medians of turns in which the two alternate, and of their ratio.
SEED is a folder of `driftbench reproduce pocket`, such as runs/pocket/seed-0.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from common import torch_guard

torch_guard.install()

from transformers import AutoModelForImageTextToText, AutoProcessor, GenerationConfig
from transformers.utils import logging

from drift.families import family_of
from drift.training.encode import encode
from drift.training.rl.sampling import left_padded, sample
from drift.training.rows import read_rows
from drift.training.samples import prompt

QUESTIONS, ANSWERS, TOKENS, TURNS = 8, 8, 32, 15


def seconds(work: Callable[[], object]) -> float:
    """Processor seconds that it takes."""
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    """Sample both ways in turn, and print what that took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("vlm", type=Path, help="a checkpoint that writes chains already")
    parser.add_argument("rows", help="JSONL of its questions")
    given = parser.parse_args()
    if not given.vlm.is_dir():
        parser.error(f"{given.vlm} is not a folder: expected a checkpoint")
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    model = AutoModelForImageTextToText.from_pretrained(given.vlm, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(given.vlm)
    end, banned = processor.tokenizer.eos_token_id, model.config.image_token_id
    per_row = family_of(given.vlm).pixels_per_row
    asked = [
        prompt(encode(row, processor, frozenset([end]), per_row))
        for row in read_rows(given.rows)[:QUESTIONS]
    ]
    once = left_padded(asked, 0, per_row)
    each = left_padded([one for one in asked for _ in range(ANSWERS)], 0, per_row)
    settings = GenerationConfig(
        max_new_tokens=TOKENS, do_sample=True, top_k=0, eos_token_id=end, pad_token_id=0,
        suppress_tokens=[banned], disable_compile=True,
    )  # fmt: skip

    def ours() -> None:
        sample(model, once, ANSWERS, tokens=TOKENS, temperature=1.0, ends=[end], banned=[banned])

    def theirs() -> None:
        with torch.no_grad():
            model.generate(**each, generation_config=settings)

    ours()
    theirs()
    turns = [(seconds(ours), seconds(theirs)) for _ in range(TURNS)]
    mine, base = map(statistics.median, zip(*turns, strict=True))
    ratio = statistics.median(own / other for own, other in turns)
    print(f"{'':24}{'seconds':>9}{'over generate':>15}")
    print(f"{'generate':24}{base:9.4f}{1:15.3f}")
    print(f"{'sample':24}{mine:9.4f}{ratio:15.3f}")


if __name__ == "__main__":
    main()
