import hashlib
import json
import os
import shutil

import pytest
import torch
import xxhash
from safetensors.torch import load_file, save_file
from tiny_models import read

from common.errors import UserError
from drift import checkpoints

DTYPES = ("float32", "bfloat16", "float16", "float64", "int64", "uint8", "bool", "float8_e4m3fn")


def shard(folder, target, parts=2):
    """A copy of a checkpoint with its tensors in several files."""
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("*.safetensors"))
    tensors = load_file(folder / "model.safetensors")
    placed = {name: f"model-{i % parts + 1}.safetensors" for i, name in enumerate(sorted(tensors))}
    for file in set(placed.values()):
        part = {name: tensors[name] for name in tensors if placed[name] == file}
        save_file(part, target / file, {"format": "pt"})
    (target / checkpoints.INDEX).write_text(json.dumps({"metadata": {}, "weight_map": placed}))
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
        assert checkpoints.read_header(path)[1] == {"who": "me"}


def test_tensors_of_one_file_and_of_shards(qwen, tmp_path):
    expected = load_file(qwen / "vlm" / "model.safetensors")
    for folder in (qwen / "vlm", shard(qwen / "vlm", tmp_path / "sharded")):
        checkpoint = checkpoints.Checkpoint(folder)
        assert checkpoint.entries.keys() == expected.keys()
        for name, tensor in expected.items():
            assert torch.equal(whole(checkpoint, name), tensor.flatten())
        assert checkpoints.shapes(folder) == {name: tuple(t.shape) for name, t in expected.items()}


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


def test_a_fingerprint_is_of_content(qwen, tmp_path):
    first = checkpoints.fingerprint(qwen / "vlm")
    shutil.copytree(qwen / "vlm", tmp_path / "copy")
    (tmp_path / "copy" / "made.json").write_text("{}")
    os.utime(tmp_path / "copy" / "config.json", (0, 0))
    assert checkpoints.fingerprint(tmp_path / "copy") == first
    (tmp_path / "copy" / "tokenizer.json").write_text("{}")
    assert checkpoints.fingerprint(tmp_path / "copy") != first


def test_a_fingerprint_is_made_of_names_and_digests(tmp_path):
    (tmp_path / "b.json").write_text("b")
    (tmp_path / "a.safetensors").write_text("a")
    (tmp_path / "notes.md").write_text("not part of it")
    digests = {n: xxhash.xxh3_128_hexdigest(n[0].encode()) for n in ("a.safetensors", "b.json")}
    text = "".join(f"{name} {digest}\n" for name, digest in digests.items())
    assert checkpoints.fingerprint(tmp_path) == hashlib.sha256(text.encode()).hexdigest()


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


def test_finite_numbers_whose_sum_is_not_are_finite():
    assert checkpoints._finite(torch.full((4,), 3e38))
    assert checkpoints._finite(torch.full((4,), 6e4, dtype=torch.float16))
    assert checkpoints._finite(torch.zeros(0))
    for value in (float("inf"), float("nan")):
        assert not checkpoints._finite(torch.tensor([3e38, 3e38, value]))
        assert not checkpoints._finite(torch.tensor([1.0, value]))
    assert not checkpoints._finite(torch.tensor([float("inf"), -float("inf")]))


def test_several_tensors_fail_as_one(tmp_path):
    done = []

    def work(name):
        if name == "b":
            raise UserError("b is broken")
        done.append(name)
        return name

    assert checkpoints.side_by_side(work, ["a", "c"], "") == ["a", "c"]
    threads = torch.get_num_threads()
    with pytest.raises(UserError, match="b is broken"):
        checkpoints.side_by_side(work, ["b", *"defghijk"], "", workers=1)
    assert torch.get_num_threads() == threads
    assert len(done) < 6


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
        ("cut", r"model.safetensors is \d+ bytes long, its header promises \d+; fetch it again"),
        ("head", "model.safetensors is cut off or no safetensors file"),
        ("garbage", "model.safetensors has a header that cannot be read"),
        ("pickle", "holds pickle weights only, which can run code when read"),
        ("nothing", "holds neither model.safetensors nor model.safetensors.index.json"),
    ],
)
def test_unsound_checkpoints_are_one_sentence(qwen, tmp_path, how, sentence):
    with pytest.raises(UserError, match=sentence):
        checkpoints.entries(broken(qwen / "vlm", tmp_path / "x", how))


def test_missing_shards_and_tensors_are_named(qwen, tmp_path):
    folder = shard(qwen / "vlm", tmp_path / "x")
    index = json.loads((folder / checkpoints.INDEX).read_text())
    index["weight_map"]["not.there"] = "model-1.safetensors"
    (folder / checkpoints.INDEX).write_text(json.dumps(index))
    with pytest.raises(UserError, match="lacks tensors that its index names: not.there"):
        checkpoints.entries(folder)
    (folder / "model-2.safetensors").unlink()
    with pytest.raises(UserError, match="lacks the shards model-2.safetensors"):
        checkpoints.entries(folder)
    (folder / checkpoints.INDEX).write_text("[]")
    with pytest.raises(UserError, match="cannot be read as a shard index"):
        checkpoints.entries(folder)
    with pytest.raises(UserError, match="is no folder"):
        checkpoints.entries(tmp_path / "nowhere")


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
