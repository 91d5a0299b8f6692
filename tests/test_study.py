"""The pocket study cut down to one family and a few steps, with real processes and the engine."""

import csv
import json
import shutil

import pytest
import yaml

from harness.studies import recipe as study_recipe
from harness.studies import runner

SHORT = {
    "seed-{seed}/world": ["--train", "6", "--validation", "3", "--test", "4"],
    "{at}/base": ["--length", "0.01"],
    "{at}/vlm": ["--length", "0.01"],
    "{at}/reasoner": ["--length", "0.01"],
    "{at}/sft": ["--set", "steps=3", "--set", "batch=2"],
    "{at}/drift": ["--set", "steps=3", "--set", "batch=2"],
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """The bundled recipe with its lengths cut."""
    study = yaml.safe_load((study_recipe._bundled() / "pocket.yaml").read_text())
    study["each"] = [entry for entry in study["each"] if entry["family"] == "llava_next"]
    for step in study["steps"]:
        step["run"] += SHORT.get(step["name"], [])
    del study["controls"]
    path = tmp_path_factory.mktemp("recipe") / "small.yaml"
    path.write_text(yaml.safe_dump(study))
    return str(path)


@pytest.fixture(scope="module")
def study(recipe, tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "out"
    runner.run(study_recipe.load(recipe), out)
    return out


@pytest.mark.slow
def test_every_row_of_the_table_comes_from_its_checkpoint(study):
    with (study / "report" / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["run"] for row in rows} >= {"vlm", "reasoner", "sft", "drift"}
    for row in rows:
        if row["task"] == "pocket" and row["group"] in ("perception", "reasoning-text"):
            assert row["n"] == "4"
    for name in ("merge_degradation.png", "merge_degradation.svg", "index.html", "comparison.tex"):
        assert (study / "report" / name).stat().st_size > 1000
    fingerprints = {
        name: json.loads((study / "seed-0/llava_next/runs" / name / "run.json").read_text())[
            "fingerprint"
        ]
        for name in ("vlm", "merge-0.00", "merge-0.10", "sft", "drift")
    }
    assert fingerprints["vlm"] == fingerprints["merge-0.00"]
    assert len(set(fingerprints.values())) == 4


@pytest.mark.slow
def test_the_merges_end_at_the_vlm_byte_for_byte(study):
    vlm, merged = (
        (study / "seed-0/llava_next" / name / "model.safetensors").read_bytes()
        for name in ("vlm", "merges/merge-0.00")
    )
    assert vlm == merged


@pytest.mark.slow
def test_drift_pulled_every_projection_and_sft_none(study):
    made = {
        name: json.loads((study / "seed-0/llava_next" / name / "made.json").read_text())
        for name in ("sft", "drift")
    }
    assert made["drift"]["coverage"]["tensors"] == 4 * 7 and made["sft"]["coverage"] is None
    differing = {
        key
        for key, value in made["sft"]["settings"].items()
        if made["drift"]["settings"][key] != value
    }
    assert differing == {"prior", "reasoner"}


@pytest.mark.slow
def test_unchanged_it_runs_nothing(study, recipe):
    report = (study / "report" / "index.html").stat().st_mtime_ns
    runner.run(study_recipe.load(recipe), study)
    assert (study / "report" / "index.html").stat().st_mtime_ns == report


@pytest.mark.slow
def test_a_lost_checkpoint_comes_back_the_same_and_no_question_is_asked_again(study, recipe):
    weights = study / "seed-0/llava_next/sft/model.safetensors"
    before = weights.read_bytes()
    answers = study / "seed-0/llava_next/runs/sft/responses.jsonl"
    asked = answers.read_bytes()
    shutil.rmtree(study / "seed-0/llava_next/sft")
    runner.run(study_recipe.load(recipe), study)
    assert weights.read_bytes() == before
    assert answers.read_bytes() == asked
