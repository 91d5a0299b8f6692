"""MMStar: options, prompts, loading."""

import published

import tasks
from tasks import mmstar


def test_every_question_is_split_from_its_options():
    # The questions state no licence, so the project's part of what is published has none of them.
    for record in (one for name in published.files("mmstar") for one in published.records(name)):
        stem, options = mmstar.options(record["question"])
        three = record["id"] == 855  # the one question with three options
        assert list(options) == list("ABC" if three else "ABCD"), record["id"]
        assert all(options.values()), record["id"]
        assert stem, record["id"]


def test_both_layouts_of_options():
    listed = "Which?\nOptions: A: a cat, a dog, B: none, C: nan, D: nan"
    options = {"A": "a cat, a dog", "B": "none", "C": "nan", "D": "nan"}
    assert mmstar.options(listed) == ("Which?", options)
    stacked = "Hint: h\nQuestion: Which?\nChoices:\n(A) 0.5\n(B) 1"
    assert mmstar.options(stacked) == ("Hint: h\nQuestion: Which?", {"A": "0.5", "B": "1"})
    assert mmstar.options("Which?") == ("Which?", {})
    row = {"question": listed, "answer": "A"}
    assert mmstar.to_prompt_vlmevalkit(row) == (
        "<image>Question: Which?\nOptions:\nA. a cat, a dog\nB. none\n"
        "Please select the correct answer from the options above. \n"
    )


def test_prompts_byte_for_byte():
    row = {"question": "Which?\nOptions: A: cat, B: dog"}
    assert mmstar.to_prompt(row) == "<image>Question: Which?\nOptions: A: cat, B: dog\n"
    assert mmstar.to_prompt_vlmevalkit(row) == (
        "<image>Question: Which?\nOptions:\nA. cat\nB. dog\n"
        "Please select the correct answer from the options above. \n"
    )


def test_it_loads_from_a_snapshot_of_the_hub(tmp_path):
    row = {"index": 0, "question": "Which?\nOptions: A: cat, B: dog", "image": published.picture(),
           "answer": "A", "category": "math", "l2_category": "geometry",
           "meta_info": {"source": "MMBench", "split": "val", "image_path": "1.jpg"}}  # fmt: skip
    published.snapshot(tmp_path / "mmstar.parquet", [row])
    task = tasks.load("mmstar")
    (found,) = task.rows(tmp_path)
    assert found["id"] == "0"
    assert task.to_images(found)[0].read_bytes() == published.picture()
    assert task.groups(found) == ("core: math", "fine: math (geometry)")
