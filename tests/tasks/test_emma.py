"""EMMA: extraction and equality, prompts, judges, loading."""

import gzip
import json
import re

import places
import published
import pytest

import tasks
from common.errors import UserError
from tasks import emma
from tasks.grading import shortqa, word2number
from tasks.judging import settle

CHOICE = {
    "id": "math_1", "question": "Which follows <image_1>?", "context": "",
    "choices": ["<image_2>", "three dogs"], "answer": "B", "question_type": "Multiple Choice",
    "metadata": {"subject": "Coding", "category": "Legend; 3D", "task": "Vis Choose Code"},
    "images": ["1.png", "2.png"],
}  # fmt: skip
OPEN = {**CHOICE, "choices": None, "answer": "12", "question_type": "Open-ended",
        "context": "Look.", "question": "How many?", "images": ["1.png"]}  # fmt: skip


def test_prompts_byte_for_byte():
    assert emma.to_prompt(CHOICE) == (
        "\nWhich follows <image>?\nA: <image>\nB: three dogs\n\nAnswer with the option's letter "
        'from the given choices and put the letter in one "\\boxed{}". Please solve the problem '
        "step by step."
    )
    assert emma.to_prompt(OPEN) == (
        "<image>Look.\nHow many?\nAnswer the question using a single word or phrase and put the "
        'answer in one "\\boxed{}". Please solve the problem step by step.'
    )
    assert emma.to_prompt_vlmevalkit(CHOICE) == (
        "Which follows <image>?\n\nA: <image>\nB: three dogs\n\n\nAnswer with the option's letter "
        "from the given choices. Please solve the problem step by step. "
    )
    assert emma.to_prompt_vlmevalkit(OPEN) == (
        "<image>Look.\n\nHow many?\n\nAnswer the question using a single word or phrase. Please "
        "solve the problem step by step. "
    )


@pytest.mark.parametrize("folder", places.MORE)
def test_all_published_requests_of_emma_mini_are_ours(folder):
    with gzip.open(folder / "questions" / "emma_mini_400.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    assert len(rows) == tasks.load("emma_mini").source.n == 400
    for row in rows:
        asked = emma.to_prompt({**row, "choices": row["options"], "images": []})
        assert asked == re.sub(r"<image_\d>", "<image>", row["query_cot"])


@pytest.mark.parametrize(
    ("response", "said"),
    [
        ("b", "B"),
        ("A: first step\n\\boxed{C}", "A"),
        ("B. so \\boxed{C}", "B"),
        ("Because", ""),
        (" -3.5e1 ", "-3.5e1"),
        ("\\boxed{A} then \\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{x \\text{ dogs } and \\text{ cats }}", "cats"),
        ("\\boxed{\\frac{1}{2, so the answer is 5", "5"),
        ("The answer is 3.5", "3"),
        ("The answer is B\nThe final answer is:\n C.", ":"),
        ("Answer: (D)", "(d)"),
        ("", ""),
    ],
)
def test_the_official_extraction(response, said):
    assert emma.read(response) == said


@pytest.mark.parametrize(
    ("said", "truth", "right"),
    [
        ("a two-headed arrow", "2", True),
        ("twenty or so", "20", True),
        ("the point", "0", True),
        ("\\frac{7}{16}", "0.44", True),
        ("2.006", "2", False),
        ("Three Dogs ", "three dogs", True),
        ("9^9^9^9", "1", False),
    ],
)
def test_the_official_equality(said, truth, right):
    assert emma.equal(said, truth) is right


def test_a_right_letter_may_be_a_small_one():
    row = {**CHOICE, "answer": "b"}
    assert emma.official(row, "\\boxed{Three dogs}") == ("Three dogs", True)
    assert emma.robust(row, "\\boxed{B}") == ("B", True)
    assert settle(emma.by_vlmevalkit, row, "B")[0] == ("B", True)


def test_an_option_may_be_named_by_its_text():
    assert emma.official(CHOICE, "\\boxed{Three dogs}") == ("Three dogs", True)
    assert emma.official(CHOICE, "") == ("", False)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("two million seven hundred thousand", 2_700_000 + 1_700),  # a slip of word2number
        ("one hundred twenty three", 123),
        ("thousand million", None),
        ("five point two x", 5.2),
        ("five point ten", 5),
    ],
)
def test_number_words_are_read_as_word2number_does(text, found):
    assert word2number.number(text) == found


@pytest.mark.parametrize(("reply", "right"), [("Correct", True), ("correct.", False), ("", False)])
def test_the_official_judge_says_correct_and_nothing_else(reply, right):
    assert settle(emma.official_judge, CHOICE, "It is B.", [reply])[0][1] is right
    assert settle(emma.official_judge, CHOICE, "", [reply]) == ((None, False), False)
    request = next(emma.official_judge(CHOICE, "It is {B}."))
    assert request.prompt.startswith("Please read the following example. Then determine whether ")
    assert " and type it \nat the end" in request.prompt
    assert request.prompt.endswith(
        "Correct_or_not: Incorrect\nResponse: It is {B}.\nAnswer: B\nCorrect_or_not:"
    )


def test_vlmevalkits_judge_of_short_answers():
    asked = emma.by_vlmevalkit(OPEN, "a dozen {x}")
    first = next(asked)
    assert first.prompt.endswith(
        "[Begin Question]How many?[End Question]\n[Begin Ground-Truth]12[End Ground-Truth]\n"
        "[Begin Response]a dozen {x}[End Response]\n"
    )
    assert "Example 5:\n[Begin Question]Extract the text on the umbrella" in first.prompt
    assert [asked.send("hm").temperature for _ in range(2)] == [0.5, 1.0]
    with pytest.raises(StopIteration) as end:
        asked.send("[Begin Correctness]yes or no[End Correctness]")
    assert end.value.value == (None, False)
    reply = "[Begin Correctness]yes[End Correctness]\n[Begin Reason]so[End Reason]"
    assert settle(emma.by_vlmevalkit, OPEN, "a dozen", [reply])[0] == ("yes", True)
    assert shortqa.correctness("[Begin Correctness] No") is None


def raw(subject):
    return {"pid": f"{subject}_1", "question": "Which follows <image_2>?", "options": ["a", "b"],
            "answer": "B", "image_1": published.picture("red"),
            "image_2": published.picture("blue"),
            "subject": subject, "task": "", "category": "Legend; 3D", "source": "x",
            "type": "Multiple choice", "context": None}  # fmt: skip


def test_it_loads_from_a_snapshot_of_the_hub(tmp_path):
    task = tasks.load("emma_mini")
    for subject in emma.SUBJECTS:
        path = tmp_path / subject / "test-00000-of-00001.parquet"
        published.snapshot(path, [raw(subject)], ["image_1", "image_2"])
        if subject != "Coding":
            with pytest.raises(UserError, match="finds none of the files it knows"):
                task.rows(tmp_path)
    rows = task.rows(tmp_path)
    assert [row["id"] for row in rows] == [f"{subject}_1" for subject in emma.SUBJECTS]
    (path,) = task.to_images(rows[0])
    assert path.read_bytes() == published.picture("blue")
    assert task.groups(rows[3]) == (
        "Coding", "type: multiple choice", "Coding: Legend", "Coding: 3D",
    )  # fmt: skip
    assert task.groups(CHOICE)[-1] == "task: Coding_Vis Choose Code"
