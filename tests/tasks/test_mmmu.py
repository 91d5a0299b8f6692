"""MMMU and MMMU-Pro against the official verdicts, parsers and prompts."""

import published
import pytest

import tasks
from common.errors import UserError
from tasks import mmmu, mmmu_pro
from tasks.grading import vlmevalkit
from tasks.judging import settle

PRO = {
    "mmmu_pro_standard": "mmmu_pro__gpt-4o_standard_10_options_cot",
    "mmmu_pro_vision": "mmmu_pro__gpt-4o_vision_direct",
}

PICTURES = [f"image_{n}" for n in range(1, 8)]


def test_every_published_verdict_of_mmmu():
    records = published.records("mmmu_val__llava1.5_13b")
    assert len(records) == 900
    for record in records:
        said, right = mmmu.official(record, record["response"])
        if record["random_fallback"]:
            assert (said, right) == (None, None), record["id"]
            continue
        assert right == record["official_verdict"], record["id"]
        if mmmu._is_short(record):
            found = mmmu.read_short(record["response"])
            assert sorted(map(str, found)) == sorted(map(str, record["parsed"])), record["id"]
        else:
            assert said == record["parsed"], record["id"]


@pytest.mark.parametrize("name", PRO.values())
def test_every_published_verdict_of_mmmu_pro(name):
    records = published.records(name)
    assert len(records) == 1730
    for record in records:
        found = mmmu_pro.official(record, record["response"])
        drawn = record["random_fallback"]
        published_ = (record["official_extraction"], record["official_verdict"])
        assert found == ((None, None) if drawn else published_), record["id"]


@pytest.mark.parametrize("head", [False, True])
def test_every_option_that_vlmevalkit_matches_in_mmmu(head):
    for record in published.records("mmmu_val__llava1.5_13b"):
        choices = vlmevalkit.lettered(record["choices"] or [])
        choices = choices or {"A": str(record["answer"]), "B": "Other Answers"}
        found = vlmevalkit.can_infer(record["response"], choices, head=head)
        assert found == (record["vlmevalkit_prefetch"]["both"] or None), record["id"]


@pytest.mark.parametrize(("task", "name"), PRO.items())
def test_every_option_that_vlmevalkit_matches_in_mmmu_pro(task, name):
    verdict = tasks.load(task, "vlmevalkit").verdict
    for record in published.records(name):
        expected = record["vlmevalkit_prefetch"]
        (found, _), _ = settle(verdict, mmmu_pro.from_record(record), record["response"])
        assert found == (expected.get("2025", expected.get("both")) or None), record["id"]


def test_the_parsers_on_every_vector():
    cases = published.vectors("option_match")
    assert len(cases) == 81
    for case in cases:
        found = mmmu.read_letter(case["response"], case["choices"])
        assert (found or "RANDOM") == case["mmmu_official"], case
        row = {"choices": list(case["choices"].values()), "answer": "A"}
        found, _ = mmmu_pro.official(row, case["response"])
        assert (found or "RANDOM") == case["mmmu_pro_official"], case
    for case in published.vectors("mmmu.open"):
        found = mmmu.read_short(case["response"])
        assert sorted(map(str, found)) == sorted(map(str, case["parsed"])), case
        assert mmmu.agrees(found, case["gt"]) == case["verdict"], case


def test_scores_by_subject_are_the_published_ones():
    expected = published.scores("mmmu_val__llava1.5_13b")
    found = {}
    for record in published.records("mmmu_val__llava1.5_13b"):
        for group in mmmu.groups(record):
            found.setdefault(group, []).append(record["official_verdict"])
    for subject, score in expected.items():
        if subject != "overall":
            rights = found[f"subject: {subject}"]
            assert (sum(rights), len(rights)) == (score["correct"], score["total"])
    domains = [group for group in found if group.startswith("domain: ")]
    assert len(domains) == 6
    assert sum(len(found[domain]) for domain in domains) == 900


def test_prompts_byte_for_byte():
    row = {"question": "Is <image 1> or <image 2> left?", "choices": ["this", "that <image 2>"],
           "images": ["1", "2", "2"]}  # fmt: skip
    short = {**row, "choices": None}
    assert mmmu.to_prompt(row) == (
        "Is <image> or <image> left?\n(A) this\n(B) that <image>\n\n"
        "Answer with the option's letter from the given choices directly."
    )
    assert mmmu.to_prompt(short) == (
        "Is <image> or <image> left?\nAnswer the question using a single word or phrase."
    )
    assert mmmu.to_prompt_vlmevalkit(row) == (
        "Question: Is <image> or <image> left?\nOptions:\nA. this\nB. that <image>\n"
        "Please select the correct answer from the options above. \n"
    )
    assert mmmu.to_prompt_vlmevalkit(short) == "Question: Is <image> or <image> left?\n"
    assert mmmu_pro.to_prompt(row) == (
        "Is <image> or <image> left?\nA. this\nB. that <image>\nAnswer the preceding multiple "
        "choice question. The last line of your response should be of the following format: "
        "'Answer: $LETTER' (without quotes) where LETTER is one of options. Think step by step "
        "before answering."
    )
    assert mmmu_pro.to_prompt_vision(row) == (
        "<image>Write out the multiple-choice question in the image and then solve it. The last "
        "line of your response should be of the following format: 'Answer: $LETTER' (without "
        "quotes) where LETTER is one of options. Think step by step before answering."
    )
    assert mmmu_pro.to_prompt_vlmevalkit(row) == (
        "Question: Is <image> or <image> left?\nOptions:\nA. this\nB. that <image>\nAnswer the "
        "following multiple-choice question. The last line of your response should be of the "
        "following format: 'Answer: $LETTER' (without quotes) where LETTER is one of the options. "
        "Think step by step before answering. "
    )
    assert mmmu_pro.to_prompt_vision_vlmevalkit(row) == (
        "<image>Answer the following multiple-choice question in the image. The last line of your "
        "response should be of the following format: 'Answer: $LETTER' (without quotes) where "
        "LETTER is one of the options. Think step by step before answering. "
    )


