"""Stock lm-eval runs the same files."""

import json
import zlib
from pathlib import Path

import pytest

import tasks
from harness.checkpoints.kinds import ModelFolder
from harness.engines.scripted import ScriptedEngine
from harness.evaluate.run import EvalConfig, run
from harness.runs import log
from harness.runs.folder import read_cells, read_questions

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


NAMES = {
    "pictures": ["pocket", "mathvision", "wemath", "logicvista"],
    "words": ["gsm8k", "math500"],
}

SAID = ["<think> 3 + 4 </think> 7", "The answer is B", "so \\boxed{A}", "<Answer>:<<B>>.", "7", "B"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    from PIL import Image

    folder = tmp_path_factory.mktemp("data")
    for kind in NAMES:
        (folder / kind).mkdir()
    Image.new("RGB", (8, 8), "red").save(folder / "pictures" / "red.png")
    pocket, rows, words = [], [], []
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
        words.append({"question": f"What is {number}?", "problem": f"Solve {number}.",
                      "answer": "7", "unique_id": f"test/{number}.json", "subject": "Algebra",
                      "level": 1})  # fmt: skip
    for name, found in (
        ("pictures/test.jsonl", pocket), ("pictures/rows.jsonl", rows), ("words/test.jsonl", words)
    ):  # fmt: skip
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in found))
    return folder


def says(prompt: str) -> str:
    """Say one of some answers, told from the prompt alone."""
    return SAID[zlib.crc32(prompt.encode()) % len(SAID)]


