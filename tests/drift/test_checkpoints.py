import json
import os
import shutil
import time

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import read

from common.errors import UserError
from drift import checkpoints
from drift.headers import INDEX, read_header, shapes

DTYPES = ("float32", "bfloat16", "float16", "float64", "int64", "uint8", "bool", "float8_e4m3fn")


def shard(folder, target, parts=2):
    """A copy of a checkpoint with its tensors in several files."""
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("*.safetensors"))
    tensors = load_file(folder / "model.safetensors")
    placed = {name: f"model-{i % parts + 1}.safetensors" for i, name in enumerate(sorted(tensors))}
    for file in set(placed.values()):
        part = {name: tensors[name] for name in tensors if placed[name] == file}
        save_file(part, target / file, {"format": "pt"})
    (target / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": placed}))
    return target


def whole(checkpoint, name):
    """One tensor, flat."""
    return torch.cat([block.clone() for block in checkpoint.blocks(name)])


def test_a_stream_is_read_by_safetensors_as_it_was_written(tmp_path):
    tensors = {
        f"t.{kind}": torch.arange(6).reshape(2, 3).to(getattr(torch, kind)) for kind in DTYPES
    }
    tensors["scalar"], tensors["empty"] = torch.tensor(2.5), torch.zeros(0, 3)
    for kind in DTYPES:
        same = {n: t for n, t in tensors.items() if t.dtype == getattr(torch, kind)}
        path = tmp_path / f"{kind}.safetensors"
        specs = [(name, tuple(tensor.shape)) for name, tensor in same.items()]
        checkpoints.write_stream(path, specs, kind, lambda name: [tensors[name]], {"who": "me"})
        back = load_file(path)
        assert back.keys() == same.keys()
        assert all(back[n].dtype == t.dtype and torch.equal(back[n], t) for n, t in same.items())
        assert read_header(path)[1] == {"who": "me"}


def test_tensors_of_one_file_and_of_shards(qwen, tmp_path):
    expected = load_file(qwen / "vlm" / "model.safetensors")
    for folder in (qwen / "vlm", shard(qwen / "vlm", tmp_path / "sharded")):
        checkpoint = checkpoints.Checkpoint(folder)
        assert checkpoint.entries.keys() == expected.keys()
        for name, tensor in expected.items():
            assert torch.equal(whole(checkpoint, name), tensor.flatten())
        assert shapes(folder) == {name: tuple(t.shape) for name, t in expected.items()}


def test_a_rewrite_exchanges_what_it_is_told_and_nothing_else(qwen, tmp_path):
    source, target = qwen / "vlm" / "model.safetensors", tmp_path / "new.safetensors"
    name = "model.layers.0.mlp.up_proj.weight"
    new = torch.full((128, 64), 1.0 + 2**-20, dtype=torch.float64)
    checkpoints.rewrite(source, target, lambda key: new.split(7) if key == name else None)
    before, after = load_file(source), load_file(target)
    assert torch.equal(after.pop(name), new.float())
    del before[name]
    assert all(torch.equal(before[key], after[key]) for key in before)
    checkpoints.rewrite(source, target, lambda key: None)
    assert source.read_bytes() == target.read_bytes()


@pytest.mark.parametrize("size", [1, 16, 17, 100])
def test_a_tensor_comes_in_blocks(tmp_path, monkeypatch, size):
    monkeypatch.setattr(checkpoints, "BLOCK", 16)
    monkeypatch.setattr(checkpoints, "CHUNK", 32)
    tensor = torch.arange(size, dtype=torch.bfloat16)
    save_file({"other": torch.zeros(3), "a": tensor}, tmp_path / "model.safetensors")
    checkpoint = checkpoints.Checkpoint(tmp_path)
    assert torch.equal(whole(checkpoint, "a"), tensor)
    assert all(len(block) == 16 for block in list(checkpoint.blocks("a"))[:-1])
    thinned = torch.cat([block.clone() for block in checkpoint.blocks("a", 2)])
    assert torch.equal(thinned, torch.cat([tensor[i : i + 32] for i in range(0, size, 64)]))


def test_several_tensors_fail_as_one(tmp_path):
    done = []

    def work(name):
        if name == "b":
            raise UserError("b is broken")
        time.sleep(0.02)
        done.append(name)
        return name

    assert checkpoints.side_by_side(work, ["a", "c"], "") == ["a", "c"]
    threads = torch.get_num_threads()
    with pytest.raises(UserError, match="b is broken"):
        checkpoints.side_by_side(work, ["b", *"defghijk"], "", workers=1)
    assert torch.get_num_threads() == threads
    assert len(done) < 6


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_named(qwen, tmp_path, value):
    shutil.copytree(qwen / "vlm", tmp_path / "x")
    tensors = load_file(tmp_path / "x" / "model.safetensors")
    tensors["model.norm.weight"][3] = value
    save_file(tensors, tmp_path / "x" / "model.safetensors")
    checkpoint = checkpoints.Checkpoint(tmp_path / "x")
    assert len(whole(checkpoint, "lm_head.weight")) == 106 * 64
    with pytest.raises(UserError, match="model.norm.weight in .* holds a NaN or an infinity"):
        whole(checkpoint, "model.norm.weight")


def test_the_reader_of_these_tests_sees_shards_too(qwen, tmp_path):
    one, cut = read(qwen / "vlm"), read(shard(qwen / "vlm", tmp_path / "x"))
    assert one.keys() == cut.keys()


def test_a_file_that_shrinks_while_it_is_read_is_named(qwen, tmp_path):
    shutil.copytree(qwen / "vlm", tmp_path / "x")
    checkpoint = checkpoints.Checkpoint(tmp_path / "x")
    file = tmp_path / "x" / "model.safetensors"
    os.truncate(file, file.stat().st_size // 2)
    last = max(checkpoint.entries, key=lambda name: checkpoint.entries[name].start)
    with pytest.raises(UserError, match="model.safetensors became shorter while it was read"):
        list(checkpoint.blocks(last))
