"""Right answers as training rows, read back by the training reader."""

import json
import os
import random
from dataclasses import replace
from pathlib import Path

import graded
import pytest
import safetensors.torch
import synthetic
import torch

from common.provenance import Made, cost_of, read_note, whole, write_made
from drift.training.forms import Turn
from drift.training.row_files import notes
from drift.training.rows import read_rows
from driftbench import __main__
from harness.runs.folder import read_card, write_json
from harness.runs.schema import Question

RIGHT, OTHER = "<think> 3 + 4 = 7 </think> 7", "<think> 4 + 3 = 7 </think> 7"


@pytest.fixture
def run(tmp_path):
    """Six questions, the first with a picture; three samples of each."""
    picture = synthetic.picture([1, 2, 3, 4], random.Random(0))
    questions = [
        Question(
            task="pocket",
            id=f"q{i}",
            prompt="see <image>: 3 + 4 ?" if i == 0 else f"3 + 4 ? {i}",
            images=(picture,) if i == 0 else (),
            row={"answer": "7"},
        )
        for i in range(6)
    ]
    wrong, right = (False, "rule", "8", "so 8"), (True, "rule", "7", RIGHT)
    cut, unread = (True, "truncated", "7", "7 or"), (None, "unparsed", None, "who knows")
    answers = {
        "q0": [wrong, right, (True, "rule", "7", OTHER)],
        "q1": [right, right, (True, "judge", "7", "it is 7")],
        "q2": [wrong, unread, (None, "error", None, "")],
        "q3": [cut, cut, (True, "rule", "7", "thought aloud </think> 7")],
        "q4": [(True, "rule", "7", "<image> 7"), wrong, wrong],
        "q5": [wrong, wrong, wrong],
    }
    said = {("pocket", id): given for id, given in answers.items()}
    cost = {"processor_seconds": 4.5}
    return graded.write_run(tmp_path / "runs" / "reasoner", questions, said, **cost)


def command(run, out, *words):
    return __main__.run(["rows", str(run), "--out", str(out), *words])


def test_pictures_are_found_by_the_path_that_the_run_was_made_by(tmp_path, monkeypatch, capsys):
    picture = synthetic.picture([1, 2, 3, 4], random.Random(0))
    questions = [Question(task="pocket", id="q", prompt="<image>?", images=(picture,))]
    said = {("pocket", "q"): [(True, "rule", "7", RIGHT)]}
    (tmp_path / "disk" / "big").mkdir(parents=True)
    (tmp_path / "runs" / "here").mkdir(parents=True)
    linked, here = tmp_path / "runs" / "linked", tmp_path / "runs" / "here"
    linked.symlink_to(tmp_path / "disk" / "big")
    monkeypatch.chdir(here)
    for run, again in ((linked, linked), (Path(), here), (Path(), Path("../here"))):
        graded.write_run(run, questions, said)
        assert command(again, tmp_path / "rows.jsonl") == 0
        (row,) = read_rows(tmp_path / "rows.jsonl")
        assert row.images[0].read_bytes() == picture.data
    assert {path.name for path in here.parent.iterdir()} == {"linked", "here", "images"}
    assert "images" not in os.listdir()
    assert command(tmp_path / "disk" / "big", tmp_path / "none.jsonl") == 2
    missing = tmp_path / "disk" / "images" / f"{picture.sha256}.png"
    assert f"lacks a picture of pocket (q), {missing}: give the run" in capsys.readouterr().err
    assert not (tmp_path / "none.jsonl").exists()


def answers_of(rows):
    return [(row.turns[-1].thought, row.turns[-1].text) for row in rows]


