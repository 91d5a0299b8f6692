"""ChartQA: 2,500 test questions about charts, half by people and half made from their captions.

Paper: Masry et al. 2022, "ChartQA: A Benchmark for Question Answering about Charts with Visual and
Logical Reasoning", arXiv 2203.10244. It has no script for language models: `official` is its
relaxed accuracy (end of section 5.1) as pix2struct wrote it down, asked as in lmms-eval
(github.com/EvolvingLMMs-Lab/lmms-eval at 75571cfe, tasks/chartqa).
"""

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path

from tasks.data import FOLDER, Data, Row, Source, local
from tasks.data.loading import NUMBER, loader
from tasks.grading import amounts, equivalence, extract
from tasks.judging import Reading, metrics
from tasks.published import Vectors

HALVES = ("human", "augmented")

TOLERANCE = Fraction(1, 20)

_SHOWN = 200
"""Characters of a reply that are kept as the answer read."""


def _own(data: Data, _: Source) -> Iterator[Row] | None:
    """Return the rows of `test/test_human.json` and `test/test_augmented.json`, beside `png`."""
    paths = local.find_all("chartqa", data, HALVES, "test_{}.json", "test/test_{}.json")
    return _halves(paths) if paths else None


def _halves(paths: Mapping[str, Path]) -> Iterator[Row]:
    for half, path in paths.items():
        for number, row in enumerate(local.read_json(path)):
            yield {
                "id": f"{half}_{number}",
                "question": row["query"],
                "answer": row["label"],
                "type": half,
                "images": [f"png/{row['imgname']}"],
                FOLDER: str(path.parent),
            }


def _row(row: Row) -> Row:
    return {
        "id": row.get("id", row[NUMBER]),
        "question": row["question"],
        "answer": row["answer"],
        "metadata": {"type": row["type"].removesuffix("_test")},
        "images": row["images"] or None,
        FOLDER: row[FOLDER],
    }


dataset = loader("chartqa", _row, ["question", "answer", "images"], _own)


def to_prompt(row: Row) -> str:
    """Return the question and lmms-eval's request."""
    return f"<image>{row['question']}\nAnswer the question with a single word."


def to_prompt_vlmevalkit(row: Row) -> str:
    """Return the question and VLMEvalKit's request."""
    return f"<image>{row['question']}\nAnswer the question using a single word or phrase."


def relaxed(target: str, prediction: str) -> bool:
    """Whether two numbers are within 5 % of the target, else whether the texts are the same.

    A per cent sign divides by 100; a target of 0 is a text.

    >>> relaxed("100", "104"), relaxed("14%", "0.14"), relaxed("14%", "14"), relaxed("0", "0.0")
    (True, True, False, False)
    """
    wanted, found = _float(target), _float(prediction)
    if found is not None and wanted:
        return abs(found - wanted) / abs(wanted) <= float(TOLERANCE)
    return prediction.lower() == target.lower()


def _float(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None


def official(row: Row, text: str) -> Reading:
    """Compare the whole reply."""
    return text[:_SHOWN], relaxed(row["answer"], text)


def by_vlmevalkit(row: Row, text: str) -> Reading:
    """Compare the whole reply, without the blanks around it."""
    return text.strip()[:_SHOWN], relaxed(row["answer"], text.strip())


def robust(row: Row, text: str) -> Reading:
    """Compare the final answer by value, or as a number within 5 % whatever its unit."""
    said, right = extract.read_value(text, row["answer"])
    wanted, found = _numbers(row["answer"]), _numbers(said or "")
    if right or said is None or not wanted or not found or not equivalence.numeric(row["answer"]):
        return said, right
    if _YEAR.fullmatch(row["answer"]) and _NAMED_YEAR.fullmatch(said):
        return said, False  # no tolerance between years
    if "%" in row["answer"] and "%" not in said:  # "0.14" is 14 % too, said as a share
        found = [*found, *(number * 100 for number in found)]
    return said, any(abs(number - wanted[0]) <= TOLERANCE * abs(wanted[0]) for number in found)


def _numbers(text: str) -> list[Fraction]:
    """Return what a text is worth, a percentage in per cent, and that without "million" and such.

    The axis of a chart may bear the million. Of a text that is no amount, the only number in it.
    """
    amount = amounts.read(text, letters=False)
    if amount is not None and isinstance(amount.value, Fraction):
        value = amount.value * 100 if amount.percent else amount.value
        return [value, value / amount.scale]
    digits = _DIGITS.findall(text)
    number = amounts.read(digits[0], letters=False) if len(digits) == 1 else None
    return [number.value] if number and isinstance(number.value, Fraction) else []


_YEAR = re.compile(r"(?:19|20)\d\d")
_NAMED_YEAR = re.compile(rf"\D*{_YEAR.pattern}\D*")
_DIGITS = re.compile(r"[-+−]?\d[\d,]*(?:\.\d+)?")


def groups(row: Row) -> tuple[str, ...]:
    """Return the half."""
    return (row["metadata"]["type"],)


process_results = metrics(acc=robust, acc_official=official)


# Published outputs

VECTORS: Vectors = {
    ("relaxed_correctness", "out"): lambda vector: relaxed(vector["target"], vector["prediction"]),
}
