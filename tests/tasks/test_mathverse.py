"""MathVerse: the judge's requests, prompts, versions, loading."""

import json

import published
import pytest

import tasks
from common.errors import UserError
from tasks import mathverse
from tasks.judging import settle

CHOICE = "provide the correct option letter, e.g., A, B, C, D."
VALUE = "provide the final value, e.g., 1, 2.5, 300."


def query(row):
    """The question without CoT as the paper's generator puts it together."""
    asked = CHOICE if row["question_type"] == "multi-choice" else VALUE
    if not row["question"]:
        shown = "According to the question shown in the image, please"
        return f"{shown} directly answer the question and {asked}"
    return f"Please directly answer the question and {asked}\nQuestion: {row['question']}"


def test_prompts_follow_the_official_form_and_have_a_picture_unless_text_only():
    for record in published.records("mathverse_templates"):
        mark = "" if record["metadata"]["problem_version"] == "Text Only" else "<image>"
        assert mathverse.to_prompt(record) == mark + query(record)


def test_all_text_only_questions_load():
    task = tasks.load("mathverse_text_only")
    rows = task.rows(published.place("questions"))
    assert len(rows) == task.source.n == 788
    for row in rows:
        assert task.to_prompt(row) == query(row)
        assert task.to_images(row) == []
        if row["question_type"] == "multi-choice":
            assert mathverse.options(row["question"])
    assert len({task.cluster(row) for row in rows}) == 788
    assert task.groups(rows[0]) == (
        "version: Text Only", "subject: Plane Geometry", "subfield: Plane Geometry (Angle)",
    )  # fmt: skip


def test_an_option_without_text_leaves_the_next_one_alone():
    question = "What is it?\nChoices:\nA:6\nB: 7 \nC:8\nD:\nE:It gives 9"
    assert mathverse.options(question) == {
        "A": "6", "B": "7", "C": "8", "D": "", "E": "It gives 9",
    }  # fmt: skip


def test_the_published_responses_are_read():
    read = [
        mathverse.robust(mathverse.from_record(record), record["response"])[1]
        for record in published.records("mathverse_templates")
    ]
    # The model says 13 to the fifth.
    assert read == [True, True, True, True, False, True]


ROW = {
    "id": "5",
    "question": "",
    "question_for_eval": "How long is {AB}?",
    "question_type": "free-form",
    "answer": "4.4 m",
    "query_wo": "According to the question shown in the image, …",
    "metadata": {
        "split": "testmini",
        "source": "GeoQA",
        "subject": "Plane Geometry",
        "subfield": "Length",
        "problem_version": "Vision Only",
        "problem_index": "1",
    },
}


def test_what_the_official_judge_is_asked():
    asked = mathverse.official(ROW, "word " * 40 + "so it is 4.4 metres")
    first = next(asked)
    assert first.prompt.startswith("I am providing you a response from a model to a math problem, ")
    assert first.prompt.endswith(
        "Extracted answer: f(x) = -x^2 - 2x + 1\n\n7.\n\nModel response: '" + "word " * 25 +
        "so it is 4.4 metres'\nExtracted Answer: "
    )  # fmt: skip
    assert r"the range in interval notation is \((-4, 1]\)." in first.prompt
    second = asked.send(" Extracted Answer: 4.4 metres ")
    assert second.prompt.startswith("Below are two answers to a math question. ")
    assert second.prompt.endswith(
        "Judgement: 1\n\n[Question]: How long is {AB}?\n[Standard Answer]: 4.4 m\n"
        "[Model_answer] : 4.4 metres\nJudgement:"
    )
    assert (second.prompt.count("Judgement: 0"), second.prompt.count("Judgement: 1")) == (4, 1)
    assert "B:2√{3}\n" in second.prompt
    again = asked.send("I think they agree")
    assert (again.prompt, again.temperature, again.attempt) == (second.prompt, 0, 1)


