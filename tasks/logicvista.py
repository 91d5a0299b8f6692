"""LogicVista: 448 questions of logical reasoning, the options inside the picture, in five skills.

Paper: Xiao et al. 2024, "LogicVista: Multimodal LLM Logical Reasoning Benchmark in Visual
Contexts", arXiv 2407.04973. Code: github.com/Yijia-Xiao/LogicVista at e5795f17.

Row v1_382 has neither question nor answer. It is asked, as the official script does, and nothing
that a model says to it is right, so that scores keep the official 448 as denominator.
"""

import re
from pathlib import Path
from typing import Any

from tasks import answers, files

Row = dict[str, Any]

EXAMPLES = (
    "Your response should only contain letters/numbers, do not add extra explaination. "
    "These are some examples of how to format your output:\n"
    "question: what is 1 + 9? A) 4 B) 123 C) 10 D) 3\n"
    "answer: C\n"
    "\n"
    "question: What is the next logical choice based on the image? Select from A-D\n"
    "answer: A\n"
    "\n"
    "question: Which of the boxes comes next in the sequence? Select from A, B, C, D, and E. "
    "(A) A (B) B (C) C (D) D (E) E \n"
    "answer: B\n"
    "\n"
    "Now answer the following in the same style based off the provided image:\n"
)
"""As in the official answers, misspelling and blank at a line's end included."""


def dataset(data: str | Path | None = None, **_: Any) -> dict[str, files.Rows]:
    """Return the rows of `<data>/rows.jsonl` whose benchmark is LogicVista."""
    return {"test": files.Rows(files.benchmark_rows("logicvista", data, "LogicVista"))}


def to_prompt(row: Row) -> str:
    """Return the picture, the examples and the question; the prompt ends with `answer: `."""
    return f"<image>{EXAMPLES}question: {row['question']}\nanswer: "


def verdict(row: Row, text: str) -> tuple[str | None, bool | None]:
    """Compare the set of letters (or the number) of the final answer with the true one."""
    final = answers.final(text)
    if final is None:
        return None, None
    said = [_symbol(part) for part in re.split(r",|;|&|\band\b", final)]
    if None in said:
        said = [_symbol(final)]
    if None in said:
        return None, None
    read = sorted(part for part in said if part)
    return ", ".join(read), read == sorted(row["answer"].split(", "))


def _symbol(text: str) -> str | None:
    letter = answers.option_letter(text, "ABCDEFGHIJ")
    value = answers.number(text)
    return letter if value is None else str(value)


def groups(row: Row) -> tuple[str, ...]:
    """Return the skill: inductive, deductive, numerical, spatial or mechanical."""
    return tuple(row["skill"])


def process_results(row: Row, results: list[str]) -> dict[str, float]:
    """Score for lm-eval: an answer that cannot be read counts 0."""
    return {"acc": float(verdict(row, results[0])[1] is True)}
