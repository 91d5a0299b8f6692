"""RealWorldQA: 765 questions about photographs, mostly from vehicles, with or without options.

From xAI, 2024; it came without paper or script. `official` is lmms-eval's way as it was first
written (github.com/EvolvingLMMs-Lab/lmms-eval at 001eca00, tasks/realworldqa).
"""

import re

from tasks import multiple_choice
from tasks.data import FOLDER, Row
from tasks.data.loading import NUMBER, loader
from tasks.grading import extract, vlmevalkit
from tasks.judging import UNPARSED, Judging, Reading, metrics

_DIGITS = {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
}

_OPTION = re.compile(r"\b([A-Z])\.\s+([^\n]*)")


def _row(row: Row) -> Row:
    return {
        "id": row[NUMBER],
        "question": row["question"],
        "answer": row["answer"],
        "images": row["images"] or None,
        FOLDER: row[FOLDER],
    }


dataset = loader("realworldqa", _row, ["question", "answer", "images"])


def to_prompt(row: Row) -> str:
    """Return the question, which has its options and its request in it."""
    return f"<image>{row['question'].strip()}"


def to_prompt_vlmevalkit(row: Row) -> str:
    """Return the question with its options as VLMEvalKit lists them."""
    return f"<image>{vlmevalkit.mcq_prompt(*options(row['question']))}"


def options(question: str) -> tuple[str, dict[str, str]]:
    r"""Split a question from its options, which stand one a line; there may be none.

    >>> options("Which?\nA. left\nB. right\nPlease answer with the letter.")
    ('Which?', {'A': 'left', 'B': 'right'})
    """
    lines = question.strip().splitlines()
    found = [match for line in lines if (match := re.fullmatch(r"\s*([A-Z])\.\s+(.*)", line))]
    if not found:
        return question.strip(), {}
    stem = question[: question.index(found[0][0])].strip()
    return stem, {match[1]: match[2].strip() for match in found}


def official(row: Row, text: str) -> Reading:
    """Compare the whole reply but for case, marks, and a number's word; an option's text counts."""
    text = _DIGITS.get(text.lower(), text)
    plain = re.sub(r"[^\w\s]", "", text).strip()
    listed = {option.strip(): place for place, (_, option) in enumerate(_options(row))}
    longest = "|".join(re.escape(option.strip()) for _, option in _options(row))
    match = re.search(longest, plain)
    said = chr(ord("A") + listed[match[0]]) if match and match[0] in listed else plain
    said = said.lower().strip().rstrip(".")
    return said[:200], said == row["answer"].lower().strip()


def _options(row: Row) -> list[tuple[str, str]]:
    return _OPTION.findall(row["question"])


def by_vlmevalkit(row: Row, text: str, *, head: bool = False) -> Judging:
    """Match with the options; a question without any stays unparsed."""
    stem, choices = options(row["question"])
    if not choices:
        return UNPARSED
    return (yield from vlmevalkit.choose(stem, choices, row["answer"], text, head=head))


def robust(row: Row, text: str) -> Reading:
    """Read a letter or an option's text, yes or no, or a value."""
    truth, choices = row["answer"], options(row["question"])[1]
    if choices:
        return multiple_choice.read(choices, truth, text)
    if truth.lower() in ("yes", "no"):
        return multiple_choice.read_yes_no(row["answer"], text)
    return extract.read_value(text, truth)


process_results = metrics(acc=robust, acc_official=official)
