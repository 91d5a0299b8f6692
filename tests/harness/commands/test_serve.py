"""A checkpoint behind vLLM's own server."""

import os
import runpy
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


def test_a_server_speaks_and_has_the_settings_of_a_run(monkeypatch):
    environment, found = {}, []
    monkeypatch.setattr(os, "environ", environment)
    monkeypatch.setattr(vllm, "installed", lambda: ("0.32.0+cpu", True))
    monkeypatch.setattr(vllm, "settle", lambda on_cpu: found.append(on_cpu))
    runpy.run_module("harness.engines.vllm_server", run_name="__mp_main__")
    assert found == [True] and environment == {"VLLM_LOGGING_LEVEL": "INFO"}
    assert vllm.CPU_SETTINGS["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"  # no worker of its own


def test_mistakes_give_one_sentence(tmp_path, monkeypatch, mistake):
    monkeypatch.chdir(tmp_path)
    assert "comes first: driftbench serve CKPT --port" in mistake("serve", "--port", "1", "vlm")
    assert "there is no vlm: give a folder" in mistake("serve", "vlm")
    monkeypatch.setattr(vllm, "installed", lambda: None)
    assert "vLLM is not installed: `make setup` does it" in mistake("serve", "vlm")
