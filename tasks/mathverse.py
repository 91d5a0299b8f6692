"""MathVerse: 788 problems of geometry and functions, each in six versions, from words to picture.

Paper: Zhang et al. 2024, "MathVerse: Does Your Multi-modal LLM Truly See the Diagrams in Visual
Math Problems?", arXiv 2403.14624. Code: github.com/ZrrSkywalker/MathVerse (MIT) at 937b0905, the
judge's texts from evaluation/prompts.py at ac31a9c8; VLMEvalKit (Apache-2.0) at cfa63b1d, its
judge's texts from vlmeval/dataset/utils/mathverse.py at 8beb24a5.

The score is the one "without CoT": the model is asked for the answer directly. The code of the
other, CoT-E, was never released.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks import multiple_choice, published
from tasks.data import FOLDER, Row, Rows
from tasks.data.loading import loader
from tasks.data.local import questions
from tasks.grading import extract, vlmevalkit
from tasks.judging import UNPARSED, Judging, Reading, Request, metrics
from tasks.published import Check, Record

# Rows


def _row(row: Row) -> Row:
    about = ("problem_version", "problem_index")
    return {
        "id": row["sample_index"],
        **{name: row.get(name) for name in ("question", "answer", "question_type", "query_wo")},
        "question_for_eval": row.get("question_for_eval") or row.get("question"),
        "metadata": {**row["metadata"], **{name: row[name] for name in about}},
        "images": row.get("images") or _pictures(row),
        FOLDER: row[FOLDER],
    }


def _pictures(row: Row) -> list[str] | None:
    """Return where the picture lies: beside the file, or in `images` there."""
    name = row.get("image")
    if not name:
        return [] if row["problem_version"] == "Text Only" else None
    inside = f"images/{name}"
    return [inside if (Path(row[FOLDER]) / inside).is_file() else name]


_every = loader(
    "mathverse",
    _row,
    ["question", "answer", "question_type", "query_wo", "metadata", "images"],
    questions("mathverse", "mathverse_{split}.json", "data/{split}.json", "{split}.json"),
)


def dataset(versions: Sequence[str] = (), **given: Any) -> dict[str, Rows]:
    """Return the rows of a split, only those of some versions where any are named."""
    every = _every(**given)
    return {
        split: Rows(
            row for row in rows if not versions or row["metadata"]["problem_version"] in versions
        )
        for split, rows in every.items()
    }


# Prompt


def to_prompt(row: Row) -> str:
    """Return the picture, if there is one, and the question without CoT, as the dataset has it."""
    mark = "" if row["metadata"]["problem_version"] == "Text Only" else "<image>"
    return f"{mark}{row['query_wo']}"


# The official scripts: evaluation/extract_answer_s1.py and evaluation/score_answer_s2.py

_EXTRACT = r"""I am providing you a response from a model to a math problem, termed 'Model Response'. You should extract the answer from the response as 'Extracted Answer'. Directly output the extracted answer with no explanation.
"""  # noqa: E501

_EXTRACTIONS = (
    r"""
1.
Model response: 'Rounded to two decimal places, the perimeter of the sector is approximately:

(-2, 1)'
Extracted Answer: (-2, 1)
""",
    r"""
2.
Model response: 'at those points.

Therefore, the correct option that represents the meaning of the intersection points of the graphs is:

D. They give the solutions to the equation $f(t)=g(t)$.",'
Extracted Answer: D
""",  # noqa: E501
    r"""
3.
Model response: ' at 1 (there's a closed circle at y = 1), the range in interval notation is \((-4, 1]\).

Final values:
Domain: \((-3, 3]\)
Range: \((-4, 1]\)'
Extracted Answer: Domain: \((-3, 3]\)
Range: \((-4, 1]\)
""",  # noqa: E501
    r"""
4.
Model response: 'As it stands, I cannot provide the correct option letter because there isn't enough information to solve for 'y'.'
Extracted Answer: null
""",  # noqa: E501
    r"""
5.
Model response: 'Given that AB = 17.6 meters, we can now substitute into the equation:

d = 17.6 / cos(38°)

Therefore, to one decimal place, the distance d between Ned and Bart is approximately 22.3 meters.'
Extracted answer: 22.3
""",
    r"""
6.
Model response:  have all the coefficients for the quadratic function:
\( f(x) = ax^2 + bx + c \)
\( f(x) = -1x^2 - 2x + 1 \)

Therefore, the equation for the graphed function \( f \) is:
\( f(x) = -x^2 - 2x + 1 \)"'
Extracted answer: f(x) = -x^2 - 2x + 1
""",
)

_SCORE = """Below are two answers to a math question. Question is [Question], [Standard Answer] is the standard answer to the question, and [Model_answer] is the answer extracted from a model's output to this question.  Determine whether these two answers are consistent.
Please note that only when the [Model_answer] completely matches the [Standard Answer] means they are consistent. For non-multiple-choice questions, if the meaning is expressed in the same way, it is also considered consistent, for example, 0.5m and 50cm.
If they are consistent, Judement is 1; if they are different, Judement is 0.
"""  # noqa: E501

_CIRCLE = """
[Question]: As shown in the figure, circle O has a radius 1.0, if angle BAC = 60.0, then the length of BC is ()
Choices:
A:2
B:2√{3}
C:√{3}
D:2√{2}
[Standard Answer]: C
"""  # noqa: E501

_JUDGEMENTS = (
    r"""
[Question]: Write the set of numbers represented on the number line in interval notation.
[Standard Answer]: (-2,1]
[Model_answer] : Extracted Answer: \((-2, 1)\)
Judgement: 0
""",
    f"{_CIRCLE}[Model_answer] : B:2√{{3}}\nJudgement: 0\n",
    r"""
