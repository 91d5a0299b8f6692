"""DynaMath: metrics by hand, the JSON that is asked for, prompts, loading."""

import json
import math

import published
import pytest

import tasks
from common.errors import UserError
from tasks import dynamath
from tasks.judging import settle

EXAMPLE = '{\n    "solution": "[Detailed step-by-step explanation]",\n    "short answer": "[Concise Answer]"\n}'  # noqa: E501


def row(kind="float", truth="2.0944", question="Which? Choices: (A) yes (B) no"):
    return {"question": question, "answer": truth, "answer_type": kind}


def reply(said):
    made = json.dumps({"solution": "x", "short answer": said}, ensure_ascii=False)
    return f"So:\n```json\n{made}\n```"


def test_prompts_byte_for_byte():
    concise = (
        "\n## Answer Instruction Please provide an answer to the question outlined above. Your "
        "response should adhere \nto the following JSON format, which includes two keys: "
        "'solution' and 'short answer'. The 'solution' key can contain \ndetailed steps needed to "
        "solve the question, and the 'short answer' key should provide a concise response. If the "
        "problem is a multiple choice problem, just provide the corresponing choice option, \nsuch "
        "as 'A', 'B', 'C', or 'D'. If the answer is a numerical value, format it as a three-digit "
        f"floating-point number.\n\nExample of expected JSON response format:\n\n{EXAMPLE}"
    )
    assert dynamath.to_prompt(row(question="Q?")) == (
        f"<image>## Question\nQ?Please answer in a floating-point number.{concise}"
    )
    assert dynamath.to_prompt(row("text", question="Q?")) == f"<image>## Question\nQ?{concise}"
    assert dynamath.to_prompt_vlmevalkit(row(question="Q?")) == (
        "<image>## Question\n Q?\n## Answer Instruction Please provide an answer to the question "
        "outlined above. Your response should adhere to the following JSON format, which includes "
        "two keys: 'solution' and 'short answer'. The 'solution' key can contain detailed steps "
        "needed to solve the question, and the 'short answer' key should provide a concise "
        "response. Format the answer as a three-digit floating-point number and provide it in the "
        f"'short answer' key.\n\nExample of expected JSON response format:\n\n{EXAMPLE}"
    )


@pytest.mark.parametrize(
    ("kind", "truth", "text", "said", "right"),
    [
        ("float", "2.0944", reply("2.094"), "2.094", True),
        ("float", "2.0944", reply("2.09"), "2.09", False),
        ("float", "2.0944", reply(2.094), "2.094", True),
        ("float", "6.2832", reply("2π rad"), "2π rad", True),
        ("float", "12", reply("12 cm"), "12 cm", True),
        ("float", "12", reply("12%"), "12%", False),
        ("float", "0.5", reply("1/2"), "1/2", False),
        ("float", "1000", reply("1,000"), "1,000", False),
        ("float", "5", reply("x=5"), "x=5", False),
        ("multiple choice", "B", reply("(B) no"), "(B) no", True),
        ("multiple choice", "B", reply("b"), "b", False),
        ("multiple choice", "B", reply("Answer B"), "Answer B", False),
        ("multiple choice", "D", reply("BAD"), "BAD", True),
        ("text", "Sep", reply("September"), "September", True),
        ("text", "Sep", reply("sep"), "sep", False),
        ("text", "None", '{"answer": "1"}', "None", True),
        ("float", "7", "It is so.\n7.", "7", True),
        ("float", "7", "It is so.\n7", "", False),
        ("float", "7", "[1]", None, False),
        ("float", "7", '{"short answer": "\\frac{7}{1}"}', "frac{7}{1}", False),
    ],
)
def test_the_official_rule(kind, truth, text, said, right):
    assert dynamath.official(row(kind, truth), text) == (said, right)


@pytest.mark.parametrize(
    ("kind", "truth", "text", "replies", "reading"),
    [
        ("multiple choice", "B", reply("(B) no"), [], ("B", True)),
        ("multiple choice", "B", reply("B) blue"), ["Circle B"], (None, False)),
        ("multiple choice", "B", "B: because", ["hm AB"], (None, True)),
        ("multiple choice", "B", reply("blob"), [], ("B", True)),
        ("text", "Sep", reply(""), [], ("", True)),
        ("text", "Sep", reply("S"), [], ("S", True)),
        ("text", "Sep", reply("September"), [], ("September", False)),
        ("text", "12", reply(12), [], (None, None)),
        ("float", "2.0944", reply(2.094), ["2.094"], ("2.094", True)),
        ("float", "2.0944", reply(2.094), [], (None, None)),
        ("float", "2.0944", "2.094 rad, I think", [], ("2.094", True)),
        ("float", "2.0944", "about two", ["none"], (None, False)),
    ],
)
def test_vlmevalkits_rule(kind, truth, text, replies, reading):
    assert settle(dynamath.by_vlmevalkit, row(kind, truth), text, replies)[0] == reading


