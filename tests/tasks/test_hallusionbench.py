"""HallusionBench: VLMEvalKit's word rule and rates, metrics by hand, the judge, loading."""

import published
import pytest

import tasks
from common.errors import UserError
from tasks import hallusionbench
from tasks.grading import vlmevalkit

FILE = "hallusionbench__synthetic_metric_seed11"


def test_readings_and_rates_are_vlmevalkits():
    expected = published.scores("hallusionbench__sample_derived")["vlmevalkit_rule"]
    graded = []
    for record in published.records("hallusionbench__sample_derived"):
        said = vlmevalkit.yes_no(record["response"])
        assert said == record["vlmevalkit_extraction"], record["id"]
        assert (said == record["answer"]) == record["vlmevalkit_verdict"], record["id"]
        graded.append((record, said == record["answer"]))
    found = hallusionbench.rates_vlmevalkit(graded)
    for metric in ("aAcc", "fAcc", "qAcc"):
        assert 100 * found[metric] == pytest.approx(expected[metric], abs=1e-9)


def row(category, figure, question, shown="1", answer="Yes"):
    return {
        "answer": answer,
        "metadata": {"category": category, "subcategory": "map", "visual_input": shown,
                     "set_id": "0", "figure_id": figure, "question_id": question},
    }  # fmt: skip


def test_metrics_worked_out_by_hand():
    graded = [
        (row("VS", "0", "0", "0"), True),  # no figure: not in fAcc
        (row("VS", "1", "0", "1"), True),
        (row("VS", "1", "1", "1"), False),
        (row("VS", "2", "0", "2", "No"), True),
        (row("VS", "2", "1", "2", "No"), False),
        (row("VS", "3", "0", "2", "No"), True),
    ]
    found = hallusionbench.summary(graded)
    assert found["aAcc"] == found["aAcc VS"] == 4 / 6
    assert found["fAcc"] == 1 / 3  # figure 3
    assert found["qAcc"] == 1 / 2  # question 0
    assert found["easy"] == found["hard"] == 1 / 2
    assert found["yes_diff"] == 0  # one yes too few, one too many
    assert found["fp_ratio"] == 1 / 2
    assert "aAcc VD" not in found
    rates = hallusionbench.summary_vlmevalkit(graded)
    average = pytest.approx((3 / 5 + 1 / 3 + 1 / 2) / 3)
    assert rates == {"aAcc": 3 / 5, "fAcc": 1 / 3, "qAcc": 1 / 2, "average": average}
    assert hallusionbench.summary([]) == {}


def test_what_was_not_read_is_no_yes_and_no_wrong_yes():
    truths = ["Yes"] * 3 + ["No"] * 7
    graded = [({**row("VD", "0", "0", answer=t), "read": "yes" if t == "Yes" else None}, t == "Yes")
              for t in truths]  # fmt: skip
    found = hallusionbench.summary(graded)
    assert found["yes_diff"] == 0 and "fp_ratio" not in found
    judged = [({**one, "read": "correct" if right else "unclear"}, right) for one, right in graded]
    found = hallusionbench.summary(judged)
    assert (found["yes_diff"], found["fp_ratio"]) == (0.7, 1.0)  # as the script counts


def test_the_judge_sees_question_reference_and_answer_byte_for_byte():
    details = {**row("VD", "0", "0")["metadata"], "gt_answer_details": "They are {equal}."}
    asked = {"question": "Are they equal?", "metadata": details}
    request = next(hallusionbench.official(asked, "Yes {x}"))
    assert request.prompt == (
        "Imagine you are an intelligent teacher. Thoroughly read the question, reference answer "
        "and the prediction answer to ensure a clear understanding of the information provided. "
        "Assess the correctness of the predictions. If the prediction answer does not conflict "
        "with the reference answer, please generate “correct”. If the prediction answer conflict "
        "with the reference answer, please generate “incorrect”. If the prediction answer is "
        'unclear about the answer, please generate "unclear". \n\n Question:Are they equal?\n'
        "Reference answer: They are {equal}.\nPrediction answer:Yes {x}\nOutput:"
    )


def test_it_loads_from_its_own_file():
    task = tasks.load("hallusionbench")
    rows = task.rows(published.place("questions"))
    assert len(rows) == 1129
    assert sum(not row["images"] for row in rows) == 178
    assert {row["answer"] for row in rows} == {"Yes", "No"}
    blind = next(row for row in rows if not row["images"])
    assert task.to_prompt(blind) == blind["question"]
    assert task.to_images(blind) == []
    seeing = next(row for row in rows if row["images"])
    assert task.to_prompt(seeing) == f"<image>{seeing['question']}"
    with pytest.raises(UserError, match="does not exist"):
        task.to_images(seeing)
    published_ids = {record["id"] for record in published.records(FILE)}
    assert {row["id"] for row in rows} == published_ids


def test_it_loads_from_a_snapshot_of_the_hub(tmp_path):
    base = {"category": "VS", "subcategory": "map", "visual_input": "1", "set_id": "0",
            "figure_id": "1", "sample_note": "n", "question_id": "0", "question": "Is it?",
            "gt_answer_details": "It is.", "gt_answer": "1", "filename": "./VS/map/0_1.png",
            "image": published.picture()}  # fmt: skip
    blind = {**base, "visual_input": "0", "figure_id": "0", "filename": None, "image": None}
    published.snapshot(tmp_path / "data" / "image-00000-of-00001.parquet", [base])
    published.snapshot(tmp_path / "data" / "non_image-00000-of-00001.parquet", [blind])
    task = tasks.load("hallusionbench")
    seeing, unseeing = task.rows(tmp_path)
    assert (seeing["id"], seeing["answer"]) == ("VS_map_0_1_0", "Yes")
    assert task.to_images(seeing)[0].read_bytes() == published.picture()
    assert task.to_images(unseeing) == []
    assert task.groups(seeing) == ("VS", "VS map", "input: original")
