"""MMStar: 1,500 questions that need the picture, in 6 core capabilities and 18 finer ones.

Paper: Chen et al. 2024, "Are We on the Right Way for Evaluating Large Vision-Language Models?",
arXiv 2403.20330. Code: github.com/MMStar-Benchmark/MMStar at 88f243ab.

The paper's multi-modal gain and leakage compare a run with one without pictures, so they are not
among the numbers of one run.
"""

import re
from collections.abc import Iterator

from tasks import multiple_choice, published
from tasks.data import FOLDER, Row
from tasks.data.loading import loader
from tasks.grading import vlmevalkit
from tasks.judging import Judging, Reading, metrics
from tasks.published import Check, Record

_LISTS = (
    # "…\nOptions: A: one, B: two, C: three, D: four"
    (re.compile(r"\nOptions: (?=A: )"), re.compile(r"(?:^|, )([A-D]): ")),
    # "…\nChoices:\n(A) one\n(B) two", or without the word
    (re.compile(r"(?:\nChoices:|(?<!\nChoices:))(?=\n\(A\))"), re.compile(r"\n\(([A-D])\) ?")),
)


def _row(row: Row) -> Row:
    return {
        "id": row["index"],
        "question": row["question"],
        "answer": row["answer"],
        "metadata": {
            "category": row["category"],
            "l2_category": row["l2_category"],
            "bench": row["meta_info"]["source"],
        },
        "images": row["images"],
        FOLDER: row[FOLDER],
    }


dataset = loader("mmstar", _row, ["question", "answer"])


def to_prompt(row: Row) -> str:
    """Return the question, which lists its options: eval/vlmeval/utils/dataset.py."""
    return f"<image>Question: {row['question']}\n"


def to_prompt_vlmevalkit(row: Row) -> str:
    """Return the question with its options as VLMEvalKit lists them."""
    return f"<image>{vlmevalkit.mcq_prompt(*_filled(row))}"


def _filled(row: Row) -> tuple[str, dict[str, str]]:
    """Return the question and the options but `nan`, which a table reads as an empty cell.

    One is the right answer, which none can give then.
    """
    stem, choices = options(row["question"])
    return stem, {letter: text for letter, text in choices.items() if text != "nan"}


def options(question: str) -> tuple[str, dict[str, str]]:
    r"""Split a question from the options at its end.

    >>> options("Which?\nOptions: A: cat, B: dog, or so, C: nan")
    ('Which?', {'A': 'cat', 'B': 'dog, or so', 'C': 'nan'})
    """
    for head, letters in _LISTS:
        if found := list(head.finditer(question)):
            _, *parts = letters.split(question[found[-1].end() :])
            listed = dict(zip(parts[::2], parts[1::2], strict=True))
            return question[: found[-1].start()], listed
    return question, {}


_LETTER = re.compile(r"(?:\(|option |the answer is )?([a-d])")


def official(row: Row, text: str) -> Reading:
    """Read the letter at the start: eval/vlmeval/evaluate/mmstar.py.

    That is the first letter, whatever follows it ("Both" is B), or the one behind "(", "option " or
    "the answer is ". Without any it is wrong.
    """
    match = _LETTER.match(text.lower().strip().replace("\n", " "))
    letter = match[1].upper() if match else None
    return letter, letter == row["answer"]


def by_vlmevalkit(row: Row, text: str, *, head: bool = False) -> Judging:
    """Match with the options."""
    stem, choices = _filled(row)
    return (yield from vlmevalkit.choose(stem, choices, row["answer"], text, head=head))


def robust(row: Row, text: str) -> Reading:
    """Read a letter or an option's text."""
    return multiple_choice.read(options(row["question"])[1], row["answer"], text)


def groups(row: Row) -> tuple[str, ...]:
    """Return core capability, and that with the finer one."""
    core, fine = row["metadata"]["category"], row["metadata"]["l2_category"]
    return f"core: {core}", f"fine: {core} ({fine})"


process_results = metrics(acc=robust, acc_official=official)


# Published outputs


def checks(_: Record) -> list[Check]:
    """Check verdicts."""
    return [Check("official", published.right(official), published.shares(_score_names))]


def _score_names(record: Record) -> Iterator[str]:
    yield "final score"
    for group in groups(record):
        yield group.partition(": ")[2].replace(" (", "(")
