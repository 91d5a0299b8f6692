"""MMMU: 900 validation questions of college level in 30 subjects, with up to seven pictures each.

Paper: Yue et al. 2024, "MMMU: A Massive Multi-discipline Multimodal Understanding and Reasoning
Benchmark for Expert AGI", arXiv 2311.16502. Code: github.com/MMMU-Benchmark/MMMU at bb0b95a9.

The official script draws a random letter where it reads none; here such an answer stays unparsed.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from string import ascii_uppercase

from tasks import multiple_choice, published
from tasks.data import FOLDER, Data, Row, Source, hub, local
from tasks.data.loading import loader
from tasks.grading import extract, vlmevalkit
from tasks.judging import UNPARSED, Judging, Reading, metrics
from tasks.multiple_choice import REQUEST, listed, options
from tasks.published import Check, Record, Vectors

DOMAINS = {
    "Art and Design": ("Art", "Art_Theory", "Design", "Music"),
    "Business": ("Accounting", "Economics", "Finance", "Manage", "Marketing"),
    "Science": ("Biology", "Chemistry", "Geography", "Math", "Physics"),
    "Health and Medicine": (
        "Basic_Medical_Science",
        "Clinical_Medicine",
        "Diagnostics_and_Laboratory_Medicine",
        "Pharmacy",
        "Public_Health",
    ),
    "Humanities and Social Science": ("History", "Literature", "Sociology", "Psychology"),
    "Tech and Engineering": (
        "Agriculture",
        "Architecture_and_Engineering",
        "Computer_Science",
        "Electronics",
        "Energy_and_Power",
        "Materials",
        "Mechanical_Engineering",
    ),
}
"""mmmu/utils/data_utils.py DOMAIN_CAT2SUB_CAT."""

_DOMAIN = {subject: domain for domain, subjects in DOMAINS.items() for subject in subjects}

_TAG = re.compile(r"<image (\d+)>")

SHORT = "\nAnswer the question using a single word or phrase."
"""mmmu/configs/llava1.5.yaml, as YAML reads it."""


def _own(data: Data, source: Source) -> Iterator[Row]:
    """Return the rows of the hub's 30 configurations, a snapshot of them, or the answer file.

    `mmmu_answer_dict_val.json` has no questions, options or pictures: its rows can be counted, and
    responses to its short-answer questions scored.
    """
    answers = local.find(data, "mmmu_answer_dict_val.json")
    return _subjects(data, source) if answers is None else _answers_only(answers)


def _subjects(data: Data, source: Source) -> Iterator[Row]:
    if data is None:
        source = replace(source, revision=hub.commit(source))
    for subject in sorted(_DOMAIN):
        for row in hub.rows("mmmu", replace(source, config=subject), data):
            yield {**row, "subject": subject}


def _answers_only(path: Path) -> Iterator[Row]:
    for name, entry in local.read_json(path).items():
        yield {
            "id": name,
            "question_type": entry["question_type"],
            "question": "",
            "options": "[]",
            "answer": entry["ground_truth"],
            "subject": name.removeprefix("validation_").rpartition("_")[0],
            "images": [],
            FOLDER: str(path.parent),
        }


def _row(row: Row) -> Row:
    choices = unquoted(row["options"])
    return {
        "id": row["id"],
        "question_type": row["question_type"],
        "question": row["question"],
        "choices": choices or None,
        "answer": row["answer"] if choices else _gold(row["answer"]),
        "metadata": {"subject": row["subject"], "topic_difficulty": row.get("topic_difficulty")},
        "images": named_pictures(row, [row["question"], *choices]),
        FOLDER: row[FOLDER],
    }


dataset = loader("mmmu", _row, ["answer", "images"], _own)


def unquoted(written: str | list[str]) -> list[str]:
    """Return options that the hub keeps as the text of a Python list."""
    return [str(item) for item in ast.literal_eval(str(written))]


def _gold(answer: str | list[str]) -> str | list[str]:
    """Return a short answer; three of them are the text of a list."""
    return unquoted(answer) if str(answer).startswith("['") else answer


def named_pictures(row: Row, texts: Iterable[str]) -> list[str] | None:
    """Return the pictures in the order in which `<image N>` names them, or all if none is named.

    None where one that is named is missing.
    """
    tags = [int(number) for text in texts for number in _TAG.findall(text)]
    if not tags:
        return list(row["images"])
    named = [row.get(f"image_{number}") for number in tags]
    return None if None in named else [str(name) for name in named]


def placed(text: str, row: Row) -> str:
    """Put `<image>` where the tags are; in front if there is no tag."""
    if not _TAG.search(text):
        return "<image>" * len(row["images"]) + text
    return _TAG.sub("<image>", text)


def to_prompt(row: Row) -> str:
    """Return the question and the options, with the request for a letter or a short answer."""
    if not row["choices"]:
        return placed(f"{row['question']}{SHORT}", row)
    shown = listed(options(row), "({}) {}")
    return placed(f"{row['question']}\n{shown}\n{REQUEST}", row)


def to_prompt_vlmevalkit(row: Row) -> str:
    """Return VLMEvalKit's multiple-choice prompt, without options for a short answer."""
    return placed(vlmevalkit.mcq_prompt(row["question"], options(row)), row)


# The official script: mmmu/utils/eval_utils.py


_SHOWN = 200
"""Characters of what was found in a short answer that are kept as the answer read."""

LETTER_FORMS = (("({})", "({})"), (" {} ", " {} "))
"""How an option letter is looked for, and how the last of several; the first that fits counts."""


