"""The bundled studies: every step, word for word where it matters, and what they compare."""

import json
import re
from collections import Counter
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import pytest
import typer
from transformers.utils.chat_template_utils import render_jinja_template

from common.errors import UserError
from drift.pocket.world import CARDS, OPERATORS, Chain
from driftbench.__main__ import application
from harness.studies import load, pocket, process, rehearsal, rehearsed_models
from harness.studies.paper_steps import FAMILIES
from harness.studies.pocket_arms import ARMS, HOME, VARIANTS, VARIED
from harness.studies.pocket_arms import FAMILIES as FAMILIES_OF_POCKET
from harness.studies.small import FAMILIES as FAMILIES_SMALL
from harness.studies.step import Written

SAMPLED = {"pocket_text", "gsm8k_train"}
"""What is asked to learn from the answers."""


def words(study, name):
    return " ".join(next(step for step in study.steps if step.name == name).run)


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    """A file of settings for every arm: the first of each grid."""
    methods = {
        name: {
            family: {
                "settings": arm.grid[0],
                "trial": f"{name}-0",
                "score": 0.5,
                "seeds": 2,
                "trials": 8,
            }
            for family in (FAMILIES_OF_POCKET | VARIANTS if name in VARIED else FAMILIES_OF_POCKET)
        }
        for name, arm in ARMS.items()
        if arm.grid
    }
    path = tmp_path_factory.mktemp("chosen") / "chosen.json"
    path.write_text(json.dumps({"rule": asdict(pocket.RULE), "methods": methods}))
    return path


@pytest.fixture(scope="module")
def everything(chosen):
    """The whole count of the pocket, with all of its arms."""
    return load.load("pocket", seeds=10, controls=True, settings=[f"chosen={chosen}"])


@pytest.fixture(scope="module")
def varied(chosen):
    """The variants, tuned and counted."""
    settings = ["variants=true", f"chosen={chosen}"]
    return (
        load.load("pocket", settings=[*settings, "tune=true"]),
        load.load("pocket", seeds=6, settings=settings),
    )


def test_the_pocket_reads_only_what_its_steps_write(everything, varied):
    tuning = load.load("pocket", settings=["tune=true"])
    for study in (load.load("pocket"), tuning, everything, *varied):
        written = Written(study.steps)
        for step in study.steps:
            assert all(written.by(read) for read in step.reads)


def test_what_goes_on_from_older_answers_takes_them_for_what_they_are(everything, varied):
    """Of a checkpoint that has changed they are dropped, or no repeat would ever end."""
    studies = [load.load(name, controls=True) for name in ("paper", "small")]
    pockets = (load.load("pocket", settings=["tune=true"]), everything, *varied)
    for study in (*studies, *pockets):
        asking = [one for one in study.steps if one.run[0] in ("eval", "sweep")]
        assert asking and all("--overwrite" in one.run for one in asking if one.resumes)
        for one in asking:
            read = rehearsed_models.parsed(one.run)
            assert read.one("--tasks") and read.one("--out") and read.options["--overwrite"] == [""]


def test_a_model_of_ones_own_is_meant_from_where_it_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "mine").mkdir(parents=True)
    for place, meant in (
        ("models/mine", f"{tmp_path}/models/mine"),
        ("models/other", "models/other"),  # on the hub, or in the study's folder
        (f"{tmp_path}/models/mine", f"{tmp_path}/models/mine"),
    ):
        study = load.load("paper", settings=[f"qwen2_vl/vlm={place}"])
        fetched = words(study, "seed-0/qwen2_vl/vlm")
        assert fetched == f"fetch {meant} --out seed-0/qwen2_vl/vlm"


def test_arms_without_settings_of_their_own_are_left_out_aloud(tmp_path, chosen, capsys):
    held = json.loads(chosen.read_text())
    del held["methods"]["digrap"], held["methods"]["ties"]["idefics3"]
    some = tmp_path / "some.json"
    some.write_text(json.dumps(held))
    study = load.load("pocket", seeds=1, controls=True, settings=[f"chosen={some}"])
    assert (
        f"left out, as {some} has no settings chosen for them: DiGraP toward the reasoner; TIES\n"
        in (capsys.readouterr().err)
    )
    methods = {method.name: method for method in study.methods}
    assert set(ARMS) - set(methods) == {"digrap"}
    assert {run.family for run in methods["ties"].runs} == {*FAMILIES_OF_POCKET} - {"idefics3"}
    assert not [one for one in study.steps if one.name.endswith(("/digrap", "idefics3/ties"))]
    load.load("pocket", settings=[f"chosen={some}"])
    assert not capsys.readouterr().err
    del held["methods"]["sft"]
    some.write_text(json.dumps(held))
    with pytest.raises(UserError, match="has no settings for sft in llava_next"):
        load.load("pocket", settings=[f"chosen={some}"])


