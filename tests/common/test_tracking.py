"""Trackers: names, what a finished run tells them, and what they refuse."""

import pytest

from common import tracking
from common.errors import UserError


def test_names_are_known_and_installed(monkeypatch):
    monkeypatch.setattr(tracking, "find_spec", lambda name: name == "trackio" or None)
    assert tracking.trackers(None) == ()
    assert tracking.trackers(" trackio,,trackio") == ("trackio",)
    with pytest.raises(
        UserError, match="--report-to takes tensorboard, trackio, wandb, not mlflow"
    ):
        tracking.trackers("trackio,mlflow")
    with pytest.raises(UserError, match="the package wandb, which is not installed: pip install w"):
        tracking.trackers("wandb")


def test_what_is_over_is_told_once_with_its_settings(heard, tmp_path):
    tracking.tell(
        ["tensorboard"], tmp_path / "mine", {"limit": None, "day": (1,)}, {"t/score": 0.5}
    )
    assert heard[:2] == [
        ("begin", "mine", 0, {"limit": None, "day": [1]}),
        ("log", "mine", 0, {"eval_t/score": 0.5}),
    ]
    assert heard[2][3].startswith(f"{tmp_path}/mine.tensorboard/2") and len(heard) == 3


def test_what_a_tracker_refuses_is_one_sentence():
    refusal = type("UsageError", (Exception,), {"__module__": "wandb.errors"})
    with pytest.raises(
        UserError, match="^wandb refuses: no key; mend that, or leave --report-to wandb out"
    ):
        with tracking.told(["wandb"]):
            raise refusal("no key.\nSee the guide.")
    with pytest.raises(refusal), tracking.told(["trackio"]):
        raise refusal("no key")


def test_tensorboard_reads_what_it_is_told(tmp_path):
    pytest.importorskip("tensorboard", reason="TensorBoard's files need its package")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracking.tell(["tensorboard"], tmp_path / "mine", {"limit": 3}, {"pocket/score": 0.5})
    (folder,) = (tmp_path / "mine.tensorboard").iterdir()
    read = EventAccumulator(str(folder)).Reload()
    (scalar,) = read.Scalars("eval/pocket/score")
    assert (scalar.step, scalar.value) == (0, 0.5)
    assert "args/text_summary" in read.Tags()["tensors"]
