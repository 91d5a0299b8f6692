"""Several processes on one run give what one gives."""

import subprocess
import sys

import pytest

from common.errors import UserError
from harness.evaluate import data_parallel
from harness.runs import folder


def test_gpus_are_shared_out():
    assert data_parallel.devices(["0", "1", "4", "5", "6"], 2, 2) == ["0,1", "4,5"]
    assert data_parallel.devices([], 3, 1) == ["", "", ""]
    with pytest.raises(UserError, match="2 replicas of 2 GPUs need 4, and 3 are visible"):
        data_parallel.devices(["0", "1", "2"], 2, 2)


def test_an_option_goes_and_the_rest_stays():
    words = ["sweep", "a", "--best", "c", "--out", "b", "--best=d", "--n", "2"]
    left = data_parallel.without(words, ["--best"])
    assert left == ["sweep", "a", "--out", "b", "--n", "2"]


def evaluate(checkpoint, world, out, *words):
    command = ["eval", checkpoint, "--tasks", "pocket", "--data", world, "--out", out]
    return subprocess.run(
        [sys.executable, "-P", "-m", "driftbench", *map(str, [*command, "--engine", "hf", *words])],
        capture_output=True,
        text=True,
    )


def test_two_replicas_answer_what_one_process_does(checkpoints, world, tmp_path):
    checkpoint = checkpoints["qwen2_5_vl-a"]
    alone = evaluate(checkpoint, world, tmp_path / "run")
    kept = (tmp_path / "run").rename(tmp_path / "alone")
    both = evaluate(checkpoint, world, tmp_path / "run", "--data-parallel", "2")
    assert (alone.returncode, both.returncode) == (0, 0), both.stderr
    assert both.stdout == alone.stdout
    assert folder.read_verdicts(tmp_path / "run") == folder.read_verdicts(kept)
    assert folder.read_card(tmp_path / "run").finished


def test_a_replica_that_fails_is_told(checkpoints, world, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "stranger").touch()
    words = ("--data-parallel", "2")
    done = evaluate(checkpoints["qwen2_5_vl-a"], world, tmp_path / "run", *words)
    assert done.returncode == 2
    assert "of 2 replicas these failed: 1, 2" in done.stderr.splitlines()[-1]
    done = evaluate(checkpoints["qwen2_5_vl-a"], world, tmp_path / "x", *words, "--shard", "1/2")
    assert "give one" in done.stderr
