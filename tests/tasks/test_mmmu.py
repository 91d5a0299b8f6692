"""MMMU and MMMU-Pro: parsers, prompts, loading."""

from collections import Counter

import published
import pytest

import tasks
from common.errors import UserError
from tasks import mmmu, mmmu_pro

PRO = ["mmmu_pro_standard", "mmmu_pro_vision"]

PICTURES = [f"image_{n}" for n in range(1, 8)]


def test_what_the_script_parses_is_read_and_what_it_draws_is_not():
    records = published.records("mmmu_val__llava1.5_13b")
    for record in records:
        said, right = mmmu.official(record, record["response"])
        if record["random_fallback"]:
            assert (said, right) == (None, None), record["id"]
        elif mmmu._is_short(record):
            found = mmmu.read_short(record["response"])
            assert sorted(map(str, found)) == sorted(map(str, record["parsed"])), record["id"]
        else:
            assert said == record["parsed"], record["id"]
    domains = Counter(mmmu.groups(record)[0] for record in records)
    assert (len(domains), domains.total()) == (6, 900)


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


def test_mmmu_loads_from_a_snapshot_of_the_hub(tmp_path):
    red, blue = published.picture("red"), published.picture("blue")
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


def test_a_row_whose_picture_is_missing_is_named(tmp_path):
    for subject in mmmu._DOMAIN:
        rows = [hub_row(subject, image_1=published.picture())]
        path = tmp_path / subject / "validation-00000-of-00001.parquet"
        published.snapshot(path, rows, PICTURES)
    with pytest.raises(UserError, match=r"mmmu: 30 rows have no images \(validation_Accounting, "):
        tasks.load("mmmu").rows(tmp_path)


def test_the_answer_file_is_enough_to_count_the_rows():
    rows = tasks.load("mmmu").rows(published.place("questions"))
    assert len(rows) == 900
    assert sum(mmmu._is_short(row) for row in rows) == 53


def test_mmmu_pro_loads_from_snapshots(tmp_path):
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
    with pytest.raises(UserError, match="1 rows have no question"):
        tasks.load("mmmu_pro_standard").rows(tmp_path / "vision")
    assert task.groups(row) == ("domain: Art and Design", "subject: Art")
