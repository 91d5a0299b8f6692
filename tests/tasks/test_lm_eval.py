"""Stock lm-eval runs the same files."""

import json
import zlib
from pathlib import Path

import pytest

import tasks
from harness import records
from harness.checkpoint import Checkpoint
from harness.engines.scripted import ScriptedEngine
from harness.run import run

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


NAMES = ["pocket", "mathvision", "wemath", "logicvista"]

SAID = ["<think> 3 + 4 </think> 7", "The answer is B", "so \\boxed{A}", "<Answer>:<<B>>.", "7", "B"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    from PIL import Image

    folder = tmp_path_factory.mktemp("data")
    Image.new("RGB", (8, 8), "red").save(folder / "red.png")
    pocket, rows = [], []
    for number in range(4):
        own = {"id": str(number), "image_file": "red.png"}
        text, images = f"<image>what is {number}?", ["red.png"]
        if number == 3:
            text, images = "3 + 4?", []
        pocket.append({**own, "question": text, "answer": "7", "group": "a", "images": images})
        rows += [
            {**own, "benchmark": "MATH-V", "question": f"How many? {number}", "answer": "7",
             "options": [], "level": 1, "subject": "algebra"},
            {**own, "benchmark": "We-Math", "ID": f"2steps_{number}", "key": "2steps_1",
             "question": f"Which? {number}", "option": "A. 1;B. 2;C. 3", "answer": "B",
             "knowledge concept": "Parallel"},
            {**own, "benchmark": "LogicVista", "question": f"Which? {number}", "answer": "B",
             "skill": ["inductive"], "broad_capability": ["diagram"],
             "specific_capability": ["pattern"]},
        ]  # fmt: skip
    for name, found in (("test.jsonl", pocket), ("rows.jsonl", rows)):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in found))
    return folder


def says(prompt: str) -> str:
    """Say one of some answers, told from the prompt alone."""
    return SAID[zlib.crc32(prompt.encode()) % len(SAID)]


def test_stock_lm_eval_asks_and_scores_the_same(folder, tmp_path):
    import lm_eval
    from lm_eval.api.model import LM
    from lm_eval.tasks import TaskManager

    class Scripted(LM):
        MULTIMODAL = True
        asked: list[tuple[str, int]] = []

        def generate_until(self, requests, **_):
            for request in requests:
                text, settings, extra = request.args
                assert settings["max_gen_toks"] in (40, 2048)
                assert all(image.getpixel((0, 0)) == (255, 0, 0) for image in extra["visual"])
                self.asked.append((text, len(extra["visual"])))
            return [says(request.args[0]) for request in requests]

        def loglikelihood(self, requests, **_):
            raise AssertionError("nothing here is scored by likelihood")

        loglikelihood_rolling = loglikelihood

    metadata = {"data": str(folder)}
    manager = TaskManager(include_defaults=False, include_path=str(tasks.HERE), metadata=metadata)
    assert manager.all_tasks == sorted([*tasks.names(), *tasks.groups()])
    model = Scripted()
    found = lm_eval.simple_evaluate(
        model=model, tasks=NAMES, task_manager=manager, metadata=metadata, bootstrap_iters=0
    )["results"]
    asked, scores = [], []
    for metric, protocol in (("acc", "robust"), ("acc_official", "official")):
        own = [tasks.load(name, protocol) for name in NAMES if f"{metric},none" in found[name]]
        checkpoint = Checkpoint(Path("/c/vlm"), "vlm", "f", "s", {}, "Any", True, None, {})
        run([checkpoint], own, tmp_path / protocol, data=folder,
            engine=lambda c: ScriptedEngine(c, lambda ask: says(ask.prompt)))  # fmt: skip
        questions = records.read_questions(tmp_path / protocol)
        if protocol == "robust":
            asked = [(question.prompt, len(question.images)) for question in questions]
        for cell in records.read_cells(tmp_path / protocol):
            if cell.group == "all":
                assert found[cell.task][f"{metric},none"] == pytest.approx(cell.score), cell.task
                scores.append(cell.score)
    assert sorted(model.asked) == sorted(asked)
    assert len(scores) >= 6 and 0 < sum(scores) < len(scores)
