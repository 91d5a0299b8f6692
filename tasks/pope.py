"""POPE: 9,000 questions whether an object is in a picture, by three ways to choose what is not.

Paper: Li et al. 2023, "Evaluating Object Hallucination in Large Vision-Language Models", arXiv
2305.10355. Code: github.com/RUCAIBox/POPE at 3df3ba1b. The pictures are of COCO val2014.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from tasks import multiple_choice, published
from tasks.data import FOLDER, Data, Row, Source, local
from tasks.data.loading import loader
from tasks.grading import extract, vlmevalkit
from tasks.judging import UNPARSED, Judging, Reading, metrics
from tasks.published import Check, Record, Vectors

CATEGORIES = ("random", "popular", "adversarial")


def _own(data: Data, _: Source) -> Iterator[Row] | None:
    """Return the rows of the benchmark's own files.

    They are `coco_pope_<category>.json` with JSON lines (or `pope_coco_<category>.jsonl`), the
    pictures beside them, or in `val2014/`.
    """
    names = ("pope_coco_{}.jsonl", "coco_pope_{}.json")
    paths = local.find_all("pope", data, CATEGORIES, *names)
    return _categories(paths) if paths else None


def _categories(paths: Mapping[str, Path]) -> Iterator[Row]:
    for category, path in paths.items():
        pictures = "val2014/" if (path.parent / "val2014").is_dir() else ""
        for row in local.read_lines(path):
            yield {
                "question_id": row["question_id"],
                "question": row["text"],
                "answer": row["label"],
                "category": category,
                "images": [f"{pictures}{row['image']}"],
                FOLDER: str(path.parent),
            }


def _row(row: Row) -> Row:
    return {
        "id": f"{row['category']}_{row['question_id']}",
        "question": row["question"],
        "answer": row["answer"],
        "metadata": {"category": row["category"]},
        "images": row["images"] or None,
        FOLDER: row[FOLDER],
    }


dataset = loader("pope", _row, ["question", "answer", "images"], _own)


def to_prompt(row: Row) -> str:
    """Return the bare question, as its authors and VLMEvalKit ask it."""
    return f"<image>{row['question']}"


_NO = frozenset(("No", "not", "no"))


def official(row: Row, text: str) -> Reading:
    """Read `no` if the first sentence has No, not or no, else `yes`: evaluate.py."""
    words = text.partition(".")[0].replace(",", "").split(" ")
    said = "yes" if _NO.isdisjoint(words) else "no"
    return said, said == row["answer"]


def by_vlmevalkit(row: Row, text: str) -> Judging:
    """Read the one of the two words that is there."""
    truth = row["answer"].capitalize()
    return (yield from vlmevalkit.say_yes_no(row["question"], truth, text))


def robust(row: Row, text: str) -> Reading:
    """Read yes or no, or that the object is there or not; not both where they differ."""
    read = multiple_choice.read_yes_no(row["answer"], text)
    found = _OBJECT.search(row["question"][:300])
    said = _presence(found[1], text) if found else None
    if read[1] is None:
        return (said, said == row["answer"]) if said else read
    return UNPARSED if said and said != read[0] else read


_OBJECT = re.compile(r"\b(?:is|are)\s+there\s+(?:an?\s+|any\s+)?(.{1,40}?)(?:\s+in\b.*)?\?", re.I)
_SENTENCE = re.compile(r"(?!.*\b(?:if|or|whether)\b)[^.!?;\n]{1,150}[.!]?", re.I)
_SEES = r"(?:(?:see|show|contain|have|include|depict)\s)?"
_NONE = rf"(?:\b(?:no|not\s{_SEES}(?:any|an?)|without)|n['’]t\s{_SEES}(?:any|an?))"
_THERE = (
    r"\b(?:there(?:\s(?:is|are|(?:seems|appears)\sto\sbe)|['’]s)|i\s(?:can\s)?see"
    r"|(?:image|picture|photo)\s(?:shows|contains|has|depicts|includes))"
)
_SOME = (
    r"(?:an?|one|two|three|several|some|the)\s+"
    r"(?:(?!(?:teddy|hot|toy|stuffed|plush|fake|model|wheel)\b)[\w-]+\s+)?"
)
_HEAD = (
    r"(?=\W*$|\s*[.,!(]|\s(?:in|on|at|by|near|next|with|of|to|and|or|but|is|are|can|behind|under|beside"
    r"|between|inside|outside|from|that|which|who|there|here|anywhere|visible|present|shown"
    r"|(?!missing)\w+ing)\b)"
)
"""What follows a noun that is no part of another: no dog house, no dog-shaped cloud."""


def _presence(thing: str, text: str) -> str | None:
    """Read a single sentence: "There is a dog on the left.", "I see no dog."."""
    spoken = extract.after_thinking(text) or ""
    if not _SENTENCE.fullmatch(spoken):
        return None
    named = rf"{re.escape(thing)}(?:e?s)?\b{_HEAD}"
    unseen = rf"^{_SOME}{named}\s(?:is|are)(?:\snot|n['’]t)\s(?:visible|present|shown|there)\b"
    if re.search(rf"{_NONE}\s+(?:an?\s)?{named}|{unseen}", spoken, re.I):
        return "no"
    shown = (
        rf"{_THERE}\s+{_SOME}{named}|^{_SOME}{named}\s(?:is|are|can\sbe)\s(?!not|absent|missing)"
    )
    return "yes" if re.search(shown, spoken, re.I) else None


def groups(row: Row) -> tuple[str, ...]:
    """Return how the absent objects were chosen."""
    return (row["metadata"]["category"],)


def summary(graded: list[tuple[Row, bool]]) -> dict[str, float]:
    """Return accuracy, precision, recall and F1 of yes, and the share of yes; all, and by category.

    An answer that was not read counts as the wrong one of the two, as the official rule has no
    third; with `read` in the row, the answer that was, it counts as neither.
    """
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for row, right in graded:
        truth = row["answer"]
        said = row.get("read", truth if right else {"yes": "no", "no": "yes"}[truth])
        for name in ("all", *groups(row)):
            found[name].append((truth, (said or "").lower()))
    return {
        f"{name} {metric}": value
        for name, pairs in found.items()
        for metric, value in rates(pairs).items()
    }


def rates(pairs: list[tuple[str, str]]) -> dict[str, float]:
    """Return the metrics of truths and answers; what is not `yes` is a no, but may be wrong."""
    hits = sum(truth == said == "yes" for truth, said in pairs)
    said_yes = sum(said == "yes" for _, said in pairs)
    is_yes = sum(truth == "yes" for truth, _ in pairs)
    precision = hits / said_yes if said_yes else 0.0
    recall = hits / is_yes if is_yes else 0.0
    return {
        "accuracy": sum(truth == said for truth, said in pairs) / len(pairs),
        "precision": precision,
        "recall": recall,
        "F1": 2 * precision * recall / (precision + recall) if hits else 0.0,
        "yes ratio": said_yes / len(pairs),
    }


process_results = metrics(acc=robust, acc_official=official)


# Published outputs


def checks(_: Record) -> list[Check]:
    """Check verdicts and words, and the words that VLMEvalKit reads."""
    return [
        Check("official", published.right(official), _scores),
        Check("official, extraction", published.extracted(official)),
        Check("vlmevalkit, rules", published.word(by_vlmevalkit)),
    ]


def _scores(graded: published.Graded) -> dict[str, float]:
    found = summary(graded)
    names = {"accuracy": "accuracy", "precision": "precision", "recall": "recall",
             "F1": "f1", "yes ratio": "yes_ratio"}  # fmt: skip
    return {f"official/{theirs}": found[f"all {ours}"] for ours, theirs in names.items()}


VECTORS: Vectors = {
    ("yes_no", "pope_official"): lambda vector: official({"answer": ""}, vector["response"])[0],
}
