"""OlympiadBench: the judge on published examples, prompts in both languages, loading."""

import json
import time

import published
import pytest

import tasks
from tasks import olympiadbench
from tasks.grading import olympiad

VECTORS = json.loads(published.place("open/olympiadbench_judge_vectors.json").read_text())


@pytest.mark.parametrize("field", ["official", "official_swapped"])
def test_the_judge_is_the_official_one_on_its_examples(field):
    twin = olympiad.VECTORS["olympiadbench", field]
    assert len(VECTORS["vectors"]) == 56
    for vector in VECTORS["vectors"]:
        assert twin(vector) is vector[field], vector


@pytest.mark.parametrize(
    ("one", "other", "right"),
    [
        ("x+y", "y+x+0.0005", True),  # a constant that is nothing
        ("x", "1.0001x", False),
        ("[1, 2)", "[1, 2]", False),
        ("10^{10^{10^{10}}}", "10", False),
        ("\\boxed{1", "1", False),
        ("x=y", "2x=2y", True),
        ("x=y", "x=2y", False),
        ("T_{1}", "T_1", True),
        ("T_1", "T_2", False),
    ],
)
def test_what_is_the_same(one, other, right):
    assert olympiad.judge(one, other) is right


def row(**more):
    return {
        "question": "How long is <img_3362>?", "context": "", "answer": "$3,4$", "unit": "",
        "answer_type": "Numerical", "several": False, "error": "", "images": ["1.png"],
        "metadata": {"config": "OE_MM_maths_en_COMP", "subject": "Math", "language": "English",
                     "subfield": "Geometry"}, **more,
    }  # fmt: skip


PHYSICS = {"config": "OE_MM_physics_zh_CEE", "subject": "Physics", "language": "Chinese",
           "subfield": "Mechanics"}  # fmt: skip


def test_prompts_byte_for_byte():
    assert olympiadbench.to_prompt(row()) == (
        "The following is an open-ended problem from an International Math competition. The answer "
        "of The problem should be a numerical value. Please calculate the answer according to the "
        "given requirements and the information provided. Please use LaTeX format to represent the "
        "variables and formulas used in the solution process and results. Please end your solution "
        'with "So the final answer is \\boxed{answer}." and give the result explicitly.\n'
        "How long is <image>?"
    )
    several = row(several=True, answer_type="Numerical,Expression", unit="m", context="Look.")
    asked = olympiadbench.to_prompt(several)
    assert (
        "competition. The problem has multiple answers, with the answers in order being a "
        "numerical value, an expression. Please calculate"
    ) in asked
    assert asked.endswith(
        '"So the final answer is \\boxed{multiple answers connected with commas}(unit)." and give '
        "the result explicitly, note that the unit of the answer should not be included in "
        "\\boxed{}.\nLook.\nHow long is <image>?"
    )
    assert "competition. Please calculate" in olympiadbench.to_prompt(row(answer_type="Tuple"))
    chinese = row(metadata=PHYSICS, question="多长？", unit="m", several=True)
    assert olympiadbench.to_prompt(chinese) == (
        "<image>以下是中国物理竞赛中的解答题，题目有多个答案，答案类型均为数值。请根据题目的要求和所提供的信息计算"
        "得出答案。解答过程和结果中使用的变量和公式请使用LaTeX格式表示。请在最后以“所以最终答案是"
        "\\boxed{用英文逗号连接的多个答案}(单位)。”显式给出结果，注意答案的单位不要放在\\boxed{}中。\n多长？"
    )


@pytest.mark.parametrize(
    ("text", "more", "right"),
    [
        ("So the final answer is \\boxed{4, 3}.", {}, True),
        ("\\boxed{5}\nSo the final answer is \\boxed{3,4}.", {}, True),
        ("\\boxed{3}, corrected: \\boxed{4}", {}, True),  # all boxes are answers
        ("3 and 4", {}, False),
        ("\\boxed{2.95}", {"answer": "3", "error": "0.1"}, True),
        ("\\boxed{2.95}", {"answer": "3", "error": ""}, False),
        ("\\boxed{0.95, 40}", {"answer": "1, 41", "error": "0.1,2"}, True),
        ("\\boxed{1e999}", {"answer": r"$\pi$"}, False),
        ("\\boxed{2y=10^{400}x}", {"answer": r"$y=\pi x$"}, False),
        ("\\boxed{10^{-300}y=10^{-300}x}", {"answer": "$10^{300}y=10^{300}x$"}, False),
        ("所以最终答案是\\boxed{能}。", {"answer": "能", "metadata": PHYSICS}, True),
    ],
)
def test_the_official_verdict(text, more, right):
    assert olympiadbench.official(row(**more), text)[1] is right


