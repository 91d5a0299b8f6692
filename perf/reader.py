"""How the robust reader reads answers beside the readers of others, on a table with right verdicts.

    python perf/reader.py tests/data/answers.jsonl --peers VENV/lib/python3.11/site-packages

A line of the table is `task`, `row`, `response` and `expected` (true, false, null); or one of the
project's own, `text` and `want` with `options` (a letter is wanted) or `truth`. math-verify and
lmms-eval (`extract_mcq_answer`) are read from the folder where they are installed; VLMEvalKit's
rule without a judge is ours after its own (`can_infer`, equal to it on all published vectors).
They have no notion of "unparsed but maybe right": an answer that they do not find counts as null.
"""

import argparse
import importlib.util
import json
import statistics
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tasks
from tasks.grading.vlmevalkit import can_infer, lettered

Row = dict[str, Any]
LETTERS = "ABCDEFGHI"


def as_case(row: Row) -> Row:
    """Return a row of our own table in the form of the others, as a task that asks for the same."""
    if "text" not in row:
        return row
    task, expected = row.get("task", "mathvista"), row["want"]
    if "task" in row:
        asked = row["row"]
    elif "options" in row:
        asked = {"answer": row["want"] or "A", "choices": row["options"], "question": "?"}
        task, expected = "mmmu_pro_standard", True if row["want"] else None
    else:
        asked = {
            "answer": row["truth"],
            "choices": None,
            "question_type": "free_form",
            "answer_type": "text",
        }
        asked |= {name: row.get(name) for name in ("unit", "precision")}
    return {"task": task, "row": asked, "response": row["text"], "expected": expected}


def choices_of(case: Row) -> dict[str, str] | None:
    """Return the options of a case that asks for one letter; None where it asks for a value."""
    if case["task"] == "logicvista":
        return dict.fromkeys(LETTERS, "") if len(case["row"]["answer"]) == 1 else None
    choices = case["row"].get("choices")
    return lettered(list(map(str, choices))) if choices else None


def is_value(case: Row) -> bool:
    """Whether a case asks for a number, a list or a formula."""
    answer = case["row"].get("answer")
    free = case["task"] in ("math500", "gsm8k") or not case["row"].get("choices", True)
    return free and isinstance(answer, str)


def right_letter(case: Row, choices: dict[str, str]) -> str:
    """Return the letter of the true option, which some tasks give by its text."""
    answer = case["row"]["answer"]
    return next((letter for letter, text in choices.items() if text == answer), answer)


def letters(read: Callable[[str, dict[str, str]], str | None]) -> Callable[[Row], bool | None]:
    """Make a judge of a function from a response and options to a letter."""

    def judge(case: Row) -> bool | None:
        choices = choices_of(case)
        assert choices is not None
        said = read(case["response"], choices)
        return said == right_letter(case, choices) if said else None

    return judge


def ours(case: Row) -> bool | None:
    """Judge by the protocol `robust`."""
    return tasks.load(case["task"]).verdict(case["row"], case["response"])[1]


def lmms_eval(packages: Path) -> Callable[[Row], bool | None]:
    """Judge by lmms-eval's reader of letters."""
    module = _file(packages / "lmms_eval/tasks/_task_utils/mcq_extract.py")
    return letters(lambda text, choices: module.extract_mcq_answer(text, list(choices)))


def vlmevalkit(_: Path) -> Callable[[Row], bool | None]:
    """Judge by VLMEvalKit's option matcher."""
    return letters(lambda text, choices: can_infer(text, choices))


def math_verify(packages: Path) -> Callable[[Row], bool | None]:
    """Judge by math-verify, as its page shows it."""
    if not (packages / "math_verify").is_dir():
        raise FileNotFoundError
    sys.path.append(str(packages))
    from math_verify import parse, verify

    def judge(case: Row) -> bool | None:
        said = parse(case["response"])
        return verify(parse(f"${case['row']['answer']}$"), said) if said else None

    return judge


def _file(path: Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def line(name: str, judge: Callable[[Row], bool | None], cases: list[Row]) -> str:
    """Return one line of the table."""
    agree = credited = missed = 0
    seconds = []
    for case in cases:
        began = time.perf_counter()
        try:
            found = judge(case)
        except Exception:  # a peer that breaks has no verdict
            found = None
        seconds.append(time.perf_counter() - began)
        agree += found == case["expected"]
        credited += found is True and case["expected"] is not True
        missed += found is not True and case["expected"] is True
    share = f"{agree} of {len(cases)} ({100 * agree / len(cases):.1f} %)"
    middle = f"{1000 * statistics.median(seconds):.2f}"
    return f"| {name} | {share} | {credited} | {missed} | {middle} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--peers", type=Path, help="folder where the readers of others lie")
    given = parser.parse_args()
    lines = given.table.read_text(encoding="utf-8").splitlines()
    cases = [as_case(json.loads(one)) for one in lines]
    kinds = {
        "letters": [case for case in cases if choices_of(case)],
        "values": [case for case in cases if not choices_of(case) and is_value(case)],
        "all": cases,
    }
    peers = [("letters", "lmms-eval", lmms_eval), ("letters", "VLMEvalKit, rule", vlmevalkit)]
    print("| reader | agree | credited wrongly | right, not credited | median ms |")
    print("|---|---|---|---|---|")
    for kind, some in kinds.items():
        print(line(f"driftbench, {kind}", ours, some))
        found = [*peers, ("values", "math-verify", math_verify)] if given.peers else []
        for of, name, make in found:
            if of != kind:
                continue
            try:
                print(line(f"{name}, {kind}", make(given.peers), some))
            except (ImportError, OSError):
                print(f"| {name}, {kind} | not installed there | | | |")


if __name__ == "__main__":
    main()