def place(value):
    """Where a function is written, whoever loaded its module; another value itself."""
    code = getattr(value, "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code else value


@pytest.mark.parametrize("name", tasks.names())
def test_stock_lm_eval_reads_every_file_as_we_do(name):
    from lm_eval.tasks._yaml_loader import load_yaml

    theirs, ours = load_yaml(tasks.HERE / f"{name}.yaml"), tasks._read(tasks.HERE / f"{name}.yaml")
    sources = [config.pop("metadata").get("source") for config in (theirs, ours)]
    assert sources[0] == sources[1]  # which is given to `custom_dataset`
    assert {field: place(value) for field, value in theirs.items()} == {
        field: place(value) for field, value in ours.items()
    }


@pytest.mark.parametrize("kind", NAMES)
def test_stock_lm_eval_asks_and_scores_the_same(kind, folder, tmp_path):
    import lm_eval
    from lm_eval.api.model import LM
    from lm_eval.tasks import TaskManager

    class Scripted(LM):
        MULTIMODAL = True
        asked: list[tuple[str, int]] = []

        def generate_until(self, requests, **_):
            for request in requests:
                text, settings, *extra = request.args
                assert settings["max_gen_toks"] in (40, 2048)
                visual = extra[0]["visual"] if kind == "pictures" else extra
                assert all(image.getpixel((0, 0)) == (255, 0, 0) for image in visual)
                self.asked.append((text, len(visual)))
            return [says(request.args[0]) for request in requests]

        def loglikelihood(self, requests, **_):
            raise AssertionError("nothing here is scored by likelihood")

        loglikelihood_rolling = loglikelihood

    folder, names = folder / kind, NAMES[kind]
    metadata = {"data": str(folder)}
    manager = TaskManager(include_defaults=False, include_path=str(tasks.HERE), metadata=metadata)
    assert manager.all_tasks == sorted([*tasks.names(), *tasks.groups()])
    model = Scripted()
    found = lm_eval.simple_evaluate(
        model=model, tasks=names, task_manager=manager, metadata=metadata, bootstrap_iters=0
    )["results"]
    asked, scores = [], []
    for metric, protocol in (("acc", "robust"), ("acc_official", "official")):
        own = [tasks.load(name, protocol) for name in names if f"{metric},none" in found[name]]
        vlm = ModelFolder(path=Path("/c"), name="vlm", fingerprint="f", surroundings="s",
                          config={"vision_config": {}})  # fmt: skip
        run([vlm], own, tmp_path / protocol, EvalConfig(data=folder),
            engine=lambda c: ScriptedEngine(c, lambda request: says(request.prompt)))  # fmt: skip
        questions = read_questions(tmp_path / protocol)
        if protocol == "robust":
            asked = [(question.prompt, len(question.images)) for question in questions]
        for cell in read_cells(tmp_path / protocol):
            if cell.group == "all":
                assert found[cell.task][f"{metric},none"] == pytest.approx(cell.score), cell.task
                scores.append(cell.score)
    assert sorted(model.asked) == sorted(asked)
    assert len(scores) == {"pictures": 6, "words": 4}[kind] and 0 < sum(scores) < len(scores)


COLOURS = ("red", "blue", "green", "white")
THREE = ("mathvision", "wemath", "logicvista")


def rows(answers):
    """Rows of each of three benchmarks; `answers` are the true ones of MATH-Vision."""
    for number, answer in enumerate(answers):
        picture = {"image_file": f"{number}.png"}
        yield {
            "benchmark": "MATH-V",
            "id": f"m{number}",
            "question": f"How many? {number}",
            "options": [],
            "answer": answer,
            "level": 1,
            "subject": "algebra",
            **picture,
        }
        yield {
            "benchmark": "We-Math",
            "ID": f"2steps_{number}",
            "question": f"what? {number}",
            "option": "A. 1;B. 2;C. 3",
            "answer": "A",
            "key": f"2steps_{number}",
            "question number": number,
            "knowledge concept": "Circle",
            **picture,
        }
        yield {"benchmark": "LogicVista", "id": f"v1_{number}", "question": f"which? {number}",
               "answer": "A", "skill": ["inductive"], "broad_capability": ["diagram"],
               "specific_capability": ["3d shape"], **picture}  # fmt: skip


def write(folder, answers):
    lines = [json.dumps(row) for row in rows(answers)]
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")


@pytest.mark.slow
def test_stock_lm_eval_gives_a_pocket_model_the_score_that_driftbench_gives_it(tmp_path):
    import lm_eval
    import torch
    from lm_eval.tasks import TaskManager
    from PIL import Image

    from drift.pocket import models
    from harness.checkpoints.preflight import open_checkpoint
    from harness.evaluate.run import EvalConfig, run

    torch.manual_seed(0)
    models.save(models.vlm("qwen2_5_vl", 1000.0), "qwen2_5_vl", tmp_path / "model")
    for number, colour in enumerate(COLOURS):
        Image.new("RGB", (56, 56), colour).save(tmp_path / f"{number}.png")

    def ours(name):
        run(
            [open_checkpoint(tmp_path / "model")], [tasks.load(task) for task in THREE],
            tmp_path / name, EvalConfig(data=tmp_path, max_tokens=8), engine="hf",
        )  # fmt: skip
        texts = {(r.task, r.id): r.text for r in log.read_responses(tmp_path / name)}
        return texts

    def right(task, texts):
        """The score, were the answers whole: lm-eval is not told that most were cut."""
        rows = tasks.load(task).rows(tmp_path)
        found = [tasks.load(task).verdict(row, texts[task, row["id"]])[1] for row in rows]
        return found.count(True) / len(found)

    write(tmp_path, ["9"] * len(COLOURS))
    said = ours("first")
    # A random model is right about nothing, so what it says is made the truth of some questions.
    spoken = [said["mathvision", f"m{number}"] for number in range(len(COLOURS))]
    write(tmp_path, ["9" if number % 2 else text for number, text in enumerate(spoken)])
    texts = ours("second")
    assert texts == said
    scores = {task: right(task, texts) for task in THREE}
    assert 0 < scores["mathvision"] < 1

    metadata = {"data": str(tmp_path)}
    found = lm_eval.simple_evaluate(
        model="hf-multimodal", model_args=f"pretrained={tmp_path / 'model'},dtype=float32",
        tasks=list(THREE), metadata=metadata, device="cpu", batch_size=1, bootstrap_iters=0,
        task_manager=TaskManager(
            include_defaults=False, include_path=str(tasks.HERE), metadata=metadata
        ),
        gen_kwargs="max_gen_toks=8", apply_chat_template=True, log_samples=True,
    )  # fmt: skip
    theirs = {
        (task, sample["doc"]["id"]): sample["resps"][0][0]
        for task in THREE
        for sample in found["samples"][task]
    }
    assert theirs == texts
    assert {task: found["results"][task]["acc,none"] for task in THREE} == scores
