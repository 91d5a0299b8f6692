"""Graded run folders with made-up answers, written as the harness writes them."""

import hashlib
import json
from pathlib import Path

from harness.runs.folder import _plain, store_image
from harness.runs.schema import Question, Response, RunCard, Sampling, TaskCard, Verdict


def card(name="run", *, tasks=("pocket",), n=4, protocol="official", **changes):
    """Return a card; `changes` are fields of it."""
    rule, sha = "the last word equals the answer", "0" * 64
    rules = {"protocol": protocol, "scoring": rule, "max_tokens": 40}
    fields = {
        "name": name,
        "checkpoint": f"checkpoints/{name}",
        "fingerprint": hashlib.sha256(name.encode()).hexdigest(),
        "made": None,
        "engine": "vllm",
        "engine_version": "0.32.0",
        "sampling": Sampling(max_tokens=40),
        "dtype": "float32",
        "pixels": {"shortest_edge": 3136, "longest_edge": 50176},
        "tasks": tuple(
            TaskCard(name=task, version="1.0", revision=sha, n=n, **rules) for task in tasks
        ),
        "limit": None,
        "git": "0123abc",
        "packages": {"vllm": "0.32.0"},
        "device": "cpu",
        "seconds": 12.5,
        "processor_seconds": 11.5,
        "finished": True,
    }
    return RunCard(**{**fields, **changes})


def response(**fields):
    """Return a response; `fields` of it that are not as usual."""
    usual = {"key": "k", "task": "pocket", "id": "q", "sample": 0, "text": "7", "finish": "stop"}
    counts = {"tokens_in": 20, "tokens_image": 4, "tokens_out": 9, "seconds": 0.1}
    return Response(**{**usual, **counts, **fields})


def verdict(
    id, correct, *, answer=None, how="rule", task="t", sample=0, groups=("all",), cluster=""
):
    """Return a verdict."""
    place = {"task": task, "id": str(id), "sample": sample, "groups": groups, "cluster": cluster}
    return Verdict(correct=correct, answer=answer, how=how, **place)


def write_run(folder: Path, questions, answers, *, cluster=lambda id: "", **card_fields) -> Path:
    """Write a run.

    Args:
        folder: Made, with its parents.
        questions: Of which those are in the run that have answers; `row["groups"]` beyond `all`.
        answers: (task, id) → list of (correct, how, answer, text), one a sample.
        cluster: Id → cluster.
        card_fields: Changes to the card.
    """
    folder.mkdir(parents=True, exist_ok=True)
    asked = [q for q in questions if (q.task, q.id) in answers]
    responses, verdicts = [], []
    for q in asked:
        groups = ("all", *q.row.get("groups", ()))
        for sample, (correct, how, answer, text) in enumerate(answers[q.task, q.id]):
            finish = {"truncated": "length", "error": "error"}.get(how, "stop")
            key = f"{q.task}-{q.id}-{sample}"
            place = {"task": q.task, "id": q.id, "sample": sample}
            responses.append(response(key=key, text=text, finish=finish, **place))
            marks = {"how": how, "groups": groups, "cluster": cluster(q.id)}
            verdicts.append(Verdict(correct=correct, answer=answer, **place, **marks))
        for image in q.images:
            store_image(folder, image)
    tasks = tuple(dict.fromkeys(q.task for q in asked))
    fields = {"tasks": tasks, "n": len(asked), **card_fields}
    # json.dumps: `write_lines` waits for the disk, which a large study cannot afford.
    for name, rows in (("questions", asked), ("responses", responses), ("verdicts", verdicts)):
        text = "".join(json.dumps(_plain(row)) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text)
    (folder / "run.json").write_text(json.dumps(_plain(card(folder.name, **fields))))
    return folder


def write(
    folder: Path,
    answers,
    *,
    task="t",
    groups=lambda id: (),
    text="so {}",
    prompt="what is {}?",
    images=(),
    **more,
) -> Path:
    """Write a run of one task.

    Args:
        folder: Made, with its parents.
        answers: Id → answers; `"7"` is right, None could not be read, others are wrong.
        task: Its name.
        groups: Id → groups beyond `all`.
        text: Of a response, around its answer.
        prompt: Of a question, around its id.
        images: Of every question.
        more: For `write_run`.
    """
    questions, said = [], {}
    for id, given in answers.items():
        row = {"answer": "7", "groups": groups(id)}
        questions.append(
            Question(task=task, id=id, prompt=prompt.format(id), images=tuple(images), row=row)
        )
        said[task, id] = [
            (None, "unparsed", None, text.format(None))
            if answer is None
            else (answer == "7", "rule", answer, text.format(answer))
            for answer in given
        ]
    return write_run(folder, questions, said, **{"protocol": "robust", **more})


def bits(text: str):
    """`1101` → four questions with one answer each, right where there is a 1."""
    return {f"q{i}": ["7" if bit == "1" else "3"] for i, bit in enumerate(text)}


def simple_questions(n, task="pocket", groups=(), prompt="3 + 4 ?", **row):
    return [
        Question(task=task, id=f"q{i}", prompt=prompt, row={"answer": "7", "groups": groups, **row})
        for i in range(n)
    ]


def simple_answers(questions, bits, text="so 7"):
    """One answer a question; a bit is 1, 0, or how it could not be scored."""
    found = {}
    for q, bit in zip(questions, bits, strict=True):
        if isinstance(bit, str):
            found[q.task, q.id] = [(None, bit, None, "" if bit == "error" else text)]
        else:
            found[q.task, q.id] = [(bool(bit), "rule", "7" if bit else "8", text)]
    return found
