import pytest
import tiny_models as tiny
import torch
import transformers as tf

from common.errors import UserError
from drift.families import FAMILIES
from drift.training.encode import IGNORED, encode
from drift.training.rows import read_rows
from drift.training.samples import Samples, collate

PER_ROW = {family.model_type: family.pixels_per_row for family in FAMILIES}


def ends(processor):
    return frozenset([processor.tokenizer.eos_token_id])


def test_what_does_not_fit_is_left_out_by_name_and_never_cut(family, rows):
    processor = tiny.processor(family)
    per_row = PER_ROW[family]
    raw = read_rows(rows)
    lengths = [len(encode(row, processor, ends(processor), per_row)["input_ids"]) for row in raw]
    limit = sorted(lengths)[len(lengths) // 2]
    samples = Samples(raw, processor, ends(processor), limit, per_row)
    kept = [row.where for row, length in zip(raw, lengths, strict=True) if length <= limit]
    lost = [f"{r.where} ({n} tokens)" for r, n in zip(raw, lengths, strict=True) if n > limit]
    assert [row.where for row in samples.rows] == kept
    assert samples.dropped == lost
    assert max(len(samples[i]["input_ids"]) for i in range(len(samples))) == limit
    with pytest.raises(UserError, match="none of 16 rows fits into 3 tokens"):
        Samples(raw, processor, ends(processor), 3, per_row)


def test_samples_beyond_the_cache_are_made_anew(rows, monkeypatch):
    processor = tiny.processor("idefics3")
    raw = read_rows(rows)
    cached = Samples(raw, processor, ends(processor), 99, True)
    monkeypatch.setattr("drift.training.samples.CACHE_BYTES", 10_000)
    mixed = Samples(raw, processor, ends(processor), 99, True)
    assert 0 < len(mixed._cache) < len(raw) == len(cached._cache)
    for i in range(len(raw)):
        assert mixed[i].keys() == cached[i].keys()
        assert all(torch.equal(mixed[i][key], cached[i][key]) for key in mixed[i])


def test_a_batch_gives_each_row_the_logits_it_has_alone(models, kind, rows):
    """Pictures of several sizes, two pictures, none: padding changes nothing."""
    folder = models / kind / "vlm"
    processor = tf.AutoProcessor.from_pretrained(folder)
    model = tf.AutoModelForImageTextToText.from_pretrained(folder).eval()
    per_row = PER_ROW[kind]
    samples = Samples(read_rows(rows), processor, ends(processor), 256, per_row)
    chosen = [samples[i] for i in (0, 1, 2, 5)]
    with torch.no_grad():
        together = model(**collate(chosen, 0, per_row)).logits
        for i, sample in enumerate(chosen):
            alone = model(**collate([sample], 0, per_row)).logits[0]
            torch.testing.assert_close(together[i, : len(alone)], alone, rtol=1e-4, atol=1e-5)


def test_padding_is_not_learnt(rows):
    processor = tiny.processor("qwen2_5_vl")
    samples = Samples(read_rows(rows), processor, ends(processor), 256)
    batch = collate([samples[i] for i in range(4)], pad=7)
    outside = batch["attention_mask"] == 0
    assert outside.any()
    assert (batch["labels"][outside] == IGNORED).all()
    assert (batch["input_ids"][outside] == 7).all()
    assert (batch["mm_token_type_ids"][outside] == 0).all()
    assert batch["input_ids"].shape == batch["labels"].shape == batch["attention_mask"].shape