def read_letter(
    response: str, choices: Mapping[str, str], forms: Iterable[tuple[str, str]] = LETTER_FORMS
) -> str | None:
    """Return the option that the official parser reads, None where it would draw one at random.

    >>> read_letter("It is (B), not (A)", {"A": "cat", "B": "dog"})
    'A'
    """
    for mark in ",.!?;:'":
        response = response.strip(mark)
    response = f" {response} "
    for form, last in forms:
        if named := [letter for letter in choices if form.format(letter) in response]:
            return max(named, key=lambda letter: response.rfind(last.format(letter)))
    if len(response.split()) <= 5:
        return None
    response = response.lower()
    named = [letter for letter, text in choices.items() if text.lower() in response]
    # Of several that end last, the first.
    return max(named, key=lambda letter: response.rfind(choices[letter].lower()), default=None)


_SEGMENT = re.compile(r"\.\s(?=[A-Z])|\n")
_BEFORE = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
# The script's three patterns. A number cannot start amid digits: said here by the look-behinds,
# which change no match but keep a long run of digits from being tried from each of its digits.
_NUMBERS = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),
    re.compile(r"-?(?<!\d)\d+(?:\.\d+)?[eE][+-]?\d+"),
    re.compile(r"-?(?:(?<!\d)\d+\.\d+|\.\d+|(?<!\d)\d+\b)(?![eE][+-]?\d+)(?![,\d])"),
)


def read_short(response: str) -> list[str | float]:
    """Return all texts and numbers that the official parser finds in a short answer.

    >>> sorted(read_short("x = 5"))
    [5.0]
    """
    response = response.strip().strip(".").lower()
    segments = _SEGMENT.split(response)
    found = []
    for number, segment in enumerate(segments, start=1):
        marks = (*_BEFORE, "=") if number == len(segments) else _BEFORE
        tail = _shortest_tail(segment, marks)
        if tail and tail not in tuple(":,.!?;'"):
            found.append(tail)
    found = found or [response]
    spelled = [
        number
        for text in found
        for form in _NUMBERS
        for number in dict.fromkeys(form.findall(text))
    ]
    values = (value for text in (*found, *spelled) for value in _normal(text))
    return list(dict.fromkeys(values))


def _shortest_tail(text: str, marks: Iterable[str]) -> str:
    """Return the shortest part behind a mark, as the script finds it: an empty one is passed by."""
    shortest = ""
    for mark in marks:
        if mark in text:
            tail = text.rpartition(mark)[2].strip()
            if not shortest or len(tail) < len(shortest):
                shortest = tail
    return shortest


def _normal(text: str) -> list[str | float]:
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        text = text.lower()
        return [f" {text}", f"{text} "] if len(text) == 1 else [text]


def agrees(found: Iterable[str | float], gold: str | list[str]) -> bool:
    """Whether a found text contains a right one, or a found number is one."""
    right = [value for text in _all(gold) for value in _normal(text)]
    texts = [value for value in right if isinstance(value, str)]
    return any(
        any(text in value for text in texts) if isinstance(value, str) else value in right
        for value in found
    )


def _all(gold: str | list[str]) -> list[str]:
    return gold if isinstance(gold, list) else [gold]


def official(row: Row, text: str) -> Reading:
    """Read a letter or a short answer as the official script does."""
    if _is_short(row):
        found = read_short(text)
        return " | ".join(str(value) for value in found)[:_SHOWN], agrees(found, row["answer"])
    letter = read_letter(text, options(row))
    return UNPARSED if letter is None else (letter, letter == row["answer"])


def _is_short(row: Row) -> bool:
    return row["question_type"] != "multiple-choice"


# The other protocols


def by_vlmevalkit(row: Row, text: str, *, head: bool = False) -> Judging:
    """Match with the options; a short answer becomes option A, beside B, "Other Answers"."""
    if _is_short(row):
        gold = str(row["answer"])
        choices = {"A": gold, "B": "Other Answers"}
        truth = gold if gold in tuple(ascii_uppercase) else "A"
    else:
        choices, truth = options(row), row["answer"]
    return (yield from vlmevalkit.choose(row["question"], choices, truth, text, head=head))


def robust(row: Row, text: str) -> Reading:
    """Read a letter, an option's text or a value."""
    if _is_short(row):
        readings = [extract.read_value(text, gold) for gold in _all(row["answer"])]
        return next((reading for reading in readings if reading[1]), readings[0])
    return multiple_choice.robust(row, text)


def groups(row: Row) -> tuple[str, ...]:
    """Return domain and subject, and how hard it is where that is known."""
    subject, difficulty = row["metadata"]["subject"], row["metadata"].get("topic_difficulty")
    found = (f"domain: {_DOMAIN[subject]}", f"subject: {subject}")
    return (*found, f"difficulty: {difficulty}") if difficulty else found


process_results = metrics(acc=robust, acc_official=official)


# Published outputs


def checks(_: Record) -> list[Check]:
    """Check verdicts and VLMEvalKit's letters."""
    return [
        Check("official", published.right(official), published.counter(_score_names)),
        Check("vlmevalkit, rules", published.matched(by_vlmevalkit)),
    ]


def _score_names(record: Record) -> tuple[str, str]:
    return "overall", groups(record)[1].removeprefix("subject: ")


VECTORS: Vectors = {
    ("option_match", "mmmu_official"): lambda vector: (
        read_letter(vector["response"], vector["choices"]) or "RANDOM"
    ),
    ("mmmu.open", "parsed"): lambda vector: read_short(vector["response"]),
    ("mmmu.open", "verdict"): lambda vector: agrees(read_short(vector["response"]), vector["gt"]),
}
