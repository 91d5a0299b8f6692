"""MATH-Vision: extraction and comparison by hand, prompts, loading."""

import json

import published
import pytest

import tasks
from common.errors import UserError
from tasks import mathvision

ROW = {
    "id": "1",
    "question": "How many?\n<image1>",
    "question_type": "free_form",
    "choices": [],
    "answer": "9",
    "metadata": {"subject": "algebra", "level": 2},
}


@pytest.mark.parametrize(
    ("response", "said"),
    [
        ("The area is 12. ", "12"),
        ("x = 3, so y \\approx 4.5", "4.5"),
        ("The Answer should be 7", "theanswershouldbe7"),
        ("The final answer is 8\nBut who knows", "8"),
        ("\\boxed{\\text{12 cm}}", "{12cm}"),
        ("\\boxed{ .5}", "\\frac{1}{2}"),
        ("\\boxed{\\sqrt\\sqrt3}", "\\sqrt\\sqrt{3}"),
        ("\\boxed{\\frac12\\sqrt2}", "\\frac{1}{2}\\sqrt{2}"),
        ("\\boxed{\\frac12}", "\\frac12"),
        ("-3/4", "\\frac{-3}{4}"),
        ("03/4", "03/4"),
        ("50\\% of $12$", "50of12"),
    ],
)
def test_the_extraction_by_hand(response, said):
    assert mathvision.extract(response) == said


@pytest.mark.parametrize(
    ("truth", "said", "right"),
    [
        ("0.5", "1/2", True),
        ("0.5", "\\frac{1}{2}", True),
        ("0.5", "0.5000004", True),
        ("0.333", "1/3", False),
        ("8", "2**3", True),
        ("1", "2^3", True),  # Python's exclusive or
        ("8", "2^3", True),
        ("(1,2)", "(1,2)", True),
        ("3", "\\sqrt{9}", False),  # `sqrt` is not known where VLMEvalKit evaluates
        ("3", "__import__('os').getpid()", False),
        ("3", "9**9**9**9", False),
    ],
)
def test_vlmevalkit_compares_to_a_millionth(truth, said, right):
    assert mathvision.close(truth, said) is right


def test_prompts_byte_for_byte():
    request = (
        '<image>Please solve the problem step by step and put your answer in one "\\boxed{}". If '
        'it is a multiple choice question, only one letter is allowed in the "\\boxed{}".\n'
    )
    assert mathvision.to_prompt(ROW) == f"{request}How many?\n<image1>\n"
    bare = {**ROW, "choices": list("ABCDE")}
    assert mathvision.to_prompt(bare) == f"{request}How many?\n<image1>\n"
    choices = {**ROW, "choices": ["1", "2", "3", "4", "$5$"]}
    assert mathvision.to_prompt(choices) == (
        f"{request}How many?\n<image1>\n(A) 1\n(B) 2\n(C) 3\n(D) 4\n(E) $5$\n"
    )
    assert mathvision.to_prompt_vlmevalkit(choices) == (
        "<image>Hint: Please answer the question and provide the correct option letter, e.g., A, "
        "B, C, D, at the end.\nQuestion: How many?\n<image1>\nChoices:\n(A) 1\n(B) 2\n(C) 3\n(D) 4"
        "\n(E) $5$"
    )
    assert mathvision.to_prompt_vlmevalkit(ROW) == (
        "<image>Hint: Please answer the question and provide the final answer at the end.\n"
        "Question: How many?\n<image1>"
    )


def test_what_the_judge_is_asked():
    request = next(mathvision.by_vlmevalkit(ROW, "It is nine."))
    assert request.prompt.startswith(
        "\nPlease read the following example.\nThen extract the answer from the model response and "
        "type it at the end of the prompt.\n\n\nHint: Please answer the question and provide the "
        "final answer at the end.\n\nQuestion: Which number is missing?\n\nModel response: The "
        "number missing in the sequence is 14.\n\nExtracted answer: 14\n\n\nHint: "
    )
    assert request.prompt.endswith(
        "Extracted answer: B\n\nHint: Please answer the question and provide the final answer at "
        "the end.\nQuestion: How many?\n<image1>\nModel respone: It is nine.Extracted answer:"
    )
    assert (request.temperature, request.max_tokens) == (0, 128)


QUESTIONS = {"mathvision": "mathv_test", "mathvision_testmini": "mathv_testmini"}


@pytest.mark.parametrize(
    "name",
    [name for name, file in QUESTIONS.items() if published.place_of(f"questions/{file}.jsonl.gz")],
)
def test_all_questions_load_and_know_their_answer(name):
    task = tasks.load(name)
    rows = task.rows(published.place(f"questions/{QUESTIONS[name]}.jsonl.gz").parent)
    assert len(rows) == task.source.n
    lost = [
        row["id"]
        for row in rows
        if mathvision.official(row, f"\\boxed{{{row['answer']}}}")[1] is not True
    ]
    # Answers in a box of their own, with a degree sign, or with a blank in a function's power.
    unread = ["2804", "2828", "2833", "2866", "2875", "2877"]
    assert lost == (unread if name == "mathvision" else [])
    with pytest.raises(UserError, match="does not exist"):
        task.to_images(rows[0])


RAW = {"id": "1", "question": "How many?\n<image1>", "options": [], "answer": "9", "level": 2,
       "subject": "algebra", "image": "images/1.jpg"}  # fmt: skip


def test_it_loads_from_its_own_repository(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.jpg").write_bytes(published.picture())
    (tmp_path / "data" / "test.jsonl").write_text(json.dumps(RAW) + "\n")
    task = tasks.load("mathvision")
    (row,) = task.rows(tmp_path)
    assert {name: row[name] for name in ROW} == ROW
    assert task.to_images(row)[0].read_bytes() == published.picture()
    with pytest.raises(UserError, match="mathvision finds none of the files it knows"):
        tasks.load("mathvision_testmini").rows(tmp_path)


def test_it_loads_from_a_snapshot_of_the_hub(tmp_path):
    row = {**RAW, "decoded_image": published.picture()}
    path = tmp_path / "data" / "test-00000-of-00001.parquet"
    published.snapshot(path, [row, {**row, "id": "2"}], ["decoded_image"])
    task = tasks.load("mathvision")
    first, second = task.rows(tmp_path)
    assert {name: first[name] for name in ROW} == ROW
    assert task.to_images(second)[0].read_bytes() == published.picture()


def test_rows_that_lack_something_are_named_and_counted(tmp_path):
    rows = [{**RAW, "id": str(n), "answer": None if n % 2 else "9"} for n in range(20)]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=r"10 rows have no answer \(1, 3, 5, 7, 9, …\)"):
        tasks.load("mathvision").rows(tmp_path)


def test_the_sample_loads_with_its_pictures():
    published.check_sample("mathvision", ".jpg")
