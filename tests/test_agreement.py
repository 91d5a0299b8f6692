"""vLLM and transformers give the same greedy answers, token for token, on pocket questions.

The models are random, so nothing but the two implementations' agreement makes the answers equal.
"""

import pytest
import torch

import tasks
from drift.pocket import models, world
from harness import records
from harness.checkpoint import open_checkpoint
from harness.run import run

PER_GROUP = 12


@pytest.mark.slow
@pytest.mark.parametrize("family", models.FAMILIES)
def test_greedy_answers_agree_on_48_questions(family, tmp_path):
    world.write(tmp_path / "world", seed=5, train=1, validation=1, test=PER_GROUP)
    torch.manual_seed(0)
    models.save(models.vlm(family, 1000.0), family, tmp_path / "vlm")
    said = {}
    for engine in ("vllm", "hf"):
        run(
            [open_checkpoint(tmp_path / "vlm")],
            [tasks.load("pocket")],
            tmp_path / engine,
            data=tmp_path / "world",
            engine=engine,
        )
        responses = records.read_responses(tmp_path / engine)
        said[engine] = {r.id: (r.text, r.finish, r.tokens_in, r.tokens_out) for r in responses}
    assert len(said["vllm"]) == 4 * PER_GROUP
    assert said["vllm"] == said["hf"]
    assert len({text for text, *_ in said["vllm"].values()}) > 4  # they depend on the question
