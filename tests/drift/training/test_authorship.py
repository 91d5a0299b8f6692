"""What rows took that another model wrote: a note, by hand where numbers allow."""

import json
from math import prod

import pytest
from safetensors import safe_open
from tiny_models import make_vlm

from common.provenance import Made, cost_of
from common.typed import read_json, record
from drift.training.row_files import notes


@pytest.fixture
def model(tmp_path):
    return make_vlm("qwen2_5_vl", tmp_path / "teacher")


def rows(folder):
    """Two answers, of three words and of two with a thought of one; one token a letter."""
    folder.mkdir()
    turns = [
        [{"role": "user", "content": "a b c"}, {"role": "assistant", "content": "abc"}],
        [
            {"role": "user", "content": "c"},
            {"role": "assistant", "content": "ab", "reasoning_content": "c"},
        ],
    ]
    lines = [json.dumps({"messages": one}) for one in turns]
    (folder / "train.jsonl").write_text("\n".join(lines))
    return folder


def test_answers_are_counted_at_two_operations_a_parameter_and_token(model, tmp_path, driftbench):
    place, out = rows(tmp_path / "rows"), tmp_path / "data"
    words = ("--data", "--out", out, "--written-by", model, "--rows", "train.jsonl")
    said = driftbench("fetch", place, *words).out
    made = record(Made, read_json(tmp_path / "data.made.json"), out)
    with safe_open(model / "model.safetensors", "pt") as file:
        count = sum(prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    cost = cost_of(made)
    assert (made.method, made.name, cost.samples, cost.tokens) == ("rows", "teacher", 2, 6)
    assert cost.flops == 2 * count * 6
    assert "data: 6 tokens of teacher" in said
    # Training looks beside the link, of all its rows and of a file among them.
    assert notes(out) == notes(out / "train.jsonl") == [tmp_path / "data.made.json"]


def test_a_model_has_no_author(model, tmp_path, mistake):
    said = mistake("fetch", model, "--out", tmp_path / "link", "--written-by", model)
    assert "--written-by is of a data set: add --data" in said
