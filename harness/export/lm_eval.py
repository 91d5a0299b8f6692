"""A graded run → results.json as lm-eval 0.4.13 writes it (`simple_evaluate`, `make_table`)."""

import json
import math
from typing import Any

from harness.runs.schema import ELSEWHERE, RunCard
from harness.statistics.sides import Run


def results(run: Run) -> str:
    """Return the run as a `results.json`; a filter is named by the protocol."""
    card = run.card
    content: dict[str, Any] = {
        "results": {},
        "group_subtasks": {},
        "configs": {},
        "versions": {},
        "n-shot": {},
        "higher_is_better": {},
        "n-samples": {},
    }
    for task in card.tasks:
        if (cell := run.cells.get((task.name, "all"))) is None:
            continue
        error = "N/A" if math.isnan(cell.stderr) else cell.stderr
        content["results"][task.name] = {
            "alias": task.name,
            f"acc,{task.protocol}": cell.score,
            f"acc_stderr,{task.protocol}": error,
            **_counts(run, task.name, task.protocol),
        }
        content["group_subtasks"][task.name] = []
        content["versions"][task.name] = task.version
        content["n-shot"][task.name] = 0
        content["higher_is_better"][task.name] = {"acc": True}
        content["n-samples"][task.name] = {"original": task.whole or task.n, "effective": cell.n}
        content["configs"][task.name] = {
            "task": task.name,
            "metadata": {"version": task.version, "revision": task.commit or task.revision},
            "description": task.scoring,
        }
        if card.engine != ELSEWHERE:
            content["configs"][task.name]["generation_kwargs"] = {"max_gen_toks": task.max_tokens}
    content["config"] = {"model": card.engine, "model_args": {"pretrained": card.checkpoint}}
    if card.engine != ELSEWHERE:
        content["config"] |= _how(card)
        content["total_evaluation_time_seconds"] = str(card.seconds)
    content |= {"git_hash": card.git, "model_name": card.checkpoint, "model_source": card.engine}
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _how(card: RunCard) -> dict[str, Any]:
    """How the model was asked, in lm-eval's words."""
    sampling = card.sampling
    return {
        "model_args": {"pretrained": card.checkpoint, "dtype": card.dtype},
        "gen_kwargs": {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "presence_penalty": sampling.presence_penalty,
        },
        "random_seed": sampling.seed,
        "limit": card.limit,
        "device": card.device,
    }


def _counts(run: Run, task: str, protocol: str) -> dict[str, int]:
    """What an accuracy hides, as metrics of their own."""
    cell = run.cells[task, "all"]
    named = {"unparsed": cell.unparsed, "truncated": cell.truncated, "errors": cell.error}
    return {f"{name},{protocol}": count for name, count in named.items()}
