"""Runs whose answers a script gives."""

from pathlib import Path

import tasks
from harness.checkpoints.kinds import Checkpoint, ModelFolder
from harness.engines import Request
from harness.engines.scripted import ScriptedEngine
from harness.evaluate.run import EvalConfig, run


def checkpoint(
    name="vlm", fingerprint="f", surroundings="s", multimodal=True, **settings
) -> ModelFolder:
    return ModelFolder(**{
        "path": Path(f"/checkpoints/{name}"), "name": name, "fingerprint": fingerprint,
        "surroundings": surroundings, "config": {"vision_config": {}} if multimodal else {},
        "pixels": {"size": 56} if multimodal else {}, **settings,
    })  # fmt: skip


class Script:
    """Makes scripted engines; keeps what they were asked and how often one was made."""

    def __init__(self, answers=lambda request: "7"):
        self.answers = answers
        self.asked: list[tuple[str, int]] = []
        self.made = 0

    def __call__(self, checkpoint: Checkpoint) -> ScriptedEngine:
        self.made += 1
        return ScriptedEngine(checkpoint, self._answer)

    def _answer(self, request: Request) -> str | None:
        self.asked.append((request.question.id, request.sample))
        return self.answers(request)


def evaluate(out, world, script, checkpoints=None, shard=None, **settings):
    opened, wanted = checkpoints or [checkpoint()], [tasks.load("pocket")]
    return run(opened, wanted, out, EvalConfig(data=world, **settings), engine=script, shard=shard)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


ANSWERS = {
    "q0": "<think> 3 + 4 </think> 7",
    "q1": "8",
    "q2": "<think> never ends",
    "q3": " ".join(["<think>"] + ["on"] * 60),
    "q4": " ".join(["7"] * 60),
    "q5": "7",
}
"""q6 is missing: the engine fails on it."""

LONG = "x" * 1600 + " 7"
