"""MathVista: verdicts by a judge's extraction, all 1,000 queries, the judges, loading."""

import gzip
import json
import random

import published
import pytest

import tasks
from common.errors import UserError
from tasks import mathvista
from tasks.judging import settle
from tasks.published import bare


@pytest.mark.parametrize("entry", published.entries("mathvista"), ids=lambda entry: entry["model"])
def test_a_judge_who_extracts_as_theirs_leads_to_the_published_verdicts(entry):
    legacy = entry["integer_rule_of_published_verdicts"].startswith("legacy")
    verdict = mathvista.official_2023 if legacy else mathvista.official
    for record in published.records(entry["file"].removesuffix(".jsonl.gz")):
        row, extraction = bare(record), record["official_extraction"] or ""
        (_, right), _ = settle(verdict, row, record["response"], [extraction])
        assert right is record["official_verdict"], record["id"]


def levenshtein(a, b):
    """The table, row by row."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(last[j] + 1, row[-1] + 1, last[j - 1] + (x != y)))
    return row[-1]


def test_the_edit_distance_is_that_of_the_table():
    draw = random.Random(0)
    for _ in range(500):
        a, b = ("".join(draw.choices("abcd", k=draw.randrange(n))) for n in (12, 80))
        assert mathvista.distance(a, b) == levenshtein(a, b), (a, b)


def test_all_queries_are_the_official_ones_byte_for_byte():
    with gzip.open(published.place("questions/mathvista_query.json.gz")) as file:
        queries = json.load(file)
    task = tasks.load("mathvista")
    rows = task.rows(published.place("questions"))
    assert len(rows) == task.source.n == 1000
    for row in rows:
        assert task.to_prompt(row) == f"<image>{queries[row['id']]}"
    # Choices such as "(b)" read as letters: the script does not know its own answer.
    lost = [row["id"] for row in rows if mathvista.score(row, row["answer"])[1] is not True]
    assert lost == ["168", "849"]


ROW = {
    "id": "1",
    "question": "What share is blue?",
    "question_type": "multi_choice",
    "answer_type": "text",
    "choices": ["3/11", "8/11"],
    "answer": "8/11",
    "unit": None,
    "precision": None,
    "metadata": {
        "split": "testmini", "language": "english", "source": "IconQA", "category": "general-vqa",
        "task": "math word problem", "context": "natural image", "grade": "daily life",
        "skills": ["arithmetic reasoning", "numeric commonsense"],
    },
}  # fmt: skip


def test_what_the_judges_are_asked():
    query = (
        "Hint: Please answer the question and provide the correct option letter, e.g., A, B, C, D, "
        "at the end.\nQuestion: What share is blue?\nChoices:\n(A) 3/11\n(B) 8/11"
    )
    official = next(mathvista.official(ROW, "The blue one."))
    assert official.prompt.startswith(
        "Please read the following example. Then extract the answer from the model response and "
        "type it at the end of the prompt.\n\nHint: "
    )
    assert official.prompt.endswith(
        f"Extracted answer: B\n\n{query}\n\nThe blue one.\n\nExtracted answer: "
    )
    assert official.prompt.count("\n\nModel response: ") == 5
    assert (official.temperature, official.max_tokens) == (0, 256)
    asked = mathvista.by_vlmevalkit(ROW, "The blue one.")
    first = next(asked)
    assert first.prompt.startswith("\nPlease read the following example.\nThen extract ")
    assert first.prompt.endswith(
        f"\nExtracted answer: B\n\n{query}\nModel respone: The blue one.Extracted answer:"
    )
    retried = [asked.send("Failed to obtain answer via API.") for _ in range(4)]
    assert [request.temperature for request in retried] == [0.5, 1.0, 1.5, 2.0]
    with pytest.raises(StopIteration) as end:
        asked.send("Failed to obtain answer via API.")
    assert end.value.value == (None, None)


def test_a_right_zero_goes_to_the_judge_as_in_vlmevalkit():
    row = {**ROW, "question_type": "free_form", "answer_type": "integer", "choices": None,
           "answer": "0"}  # fmt: skip
    assert settle(mathvista.by_vlmevalkit, row, "0") == ((None, None), False)
    assert settle(mathvista.by_vlmevalkit, row, "0", ["0"]) == (("0", True), True)


def test_the_test_split_has_no_answers_and_its_verdicts_stay_open(tmp_path):
    raw = {**ROW, "answer": "", "image": "images/1.png"}
    raw.pop("id")
    (tmp_path / "test.json").write_text(json.dumps({"1": raw}))
    task = tasks.load("mathvista_test", "official")
    (row,) = task.rows(tmp_path)
    assert settle(task.verdict, row, "8/11") == (("8/11", None), False)
    assert settle(tasks.load("mathvista_test", "vlmevalkit").verdict, row, "B")[0] == ("B", None)
    assert tasks.load("mathvista_test").verdict(row, "The answer is (B).") == ("B", None)


def test_it_loads_from_its_own_repository(tmp_path):
    (tmp_path / "data" / "images").mkdir(parents=True)
    (tmp_path / "data" / "images" / "1.png").write_bytes(published.picture())
    raw = {**ROW, "image": "images/1.png"}
    raw.pop("id")
    (tmp_path / "data" / "testmini.json").write_text(json.dumps({"1": raw}))
    task = tasks.load("mathvista")
    (row,) = task.rows(tmp_path)
    assert {name: row[name] for name in ROW} == ROW
    assert task.to_images(row)[0].read_bytes() == published.picture()
    assert task.groups(row)[:3] == ("task: MWP", "skill: ARI", "skill: NUM")
    for wrong in ("[]", '{"1": 2}', '"no questions"'):
        (tmp_path / "data" / "testmini.json").write_text(wrong)
        with pytest.raises(UserError, match="testmini.json is no table of questions"):
            task.rows(tmp_path)


def test_it_loads_from_a_snapshot_of_the_hub(tmp_path):
    raw = {"pid": "1", "image": "images/1.png", "decoded_image": published.picture(), **ROW,
           "answer_type": "float", "question_type": "free_form", "choices": None, "answer": "1.2",
           "precision": 1.0}  # fmt: skip
    raw.pop("id")
    path = tmp_path / "data" / "testmini-00000-of-00001.parquet"
    published.snapshot(path, [raw], ["decoded_image"])
    task = tasks.load("mathvista", "official")
    (row,) = task.rows(tmp_path)
    assert task.to_images(row)[0].read_bytes() == published.picture()
    # The hub has the precision as a float.
    assert "with one decimal place" in task.to_prompt(row)
    assert settle(task.verdict, row, "1.24")[0] == ("1.2", True)
