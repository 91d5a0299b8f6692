"""A checkpoint behind vLLM's own server."""

import os
import sys

from harness.engines import vllm


def test_options_that_are_not_ours_are_vllms(tmp_path, monkeypatch, driftbench):
    ran = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "execv", lambda program, words: ran.append(words))
    (tmp_path / "vlm").mkdir()
    driftbench("serve", "vlm", "--port", "8731", "--enforce-eager")
    served = ["--model", "vlm", "--served-model-name", "vlm"]
    module = [sys.executable, "-P", "-m", "harness.engines.vllm_server"]
    assert ran == [[*module, *served, "--port", "8731", "--enforce-eager"]]


def test_mistakes_give_one_sentence(tmp_path, monkeypatch, mistake):
    monkeypatch.chdir(tmp_path)
    assert "comes first: driftbench serve CKPT --port" in mistake("serve", "--port", "1", "vlm")
    assert "there is no vlm: give a folder" in mistake("serve", "vlm")
    monkeypatch.setattr(vllm, "installed", lambda: None)
    assert "vLLM is not installed: `make setup` does it" in mistake("serve", "vlm")
