"""Weights in other forms are told for what they are, with a command that converts them."""

import re
import shlex
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import make_vlm, read

from common.errors import UserError
from drift import foreign
from drift.families import read_config


def laid(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("m.Q4_K.gguf",), r"packed for llama.cpp \(m.Q4_K.gguf\): .*llama-server.*gguf_file="),
        (
            ("latest", "global_step7/zero_pp_rank_0_mp_rank_00_model_states.pt", "optimizer.pt"),
            "DeepSpeed's form.* `python -m deepspeed.utils.zero_to_fp32 .*--safe_serialization`",
        ),
        (
            ("pytorch_model_fsdp_0/.metadata", "pytorch_model_fsdp_0/__0_0.distcp"),
            r"distributed checkpoint of torch \(py.*_0\).*`accelerate merge-weights .*_fsdp_0'",
        ),
        (("pytorch_model-00001-of-00002.bin",), r"as pickle only \(pytorch_model-00001-of"),
    ],
)
def test_each_form_has_its_sentence(tmp_path, names, sentence):
    told = foreign.told(laid(tmp_path / "it's", *names))
    assert re.search(sentence, told) and "\n" not in told
    command = shlex.split(re.findall("`(.*?)`", told)[-1])
    assert any(str(tmp_path / "it's") in word for word in command)


def test_a_step_of_deepspeeds_is_converted_from_the_folder_above(tmp_path):
    laid(tmp_path / "run", "global_step7/mp_rank_00_model_states.pt")
    told = foreign.told(tmp_path / "run" / "global_step7")
    assert f"zero_to_fp32 {tmp_path / 'run'} " in told


def test_an_adapter_given_as_a_model_is_told(tmp_path):
    laid(tmp_path, "adapter_config.json", "adapter_model.safetensors")
    with pytest.raises(UserError, match="is an adapter, .* merge_adapter: true"):
        read_config(tmp_path)


def test_what_a_trainer_leaves_is_no_weight(tmp_path):
    assert (
        foreign.told(laid(tmp_path, "training_args.bin", "optimizer.pt", "rng_state.pth")) is None
    )
    assert foreign.told(tmp_path / "nowhere") is None


@pytest.fixture(scope="module")
def vlm(tmp_path_factory):
    return make_vlm("qwen2_5_vl", tmp_path_factory.mktemp("foreign") / "vlm")


def run(told):
    """Run the command in a sentence."""
    words = shlex.split(re.search("`(.*)`", told)[1])
    if words[0] == "accelerate":
        words = ["python", "-m", "accelerate.commands.accelerate_cli", *words[1:]]
    assert words.pop(0) == "python"
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_pickles_are_converted_by_the_command(vlm, tmp_path):
    folder = shutil.copytree(vlm, tmp_path / "p")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    run(foreign.told(folder))
    found, wanted = read(tmp_path / "p-safetensors"), read(vlm)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_distributed_checkpoint_is_converted_by_the_command(vlm, tmp_path):
    from torch.distributed import checkpoint

    weights = load_file(vlm / "model.safetensors")
    place = tmp_path / "d" / "pytorch_model_fsdp_0"
    checkpoint.save({"model": weights}, checkpoint_id=place, no_dist=True)
    run(foreign.told(tmp_path / "d"))
    found = read(tmp_path / "d-safetensors")
    assert all(torch.equal(found[name], weights[name]) for name in weights)
