"""VisuLogic: the official rules, prompts, the judge, loading."""

import json
import zipfile

import published
import pytest

import tasks
from tasks import visulogic
from tasks.judging import settle

ROW = {"id": "00001", "question": "Which comes next?", "answer": "B", "metadata": {"tag": "Other"}}


def test_prompts_byte_for_byte():
    assert visulogic.to_prompt(ROW) == (
        "<image>\nWhich comes next?Solve the complex visual logical reasoning problem through "
        "step-by-step reasoning. Think about the reasoning process first and answer the question "
        "following this format: Answer: \\boxed{$LETTER}."
    )
    assert visulogic.to_prompt_vlmevalkit(ROW) == (
        "<image>Which comes next?\nSolve the complex visual logical reasoning problem through "
        "step-by-step reasoning.Think about the reasoning process first and answer the question "
        "following this format: Answer: \\boxed{$LETTER}"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Answer: \\boxed{B}", "B"),
        ("Answer: \\boxed{\\text{B}}.", "B"),
        ("first \\boxed{A}, then \\boxed{$B$}", "B"),
        ("\\boxed{A or B}, that is (B).", "B"),
        ("\\boxed{$LETTER}", None),
        ("B", "B"),
        ("b", None),
        ("It is B.", "B"),
        ("(B)\nsince", "B"),
        ("The answer is b", "B"),
        ("The final answer is: the answer is C. So", "C"),
        ("Answer: yes, the answer is B", "B"),  # the rest behind one flag is looked through
        ("B.", None),
        ("(B)", None),
        ("Answer: \\boxed{b}", None),
        ("The answer is (B)", None),
        ("answer: **B**", None),
        ("\\boxed{B. square}", None),
        ("<answer>B</answer>", None),
    ],
)
def test_what_the_rules_read(text, said):
    assert visulogic.by_vlmevalkit(ROW, text) == (said or "Z", said == "B")
    reading, used = settle(visulogic.official, ROW, text)
    assert (reading, used) == ((said, said == "B" if said else None), False)


def test_what_the_judge_is_asked_and_says():
    request = next(visulogic.official(ROW, "the second {}"))
    assert request.prompt == (
        "Extract the option in the solution. Just answer only capital letters. If solution have "
        "multi options or has no clear option just answer None.\nSolution: the second {}\n"
    )
    assert request.system.endswith("assistant for extract the final option in the answer.")
    for reply, reading in (
        ("b.\nAs", ("b", True)), ("None", ("N", False)), ("Option B", ("Option B", False)),
    ):  # fmt: skip
        assert settle(visulogic.official, ROW, "the second", [reply])[0] == reading


def test_a_letter_among_blanks_is_read_by_vlmevalkit_alone():
    assert visulogic.by_vlmevalkit(ROW, " B  ") == ("B", True)
    assert settle(visulogic.official, ROW, " B  ")[0] == (None, None)


@pytest.mark.parametrize("packed", [True, False])
def test_it_loads_as_the_hub_has_it(tmp_path, packed):
    raw = {"image_path": "images/00001.png", "question": "Which comes next?", "label": "B",
           "id": "00001", "tag": "Spatial Reasoning"}  # fmt: skip
    (tmp_path / "data.jsonl").write_text(json.dumps(raw) + "\n")
    if packed:
        with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
            archive.writestr("images/00001.png", published.picture())
    else:
        (tmp_path / "images").mkdir()
        (tmp_path / "images" / "00001.png").write_bytes(published.picture())
    task = tasks.load("visulogic")
    (row,) = task.rows(tmp_path)
    assert (row["answer"], task.groups(row)) == ("B", ("Spatial Reasoning",))
    assert task.to_images(row)[0].read_bytes() == published.picture()
