"""ChartQA: relaxed accuracy, prompts, loading."""

import json

import published
import pytest

import tasks
from common.errors import UserError
from tasks import chartqa


@pytest.mark.parametrize(
    ("target", "text", "right"),
    [
        ("100", "about 104", True),
        ("100", "105.1", False),
        ("14%", "0.14", True),
        ("14%", "14", True),
        ("0.14", "14", False),
        ("12", "12 million dollars", True),
        ("0", "0.0", True),
        ("0", "0.01", False),
        ("2010", r"\boxed{\text{2011}}", False),
        ("2010", r"\boxed{**2011**}", False),
        ("2010", r"\boxed{2011.}", False),
        ("2010", "2,011", True),
        ("Yes", "Yes, it is.", True),
        ("Blue", "blue", True),
        ("Blue", "red", False),
    ],
)
def test_the_robust_verdict_is_relaxed_and_past_units(target, text, right):
    assert chartqa.robust({"answer": target}, text)[1] is right


def test_prompts_byte_for_byte():
    row = {"question": "What is the peak?"}
    assert chartqa.to_prompt(row) == (
        "<image>What is the peak?\nAnswer the question with a single word."
    )
    assert chartqa.to_prompt_vlmevalkit(row) == (
        "<image>What is the peak?\nAnswer the question using a single word or phrase."
    )


def test_it_loads_from_its_own_folder(tmp_path):
    folder = tmp_path / "test"
    (folder / "png").mkdir(parents=True)
    (folder / "png" / "1.png").write_bytes(published.picture())
    row = {"imgname": "1.png", "query": "What is the peak?", "label": "3"}
    (folder / "test_human.json").write_text(json.dumps([row]))
    task = tasks.load("chartqa")
    with pytest.raises(UserError, match="chartqa has no file of the augmented questions"):
        task.rows(tmp_path)
    (folder / "test_augmented.json").write_text(json.dumps([row, row]))
    rows = task.rows(tmp_path)
    assert [row["id"] for row in rows] == ["human_0", "augmented_0", "augmented_1"]
    assert task.to_images(rows[0])[0].read_bytes() == published.picture()
    assert task.groups(rows[1]) == ("augmented",)


def test_it_loads_from_a_snapshot_of_the_hub(tmp_path):
    row = {"type": "human_test", "question": "What is the peak?", "answer": "3",
           "image": published.picture()}  # fmt: skip
    published.snapshot(tmp_path / "data" / "test-00000-of-00001.parquet", [row])
    (found,) = tasks.load("chartqa").rows(tmp_path)
    assert tasks.load("chartqa").groups(found) == ("human",)
