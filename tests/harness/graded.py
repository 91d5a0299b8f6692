"""Graded run folders, written as the harness writes them."""

from pathlib import Path

from harness.runs.folder import store_image, write_json, write_lines
from harness.runs.schema import Question, Response, RunCard, Sampling, TaskCard, Verdict


def card(name, tasks, n, **changes):
    fields = {
        "name": name,
        "checkpoint": f"checkpoints/{name}",
        "fingerprint": "f",
        "made": None,
        "engine": "vllm",
        "engine_version": "0.32.0",
        "sampling": Sampling(),
        "dtype": "bfloat16",
        "pixels": {},
        "tasks": tuple(TaskCard(t, "1.0", "0" * 64, n, "robust", "the rule", 40) for t in tasks),
        "limit": None,
        "git": None,
        "packages": {},
        "device": "cpu",
        "seconds": 1.0,
        "finished": True,
    }
    return RunCard(**{**fields, **changes})


def write(
    folder: Path,
    answers,
    *,
    task="t",
    groups=lambda id: (),
    cluster=lambda id: "",
    text="so {}",
    prompt="what is {}?",
    images=(),
    **changes,
):
    """Write a run of one task.

    Args:
        folder: Made, with its parents.
        answers: Id → answers; `"7"` is right, None could not be read, others are wrong.
        task: Its name.
        groups: Id → groups beyond `all`.
        cluster: Id → cluster.
        text: Of a response, around its answer.
        prompt: Of a question, around its id.
        images: Of every question.
        changes: To the card.
    """
    folder.mkdir(parents=True)
    questions, responses, verdicts = [], [], []
    for id, given in answers.items():
        questions.append(Question(task, id, prompt.format(id), tuple(images), {"answer": "7"}))
        for sample, answer in enumerate(given):
            said = text.format(answer)
            key = f"{task}{id}{sample}"
            responses.append(Response(key, task, id, sample, said, "stop", 9, 0, 3, 0.1))
            correct = None if answer is None else answer == "7"
            how = "unparsed" if answer is None else "rule"
            own = ("all", *groups(id))
            verdicts.append(Verdict(task, id, sample, correct, answer, how, own, cluster(id)))
    for image in images:
        store_image(folder, image)
    write_lines(folder / "questions.jsonl", questions)
    write_lines(folder / "responses.jsonl", responses)
    write_lines(folder / "verdicts.jsonl", verdicts)
    write_json(folder / "run.json", card(folder.name, [task], len(answers), **changes))
    return folder


def bits(text: str):
    """`1101` → four questions with one answer each, right where there is a 1."""
    return {f"q{i}": ["7" if bit == "1" else "3"] for i, bit in enumerate(text)}
