"""We-Math: 525 problems of two or three steps, each asked whole and step by step; 1,740 questions.

Paper: Qiao et al. 2024, "We-Math: Does Your Large Multimodal Model Achieve Human-like Mathematical
Reasoning?", arXiv 2407.01284. Code: github.com/We-Math/We-Math at a57a0e83.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tasks import answers, files

Row = dict[str, Any]

TEMPLATE = (
    "Now, we require you to solve a multiple-choice math question.\n"
    "Please briefly describe your thought process and provide the final answer(option).\n"
    "Question: {question}\n"
    "Option: {option}\n"
    "Regarding the format, please answer following the template below, and be sure to include two "
    "<> symbols:\n"
    "<Thought process>:<<your thought process>>\n"
    "<Answer>:<<your option>>."
)
"""From a contributor's generator; the repository has no prompt of its own."""

PARTS = {"2steps": 3, "3steps": 4}
"""Kind of problem → its questions: each step, and the whole."""


def dataset(data: str | Path | None = None, **_: Any) -> dict[str, files.Rows]:
    """Return the rows of `<data>/rows.jsonl` whose benchmark is We-Math.

    The three or four questions of a problem share its `ID`, so `id` is `ID/key`.
    """
    found = files.benchmark_rows("wemath", data, "We-Math")
    return {"testmini": files.Rows({**row, "id": f"{row['ID']}/{row['key']}"} for row in found)}


def to_prompt(row: Row) -> str:
    """Return the picture and the template with question and options."""
    filled = TEMPLATE.format(question=row["question"], option=row["option"])
    return f"<image>{filled}"


def verdict(row: Row, text: str) -> tuple[str | None, bool | None]:
    """Compare the letter of the final answer with the true one."""
    final = answers.final(text)
    letter = None if final is None else answers.option_letter(final, "ABCDEFGH")
    return letter, None if letter is None else letter == row["answer"]


def groups(row: Row) -> tuple[str, ...]:
    """Return the number of steps that the question takes (S1, S2, S3) and its place, the key."""
    kind, place = row["key"].split("_")
    return (f"S{kind[0]}" if place == "multi" else "S1"), row["key"]


def cluster(row: Row) -> str:
    """Return the problem, whose steps and whole are questions each."""
    kind, _ = row["key"].split("_")
    return f"{kind} {row['ID'].split('_')[1]}"


def summary(graded: Iterable[tuple[Row, bool]]) -> dict[str, float]:
    """Return We-Math's four-dimensional metrics, as shares of the problems asked completely.

    A problem is insufficient knowledge (IK: not every step right, nor the whole), inadequate
    generalization (IG: every step right, the whole not), complete mastery (CM) or rote
    memorization (RM: the whole right without the steps). Strict CM wants every step right, loose
    CM one of them. Score = CM + IG / 2. `RM rate` is RM / (CM + RM), as the official script has it.

    Args:
        graded: Row, and whether it was answered right.

    Returns:
        Metric → value; empty when no problem was asked completely.
    """
    problems: dict[tuple[str, str], dict[str, bool]] = {}
    for row, right in graded:
        kind, place = row["key"].split("_")
        problems.setdefault((kind, row["ID"].split("_")[1]), {})[place] = right
    complete = [p for (kind, _), p in problems.items() if len(p) == PARTS[kind]]
    if not complete:
        return {}
    counts = dict.fromkeys(("IK", "IG", "CM strict", "RM strict", "CM loose", "RM loose"), 0)
    for parts in complete:
        whole = parts["multi"]
        steps = [right for place, right in parts.items() if place != "multi"]
        if whole:
            counts["CM strict" if all(steps) else "RM strict"] += 1
            counts["CM loose" if any(steps) else "RM loose"] += 1
        else:
            counts["IG" if all(steps) else "IK"] += 1
    n = len(complete)
    metrics = {name: count / n for name, count in counts.items()}
    for form in ("strict", "loose"):
        mastered, by_rote = counts[f"CM {form}"], counts[f"RM {form}"]
        metrics[f"score {form}"] = (mastered + counts["IG"] / 2) / n
        metrics[f"RM rate {form}"] = by_rote / (mastered + by_rote) if mastered + by_rote else 0.0
    return {"problems": n, **metrics}


def process_results(row: Row, results: list[str]) -> dict[str, float]:
    """Score for lm-eval: an answer that cannot be read counts 0."""
    return {"acc": float(verdict(row, results[0])[1] is True)}
