"""What is told of safetensors files without a tensor of them."""

import json
import shutil
import struct

import pytest
import torch
from test_checkpoints import shard

from common.errors import UserError
from drift.checkpoints import tensor_bytes
from drift.headers import INDEX, TYPES, entries, finite, read_header, shards

FLOATS = ["float64", "float32", "float16", "bfloat16", "float8_e5m2", "float8_e4m3fn"]


@pytest.mark.parametrize("dtype", FLOATS)
def test_what_is_no_number_is_found_in_every_type(dtype):
    kind = getattr(torch, dtype)
    largest = torch.finfo(kind).max
    sound = torch.tensor([0, -0.0, 1.5, largest, -largest, 1], dtype=torch.float64).to(kind)
    assert finite(tensor_bytes(sound), dtype)
    assert finite(tensor_bytes(sound[:0]), dtype)
    for value in (float("nan"), float("inf"), -float("inf")):
        spoilt = sound.clone()
        spoilt[3] = torch.tensor(value).to(kind)
        if dtype != "float8_e4m3fn" or value != value:  # it has no infinity
            assert not finite(tensor_bytes(spoilt), dtype)


def test_every_type_is_that_of_torch():
    for kind in TYPES.values():
        assert getattr(torch, kind.torch).itemsize == kind.bytes


def broken(folder, target, how):
    shutil.copytree(folder, target)
    file = target / "model.safetensors"
    if how == "cut":
        file.write_bytes(file.read_bytes()[:-10])
    elif how == "head":
        file.write_bytes(file.read_bytes()[:100])
    elif how == "garbage":
        file.write_bytes(b"\x08\0\0\0\0\0\0\0nonsense")
    elif how == "pickle":
        file.rename(target / "pytorch_model.bin")
    elif how == "nothing":
        file.unlink()
    return target


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        (
            "cut",
            r"model.safetensors is cut off: it has \d+ bytes, its header promises \d+",
        ),
        ("head", "model.safetensors is cut off or no safetensors file"),
        ("garbage", "model.safetensors is not a safetensors file: its header is broken"),
        (
            "pickle",
            r"as pickle only \(pytorch_model.bin\), which can run code when read",
        ),
        ("nothing", "has no weights: no ..safetensors beside config.json"),
    ],
)
def test_unsound_checkpoints_are_one_sentence(qwen, tmp_path, how, sentence):
    with pytest.raises(UserError, match=sentence):
        entries(broken(qwen / "vlm", tmp_path / "x", how))


def test_missing_shards_and_tensors_are_named(qwen, tmp_path):
    folder = shard(qwen / "vlm", tmp_path / "x")
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"]["not.there"] = "model-1.safetensors"
    (folder / INDEX).write_text(json.dumps(index))
    with pytest.raises(
        UserError, match="1.safetensors lacks the tensor not.there that the index puts"
    ):
        entries(folder)
    (folder / "model-2.safetensors").unlink()
    with pytest.raises(UserError, match="lacks 1 of 2 weight files, the first is model-2.safe"):
        entries(folder)
    (folder / INDEX).write_text("[]")
    with pytest.raises(UserError, match="index.json is not a JSON object"):
        entries(folder)
    with pytest.raises(UserError, match="is no folder"):
        entries(tmp_path / "nowhere")


def written(path, table):
    text = json.dumps(table).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    return path


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "I8", "shape": [8.0], "data_offsets": [0, 8]},
        {"dtype": "I8", "shape": [8], "data_offsets": [0.0, 8.0]},
        {"dtype": "I8", "shape": [8], "data_offsets": [0, 8, 8]},
        {"dtype": "I8", "shape": [0], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [8], "data_offsets": [0, 8]},
        {"dtype": "I8", "shape": 8, "data_offsets": [0, 8]},
        {"dtype": [], "shape": [8], "data_offsets": [0, 8]},
        {"shape": [8], "data_offsets": [0, 8]},
        [],
    ],
)
def test_a_header_that_says_something_else_is_refused(tmp_path, entry):
    path = written(tmp_path / "a.safetensors", {"a": entry})
    with pytest.raises(UserError, match="a.safetensors is not a safetensors file: its header is"):
        read_header(path)


def test_tensors_that_overlap_or_leave_a_gap_are_refused(tmp_path):
    whole = {"dtype": "I8", "shape": [4], "data_offsets": [0, 4]}
    for first in (3, 5):
        other = {"dtype": "I8", "shape": [8 - first], "data_offsets": [first, 8]}
        with pytest.raises(UserError, match="its header is broken"):
            read_header(written(tmp_path / "a.safetensors", {"a": whole, "b": other}))


def test_which_weights_are_meant_is_never_guessed(qwen, tmp_path):
    folder = shard(qwen / "vlm", tmp_path / "x")
    shutil.copyfile(qwen / "vlm" / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(UserError, match="has model.safetensors and an .* that names model-1"):
        shards(folder)
    (folder / "model.safetensors").unlink()
    for content in ("{}", '{"weight_map": {"a": 1}}', '{"weight_map": ["a"]}'):
        (folder / INDEX).write_text(content)
        with pytest.raises(UserError, match="is no index of weight files"):
            shards(folder)
    (folder / INDEX).write_text('{"weight_map": {"a": "../model.safetensors"}}')
    with pytest.raises(UserError, match="lacks 1 of 1 weight files, the first is ../model"):
        shards(folder)
    (folder / INDEX).unlink()
    (folder / "y.safetensors").mkdir()
    assert [path.name for path in shards(folder)] == ["model-1.safetensors", "model-2.safetensors"]
    (folder / "model-1.safetensors").rename(folder / "a-00001-of-99999999.safetensors")
    with pytest.raises(UserError, match="has 2 of 99999999 weight files"):
        shards(folder)
