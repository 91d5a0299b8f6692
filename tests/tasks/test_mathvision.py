"""MATH-Vision: every published verdict and extraction, the official functions, prompts, loading."""

import json
from collections import Counter

import published
import pytest

import tasks
from common.errors import UserError
from tasks import mathvision
from tasks.grading import vlmevalkit

MODELS = [
    "ChatGPT3.5-CoT_Text_Image_Caption", "Gemini-Pro", "InternLM-XComposer2-VL", "LLaVA-v1.5-7B",
    "Qwen-VL-Max-CoT", "Qwen-VL-Plus", "SPHINX-v2", "ShareGPT4V-13B",
]  # fmt: skip

ROW = {
    "id": "1",
    "question": "How many?\n<image1>",
    "question_type": "free_form",
    "choices": [],
    "answer": "9",
    "metadata": {"subject": "algebra", "level": 2},
}


@pytest.mark.parametrize("model", MODELS)
def test_extractions_and_verdicts_are_those_of_the_script(model):
    records = published.records(f"mathv_test__{model}")
    assert len(records) == 3040
    for record in records:
        # `rerun_…` stands where the script of today gives another result than the stored one.
        said = record.get("rerun_extraction", record["official_extraction"])
        right = record.get("rerun_verdict", record["official_verdict"])
        assert mathvision.official(record, record["response"]) == (said, right), record["id"]


@pytest.mark.parametrize("model", MODELS)
def test_breakdowns_are_those_of_the_script(model):
    records = published.records(f"mathv_test__{model}")
    asked, right = Counter(), Counter()
    for record in records:
        for name in ("-all", *mathvision.groups(record)):
            asked[name] += 1
            right[name] += record["official_verdict"]
    ours = {"-all": "-all"}
    for name in asked:
        kind, _, rest = name.partition(": ")
        if kind == "level":
            ours[f"-level{rest}"] = name
        elif kind == "subject":
            ours[rest] = name
        elif rest:
            ours[f"-{kind.replace(' ', '')}_{rest}"] = name
    scores = published.scores(f"mathv_test__{model}")
    for name, mine in ours.items():
        assert scores[name].split("=")[0] == f"{right[mine]}/{asked[mine]}", name


def test_the_published_vectors():
    for vector in published.vectors("mathv.extract"):
        assert mathvision.extract(vector["response"]) == vector["out"], vector
    for vector in published.vectors("mathv.is_equal"):
        assert mathvision.equal(vector["gt"], vector["answer"]) == vector["out"], vector


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


@pytest.mark.parametrize("model", MODELS)
def test_vlmevalkit_matches_the_same_letters(model):
    records = [r for r in published.records(f"mathv_test__{model}") if "vlmevalkit_prefetch" in r]
    assert len(records) == 1532
    for record in records:
        found = record["vlmevalkit_prefetch"]
        for version, head in (("2025", False), ("head", True)):
            expected = found.get(version, found.get("both")) or None
            choices = vlmevalkit.lettered(record["choices"])
            assert vlmevalkit.can_infer(record["response"], choices, head=head) == expected
        expected = found.get("2025", found.get("both")) or None
        assert mathvision.prefetch(record, record["response"]) == expected, record["id"]


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


@pytest.mark.parametrize(("name", "n"), [("mathvision", 3040), ("mathvision_testmini", 304)])
def test_all_questions_load_and_know_their_answer(name, n):
    task = tasks.load(name)
    rows = task.rows(published.shared("questions"))
    assert len(rows) == task.source.n == n
    lost = [
        row["id"]
        for row in rows
        if mathvision.official(row, f"\\boxed{{{row['answer']}}}")[1] is not True
    ]
    # Answers in a box of their own, with a degree sign, or with a blank in a function's power.
    unread = ["2804", "2828", "2833", "2866", "2875", "2877"]
    assert lost == [name for name in unread if n == 3040]
    with pytest.raises(UserError, match="does not exist"):
        task.to_images(rows[0])


def test_the_sample_loads_with_its_pictures():
    import hashlib

    task = tasks.load("mathvision")
    rows = task.rows(published.shared("images_sample"))
    assert (len(rows), rows[0]["id"]) == (24, "905")
    for row in rows:
        (path,) = task.to_images(row)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == row["image_sha256"]


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


def test_it_loads_from_a_snapshot_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
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


@pytest.mark.parametrize("case", published.golden("mathvision"))
def test_golden_rows(case):
    published.check("mathvision", case)
