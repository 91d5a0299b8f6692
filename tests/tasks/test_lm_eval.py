"""Stock lm-eval runs the same files."""

from pathlib import Path

import pytest

import tasks

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    from PIL import Image

    folder = tmp_path_factory.mktemp("data")
    Image.new("RGB", (8, 8), "red").save(folder / "red.png")
    (folder / "test.jsonl").write_text(
        '{"id": "1", "question": "<image>what?", "answer": "7", "group": "a", '
        '"images": ["red.png"]}\n'
        '{"id": "2", "question": "3 + 4?", "answer": "7", "group": "b", "images": []}\n'
    )
    (folder / "rows.jsonl").write_text(
        '{"benchmark": "MATH-V", "id": "1", "question": "How many?", "options": [], "answer": "9", '
        '"level": 1, "subject": "algebra", "image_file": "red.png"}\n'
    )
    return folder


def test_stock_lm_eval_asks_and_scores_the_same(folder):
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
            return ["<think> 7 </think> 7" for _ in requests]

        def loglikelihood(self, requests, **_):
            raise AssertionError("nothing here is scored by likelihood")

        loglikelihood_rolling = loglikelihood

    metadata = {"data": str(folder)}
    manager = TaskManager(include_defaults=False, include_path=str(tasks.HERE), metadata=metadata)
    assert manager.all_tasks == sorted([*tasks.names(), *tasks.groups()])
    model = Scripted()
    found = lm_eval.simple_evaluate(
        model=model, tasks=["pocket", "mathvision"], task_manager=manager, metadata=metadata,
        bootstrap_iters=0,
    )  # fmt: skip
    assert found["results"]["pocket"]["acc,none"] == 1.0
    assert found["results"]["mathvision"]["acc,none"] == 0.0
    ours = [
        (task.to_prompt(row), len(task.to_images(row)))
        for task in map(tasks.load, ["pocket", "mathvision"])
        for row in task.rows(folder)
    ]
    assert sorted(model.asked) == sorted(ours)