def test_pictures_without_a_tag_stand_in_front():
    row = {"question": "Left?", "choices": ["a", "b"], "images": ["1", "2"]}
    assert mmmu.to_prompt(row).startswith("<image><image>Left?\n(A) a")


def hub_row(number, **fields):
    row = {"id": f"validation_{number}", "question": "Is it <image 2> or <image 1>?",
           "options": "['this', \"that's\"]", "answer": "B", "question_type": "multiple-choice",
           "topic_difficulty": "Easy",
           **dict.fromkeys(PICTURES)}  # fmt: skip
    return {**row, **fields}


def test_mmmu_loads_from_a_snapshot_of_the_hub(tmp_path, monkeypatch):
    red, blue = published.picture("red"), published.picture("blue")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for subject in mmmu._DOMAIN:
        rows = [hub_row(subject, image_1=red, image_2=blue)]
        if subject == "Math":
            rows.append(
                hub_row("m", id="validation_Math_15", options="[]", question="How far, <image 1>?",
                        question_type="open", answer="['24/7', '3.429']", image_1=red)
            )  # fmt: skip
        path = tmp_path / subject / "validation-00000-of-00001.parquet"
        published.snapshot(path, rows, PICTURES)
    task = tasks.load("mmmu")
    rows = {row["id"]: row for row in task.rows(tmp_path)}
    assert len(rows) == 31
    row = rows["validation_Art_Theory"]
    assert row["choices"] == ["this", "that's"]
    shown = [path.read_bytes() for path in task.to_images(row)]
    assert shown == [blue, red]  # in the order in which the question names them
    assert task.to_prompt(row).count("<image>") == 2
    assert task.groups(row) == ("domain: Art and Design", "subject: Art_Theory", "difficulty: Easy")
    open_row = rows["validation_Math_15"]
    assert open_row["answer"] == ["24/7", "3.429"]
    assert mmmu.official(open_row, "3.43 ft/s")[1] is True


def test_a_row_whose_picture_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for subject in mmmu._DOMAIN:
        rows = [hub_row(subject, image_1=published.picture())]
        path = tmp_path / subject / "validation-00000-of-00001.parquet"
        published.snapshot(path, rows, PICTURES)
    with pytest.raises(UserError, match=r"mmmu: 30 rows have no images \(validation_Accounting, "):
        tasks.load("mmmu").rows(tmp_path)


def test_the_answer_file_is_enough_to_count_the_rows():
    rows = tasks.load("mmmu").rows(published.shared("questions"))
    assert len(rows) == 900
    assert sum(mmmu._is_short(row) for row in rows) == 53


def test_mmmu_pro_loads_from_snapshots(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    red, blue = published.picture("red"), published.picture("blue")
    standard = hub_row("1", subject="Art", image_1=red, image_2=blue, answer="A")
    path = tmp_path / "standard (10 options)" / "test-00000-of-00002.parquet"
    published.snapshot(path, [standard], PICTURES)
    vision = {"id": "test_Art_1", "image": red, "options": "['a', 'b']", "answer": "B",
              "subject": "Art"}  # fmt: skip
    published.snapshot(tmp_path / "vision" / "test-00000-of-00004.parquet", [vision])
    task = tasks.load("mmmu_pro_standard")
    (row,) = task.rows(tmp_path)
    assert [path.read_bytes() for path in task.to_images(row)] == [blue, red]
    task = tasks.load("mmmu_pro_vision")
    (row,) = task.rows(tmp_path)
    assert [path.read_bytes() for path in task.to_images(row)] == [red]
    assert task.to_prompt(row).startswith("<image>Write out")
    assert task.groups(row) == ("domain: Art and Design", "subject: Art")


@pytest.mark.parametrize("case", published.golden("mmmu"))
def test_golden_rows_of_mmmu(case):
    published.check("mmmu", case)


@pytest.mark.parametrize("task", PRO)
@pytest.mark.parametrize("case", published.golden("mmmu_pro"))
def test_golden_rows_of_mmmu_pro(case, task):
    published.check(task, case)
