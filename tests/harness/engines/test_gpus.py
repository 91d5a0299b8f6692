"""GPUs are counted with `nvidia-smi` and without; a slice of one is none of its own."""

import pytest

from harness.engines import gpus

LISTED = """\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-aa)
  MIG 3g.40gb     Device  0: (UUID: MIG-bb)
  MIG 3g.40gb     Device  1: (UUID: MIG-cc)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-dd)
"""


@pytest.fixture(autouse=True)
def bare(tmp_path, monkeypatch):
    """A machine with no GPU and no `nvidia-smi`."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(gpus, "DEVICES", str(tmp_path / "nvidia[0-9]*"))
    monkeypatch.setattr(gpus, "NODES", str(tmp_path / "node*"))
    return tmp_path


def write_nvidia_smi(folder, said, status=0):
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n/bin/cat <<'EOF'\n{said}\nEOF\nexit {status}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("named", "found"),
    [("GPU-a, 3", ["GPU-a", "3"]), ("", []), ("-1", []), ("2,-1,0", ["2"]), ("MIG-bb", ["MIG-bb"])],
)
def test_those_that_the_user_names_count(monkeypatch, named, found):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert gpus.visible() == found


def test_slices_are_no_gpus(bare):
    write_nvidia_smi(bare, LISTED)
    assert gpus.visible() == ["0", "1"]


@pytest.mark.parametrize("broken", [False, True])
def test_without_nvidia_smi_the_drivers_files_are_counted(bare, broken):
    if broken:
        write_nvidia_smi(bare, "NVIDIA-SMI has failed", status=9)
    assert gpus.visible() == []
    for name in ("nvidia0", "nvidia3", "nvidiactl", "nvidia-uvm"):
        (bare / name).touch()
    assert gpus.visible() == ["0", "1"]


def test_those_of_amd_are_counted(bare):
    for name, number in (("node0", "0\n"), ("node1", "51234\n"), ("node2", "8123\n")):
        (bare / name).write_text(number)
    assert gpus.visible() == ["0", "1"]


def test_the_smallest_says_how_much_memory_there_is(bare):
    assert gpus.memory() is None
    write_nvidia_smi(bare, "81559\n40960")
    assert gpus.memory() == 40960 * 2**20
    write_nvidia_smi(bare, "[N/A]")
    assert gpus.memory() is None
