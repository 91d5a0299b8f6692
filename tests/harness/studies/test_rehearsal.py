"""What would stop a study on its first day is told by a rehearsal, with real models' sizes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from fakehub import GATED
from tiny_models import make_llm, make_vlm

from common.errors import UserError
from drift.training import config as recipes
from drift.training import memory, sharding
from drift.training.trainable import freeze
from harness.engines import vllm
from harness.studies import rehearsed_answers, rehearsed_training
from harness.studies.rehearsal import Machine, rehearse
from harness.studies.rehearsed_models import Models
from harness.studies.step import Study, step

DOCUMENT = Path(__file__).parents[3] / "docs" / "reproducing_the_paper.md"
VLM, LLM = "Qwen/Qwen2.5-VL-7B-Instruct", "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"
H100 = Machine(gpus=8, memory=80 * 10**9, known="as given")
OFFLINE = "huggingface_hub.constants.HF_HUB_OFFLINE"


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No hub, nothing in its cache, and disks without end."""
    monkeypatch.setattr(OFFLINE, True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("common.hub.free_bytes", lambda place: 2**50)


@pytest.fixture
def known(monkeypatch):
    """A vLLM that has all but one."""
    monkeypatch.setattr(vllm, "installed", lambda: ("0.32.0+cpu", True))
    monkeypatch.setattr(vllm, "knows", lambda architecture: "Idefics2" not in architecture)


def study(vlm=VLM, llm=LLM, *more):
    fetched = [step(name, "fetch", place, "--out", name, stage="models", download_gib=15)
               for name, place in (("vlm", vlm), ("llm", llm))]  # fmt: skip
    return Study(name="own", about="a study", steps=(*fetched, *more), global_batch=8)


def found(made, out, machine=H100):
    return {one.step: one for one in rehearse(made, made.steps, out, machine)}


def trained(recipe="qwen2_5_vl_sft", *words, gpu="ranks"):
    sets = ("--set", "vlm=vlm", "--set", "reasoner=llm", "--set", "accumulate={accumulate}")
    return step("sft", "train", recipe, *sets, *words, "--out", "sft", reads=("vlm",), gpu=gpu)


def asked(name="run", *words, model="vlm"):
    options = ("--tasks", "gsm8k", "--out", name, "--data-parallel", "{gpus}")
    return step(name, "eval", model, *options, *words, reads=(model,), gpu="all")


def test_the_table_of_the_document_is_what_the_command_prints(offline, driftbench):
    """All of the paper's study, with vLLM's own registry."""
    command = "rehearse paper --gpus 8 --device-memory 79.6 --format markdown"
    printed = driftbench(command).out
    text = DOCUMENT.read_text()
    assert f"driftbench {command}" in text
    assert printed in text, f"the document should have this table:\n{printed}"


def test_small_vlms_fit_24_gb(offline, known, driftbench, tmp_path):
    """Every step; full weights of two billion by memory: low alone."""
    words = "rehearse small --controls --device-memory 24 --format json --out"
    told = {one["step"]: one for one in json.loads(driftbench(words, tmp_path / "out").out)}
    assert not [step for step, one in told.items() if one["fits"] is False]
    for family, how in (("smolvlm", "GiB a GPU"), ("internvl3_2b", "memory: low")):
        for method in ("sft", "drift", "random"):
            assert how in told[f"seed-0/{family}/{method}"]["why"]
    assert "GiB a GPU" in told["seed-0/qwen3_vl_4b/lora_drift"]["why"]


def test_what_training_takes_is_what_train_says(offline, tmp_path):
    """Weights, gradients and moments of Qwen2.5-VL-7B by hand; the rest as the trainer has it."""
    models = Models([], tmp_path, tmp_path)
    live = models.live(models.at(VLM))
    config = recipes.load("qwen2_5_vl_sft")
    freeze(live, config.train)
    sizes = memory.sizes(live, config, 4096)
    for ranks in (1, 8):
        told = memory.estimate(sizes, replace(config, memory="float32"), ranks, ranks > 1)
        held = 16 * 8_292_166_656 - 12 * (8_292_166_656 - sizes.trained)
        assert told.weights + told.gradients + told.moments == pytest.approx(held / ranks, abs=8)
        room = int(told.total / sharding.ROOM) + 2**20
        said = rehearsed_training.look(live, config, ranks, room)
        assert f"{told.total / 2**30:.1f} GiB a GPU" in said
        assert ("FSDP2, a unit a Qwen2_5_VLDecoderLayer" in said) == (ranks > 1)
        least = 2 * 8_292_166_656
        with pytest.raises(UserError, match=f"takes {told.total / 2**30:.1f} GiB a GPU on {ranks}"):
            rehearsed_training.look(live, config, ranks, least)


def test_a_pair_that_does_not_fit_is_told_with_the_names_of_the_hub(offline, tmp_path):
    check = step("check", "families", "--check", "vlm", "llm", reads=("vlm", "llm"), writes=())
    merge = step("merged", "merge", "vlm", "llm", "--alpha", "0.1", reads=("vlm", "llm"))
    made = study("llava-hf/llama3-llava-next-8b-hf", "Qwen/Qwen2-Math-7B", check, merge)
    for name in ("check", "merged"):
        one = found(made, tmp_path)[name]
        assert one.fits is False and str(tmp_path) not in one.why and "model-" not in one.why
        assert "8b-hf is a llama, Qwen/Qwen2-Math-7B is a qwen2: give a model" in one.why
    made = study("llava-hf/llama3-llava-next-8b-hf", "meta-math/MetaMath-Mistral-7B@x", check)
    assert found(made, tmp_path)["vlm"].fits is None


@pytest.mark.parametrize(
    ("steps", "machine", "sentence"),
    [
        ([trained()], Machine(gpus=1, memory=24 * 10**9, known=""), "GiB a GPU on 1 of them"),
        ([trained("qwen2_5_vl_sfd")], H100, "there is no recipe qwen2_5_vl_sfd; did you mean"),
        ([trained("qwen2_5_vl_drift", "--set", "clip=-1")], H100, "clip is -1"),
        ([asked()], Machine(gpus=8, memory=16 * 10**9, known=""), "takes 17.2 GiB with one"),
        ([asked("run", "--max-tokens", "32768")], H100, "of up to 32,768 leave 0 for the prompt"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_sentence(offline, known, tmp_path, steps, machine, sentence):
    one = found(study(VLM, LLM, *steps), tmp_path, machine)[steps[0].name]
    assert one.fits is False and sentence in one.why


def test_the_context_of_a_step_bounds_its_cache(offline, known, tmp_path):
    small = Machine(gpus=1, memory=17 * 10**9, known="")
    assert found(study(VLM, LLM, asked()), tmp_path, small)["run"].fits is False
    asks = study(VLM, LLM, asked("run", "--max-tokens", "1024", "--context", "4096"))
    assert (
        "15.7 GiB a GPU"
        in found(asks, tmp_path, Machine(gpus=1, memory=19 * 10**9, known=""))["run"].why
    )


def test_a_model_without_chat_template_needs_one_of_the_step(offline, known, tmp_path):
    own = tmp_path / "own.jinja"
    own.write_text("{{ messages[0].content }}")
    given = asked("given", "--chat-template", str(own), model="llm")
    made = study(VLM, "meta-math/MetaMath-Mistral-7B@refs/pr/3", asked("bare", model="llm"), given)
    told = found(made, tmp_path)
    assert told["bare"].fits is False and "has no chat template" in told["bare"].why
    assert told["given"].fits and "the step's chat template" in told["given"].why


def test_greedy_answers_of_a_model_that_advises_sampling_are_told(offline, known, tmp_path):
    warm = asked("warm", "--temperature", "0.6", model="llm")
    told = found(study(VLM, LLM, asked("cold", model="llm"), warm), tmp_path)
    assert told["cold"].why.endswith("asked greedily, though it advises a temperature of 0.6")
    assert "greedily" not in told["warm"].why


def test_too_small_a_disk_is_told_where_the_bytes_would_lie(offline, tmp_path, monkeypatch):
    merge = step("merged", "merge", "vlm", "llm", "--alpha", "0.1", reads=("vlm",), disk_gib=15)
    monkeypatch.setattr("common.hub.free_bytes", lambda place: 40 * 2**30)
    told = found(study(VLM, LLM, merge), tmp_path / "out")
    cache = f"30.0 GiB in {tmp_path}/cache, 45.0 GiB with all that lies on its disk, which has 40.0"
    assert told["downloads"].fits is False and told["downloads"].why.startswith(cache)
    assert told["results"].why.startswith(f"15.0 GiB in {tmp_path}/out, 45.0 GiB")


def test_fewer_gpus_than_are_asked_for_do_not_fit(offline, tmp_path):
    few = Machine(gpus=8, memory=80 * 10**9, known="", here=2)
    told = found(study(), tmp_path, few)["GPUs"]
    assert told.fits is False and "8 are wanted, 2 are visible" in told.why


def test_what_nobody_knows_could_not_be_tried(offline, known, tmp_path, driftbench, monkeypatch):
    told = found(study("owner/own", LLM, asked()), tmp_path)
    assert told["vlm"].fits is None and told["run"].fits is None
    assert "owner/own is not at hand" in told["run"].why


# With a hub


@pytest.fixture
def tiny(hub, monkeypatch):
    """A VLM and a reasoner on the hub in miniature."""
    monkeypatch.setattr("common.hub.free_bytes", lambda place: 2**50)
    make_vlm("qwen2_5_vl", hub.folder("owner/vlm"))
    make_llm("qwen2_5_vl", hub.folder("owner/llm"))
    return hub


def test_what_the_hub_has_is_looked_at_without_its_weights(tiny, known, tmp_path, monkeypatch):
    monkeypatch.setattr(rehearsed_answers, "PROMPT", 128)
    merge = step("merged", "merge", "vlm", "llm", "--alpha", "0.1", reads=("vlm", "llm"))
    words = ("--max-tokens", "4", "--data", ".")
    made = study("owner/vlm", "owner/llm", merge, asked("merged_run", *words, model="merged"))
    told = found(made, tmp_path / "out")
    for name in ("vlm", "llm"):
        commit = tiny.commit(f"owner/{name}")[:8]
        assert told[name].fits and f"of commit {commit}, from the hub" in told[name].why
    assert "GiB a GPU, its chat template renders a question" in told["merged_run"].why
    assert told["merged"].why == "27 tensors pair"
    assert not list(tmp_path.glob("hub-cache/**/*.safetensors")) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("only_files", [False, True])
def test_a_gated_model_stops_its_step_and_the_others_are_looked_at(hub, tmp_path, only_files):
    (hub.folder(VLM) / "config.json").write_text("{}")
    hub.faults[VLM] = replace(GATED, only_files=only_files)
    check = step("check", "families", "--check", "vlm", "llm", reads=("vlm", "llm"), writes=())
    told = found(study(VLM, LLM, check), tmp_path)
    assert told["vlm"].fits is False and "is gated: accept the terms" in told["vlm"].why
    assert told["check"].fits and "339 tensors pair" in told["check"].why


def test_the_command_ends_with_1_if_a_step_does_not_fit(offline, driftbench, mistake, tmp_path):
    words = "rehearse paper --only seed-0/llava_next/sft --device-memory 40 --format json --out"
    told = json.loads(driftbench(words, tmp_path / "out", status=1).out)
    assert [one["fits"] for one in told] == [False, True, True, True]
    shown = driftbench("rehearse paper --only models --out", tmp_path / "out").out
    assert "3 fit, 0 do not, 12 could not be tried" in shown
    said = mistake("rehearse paper --format xml")
    assert "no format 'xml'; there are text, markdown, json" in said
