"""DynaMath: 501 questions about pictures, each in ten variants: 5,010 rows.

Paper: Zou et al. 2024, "DynaMath: A Dynamic Visual Benchmark for Evaluating Mathematical Reasoning
Robustness of Vision Language Models", arXiv 2411.00836. Code: github.com/DynaMath/DynaMath at
598c3c3d, evaluation/opensource_json_eval.py (prompt and rules); VLMEvalKit (Apache-2.0) at
cfa63b1d, vlmeval/dataset/dynamath.py, the same at e8e78f05.

A question counts for the worst case if all ten variants are right, for the best if one is;
robustness is worst / average.
"""

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tasks import multiple_choice, published
from tasks.data import FOLDER, Data, Row, Source, hub, local
from tasks.data.loading import loader
from tasks.grading import extract
from tasks.grading.places import LONGEST
from tasks.grading.thought import after_thinking
from tasks.judging import UNPARSED, Judging, Reading, Request, metrics
from tasks.published import Check, Record

VARIANTS = 10

TOLERANCE = 0.001

GUIDE = (
    "\n## Answer Instruction Please provide an answer to the question outlined above. Your "
    "response should adhere \n"
    "to the following JSON format, which includes two keys: 'solution' and 'short answer'. The "
    "'solution' key can contain \n"
    "detailed steps needed to solve the question, and the 'short answer' key should provide a "
    "concise response. {}\n\n"
    "Example of expected JSON response format:\n\n"
    '{{\n    "solution": "[Detailed step-by-step explanation]",\n'
    '    "short answer": "[Concise Answer]"\n}}'
)

_CONCISE = (
    "If the problem is a multiple choice problem, just provide the corresponing choice option, \n"
    "such as 'A', 'B', 'C', or 'D'. If the answer is a numerical value, format it as a three-digit "
    "floating-point number."
)

_INSTRUCTION_VLMEVALKIT = {
    "multiple choice": "Provide the corresponing choice option in the 'short answer' key, such as "
    "'A', 'B', 'C', or 'D'.",
    "float": "Format the answer as a three-digit floating-point number and provide it in the "
    "'short answer' key.",
    "text": "Float numbers in the answer should be formatted as three-digit floating-point "
    "numbers.",
}


# Rows


def _own(data: Data, source: Source) -> Iterator[Row]:
    """Return the rows of every variant: the repository's ten files, or the hub's ten splits."""
    names = "samples and result/10trials/trial{}/dataset.json", "10trials/trial{}/dataset.json"
    trials = [str(number) for number in range(1, VARIANTS + 1)]
    paths = local.find_all("dynamath", data, trials, *names, "trial{}/dataset.json")
    return _of_splits(data, source) if paths is None else _of_trials(paths)


def _of_splits(data: Data, source: Source) -> Iterator[Row]:
    for variant, split in enumerate(source.split.split("+"), start=1):
        saved = f"sample_variant{variant}"  # the hub's split; its files are named otherwise
        split = saved if data is not None and (Path(data) / saved).is_dir() else split
        for row in hub.rows("dynamath", replace(source, split=split), data):
            yield {**row, "variant": variant}


def _of_trials(paths: Mapping[str, Path]) -> Iterator[Row]:
    for variant, path in paths.items():
        for number, row in local.read_json(path).items():
            of_hub = {"ground_truth": row["answer"], "knowledge_level": row["level"]}
            where = {"images": [row["image"]], FOLDER: str(path.parent)}
            yield {**row, "id": number, "variant": int(variant), **of_hub, **where}


def _row(row: Row) -> Row:
    return {
        "id": f"{row['id']}/{row['variant']}",
        "question": row["question"],
        "answer": row["ground_truth"],
        "answer_type": row["answer_type"],
        "metadata": {"question": str(row["id"]), "variant": row["variant"],
                     "subject": row["subject"], "level": row["knowledge_level"]},
        "images": row["images"] or None,
        FOLDER: row[FOLDER],
    }  # fmt: skip


dataset = loader("dynamath", _row, ["question", "answer", "answer_type", "images"], _own)


_LABEL = re.compile(r"\(([A-F])\)|^([A-F])[.:]", re.MULTILINE)


