"""ScienceQA against the official extractions; prompts, groups, loading."""

import json

import published
import pytest

import tasks
from tasks import scienceqa


def test_every_published_extraction():
    records = published.records("scienceqa_test__gpt3_extraction_only")
    drawn = 0
    for record in records:
        found, right = scienceqa.official(scienceqa.from_record(record), record["response"])
        assert right is None
        if found is None:
            # The script draws where "The answer is X." does not stand there just once.
            assert record["response"].count("The answer is ") != 1, record["id"]
            drawn += 1
        else:
            assert scienceqa.LETTERS.index(found) == record["official_extraction"], record["id"]
    assert drawn == {4241: 249, 425: 20}[len(records)]


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("A", "A"),
        ("B. steam", "B"),
        ("B.", None),
        ("B) steam", None),
        ("The answer is C. BECAUSE", "C"),
        ("The answer is C. The answer is D.", None),
        ("the answer is C.", None),
        ("F", None),
        ("", None),
    ],
)
def test_the_reading_of_llavas_script(text, letter):
    assert scienceqa.read_letter(text) == letter


def test_prompts_byte_for_byte():
    row = {"question": "Which is a gas?", "hint": "Think.", "choices": ["rock", "steam"]}
    assert scienceqa.to_prompt(row) == (
        "<image>Context: Think.\nWhich is a gas?\nA. rock\nB. steam\n"
        "Answer with the option's letter from the given choices directly."
    )
    assert scienceqa.to_prompt({**row, "hint": ""}).startswith("<image>Which is a gas?\nA. rock")
    assert tasks.load("scienceqa", "vlmevalkit").to_prompt(row) == (
        "<image>Hint: Think.\nQuestion: Which is a gas?\nOptions:\nA. rock\nB. steam\n"
        "Please select the correct answer from the options above. \n"
    )


ROW = {
    "question": "Which is a gas?", "choices": ["rock", "steam"], "answer": 1, "hint": "",
    "task": "closed choice", "grade": "grade8", "subject": "natural science",
    "topic": "chemistry", "category": "Matter", "skill": "s", "lecture": "l", "solution": "s",
}  # fmt: skip


def test_it_loads_from_its_own_folder(tmp_path):
    pictures = tmp_path / "images" / "test" / "5"
    pictures.mkdir(parents=True)
    (pictures / "image.png").write_bytes(published.picture())
    problems = {
        "4": {**ROW, "split": "test", "image": None},
        "5": {**ROW, "split": "test", "image": "image.png", "hint": "h", "grade": "grade2"},
        "6": {**ROW, "split": "train", "image": "image.png"},
    }
    (tmp_path / "problems.json").write_text(json.dumps(problems))
    task = tasks.load("scienceqa")
    (row,) = task.rows(tmp_path)
    assert (row["id"], row["answer"]) == ("5", "B")
    assert task.to_images(row)[0].read_bytes() == published.picture()
    assert task.groups(row) == (
        "subject: natural science", "context: text and image", "grade: 1-6"
    )  # fmt: skip


def test_it_loads_from_a_snapshot_of_the_hub(tmp_path):
    path = tmp_path / "ScienceQA-IMG" / "test-00000-of-00001.parquet"
    published.snapshot(path, [{**ROW, "image": published.picture()}])
    (row,) = tasks.load("scienceqa").rows(tmp_path)
    assert tasks.load("scienceqa").groups(row) == (
        "subject: natural science", "context: image", "grade: 7-12"
    )  # fmt: skip
