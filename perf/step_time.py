"""What a training step takes, in time and in memory, for each way to hold the weights.

Each step as training takes it: forward and backward of each micro-batch, (pull), clip, optimizer.
The kinds of one way take turns on one model, so that what else the machine does falls on all alike;
the ways come one after the other. Medians, and medians of the ratio to the SFT step of the same
turn. Memory is that of a process of its own: the most that torch's allocator held, and of it
weights, gradients, moments and Δ. On a CPU its rows are short, so that what is held for each
parameter shows.

    python perf/step_time.py
    python perf/step_time.py --kinds sft,drift --turns 9
    python perf/step_time.py --device cuda    # the dimensions of Qwen2.5-VL-7B

A kind is `sft`; `drift` (Δ in bfloat16 on the device); `offload` (Δ in pinned host memory); or
`published`, the form of the authors' code rebuilt: Δ in pageable host memory, copied to the device
and applied by a tensor hook of each parameter, in every backward. With `low-` before it the weights
are held as with `memory: low`, with `lora-` or `qlora-` under adapters of rank 64 on a VLM in
bfloat16 or in 4 bits; otherwise in float32.
"""

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from common import torch_guard

torch_guard.install()  # before transformers is imported

import transformers as tf
from step_models import Held, Published, batch_of, hold, large, shapes_of, small, way_of
from transformers.utils import logging

from drift.training.mixin import answer_loss

KINDS = (
    *("sft", "drift", "published", "low-sft", "low-drift"),
    *("lora-sft", "lora-drift", "qlora-sft", "qlora-drift"),
)
SHORT = 96
"""Tokens of the row that memory is measured with on a CPU."""


def step(held: Held, kind: str, batches: list[dict], device: str) -> dict[str, int]:
    """Take one optimizer step.

    Returns:
        Bytes by what they hold, where a step holds most of it.
    """
    pull = held.pulls.get(kind)
    if isinstance(pull, Published):
        pull.attach()
    in_bfloat16 = device == "cuda" or way_of(kind) != ""
    for batch in batches:
        inputs = {key: value for key, value in batch.items() if key != "labels"}
        with torch.autocast(device, torch.bfloat16) if in_bfloat16 else nullcontext():
            outputs = held.model(**inputs, use_cache=False)
            loss = answer_loss(outputs, batch["labels"], batch["labels"].numel() // 2)
        loss.backward()
    if pull is not None and not isinstance(pull, Published):
        pull.apply()
    torch.nn.utils.clip_grad_norm_(held.params, 1.0)
    held.optimizer.step()
    gradients = sum(param.grad.nbytes for param in held.params)
    held.optimizer.zero_grad()
    if isinstance(pull, Published):
        pull.detach()
    state = [value for one in held.optimizer.state.values() for value in one.values()]
    return {
        "weights": sum(bytes_of(param) for param in held.model.parameters()),
        "gradients": gradients,
        "moments": sum(value.nbytes for value in state if torch.is_tensor(value)),
        **(pull.memory() if pull is not None else {}),
    }


def bytes_of(param: Any) -> int:
    """Of a parameter, with the scales of one in 4 bits."""
    scales = getattr(param, "quant_state", None)
    return param.nbytes + (scales.absmax.nbytes if scales is not None else 0)


def peak(kind: str, config: tf.PreTrainedConfig, batches: list[dict], device: str) -> None:
    """Print the bytes that two steps of `kind` hold at most, and of it what is what."""
    held = hold([kind], config, device, checkpointing=True)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        found = [step(held, kind, batches, device) for _ in range(2)][-1]
        print(json.dumps(found | {"peak": torch.cuda.max_memory_allocated()}))
        return
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as seen:
        found = [step(held, kind, batches, device) for _ in range(2)][-1]
    events = [one for one in seen.profiler.kineto_results.events() if one.name() == "[memory]"]
    sizes = [one.nbytes() for one in sorted(events, key=lambda one: one.start_ns())]
    more = int(torch.tensor(sizes).cumsum(0).max())
    print(json.dumps(found | {"peak": found["weights"] + found.get("delta_bytes", 0) + more}))


def seconds_of(
    kinds: list[str], args: argparse.Namespace, config: tf.PreTrainedConfig, tokens: int
) -> dict[str, list[float]]:
    """Kind → seconds of each turn, for kinds of one way."""
    cuda = args.device == "cuda"
    clock = time.perf_counter if cuda else time.process_time
    held = hold(kinds, config, args.device, checkpointing=cuda)
    batches = [batch_of(config, args.batch, tokens, args.device) for _ in range(args.accumulate)]
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    for turn in range(args.turns + 1):
        for kind in kinds:
            if cuda:
                torch.cuda.synchronize()
            start = clock()
            step(held, kind, batches, args.device)
            if cuda:
                torch.cuda.synchronize()
            if turn:  # the first warms up
                times[kind].append(clock() - start)
    return times


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--size", choices=["small", "large"], help="default: large on cuda")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--accumulate", type=int, help="micro-batches; default 2, on cuda 8")
    parser.add_argument("--tokens", type=int, help="of a row; default 512, on cuda 2048")
    parser.add_argument("--turns", type=int, default=5, help="0: memory alone")
    parser.add_argument("--threads", type=int, default=1, help="of the processor")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    args = parser.parse_args()
    logging.set_verbosity_error()
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    cuda = args.device == "cuda"
    if cuda and not torch.cuda.is_available():
        raise SystemExit("step_time: no CUDA device is visible; run it without --device")
    tokens = args.tokens or (2048 if cuda else 512)
    args.accumulate = args.accumulate or (8 if cuda else 2)
    config = (large if (args.size or ("large" if cuda else "small")) == "large" else small)()
    if args.peak:
        rows = batch_of(config, args.batch, tokens if cuda else SHORT, args.device)
        peak(args.peak, config, [rows], args.device)
        return
    kinds = args.kinds.split(",")
    words = [word for word in sys.argv[1:] if word != "--kinds" and word != args.kinds]
    memory = {
        kind: json.loads(
            subprocess.check_output([sys.executable, __file__, *words, "--peak", kind])
        )
        for kind in kinds
    }
    times: dict[str, list[float]] = {}
    for _, group in groupby(kinds if args.turns else [], way_of):
        times |= seconds_of(list(group), args, config, tokens)
    report(args, tokens, sum(map(math.prod, shapes_of(config).values())), times, memory)