def options(question: str) -> dict[str, str]:
    r"""Return the options that stand in a question, the last list of them.

    >>> options("Which? Choices: (A) yes (B) no"), options("Which?\nA: [1, 2]\nB: [3]\n")
    ({'A': 'yes', 'B': 'no'}, {'A': '[1, 2]', 'B': '[3]'})
    """
    labels: list[re.Match[str]] = []
    for label in _LABEL.finditer(question):
        letter = label[1] or label[2]
        if letter == "A":
            labels = [label]
        elif labels and letter == chr(ord("A") + len(labels)):
            labels.append(label)
    ends = [label.start() for label in labels[1:]] + [len(question)]
    return {
        label[1] or label[2]: question[label.end() : end].strip()
        for label, end in zip(labels, ends, strict=False)
    }


# Prompts


def to_prompt(row: Row) -> str:
    """Return question, guide and example: the runner of open models. No blank joins the request."""
    request = "Please answer in a floating-point number." if row["answer_type"] == "float" else ""
    return f"<image>## Question\n{row['question']}{request}{GUIDE.format(_CONCISE)}"


def to_prompt_vlmevalkit(row: Row) -> str:
    """Return VLMEvalKit's prompt, whose guide depends on the kind of answer (`DynaMath`)."""
    guide = GUIDE.replace(" \n", " ").format(_INSTRUCTION_VLMEVALKIT[row["answer_type"]])
    return f"<image>## Question\n {row['question']}{guide}"


# The official script


def official(row: Row, text: str) -> Reading:
    """Read the short answer of the JSON; a number within 0.001, a letter at the start, a word."""
    said = _short_answer(text)
    return said, said is not None and _is_right(row["answer_type"], row["answer"], said)


def _short_answer(text: str) -> str | None:
    """Return the short answer, without JSON the last line but its last sign; None breaks off."""
    found = _braced(text)
    try:
        reply = json.loads(found, strict=False)
    except (ValueError, RecursionError):
        return found.split("\n")[-1][:-1]
    return str(reply.get("short answer")) if isinstance(reply, dict) else None


def _braced(text: str) -> str:
    r"""Return what the outermost braces hold, without any backslash; else the whole text.

    >>> _braced(r'So: {"short answer": "\frac{1}{2}"}. '), _braced("{ 3")
    ('{"short answer": "frac{1}{2}"}', '{ 3')
    """
    start, end = text.find("{"), text.rfind("}")
    return text[start : end + 1].replace("\\", "") if 0 <= start < end else text


def _is_right(kind: str, truth: str, said: str) -> bool:
    if kind == "float":
        number = _number(said)
        return number is not None and abs(number - float(truth)) <= TOLERANCE
    if kind == "multiple choice":
        return said == truth if len(said) == 1 else truth in said[:3]
    return truth in said


def _number(text: str) -> float | None:
    """Return the number before the first blank, times π where its sign follows."""
    try:
        if text.isdigit():
            return float(text)
        before, pi, _ = text.split(" ")[0].partition("π")
        return float(before) * (math.pi if pi else 1)
    except ValueError:
        return None


# VLMEvalKit: vlmeval/dataset/dynamath.py

_SYSTEM = (
    "You are a helpful assistant that helps me to format free-form answers into a short answer "
    "according to the instruction.\n"
)

_FORMAT = {
    "multiple choice": "Output the corresponing choice option, such as 'A', 'B', 'C', 'D', in a "
    "single line.",
    "float": "Output a three-digit floating-point number in a single line.",
}


def by_vlmevalkit(row: Row, text: str) -> Judging:
    """Read the short answer of the JSON, else the whole response, else the judge's line.

    A text is right if it is contained in the truth, an empty one too.
    """
    kind, truth = row["answer_type"], row["answer"]
    plain = _braced(text).replace("\\", "")
    found = _json_value(plain)
    if kind == "text" and found is not None and not isinstance(found, str):
        return UNPARSED  # where VLMEvalKit breaks
    said = _read(kind, found) if isinstance(found, str) else None
    said = _read(kind, plain) if said is None else said
    if said is None:
        prompt = f"Free-form answer: {plain}\nInstruction: {_FORMAT[kind]}"
        said = _read(kind, (yield Request(prompt, system=_SYSTEM)))
    if kind == "float":
        return said, said is not None and abs(float(said) - float(truth)) <= TOLERANCE
    if kind == "multiple choice":
        return said, said == truth if said is not None else truth in plain[:3].upper()
    return said, said is not None and said.lower() in truth.lower()


