"""CharXiv: charts of scientific papers, with one reasoning and four descriptive questions each.

Paper: Wang et al. 2024, "CharXiv: Charting Gaps in Realistic Chart Understanding in Multimodal
LLMs", arXiv 2406.18521. Code: github.com/princeton-nlp/CharXiv (Apache-2.0) at 7ebe88f7, src/; its
texts lie in charxiv.json, slips included: the JSON of the rubrics is none, and two letters of one
are control characters.

The script's judge grades descriptive answers five a call; here it is one a call, in the same words
with a batch of one, so that no verdict hangs on the answers of other questions.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tasks import multiple_choice, published
from tasks.data import FOLDER, Data, Row, Source, hub, local
from tasks.data.loading import loader
from tasks.grading import claims, extract
from tasks.grading.places import places
from tasks.judging import UNPARSED, Judging, Reading, Request, metrics
from tasks.published import Check, Record

CATEGORIES = {
    "Information Extraction": (1, 2, 3, 4, 5, 6, 7),
    "Enumeration": (8, 9, 13, 14, 15),
    "Pattern Recognition": (11, 16, 18),
    "Counting": (10, 12, 19),
    "Compositionality": (17,),
}
RUBRICS = {
    "title": (1,),
    "ocr": (2, 3, 4, 5, 6, 7),
    "quant": (8, 9, 10, 12, 14, 15, 17, 19),
    "bool": (11,),
    "enum": (13,),
    "trend": (16,),
    "layout": (18,),
}
"""Category, or rubric of the judge → templates of the descriptive questions."""

SUBJECTS = {
    "cs": "Computer Science",
    "econ": "Economics",
    "eess": "Electrical Engineering and Systems Science",
    "math": "Mathematics",
    "physics": "Physics",
    "q-bio": "Quantitative Biology",
    "q-fin": "Quantitative Finance",
    "stat": "Statistics",
}

ANSWERS = {1: "Text-in-Chart", 2: "Text-in-General", 3: "Number-in-Chart", 4: "Number-in-General"}
SOURCES = {1: "GPT-Sourced", 2: "GPT-Inspired", 3: "Completely Human"}

_LAYOUT = (18, 19)
"""Templates that ask about the whole figure."""


@cache
def texts() -> dict[str, Any]:
    """Return the prompts and the judge's texts, by name and template."""
    return dict(json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8")))


# Rows


def _figures(data: Data, source: Source) -> Iterator[Row]:
    """Return figures with their questions, of the repository's three files or of the hub."""
    kinds = ("reasoning", "descriptive", "image_metadata")
    paths = local.find_all("charxiv", data, kinds, "data/{}_val.json", "{}_val.json")
    return map(_of_hub, hub.rows("charxiv", source, data)) if paths is None else _of_files(paths)


def _of_files(paths: Mapping[str, Path]) -> Iterator[Row]:
    tables = [local.read_json(path) for path in paths.values()]
    folder = paths["reasoning"].parent
    where = str(folder.parent if folder.name == "data" else folder)
    for number in tables[0]:
        merged = {name: value for table in tables for name, value in table[number].items()}
        yield {**merged, "figure_id": number, "images": [f"images/{number}.jpg"], FOLDER: where}


def _of_hub(row: Row) -> Row:
    place: Any = row["subplot_loc"] or [row["subplot_row"], row["subplot_col"]]
    return {
        **row,
        "figure_id": Path(row["figure_path"]).stem,
        "qids": [row[f"descriptive_q{n}"] for n in (1, 2, 3, 4)],
        "answers": [row[f"descriptive_a{n}"] for n in (1, 2, 3, 4)],
        "subplot_loc": place,
        "query": row["reasoning_q"],
        "answer": row["reasoning_a"],
        "inst_category": row["reasoning_a_type"],
        "qa_source": row["reasoning_q_source"],
    }


def _descriptive(data: Data, source: Source) -> Iterator[Row]:
    for figure in _figures(data, source):
        for place, qid in enumerate(figure["qids"]):
            id_ = f"{figure['figure_id']}_{place}"
            yield {**figure, "id": id_, "qid": int(qid), "answer": figure["answers"][place]}


def _row(row: Row) -> Row:
    about = ("qid", "inst_category", "qa_source", "num_subplots", "category", "year")
    descriptive = "qid" in row
    question = descriptive_question(row["qid"], row["subplot_loc"]) if descriptive else row["query"]
    return {
        "id": row["id"] if descriptive else row["figure_id"],
        "question": question,
        "answer": row["answer"],
        "metadata": {name: row[name] for name in about if name in row},
        "images": row["images"] or None,
        FOLDER: row[FOLDER],
    }


_NEEDS = ["question", "answer", "images"]
reasoning = loader("charxiv_reasoning", _row, _NEEDS, _figures)
descriptive = loader("charxiv_descriptive", _row, _NEEDS, _descriptive)


# Prompts


def descriptive_question(qid: int, place: list[int] | str) -> str:
    """Return the question of a template about a subplot: row and column, or its name."""
    template = texts()["descriptive"][str(qid)]
    if qid in _LAYOUT:
        return str(template)
    if isinstance(place, str):
        where = f"For {place}, "
    elif place[0] == 0:
        where = "For the current plot, "
    else:
        where = f"For the subplot at row {place[0]} and column {place[1]}, "
    return str(template.format(where))


def to_prompt_descriptive(row: Row) -> str:
    """Return the figure and the question, blanks at its end included."""
    return f"<image>{row['question']}"


def to_prompt_reasoning(row: Row) -> str:
    """Return the figure, the question and what its answer must be like.

    A number that is not in the chart is asked for with the decimals of the true one.
    """
    kind = row["metadata"]["inst_category"]
    _, dot, decimals = row["answer"].partition(".")
    number = "* Your final answer must be an exact integer."
    if dot:
        places = len(decimals.partition(".")[0])
        number = f"* Your final answer must be a number with {places} decimal places."
    return "<image>" + texts()["reasoning"][str(kind)].format(row["question"], number)


# The official script: src/descriptive_utils.py and src/reasoning_utils.py

TRIES, TOKENS, MOST_TOKENS = 10, 256, 1024

_SHOWN = 200
"""Characters of an extraction that are kept as the answer read."""


def official_descriptive(row: Row, text: str) -> Judging:
    """Let the judge grade the answer by the rubric of its template."""
    qid = row["metadata"]["qid"]
    prompt = (
        texts()["judge descriptive"]
        .replace("<|NUM_TRIPLETS|>", "1")
        .replace("<|OVERARCHING_QUESTION|>", texts()["overarching"][str(qid)])
        .replace("<|JSON_KEYS|>", str(["extract_answer_T1", "score_T1"]))
    )
    prompt += texts()["rubrics"][_of(RUBRICS, qid)]
    prompt += f"T1:\nResponse 1: {text}\nGround Truth 1: {row['answer']}\n\n"
    return (yield from _graded(prompt, "extract_answer_T1", "score_T1", (0, 1)))


def official_reasoning(row: Row, text: str) -> Judging:
    """Let the judge grade the answer by the rules of its kind; any score but 1 is wrong.

    A reply must name `extracted_answer`, as the examples do, though the text before them asks for
    `extract_answer`.
    """
    rules = texts()["rules"][str(row["metadata"]["inst_category"])]
    filled = rules.replace("<|question|>", row["question"])
    filled = filled.replace("<|ground_truth|>", row["answer"]).replace("<|response|>", text)
    prompt = texts()["judge reasoning"] + filled
    return (yield from _graded(prompt, "extracted_answer", "score"))


def _graded(prompt: str, answer: str, score: str, scores: Sequence[int] | None = None) -> Judging:
    """Ask until a reply is JSON with both keys; one that was cut is asked for with more tokens.

    The script's judge is held to JSON; here a fence around it is passed by.
    """
    tokens = TOKENS
    for attempt in range(TRIES):
        reply = yield Request(prompt, max_tokens=tokens, attempt=attempt)
        try:
            found = json.loads(re.sub(r"^```(?:json)?|```$", "", reply.strip()))
            said, given = str(found[answer]), found[score]
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            if "Unterminated string" in str(error):
                if tokens == MOST_TOKENS:
                    break
                tokens = min(MOST_TOKENS, 2 * tokens)
            continue
        if scores is None or given in scores:
            return said[:_SHOWN], given == 1
    return UNPARSED


def _of(table: Mapping[str, tuple[int, ...]], qid: int) -> str:
    return next(name for name, templates in table.items() if qid in templates)


# Our own reading

_NONE = "Not Applicable"
_SAYS_NONE = re.compile(r"\bnot applicable\b|\bN/A\b", re.IGNORECASE)
_SUPPOSED = re.compile(r"\bif\b|^\(.*\)\W*$", re.IGNORECASE)
"""A sentence that supposes, or an aside in brackets, states no answer."""


def robust(row: Row, text: str) -> Reading:
    """Read "Not Applicable", yes or no, a value, or words, which must be those of the answer."""
    truth = row["answer"]
    if _says_none(text):
        return _NONE, truth == _NONE
    if truth.lower() in ("yes", "no"):
        return multiple_choice.read_yes_no(truth, text)
    reading = extract.read_value(text, truth)
    return UNPARSED if reading[1] and truth == _NONE else reading


def _says_none(text: str) -> bool:
    """Whether the surest place that states an answer asserts "Not Applicable"."""
    for place in places(text):
        named = [
            claims.stands(place.text, *found.span()) for found in _SAYS_NONE.finditer(place.text)
        ]
        if any(named) and (place.kind in ("box", "mark") or not _SUPPOSED.search(place.text)):
            return True
        if place.is_plain:
            return False
    return False


# Breakdowns


def groups_descriptive(row: Row) -> tuple[str, ...]:
    """Return template, category, number of subplots, subject and year."""
    qid = row["metadata"]["qid"]
    return f"Q{qid}", f"category: {_of(CATEGORIES, qid)}", *_figure(row)


def groups_reasoning(row: Row) -> tuple[str, ...]:
    """Return kind of answer, source, number of subplots, subject and year."""
    about = row["metadata"]
    kind, source = ANSWERS[about["inst_category"]], SOURCES[about["qa_source"]]
    return f"answer: {kind}", f"source: {source}", *_figure(row)


def _figure(row: Row) -> tuple[str, str, str]:
    about = row["metadata"]
    n, year = int(about["num_subplots"]), f"20{about['year']}"[-4:]
    subplots = "1 Subplot" if n == 1 else "2-4 Subplots" if n < 5 else "5+ Subplots"
    subject = SUBJECTS.get(about["category"], about["category"])
    return f"subplots: {subplots}", f"subject: {subject}", f"year: {year}"


process_results = metrics(acc=robust)


# Published outputs


def checks(_: Record) -> list[Check]:
    """Check verdicts and breakdowns, from the scores that the judge gave."""
    return [Check("official", _judged, _scores)]


def _judged(record: Record) -> published.Pair:
    reply = {"extract_answer_T1": record["official_extraction"], "score_T1": record["judge_score"]}
    replies = [json.dumps(reply)] * TRIES
    found = published.reading(official_descriptive, record, replies=replies)
    return found[1] is True, record["official_verdict"]


_HEADS = {"category": "By Category", "subplots": "By Subplot", "subject": "By Subject",
          "year": "By Year"}  # fmt: skip


def _scores(graded: published.Graded) -> dict[str, Any]:
    found = published.counts(graded, _score_names)
    scores: dict[str, Any] = {name: round(100 * k / n, 2) for name, (k, n) in found.items()}
    failed = sum(record["judge_score"] not in (0, 1) for record, _ in graded)
    return {**scores, "N_valid": len(graded), "N_invalid": failed}


def _score_names(record: Record) -> Iterator[str]:
    yield "Overall Score"
    for group in groups_descriptive(record):
        kind, _, value = group.partition(": ")
        yield f"{_HEADS[kind]}/{value}" if value else f"By Question/{group}"
