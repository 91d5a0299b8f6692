import json

import pytest
import tiny_models as tiny
import torch
import transformers as tf
from test_trainer import config_of
from tiny_models import read

from common.errors import UserError
from drift.pocket import models as pocket
from drift.training import trainer as training
from drift.training.added_tokens import to_model, to_tokenizer

# `is the` is read as six known letters, `жа` as two unknown ones.
WORDS = ("is the", "жа")


def tables(model):
    return model.get_input_embeddings().weight, model.get_output_embeddings().weight


@pytest.mark.parametrize("spare", [0, 5])
@pytest.mark.parametrize("tied", [False, True])
def test_new_words_start_as_the_mean_of_their_pieces(spare, tied):
    processor = tiny.processor("qwen2_5_vl")
    count = len(processor.tokenizer)
    model = tf.LlamaForCausalLM(
        tiny.text_config("llava", "llama", vocab_size=count + spare, tie_word_embeddings=tied)
    )
    before = [table.detach().clone() for table in tables(model)]
    pieces = processor.tokenizer("is the")["input_ids"]
    added = to_model(model, processor, to_tokenizer(processor, WORDS))
    rows = count + max(spare, 2)
    assert added == {
        "is the": {"id": count, "pieces": pieces, "rows": rows},
        "жа": {"id": count + 1, "pieces": [], "rows": rows},
    }
    for table, old in zip(tables(model), before, strict=True):
        assert len(table) == rows
        torch.testing.assert_close(table[count], old[pieces].mean(0))
        torch.testing.assert_close(table[count + 1], old[:count].mean(0))
        assert torch.equal(table[:count], old[:count])
    assert (tables(model)[0] is tables(model)[1]) == tied
    encoded = processor.tokenizer("what is the жа word")["input_ids"]
    assert encoded[len("what ") :][:3] == [count, *processor.tokenizer(" ")["input_ids"], count + 1]
    # What an engine shows when it leaves special tokens out.
    assert "жа" in processor.tokenizer.decode(encoded, skip_special_tokens=True)
    assert to_tokenizer(processor, WORDS) == to_model(model, processor, {}) == {}


def test_words_are_words():
    with pytest.raises(UserError, match=r"add_tokens takes words, each once, not \['a', 'a'\]"):
        to_tokenizer(None, ("a", "a"))


@pytest.mark.parametrize("spare", [0, 4])
def test_a_run_leaves_them_in_weights_tokenizer_and_record(models, rows, tmp_path, spare):
    folder = models / "qwen2_5_vl"
    if spare:
        model = tf.AutoModelForImageTextToText.from_pretrained(folder / "vlm")
        model.resize_token_embeddings(len(tiny.tokenizer("qwen2_5_vl")) + spare)
        pocket.write(model, tiny.processor("qwen2_5_vl"), tmp_path / "vlm")
    vlm = tmp_path / "vlm" if spare else folder / "vlm"
    config = config_of(
        folder, rows, vlm=str(vlm), prior="reasoner-vlm", add_tokens=WORDS, save_every=2
    )
    made = training.train(config, tmp_path / "out")
    before, after = read(vlm), read(tmp_path / "out")
    stored = json.loads((tmp_path / "out" / "made.json").read_text())
    count = len(tiny.tokenizer("qwen2_5_vl"))
    assert stored["tokens"] == made.tokens
    assert {word: one["id"] for word, one in made.tokens.items()} == {
        WORDS[0]: count,
        WORDS[1]: count + 1,
    }
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        assert len(after[name]) == count + max(spare, 2)
        assert torch.equal(after[name][:count], before[name][:count])
        pieces = made.tokens["is the"]["pieces"]
        torch.testing.assert_close(after[name][count], before[name][pieces].mean(0))
    processor = tf.AutoProcessor.from_pretrained(tmp_path / "out")
    assert processor.tokenizer("is the")["input_ids"] == [count]
    assert processor.chat_template == tiny.processor("qwen2_5_vl").chat_template
    loaded, info = tf.AutoModelForImageTextToText.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not info["mismatched_keys"] and not info["missing_keys"]
    assert torch.equal(loaded.get_input_embeddings().weight, after["model.embed_tokens.weight"])
