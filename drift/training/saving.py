"""From a trained model to a checkpoint: in the VLM's dtype, or in float32.

Training keeps float32 weights. In 16 bits a step that is smaller than half of what they resolve is
lost when it is rounded to the nearest: of weights at 0.02, all that moved by less than 6e-5, which
1,500 steps of 1e-6 hardly pass. A pull that always goes the same way survives where a task's steps
do not, so that one method would be stored and the other erased. Here all are rounded by chance,
which keeps every step on the average, and `made.json` tells what was kept. Weights that were
trained in bfloat16 (`memory: low`) are stored as they are, and frozen ones as they were.
"""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.files import put_in_place, write_whole
from common.provenance import Made, write_made
from common.typed import read_json
from drift.delta import stream
from drift.papers import copy_papers
from drift.rounding import rounded
from drift.training import adapters, added_tokens
from drift.training.config import TrainConfig

if TYPE_CHECKING:
    import torch

LOG = "drift_log.jsonl"
BLOCK = 1 << 20
"""Entries that are rounded and measured at a time."""


def finish(trainer: Any, made: Made, config: TrainConfig, work: Path, out: Path) -> Made:
    """Write the checkpoint beside its place, complete, then put it there.

    Returns:
        What was written to `made.json`; in other processes `made`.
    """
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if trainer.is_world_process_zero():
        final = work / "final"
        shutil.rmtree(final, ignore_errors=True)
        if config.adapter_rank and not config.merge_adapter:
            bare = trainer.accelerator.unwrap_model(trainer.model)
            adapters.save(bare, config, made.settings["vlm"], final)
            made = replace(made, reached={"dtype": "float32"})
        else:
            model = trainer.model
            named = model.named_parameters(remove_duplicate=False)
            words = (model.get_input_embeddings(), model.get_output_embeddings())
            # Frozen too, but with rows of words that were added.
            own = {id(one.weight) for one in words if one is not None and made.tokens}
            frozen = [name for name, p in named if not p.requires_grad and id(p) not in own]
            made = _save(state, frozen, trainer.processing_class, made, config, final)
        shutil.copyfile(work / LOG, final / LOG)
        made = write_made(final, made)
        put_in_place(final, out)
        shutil.rmtree(work)
    trainer.accelerator.wait_for_everyone()
    return made


def _save(
    state: "dict[str, torch.Tensor]",
    frozen: list[str],
    processor: Any,
    made: Made,
    config: TrainConfig,
    final: Path,
) -> Made:
    import torch
    from transformers import AutoModelForImageTextToText

    # Into a fresh model: the trained one may be sharded, and this one has the dtype of the VLM on
    # disk and writes the names of the hub.
    fresh: Any = AutoModelForImageTextToText.from_pretrained(config.vlm, dtype="auto")
    kind, before = fresh.dtype, fresh.state_dict()
    if config.adapter_rank:
        scale = (config.adapter_alpha or config.adapter_rank) / config.adapter_rank
        state = adapters.folded(before, state, scale)
    else:
        # A frozen tensor of more bits than it was computed with is written as it was.
        state |= {name: before[name] for name in frozen if state[name].shape == before[name].shape}
    rows = max((word["rows"] for word in (made.tokens or {}).values()), default=0)
    if made.tokens and rows > fresh.get_input_embeddings().num_embeddings:
        fresh.resize_token_embeddings(rows, mean_resizing=False)
    if config.save_dtype == "float32":
        fresh.to(torch.float32)
    elif config.memory == "low" and fresh.dtype == torch.float16:
        fresh.to(torch.bfloat16)  # as trained: float16 would round what is small once more
    kinds = {name: tensor.dtype for name, tensor in fresh.state_dict().items()}
    reached = round_all(state, before, kinds, config.seed)
    fresh.load_state_dict(state)
    _turn_experts_back(fresh)
    fresh.save_pretrained(final)
    # Architecture, tokenizer, template and generation settings are the VLM's own, unchanged but for
    # words that were added, and for the dtype.
    copy_papers(Path(config.vlm), final)
    if made.tokens:
        added_tokens.save(final, processor, rows)
    written = str(fresh.dtype).removeprefix("torch.")
    if fresh.dtype != kind:
        _say_dtype(final / "config.json", written)
    return replace(made, reached={"dtype": written, **reached})


def _turn_experts_back(model: Any) -> None:
    """Have experts written as the hub has them, which transformers turns in loading alone (5.19).

    vLLM reads Qwen3-VL-MoE in no other form.
    """
    from transformers.core_model_loading import Transpose

    for conversion in getattr(model, "_weight_conversions", None) or ():
        for operation in getattr(conversion, "operations", ()):
            if isinstance(operation, Transpose):
                operation.check_dims = False


def round_all(
    state: "dict[str, torch.Tensor]",
    before: "Mapping[str, torch.Tensor]",
    kinds: "Mapping[str, torch.dtype]",
    seed: int,
) -> dict[str, float]:
    """Round the tensors of `state` in place, each to its dtype.

    Args:
        state: Name → trained tensor.
        before: Name → the tensor before training, of any dtype; of another shape where words were
            added, which is not measured.
        kinds: Name → dtype.
        seed: Of the chance; each tensor has its own stream, named after it.

    Returns:
        Of the whole movement w − w₀ and of w̃ − w₀, what is stored of it: `kept`, ⟨w̃ − w₀, w − w₀⟩
        / ‖w − w₀‖²; `cosine` of the two; `changed`, the share of the weights that training moved
        whose stored number is another one.
    """
    import torch

    along = whole = stored = moved = changed = 0.0
    for name, trained in state.items():
        if name not in kinds or not trained.is_floating_point():
            continue
        chance = stream(f"rounding {name}", seed)
        flat = trained.detach().cpu().reshape(-1)
        result = torch.empty_like(flat, dtype=kinds[name])
        known = before.get(name)
        same = known is not None and known.shape == trained.shape
        first = known.reshape(-1) if same and known is not None else flat
        for start in range(0, len(flat), BLOCK):
            part = slice(start, start + BLOCK)
            result[part] = rounded(flat[part], kinds[name], chance)
            if same:
                origin = first[part].float()
                true, left = flat[part].float() - origin, result[part].float() - origin
                along += float(left.dot(true))
                whole += float(true.dot(true))
                stored += float(left.dot(left))
                moved += float(true.count_nonzero())
                changed += float(left[true != 0].count_nonzero())
        state[name] = result.view(trained.shape)
    lengths = (whole * stored) ** 0.5
    return {
        "kept": along / whole if whole else 1.0,
        "cosine": along / lengths if lengths else 0.0,
        "changed": changed / moved if moved else 0.0,
    }


def _say_dtype(path: Path, kind: str) -> None:
    """Let a `config.json` say the dtype of the weights, wherever it says one."""
    import json

    config = read_json(path)
    parts = [config, *(part for part in config.values() if isinstance(part, dict))]
    for part in parts:
        for name in ("dtype", "torch_dtype"):
            if name in part:
                part[name] = kind
    write_whole(path, (json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode())
