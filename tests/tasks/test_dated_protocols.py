"""VLMEvalKit of 2025 and of 2026: which is meant, and where they differ."""

import pytest

import tasks
from tasks.judging import settle

LONG = "Answer is B because A, C and D are excluded by the first row of the matrix shown above."


def test_the_bare_name_is_the_newer_and_a_score_says_which():
    task = tasks.load("ai2d", "vlmevalkit")
    assert task.protocol == "vlmevalkit-2026"
    assert task.scoring.endswith("(VLMEvalKit of August 2026 (e8e78f05))")
    older = tasks.load("ai2d", "vlmevalkit-2025")
    assert older.scoring.endswith("(VLMEvalKit of September 2025 (cfa63b1d))")
    assert task.protocols == ("robust", "official", "vlmevalkit-2025", "vlmevalkit-2026")
    assert older.to_prompt is task.to_prompt


CHOICE = {"question": "Which?", "choices": ["circle", "square", "triangle", "star"], "answer": "B",
          "question_type": "multi_choice", "answer_type": "text", "metadata": {}, "unit": None,
          "precision": None}  # fmt: skip


@pytest.mark.parametrize(
    ("task", "row"),
    [
        ("ai2d", CHOICE),
        ("mathvision", CHOICE),
        ("mathvista", {**CHOICE, "answer": "square"}),
        ("mmmu", {**CHOICE, "question_type": "multiple-choice"}),
        ("mmmu_pro_standard", CHOICE),
        ("mmstar", {**CHOICE, "question": "Which?\nOptions: A: cat, B: dog, C: owl, D: bee"}),
        ("realworldqa", {**CHOICE, "question": "Which?\nA. cat\nB. dog\nC. owl\nD. bee"}),
        ("wemath", {**CHOICE, "option": "A. 1; B. 2; C. 3; D. 4"}),
        ("emma", {**CHOICE, "question_type": "Multiple Choice", "context": ""}),
    ],
)
def test_a_letter_that_is_said_to_be_the_answer_is_read_since_2026(task, row):
    older, newer = (tasks.load(task, f"vlmevalkit-{year}").verdict for year in (2025, 2026))
    assert settle(older, row, LONG)[0] == (None, None)
    assert settle(newer, row, LONG)[0] == ("B", True)
