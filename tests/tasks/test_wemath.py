"""We-Math: metrics, options, prompts, loading."""

import json
from collections import Counter

import published
import pytest

import tasks
from common.errors import UserError
from tasks import wemath
from tasks.judging import settle


def test_the_problems_and_the_concepts_are_all_there():
    records = published.records("wemath_testmini__synthetic_seed31")
    rows = [wemath.from_record(record) for record in records]
    found = wemath.summary((row, True) for row in rows)
    assert (found["problems"], found["CM strict"], found["RM rate loose"]) == (525, 1, 0)
    assert len(wemath.DOMAINS) == 12
    assert sum(map(len, wemath.DOMAINS.values())) == 67
    asked = Counter(name for row in rows for name in wemath.groups(row))
    assert sum(asked[f"domain: {domain}"] for domain in wemath.DOMAINS) == asked["S1"] == 1215


def test_half_a_problem_has_no_metrics_and_no_wholes_no_rate():
    row = {"ID": "2steps_1", "metadata": {"knowledge concept": "Parallel"}}
    assert wemath.summary([({**row, "key": "2steps_1"}, True)]) == {}
    keys = ("2steps_1", "2steps_2", "2steps_multi")
    found = wemath.summary([({**row, "key": key}, False) for key in keys])
    assert (found["IK"], found["RM rate strict"], found["score loose"]) == (1, 0, 0)
    assert found["accuracy Understanding of Plane Figures"] == 0


ROW = {"ID": "2steps_1", "key": "2steps_1", "question": "What is {x}?", "option": "A. 1;B. 2",
       "answer": "B"}  # fmt: skip


def test_prompts_byte_for_byte():
    assert wemath.to_prompt(ROW) == (
        "<image>Now, we require you to solve a multiple-choice math question.\nPlease briefly "
        "describe your thought process and provide the final answer(option).\nQuestion: What is "
        "{x}?\nOption: A. 1;B. 2\nRegarding the format, please answer following the template "
        "below, and be sure to include two <> symbols:\n<Thought process>:<<your thought process>>"
        "\n<Answer>:<<your option>>."
    )
    assert wemath.to_prompt_vlmevalkit(ROW) == (
        "<image>Hint: Now, we require you to solve a multiple-choice math question. Please briefly "
        "describe your thought process and provide the final answer(option).\nQuestion: What is "
        "{x}?\nOptions:\nA. 1\nB. 2\n"
    )


def test_what_the_judge_is_asked():
    request = next(wemath.by_vlmevalkit(ROW, "two, I think"))
    assert request.prompt.startswith("You are an AI assistant who will help me to match an answer ")
    assert request.prompt.endswith(
        "Example 3: \nQuestion: <start>\nWhat is {x}?\nOptions: There are several options: \nA. 1\n"
        "B. 2\n\n<end>\nAnswer: <start>\ntwo, I think\n<end>\nYour output: "
    )


@pytest.mark.parametrize(
    ("option", "parts"),
    [
        ("A. 300, 400;B. 400, 300; C. No correct answer", ["300, 400", "400, 300",
                                                           "No correct answer"]),
        ("A. 4 B. 3 C. 2 ;D. 1", ["4", "3", "2", "1"]),
        ("A. ①;B．②;C. ③", ["①", "②", "③"]),
        ("A. ①; ③;B. ②; ④", ["①; ③", "②; ④"]),
        ("A. the angle ∠AB;E.; B. the angle ∠AB;C.; C. none.", ["the angle ∠AB;E.",
                                                               "the angle ∠AB;C.", "none."]),
    ],
)  # fmt: skip
def test_options_are_split_past_their_slips(option, parts):
    assert list(wemath.options({"option": option}).values()) == parts


def test_all_questions_load_and_know_their_answer():
    task = tasks.load("wemath")
    rows = task.rows(published.place("questions"))
    assert len(rows) == task.source.n == 1740
    assert len({task.cluster(row) for row in rows}) == 525
    for row in rows:
        choices = wemath.options(row)
        assert row["answer"] in choices and all(choices.values())
        assert wemath.official(row, f"<Answer>:<<{row['answer']}>>.")[1] is True
        assert wemath.robust(row, f"<Answer>:<<{row['answer']}>>.")[1] is True
        assert not any("none of" in group for group in task.groups(row))


def test_the_sample_loads_with_its_pictures():
    published.check_sample("wemath", ".png")


RAW = {**ROW, "image_path": "2steps/image/1-1.png", "knowledge concept": "Parallel"}


def test_it_loads_from_its_own_repository(tmp_path):
    folder = tmp_path / "data" / "2steps" / "image"
    folder.mkdir(parents=True)
    (folder / "1-1.png").write_bytes(published.picture())
    (tmp_path / "data" / "testmini.json").write_text(json.dumps([RAW]))
    task = tasks.load("wemath")
    (row,) = task.rows(tmp_path)
    assert {name: row[name] for name in ROW} == ROW
    assert row["id"] == "2steps_1/2steps_1"
    assert task.to_images(row)[0].read_bytes() == published.picture()
    assert task.groups(row) == (
        "S1", "2steps_1", "domain: Understanding of Plane Figures", "knowledge: Parallel",
    )  # fmt: skip
    (tmp_path / "data" / "testmini.json").write_text("{}")
    with pytest.raises(UserError, match="testmini.json is no list of questions"):
        task.rows(tmp_path)


def test_it_loads_from_a_snapshot_of_the_hub(tmp_path):
    path = tmp_path / "data" / "testmini-00000-of-00001.parquet"
    published.snapshot(path, [{**RAW, "image_path": published.picture()}], ["image_path"])
    (row,) = tasks.load("wemath").rows(tmp_path)
    assert tasks.load("wemath").to_images(row)[0].read_bytes() == published.picture()
    assert {name: row[name] for name in ROW} == ROW


def test_a_judge_that_names_no_option_leaves_it_open():
    assert settle(wemath.by_vlmevalkit, ROW, "two", ["hm"] * 3) == ((None, None), True)
