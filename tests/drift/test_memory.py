"""However large two checkpoints are, only pieces of them are held."""

import json
import subprocess
import sys

import torch

from drift.checkpoints import write_stream

SIZE = (2048, 4096)  # 16 MiB in bfloat16
LARGE = [
    f"model.layers.{i}.{part}_proj.weight" for i in range(4) for part in ("mlp.up", "self_attn.q")
]
SMALL = ("model.embed_tokens.weight", "model.norm.weight")
LIMIT = 112  # MiB; each of the three checkpoints has 128, and a merge holds pieces of all three

SCRIPT = """
import json, sys
from pathlib import Path

import numpy, torch, xxhash

from drift import delta, displacement, distance, merge, merge_methods

folder = Path(sys.argv[1])
vlm, llm, base = (folder / name for name in ("vlm", "llm", "base"))
torch.nn.functional.hardshrink(torch.ones(1 << 16), 0.5)

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024

before, grown = peak(), {}

def merged(method):
    recipe = merge_methods.Recipe(method=method, alpha=0.3, density=0.2)
    needed = base if method in merge_methods.NEEDS_BASE else None
    list(merge.merge(vlm, llm, {folder / method: recipe}, needed))

steps = {method: lambda method=method: merged(method) for method in ("linear", "ties")}
steps["prior"] = lambda: delta.save(delta.build(vlm, llm), folder / "prior")
steps["distance"] = lambda: distance.measure(vlm, llm)
steps["displacement"] = lambda: displacement.displacement(vlm, llm, folder / "linear")
for name, step in steps.items():
    step()
    grown[name] = peak() - before
print(json.dumps(grown))
"""


def test_memory_does_not_grow_with_the_checkpoint(tmp_path):
    numbers = torch.Generator().manual_seed(0)
    tensor = (torch.randn(SIZE, generator=numbers) * 0.02).bfloat16()
    for shift, name in enumerate(("vlm", "llm", "base")):
        (tmp_path / name).mkdir()
        kind = "qwen2_5_vl" if name == "vlm" else "qwen2"
        heads = {"num_attention_heads": 8, "num_key_value_heads": 8}
        (tmp_path / name / "config.json").write_text(json.dumps({"model_type": kind} | heads))
        other = tensor.roll(shift)
        write_stream(
            tmp_path / name / "model.safetensors",
            [(key, SIZE) for key in LARGE] + [(key, (1, 1)) for key in SMALL],
            "bfloat16",
            lambda key, other=other: [other[:1, :1] if key in SMALL else other],
            {},
        )
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    grown = json.loads(done.stdout.splitlines()[-1])
    assert len(grown) == 5 and max(grown.values()) < LIMIT, grown
