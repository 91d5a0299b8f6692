"""ScienceQA (IMG): the 2,017 test questions of school science that come with a picture.

Paper: Lu et al. 2022, "Learn to Explain: Multimodal Reasoning via Thought Chains for Science
Question Answering", arXiv 2209.09513. Code: github.com/lupantech/ScienceQA at 2cbf8318.

Its script is for GPT-3 with examples in front. `official` asks and reads as LLaVA's evaluation
does, which reads a bare letter and else has the script's own rule. Where the script draws a random
option the answer stays unparsed.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from tasks import files
from tasks.grading import extract, vlmevalkit
from tasks.judging import UNPARSED, Judging, Reading

Row = dict[str, Any]

REQUEST = "\nAnswer with the option's letter from the given choices directly."

_ANSWER = re.compile(r"The answer is ([A-Z]).")

LETTERS = "ABCDE"
"""The options of the script: no question has more."""

_DETAILS = ("subject", "topic", "category", "skill", "grade", "task")


def dataset(
    data: str | Path | None = None, source: Mapping[str, Any] | None = None, **_: Any
) -> dict[str, files.Rows]:
    """Return the rows of the hub's dataset, a snapshot of it, or the benchmark's own folder.

    The latter has `problems.json` and `images/test/<id>/`.
    """
    names = ["problems.json", "data/scienceqa/problems.json"]
    own = files.find(data, names) if data is not None else None
    if own:
        rows = _own_rows(own)
    else:
        rows = (_row(n, row) for n, row in enumerate(files.hub_rows("scienceqa", source, data)))
    fields = ["question", "choices", "answer", "images"]
    return {"test": files.Rows(files.complete("scienceqa", rows, fields))}


def _own_rows(path: Path) -> Iterator[Row]:
    folder = path.parent
    pictures = "images/test" if (folder / "images").is_dir() else "test"
    for name, row in files.read_json(path).items():
        if row["split"] == "test" and row["image"]:
            images = [f"{pictures}/{name}/{row['image']}"]
            yield _row(name, {**row, "images": images, files.FOLDER: str(folder)})


def _row(name: int | str, row: Row) -> Row:
    return {
        "id": name,
        "question": row["question"],
        "hint": row["hint"] or "",
        "choices": row["choices"],
        "answer": ascii_uppercase[int(row["answer"])],
        "metadata": {detail: row[detail] for detail in _DETAILS},
        "images": row["images"] or None,
        files.FOLDER: row[files.FOLDER],
    }


def from_record(record: Row) -> Row:
    """Return the row of a published answer, which comes without question, options and truth."""
    return {"question": "", "choices": list(LETTERS), "answer": None, **record}


def to_prompt(row: Row) -> str:
    """Return hint, question, options and LLaVA's request, as lmms-eval (75571cfe) lays them out."""
    hint = f"Context: {row['hint']}\n" if row["hint"] else ""
    options = vlmevalkit.lettered(row["choices"]).items()
    shown = "\n".join(f"{letter}. {text}" for letter, text in options)
    return f"<image>{hint}{row['question']}\n{shown}{REQUEST}"


def to_prompt_vlmevalkit(row: Row) -> str:
    """Return VLMEvalKit's prompt."""
    choices = vlmevalkit.lettered(row["choices"])
    return f"<image>{vlmevalkit.mcq_prompt(row['question'], choices, row['hint'] or None)}"


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
    if letter is None or letter not in vlmevalkit.lettered(row["choices"]):
        return UNPARSED
    return letter, None if row["answer"] is None else letter == row["answer"]


def by_vlmevalkit(row: Row, text: str) -> Judging:
    """Match with the options."""
    choices = vlmevalkit.lettered(row["choices"])
    return (yield from vlmevalkit.choose(row["question"], choices, row["answer"], text))


def robust(row: Row, text: str) -> Reading:
    """Read a letter or an option's text."""
    letter = extract.read_choice(text, vlmevalkit.lettered(row["choices"]))
    return UNPARSED if letter is None else (letter, letter == row["answer"])


def groups(row: Row) -> tuple[str, ...]:
    """Return subject, whether a text goes with it, and grades 1-6 or 7-12."""
    details = row["metadata"]
    grade = int(details["grade"].removeprefix("grade"))
    return (
        f"subject: {details['subject']}",
        "context: text and image" if row["hint"] else "context: image",
        "grade: 1-6" if grade <= 6 else "grade: 7-12",
    )


def process_results(row: Row, results: list[str]) -> dict[str, float]:
    """Score for lm-eval: an answer that cannot be read counts 0."""
    return {
        "acc": float(robust(row, results[0])[1] is True),
        "acc_official": float(official(row, results[0])[1] is True),
    }
