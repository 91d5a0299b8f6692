"""MATH-Vision: 3,040 competition problems with a picture each, in 16 subjects and 5 levels.

Paper: Wang et al. 2024, "Measuring Multimodal Mathematical Reasoning with MATH-Vision Dataset",
arXiv 2402.14804. Code: github.com/mathllm/MATH-V at a1f5cc3a.
"""

from pathlib import Path
from typing import Any

from tasks import answers, files

Row = dict[str, Any]

REQUEST = (
    'Please solve the problem step by step and put your answer in one "\\boxed{}". '
    'If it is a multiple choice question, only one letter is allowed in the "\\boxed{}".\n'
)
"""MATH-V models/Qwen-VL.py and models/GPT4.py, the chain-of-thought form."""


def dataset(data: str | Path | None = None, **_: Any) -> dict[str, files.Rows]:
    """Return the rows of `<data>/rows.jsonl` whose benchmark is MATH-V."""
    return {"test": files.Rows(files.benchmark_rows("mathvision", data, "MATH-V"))}


def to_prompt(row: Row) -> str:
    """Return the picture, the request, the question, and the options unless they are bare letters.

    The `<image1>` tags of the question stay in it, as in the official script.
    """
    options = row["options"]
    listed = "" if options == list("ABCDE") else _listed(options)
    return f"<image>{REQUEST}{row['question']}\n{listed}"


def _listed(options: list[str]) -> str:
    return "".join(f"({letter}) {text}\n" for letter, text in zip("ABCDE", options, strict=False))


def verdict(row: Row, text: str) -> tuple[str | None, bool | None]:
    """Compare the final answer: by letter or option text; by value where there are no options."""
    final = answers.final(text)
    if final is None:
        return None, None
    return _chosen(row, final) if row["options"] else _computed(row["answer"], final)


def _chosen(row: Row, final: str) -> tuple[str | None, bool | None]:
    letter = answers.option_letter(final, "ABCDE")
    if letter is None:
        named = [
            letter
            for letter, option in zip("ABCDE", row["options"], strict=False)
            if answers.same_value(option, final)
        ]
        letter = named[0] if len(named) == 1 else None
    return letter, None if letter is None else letter == row["answer"]


def _computed(truth: str, final: str) -> tuple[str | None, bool | None]:
    truth = answers.boxed(truth) or truth  # four rows carry their answer boxed
    if answers.same_value(truth, final):
        return final, True
    if answers.number(truth) is not None and answers.number(final) is None:
        return None, None
    return final, False


def groups(row: Row) -> tuple[str, ...]:
    """Return subject and level."""
    return row["subject"], f"level {row['level']}"


def process_results(row: Row, results: list[str]) -> dict[str, float]:
    """Score for lm-eval: an answer that cannot be read counts 0."""
    return {"acc": float(verdict(row, results[0])[1] is True)}
