"""What the pull costs: the time of a DRIFT step over that of an SFT step, and the memory it takes.

One model, one optimizer and one batch take every kind of step in turn, each step as training takes
it: forward and backward of each micro-batch, (pull), clip, AdamW. So what else the machine does
falls on all kinds alike. Medians, and medians of the ratio to the SFT step of the same turn.

    python perf/step_time.py
    python perf/step_time.py --device cuda    # the dimensions of Qwen2.5-VL-7B
    python perf/step_time.py --device cuda --kinds sft,offload    # peak memory without Δ

Kinds: `sft`; `drift` (Δ in bfloat16 on the device); `offload` (Δ in pinned host memory); and
`published`, the form of the authors' code rebuilt: Δ in pageable host memory, copied to the device
and applied by a tensor hook of each parameter, in every backward.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import torch

from common import torch_guard

torch_guard.install()  # before transformers is imported

import transformers as tf
from transformers.utils import logging

from drift.delta import Prior
from drift.equations import strength
from drift.injector import Injector
from drift.published import PUBLISHED
from drift.training.encode import IGNORED
from drift.training.trainable import freeze
from drift.training.trainer import answer_loss

MROPE = {"rope_type": "default", "rope_theta": 1e6}


def small() -> tf.PreTrainedConfig:
    """A Qwen2.5-VL of 113 M parameters in its attention and MLPs."""
    text = {
        "hidden_size": 1024,
        "intermediate_size": 2816,
        "num_hidden_layers": 10,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "vocab_size": 4096,
        "tie_word_embeddings": False,
        "rope_parameters": MROPE | {"mrope_section": [8, 12, 12]},
    }
    vision = {"depth": 2, "hidden_size": 256, "num_heads": 4, "intermediate_size": 512}
    return _config(text, vision | {"out_hidden_size": 1024, "fullatt_block_indexes": [1]})


def large() -> tf.PreTrainedConfig:
    """The dimensions of Qwen/Qwen2.5-VL-7B-Instruct."""
    pair = next(one for one in PUBLISHED if one.vlm == "Qwen/Qwen2.5-VL-7B-Instruct")
    return _config(dict(pair.inside), dict(pair.vision or {}))


def _config(text: dict, vision: dict) -> tf.PreTrainedConfig:
    size = text["vocab_size"]
    ids = {
        "image_token_id": size - 1,
        "video_token_id": size - 2,
        "vision_start_token_id": size - 3,
        "vision_end_token_id": size - 4,
    }
    special = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    return tf.Qwen2_5_VLConfig(
        text_config=text | special | {"model_type": "qwen2_5_vl_text"},
        vision_config=vision,
        tie_word_embeddings=False,
        **ids,
    )


def batch_of(config: tf.PreTrainedConfig, rows: int, tokens: int, device: str) -> dict:
    """Rows with one picture of 16 × 16 patches each; the second half of each is the answer."""
    vision = config.vision_config
    side, merged = 16, 16 * 16 // vision.spatial_merge_size**2
    ids = torch.randint(1, config.get_text_config().vocab_size - 8, (rows, tokens))
    ids[:, 1] = config.vision_start_token_id
    ids[:, 2 : 2 + merged] = config.image_token_id
    ids[:, 2 + merged] = config.vision_end_token_id
    labels = ids.clone()
    labels[:, : tokens // 2] = IGNORED
    width = 3 * vision.temporal_patch_size * vision.patch_size**2
    made = {
        "input_ids": ids,
        "labels": labels,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == config.image_token_id).long(),
        "pixel_values": torch.randn(rows * side * side, width),
        "image_grid_thw": torch.tensor([[1, side, side]] * rows),
    }
    return {name: tensor.to(device) for name, tensor in made.items()}


def prior_of(model: torch.nn.Module) -> Prior:
    """Random Δ of a fifth of the size of random weights."""
    from drift.families import decoder, layer_and_role

    shapes = {
        name: tuple(param.shape)
        for name, param in decoder(model)[1].items()
        if layer_and_role(name)[1] in ("attention", "mlp")
    }

    def read(name: str) -> torch.Tensor:
        return (0.004 * torch.randn(shapes[name])).bfloat16()

    return Prior(
        variant="reasoner-vlm",
        family="Qwen2.5-VL",
        parents=(),
        dtype="bfloat16",
        seed=0,
        shapes=shapes,
        read=read,
    )


class Published:
    """Hooks as in the authors' code: Δ in pageable host memory, applied in every backward."""

    def __init__(self, injector: Injector) -> None:
        self.deltas = [(one.param, one.delta.cpu()) for one in injector.targets]
        self.hooks: list = []

    def attach(self) -> None:
        """Hook every parameter."""

        def pull(grad: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
            delta = delta.to(grad.device, grad.dtype)
            gg, gd, dd = ((a * b).sum() for a, b in ((grad, grad), (grad, delta), (delta, delta)))
            return grad - strength(1.0, "adaptive", float(gg), float(gd), float(dd)) * delta

        for param, delta in self.deltas:
            self.hooks.append(param.register_hook(lambda grad, delta=delta: pull(grad, delta)))

    def detach(self) -> None:
        """Take the hooks off."""
        for hook in self.hooks:
            hook.remove()
        self.hooks = []


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--size", choices=["small", "large"], help="default: large on cuda")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--accumulate", type=int, help="micro-batches; default 2, on cuda 8")
    parser.add_argument("--tokens", type=int, help="of a row; default 512, on cuda 2048")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="of the processor")
    parser.add_argument("--kinds", default="sft,drift,offload,published")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    args = parser.parse_args()
    logging.set_verbosity_error()
    torch.set_num_threads(args.threads)
    cuda = args.device == "cuda"
    if cuda and not torch.cuda.is_available():
        raise SystemExit("step_time: no CUDA device is visible; run it without --device")
    tokens = args.tokens or (2048 if cuda else 512)
    args.accumulate = args.accumulate or (8 if cuda else 2)
    clock = time.perf_counter if cuda else time.process_time
    config = (large if (args.size or ("large" if cuda else "small")) == "large" else small)()
    torch.manual_seed(0)
    with torch.device(args.device):
        model = tf.Qwen2_5_VLForConditionalGeneration(config).train()
    trained = freeze(model, ("attention", "mlp"))
    if cuda:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.disable_input_require_grads()
    params = [param for param in model.parameters() if param.requires_grad]
    optimizer = torch.optim.AdamW(params, lr=1e-6, weight_decay=0.0)
    batches = [batch_of(config, args.batch, tokens, args.device) for _ in range(args.accumulate)]
    kinds = args.kinds.split(",")
    prior = prior_of(model)
    injectors = {
        kind: Injector(model, prior, mode="adaptive", offload=kind == "offload")
        for kind in ("offload", "drift")
        if kind in kinds or (kind == "drift" and "published" in kinds)
    }
    published = Published(injectors["drift"]) if "published" in kinds else None

    def seconds(kind: str) -> float:
        if kind == "published":
            assert published is not None
            published.attach()
        if cuda:
            torch.cuda.synchronize()
        start = clock()
        for batch in batches:
            inputs = {key: value for key, value in batch.items() if key != "labels"}
            with torch.autocast(args.device, torch.bfloat16, enabled=cuda):
                outputs = model(**inputs, use_cache=False)
                loss = answer_loss(outputs, batch["labels"], batch["labels"].numel() // 2)
            loss.backward()
        if kind in injectors:
            injectors[kind].apply()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if cuda:
            torch.cuda.synchronize()
        taken = clock() - start
        if published is not None:
            published.detach()
        return taken

    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    peaks = {}
    for turn in range(args.turns + 1):
        for kind in kinds:
            if cuda:
                torch.cuda.reset_peak_memory_stats()
            taken = seconds(kind)
            if turn:  # the first warms up
                times[kind].append(taken)
            if cuda:
                peaks[kind] = torch.cuda.max_memory_allocated()
    report(args, tokens, trained, times, injectors, peaks)


def report(args, tokens, trained, times, injectors, peaks) -> None:
    """Print the table; write the figures."""
    device = torch.cuda.get_device_name() if args.device == "cuda" else platform.machine()
    print(
        f"{device}, {torch.get_num_threads()} of {os.cpu_count()} CPU threads, "
        f"torch {torch.__version__}, transformers {tf.__version__}\n"
        f"{trained / 1e6:.0f} M trained parameters, {args.accumulate} × {args.batch} rows of "
        f"{tokens} tokens, {args.turns} turns, load {os.getloadavg()[0]:.1f}\n"
    )
    figures = {}
    print("| step | seconds | over SFT | Δ on the device | Δ in host memory | peak |")
    print("|---|---|---|---|---|---|")
    for kind, taken in times.items():
        ratios = [a / b for a, b in zip(taken, times["sft"], strict=True)]
        held = injectors[kind].memory() if kind in injectors else {}
        near, far = held.get("delta_bytes", 0), held.get("delta_host_bytes", 0)
        if kind == "published":
            far = 2 * trained
        figures[kind] = {
            "seconds": taken,
            "ratio": statistics.median(ratios),
            "delta_bytes": near,
            "delta_host_bytes": far,
            "peak_bytes": peaks.get(kind),
        }
        peak = f"{peaks[kind] / 2**30:.1f} GiB" if peaks else "–"
        print(
            f"| {kind} | {statistics.median(taken):.3f} | {statistics.median(ratios):.3f} "
            f"| {near / 2**30:.2f} GiB | {far / 2**30:.2f} GiB | {peak} |"
        )
    if args.out:
        with tempfile.NamedTemporaryFile("w", dir=args.out.parent, delete=False) as file:
            json.dump(figures, file, indent=2)
        Path(file.name).replace(args.out)


if __name__ == "__main__":
    main()
