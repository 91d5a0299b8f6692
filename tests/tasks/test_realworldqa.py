"""RealWorldQA: options, prompts, verdicts, loading."""

import published
import pytest

import tasks
from tasks import realworldqa
from tasks.judging import settle

QUESTION = (
    "Where is the car?\n\nA. on the left\nB. on the right\n"
    "Please answer directly with only the letter of the correct option and nothing else."
)


def test_options_stand_one_a_line():
    choices = {"A": "on the left", "B": "on the right"}
    assert realworldqa.options(QUESTION) == ("Where is the car?", choices)
    assert realworldqa.options(" How many? ") == ("How many?", {})


def test_prompts_byte_for_byte():
    row = {"question": QUESTION + " "}
    assert realworldqa.to_prompt(row) == f"<image>{QUESTION}"
    assert realworldqa.to_prompt_vlmevalkit(row) == (
        "<image>Question: Where is the car?\nOptions:\nA. on the left\nB. on the right\n"
        "Please select the correct answer from the options above. \n"
    )


@pytest.mark.parametrize(
    ("question", "answer", "text", "right"),
    [
        (QUESTION, "B", "b", True),
        (QUESTION, "B", "(B)", True),
        (QUESTION, "B", "It is on the right.", True),
        (QUESTION, "B", "B. on the right", True),
        (QUESTION, "B", "on the left", False),
        (QUESTION, "B", "The answer is B", False),
        ("How many?", "3", "three", True),
        ("How many?", "3", "3.", True),
        ("How many?", "3", "three lanes", False),
        ("Is it red?", "Yes", "yes", True),
    ],
)
def test_the_official_verdict_is_of_the_whole_reply(question, answer, text, right):
    row = {"question": question, "answer": answer}
    assert realworldqa.official(row, text)[1] is right


def test_a_question_without_options_stays_open_under_vlmevalkit():
    row = {"question": "How many?", "answer": "3"}
    assert settle(realworldqa.by_vlmevalkit, row, "3") == ((None, None), False)
    assert realworldqa.robust(row, "There are 3 of them.") == ("3", True)
    row = {"question": "Is it red?", "answer": "Yes"}
    assert realworldqa.robust(row, "Yes, it is.") == ("yes", True)


def test_it_loads_from_a_snapshot_of_the_hub(tmp_path):
    row = {"image": published.picture(), "question": QUESTION, "answer": "B"}
    published.snapshot(tmp_path / "data" / "test-00000-of-00002.parquet", [row])
    task = tasks.load("realworldqa")
    (found,) = task.rows(tmp_path)
    assert task.to_images(found)[0].read_bytes() == published.picture()
    assert task.groups(found) == ()
