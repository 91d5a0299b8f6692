"""A quantised checkpoint, in the layout of compressed-tensors, through preflight and vLLM."""

import json
import platform
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import tasks
from common.errors import UserError
from harness.checkpoints.preflight import open_checkpoint, quantization
from harness.engines import vllm
from harness.engines.hf import HfEngine
from harness.evaluate.run import EvalConfig, run
from harness.runs import log

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

DECODER = re.compile(r"model\.layers\.\d+\.(self_attn\.[qkvo]|mlp\.(gate|up|down))_proj\.weight")
MOST = {"weights": 63, "inputs": 127}
"""Of 8 bits: so small weights do not overflow where a CPU adds two products in 16 bits."""


def quantised(source: Path, folder: Path) -> tuple[Path, Path]:
    """Write a checkpoint with the decoder's matrices in 8 bits, and one with what they stand for.

    Symmetric, a scale a row; what goes in is rounded to 8 bits too, a scale a token
    (compressed-tensors' `int-quantized`, W8A8).
    """
    import torch
    from safetensors.torch import load_file, save_file

    small, plain = (shutil.copytree(source, folder / name) for name in ("small", "plain"))
    tensors = load_file(source / "model.safetensors")
    stored: dict[str, Any] = {}
    for name, weight in list(tensors.items()):
        if not DECODER.fullmatch(name):
            stored[name] = weight
            continue
        scale = weight.abs().amax(1, keepdim=True) / MOST["weights"]
        whole = (weight / scale).round()
        stored[name], stored[f"{name}_scale"] = whole.to(torch.int8), scale
        tensors[name] = whole * scale
    save_file(stored, small / "model.safetensors", {"format": "pt"})
    save_file(tensors, plain / "model.safetensors", {"format": "pt"})
    config = json.loads((small / "config.json").read_text())
    eight = {"num_bits": 8, "type": "int", "symmetric": True}
    group = {
        "targets": ["Linear"],
        "weights": {**eight, "strategy": "channel", "dynamic": False},
        "input_activations": {**eight, "strategy": "token", "dynamic": True},
    }
    config["quantization_config"] = {
        "quant_method": "compressed-tensors",
        "format": "int-quantized",
        "quantization_status": "compressed",
        "ignore": ["lm_head", "re:.*visual.*"],
        "config_groups": {"group_0": group},
    }
    (small / "config.json").write_text(json.dumps(config))
    return small, plain


def rounding(engine: HfEngine) -> HfEngine:
    """Make transformers round what goes into the decoder's matrices as well."""

    def rounded(module: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        # What pads a row is all zero.
        scale = inputs[0].abs().amax(-1, keepdim=True).clamp(min=1e-9) / MOST["inputs"]
        return ((inputs[0] / scale).round() * scale,)

    engine.start()
    for name, module in engine._model.named_modules():
        if "language_model" in name and name.endswith("_proj"):
            module.register_forward_pre_hook(rounded)
    return engine


def test_a_checkpoint_in_8_bits_answers_as_what_its_numbers_stand_for(
    tmp_path, checkpoints, world, monkeypatch
):
    monkeypatch.setattr(vllm, "_cpu_flags", lambda: {vllm.VNNI})
    small, plain = map(open_checkpoint, quantised(checkpoints["qwen2_5_vl-a"], tmp_path))
    assert quantization(small.config) == "compressed-tensors"
    said = []
    for one, engine in ((small, "vllm"), (plain, lambda c: rounding(HfEngine(c)))):
        out = tmp_path / "runs" / one.name
        run(
            [one], [tasks.load("pocket")], out, EvalConfig(data=world, max_tokens=12), engine=engine
        )
        said.append({response.id: response.text for response in log.read_responses(out)})
    # A number that lies between two of 8 bits falls to the other side now and then.
    assert sum(said[0][id] == said[1][id] for id in said[0]) >= 5
    assert len(set(said[0].values())) == len(said[1]) == 7


def test_a_cpu_that_would_compute_it_wrongly_is_not_asked(tmp_path, checkpoints, monkeypatch):
    monkeypatch.setattr(vllm, "_cpu_flags", lambda: {"avx2"})
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    small, _ = map(open_checkpoint, quantised(checkpoints["qwen2_5_vl-a"], tmp_path))
    with pytest.raises(UserError, match=r"is quantised \(compressed-tensors\), and vLLM computes"):
        vllm.VllmEngine(small).start()


def test_transformers_is_not_asked_to_take_it(tmp_path, checkpoints, world, driftbench):
    small, _ = quantised(checkpoints["qwen2_5_vl-a"], tmp_path)
    words = f"--tasks pocket --data {world} --engine hf --out {tmp_path / 'run'}"
    said = driftbench("eval", small, words, status=2).err
    wanted = "quantised (compressed-tensors), which the hf engine cannot take: use --engine vl"
    assert wanted in said