def test_one_right_answer_a_question_and_nothing_else(run, tmp_path, capsys):
    out = tmp_path / "rows" / "own.jsonl"
    assert command(run, out) == 0
    rows = read_rows(out)
    assert [row.turns[0] for row in rows] == [
        Turn("user", "see <image>: 3 + 4 ?"), Turn("user", "3 + 4 ? 1"), Turn("user", "3 + 4 ? 3"),
    ]  # fmt: skip
    assert answers_of(rows) == [("3 + 4 = 7", "7"), ("3 + 4 = 7", "7"), ("thought aloud", "7")]
    assert all(row.turns[-1].learnt and row.labels == ("id", "source") for row in rows)
    (picture,) = rows[0].images
    assert picture.read_bytes() == next((run.parent / "images").iterdir()).read_bytes()
    said = capsys.readouterr().out
    assert "3 rows of 18 answers, to 3 of 6 questions" in said
    for line in (
        "left out: 7 answers that were wrong",
        "left out: 2 answers that were cut at the limit",
        "left out: 1 answers that could not be read",
        "left out: 1 answers that failed",
        "left out: 3 answers to a question that has a row",
        "left out: 1 answers of which training says: has an <image> mark in an answer",
        "do not measure what learns from them on these questions (pocket)",
    ):
        assert line in said


def test_all_right_answers_once_each_with_thoughts_in_them(run, tmp_path):
    out = tmp_path / "own.jsonl"
    assert command(run, out, "--all", "--inline") == 0
    texts = [text for _, text in answers_of(read_rows(out))]
    assert texts == [RIGHT, OTHER, RIGHT, "it is 7", "<think>thought aloud </think> 7"]
    assert not any(thought for thought, _ in answers_of(read_rows(out)))


def test_the_note_says_whose_they_are_and_what_sampling_cost(run, tmp_path):
    out = tmp_path / "rows" / "own.jsonl"
    assert command(run, out) == 0
    note, card = json.loads((tmp_path / "rows" / "own.made.json").read_text()), read_card(run)
    (parent,) = note["parents"]
    assert (parent["path"], parent["fingerprint"]) == (card.checkpoint, card.fingerprint)
    assert note["settings"]["run"] == str(run)
    assert note["settings"]["tasks"] == {"pocket": "official"}
    # 18 answers of 20 + 9 tokens, those that are wrong among them.
    assert (note["cost"]["samples"], note["cost"]["tokens"]) == (18, 18 * 29)
    assert (note["cost"]["tokens_out"], note["coverage"]["rows"]) == (18 * 9, 3)
    assert note["cost"]["processor_seconds"] == card.processor_seconds == 4.5
    assert note["cost"]["flops"] is None  # the model is not at hand
    # A folder with rows and their note is a data set, and the note is found by either name.
    written = [tmp_path / "rows" / "own.made.json"]
    assert notes(out) == notes(out.parent) == notes(f"{out.parent}:train") == written
    assert notes(run / "questions.jsonl") == []
    assert len(read_rows(out.parent)) == 3


def test_sampling_takes_two_operations_a_parameter_and_token(run, tmp_path):
    model, out = tmp_path / "reasoner", tmp_path / "own.jsonl"
    model.mkdir()
    (model / "config.json").write_text("{}")
    tensors = {"a": torch.zeros(3, 4), "b": torch.zeros(5)}
    safetensors.torch.save_file(tensors, model / "model.safetensors")
    own = Made(method="sft", name="reasoner", cost={"flops": 100, "processor_seconds": 2.0})
    write_made(model, own)
    write_json(run / "run.json", replace(read_card(run), checkpoint=str(model)))
    assert command(run, out) == 0
    cost = cost_of(read_note(tmp_path / "own.made.json"))
    assert cost.flops == 2 * 17 * 18 * 29
    # The model that wrote them was trained.
    assert whole(cost, "flops") == cost.flops + 100
    assert whole(cost, "processor_seconds") == 4.5 + 2.0


def test_what_cannot_be_written_is_one_sentence(run, tmp_path, capsys):
    assert command(run, tmp_path / "own.json") == 2
    assert "expected one that ends in .jsonl" in capsys.readouterr().err
    wrong = graded.write(tmp_path / "runs" / "wrong", {"q": ["3"]}, task="pocket")
    assert command(wrong, tmp_path / "own.jsonl") == 2
    assert "has no right and whole answer among 1" in capsys.readouterr().err
    (wrong / "verdicts.jsonl").unlink()
    assert command(wrong, tmp_path / "own.jsonl") == 2
    assert "has no verdict yet: `driftbench score" in capsys.readouterr().err
    assert not list(tmp_path.glob("own*"))
