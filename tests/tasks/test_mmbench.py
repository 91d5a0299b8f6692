"""MMBench: the passes, the prompt, and circular evaluation on numbers worked out by hand."""

import published

import tasks
from tasks import mmbench

LONG = {"A": "a", "B": "b", "C": "c"}
SHORT = {"A": "a", "B": "b"}


def graded(question, choices, rights, category="x"):
    """The passes of a question, each with whether it was answered right."""
    metadata = {"category": category, "l2_category": "l"}
    return [
        ({"id": str(number * 1_000_000 + question), "choices": choices, "metadata": metadata}, r)
        for number, r in enumerate(rights)
    ]


def test_a_question_counts_only_if_all_its_passes_are_right():
    passes = [
        *graded(7, LONG, [True, True, True]),
        *graded(8, LONG, [True, True, False]),
        *graded(9, SHORT, [True, True], category="y"),
        *graded(10, SHORT, [False, False], category="y"),
    ]
    assert mmbench.summary(passes) == {
        "questions": 4,
        "circular": 0.5,
        "circular, l2: l": 0.5,
        "circular, category: x": 0.5,
        "circular, category: y": 0.5,
    }


def test_a_question_that_was_not_asked_completely_is_left_out():
    passes = [*graded(7, LONG, [True, True]), *graded(8, SHORT, [False, True])]
    assert mmbench.summary(passes)["circular"] == 0
    assert mmbench.summary(passes)["questions"] == 1
    assert mmbench.summary(graded(7, LONG, [True])) == {}


def test_prompt_byte_for_byte():
    row = {"question": "Which?", "hint": "Look.", "choices": SHORT}
    task = tasks.load("mmbench")
    assert task.to_prompt(row) == (
        "<image>Hint: Look.\nQuestion: Which?\nOptions:\nA. a\nB. b\n"
        "Please select the correct answer from the options above. \n"
    )
    assert task.to_prompt({**row, "hint": None}).startswith("<image>Question: Which?\n")


def test_it_loads_from_a_snapshot_of_the_hub(tmp_path):
    row = {"index": 241, "question": "Which?", "hint": "nan", "answer": "A", "A": "nan?",
           "B": "dog", "C": "nan", "D": "nan", "category": "image_scene",
           "image": published.picture(),
           "source": "s", "L2-category": "coarse_perception", "comment": "nan",
           "split": "dev"}  # fmt: skip
    turned = {**row, "index": 1000241, "A": "dog", "B": "nan?", "answer": "B"}
    published.snapshot(tmp_path / "en" / "dev-00000-of-00001.parquet", [row, turned])
    task = tasks.load("mmbench")
    first, second = task.rows(tmp_path)
    assert first["choices"] == {"A": "nan?", "B": "dog"}
    assert (first["hint"], second["id"]) == (None, "1000241")
    assert task.groups(first) == ("l2: coarse_perception", "category: image_scene")
    assert task.summary([(first, True), (second, True)])["circular"] == 1
