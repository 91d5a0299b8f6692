"""EMMA: 2,788 questions whose pictures must be reasoned with, in four subjects; 400 in EMMA-mini.

Paper: Hao et al. 2025, "Can MLLMs Reason in Multimodality? EMMA: An Enhanced MultiModal ReAsoning
Benchmark", arXiv 2501.05444. Code: github.com/EMMA-Bench/EMMA at 50609fd4, configs/gpt.yaml (the
CoT prompt) and evaluation/; VLMEvalKit (Apache-2.0) at cfa63b1d, vlmeval/dataset/emma.py.

The script judges by rules (`fast-eval`), or by a language model: `official` and `official-judge`.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from tasks import multiple_choice, published
from tasks.data import FOLDER, Data, Row, Source, hub
from tasks.data.loading import loader
from tasks.grading import extract, latex2sympy, shortqa, vlmevalkit, word2number
from tasks.judging import Judging, Reading, Request, metrics
from tasks.mmmu import named_pictures, placed
from tasks.multiple_choice import listed, options
from tasks.published import Check, Pair, Record

SUBJECTS = ("Math", "Physics", "Chemistry", "Coding")

LETTER = (
    "Answer with the option's letter from the given choices and put the letter in one "
    '"\\boxed{}". '
)
SHORT = 'Answer the question using a single word or phrase and put the answer in one "\\boxed{}". '
COT = "Please solve the problem step by step."


# Rows


def _own(data: Data, source: Source) -> Iterator[Row]:
    if data is None:
        source = replace(source, revision=hub.commit(source))
    for subject in SUBJECTS:
        yield from hub.rows("emma", replace(source, config=subject), data)


def _row(row: Row) -> Row:
    shown = [row["context"] or "", row["question"], *(row["options"] or ())]
    about = ("subject", "category", "task", "source")
    return {
        "id": row["pid"],
        "question": row["question"],
        "context": row["context"] or "",
        "choices": row["options"] or None,
        "answer": row["answer"],
        "question_type": row["type"].lower(),
        "metadata": {field: row.get(field) or "" for field in about},
        "images": named_pictures(row, map(_spaced, shown)),
        FOLDER: row[FOLDER],
    }


dataset = loader("emma", _row, ["question", "answer", "question_type", "images"], _own)


def _spaced(text: str) -> str:
    """Write `<image_1>` as MMMU does, `<image 1>`."""
    return re.sub(r"<image_(\d+)>", r"<image \1>", text)


# Prompts


def to_prompt(row: Row) -> str:
    """Return context, question, options and the request for steps and a box.

    Without context the newline behind it stays, as in the published requests.
    """
    asked = f"{row['context']}\n{row['question']}\n"
    if _is_choice(row):
        asked += listed(options(row), "{}: {}") + "\n\n" + LETTER
    else:
        asked += SHORT
    return placed(_spaced(asked + COT), row)


def to_prompt_vlmevalkit(row: Row) -> str:
    """Return VLMEvalKit's form, without a box (`EMMA_COT`)."""
    asked = f"{row['context']}\n\n" if row["context"] else ""
    asked += f"{row['question']}\n\n"
    if _is_choice(row):
        asked += listed(options(row), "{}: {}") + "\n\n\n"
    request = LETTER if _is_choice(row) else SHORT
    asked += re.sub(r" and put the \w+ in one .*(?=\. )", "", request)
    return placed(_spaced(f"{asked}{COT} "), row)


def _is_choice(row: Row) -> bool:
    return row["question_type"].lower() == "multiple choice"


def _letter(row: Row) -> str:
    """Return the right letter; some rows of physics have it as a small one."""
    return str(row["answer"]).upper()


# The official script: evaluation/evaluate.py and evaluation/utils.py

_FLAGS = ("final answer is", "correct answer is", "answer should be", "answer is", "answer:")

_SHOWN = 200
"""Characters of an extraction that are kept as the answer read."""


def official(row: Row, text: str) -> Reading:
    """Extract by the script's rules; the letter, or the option's text, must be the same."""
    said = read(text)
    option = options(row).get(_letter(row)) or row["answer"]
    right = bool(text) and (equal(said, row["answer"]) or equal(said, option))
    return said[:_SHOWN], right


def read(response: str) -> str:
    r"""Return what the script extracts (fast_extract_answer); empty where it finds nothing.

    >>> read("B. the dog"), read(r"so \boxed{\text{dog } }"), read("The answer is 3.5.")
    ('B', 'dog', '3')
    """
    response = response.strip()
    for letter in "ABCDEFGH":
        if response.upper() == letter or response.startswith((f"{letter}:", f"{letter}.")):
            return letter
    if _is_number(response):
        return response
    boxes = _boxes(response) if "boxed{" in response else []
    if boxes:
        inner = re.findall(r"\\text{(.*?)}", boxes[-1])
        return (inner or boxes)[-1].strip()
    lower = response.lower()
    for flag in _FLAGS:
        if flag in lower:
            rest = lower.rpartition(flag)[2].strip()
            return rest.partition("\n")[0].partition(".")[0]
    return ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _boxes(text: str) -> list[str]:
    r"""Return what each balanced `\boxed{}` holds, those inside of others left out."""
    found, start, depth = [], None, 0
    for mark in re.finditer(r"\\boxed\{|[{}]", text):
        if start is None:
            start = mark.end() if len(mark[0]) > 1 else None
        elif mark[0] != "}":
            depth += 1
        elif depth:
            depth -= 1
        else:
            found.append(text[start : mark.start()])
            start = None
    return found


