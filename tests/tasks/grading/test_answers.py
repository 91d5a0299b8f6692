"""Answers as models write them, and what a careful human would call them.

Our own table is read to the last row. The shared cases, where they are at hand, must agree but for
a few; credit to a wrong answer is counted apart, as it is the worst.
"""

import json
import re
import time
from collections import Counter, defaultdict
from pathlib import Path

import places
import pytest

import tasks
from tasks.grading import extract

TABLE = Path(__file__).parents[2] / "data" / "answers.jsonl"
CASES = places.SHARED / "cases" / "answers.jsonl"
ROWS = [json.loads(line) for line in TABLE.read_text(encoding="utf-8").splitlines()]
KINDS = defaultdict(list)
for one in ROWS:
    KINDS[one["kind"]].append(one)


def read(row):
    """What is made of a row: a letter, or whether the value is right."""
    if "options" in row:
        return extract.read_choice(row["text"], row["options"])
    if "task" in row:
        return tasks.load(row["task"]).verdict(row["row"], row["text"])[1]
    asked = {name: row[name] for name in ("unit", "precision") if name in row}
    return extract.read_value(row["text"], row["truth"], **asked)[1]


def test_the_table_is_large_and_has_both_what_counts_and_what_does_not():
    assert len(ROWS) >= 150
    wanted = Counter(str(row["want"]) for row in ROWS)
    assert min(wanted["True"], wanted["False"], wanted["None"]) > 40


@pytest.mark.parametrize("kind", KINDS)
def test_our_own_rows_are_read_as_a_careful_human_reads_them(kind):
    odd = [(row["text"], found) for row in KINDS[kind] if (found := read(row)) != row["want"]]
    assert odd == []


@pytest.fixture(scope="module")
def judged():
    if not CASES.exists():
        pytest.skip(f"{CASES} is not here")
    cases = [json.loads(line) for line in CASES.read_text(encoding="utf-8").splitlines()]
    found = []
    for case in cases:
        began = time.process_time()
        verdict = tasks.load(case["task"]).verdict(case["row"], case["response"])[1]
        found.append((case, verdict, time.process_time() - began))
    return found


def test_the_shared_cases_agree_but_for_a_few(judged):
    agree = sum(verdict == case["expected"] for case, verdict, _ in judged)
    assert agree >= 0.97 * len(judged)


def test_hardly_any_wrong_answer_of_the_shared_cases_is_credited(judged):
    credited = [case["response"] for case, verdict, _ in judged if verdict and not case["expected"]]
    assert len(credited) <= 4, credited


def test_the_shared_cases_are_read_at_once(judged):
    assert max(seconds for *_, seconds in judged) < 1


PAGE = places.ROOT / "docs" / "how_answers_are_read.md"
EXAMPLES = re.findall(r"^\| (.+?) \| `(.+?)` \| (\w+) \|$", PAGE.read_text(encoding="utf-8"), re.M)
WORDS = {"right": True, "wrong": False, "unparsed": None}


@pytest.mark.parametrize(("asked", "said", "read_as"), EXAMPLES)
def test_the_examples_of_the_page_on_reading_hold(asked, said, read_as):
    said = said.replace(r"\nB", "\nB").replace(r"\nThe", "\nThe")
    if options := dict(re.findall(r"([A-Z])\. (\S+)", asked)):
        assert extract.read_choice(said, options) == WORDS.get(read_as, read_as)
    else:
        assert extract.read_value(said, asked.strip("`"))[1] is WORDS[read_as]


def test_the_page_on_reading_has_examples_of_each_part():
    parts = PAGE.read_text(encoding="utf-8").split("\n## ")[1:7]
    assert all(part.count("\n| ") > 3 for part in parts)
    assert len(EXAMPLES) > 30
