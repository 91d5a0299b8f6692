"""ScienceQA (IMG): the 2,017 test questions of school science that come with a picture.

Paper: Lu et al. 2022, "Learn to Explain: Multimodal Reasoning via Thought Chains for Science
Question Answering", arXiv 2209.09513. Code: github.com/lupantech/ScienceQA at 2cbf8318.

Its script is for GPT-3 with examples in front. `official` asks and reads as LLaVA's evaluation
does, which reads a bare letter and else has the script's own rule. Where the script draws a random
option the answer stays unparsed.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from string import ascii_uppercase

from tasks import published
from tasks.data import FOLDER, Data, Row, Source, local
from tasks.data.loading import NUMBER, loader
from tasks.judging import UNPARSED, Reading, metrics
from tasks.multiple_choice import REQUEST, listed, options, robust
from tasks.published import Check, Pair, Record

_ANSWER = re.compile(r"The answer is ([A-Z]).")

LETTERS = "ABCDE"
"""The options of the script: no question has more."""

_DETAILS = ("subject", "topic", "category", "skill", "grade", "task")


def _own(data: Data, _: Source) -> Iterator[Row] | None:
    """Return the rows of the benchmark's `problems.json`, beside `images/test/<id>/`."""
    path = local.find(data, "problems.json", "data/scienceqa/problems.json")
    return None if path is None else _pictured(path)


def _pictured(path: Path) -> Iterator[Row]:
    pictures = "images/test" if (path.parent / "images").is_dir() else "test"
    for name, row in local.read_json(path).items():
        if row["split"] == "test" and row["image"]:
            images = [f"{pictures}/{name}/{row['image']}"]
            yield {**row, "id": name, "images": images, FOLDER: str(path.parent)}


def _row(row: Row) -> Row:
    return {
        "id": row.get("id", row[NUMBER]),
        "question": row["question"],
        "hint": row["hint"] or "",
        "choices": row["choices"],
        "answer": ascii_uppercase[int(row["answer"])],
        "metadata": {detail: row[detail] for detail in _DETAILS},
        "images": row["images"] or None,
        FOLDER: row[FOLDER],
    }


dataset = loader("scienceqa", _row, ["question", "choices", "answer", "images"], _own)


def to_prompt(row: Row) -> str:
    """Return hint, question, options and LLaVA's request, as lmms-eval (75571cfe) lays them out."""
    hint = f"Context: {row['hint']}\n" if row["hint"] else ""
    return f"<image>{hint}{row['question']}\n{listed(options(row))}{REQUEST}"


def read_letter(text: str) -> str | None:
    """Return a letter alone or in front of ". ", else the one behind the one "The answer is".

    LLaVA llava/eval/eval_science_qa.py; the last is ScienceQA's models/run_gpt3.py.

        >>> read_letter("B. the sun"), read_letter("The answer is C. BECAUSE: …"), read_letter("b")
        ('B', 'C', None)
    """
    if text in tuple(LETTERS):
        return text
    if text[:1] in tuple(LETTERS) and text[1:3] == ". ":
        return text[0]
    named = _ANSWER.findall(text)
    return named[0] if len(named) == 1 else None


def official(row: Row, text: str) -> Reading:
    """Read a letter that is an option."""
    letter = read_letter(text)
    if letter is None or letter not in options(row):
        return UNPARSED
    return letter, None if row["answer"] is None else letter == row["answer"]


def groups(row: Row) -> tuple[str, ...]:
    """Return subject, whether a text goes with it, and grades 1-6 or 7-12."""
    details = row["metadata"]
    grade = int(details["grade"].removeprefix("grade"))
    return (
        f"subject: {details['subject']}",
        "context: text and image" if row["hint"] else "context: image",
        "grade: 1-6" if grade <= 6 else "grade: 7-12",
    )


process_results = metrics(acc=robust, acc_official=official)


# Published outputs


def from_record(record: Record) -> Row:
    """Return the row of a published answer, which comes without question, options and truth."""
    return {"question": "", "choices": list(LETTERS), "answer": None, **record}


def checks(_: Record) -> list[Check]:
    """Check the options that are read, not those that the script draws at random."""
    return [Check("official, extraction", _option)]


def _option(record: Record) -> Pair | None:
    if len(_ANSWER.findall(record["response"])) != 1:
        return None
    letter, _ = published.reading(official, record, from_record)
    return LETTERS.index(letter) if letter else None, record["official_extraction"]
