"""Prompts byte for byte, verdicts case by case, the real sample rows where they are at hand."""

# ruff: noqa: E501

import gzip
import hashlib
import json
from pathlib import Path

import pytest

import tasks
from tasks import files

SAMPLE = Path(__file__).parents[3] / "shared" / "parity" / "images_sample"
PARITY = SAMPLE.parent / "open"

needs_sample = pytest.mark.skipif(
    not SAMPLE.exists(), reason=f"the sample of real rows is not at {SAMPLE}"
)


def mathvision(**fields):
    row = {"id": "1", "question": "How many?\n<image1>", "options": [], "answer": "9",
           "level": 2, "subject": "algebra"}  # fmt: skip
    return {**row, **fields}


def test_mathvision_prompt_without_options_ends_with_a_newline():
    assert tasks.load("mathvision").to_prompt(mathvision()) == (
        '<image>Please solve the problem step by step and put your answer in one "\\boxed{}". If it '
        'is a multiple choice question, only one letter is allowed in the "\\boxed{}".\nHow many?\n'
        "<image1>\n"
    )


def test_mathvision_prompt_lists_options_unless_they_are_bare_letters():
    to_prompt = tasks.load("mathvision").to_prompt
    bare = to_prompt(mathvision())
    options = ["1", "2", "3", "4", "$5$"]
    assert to_prompt(mathvision(options=list("ABCDE"))) == bare
    assert to_prompt(mathvision(options=options)) == (
        bare + "(A) 1\n(B) 2\n(C) 3\n(D) 4\n(E) $5$\n"
    )


def test_logicvista_prompt():
    assert tasks.load("logicvista").to_prompt({"question": "Which one? "}) == (
        "<image>Your response should only contain letters/numbers, do not add extra explaination. "
        "These are some examples of how to format your output:\nquestion: what is 1 + 9? A) 4 B) "
        "123 C) 10 D) 3\nanswer: C\n\nquestion: What is the next logical choice based on the image? "
        "Select from A-D\nanswer: A\n\nquestion: Which of the boxes comes next in the sequence? "
        "Select from A, B, C, D, and E. (A) A (B) B (C) C (D) D (E) E \nanswer: B\n\nNow answer the "
        "following in the same style based off the provided image:\nquestion: Which one? \nanswer: "
    )


def test_wemath_prompt():
    row = {"question": "What is {x}?", "option": "A. 1;B. 2"}
    assert tasks.load("wemath").to_prompt(row) == (
        "<image>Now, we require you to solve a multiple-choice math question.\nPlease briefly "
        "describe your thought process and provide the final answer(option).\nQuestion: What is "
        "{x}?\nOption: A. 1;B. 2\nRegarding the format, please answer following the template below, "
        "and be sure to include two <> symbols:\n<Thought process>:<<your thought process>>\n"
        "<Answer>:<<your option>>."
    )


CASES = [
    ("pocket", {"answer": "7"}, "<think> 3 + 4 = 7 </think> 7", ("7", True)),
    ("pocket", {"answer": "7"}, "7", ("7", True)),
    ("pocket", {"answer": "7"}, "<think> 7 </think> 8", ("8", False)),
    ("pocket", {"answer": "7"}, "<think> 3 + 4 = 7", (None, None)),
    ("pocket", {"answer": "7"}, "<think> 7 </think>", (None, None)),
    ("pocket", {"answer": "7"}, "", (None, None)),
    ("pocket", {"answer": "7"}, "17", ("17", False)),
    ("mathvision", mathvision(), r"So \boxed{9.0}", (r"9.0", True)),
    ("mathvision", mathvision(), r"So \boxed{19}", ("19", False)),
    ("mathvision", mathvision(), "I cannot see it", (None, None)),
    ("mathvision", mathvision(answer="1:2"), r"\boxed{1 : 2}", ("1 : 2", True)),
    ("mathvision", mathvision(answer=r"$\boxed{\frac{16}{7}}$"), r"\boxed{16/7}", ("16/7", True)),
    ("mathvision", mathvision(options=list("ABCDE"), answer="B"), r"\boxed{B}", ("B", True)),
    ("mathvision", mathvision(options=list("ABCDE"), answer="B"), r"\boxed{C}", ("C", False)),
    ("mathvision", mathvision(options=["1", "2", "3", "4", "5"], answer="B"), r"\boxed{2}",
     ("B", True)),
    ("mathvision", mathvision(options=["2", "2", "3", "4", "5"], answer="B"), r"\boxed{2}",
     (None, None)),
    ("logicvista", {"answer": "B"}, "B", ("B", True)),
    ("logicvista", {"answer": "A, C"}, "C and A", ("A, C", True)),
    ("logicvista", {"answer": "A, C"}, "A", ("A", False)),
    ("logicvista", {"answer": "G"}, "answer: G", ("G", True)),
    ("logicvista", {"answer": "3"}, "3", ("3", True)),
    ("logicvista", {"answer": "B"}, "B) 12, or so", ("B", True)),
    ("logicvista", {"answer": "B"}, "None of them", (None, None)),
    ("logicvista", {"answer": ""}, "", (None, None)),
    ("logicvista", {"answer": ""}, "A", ("A", False)),
    ("wemath", {"answer": "B"}, "<Thought process>:<<A square>>\n<Answer>:<<B>>.", ("B", True)),
    ("wemath", {"answer": "B"}, "<Answer>:<<B. 2 cm>>", ("B", True)),
    ("wemath", {"answer": "B"}, "Based on the picture it is a square", (None, None)),
]  # fmt: skip


