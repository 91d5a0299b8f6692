"""MathVista: questions about charts, geometry, tables and photographs; testmini 1,000, test 5,141.

Paper: Lu et al. 2024, "MathVista: Evaluating Mathematical Reasoning of Foundation Models in Visual
Contexts", arXiv 2310.02255. Code: github.com/lupantech/MathVista (CC BY-SA 4.0) at 53d52587, the
judge's text from evaluation/prompts/ext_ans.py as other projects quote it, from ece407d3;
VLMEvalKit (Apache-2.0) at cfa63b1d, its judge's text from vlmeval/dataset/utils/mathvista.py at
09818277.

The answers of `test` are not public: its verdicts stay unparsed, and scores come from the authors.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from tasks import published
from tasks.data import FOLDER, Row
from tasks.data.loading import loader
from tasks.data.local import questions
from tasks.grading import extract, vlmevalkit
from tasks.judging import UNPARSED, Judging, Reading, Request, metrics
from tasks.multiple_choice import listed, options
from tasks.published import Check, Pair, Record, Vectors

_HINTS = {
    "text": "Hint: Please answer the question and provide the correct option letter, e.g., A, B, "
    "C, D, at the end.",
    "integer": "Hint: Please answer the question requiring an integer answer and provide the final "
    "value, e.g., 1, 2, 3, at the end.",
    "float 1": "Hint: Please answer the question requiring a floating-point number with one "
    "decimal place and provide the final value, e.g., 1.2, 1.3, 1.4, at the end.",
    "float 2": "Hint: Please answer the question requiring a floating-point number with two "
    "decimal places and provide the final value, e.g., 1.23, 1.34, 1.45, at the end.",
    "list": "Hint: Please answer the question requiring a Python list as an answer and provide the "
    "final list, e.g., [1, 2, 3], [1.2, 1.3, 1.4], at the end.",
}


# Rows


def _row(row: Row) -> Row:
    kept = ("question", "unit", "precision", "answer", "question_type", "answer_type", "metadata")
    return {
        "id": row["pid"],
        **{field: row.get(field) for field in kept},
        "choices": row.get("choices") or None,
        "images": row.get("images") or ([row["image"]] if row.get("image") else None),
        FOLDER: row[FOLDER],
    }


dataset = loader(
    "mathvista",
    _row,
    ["question", "question_type", "answer_type", "answer", "metadata", "images"],
    questions(
        "mathvista", "mathvista_{split}.json", "data/{split}.json", "{split}.json", named="pid"
    ),
)


# Prompt


def to_prompt(row: Row) -> str:
    """Return picture, hint, question and choices, as data/query.json and the published results."""
    kind = row["answer_type"]
    if kind == "float":
        kind = f"float {int(row['precision'])}"
    unit = f" (Unit: {row['unit']})" if row["unit"] else ""
    lines = [_HINTS[kind], f"Question: {row['question']}{unit}"]
    if row["choices"]:
        lines += ["Choices:", listed(options(row), "({}) {}")]
    return "<image>" + "\n".join(lines).strip()


# The official scripts: evaluation/extract_answer.py and evaluation/calculate_score.py

_EXTRACT = """Please read the following example. Then extract the answer from the model response and type it at the end of the prompt.

Hint: Please answer the question requiring an integer answer and provide the final value, e.g., 1, 2, 3, at the end.
Question: Which number is missing?

Model response: The number missing in the sequence is 14.

Extracted answer: 14

Hint: Please answer the question requiring a floating-point number with one decimal place and provide the final value, e.g., 1.2, 1.3, 1.4, at the end.
Question: What is the fraction of females facing the camera?

Model response: The fraction of females facing the camera is 0.6, which means that six out of ten females in the group are facing the camera.

Extracted answer: 0.6

Hint: Please answer the question requiring a floating-point number with two decimal places and provide the final value, e.g., 1.23, 1.34, 1.45, at the end.
Question: How much money does Luca need to buy a sour apple candy and a butterscotch candy? (Unit: $)

Model response: Luca needs $1.45 to buy a sour apple candy and a butterscotch candy.

Extracted answer: 1.45

Hint: Please answer the question requiring a Python list as an answer and provide the final list, e.g., [1, 2, 3], [1.2, 1.3, 1.4], at the end.
Question: Between which two years does the line  graph saw its maximum peak?

Model response: The line graph saw its maximum peak between 2007 and 2008.

Extracted answer: [2007, 2008]

Hint: Please answer the question and provide the correct option letter, e.g., A, B, C, D, at the end.
Question: What fraction of the shape is blue?
Choices:
(A) 3/11
(B) 8/11
(C) 6/11
(D) 3/5

Model response: The correct answer is (B) 8/11.

