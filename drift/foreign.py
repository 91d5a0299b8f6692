"""Weights in forms that are not read here: what they are, and what converts them."""

import json
import shlex
from pathlib import Path

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
OF_TRAINERS = ("training_args", "optimizer", "scheduler", "rng_state", "scaler")
"""Beginnings of pickles that a trainer leaves beside weights."""

START = "from common import torch_guard; torch_guard.install(); import transformers as t; "


def told(folder: Path) -> str | None:
    """Return what a folder without safetensors holds instead, and what makes safetensors of it.

    A sentence; None where nothing in the folder is known.
    """
    if _first(folder, "adapter_config.json") and not _first(folder, "config.json"):
        return (
            f"{folder} is an adapter, without the model that it lies on: write it whole (train "
            "with merge_adapter: true, or peft's merge_and_unload)"
        )
    out = folder.with_name(f"{folder.name}-safetensors")
    if found := _first(folder, "*.gguf"):
        code = (
            f"{START}t.AutoModelForCausalLM.from_pretrained({str(folder)!r}, "
            f"gguf_file={found.name!r}).save_pretrained({str(out)!r})"
        )
        return (
            f"{folder} holds weights packed for llama.cpp ({found.name}): ask them with "
            f"`llama-server -m {shlex.quote(str(found))}` and --engine server, or unpack those of "
            f"a text-only model with `python -c {shlex.quote(code)}`"
        )
    if found := _first(folder, "global_step*/*_model_states.pt", "*_model_states.pt"):
        place = found.parents[1]
        return (
            f"{folder} holds weights in DeepSpeed's form, which are pickles: `python -m "
            f"deepspeed.utils.zero_to_fp32 {_both(place, out)} --safe_serialization` makes "
            "safetensors of them; copy config, tokenizer and processor beside them"
        )
    if found := _first(folder, ".metadata", "*/.metadata"):
        return (
            f"{folder} holds weights as a distributed checkpoint of torch ({found.parent.name}), "
            f"which is pickled: `accelerate merge-weights {_both(found.parent, out)}` makes "
            "safetensors of it; copy config, tokenizer and processor beside them"
        )
    if found := _first(folder, *PICKLES):
        code = (
            f"{START}t.{_class(folder)}.from_pretrained({str(folder)!r}, use_safetensors=False)"
            f".save_pretrained({str(out)!r})"
        )
        return (
            f"{folder} has its weights as pickle only ({found.name}), which can run code when "
            f"read: `python -c {shlex.quote(code)}` makes safetensors of them without; copy "
            "tokenizer and processor beside them"
        )
    return None


def _first(folder: Path, *patterns: str) -> Path | None:
    found = (path for pattern in patterns for path in sorted(folder.glob(pattern)))
    return next((path for path in found if not path.name.startswith(OF_TRAINERS)), None)


def _both(source: Path, target: Path) -> str:
    return shlex.join((str(source), str(target)))


def _class(folder: Path) -> str:
    """Return the class of transformers that a config.json names."""
    try:
        name = json.loads((folder / "config.json").read_bytes())["architectures"][0]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return "AutoModel"
    return name if isinstance(name, str) and name.isidentifier() else "AutoModel"