def equal(said: str, truth: str) -> bool:
    r"""Whether two answers are the same text, number word, or number to two decimals (is_equal).

    >>> equal("Twelve of them", "12"), equal(r"\frac{1}{2}", "0.5"), equal("b", "a")
    (True, True, False)
    """
    said, truth = said.lower(), truth.lower()
    if said.strip() == truth.strip() or str(word2number.number(said)) == truth.strip():
        return True
    first, second = latex2sympy.value(said), latex2sympy.value(truth)
    if first is None or second is None:
        return False
    return round(first, 2) == round(second, 2)


_JUDGE = r"""Please read the following example. Then determine whether the response is correct and type it 
at the end of the prompt. It is worth noting that the final answer in the response is usually in \boxed{}, 
You only need to compare the final answer in the response with the answer, without considering the logical 
correctness of the response itself.

Response: The correct answer is:

A

Answer: A

Correct_or_not: Correct

Response: The correct option is:

\[
\boxed{E}
\]

Answer: C

Correct_or_not: Incorrect"""  # noqa: E501, W291


def official_judge(row: Row, text: str) -> Judging:
    """Let the judge say whether the response is correct; "correct" and nothing else is right."""
    if not text:
        return None, False
    prompt = f"{_JUDGE}\nResponse: {text}\nAnswer: {row['answer']}\nCorrect_or_not:"
    said = (yield Request(prompt)).strip()
    return said[:_SHOWN], said.lower() == "correct"


# The other protocols


def by_vlmevalkit(row: Row, text: str, *, head: bool = False) -> Judging:
    """Match a letter with the options; let the judge compare a short answer."""
    if _is_choice(row):
        choices = options(row)
        return (
            yield from vlmevalkit.choose(row["question"], choices, _letter(row), text, head=head)
        )
    return (yield from shortqa.compare(row["question"], row["answer"], text))


def robust(row: Row, text: str) -> Reading:
    """Read a letter or an option's text; a value where there are no options."""
    if _is_choice(row):
        return multiple_choice.read(options(row), _letter(row), text)
    return extract.read_value(text, row["answer"])


def groups(row: Row) -> tuple[str, ...]:
    """Return subject, type, categories within the subject, and task within it where it has one.

    A coding question counts in each of its categories.
    """
    about = row["metadata"]
    subject = about["subject"]
    categories = [part.strip() for part in about["category"].split(";")]
    found = [subject, f"type: {row['question_type'].lower()}"]
    found += [f"{subject}: {category}" for category in categories]
    return (*found, f"task: {subject}_{about['task']}") if about["task"] else tuple(found)


process_results = metrics(acc=robust, acc_official=official)


# Published outputs


def checks(_: Record) -> list[Check]:
    """Check verdicts and extractions by the rules, and verdicts by the judge where one decided."""
    return [
        Check("official", _by_rule, _scores_by_rule),
        Check("official, extraction", _extraction),
        Check("official-judge", _judged(published.right(official_judge, replies=_reply)), _scores),
    ]


def _reply(record: Record) -> list[str]:
    return [record["judge_reply"]] if "judge_reply" in record else []


def _by_rule(record: Record) -> Pair:
    expected = record.get("rerun_rule_verdict", record["official_verdict"])
    return published.reading(official, record)[1], expected


def _extraction(record: Record) -> Pair | None:
    expected = record.get("rerun_extraction", record["official_extraction"])
    return (read(record["response"] or ""), expected or "") if record["response"] else None


def _judged(pair: Callable[[Record], Pair | None]) -> Callable[[Record], Pair | None]:
    return lambda record: None if record["response"] and not _reply(record) else pair(record)


def _scores_by_rule(graded: published.Graded) -> dict[str, Any]:
    """Return the scores of the models whose published ones are by the rules."""
    judged = {record["model"] for record, _ in graded if _reply(record)}
    return _scores([one for one in graded if one[0]["model"] not in judged])


def _scores(graded: published.Graded) -> dict[str, Any]:
    return {
        f"{name}/{what}": value
        for name, (k, n) in published.counts(graded, _score_names).items()
        for what, value in (("accuracy", k / n), ("correct", k), ("total", n))
    }


def _score_names(record: Record) -> Iterator[str]:
    about, base = record["metadata"], f"{record['model']}/published"
    yield f"{base}/average"
    yield f"{base}/subject/{about['subject']}"
    yield f"{base}/question_type/{record['question_type'].lower()}"
    for category in about["category"].split(";"):
        yield f"{base}/category/{about['subject']}/{category.strip()}"
    if about["task"]:
        yield f"{base}/task/{about['subject']}_{about['task']}"