Extracted answer: B"""  # noqa: E501


def official(row: Row, text: str) -> Judging:
    """Take the response itself where it is a bare answer, else what the judge extracts; compare."""
    said = "" if text == "" else _bare(row, text)
    if said is None:
        said = yield _request(row, text)
    return score(row, said)


def official_2023(row: Row, text: str) -> Judging:
    """Do as `official`, by the rules of the published score files.

    An integer must be written as one ("18.0" is none), and the judge was asked about empty
    responses too.
    """
    said = _bare(row, text)
    if said is None:
        said = yield _request(row, text)
    return score(row, said, legacy=True)


def _bare(row: Row, text: str) -> str | None:
    if row["question_type"] == "multi_choice" and text in row["choices"]:
        return text
    try:
        if row["answer_type"] == "integer":
            return str(int(text))
        if row["answer_type"] == "float":
            return str(float(text))
    except ValueError:
        pass
    return None


def _request(row: Row, text: str) -> Request:
    query = to_prompt(row).removeprefix("<image>")
    return Request(f"{_EXTRACT}\n\n{query}\n\n{text}\n\nExtracted answer: ", max_tokens=256)


def score(row: Row, extraction: str, legacy: bool = False) -> Reading:
    """Normalise an extracted answer as the script does, and compare it with the answer as text.

    Args:
        row: Of the benchmark.
        extraction: What the judge extracted.
        legacy: By the integer rule of the published score files.
    """
    said = normal(row, extraction, legacy)
    return said, said == row["answer"] if row["answer"] else None


def normal(row: Row, extraction: str, legacy: bool = False) -> str | None:
    """Return the choice, or the number in one spelling; None where it is no number.

    A letter in parentheses, or alone, names a choice; any other text is the choice at the smallest
    edit distance, so that a refusal, too, is some choice.
    """
    if row["question_type"] == "multi_choice":
        said = extraction.strip()
        if letter := re.search(r"\(([a-zA-Z])\)", said):
            said = letter[1].upper()
        choices = options(row)
        return choices[said] if said in choices else _nearest(said, row["choices"])
    try:
        if row["answer_type"] == "integer":
            return str(int(extraction) if legacy else int(float(extraction)))
        if row["answer_type"] == "float":
            return str(round(float(extraction), int(row["precision"])))
    except (ValueError, OverflowError):
        return None
    return extraction


LONGEST = 20_000
"""Characters of a text that are compared with the choices; all above would add the same to each."""


def _nearest(said: str, choices: list[str]) -> str:
    return min(choices, key=lambda choice: distance(choice, said[:LONGEST]))


def distance(a: str, b: str) -> int:
    """Return the edit distance of Levenshtein, in bits of one number a row (Myers 1999).

    >>> distance("kitten", "sitting"), distance("", "abc"), distance("abc", "")
    (3, 3, 3)
    """
    if not b:
        return len(a)
    size = len(b)
    full, top = (1 << size) - 1, 1 << (size - 1)
    reverse = b[::-1]
    where = {sign: int("".join("01"[x == sign] for x in reverse), 2) for sign in set(a)}
    up, down, found = full, 0, size
    for sign in a:
        match = where[sign]
        diagonal = (((match & up) + up) ^ up) | match | down
        right = down | ~(diagonal | up) & full
        left = diagonal & up
        found += bool(right & top) - bool(left & top)
        right = right << 1 | 1
        left = left << 1
        up = (left | ~(diagonal | right)) & full
        down = right & diagonal & full
    return found


# VLMEvalKit: vlmeval/dataset/utils/mathvista.py

_JUDGE_HINTS = tuple(
    re.sub(r"(value|list), e\.g\.", r"\1,\ne.g.", _HINTS[kind])
    for kind in ("integer", "float 1", "float 2", "list", "text")
)


def by_vlmevalkit(row: Row, text: str, *, head: bool = False) -> Judging:
    """Match the response, else what the judge extracts from it."""
    said = prefetch(row, text, head=head)
    if said is None or said in ("0", "0.0"):  # a right zero is false, and so goes to the judge
        query = to_prompt(row).removeprefix("<image>")
        prompt = vlmevalkit.extraction_prompt(_JUDGE_HINTS, query, text)
        said = yield from vlmevalkit.extract(prompt)
        if said is None:
            return UNPARSED
    return said, hit(row, said, head=head) if row["answer"] else None


def prefetch(row: Row, text: str, *, head: bool = False) -> str | None:
    """Return what VLMEvalKit reads without a judge: any option, a number only if it is right."""
    if row["question_type"] == "multi_choice":
        return vlmevalkit.can_infer(text, options(row), head=head)
    return str(_number(row["answer_type"], text)) if hit(row, text) else None


def hit(row: Row, said: str, *, head: bool = False) -> bool:
    """Whether an extracted answer is right: the option's letter; the number, exactly; no list."""
    if row["question_type"] == "multi_choice":
        letter = vlmevalkit.can_infer(said, options(row), head=head)
        right = [name for name, text in options(row).items() if text == row["answer"]]
        return letter in right[:1]  # the first, should two choices be the same
    number = _number(row["answer_type"], said)
    return number is not None and number == _number(row["answer_type"], row["answer"])