def report(
    args: argparse.Namespace,
    tokens: int,
    pulled: int,
    times: dict[str, list[float]],
    memory: dict[str, dict[str, int]],
) -> None:
    """Print the table; write the figures."""
    device = torch.cuda.get_device_name() if args.device == "cuda" else platform.machine()
    print(
        f"{device}, {torch.get_num_threads()} of {os.cpu_count()} CPU threads, "
        f"torch {torch.__version__}, transformers {tf.__version__}\n"
        f"{pulled / 1e6:.0f} M parameters in attention and MLPs, {args.accumulate} × {args.batch} "
        f"rows of {tokens} tokens, {args.turns} turns, load {os.getloadavg()[0]:.1f}; bytes for "
        "each of these parameters\n"
    )
    parts = ("weights", "gradients", "moments", "delta_bytes", "delta_host_bytes", "peak")
    print(
        "| step | seconds | over its SFT | over float32 | weights | gradients | moments | Δ "
        "| Δ in host memory | peak | over float32 |\n|---|" + "---|" * 10
    )
    figures = {}
    for kind, held in memory.items():
        plain = kind.removeprefix(f"{way_of(kind)}-")
        median = statistics.median(times[kind]) if kind in times else None
        sft = f"{way_of(kind)}-sft".removeprefix("-")
        ratios = [a / b for a, b in zip(times.get(kind, ()), times.get(sft, ()), strict=False)]
        figures[kind] = held | {
            "seconds": times.get(kind),
            "over_sft": statistics.median(ratios) if ratios else None,
            "over_float32": median and plain in times and median / statistics.median(times[plain]),
            "peak_over_float32": held["peak"] / memory[plain]["peak"] if plain in memory else None,
        }
        row = [median, figures[kind]["over_sft"], figures[kind]["over_float32"]]
        row += [held.get(part, 0) / pulled for part in parts]
        row += [figures[kind]["peak_over_float32"]]
        cells = ("–" if not value else f"{value:.3f}" for value in row)
        print(f"| {kind} | {' | '.join(cells)} |")
    if args.out:
        with tempfile.NamedTemporaryFile("w", dir=args.out.parent, delete=False) as file:
            json.dump(figures, file, indent=2)
        Path(file.name).replace(args.out)


if __name__ == "__main__":
    main()
