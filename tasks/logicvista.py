"""LogicVista: 448 questions of logical reasoning, the options inside the picture, in five skills.

Paper: Xiao et al. 2024, "LogicVista: Multimodal LLM Logical Reasoning Benchmark in Visual
Contexts", arXiv 2407.04973. Code: github.com/Yijia-Xiao/LogicVista (Apache-2.0) at e5795f17, the
judge's text from eval/extract_accuracy_new.py at 0b8cca25; VLMEvalKit (Apache-2.0) at cfa63b1d, its
judge's text from vlmeval/dataset/utils/logicvista.py, four examples, as it was before 2026.

Row v1_382 has neither question nor answer. It is asked, as the official script does, so that scores
keep the official 448 as denominator; the official script gives it to an empty response.
"""

import json
import re
from collections.abc import Iterator

from tasks import published
from tasks.data import FOLDER, Row
from tasks.data.loading import loader
from tasks.data.local import questions
from tasks.grading import extract, vlmevalkit
from tasks.judging import UNPARSED, Judging, Reading, Request, metrics
from tasks.published import Check, Record

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


# Rows


def _row(row: Row) -> Row:
    name = row.get("imagename")
    about = ("skill", "broad_capability", "specific_capability")
    return {
        "id": row["id"],
        "question": row.get("question"),
        "answer": row.get("answer"),
        "metadata": {field: _names(row[field]) for field in about},
        "images": row.get("images") or ([f"images/{name}"] if name else None),
        FOLDER: row[FOLDER],
        **{field: row[field] for field in ("image_sha256",) if field in row},
    }