@pytest.mark.parametrize(
    ("truth", "error", "unit", "text", "right"),
    [
        ("$0.5$", "1e-2", "", r"\boxed{50}", False),  # no hundredfold, which the script allows
        ("$320$", "5", "W", r"\boxed{3.2}", False),
        ("$320$", "5", "W", r"\boxed{0.322 \text{ kW}}", True),
        ("$3.2$", "0.1", "m", r"\boxed{3.25 \text{ m}}", True),
        ("$3.2$", "0.1", "m", r"\boxed{3.25 \text{ kg}}", False),
        ("$3.2$", "0.1", "m", r"\boxed{3.4}", False),
        ("$1.5$,$2.5$", "0.1", "", r"\boxed{2.55, 1.45}", True),
        ("$1.5$,$2.5$", "0.1,0.01", "", r"\boxed{2.55, 1.45}", False),
        ("$1.5$,$2.5$", "0.1", "", r"\boxed{1.45}", False),
        (r"$\pi$", "0.1", "", r"\boxed{1e999}", False),
        ("$9.8$", "0.2", "m/s^2", r"\boxed{g \approx 9.9}", True),
        ("$9.8$", "0.2", "m/s^2", r"\boxed{g \approx 10.9}", False),
        ("$9.8$", "0.2", "m/s^2", r"\boxed{g > 9.9}", None),
        (r"$\pm 1.5$", "0.1", "", r"\boxed{\pm 1.55}", True),
        (r"$\pm 1.5$", "0.1", "", r"\boxed{-1.55, 1.45}", True),
        (r"$\pm 1.5$", "0.1", "", r"\boxed{x = \pm 1.55}", True),
        (r"$\pm 1.5$", "0.1", "", r"\boxed{1.55}", False),
        (r"$\pm 1.5$", "0.1", "", r"\boxed{\pm 1.7}", False),
        ("$32$", "1", "%", r"\boxed{0.325}", True),
        ("$32$", "1", "%", r"\boxed{32.5\%}", True),
        ("$32$", "1", "%", r"\boxed{0.34}", False),
    ],
)
def test_the_errors_hold_in_the_unit_of_the_question(truth, error, unit, text, right):
    asked = row(answer=truth, error=error, unit=unit)
    assert olympiadbench.robust(asked, text)[1] is right


def test_the_robust_verdict_keeps_to_the_error():
    asked = row(answer="$9.8$", error="0.2", unit="m/s^2")
    assert olympiadbench.robust(asked, "So the final answer is \\boxed{9.9}.")[1] is True
    assert olympiadbench.robust(asked, "So the final answer is \\boxed{11}.")[1] is False
    assert olympiadbench.robust(asked, "I cannot tell.") == (None, None)


def test_no_answer_takes_long():
    began = time.monotonic()
    for text in ("\\boxed{" * 20_000 + "}" * 20_000, "x^" * 9_000, "(" * 9_000, "1," * 9_000):
        olympiad.judge(text, "x+1")
    assert time.monotonic() - began < 2


def test_it_loads_from_a_snapshot_of_the_hub(tmp_path):
    raw = {"id": 7, "question": "How long is <img_1>?", "context": None, "final_answer": ["$3$"],
           "is_multiple_answer": False, "unit": None, "answer_type": "Numerical", "error": None,
           "subfield": "Geometry", "image_1": published.picture()}  # fmt: skip
    for config in olympiadbench.CONFIGS:
        path = tmp_path / "OlympiadBench" / config / f"{config}.parquet"
        published.snapshot(path, [raw], ["image_1"])
    task = tasks.load("olympiadbench")
    rows = task.rows(tmp_path)
    assert [row["id"] for row in rows] == [f"{config}/7" for config in olympiadbench.CONFIGS]
    assert task.groups(rows[4]) == (
        "Physics", "Chinese", "OE_MM_physics_zh_CEE", "field: Geometry", "answer: Numerical",
    )  # fmt: skip
    assert task.to_images(rows[0])[0].read_bytes() == published.picture()
    assert task.to_prompt(rows[0]).count("<image>") == 1