def test_steps_of_the_pocket_word_for_word(tmp_path, chosen):
    settings = tmp_path / "chosen.json"
    held = json.loads(chosen.read_text())
    held["methods"]["drift"]["llava_next"]["settings"] = {"lr": 0.001, "alpha": 0.3}
    held["methods"]["merge_then_sft"]["llava_next"]["settings"] = {"merge": 0.7, "lr": 0.002}
    settings.write_text(json.dumps(held))
    study = load.load("pocket", seeds=2, controls=True, settings=[f"chosen={settings}"])
    at, data = "seed-21/llava_next", "data=seed-21/world/train.jsonl"
    assert words(study, f"{at}/random") == (
        f"train pocket_drift --set vlm={at}/vlm --set {data} --set reasoner={at}/reasoner "
        f"--set seed=21 --set prior=random --set lr=0.001 --set alpha=0.3 --out {at}/random"
    )
    assert words(study, f"{at}/merge_then_sft") == (
        f"train pocket_sft --set vlm={at}/merges/merge-0.70 --set {data} --set seed=21 "
        f"--set lr=0.002 --out {at}/merge_then_sft"
    )
    assert words(study, f"{at}/ip") == (
        f"merge {at}/vlm {at}/reasoner --method ip --base {at}/base --alpha 1.0 --out {at}/ip"
    )
    mixed = words(study, f"{at}/sft_mixed")
    assert "data=[seed-21/world/train.jsonl," in mixed and f"{at}/said.jsonl]" in mixed


def test_variants_share_with_their_home_what_is_not_varied(varied):
    tuning, study = varied
    home, far, dial = (f"seed-21/{name}" for name in (HOME, "llava_next_far", "llava_next_0_4"))
    assert words(study, f"{far}/reasoner") == (
        f"pocket reasoner llava_next {home}/base --out {far}/reasoner "
        "--distance far --rope same --seed 21"
    )
    assert words(study, f"{dial}/vlm") == (
        f"pocket vlm llava_next {home}/base --out {dial}/vlm --share 0.4 --seed 21"
    )
    runs = {
        (method.name, run.family): run.folder
        for method in study.methods
        for run in method.runs
        if run.seed == 21 and method.name != "sweep"
    }
    assert {name for name, _ in runs} == {"vlm", "reasoner", *VARIED}
    assert {family for _, family in runs} == {HOME, *VARIANTS}
    for of_home in (("vlm", "llava_next_far"), ("sft", "llava_next_far"),
                    ("reasoner", "llava_next_0_4")):  # fmt: skip
        assert runs[of_home] == f"{home}/runs/{of_home[0]}"
    assert runs["sft", "llava_next_0_4"] == f"{dial}/runs/sft"
    assert not [claim for claim in study.claims if claim.primary]
    tried = Counter((one.method, one.family) for one in tuning.trials if one.method != "vlm")
    assert set(tried.values()) == {8 * len(pocket.TUNING_SEEDS)}
    assert ("sft", "llava_next_0_4") in tried and ("sft", "llava_next_far") not in tried
    assert {family for method, family in tried if method == "drift"} == set(VARIANTS)
    with pytest.raises(UserError, match="have no controls; leave --controls out"):
        load.load("pocket", controls=True, settings=["variants=true"])


def test_every_arm_of_the_pocket_has_equally_many_trials_on_seeds_that_do_not_count(everything):
    tuning = load.load("pocket", settings=["tune=true"])
    trials = Counter((t.method, t.family) for t in tuning.trials if t.method != "vlm")
    untuned = {"ip", "ip_coded"}
    assert {n for (method, _), n in trials.items() if method not in untuned} == {
        8 * len(pocket.TUNING_SEEDS)
    }
    arms = {name for name, arm in ARMS.items() if not arm.like}
    assert {method for method, _ in trials} == arms
    assert all(ARMS[arm.like].grid for arm in ARMS.values() if arm.like)
    counted = {run.seed for method in everything.methods for run in method.runs}
    assert counted.isdisjoint(trial.seed for trial in tuning.trials)
    assert {len(arm.grid[0]) for arm in ARMS.values() if arm.grid} <= {0, 1, 2}