[Question]: Find the domain and range of the function f using interval notation.
[Standard Answer]: domain: [-4, 0) and range: (-3, 1]
[Model_answer] : Range: \((-4, 1]\)
Judgement: 0
""",
    f"{_CIRCLE}[Model_answer] : null\nJudgement: 0\n",
)

_ELLIPSE = r"""
[Question]: Given the graph of the ellipse that intersects with x-axis at 9 and -9 and with y-axis at 3 and -3, determine its equation.A. \frac{x^2}{81} + \frac{y^2}{9} = 1 B. Can not determine.

[Standard Answer]: A
[Model_answer] : \frac{x^2}{81} + \frac{y^2}{9} = 1
Judgement: 1
"""  # noqa: E501

WORDS = 30
"""Last words of a response that go to the judge: `--trunk_response 30` in the README's command."""

TRIES = 5
"""The script asks on and on for a judgement that is 0 or 1."""


def official(row: Row, text: str) -> Judging:
    """Let the judge extract an answer, then say whether it is the true one.

    The second request has `question_for_eval`, added for it, where the script has the question: in
    the version Vision Only that is empty.
    """
    tail = " ".join(text.split(" ")[-WORDS:])
    prompt = (
        f"{_EXTRACT}{''.join(_EXTRACTIONS)}\n7.\n\nModel response: '{tail}'\nExtracted Answer: "
    )
    reply = yield Request(prompt)
    said = reply.strip().replace("Extracted Answer: ", "").strip()
    examples = "".join((*_JUDGEMENTS, _ELLIPSE))
    prompt = (
        f"{_SCORE}{examples}\n[Question]: {row['question_for_eval']}\n"
        f"[Standard Answer]: {row['answer']}\n[Model_answer] : {said}\nJudgement:"
    )
    for attempt in range(TRIES):
        reply = yield Request(prompt, attempt=attempt)
        judgement = reply.replace("Judgement:", "").strip()
        if judgement in ("0", "1"):
            return said, judgement == "1"
    return UNPARSED


# VLMEvalKit: vlmeval/dataset/utils/mathverse.py


def by_vlmevalkit(row: Row, text: str) -> Judging:
    """Let the judge extract an answer; equal as text it is right, else the judge says whether.

    Its four examples are all of answers that are wrong.
    """
    examples = "".join(f"{example}\n\n" for example in _EXTRACTIONS)
    prompt = f"\n{_EXTRACT}\n\n{examples}7.\nModel response: '{text}'\nExtracted Answer: "
    said = yield from vlmevalkit.extract(prompt)
    if said is None:
        return UNPARSED
    if said.strip() == row["answer"].strip():
        return said, True
    # Braces stay doubled: the examples were written for `str.format`, which is not used here.
    examples = "".join(f"{example}\n\n" for example in _JUDGEMENTS)
    examples = re.sub("√{(.)}", r"√{{\1}}", examples)
    prompt = (
        f"\n{_SCORE}\n\n{examples}\n    [Question]: {row['question_for_eval']}\n"
        f"    [Standard Answer]: {row['answer']}\n    [Model_answer] : {said}\n    Judgement:"
    )
    verdicts = {"0": False, "1": True}
    judgement = yield from vlmevalkit.ask(prompt, lambda reply: verdicts.get(reply.strip()))
    return UNPARSED if judgement is None else (said, judgement)


# Our own reading

_NAMED = re.compile(r"^(?:[A-Za-z][A-Za-z.]+\s*)*(\$*)=")
"""What an answer is of, as in "Surface Area $=9$"."""

_UNITS = re.compile(r"\s*(?:square )?units\b.*$")


def robust(row: Row, text: str) -> Reading:
    """Read a letter or an option's text; a value where there are no options."""
    truth = row["answer"].replace("掳", "°").strip()  # in some answers the encoding is wrong
    truth = _UNITS.sub("", _NAMED.sub(r"\1", truth))
    if row["question_type"] != "multi-choice":
        return extract.read_value(text, truth)
    choices = options(row["question_for_eval"]) or dict.fromkeys("ABCDE", "")
    letter = truth.strip("()")
    if letter not in choices:
        named = [name for name, option in choices.items() if option == truth]
        if len(named) != 1:
            return extract.read_value(text, truth.replace("\n", ", "))
        letter = named[0]
    return multiple_choice.read(choices, letter, text)


_OPTION = re.compile(r"^\s*\(?([A-H])\)?\s*[:.、][^\S\n]*(.*?)[^\S\n]*$", re.MULTILINE)


def options(question: str) -> dict[str, str]:
    r"""Return the options that a question lists behind "Choices:" or "Choice:".

    >>> options("How long?\nChoices:\nA:40°\nB:60°")
    {'A': '40°', 'B': '60°'}
    """
    _, found, listed = (question or "").rpartition("Choice")
    return dict(_OPTION.findall(listed)) if found else {}


def groups(row: Row) -> tuple[str, ...]:
    """Return version, subject and subfield."""
    about = row["metadata"]
    subject = about["subject"]
    return (
        f"version: {about['problem_version']}",
        f"subject: {subject}",
        f"subfield: {subject} ({about['subfield']})",
    )


def cluster(row: Row) -> str:
    """Return the problem, whose versions are questions each."""
    return str(row["metadata"]["problem_index"])


process_results = metrics(acc=robust)


# Published outputs


def from_record(record: Record) -> Row:
    """Return a record of published answers, which has no question of its own for the judge."""
    return {**record, "question_for_eval": record.get("question_for_eval", record["question"])}


def checks(_: Record) -> list[Check]:
    """Check verdicts, of which none are published so far."""
    return [Check("official", published.right(official, from_record), published.no_scores)]
