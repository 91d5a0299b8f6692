"""AI2D: prompts, verdicts, loading."""

import published

import tasks
from tasks import ai2d


def test_prompts_byte_for_byte():
    row = {"question": "What eats it?", "choices": ["bird", "fox"]}
    assert ai2d.to_prompt(row) == (
        "<image>What eats it?\nA. bird\nB. fox\n"
        "Answer with the option's letter from the given choices directly."
    )
    assert tasks.load("ai2d", "vlmevalkit").to_prompt(row) == (
        "<image>Question: What eats it?\nOptions:\nA. bird\nB. fox\n"
        "Please select the correct answer from the options above. \n"
    )


def test_it_loads_from_a_snapshot_of_the_hub(tmp_path):
    row = {"question": "What eats it?", "options": ["bird", "fox"], "answer": "1",
           "image": published.picture()}  # fmt: skip
    published.snapshot(tmp_path / "data" / "test-00000-of-00001.parquet", [row, row])
    task = tasks.load("ai2d")
    first, second = task.rows(tmp_path)
    assert (first["answer"], second["id"]) == ("B", "1")
    assert task.to_images(first)[0].read_bytes() == published.picture()
    assert task.groups(first) == ()
