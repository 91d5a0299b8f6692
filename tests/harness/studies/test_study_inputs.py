"""What the words of a step name outside the study's folder, and what it has there."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from drift.fingerprints import fingerprint
from harness.studies.fingerprints import Fingerprints
from harness.studies.inputs import Outside
from harness.studies.step import Step


@pytest.fixture
def out(tmp_path) -> Path:
    out = tmp_path / "all" / "out"
    (out / "data").mkdir(parents=True)
    (out / "data" / "rows.jsonl").touch()
    for name in ("rows.jsonl", "more.jsonl", "dataset_info.json"):
        (tmp_path / name).write_text(name)
    return out


def named(out, *words):
    """What a step with these words has outside."""
    return Outside(out, Fingerprints(out / "fingerprints.json")).of(Step(name="a", run=words))


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["{}/rows.jsonl"], ["{}/rows.jsonl"]),
        (["--set", "data={}/rows.jsonl"], ["{}/rows.jsonl"]),
        (["--set", "data=[{}/rows.jsonl, {}/more.jsonl]"], ["{}/rows.jsonl", "{}/more.jsonl"]),
        (["--data={}/dataset_info.json:name"], ["{}/dataset_info.json"]),
        (["../../more.jsonl"], ["../../more.jsonl"]),
        (["{}/none.jsonl", "data", "data/rows.jsonl", "{}/all/out/data", "~nobody"], []),
        (["/", "{}", "..", ".", "{}/all", ""], []),  # the study's folder lies in these
    ],
)
def test_files_are_told_from_other_words(out, tmp_path, words, found):
    words, found = ([text.format(tmp_path, tmp_path) for text in one] for one in (words, found))
    assert set(named(out, "noisy", *words)) == set(found)


def test_a_recipe_is_what_it_says_with_what_it_extends_and_names(out, tmp_path):
    own, base = tmp_path / "own.yaml", tmp_path / "base.yaml"
    base.write_text("vlm: owner/vlm\nlr: 0.1\n")
    own.write_text(f"extends: base.yaml\ndata: [{tmp_path}/rows.jsonl]\n")
    words = ("train", str(own), "--out", "a")
    before = named(out, *words)
    assert set(before) == {str(own), f"{tmp_path}/rows.jsonl"}
    assert set(named(out, "train", str(own.with_suffix("")))) - set(before) == {
        str(own.with_suffix(""))
    }
    own.write_text(own.read_text() + "# a remark\n")
    assert named(out, *words) == before
    base.write_text("vlm: owner/vlm\nlr: 0.2\n")
    changed = named(out, *words)
    assert changed[str(own)] != before[str(own)]
    (tmp_path / "rows.jsonl").write_text("other")
    again = named(out, *words)
    assert {one for one in again if again[one] != changed[one]} == {f"{tmp_path}/rows.jsonl"}


def test_a_model_is_known_by_the_fingerprint_that_it_has_anyway(out, tmp_path):
    model = tmp_path / "vlm"
    model.mkdir()
    (model / "config.json").write_text("{}")
    save_file({"w": np.ones(3, np.float32)}, model / "model.safetensors")
    words = ("train", "my_sft", "--set", f"vlm={model}")
    assert named(out, *words) == {str(model): fingerprint(model)}
    (model / "config.json").write_text("{")  # the step refuses it; it counts by its bytes
    assert list(named(out, *words)) == [str(model)]