@pytest.mark.parametrize(("task", "row", "text", "expected"), CASES)
def test_verdict(task, row, text, expected):
    assert tasks.load(task).verdict(row, text) == expected


def test_groups():
    assert tasks.load("pocket").groups({"group": "perception"}) == ("perception",)
    assert tasks.load("mathvision").groups(mathvision()) == ("algebra", "level 2")
    assert tasks.load("logicvista").groups({"skill": ["spatial"]}) == ("spatial",)
    assert tasks.load("wemath").groups({"key": "3steps_2"}) == ("S1", "3steps_2")
    assert tasks.load("wemath").groups({"key": "3steps_multi"}) == ("S3", "3steps_multi")


@needs_sample
@pytest.mark.parametrize(
    ("name", "count", "first", "prompt"),
    [
        ("mathvision", 24, "905", '<image>Please solve the problem step by step and put your answer '
         'in one "\\boxed{}". If it is a multiple choice question, only one letter is allowed in the '
         '"\\boxed{}".\nOn each of the three separate pieces of paper there is a three-digit number. '
         "The sum of the three numbers is 826. What is the sum of the two hidden digits?\n<image1>\n"),
        ("wemath", 24, "2steps_121/2steps_1", "<image>Now, we require you to solve a multiple-choice "
         "math question.\nPlease briefly describe your thought process and provide the final "
         "answer(option).\nQuestion: As shown in the diagram, 2.5 circles with the same diameter are "
         "drawn inside a rectangle. If the length of the rectangle is 10 cm, then the radius of the "
         "circles is (    ) cm.\nOption: A. 2.5;B. 2;C. 6;D. 4; E. No correct answer\nRegarding the "
         "format, please answer following the template below, and be sure to include two <> symbols:"
         "\n<Thought process>:<<your thought process>>\n<Answer>:<<your option>>."),
        ("logicvista", 17, "v1_1", None),
    ],
)  # fmt: skip
def test_real_rows_load_with_their_pictures(name, count, first, prompt):
    task = tasks.load(name)
    rows = task.rows(SAMPLE)
    assert (len(rows), rows[0]["id"]) == (count, first)
    assert prompt is None or task.to_prompt(rows[0]) == prompt
    for row in rows:
        (path,) = task.to_images(row)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == row["image_sha256"]
        assert task.to_prompt(row).count("<image>") == 1
        assert task.verdict(row, row["answer"])[1] is (True if row["answer"] else None)


@needs_sample
def test_the_row_without_a_question_is_asked():
    task = tasks.load("logicvista")
    (row,) = [row for row in task.rows(SAMPLE) if row["id"] == "v1_382"]
    assert task.to_prompt(row).endswith("image:\nquestion: \nanswer: ")


@needs_sample
def test_wemath_metrics_equal_those_of_the_official_script():
    name = "wemath_testmini__synthetic_seed31.jsonl.gz"
    manifest = json.loads((PARITY / "manifest.json").read_text())
    (record,) = [entry for entry in manifest["files"] if entry["file"] == name]
    official = record["official_scores"]["four_dim"]
    with gzip.open(PARITY / name, "rt") as file:
        rows = [json.loads(line) for line in file]
    graded = [({"ID": row["id"], "key": row["key"]}, row["official_verdict"]) for row in rows]
    found = tasks.load("wemath").summary(graded)
    assert found["problems"] == 525
    for form in ("Strict", "Loose"):
        expected = {
            f"score {form.lower()}": official[f"Score ({form})"],
            "IK": official[f"InsufficientKnowledge ({form})"],
            "IG": official[f"InadequateGeneralization ({form})"],
            f"CM {form.lower()}": official[f"CompleteMastery ({form})"],
            f"RM rate {form.lower()}": official[f"RoteMemorization ({form})"],
        }
        for metric, text in expected.items():
            # The official script cuts after two decimals.
            assert 100 * found[metric] == pytest.approx(float(text.split("%")[0]), abs=0.01)


def test_wemath_metrics_of_half_a_problem_are_none():
    assert tasks.load("wemath").summary([({"ID": "2steps_1", "key": "2steps_1"}, True)]) == {}


def test_a_picture_outside_of_the_folder_is_refused(tmp_path):
    (tmp_path / "secret.png").write_bytes(b"")
    row = {"id": "1", "folder": str(tmp_path / "data"), "images": ["../secret.png"]}
    with pytest.raises(tasks.TaskError, match=r"the picture \.\./secret\.png lies outside"):
        files.to_images(row)


@pytest.mark.parametrize(
    ("mode", "colour", "seen"),
    [
        ("RGB", (10, 20, 30), (10, 20, 30)),
        ("L", 7, (7, 7, 7)),
        ("RGBA", (0, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (0, 0, 0, 255), (0, 0, 0)),
        ("LA", (0, 0), (255, 255, 255)),
    ],
)
def test_transparent_parts_of_a_picture_are_white(tmp_path, mode, colour, seen):
    from PIL import Image

    Image.new(mode, (3, 2), colour).save(tmp_path / "a.png")
    row = {"id": "1", "folder": str(tmp_path), "images": ["a.png"]}
    (image,) = files.pictures(row)
    assert (image.mode, image.size, image.getpixel((2, 1))) == ("RGB", (3, 2), seen)
