"""Counted against what torch itself counts while a tiny model is trained."""

import pytest
import torch
import transformers as tf
from torch.utils.flop_counter import FlopCounterMode

from drift.families import family_of
from drift.training import flops
from drift.training.encode import encode
from drift.training.rows import read_rows
from drift.training.samples import collate
from drift.training.trainable import freeze


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(
    "parts",
    [
        ("attention", "mlp"),
        ("head",),
        ("attention", "mlp", "norm", "embedding", "head"),
        ("tower",),
    ],
)
def test_operations_are_those_that_torch_counts(models, family, rows, parts, checkpointing):
    folder = models / family / "vlm"
    # torch counts no products of queries and keys inside its fused kernel for CPUs.
    model = tf.AutoModelForImageTextToText.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).train()
    freeze(model, parts)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.disable_input_require_grads()
    per_row = family_of(folder).pixels_per_row
    processor = tf.AutoProcessor.from_pretrained(folder)
    batch = collate([encode(read_rows(rows)[1], processor, frozenset([3]), per_row)], 0, per_row)
    with FlopCounterMode(display=False) as counter:
        model(**batch).loss.backward()
    length = batch["input_ids"].shape[1]
    image = getattr(model.config, "image_token_id", None) or model.config.image_token_index
    seen = flops.patches(model, batch["pixel_values"])
    shown = int((batch["input_ids"] == image).sum())
    counted = flops.rates(model, checkpointing).of(length, length**2, seen, shown)
    assert counted == pytest.approx(counter.get_total_flops(), rel=0.08)


def test_a_large_model_takes_6_per_parameter_and_token():
    """All trained, short rows: the rule of thumb. Only the MLPs: 2 less for all that is frozen."""
    config = tf.LlamaConfig(
        hidden_size=512, intermediate_size=2048, num_hidden_layers=8, vocab_size=1000
    )
    with torch.device("meta"):
        model = tf.LlamaForCausalLM(config)
    matrices = sum(
        p.numel() for n, p in model.named_parameters() if p.ndim > 1 and "embed" not in n
    )
    assert flops.rates(model).token == 6 * matrices
    assert flops.rates(model, checkpointing=True).token == 8 * matrices - 2 * 512 * 1000
    assert flops.rates(model).pair == 12 * 512 * 8
    freeze(model, ("mlp",))
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    first = 4 * 512**2 + 512 * 2048  # nothing is handed on through what lies before it
    assert flops.rates(model).token == 4 * matrices + 2 * trained - 2 * first
