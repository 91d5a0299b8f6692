"""The bundled studies: every step, word for word where it matters, and what they compare."""

import re
from pathlib import Path

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from common.errors import UserError
from harness.studies import load
from harness.studies.paper_steps import FAMILIES
from harness.studies.small import FAMILIES as FAMILIES_SMALL
from harness.studies.step import within


def words(study, name):
    return " ".join(next(step for step in study.steps if step.name == name).run)


@pytest.mark.parametrize(
    ("seeds", "controls", "steps"), [(1, False, 26), (2, False, 51), (1, True, 65), (5, True, 321)]
)
def test_the_pocket_has_these_steps_and_reads_only_what_they_write(seeds, controls, steps):
    study = load.load("pocket", seeds=seeds, controls=controls)
    assert len(study.steps) == steps
    written = {path for step in study.steps for path in step.writes}
    for step in study.steps:
        assert all(any(within(read, path) for path in written) for read in step.reads)


def test_steps_of_the_pocket_word_for_word():
    study = load.load("pocket", seeds=2, controls=True)
    at, data = "seed-1/llava_next", "data=seed-1/world/train.jsonl"
    assert words(study, f"{at}/far_reasoner") == (
        f"pocket reasoner llava_next {at}/base --out {at}/far_reasoner --distance far --seed 1"
    )
    assert words(study, f"{at}/random") == (
        f"train pocket_drift --set vlm={at}/vlm --set reasoner={at}/reasoner --set {data} "
        f"--set seed=1 --set prior=random --out {at}/random"
    )
    assert words(study, f"{at}/far_merged") == (
        f"merge {at}/vlm {at}/far_reasoner --base {at}/vlm --rho-of {at}/far_drift "
        f"--before {at}/sft --out {at}/far_merged"
    )
    assert words(study, "seed-0/qwen2_5_vl/settings_answers") == (
        "eval seed-0/qwen2_5_vl/double_sft seed-0/qwen2_5_vl/double_drift "
        "seed-0/qwen2_5_vl/double_merge_then_sft --tasks pocket,pocket_validation "
        "--data seed-0/world --out seed-0/qwen2_5_vl/settings_runs --overwrite"
    )
    assert words(load.load("pocket"), "seed-0/idefics3/merges") == (
        "merge seed-0/idefics3/vlm seed-0/idefics3/reasoner "
        "--alphas 0,0.1,0.2,0.3,0.5,0.7,0.85,1 --out-dir seed-0/idefics3/merges"
    )


@pytest.mark.parametrize("asked", [{"seeds": 3, "controls": True}, {}])
@pytest.mark.parametrize("name", load.BUNDLED)
def test_every_run_that_a_study_evaluates_is_of_a_method(name, asked):
    study = load.load(name, **asked)
    runs = {run.folder for method in study.methods for run in method.runs}
    for step in study.steps:
        if step.run[0] in ("eval", "sweep") and "--best" not in step.run:
            place = step.run[step.run.index("--out") + 1]
            models = step.run[1 : step.run.index("--tasks")] if step.run[0] == "eval" else ()
            folders = step.writes
            if name == "pocket":
                folders = [f"{place}/{model.split('/')[-1]}" for model in models]
            assert set(folders) <= runs, step.name
            runs -= set(folders)
    assert not runs


def test_claims_of_the_pocket_are_of_methods_that_are_made():
    short, long = load.load("pocket"), load.load("pocket", controls=True)
    assert (len(short.claims), len(long.claims)) == (9, 25)
    best = next(method for method in short.methods if method.name == "best_merge")
    assert best.chosen_on == "pocket_validation" and len(best.runs) == 3 * 8


def test_settings_of_the_paper():
    study = load.load("paper", settings=["qwen2_5_vl/vlm=/models/q", "offload=true"])
    assert words(study, "seed-0/qwen2_5_vl/vlm") == "fetch /models/q --out seed-0/qwen2_5_vl/vlm"
    assert "--set offload=true" in words(study, "seed-0/qwen2_5_vl/sft")
    assert "Qwen/Qwen2-VL-7B-Instruct" in words(study, "seed-0/qwen2_vl/vlm")
    with pytest.raises(UserError, match="--set qwen2_5_vl/vml: did you mean qwen2_5_vl/vlm"):
        load.load("paper", settings=["qwen2_5_vl/vml=x"])


def test_reasoners_are_asked_as_their_cards_say():
    study = load.load("paper")
    asked = {family: words(study, f"seed-0/{family}/reasoner_answers") for family in FAMILIES}
    assert "--temperature 0.6 --top-p 0.95 --max-tokens 16384" in asked["qwen2_5_vl"]
    assert "--max-tokens 3072" in asked["qwen2_vl"]
    for family in ("llava_next", "idefics2"):
        template = re.search(r"--chat-template (\S+)", asked[family])
        chat = [{"role": "user", "content": "What is 6 times 7?"}]
        text = Path(template[1]).read_text()
        prompts, _ = render_jinja_template([chat], chat_template=text, bos_token="<s>")
        assert prompts == [
            "<s>Below is an instruction that describes a task. Write a response that appropriately "
            "completes the request.\n\n### Instruction:\nWhat is 6 times 7?\n\n### Response:"
        ]


def test_the_study_of_small_vlms_takes_a_day_of_one_gpu():
    study = load.load("small")
    assert sum(step.seconds for step in study.steps) <= 24 * 3600
    for family, one in FAMILIES_SMALL.items():
        recipes = {step.run[1] for step in study.steps if step.run[0] == "train"}
        arms = (
            ("sft", "drift", "lora_sft", "lora_drift") if one.full else ("lora_sft", "lora_drift")
        )
        assert {f"{family}_{arm}" for arm in arms} <= recipes
        assert study.titles[family] == one.title
    assert words(study, "seed-0/smolvlm/merge_then_sft").startswith(
        "train smolvlm_sft --set vlm=seed-0/smolvlm/tuned --set data=data --set seed=0"
    )
    # What is fetched is what the recipes are of.
    assert words(study, "seed-0/internvl3_2b/reasoner") == (
        "fetch deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B --out seed-0/internvl3_2b/reasoner"
    )


def test_the_primary_claims_of_small_vlms_are_few():
    claims = load.load("small", controls=True).claims
    assert sum(claim.primary for claim in claims) == 6
