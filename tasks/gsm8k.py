"""GSM8K: problems of grade-school mathematics, in words alone: 1,319 to test, 7,473 to train on.

Paper: Cobbe et al. 2021, "Training Verifiers to Solve Math Word Problems", arXiv 2110.14168. Its
own rule wants `#### 18` at the end, which only a model trained on it writes. `official` is
lm-eval's `gsm8k_cot_zeroshot` (version 3) with its filter `flexible-extract`.
"""

import re

from tasks.data import FOLDER, Row
from tasks.data.loading import NUMBER, loader
from tasks.data.local import questions
from tasks.grading import extract
from tasks.judging import Reading, metrics

_NUMBER = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")


def _row(row: Row) -> Row:
    return {
        "id": row[NUMBER],
        "question": row["question"],
        "answer": row["answer"].rpartition("#### ")[2].strip(),
        "images": [],
        FOLDER: row[FOLDER],
    }


dataset = loader("gsm8k", _row, ["question", "answer"], questions("gsm8k", "{split}.jsonl"))


def to_prompt(row: Row) -> str:
    """Return lm-eval's prompt."""
    return f"Q: {row['question']}\nA: Let's think step by step."


def official(row: Row, text: str) -> Reading:
    """Compare the last number of the response, as a text without commas, dollars, a final dot.

    lm-eval stops at `Q:`, where a model goes on to a question of its own; what follows is not read.
    """
    found = _NUMBER.findall(text.partition("Q:")[0])
    if not found:
        return None, False
    said = _plain(found[-1])
    return said, said == _plain(row["answer"])


def _plain(number: str) -> str:
    return re.sub(r"\.$", "", number.strip().replace(",", "").replace("$", ""))


def robust(row: Row, text: str) -> Reading:
    """Compare the final answer by value."""
    return extract.read_value(text, row["answer"])


process_results = metrics(acc=robust, acc_official=official)
