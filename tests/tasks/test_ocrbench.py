"""OCRBench: containment, prompt, metrics, loading."""

import published
import pytest

import tasks
from tasks import ocrbench

KIND = "Regular Text Recognition"


def row(*answers, dataset="IIIT5K"):
    return {"answer": list(answers), "metadata": {"dataset": dataset, "type": KIND}}


@pytest.mark.parametrize(
    ("answers", "dataset", "text", "official", "robust"),
    [
        (["CENTRE"], "IIIT5K", "centre", True, True),
        (["a b"], "IIIT5K", "so A\nB it is", True, True),
        (["a b"], "IIIT5K", "a  b", False, True),
        (["5"], "FUNSD", "15", True, False),
        (["500"], "FUNSD", "The total is 1,500", True, False),
        (["$5"], "FUNSD", "$5.75", True, False),
        (["35"], "FUNSD", "it is -35", True, False),
        (["35"], "FUNSD", "it is 3.35", True, False),
        (["35"], "FUNSD", "it is 35.", True, True),
        (["中国银行"], "ReCTS", "图片中的文字是中国银行。", True, True),
        ([""], "FUNSD", "anything", True, False),
        (["no", "yes"], "FUNSD", "Yes.", True, True),
        (["x ^ 2"], "HME100k", "it is x^{2} or x^2", True, True),
        (["X ^ 2"], "HME100k", "x^2", False, False),
        (["a"], "IIIT5K", "<think> a </think> b", True, False),
    ],
)
def test_an_answer_is_contained(answers, dataset, text, official, robust):
    asked = row(*answers, dataset=dataset)
    assert ocrbench.official(asked, text)[1] is official
    assert ocrbench.robust(asked, text)[1] is robust


def test_the_final_score_is_the_sum():
    assert ocrbench.summary([(row("a"), True), (row("a"), False), (row("b"), True)]) == {
        "final score": 2
    }


def test_it_loads_from_a_snapshot_of_the_hub(tmp_path):
    raw = {"dataset": "IIIT5K", "question": "what is written in the image?", "question_type": KIND,
           "answer": ["CENTRE"], "image": published.picture()}  # fmt: skip
    formula = {**raw, "dataset": "HME100k",
               "question_type": "Handwritten Mathematical Expression Recognition"}  # fmt: skip
    published.snapshot(tmp_path / "data" / "test-00000-of-00001.parquet", [raw, formula])
    task = tasks.load("ocrbench")
    rows = task.rows(tmp_path)
    assert task.to_prompt(rows[0]) == "<image>what is written in the image?"
    assert (rows[0]["id"], rows[1]["id"]) == ("0", "1")
    assert task.groups(rows[0]) == (KIND, "Text Recognition")
    assert task.groups(rows[1]) == ("Handwritten Mathematical Expression Recognition",)
    assert task.to_images(rows[0])[0].read_bytes() == published.picture()
