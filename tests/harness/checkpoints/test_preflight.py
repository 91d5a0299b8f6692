"""Every bad checkpoint has its sentence; the fingerprint follows the content and nothing else."""

import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from common.errors import UserError
from harness.checkpoints.image_size import budget_of, differs_from_training
from harness.checkpoints.kinds import swappable
from harness.checkpoints.preflight import declared_dtype, open_checkpoint, quantization


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture
def folder(tmp_path) -> Path:
    """The least that passes: a VLM of two small shards."""
    folder = tmp_path / "vlm"
    folder.mkdir()
    config = {"architectures": ["LlavaForConditionalGeneration"], "vision_config": {}}
    files = {
        "config.json": config,
        "tokenizer.json": {
            "version": "1.0",
            "added_tokens": [{"id": 7, "content": "<image>"}],
            "model": {"vocab": {"a": 0, "b": 1}},
        },
        "tokenizer_config.json": {"chat_template": "{{ messages }}"},
        "preprocessor_config.json": {"size": {"shortest_edge": 28}, "patch_size": 14, "x": 1},
        "model.safetensors.index.json": {
            "weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}
        },
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    save_file({"a": np.arange(6, dtype=np.float32)}, folder / "model-1.safetensors")
    save_file({"b": np.ones((2, 3), dtype=np.float16)}, folder / "model-2.safetensors")
    return folder


def edit(folder: Path, name: str, **changes) -> None:
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**content, **changes}))


def test_a_good_folder_is_opened(folder):
    found = open_checkpoint(folder)
    assert (found.name, found.architecture) == ("vlm", "LlavaForConditionalGeneration")
    assert found.is_multimodal
    assert found.pixels == {"size": {"shortest_edge": 28}, "patch_size": 14}
    assert found.made is None


def test_pixels_are_found_in_a_processor_config(folder):
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text(
        json.dumps({"image_processor": {"max_pixels": 100, "do_resize": True}})
    )
    assert open_checkpoint(folder).pixels == {"max_pixels": 100, "do_resize": True}


def spoil_cut(folder):
    path = folder / "model-2.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def spoil_value(folder):
    save_file({"b": np.array([1, np.inf, 2], dtype=np.float16)}, folder / "model-2.safetensors")