def _json_value(text: str) -> Any:
    try:
        found = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None
    return found.get("short answer") if isinstance(found, dict) else None


def _read(kind: str, text: str) -> str | None:
    if kind == "float":
        number = _number(text)
        return None if number is None else str(number)
    if kind == "text":
        return text
    if len(text) == 1:
        return text.upper()
    named = [letter for letter in "ABCDE" if letter in text.upper()]
    return named[0] if len(named) == 1 else None


# Our own reading

_SHORT = re.compile(r'"short answer"\s*:\s*(?:"((?:[^"\\]|\\.)*)"|([^,}\n]+))', re.IGNORECASE)


def robust(row: Row, text: str) -> Reading:
    """Read the short answer, else the whole response: a letter or an option's text; a value.

    A number whose truth has more decimals need be right to the three that are asked for.
    """
    spoken = after_thinking(text)
    if spoken is not None and (found := list(_SHORT.finditer(spoken[-LONGEST:]))):
        said = found[-1][1] if found[-1][1] is not None else found[-1][2]
        text = said.replace('\\"', '"').replace("\\\\", "\\").strip()
    if row["answer_type"] == "multiple choice":
        return multiple_choice.read(options(row["question"]), row["answer"], text)
    is_finer = re.fullmatch(r"-?\d*\.\d{4,}", row["answer"])
    return extract.read_value(text, row["answer"], precision=3 if is_finer else None)


def groups(row: Row) -> tuple[str, ...]:
    """Return subject, level and the kind of answer."""
    about = row["metadata"]
    kind = f"answer: {row['answer_type']}"
    return f"subject: {about['subject']}", f"level: {about['level']}", kind


def cluster(row: Row) -> str:
    """Return the question, of which the row is a variant."""
    return row["metadata"]["question"]


def summary(graded: Iterable[tuple[Row, bool]]) -> dict[str, float]:
    """Return average, worst and best case and robustness, and the worst case of each group.

    Only questions count of which all variants were asked; empty if there is none.
    """
    by_question: dict[str, list[bool]] = defaultdict(list)
    rows: dict[str, Row] = {}
    for row, right in graded:
        by_question[cluster(row)].append(right)
        rows[cluster(row)] = row
    whole = {name: found for name, found in by_question.items() if len(found) == VARIANTS}
    if not whole:
        return {}
    by_group: dict[str, list[list[bool]]] = defaultdict(list)
    for name, found in whole.items():
        for group in groups(rows[name]):
            by_group[group].append(found)
    worst = {f"worst {group}": cases(found)["worst"] for group, found in by_group.items()}
    return {"questions": len(whole), **cases(list(whole.values())), **worst}


def cases(questions: list[list[bool]]) -> dict[str, float]:
    """Return average, worst and best case, and worst / average, of questions by their variants.

    >>> cases([[True, True], [True, False], [False, False], [True, True]])
    {'average': 0.625, 'worst': 0.5, 'best': 0.75, 'robustness': 0.8}
    """
    n = len(questions)
    average = sum(map(sum, questions)) / sum(map(len, questions))
    worst = sum(map(all, questions)) / n
    robustness = worst / average if average else 0.0
    best = sum(map(any, questions)) / n
    return {"average": average, "worst": worst, "best": best, "robustness": robustness}


process_results = metrics(acc=robust, acc_official=official)


# Published outputs


def checks(_: Record) -> list[Check]:
    """Check the metrics, from the verdicts on each variant; no responses are published."""
    return [Check("official", None, _scores)]


def _scores(graded: published.Graded) -> dict[str, float]:
    found: dict[str, list[list[bool]]] = defaultdict(list)
    for record, _ in graded:
        about = record["metadata"]
        for part in ("overall", f"level:{about['level']}", f"subject:{about['subject']}"):
            found[f"{record['model']}/{part}"].append(record["official_verdict_by_variant"])
    scores: dict[str, float] = {}
    for name, questions in found.items():
        made = cases(questions)
        scores |= {f"{name}/{case}": 100 * made[case] for case in ("average", "worst", "best")}
        scores[f"{name}/rr"] = made["robustness"]
        scores[f"{name}/questions"] = len(questions)
        scores[f"{name}/correct"] = sum(map(sum, questions))
        scores[f"{name}/worst_count"] = sum(map(all, questions))
    return scores