def _number(kind: str, text: str) -> int | float | None:
    try:
        return {"integer": int, "float": float}[kind](text)
    except (KeyError, ValueError):
        return None


# Our own reading


def robust(row: Row, text: str) -> Reading:
    """Read a letter or a choice's text; a number to the asked precision, or a list."""
    if row["question_type"] == "multi_choice":
        letter = extract.read_choice(text, options(row))
        if letter is None:
            return UNPARSED
        return letter, options(row).get(letter) == row["answer"] if row["answer"] else None
    precision = None if row["precision"] is None else int(row["precision"])
    return extract.read_value(text, row["answer"], unit=row["unit"], precision=precision)


_SHORT = {
    "figure question answering": "FQA",
    "geometry problem solving": "GPS",
    "math word problem": "MWP",
    "textbook question answering": "TQA",
    "visual question answering": "VQA",
    "algebraic reasoning": "ALG",
    "arithmetic reasoning": "ARI",
    "geometry reasoning": "GEO",
    "logical reasoning": "LOG",
    "numeric commonsense": "NUM",
    "scientific reasoning": "SCI",
    "statistical reasoning": "STA",
}


def groups(row: Row) -> tuple[str, ...]:
    """Return all breakdowns of calculate_score.py; a row counts in every skill that it lists."""
    about = row["metadata"]
    parts = [f"task: {_SHORT.get(about['task'], about['task'])}"]
    parts += [f"skill: {_SHORT.get(skill, skill)}" for skill in about["skills"]]
    parts += [f"question type: {row['question_type']}", f"answer type: {row['answer_type']}"]
    fields = ("category", "context", "grade", "language", "source")
    return (*parts, *(f"{field}: {about[field]}" for field in fields))


process_results = metrics(acc=robust)


# Published outputs


def checks(entry: Record) -> list[Check]:
    """Check both integer rules and VLMEvalKit's, from the published extraction.

    The scripts' own shortcuts are passed by: some files hold an extraction of an empty response.
    """
    legacy = "legacy" in entry.get("integer_rule_of_published_verdicts", "")
    return [
        Check("official", _scored("official", legacy), published.counter(_score_names)),
        Check("official, now", _scored("current_code", False), published.no_scores),
        Check("vlmevalkit, rules", _prefetched("2025")),
        Check("vlmevalkit, rules of 2026", _prefetched("head")),
        Check("vlmevalkit, same extraction", _hit("2025"), published.no_scores),
        Check("vlmevalkit, same extraction, 2026", _hit("head"), published.no_scores),
    ]


def _scored(whose: str, legacy: bool) -> Callable[[Record], Pair]:
    def pair(record: Record) -> Pair:
        found = score(record, record["official_extraction"] or "", legacy)
        return found, (record[f"{whose}_prediction"], record[f"{whose}_verdict"])

    return pair


def _prefetched(version: str) -> Callable[[Record], Pair | None]:
    def pair(record: Record) -> Pair | None:
        expected = published.of(record["vlmevalkit"], version)["prefetch"]
        found = prefetch(record, record["response"] or "", head=version == "head")
        return _unless_error(found or "False", str(expected))

    return pair


def _hit(version: str) -> Callable[[Record], Pair | None]:
    def pair(record: Record) -> Pair | None:
        expected = published.of(record["vlmevalkit"], version)["hit_given_official_extraction"]
        extraction = record["official_extraction"] or ""
        return _unless_error(hit(record, extraction, head=version == "head"), expected)

    return pair


def _unless_error(found: Any, expected: Any) -> Pair | None:
    """Return nothing to compare where VLMEvalKit's own code breaks."""
    return None if str(expected).startswith("ERR:") else (found, expected)


_FIELDS = {"skill": "skills", "question type": "question_type", "answer type": "answer_type"}
_LONG = {short: long for long, short in _SHORT.items()}


def _score_names(record: Record) -> Iterator[str]:
    yield "average"
    for group in groups(record):
        kind, _, value = group.partition(": ")
        long = _LONG.get(value, value) if kind in ("task", "skill") else value
        yield f"{_FIELDS.get(kind, kind)}/{long}"


def _normalised(vector: Record, legacy: bool) -> str | None:
    return normal({"metadata": {}, **vector}, vector["extraction"], legacy)


VECTORS: Vectors = {
    ("mathvista.normalize", "out_current"): lambda vector: _normalised(vector, False),
    ("mathvista.normalize", "out_legacy_2023"): lambda vector: _normalised(vector, True),
}