def spoil_bfloat(folder):
    # numpy has no bfloat16: 0x7FC0 is its not-a-number.
    header = json.dumps({"b": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    data = struct.pack("<Q", len(header)) + header + struct.pack("<HH", 0x3F80, 0x7FC0)
    (folder / "model-2.safetensors").write_bytes(data)


def spoil_shape(folder):
    path = folder / "model-2.safetensors"
    path.write_bytes(path.read_bytes().replace(b"[2,3]", b"[2,4]"))


def spoil_pickle(folder):
    for path in folder.glob("*.safetensors"):
        path.rename(folder / "pytorch_model.bin")


def spoil_template(folder):
    (folder / "tokenizer_config.json").write_text("{}")


def remove(pattern):
    def spoil(folder):
        for path in folder.glob(pattern):
            path.unlink()

    return spoil


def write(name, text):
    def spoil(folder):
        (folder / name).write_text(text)

    return spoil


SPOILT = {
    "no config": (remove("config.json"), "is no checkpoint: it has no config.json"),
    "broken config": (write("config.json", "{"), "config.json is not JSON"),
    "config is a list": (write("config.json", "[]"), "config.json is not a JSON object"),
    "no architecture": (write("config.json", "{}"), "names no architecture"),
    "no weights": (remove("*.safetensors"), "has no weights: no *.safetensors beside config.json"),
    "packed": (
        lambda f: (f / "config.json").rename(f / "m.gguf"),
        "holds weights packed for llama.cpp (m.gguf): ask them with `llama-server",
    ),
    "pickle": (spoil_pickle, "as pickle only (pytorch_model.bin), which can run code when read"),
    "missing shard": (remove("model-2*"), "lacks 1 of 2 weight files, the first is model-2.safete"),
    "cut off": (
        spoil_cut,
        "model-2.safetensors is cut off: it has 83 bytes, its header promises 84",
    ),
    "too short": (
        write("model-2.safetensors", "x"),
        "safetensors file: 1 bytes do not hold its header",
    ),
    "no safetensors": (
        write("model-2.safetensors", "\x02\0\0\0\0\0\0\0[]"),
        "model-2.safetensors is not a safetensors file: its header is broken",
    ),
    "wrong shape": (spoil_shape, "is not a safetensors file: its header is broken"),
    "missing tensor": (
        write("model.safetensors.index.json", '{"weight_map": {"c": "model-1.safetensors"}}'),
        "model-1.safetensors lacks the tensor c that the index puts there",
    ),
    "infinity": (spoil_value, "the tensor b holds infinity or not-a-number values"),
    "bfloat16 nan": (spoil_bfloat, "the tensor b holds infinity or not-a-number values"),
    "no tokenizer": (remove("tokenizer.json"), "has no tokenizer: none of tokenizer.json, "),
    "no template": (spoil_template, "cannot be asked questions, unless --chat-template FILE says"),
    "image token": (
        lambda f: edit(f, "config.json", image_token_id=9),
        "takes token 9 for a picture (config.json), which its tokenizer lacks",
    ),
    "no processor": (
        remove("preprocessor_config.json"),
        "takes images but has no preprocessor_config.json or processor_config.json",
    ),
}


@pytest.mark.parametrize(("spoil", "sentence"), SPOILT.values(), ids=SPOILT)
def test_every_bad_checkpoint_has_its_sentence(folder, spoil, sentence):
    spoil(folder)
    with pytest.raises(UserError) as error:
        open_checkpoint(folder)
    assert sentence in str(error.value)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_mistyped_folder_names_its_neighbour_and_asks_no_hub(folder, monkeypatch):
    monkeypatch.chdir(folder.parent.parent)
    near = f"{folder.parent.name}/vlmm"
    with pytest.raises(UserError, match=rf"there is no {near} .*: did you mean vlm\? give"):
        open_checkpoint(near)
    with pytest.raises(UserError, match="there is no nowhere: give a folder, or owner/name on"):
        open_checkpoint("nowhere")
    with pytest.raises(UserError, match="is a file: a checkpoint is a folder"):
        open_checkpoint(folder / "config.json")


def test_the_fingerprint_is_of_the_content_not_of_the_place(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "elsewhere" / "other")
    edit(copy, "config.json", _name_or_path="/here", transformers_version="4.0")
    (copy / "made.json").write_text('{"method": "sft"}')
    (copy / "README.md").write_text("about")
    a, b = open_checkpoint(folder), open_checkpoint(copy)
    assert a.fingerprint == b.fingerprint
    assert b.made and b.made.method == "sft"


def change_weight(folder):
    save_file({"b": np.zeros((2, 3), dtype=np.float16)}, folder / "model-2.safetensors")


CHANGES = {
    "weights": (change_weight, True),
    "config": (lambda f: edit(f, "config.json", hidden_act="gelu"), False),
    "tokenizer": (lambda f: edit(f, "tokenizer.json", version="1.1"), False),
    "template": (lambda f: edit(f, "tokenizer_config.json", chat_template="x"), False),
    "template file": (write("chat_template.jinja", "x"), False),
    "pixels": (lambda f: edit(f, "preprocessor_config.json", size={"shortest_edge": 56}), False),
    "end tokens": (write("generation_config.json", '{"eos_token_id": 2}'), False),
}


@pytest.mark.parametrize(("change", "fits"), CHANGES.values(), ids=CHANGES)
def test_each_change_changes_the_fingerprint_and_only_weights_are_swappable(
    folder, tmp_path, change, fits
):
    copy = shutil.copytree(folder, tmp_path / "copy")
    change(copy)
    a, b = open_checkpoint(folder), open_checkpoint(copy)
    assert a.fingerprint != b.fingerprint
    assert swappable(a, b) is fits


def test_weights_of_another_shape_are_not_swappable(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    save_file({"b": np.ones((3, 2), dtype=np.float16)}, copy / "model-2.safetensors")
    assert not swappable(open_checkpoint(folder), open_checkpoint(copy))


def test_a_gap_in_numbered_weight_files_is_named_without_an_index(folder):
    (folder / "model.safetensors.index.json").unlink()
    (folder / "model-1.safetensors").rename(folder / "model-00001-of-00003.safetensors")
    (folder / "model-2.safetensors").rename(folder / "model-00003-of-00003.safetensors")
    with pytest.raises(UserError) as error:
        open_checkpoint(folder)
    assert str(error.value) == (
        f"{folder} lacks 1 of 3 weight files, the first is model-00002-of-00003.safetensors"
    )


def test_quantised_weights_are_accepted(folder):
    packed = {"a.qweight": np.zeros((2, 2), np.int32), "a.scales": np.ones(2, np.float16)}
    save_file(packed, folder / "model-1.safetensors")
    header = {
        "b": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]},
        "c": {"dtype": "F4", "shape": [4], "data_offsets": [2, 4]},  # two to a byte
    }
    text = json.dumps(header).encode()
    (folder / "model-2.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
    index = {"a.qweight": 1, "a.scales": 1, "b": 2, "c": 2}
    edit(
        folder,
        "model.safetensors.index.json",
        weight_map={tensor: f"model-{shard}.safetensors" for tensor, shard in index.items()},
    )
    assert quantization(open_checkpoint(folder).config) is None
    edit(folder, "config.json", quantization_config={"quant_method": "compressed-tensors"})
    assert quantization(open_checkpoint(folder).config) == "compressed-tensors"


def test_a_type_is_declared_at_the_top_or_in_the_text_config():
    assert declared_dtype({"torch_dtype": "float16"}) == "float16"
    assert declared_dtype({"text_config": {"dtype": "float32"}}) == "float32"
    assert declared_dtype({"dtype": "float8_e4m3fn"}) == declared_dtype({}) == "bfloat16"


def test_a_chat_template_can_be_given_and_counts(folder, tmp_path):
    own = open_checkpoint(folder)
    spoil_template(folder)
    (tmp_path / "template").write_text("{{ messages }}")
    given = open_checkpoint(folder, template=tmp_path / "template")
    assert own.template == given.template == "{{ messages }}"
    assert given.notes == (f"asked with the chat template of {tmp_path / 'template'}",)
    (tmp_path / "template").write_text("other")
    other = open_checkpoint(folder, template=tmp_path / "template")
    assert len({own.fingerprint, given.fingerprint, other.fingerprint}) == 3
    assert not swappable(given, other)
    for name, sentence in {"none": "none cannot be read", "empty": "empty is empty"}.items():
        (tmp_path / "empty").write_text(" \n")
        with pytest.raises(UserError, match=f"the chat template .*{sentence}"):
            open_checkpoint(folder, template=tmp_path / name)


# The hub


def test_a_hub_id_is_fetched_and_named_after_its_last_part(hub, folder):
    shutil.copytree(folder, hub.root / "models" / "owner" / "name.7b")
    commit = hub.commit("owner/name.7b")
    for revision, name in {"": "name.7b", "@main": "name.7b@main"}.items():
        found = open_checkpoint(f"owner/name.7b{revision}")
        assert (found.name, found.path.name) == (name, commit)
        assert found.fingerprint == open_checkpoint(folder).fingerprint
    with pytest.raises(UserError, match="no revision refs/pr/1"):
        open_checkpoint("owner/name.7b@refs/pr/1")


def test_weight_files_beside_the_index_do_not_count(folder):
    before = open_checkpoint(folder).fingerprint
    (folder / "consolidated.safetensors").write_text("of another format")
    assert open_checkpoint(folder).fingerprint == before


# Files that say something else


def places(value, at=()):
    """Where a JSON value holds something, itself included."""
    yield at
    for name in value if isinstance(value, dict) else ():
        yield from places(value[name], (*at, name))


def exchanged(value, at, other):
    if not at:
        return other
    return {**value, at[0]: exchanged(value[at[0]], at[1:], other)}


MORE = {
    "config.json": {
        "architectures": ["Llava"], "vision_config": {}, "image_token_id": 7,
        "text_config": {"dtype": "float32"}, "quantization_config": {"quant_method": "awq"},
    },
    "preprocessor_config.json": {
        "size": {"shortest_edge": 28}, "patch_size": 14, "merge_size": 2, "min_pixels": 5,
    },
    "processor_config.json": {"image_processor": {"patch_size": 14}, "chat_template": "x"},
    "made.json": {"method": "sft", "settings": {"image_max_pixels": 5}},
}  # fmt: skip
OTHERS = (5, "x", [], {}, None, True, [5], {"a": 5}, {"a": None}, [[]], 1e999, [{"id": []}], -1)


def test_a_file_that_says_something_else_is_one_sentence(folder):
    for name, content in MORE.items():
        (folder / name).write_text(json.dumps(content))
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text())
        for at in places(content):
            for other in OTHERS:
                path.write_text(json.dumps(exchanged(content, at, other)))
                try:
                    found = open_checkpoint(folder)
                    assert isinstance(found.architecture, str)
                    budget_of(found, 10, 20), differs_from_training(found, None)
                    declared_dtype(found.config), quantization(found.config)
                except UserError as error:
                    assert "\n" not in str(error), (path, at, other)
        path.write_text(json.dumps(content))
