"""GSM8K against lm-eval's own filter and metric."""

import json

import published
import pytest
from lm_eval.api.metrics import exact_match_hf_evaluate
from lm_eval.filters.extraction import RegexFilter

import tasks
from tasks import gsm8k

TEXTS = [
    "So there are 18 of them.",
    "It costs $1,234.50.",
    "The answer is -5",
    "#### 18",
    "3 + 4 = 7. Then 7 * 2 = 14.",
    "It is 18.0",
    "18,",
    "$",
    "...",
    "eighteen",
    "",
    "1,2 or 3",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("truth", ["18", "1234.50", "-5", "14", "1,234.5", "3"])
def test_the_official_verdict_is_lm_evals(text, truth):
    read = RegexFilter(regex_pattern=r"(-?[$0-9.,]{2,})|(-?[0-9]+)", group_select=-1)
    ((found,),) = read.apply([[text]], [{}])
    ignored = [",", r"\$", "(?s).*#### ", r"\.$"]
    expected = exact_match_hf_evaluate(
        [found], [f"because\n#### {truth}"], regexes_to_ignore=ignored, ignore_case=True
    )
    row = {"answer": truth}
    assert gsm8k.official(row, text)[1] == bool(expected["exact_match"])


def test_prompt_byte_for_byte():
    assert gsm8k.to_prompt({"question": "How many?"}) == (
        "Q: How many?\nA: Let's think step by step."
    )


def test_it_loads_from_its_own_file_and_from_a_snapshot(tmp_path):
    row = {"question": "How many?", "answer": "3 + 4 = <<3+4=7>>7\n#### 1,007"}
    (tmp_path / "test.jsonl").write_text(json.dumps(row) + "\n")
    task = tasks.load("gsm8k")
    (found,) = task.rows(tmp_path)
    assert (found["id"], found["answer"], found["images"]) == ("0", "1,007", [])
    path = tmp_path / "hub" / "main" / "test-00000-of-00001.parquet"
    published.snapshot(path, [row], pictures=())
    (again,) = task.rows(tmp_path / "hub")
    assert again["answer"] == found["answer"]
    assert task.to_images(again) == []
