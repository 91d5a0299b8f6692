"""A CUDA torchvision beside a CPU torch, and a sound one, each in a process of its own."""

import subprocess
import sys

import pytest

FAKE = """
import sys, types
from importlib.machinery import ModuleSpec

def module(name, path=None, **names):
    made = types.ModuleType(name)
    made.__dict__.update(names)
    made.__spec__ = ModuleSpec(name, None, is_package=path is not None)
    if path is not None:
        made.__path__ = path
    sys.modules[name] = made
    return made

declared = []
library = types.SimpleNamespace(define=lambda name, signature: declared.append(name))
version = types.SimpleNamespace(cuda={cuda!r})
module("torch", [], version=version, library=library)
from common.torch_guard import install
install()
install()
module("torchvision", [{folder!r}])
module("torchvision.extension", _has_ops=lambda: {sound})
import torchvision._meta_registrations as loaded
assert loaded.LOADED
hidden = [name for name in ("torchaudio", "torchcodec") if sys.modules.get(name, 0) is None]
print(declared, hidden)
"""
GUARD = "from common import torch_guard\ntorch_guard.install()\n"


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.parametrize(
    ("cuda", "sound", "expected"),
    [
        (None, False, "['torchvision::nms', 'torchvision::qnms'] ['torchaudio', 'torchcodec']"),
        (None, True, "[] ['torchaudio', 'torchcodec']"),
        ("13.0", False, "[] []"),
    ],
)
def test_declares_only_what_is_missing_beside_a_cpu_torch(tmp_path, cuda, sound, expected):
    (tmp_path / "_meta_registrations.py").write_text("LOADED = True\n")
    assert run(FAKE.format(cuda=cuda, sound=sound, folder=str(tmp_path))) == expected


def test_this_machine_imports_torchvision_and_a_vlm():
    code = (
        f"{GUARD}import torch, torchvision\n"
        "from transformers import LlavaNextImageProcessor, Qwen2_5_VLProcessor\n"
        "print(torch.ops.torchvision.nms._qualified_op_name)"
    )
    assert run(code) == "torchvision::nms"


def test_transformers_may_come_before_torch():
    # It looks for torchaudio before torch is there to hide it, and must look again.
    code = f"import transformers\n{GUARD}"
    code += "from transformers import AutoProcessor, LlavaNextProcessor, Qwen2VLVideoProcessor\n"
    # A model's class brings `generate`, which looks for scikit-learn.
    code += "import sys\nfrom transformers import LlavaNextForConditionalGeneration\n"
    assert run(code + "print('sklearn' in sys.modules)") == "False"


def test_nothing_is_installed_into_other_programs():
    from importlib.metadata import entry_points

    assert not entry_points(group="torch.backends", name="driftbench")
