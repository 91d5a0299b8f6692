"""Beside a CPU torch, CUDA builds of torchvision and its kin do no harm, in any order of import."""

import importlib.metadata
import subprocess
import sys

import pytest

CPU_TORCH = "+cpu" in importlib.metadata.version("torch")


@pytest.mark.skipif(not CPU_TORCH, reason="torch is no CPU build: the guard does nothing")
@pytest.mark.parametrize(
    "imports",
    [
        "import torchvision",
        "from transformers import AutoProcessor",
    ],
)
def test_everything_imports_in_any_order(imports):
    code = f"{imports}\nfrom transformers import LlavaNextProcessor, Qwen2VLVideoProcessor"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.skipif(not CPU_TORCH, reason="torch is no CPU build: the guard does nothing")
def test_the_optional_ones_are_hidden():
    code = "import torch, importlib.util as u; print(u.find_spec('torchaudio'))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "None\n"
