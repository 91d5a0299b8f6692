"""What trackers hear of a run: its scores once it is finished, by the command line too."""

import json

from scripted import ANSWERS, Script, checkpoint, evaluate

from harness.evaluate import run as room
from harness.evaluate import scores_told
from harness.evaluate.config import Shard
from harness.runs.folder import read_cells


def test_a_finished_run_is_told_with_its_scores(heard, world, tmp_path, monkeypatch, driftbench):
    script = Script(lambda request: ANSWERS.get(request.question.id))
    monkeypatch.setattr("harness.checkpoints.preflight.open_checkpoint", lambda *_: checkpoint())
    monkeypatch.setattr(room, "maker", lambda choice, checkpoint, old: script)
    words = ["eval", "vlm", "--tasks", "pocket", "--data", world, "--max-tokens", 50]
    driftbench(*words, "--out", tmp_path / "quiet")
    assert heard == []
    driftbench(*words, "--out", tmp_path / "mine", "--report-to", "tensorboard")
    (whole,) = [cell for cell in read_cells(tmp_path / "mine") if cell.group == "all"]
    (begin, logs, _) = heard
    assert begin[1] == "mine"
    assert begin[3] == json.loads((tmp_path / "mine" / "run.json").read_text())
    assert whole.n == 7 and whole.error == 1
    assert {name: logs[3][f"eval_pocket/{name}"] for name in ("score", "stderr", "n", "error")} == {
        "score": whole.score, "stderr": whole.stderr, "n": 7, "error": 1,
    }  # fmt: skip
    assert "report_to" not in (tmp_path / "mine" / "run.yaml").read_text()


def test_a_part_of_a_run_is_not_told(heard, world, tmp_path):
    evaluate(tmp_path / "run", world, Script(), shard=Shard(1, 2))
    scores_told.tell(["tensorboard"], tmp_path / "run")
    assert heard == []
    evaluate(tmp_path / "run", world, Script(), shard=Shard(2, 2))
    scores_told.tell(["tensorboard"], tmp_path / "run")
    assert [one[0] for one in heard] == ["begin", "log", "end"]


def test_an_unknown_error_is_left_out(heard, world, tmp_path):
    evaluate(tmp_path / "run", world, Script(), limit=1)
    found = scores_told.numbers(tmp_path / "run")
    assert found["pocket/score"] == 1 and "pocket/stderr" not in found


def test_a_tracker_that_is_not_there_is_told_before_anything(heard, mistake):
    said = mistake("eval", "vlm", "--tasks", "pocket", "--out", "out", "--report-to", "wandb")
    assert "the package wandb, which is not installed: pip install wandb" in said
    assert "tensorboard, trackio, wandb, not comet" in mistake(
        "train", "pocket_sft", "--out", "out", "--report-to", "comet"
    )