def test_a_trial_that_starts_from_a_choice_reads_all_that_it_was_chosen_from():
    study = load.load("pocket", settings=["tune=true"])
    step = next(one for one in study.steps if one.name == "tuning-0/idefics3/wise_ft-0")
    assert step.run[:3] == (
        "merge",
        "tuning-0/idefics3/vlm",
        "tuning-0/idefics3/{chosen tuned-first.json sft idefics3 trial}",
    )
    tried = {f"tuning-0/idefics3/sft-{number}" for number in range(8)}
    assert {"tuned-first.json", *tried} <= set(step.reads)


def test_every_merge_of_the_pocket_has_a_share(everything):
    for step in (*everything.steps, *load.load("pocket", settings=["tune=true"]).steps):
        if step.run[0] == "merge":
            assert ("--alpha" in step.run) != ("--alphas" in step.run), step.name


def test_primary_arms_of_the_pocket_are_chosen_before_the_others_are_tried():
    steps = [step.name for step in load.load("pocket", settings=["tune=true"]).steps]
    first = steps.index("tuned-first.json")
    made = {name.rpartition("/")[2].rpartition("-")[0] for name in steps[:first]}
    assert {name for name, arm in ARMS.items() if arm.grid and arm.primary} - made == {"merge"}
    assert not made & {name for name, arm in ARMS.items() if not arm.primary}


def test_primary_claims_of_the_pocket_are_few_and_of_arms_that_every_study_makes(everything):
    short, long = load.load("pocket"), everything
    primary = [claim for claim in long.claims if claim.primary]
    assert len(primary) == 6 and set(primary) <= set(short.claims)
    assert len(long.claims) == len(pocket.CLAIMS)
    # Ten seeds that all agree can reach this in an exact sign-flip test: Holm leaves it below 5 %.
    assert 2 / 2**pocket.MOST_SEEDS * len(primary) * len(FAMILIES_OF_POCKET) < 0.05
    for claim in primary:
        for name in (claim.method, claim.against):
            method = next(one for one in long.methods if one.name == name)
            seeds = Counter(run.family for run in method.runs)
            assert all(seeds[family] == pocket.MOST_SEEDS for family in FAMILIES_OF_POCKET)


def test_a_seed_whose_reasoner_misses_its_gate_has_a_stand_in(everything, varied):
    study = everything
    places = {(run.family, run.seed) for method in study.methods for run in method.runs}
    for (model, seed), other in pocket.STAND_INS.items():
        for one, families in ((study, FAMILIES_OF_POCKET), (varied[1], VARIANTS)):
            found = {(run.family, run.seed) for method in one.methods for run in method.runs}
            own = [name for name, family in families.items() if family.model == model]
            assert own and all((family, other) in found for family in own)
            assert not [step for step in one.steps if f"seed-{seed}/{model}" in repr(step)]
        assert other >= pocket.FIRST_SEED + pocket.MOST_SEEDS  # counted nowhere else
    assert ("idefics3", 24) in places
    wrong = next(one for one in study.methods if one.name == "wrong_sums")
    for model, seed in pocket.UNTAUGHT:
        assert (model, seed) in places
        assert (model, seed) not in {(run.family, run.seed) for run in wrong.runs}
        assert not [one for one in study.steps if f"seed-{seed}/{model}/wrong" in repr(one)]


def test_the_floor_is_what_operators_and_two_last_cards_allow():
    right = 0.0
    for operators in product(OPERATORS, repeat=CARDS - 1):
        for last in product(range(10), repeat=2):
            reached = Counter(
                Chain((*first, *last), operators).answer() for first in product(range(10), repeat=2)
            )
            right += max(reached.values()) / reached.total()
    assert pocket.PARTIAL == pytest.approx(right / 27 / 100, abs=5e-4)


def test_more_seeds_than_were_declared_are_refused():
    with pytest.raises(UserError, match="counts at most 10"):
        load.load("pocket", seeds=11)


@pytest.mark.parametrize("asked", [{"seeds": 3, "controls": True}, {}])
@pytest.mark.parametrize("name", load.BUNDLED)
def test_every_run_that_a_study_evaluates_is_of_a_method(name, asked):
    _all_compared(name, load.load(name, **asked))


def test_every_run_that_the_variants_evaluate_is_of_a_method(varied):
    for study in varied:
        _all_compared("pocket", study)


def _all_compared(name, study):
    runs = {run.folder for method in study.methods for run in method.runs}
    runs |= {trial.folder for trial in study.trials}
    for step in study.steps:
        if step.run[0] in ("eval", "sweep") and not SAMPLED & set(step.run):
            place = step.run[step.run.index("--out") + 1]
            models = step.run[1 : step.run.index("--tasks")] if step.run[0] == "eval" else ()
            folders = step.writes
            if name == "pocket":
                folders = [f"{place}/{model.split('/')[-1]}" for model in models]
            assert set(folders) <= runs, step.name
            runs -= set(folders)
    assert not runs


