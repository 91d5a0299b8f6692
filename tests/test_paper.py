"""Every step of the paper's study on stand-ins, so that none is first run on somebody's GPUs.

Real processes, real checkpoints of the families' own classes, vLLM for the sweeps and transformers
for the rest. What lies on the hub is made in code.
"""

import csv
import json
from pathlib import Path

import pytest

from harness.runs.folder import read_card
from harness.studies import load, runner
from harness.studies.step import within

QWEN = "seed-0/qwen2_5_vl"
PUBLISHED = Path(__file__).parents[1] / "reports" / "published" / "results.csv"


@pytest.fixture(scope="module")
def study(one_seed_of_tuning):
    return load.load("paper", controls=True, scale="pocket")


@pytest.fixture(scope="module")
def out(study, tmp_path_factory):
    """The whole study, two steps at a time."""
    out = tmp_path_factory.mktemp("paper") / "study"
    runner.run(study, out, jobs=2)
    return out


def made(out: Path, name: str) -> dict:
    return json.loads((out / QWEN / name / "made.json").read_text())


def test_the_pocket_scale_has_every_step_of_the_paper(study):
    whole = load.load("paper", controls=True)
    assert [step.name for step in study.steps if step.name != "standins"] == [
        step.name for step in whole.steps
    ]
    for small, large in zip(study.steps[1:], whole.steps, strict=True):
        assert small.run[0] == large.run[0] and small.writes == large.writes
        assert small.seconds == 8 and not small.download_gib and not small.disk_gib


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("scale", [None, "pocket"])
def test_what_is_read_is_written_by_a_step(seeds, scale):
    steps = load.load("paper", seeds=seeds, controls=True, scale=scale).steps
    written = [path for step in steps for path in step.writes]
    assert len(set(written)) == len(written)
    for step in steps:
        for read in step.reads:
            assert any(within(read, path) for path in written), (step.name, read)


def test_every_published_row_that_names_a_run_has_it():
    written = {path for step in load.load("paper", controls=True).steps for path in step.writes}
    lines = [line for line in PUBLISHED.read_text().splitlines() if not line.startswith("#")]
    rows = [row for row in csv.DictReader(lines) if row["source"].startswith("arXiv 2510.15050")]
    named = {(row["family"], row["method"]) for row in rows if row["method"] and row["family"]}
    # Table 3 quotes LLaVA-OneVision and InternVL, which the study does not run.
    others = {("llava_onevision", "vlm"), ("internvl", "vlm")}
    assert len(named - others) > 20
    for family, method in named - others:
        assert f"seed-0/{family}/runs/{method}" in written, (family, method)


@pytest.mark.slow
def test_every_step_runs(study, out):
    records = {path.stem for path in (out / "steps").glob("*.json")}
    assert {step.name.replace("/", "--") for step in study.steps} <= records


@pytest.mark.slow
def test_what_was_asked_is_what_was_made(study, out):
    """As many checkpoints as run folders, each of its own weights, and none of them empty."""
    folders = {path for step in study.steps for path in step.writes if "/runs/" in path}
    assert folders >= {run.folder for method in study.methods for run in method.runs}
    cards = {folder: read_card(out / folder) for folder in folders}
    for folder, card in cards.items():
        assert card.name == Path(folder).name
        asked = 4 if folder.startswith("tuning-") else 3
        assert card.tasks and all(task.n == asked for task in card.tasks)
    # What a stand-in samples is seldom right: one row, in any order, and no reward, teach alike.
    sampled = ("grpo", "text_sft")
    prints = [card.fingerprint for card in cards.values() if not card.name.startswith(sampled)]
    assert len(set(prints)) == len(prints)
    assert (out / "report" / "index.html").stat().st_size > 10_000


@pytest.mark.slow
def test_recipes_of_the_tables_differ_where_they_say(out):
    drift = made(out, "drift")["settings"]
    assert drift["prior"] == "reasoner-vlm" and drift["mode"] == "adaptive"
    assert drift["accumulate"] == 8  # the global batch, on one device
    different = {
        "sft": {"prior": None},
        "drift_absolute": {"mode": "absolute"},
        "drift_grad_norm_attn": {"mode": "grad_norm", "modules": ["attention"]},
        "drift_head": {"modules": ["attention", "mlp", "norm", "head"]},
        "drift_stage": {"prior": "reasoner-base"},
        "negated": {"prior": "negated"},
        "half": {"mode": "grad_norm", "alpha": 0.5},
        "drift_published": {"when": "backward", "accumulate": 8},
    }
    for name, settings in different.items():
        found = made(out, name)["settings"]
        assert {key: found[key] for key in settings} == settings, name
    assert made(out, "drift_math")["settings"]["reasoner"] == f"{QWEN}/math"
    assert made(out, "drift_noisy")["settings"]["data"] == "noisy/rows.jsonl"


@pytest.mark.slow
def test_the_merge_controls_go_as_far_as_drift(out):
    found = json.loads((out / QWEN / "trained_distance.json").read_text())["displacements"]
    rho = {Path(one["checkpoint"]).name: one["rho"] for one in found}
    assert rho["drift"] > rho["sft"]
    for name in ("sft_then_merge", "merge_then_sft"):
        assert rho[name] == pytest.approx(rho["drift"], rel=0.02)
    assert rho["negated"] < rho["sft"]


@pytest.mark.slow
def test_what_counts_is_made_at_what_was_chosen(study, out):
    """By the rule, of the trials of its family; what was not chosen is not counted."""
    chosen = json.loads((out / "tuned.json").read_text())["methods"]
    for family in ("llava_next", "qwen2_5_vl"):
        for name in ("best_sft", "best_drift", "best_published", "best_merge_then_sft"):
            found = json.loads((out / f"seed-0/{family}/{name}/made.json").read_text())["settings"]
            settings = chosen[name][family]["settings"]
            assert chosen[name][family]["trials"] == 3 and chosen[name][family]["seeds"] == 1
            start = settings.pop("start", None)
            assert {key: found[key] for key in settings} == settings
            assert found["vlm"].endswith(f"merges/{start}" if start else f"{family}/vlm")
        wise = json.loads((out / "tuned-later.json").read_text())["methods"]["wise_ft"][family]
        merge = json.loads((out / f"seed-0/{family}/wise_ft/made.json").read_text())
        assert merge["settings"]["alpha"] == wise["settings"]["alpha"]
    rows = (out / QWEN / "said.jsonl").read_text().splitlines()
    assert len(rows) == 1  # of three sums the one that is 7
