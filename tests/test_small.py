"""Every step of the study of small VLMs on stand-ins, each a real process; see `test_paper.py`."""

import json
from pathlib import Path

import pytest

from harness.runs.folder import read_card
from harness.studies import load, runner
from harness.studies.small import FAMILIES


@pytest.fixture(scope="module")
def study(one_seed_of_tuning):
    return load.load("small", controls=True, scale="pocket")


@pytest.fixture(scope="module")
def out(study, tmp_path_factory):
    """The whole study, two steps at a time."""
    out = tmp_path_factory.mktemp("small") / "study"
    runner.run(study, out, jobs=2)
    return out


def test_the_pocket_scale_has_every_step(study):
    whole = load.load("small", controls=True)
    assert [step.name for step in study.steps[1:]] == [step.name for step in whole.steps]
    for small, large in zip(study.steps[1:], whole.steps, strict=True):
        assert small.run[0] == large.run[0] and small.writes == large.writes


def test_the_way_to_the_reasoner_is_measured_of_every_arm(study):
    steps = {step.name: step for step in study.steps}
    for name in FAMILIES:
        at = f"seed-0/{name}"
        trained = {
            arm for arm in steps if arm.startswith(f"{at}/") and steps[arm].run[0] == "train"
        }
        assert {f"{at}/lora_sft", f"{at}/lora_drift"} <= trained
        assert trained < {*steps[f"{at}/trained_distance"].reads}


@pytest.mark.slow
def test_what_was_asked_is_what_was_made(study, out):
    """As many checkpoints as run folders, each of its own weights, and none of them empty."""
    folders = [path for step in study.steps for path in step.writes if "/runs/" in path]
    cards = {folder: read_card(out / folder) for folder in folders}
    for folder, card in cards.items():
        asked = 4 if folder.startswith("tuning-") else 3
        assert card.tasks and all(task.n == asked for task in card.tasks)
    assert cards.keys() >= {run.folder for method in study.methods for run in method.runs}
    assert len({card.fingerprint for card in cards.values()}) == len(cards)
    assert (out / "report" / "index.html").stat().st_size > 10_000


@pytest.mark.slow
def test_arms_differ_where_they_say(out):
    at = out / "seed-0" / "internvl3_2b"
    found = {
        arm: json.loads((at / arm / "made.json").read_text())["settings"]
        for arm in ("sft", "drift", "lora_sft", "lora_drift", "published", "lora_random_start")
    }
    assert (found["sft"]["prior"], found["drift"]["prior"]) == (None, "reasoner-vlm")
    assert found["lora_drift"]["adapter_rank"] == 64 and not found["drift"]["adapter_rank"]
    assert found["published"]["when"] == "backward" and found["published"]["accumulate"] == 8
    assert found["lora_random_start"]["adapter_start"] == "random"


@pytest.mark.slow
def test_pulled_arms_went_toward_the_reasoner_and_plain_ones_nowhere(out):
    """Adapters too: of what they add to their matrices."""
    for name, family in FAMILIES.items():
        found = (out / "seed-0" / name / "trained_distance.json").read_text()
        cosine = {
            Path(one["checkpoint"]).name: one["cosine"]
            for one in json.loads(found)["displacements"]
        }
        assert family.full == ("sft" in cosine)
        for arm in {"drift", "lora_drift", "lora_random_start"} & {*cosine}:
            assert cosine[arm] > 0.2
        for arm in {"sft", "lora_sft"} & {*cosine}:
            assert abs(cosine[arm]) < 0.1