def test_what_vlmevalkits_judge_is_asked():
    asked = mathverse.by_vlmevalkit(ROW, "so it is 4.4 metres")
    first = next(asked)
    assert first.prompt.startswith("\nI am providing you a response from a model to a math problem")
    assert "with no explanation.\n\n\n\n1.\nModel response: 'Rounded" in first.prompt
    assert first.prompt.endswith(
        "Extracted answer: f(x) = -x^2 - 2x + 1\n\n\n7.\nModel response: 'so it is 4.4 metres'\n"
        "Extracted Answer: "
    )
    second = asked.send("4.4 metres")
    assert second.prompt.endswith(
        "Judgement: 0\n\n\n\n    [Question]: How long is {AB}?\n    [Standard Answer]: 4.4 m\n"
        "    [Model_answer] : 4.4 metres\n    Judgement:"
    )
    assert (second.prompt.count("Judgement: 0"), second.prompt.count("Judgement: 1")) == (4, 0)
    assert "B:2√{{3}}\n" in second.prompt
    assert [asked.send("yes").temperature for _ in range(4)] == [0.5, 1.0, 1.5, 2.0]


@pytest.mark.parametrize(
    ("answer", "text", "right"),
    [
        ("(B)", "The answer is B.", True),
        ("90 T", "The answer is A.", True),
        ("90 T", "The answer is B.", False),
        ("C\nD", "\\boxed{C, D}", True),
    ],
)
def test_answers_that_are_no_bare_letter(answer, text, right):
    asked = "Which?\nChoice:\nA. 90 T\nB. 180 T\nC. 49 T\nD. 41 T"
    row = {"question_type": "multi-choice", "question_for_eval": asked, "answer": answer}
    assert mathverse.robust(row, text)[1] is right


def test_an_answer_that_names_what_it_is_of_is_compared_by_its_value():
    row = {"question_type": "free-form", "answer": "Area $=9.4 \\mathrm{~cm}^{2}$"}
    assert mathverse.robust(row, "The answer is 9.4.")[1] is True
    assert mathverse.robust(row, "The answer is 9.5.")[1] is False


RAW = {"sample_index": "5", "problem_index": "1", "problem_version": "Vision Only", "question": "",
       "answer": "4.4 m", "question_type": "free-form", "query_wo": ROW["query_wo"],
       "question_for_eval": "How long is {AB}?", "image": "images_version_6/image_1.png",
       "metadata": {name: ROW["metadata"][name] for name in
                    ("split", "source", "subject", "subfield")}}  # fmt: skip
DOMINANT = {**RAW, "sample_index": "4", "problem_version": "Vision Dominant", "question": "Find L."}


@pytest.mark.parametrize("place", ["images_version_6", "images/images_version_6"])
def test_versions_load_from_the_repositorys_files(tmp_path, place):
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / "image_1.png").write_bytes(published.picture())
    (tmp_path / "testmini.json").write_text(json.dumps([DOMINANT, RAW]))
    assert [row["id"] for row in tasks.load("mathverse").rows(tmp_path)] == ["4", "5"]
    task = tasks.load("mathverse_vision_only")
    (row,) = task.rows(tmp_path)
    assert {name: row[name] for name in ROW} == ROW
    assert task.to_images(row)[0].read_bytes() == published.picture()
    (tmp_path / "testmini.json").write_text("{}")
    with pytest.raises(UserError, match="testmini.json is no list of questions"):
        task.rows(tmp_path)


def test_it_loads_from_a_snapshot_of_the_hub(tmp_path):
    rows = [{**row, "image": published.picture()} for row in (DOMINANT, RAW)]
    published.snapshot(tmp_path / "testmini.parquet", rows)
    task = tasks.load("mathverse_vision_only")
    (row,) = task.rows(tmp_path)
    assert {name: row[name] for name in ROW} == ROW
    assert task.to_images(row)[0].read_bytes() == published.picture()
    text = {**RAW, "image": "", "problem_version": "Text Only"}
    text.pop("question_for_eval")
    published.snapshot(tmp_path / "testmini_text_only.parquet", [text], [])
    (row,) = tasks.load("mathverse_text_only").rows(tmp_path)
    assert tasks.load("mathverse_text_only").to_images(row) == []


def test_an_image_version_without_its_picture_is_named(tmp_path):
    (tmp_path / "testmini.json").write_text(json.dumps([{**RAW, "image": None}]))
    with pytest.raises(UserError, match=r"1 rows have no images \(5\)"):
        tasks.load("mathverse").rows(tmp_path)


def test_a_judge_that_fails_leaves_it_open():
    failed = ["Failed to obtain answer via API."] * 5
    assert settle(mathverse.by_vlmevalkit, ROW, "4.4 m", failed) == ((None, None), True)