def test_what_vlmevalkits_judge_is_asked():
    request = next(dynamath.by_vlmevalkit(row(), "It is \\pi {"))
    assert request.prompt == (
        "Free-form answer: It is pi {\n"
        "Instruction: Output a three-digit floating-point number in a single line."
    )
    assert request.system.startswith("You are a helpful assistant that helps me to format")


@pytest.mark.parametrize(
    ("kind", "truth", "text", "right"),
    [
        ("float", "2.0944", reply("2.094 rad"), True),
        ("float", "2.0944", reply("2.09"), False),
        ("float", "22.3835", reply("22.384"), True),
        ("float", "22.3835", reply("22.383"), True),
        ("float", "22.3835", reply("22.385"), False),
        ("float", "0.8235", reply("0.824"), True),
        ("float", "17140.5295", reply("17140.529"), True),
        ("float", "0.25", reply("1/4"), True),
        ("float", "0.25", reply(0.253), False),
        ("float", "12", '{"solution": "\\alpha", "short answer": "12 cm"}', True),
        ("float", "12", "<think>{\"short answer\": \"13\"}</think> So it is 12.", True),
        ("multiple choice", "B", reply("no"), True),
        ("multiple choice", "B", "The answer is (A).", False),
        ("text", "Sep", reply("sep"), True),
        ("text", "(0, 6)", reply("(0,6)"), True),
    ],
)  # fmt: skip
def test_the_robust_rule(kind, truth, text, right):
    assert dynamath.robust(row(kind, truth), text)[1] is right


def test_worst_case_and_robustness_by_hand():
    """Three questions: all ten right; nine; none. A fourth was not asked in every variant."""
    rights = {"1": [True] * 10, "2": [True] * 9 + [False], "3": [False] * 10, "4": [True] * 9}
    graded = [
        ({"answer_type": "text", "metadata": {"question": name, "subject": "algebra" if name < "3"
          else "statistics", "level": "high school"}}, right)
        for name, found in rights.items() for right in found
    ]  # fmt: skip
    found = dynamath.summary(graded)
    assert found["questions"] == 3
    assert math.isclose(found["average"], 19 / 30)
    assert math.isclose(found["worst"], 1 / 3)
    assert math.isclose(found["best"], 2 / 3)
    assert math.isclose(found["robustness"], 10 / 19)
    assert (found["worst subject: algebra"], found["worst subject: statistics"]) == (0.5, 0)
    assert dynamath.summary(graded[-9:]) == {}
    assert dynamath.cases([[False]])["robustness"] == 0


def test_the_leaderboard_follows_from_the_published_verdicts():
    """The numbers of the repository's tables: average and worst case in percent."""
    found = {}
    for record in published.records("dynamath__verdicts_7_models"):
        found.setdefault(record["model"], []).append(record["official_verdict_by_variant"])
    made = {name: dynamath.cases(questions) for name, questions in found.items()}
    assert [round(100 * made["GPT4o"][case], 2) for case in ("average", "worst")] == [63.33, 34.73]
    assert [round(100 * made["InternVL2-8b"][x], 2) for x in ("average", "worst")] == [39.34, 10.38]
    assert round(made["Gemini1.5-Pro"]["robustness"], 3) == 0.449


RAW = {"question": "Which?", "answer": "3", "answer_type": "float", "subject": "algebra",
       "level": "high school", "image": "image/image1.png"}  # fmt: skip


def test_it_loads_from_its_own_repository(tmp_path):
    base = tmp_path / "samples and result" / "10trials"
    task = tasks.load("dynamath")
    for trial in range(1, 11):
        if trial == 10:
            with pytest.raises(UserError, match="dynamath has no file of the 10 questions"):
                task.rows(tmp_path)
        (base / f"trial{trial}" / "image").mkdir(parents=True)
        (base / f"trial{trial}" / "image" / "image1.png").write_bytes(published.picture())
        (base / f"trial{trial}" / "dataset.json").write_text(json.dumps({"1": RAW}))
    rows = task.rows(tmp_path)
    assert [row["id"] for row in rows] == [f"1/{trial}" for trial in range(1, 11)]
    assert {task.cluster(row) for row in rows} == {"1"}
    assert task.to_images(rows[9])[0].read_bytes() == published.picture()
    assert task.groups(rows[0]) == ("subject: algebra", "level: high school", "answer: float")


def test_it_loads_from_a_snapshot_of_the_hub(tmp_path):
    raw = {"id": "7", "question": "Which?", "image": "image/image7.png", "ground_truth": "3",
           "decoded_image": published.picture(), "answer_type": "float", "subject": "algebra",
           "knowledge_level": "high school"}  # fmt: skip
    for number in range(1, 11):
        path = tmp_path / "data" / f"sample{number}-00000-of-{number:05}.parquet"
        published.snapshot(path, [raw], ["decoded_image"])
    rows = tasks.load("dynamath").rows(tmp_path)
    assert [row["id"] for row in rows] == [f"7/{variant}" for variant in range(1, 11)]
    assert tasks.load("dynamath").to_images(rows[0])[0].read_bytes() == published.picture()