def test_settings_of_the_paper():
    study = load.load("paper", settings=["qwen2_5_vl/vlm=/models/q", "offload=true"])
    assert words(study, "seed-0/qwen2_5_vl/vlm") == "fetch /models/q --out seed-0/qwen2_5_vl/vlm"
    assert "--set offload=true" in words(study, "seed-0/qwen2_5_vl/sft")
    assert "Qwen/Qwen2-VL-7B-Instruct" in words(study, "seed-0/qwen2_vl/vlm")
    with pytest.raises(UserError, match="--set qwen2_5_vl/vml: did you mean qwen2_5_vl/vlm"):
        load.load("paper", settings=["qwen2_5_vl/vml=x"])


def test_a_pull_for_each_micro_batch_has_one_gpu_with_the_whole_batch():
    study = load.load("paper")
    steps = {step.name: step for step in study.steps}
    for name, gpus, ranks, accumulate in (
        ("seed-0/qwen2_5_vl/drift_published", 8, 1, 8),
        ("seed-0/qwen2_5_vl/best_published", 4, 1, 8),
        ("tuning-1000/llava_next/best_published-0", 8, 1, 8),
        ("seed-0/qwen2_5_vl/drift", 8, 8, 1),
        ("seed-0/qwen2_5_vl/drift", 4, 4, 2),
    ):
        step = steps[name]
        told = " ".join(process.command(replace(step, run=tuple(
            word for word in step.run if "{chosen" not in word)), study, gpus))  # fmt: skip
        assert (f"--nproc-per-node {gpus} " in told) == (ranks > 1)
        assert f"accumulate={accumulate} " in told
        assert ("when=backward" in told) == (ranks == 1)


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
    tried = {trial.method for trial in study.trials}
    assert tried == {"vlm", "tuned", "sft", "drift", "lora_sft", "lora_drift"}
    for family, one in FAMILIES_SMALL.items():
        recipes = {step.run[1] for step in study.steps if step.run[0] == "train"}
        arms = (
            ("sft", "drift", "lora_sft", "lora_drift") if one.full else ("lora_sft", "lora_drift")
        )
        assert {f"{family}_{arm}" for arm in arms} <= recipes
        assert study.titles[family] == one.title
    assert words(study, "seed-0/internvl3_2b/merge_then_sft") == (
        "train internvl3_2b_sft --set vlm=seed-0/internvl3_2b/tuned --set data=data "
        "--set steps=200 --set seed=0 --set lr={chosen tuned.json sft smolvlm lr} "
        "--out seed-0/internvl3_2b/merge_then_sft"
    )
    # What is fetched is what the recipes are of.
    assert words(study, "seed-0/internvl3_2b/reasoner") == (
        "fetch deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B --out seed-0/internvl3_2b/reasoner"
    )


@pytest.mark.parametrize("name", ["paper", "small"])
def test_arms_have_equally_many_trials_on_seeds_that_are_not_counted(name):
    study = load.load(name, seeds=3, controls=True)
    counted = {run.seed for method in study.methods for run in method.runs}
    tried = {}
    for trial in study.trials:
        assert trial.seed not in counted
        if trial.settings and trial.method not in ("tuned", "wise_ft"):
            settings = tried.setdefault((trial.method, trial.family), {})
            settings.setdefault(str(trial.settings), set()).add(trial.seed)
    assert {len(settings) for settings in tried.values()} == {3}
    assert {len(seeds) for settings in tried.values() for seeds in settings.values()} == {2}


@pytest.mark.parametrize("scale", [None, "pocket"])
@pytest.mark.parametrize("name", ["paper", "small"])
def test_every_step_is_words_that_its_command_knows(name, scale, tmp_path):
    study = load.load(name, controls=True, scale=scale)
    rehearsal.suppose(study, tmp_path)
    door = typer.main.get_command(application())
    for step in study.steps:
        words = process.filled(step, study, 1, tmp_path)
        command = door
        while isinstance(command, typer.core.TyperGroup):
            command = command.commands[words.pop(0)]
        command.make_context(step.name, words)
        if step.run[0] == "train":
            rehearsed_models.recipe(replace(step, run=process.filled(step, study, 1, tmp_path)))


def test_the_primary_claims_of_small_vlms_are_few():
    claims = load.load("small", controls=True).claims
    assert sum(claim.primary for claim in claims) == 6
