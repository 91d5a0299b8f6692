"""A checkpoint is named by its content, read once per change."""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import xxhash
from safetensors.numpy import save_file

from common.errors import UserError
from drift import fingerprints
from drift.fingerprints import digests, fingerprint
from drift.headers import read_header


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"b": 1, "a": 2, "transformers_version": "5"}')
    (folder / "chat_template.jinja").write_text("x")
    (folder / "notes.md").write_text("not part of it")
    save_file({"a": np.arange(6, dtype=np.float32)}, folder / "model-1.safetensors")
    save_file({"b": np.ones((2, 3), dtype=np.float16)}, folder / "model-2.safetensors")
    return folder


def test_it_is_of_content(qwen, tmp_path):
    first = fingerprint(qwen / "vlm")
    shutil.copytree(qwen / "vlm", tmp_path / "copy")
    (tmp_path / "copy" / "made.json").write_text("{}")
    os.utime(tmp_path / "copy" / "config.json", (0, 0))
    assert fingerprint(tmp_path / "copy") == first
    (tmp_path / "copy" / "tokenizer.json").write_text("{}")
    assert fingerprint(tmp_path / "copy") != first


def test_it_is_made_of_names_and_digests(folder):
    weights = {
        name: xxhash.xxh3_128_hexdigest((folder / name).read_bytes())
        for name in ("model-1.safetensors", "model-2.safetensors")
    }
    files = {
        "chat_template.jinja": hashlib.sha256(b"x").hexdigest(),
        "config.json": hashlib.sha256(b'{"a":2,"b":1}').hexdigest(),
    }
    text = json.dumps({"files": files, "weights": weights}, separators=(",", ":"))
    assert fingerprint(folder) == hashlib.sha256(text.encode()).hexdigest()


def test_weights_are_read_once_per_change(folder, cache, monkeypatch):
    first = fingerprint(folder)
    assert len(list(cache.rglob("*"))) == 3  # two folders and a file

    def refuse(*_):
        raise AssertionError("read again")

    with monkeypatch.context() as patch:
        patch.setattr(fingerprints, "_digest", refuse)
        assert fingerprint(folder) == first
    save_file({"b": np.zeros((2, 3), dtype=np.float16)}, folder / "model-2.safetensors")
    assert fingerprint(folder) != first


def test_a_changed_byte_is_seen_even_where_the_times_are_put_back(folder):
    path = folder / "model-2.safetensors"
    before, status = fingerprint(folder), path.stat()
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x3d")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert fingerprint(folder) != before


def test_the_digest_is_of_the_files_bytes(folder):
    path = folder / "model-1.safetensors"
    found = digests({path: read_header(path)[0]})
    assert found == {path.name: xxhash.xxh3_128(path.read_bytes()).hexdigest()}


def test_a_cache_that_cannot_be_written_does_no_harm(folder, cache):
    cache.write_text("a file, where a folder should be")
    assert re.fullmatch("[0-9a-f]{64}", fingerprint(folder))


def test_tensors_larger_than_a_piece_are_checked_to_their_end(folder, monkeypatch):
    monkeypatch.setattr(fingerprints, "CHUNK", 8)
    assert fingerprint(folder)
    save_file({"a": np.array([0] * 9 + [np.nan], np.float32)}, folder / "model-1.safetensors")
    with pytest.raises(UserError, match="the tensor a holds infinity"):
        fingerprint(folder)
