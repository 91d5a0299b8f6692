"""Commands that are given names on the hub: what it refuses is one sentence, whoever asks."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
from fakehub import GATED, Fault
from tiny_models import make_llm, make_rows, make_vlm

COMMANDS = {
    "eval": "eval owner/vlm --tasks pocket --data {data} --limit 1 --engine hf --out {out}",
    "train": "train pocket_sft --set vlm=owner/vlm --set data={rows} --set steps=1 "
    "--set batch=1 --out {out}",
    "merge": "merge owner/vlm owner/llm --alpha 0.1 --out {out}",
}
FAULTS = {
    "gated": (GATED, "the model owner/vlm is gated: accept the terms at "),
    "gated files": (replace(GATED, only_files=True), "owner/vlm is gated: accept the terms at "),
    "missing": (Fault(401, "RepoNotFound"), "the hub has no public model owner/vlm"),
    "rate-limited": (Fault(429), r"the hub has too many requests \(429\): try later"),
    "broken off": (Fault(cut=True), "the model owner/vlm broke off while it was fetched"),
    "offline": (None, r"the hub cannot be reached \(.*\): go online once"),
    "slow": (Fault(seconds=1.0), r"the hub cannot be reached \(.*Timeout\): go online once"),
}


@pytest.fixture
def models(hub, tmp_path, monkeypatch):
    """A VLM and a reasoner on the hub, with what others read beside their weights."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    make_vlm("qwen2_5_vl", hub.folder("owner/vlm"))
    make_llm("qwen2_5_vl", hub.folder("owner/llm"), seed=1)
    for name in ("onnx/model.safetensors", "consolidated.safetensors", "pytorch_model.bin"):
        path = hub.folder("owner/vlm") / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"no weights")
    return hub


@pytest.fixture
def words(models, tmp_path, world):
    """Command → its words, at places of this test."""
    rows = make_rows(tmp_path / "rows")
    places = {"data": world, "rows": rows, "out": tmp_path / "out"}
    return {name: line.format(**places) for name, line in COMMANDS.items()}


@pytest.mark.parametrize("command", COMMANDS)
def test_by_a_name_on_the_hub_it_does_what_it_does_in_a_folder(models, words, driftbench, command):
    driftbench(words[command])
    assert not {"onnx/model.safetensors", "consolidated.safetensors"} & {*models.fetched()}
    assert "pytorch_model.bin" not in models.fetched() and "config.json" in models.fetched()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_refusal_is_said_as_what_it_is(
    models, words, mistake, tmp_path, monkeypatch, command, fault
):
    what, sentence = FAULTS[fault]
    monkeypatch.setattr("common.hub.SECONDS", 0.3)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", what is None)
    if what:
        models.faults["owner/vlm"] = what
    assert re.search(sentence, mistake(words[command]))
    assert not (tmp_path / "out").exists()


def test_steps_of_the_papers_study_take_names_on_the_hub(models, tmp_path):
    """In processes of their own; what the hub refuses stops one step, and the other goes on."""
    if shutil.disk_usage(tmp_path).free < 30 * 2**30:
        pytest.skip("needs 30 GiB free, which the study asks for before it begins")
    models.faults["owner/llm"] = GATED
    words = ["reproduce", "paper", "--out", str(tmp_path / "study")]
    for role, place in (("vlm", "owner/vlm"), ("reasoner", "owner/llm")):
        words += ["--set", f"qwen2_5_vl/{role}={place}", "--only", f"seed-0/qwen2_5_vl/{role}"]
    cache = {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": models.url}
    ran = {"capture_output": True, "text": True, "env": {**os.environ, **cache}}
    done = subprocess.run([sys.executable, "-P", "-m", "driftbench", *words], **ran)
    here = tmp_path / "study" / "seed-0" / "qwen2_5_vl"
    assert done.returncode == 2 and "owner/llm is gated: accept the terms" in done.stderr
    assert (here / "vlm").resolve().name == models.commit("owner/vlm")
    del models.faults["owner/llm"]
    done = subprocess.run([sys.executable, "-P", "-m", "driftbench", *words], **ran)
    assert done.returncode == 0, done.stderr
    assert (here / "reasoner").resolve().name == models.commit("owner/llm")
