"""Several answers to each of a few questions, by transformers: one prefill a question.

`generate` of transformers would read a question as often as it is answered, and go through the
whole VLM for each token; here the decoder alone goes on from a cache that the answers share.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from drift.families import decoder
from drift.training.encode import KINDS, Sample
from drift.training.samples import collate

if TYPE_CHECKING:
    import torch


def left_padded(prompts: Sequence[Sample], pad: int, per_row: bool) -> Sample:
    """A batch of prompts that end at the same place; see `collate`."""
    import torch

    batch = collate(list(prompts), pad, per_row)
    shifts = (batch["attention_mask"] == 0).sum(-1).tolist()
    for key in ("input_ids", "attention_mask", *KINDS):
        if key in batch:
            rows = [row.roll(shift) for row, shift in zip(batch[key], shifts, strict=True)]
            batch[key] = torch.stack(rows)
    return batch


def sample(
    model: Any,
    prompts: Sample,
    repeats: int,
    *,
    tokens: int,
    temperature: float,
    ends: Sequence[int],
    banned: Sequence[int],
) -> list[list[int]]:
    """Sample `repeats` answers to each prompt.

    Args:
        model: A VLM, not wrapped.
        prompts: As `left_padded` gives them, on the model's device.
        repeats: Answers to a prompt.
        tokens: At which an answer is cut.
        temperature: 0: the likeliest token each time.
        ends: Token ids that end an answer, and belong to it.
        banned: Token ids that no answer has, such as that of a picture.

    Returns:
        Token ids of each answer, those to a prompt one after the other.
    """
    import torch
    from transformers import DynamicCache

    stack, _ = decoder(model)
    head = model.get_output_embeddings()
    cache = DynamicCache(config=model.config.get_text_config())
    with torch.no_grad():
        seen = model(**prompts, past_key_values=cache, use_cache=True, logits_to_keep=1)
        each: Any = torch.arange(len(prompts["input_ids"]), device=model.device)
        cache.reorder_cache(each.repeat_interleave(repeats))
        logits = seen.logits[:, -1].repeat_interleave(repeats, 0)
        mask = prompts["attention_mask"].repeat_interleave(repeats, 0)
        place = _next_place(model, prompts).repeat_interleave(repeats, 0)
        stops = torch.tensor(list(ends), device=mask.device)
        alive = torch.ones(len(mask), dtype=torch.bool, device=mask.device)
        columns, lengths = [], torch.zeros_like(mask[:, 0])
        while True:
            logits[:, list(banned)] = -torch.inf
            column = _drawn(logits, temperature)
            columns.append(column)
            lengths += alive
            alive &= ~torch.isin(column, stops)
            if len(columns) == tokens or not alive.any():
                break
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
            seen = stack(
                input_ids=column[:, None],
                attention_mask=mask,
                position_ids=place,
                past_key_values=cache,
                use_cache=True,
            )
            logits, place = head(seen.last_hidden_state[:, -1]), place + 1
    rows = torch.stack(columns, 1).tolist()
    return [row[:length] for row, length in zip(rows, lengths.tolist(), strict=True)]


def _drawn(logits: "torch.Tensor", temperature: float) -> "torch.Tensor":
    if temperature == 0:
        return logits.argmax(-1)
    import torch

    return torch.multinomial((logits.float() / temperature).softmax(-1), 1)[:, 0]


def _next_place(model: Any, prompts: Sample) -> "torch.Tensor":
    """Position of the token after each prompt, shape (prompts, 1), as the prefill counted them.

    Qwen's VLMs count words alone, and a picture by its sides; with pictures in the batch they note
    how far that is from the count of tokens. All others count padding too, which RoPE leaves out.
    """
    mask = prompts["attention_mask"]
    shift = getattr(model.base_model, "rope_deltas", None)
    if shift is None or "image_grid_thw" not in prompts:
        return mask.new_full((len(mask), 1), mask.shape[1])
    return mask.sum(-1, keepdim=True) + shift.to(mask)