def _names(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


_FILES = "logicvista_dataset.json", "data/dataset.json", "dataset.json"

dataset = loader(
    "logicvista",
    _row,
    ["question", "answer", "metadata", "images"],
    questions("logicvista", *_FILES, named="id", benchmark="LogicVista"),
)


# Prompts


def to_prompt(row: Row) -> str:
    """Return the picture, the examples and the question; the prompt ends with `answer: `."""
    return f"<image>{EXAMPLES}question: {row['question']}\nanswer: "


def to_prompt_vlmevalkit(row: Row) -> str:
    """Return the picture and the bare question."""
    return f"<image>{row['question']}"


# The official script: eval/extract_accuracy_new.py

NOTHING = "ZZZZZ"
"""Stands for a response that chooses nothing."""

_SCHEMA = {
    "properties": {
        "choices": {
            "description": "multiple choice answer of a list of letters or numbers chosen by the "
            "given text",
            "items": {"type": "string"},
            "title": "Choices",
            "type": "array",
        }
    },
    "required": ["choices"],
}

_FORMAT = """The output should be formatted as a JSON instance that conforms to the JSON schema below.

As an example, for the schema {"properties": {"foo": {"title": "Foo", "description": "a list of strings", "type": "array", "items": {"type": "string"}}}, "required": ["foo"]}
the object {"foo": ["bar", "baz"]} is a well-formatted instance of the schema. The object {"properties": {"foo": ["bar", "baz"]}} is not well-formatted.

Here is the output schema:
```
%s
```"""  # noqa: E501
"""langchain's format instructions (langchain_core/output_parsers/pydantic.py, MIT)."""

_EXTRACT = """
            You are a information extractor that extracts multiple choice letter answer choices
                from a paragraph that contains the answer choice and sometimes and explaination of why that choice is correct to the following question: "%s"

                What letter did the following answer choose? If the answer did not select a letter answer choice, first try to infer the answer based off the given choices.
                If it does not seem like the given answer corresponds to an answer choice OR if there is no selected answer, please just respond with the string ZZZZZ.
                Make sure you answer with ONLY the letters chosen.
Here is what I need you to extract from:
The answer is "%s"
%s
            Helpful Answer:
            """  # noqa: E501


def official(row: Row, text: str) -> Judging:
    """Let the judge list the chosen letters; compare the sorted list with the true one.

    The script asks the judge even about a single letter from A to E; any other single sign but a
    digit, a right G or F among them, it takes for no choice. Where it would ask up to a hundred
    times, five are asked here.
    """
    entry = text.split("ASSISTANT:")[1] if "ASSISTANT:" in text else text
    said = entry.strip()
    if not said:
        return _listed(row, [""])
    if len(said) == 1 and (said.isalpha() or not said.isnumeric()) and said not in "abcdeABCDE":
        return _listed(row, [NOTHING])
    prompt = _EXTRACT % (row["question"], entry, _FORMAT % json.dumps(_SCHEMA))
    for attempt in range(5):
        reply = yield Request(prompt, temperature=0.2, attempt=attempt)
        if (choices := _choices(reply)) is not None:
            return _listed(row, choices)
    return UNPARSED


def _choices(reply: str) -> list[str] | None:
    """Read the list in a reply: the JSON that was asked for, or letters with commas between."""
    try:
        found = json.loads(re.sub(r"^```(?:json)?|```$", "", reply.strip()))
    except (ValueError, RecursionError):
        found = [part.strip() for part in reply.split(",")]
        return found if all(len(part.split()) <= 1 for part in found) else None
    if isinstance(found, dict):
        found = found.get("choices")
    if isinstance(found, int | str):
        found = [found]
    if not isinstance(found, list):
        return None
    return [str(choice) for choice in found]


def _listed(row: Row, choices: list[str]) -> Reading:
    said = sorted(choice.lower() for choice in choices)
    return ", ".join(said), said == sorted(row["answer"].lower().split(", "))


# VLMEvalKit: vlmeval/dataset/utils/logicvista.py

_EXTRACT_VLMEVALKIT = (
    "You are a information extractor that extracts multiple choice letter answer choices "
    "from a paragraph that contains the answer choice and sometimes explaination of why that "
    "choice is correct to the given question.\n"
    "What letter did the following answer choose? If the answer did not select a letter answer "
    "choice, first try to infer the answer based off the given choices.\n"
    "If it does not seem like the given answer corresponds to an answer choice OR if there is no "
    "selected answer, please just respond with Z.\n"
    "Make sure you answer with ONLY the letters chosen.\n"
    "Example 1: \n"
    "Question: <start>\nWhat is the main object in image?\n"
    "Options: A. teddy bear B. rabbit C. cat D. dog\n<end>\n"
    "Answer: <start>\na cute teddy bear\n<end>\nYour output: A\n"
    "Example 2: \n"
    "Question: <start>\nWhat is the main object in image?\n"
    "Options: A. teddy bear B. rabbit C. cat D. dog\n<end>\n"
    "Answer: <start>\nSpider\n<end>\nYour output: Z\n"
    "Example 3: \n"
    "Question: <start>\nWhich figure is a rotation of the object?\n<end>\n"
    'Answer: <start>\nThe figure on the right, labeled "D," is a rotation of the object shown in '
    "the top left corner.\n<end>\nYour output: D\n"
    "Example 4: \n"
    "Question: <start>\nWhich of the boxes comes next in the sequence? Select from A-E\n<end>\n"
    "Answer: <start>\nThe sequence of the boxes is A, B, C, D, E.\n<end>\nYour output: ABCDE\n"
    "Example 5: \n"
    "Question: <start>\n{}\n<end>\nAnswer: <start>\n{}\n<end>\nYour output: "
)


def by_vlmevalkit(row: Row, text: str) -> Judging:
    """Let the judge name the letters, in capitals and nothing else, in up to five tries.

    The row without an answer is not among VLMEvalKit's 447, and stays unparsed.
    """
    if not row["answer"]:
        return UNPARSED
    prompt = _EXTRACT_VLMEVALKIT.format(row["question"], text)
    said = yield from vlmevalkit.ask(prompt, _letters_only)
    if said is None:
        return UNPARSED
    right = sorted(row["answer"].lower().split(", "))
    return said, "".join(sorted(said.lower())) == "".join(right)


def _letters_only(reply: str) -> str | None:
    return reply if reply.isupper() and reply.isalpha() else None


# Our own reading

LETTERS = "ABCDEFGHI"


def robust(row: Row, text: str) -> Reading:
    """Read a letter, several, or a number where the answer is one."""
    wanted = sorted(row["answer"].split(", "))
    if not all(part in LETTERS for part in wanted):
        return extract.read_value(text, row["answer"])
    said = extract.read_choices(text, LETTERS)
    return UNPARSED if said is None else (", ".join(said), list(said) == wanted)


def groups(row: Row) -> tuple[str, ...]:
    """Return skill, and broad and specific capabilities, as today's dataset has them."""
    about = row["metadata"]
    return (
        *(f"skill: {name}" for name in about["skill"]),
        *(f"capability: {name}" for name in about["broad_capability"]),
        *(f"specific: {name}" for name in about["specific_capability"]),
    )


process_results = metrics(acc=robust)


# Published outputs


def checks(_: Record) -> list[Check]:
    """Check verdicts, from the letters that GPT-4 listed."""
    return [Check("official", published.right(official, replies=_letters), _scores)]


def _letters(record: Record) -> list[str]:
    return [", ".join(record["official_extraction"])]


def _score_names(record: Record) -> Iterator[str]:
    yield "total"
    for group in groups(record):
        if group.startswith("skill: "):
            yield group.removeprefix("skill: ")
    found = record["metadata"].get("published_capability", ())
    yield from (f"capability:{name}" for name in found)


_scores = published.counter(_score_names)
