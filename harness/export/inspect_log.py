"""A graded run → a log that Inspect View opens, without inspect_ai.

The layout is that of inspect_ai's `.eval` (version 2 of its log format): a zip of `header.json`,
`summaries.json` and `samples/<id>_epoch_<n>.json`. Pictures stand in the samples.
"""

import base64
import json
import math
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from common.files import replaced
from harness.runs.folder import image_path, read_questions
from harness.runs.log import read_responses
from harness.runs.schema import ELSEWHERE, Question, Response, TaskCard, Verdict
from harness.statistics.sides import Run, root

STOPS = {"stop": "stop", "length": "max_tokens", "error": "unknown"}
VALUES = {True: "C", False: "I", None: "N"}
"""Inspect's letters: correct, incorrect, no answer."""
MIME = {".png": "image/png", ".webp": "image/webp", ".gif": "image/gif"}


def write(run: Run, task: TaskCard, path: Path) -> None:
    """Write the log of one task of a run."""
    place = root(run.folder)
    questions = {q.id: q for q in read_questions(place) if q.task == task.name}
    verdicts = {(v.id, v.sample): v for v in run.verdicts.get((task.name, "all"), [])}
    responses = [one for one in read_responses(place) if one.task == task.name]
    ended = datetime.fromtimestamp((place / "run.json").stat().st_mtime, UTC)
    began = ended - timedelta(seconds=run.card.seconds)
    times = {"started_at": began.isoformat(), "completed_at": ended.isoformat()}
    summaries = []
    with replaced(path) as aside, zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as log:
        for response in responses:
            question = questions[response.id]
            sample = _sample(run, question, response, verdicts.get((response.id, response.sample)))
            shown = {"messages", "output", "input"}
            summaries.append(
                {name: value for name, value in sample.items() if name not in shown}
                | {"input": question.prompt[:1000], "completed": True}
            )
            name = f"samples/{response.id}_epoch_{response.sample + 1}.json"
            log.writestr(name, json.dumps(sample))
        log.writestr("summaries.json", json.dumps(summaries))
        log.writestr("header.json", json.dumps(_header(run, task, [*questions], responses, times)))


def _header(
    run: Run, task: TaskCard, ids: list[str], responses: list[Response], times: dict[str, str]
) -> dict[str, Any]:
    card = run.card
    cell = run.cells.get((task.name, "all"))
    metrics = {"accuracy": cell.score, "stderr": cell.stderr} if cell else {}
    usage = {
        "input_tokens": sum(one.tokens_in for one in responses),
        "output_tokens": sum(one.tokens_out for one in responses),
    }
    usage["total_tokens"] = usage["input_tokens"] + usage["output_tokens"]
    model = f"{card.engine}/{card.name}"
    known = card.engine != ELSEWHERE
    drawn = {
        "temperature": card.sampling.temperature,
        "max_tokens": task.max_tokens or None,
        "seed": card.sampling.seed,
    }
    return {
        "version": 2,
        "status": "success" if card.finished else "cancelled",
        "eval": {
            "eval_id": f"{card.fingerprint[:16]}-{task.name}",
            "run_id": card.fingerprint[:22],
            "task_id": task.name,
            "created": times["started_at"],
            "task": task.name,
            "task_version": task.version,
            "dataset": {"name": task.name, "samples": len(ids), "sample_ids": ids},
            "model": model,
            "model_args": {"checkpoint": card.checkpoint, "dtype": card.dtype},
            "config": {"epochs": card.sampling.n, "limit": card.limit},
            "packages": card.packages,
            "metadata": {"protocol": task.protocol, "scoring": task.scoring},
        },
        "plan": {
            "name": "plan",
            "steps": [],
            "config": drawn if known else {},
        },
        "results": {
            "total_samples": len(ids) * card.sampling.n,
            "completed_samples": len(responses),
            "scores": [
                {
                    "name": task.protocol,
                    "scorer": task.protocol,
                    "metrics": {
                        name: {"name": name, "value": value}
                        for name, value in metrics.items()
                        if math.isfinite(value)
                    },
                }
            ],
        },
        "stats": {**times, "model_usage": {model: usage} if known else {}},
    }


def _sample(
    run: Run, question: Question, response: Response, verdict: Verdict | None
) -> dict[str, Any]:
    model = f"{run.card.engine}/{run.card.name}"
    user = {"role": "user", "content": list(_content(run, question))}
    answer = {"role": "assistant", "content": response.text, "model": model}
    usage = {
        "input_tokens": response.tokens_in,
        "output_tokens": response.tokens_out,
        "total_tokens": response.tokens_in + response.tokens_out,
    }
    sample: dict[str, Any] = {
        "id": question.id,
        "epoch": response.sample + 1,
        "input": [user],
        "target": str(question.row.get("answer", "")),
        "messages": [user, answer],
        "output": {
            "model": model,
            "choices": [{"message": answer, "stop_reason": STOPS[response.finish]}],
            "completion": response.text,
            "usage": usage,
        },
        "scores": {},
        "metadata": {"groups": [g for g in verdict.groups if g != "all"] if verdict else []},
        "model_usage": {model: usage},
        "total_time": response.seconds,
    }
    if verdict:
        protocol = next(t.protocol for t in run.card.tasks if t.name == question.task)
        sample["scores"][protocol] = {
            "value": VALUES[verdict.correct],
            "answer": verdict.answer,
            "explanation": f"by {verdict.how}",
        }
    if response.finish == "error":
        told = response.reason
        sample["error"] = {"message": told, "traceback": "", "traceback_ansi": ""}
    return sample


def _content(run: Run, question: Question) -> Iterator[dict[str, str]]:
    """The prompt in Inspect's parts, each picture where the model saw it."""
    texts = question.prompt.split("<image>")
    for number, text in enumerate(texts):
        if text.strip():
            yield {"type": "text", "text": text}
        if number < min(len(texts) - 1, len(question.images)):
            yield _picture(image_path(root(run.folder), question.images[number]))


def _picture(path: Path) -> dict[str, str]:
    if not path.exists():
        return {"type": "text", "text": f"[the picture {path.name} is missing]"}
    data = base64.b64encode(path.read_bytes()).decode()
    kind = MIME.get(path.suffix, "image/jpeg")
    return {"type": "image", "image": f"data:{kind};base64,{data}"}
