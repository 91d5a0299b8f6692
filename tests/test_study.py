"""The pocket study cut down to one family and a few steps, with real processes and the engine."""

import csv
import json
import shutil
from dataclasses import replace

import pytest

from harness.studies import load, runner

AT = "seed-20/llava_next"
TRAINED = ("sft", "drift", "adaptive", "published", "merge_then_sft", "sft_x16")
SHORT = {
    "seed-20/world": "--train 6 --validation 3 --test 4",
    **dict.fromkeys((f"{AT}/base", f"{AT}/vlm", f"{AT}/reasoner"), "--length 0.01"),
    **dict.fromkeys((f"{AT}/{name}" for name in TRAINED), "--set steps=3 --set batch=2"),
}


def mine(path):
    return path.startswith(AT) or path in ("seed-20/world", "report")


def small():
    """The bundled study of one family, with its lengths cut."""
    whole = load.load("pocket")
    return replace(
        whole,
        steps=tuple(
            replace(
                step,
                run=(*step.run, *SHORT.get(step.name, "").split()),
                reads=tuple(filter(mine, step.reads)),
            )
            for step in whole.steps
            if mine(step.name)
        ),
        methods=tuple(
            replace(method, runs=tuple(run for run in method.runs if mine(run.folder)))
            for method in whole.methods
        ),
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "out"
    runner.run(small(), out)
    return out


@pytest.mark.slow
def test_every_row_of_the_table_comes_from_its_checkpoint(study):
    with (study / "report" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["run"] for row in rows} >= {"vlm", "reasoner", "sft", "drift"}
    for row in rows:
        if row["group"] in ("perception", "reasoning-text"):
            assert row["n"] == "4"
    for name in ("merge_degradation.png", "merge_degradation.svg", "index.html", "comparison.tex"):
        assert (study / "report" / name).stat().st_size > 1000
    fingerprints = {
        name: json.loads((study / "seed-20/llava_next/runs" / name / "run.json").read_text())[
            "fingerprint"
        ]
        for name in ("vlm", "merge-0.00", "merge-0.10", "sft", "drift")
    }
    assert fingerprints["vlm"] == fingerprints["merge-0.00"]
    assert len(set(fingerprints.values())) == 4


@pytest.mark.slow
def test_the_merges_end_at_the_vlm_byte_for_byte(study):
    vlm, merged = (
        (study / "seed-20/llava_next" / name / "model.safetensors").read_bytes()
        for name in ("vlm", "merges/merge-0.00")
    )
    assert vlm == merged


@pytest.mark.slow
def test_drift_pulled_every_projection_and_sft_none(study):
    made = {
        name: json.loads((study / "seed-20/llava_next" / name / "made.json").read_text())
        for name in ("sft", "drift")
    }
    assert made["drift"]["coverage"]["tensors"] == 4 * 7 and made["sft"]["coverage"] is None
    differing = {
        key
        for key, value in made["sft"]["settings"].items()
        if made["drift"]["settings"][key] != value
    }
    assert differing == {"prior", "reasoner", "lr", "alpha"}


@pytest.mark.slow
def test_unchanged_it_runs_nothing(study):
    report = (study / "report" / "index.html").stat().st_mtime_ns
    runner.run(small(), study)
    assert (study / "report" / "index.html").stat().st_mtime_ns == report


@pytest.mark.slow
def test_a_lost_checkpoint_comes_back_the_same_and_no_question_is_asked_again(study):
    weights = study / "seed-20/llava_next/sft/model.safetensors"
    before = weights.read_bytes()
    answers = study / "seed-20/llava_next/runs/sft/responses.jsonl"
    asked = answers.read_bytes()
    shutil.rmtree(study / "seed-20/llava_next/sft")
    runner.run(small(), study)
    assert weights.read_bytes() == before
    assert answers.read_bytes() == asked
