"""LogicVista: the judge's letters, prompts, loading."""

import json
from collections import Counter

import published
import pytest

import tasks
from common.errors import UserError
from tasks import logicvista
from tasks.judging import settle


@pytest.mark.parametrize("name", published.files("logicvista"))
def test_letters_listed_as_json_lead_to_the_published_verdicts(name):
    for record in published.records(name):
        reply = json.dumps({"choices": record["official_extraction"]})
        (_, verdict), _ = settle(logicvista.official, record, record["response"], [reply])
        assert verdict is record["official_verdict"], record["id"]


ROW = {
    "id": "v1_0",
    "question": "Which one? ",
    "answer": "B",
    "metadata": {
        "skill": ["spatial"],
        "broad_capability": ["diagram", "ocr"],
        "specific_capability": ["table"],
    },
}


def test_prompts_byte_for_byte():
    assert logicvista.to_prompt(ROW) == (
        "<image>Your response should only contain letters/numbers, do not add extra explaination. "
        "These are some examples of how to format your output:\nquestion: what is 1 + 9? A) 4 B) "
        "123 C) 10 D) 3\nanswer: C\n\nquestion: What is the next logical choice based on the "
        "image? Select from A-D\nanswer: A\n\nquestion: Which of the boxes comes next in the "
        "sequence? Select from A, B, C, D, and E. (A) A (B) B (C) C (D) D (E) E \nanswer: B\n\nNow "
        "answer the following in the same style based off the provided image:\nquestion: Which "
        "one? \nanswer: "
    )
    assert logicvista.to_prompt_vlmevalkit(ROW) == "<image>Which one? "


def test_the_format_that_the_judge_is_asked_for_is_that_of_the_scripts_class():
    pydantic = pytest.importorskip("pydantic")

    class Answer(pydantic.BaseModel):
        choices: list[str] = pydantic.Field(
            description="multiple choice answer of a list of letters or numbers chosen by the "
            "given text"
        )

    schema = Answer.model_json_schema()
    # langchain shows the schema without these two.
    del schema["title"], schema["type"]
    assert json.dumps(logicvista._SCHEMA) == json.dumps(schema)


def test_what_the_judges_are_asked():
    official = next(logicvista.official(ROW, "USER: ? ASSISTANT: 50% B"))
    assert official.prompt.startswith(
        "\n            You are a information extractor that extracts multiple choice letter answer "
        "choices\n                from a paragraph"
    )
    assert (
        'to the following question: "Which one? "\n\n                What letter did the following '
        "answer choose?"
    ) in official.prompt
    assert 'extract from:\nThe answer is " 50% B"\nThe output should be' in official.prompt
    assert official.prompt.endswith('"required": ["choices"]}\n```\n            Helpful Answer:\n' +
                                    " " * 12)  # fmt: skip
    assert official.temperature == 0.2
    asked = logicvista.by_vlmevalkit(ROW, "the {second}")
    first = next(asked)
    assert first.prompt.endswith(
        "Example 5: \nQuestion: <start>\nWhich one? \n<end>\nAnswer: <start>\nthe {second}\n<end>\n"
        "Your output: "
    )
    assert [asked.send("b").temperature for _ in range(4)] == [0.5, 1.0, 1.5, 2.0]


@pytest.mark.parametrize("reply", ['{"choices": ["B"]}', '["B"]', '```json\n["B"]\n```', "b", "B "])
def test_replies_that_can_be_read(reply):
    assert settle(logicvista.official, ROW, "it is B", [reply])[0] == ("b", True)


@pytest.mark.parametrize(
    "reply", ["the letter is B", '{"letters": ["B"]}', '{"choices": {}}', "null"]
)
def test_replies_that_cannot_be_read_are_asked_for_again(reply):
    assert settle(logicvista.official, ROW, "it is B", [reply, "B"])[0] == ("b", True)
    assert settle(logicvista.official, ROW, "it is B", [reply] * 5)[0] == (None, None)


def test_all_questions_load():
    task = tasks.load("logicvista")
    rows = task.rows(published.place("questions"))
    assert len(rows) == task.source.n == 448
    (without,) = [row for row in rows if row["id"] == "v1_382"]
    assert task.to_prompt(without).endswith("image:\nquestion: \nanswer: ")
    for row in rows:
        right = settle(logicvista.official, row, f"It is {row['answer']}", [row["answer"]])[0][1]
        assert right is True
        if row["answer"]:
            assert logicvista.robust(row, row["answer"])[1] is True, row["id"]
    skills = Counter(group for row in rows for group in task.groups(row))
    assert (skills["skill: inductive"], skills["skill: spatial"]) == (107, 79)


def test_the_sample_loads_with_its_pictures():
    published.check_sample("logicvista", ".png")


RAW = {"imagename": "v1_0.png", "question": "Which one? ", "answer": "B", **ROW["metadata"]}


def test_it_loads_from_its_own_repository(tmp_path):
    (tmp_path / "data" / "images").mkdir(parents=True)
    (tmp_path / "data" / "images" / "v1_0.png").write_bytes(published.picture())
    (tmp_path / "data" / "dataset.json").write_text(json.dumps({"v1_0": RAW}))
    task = tasks.load("logicvista")
    (row,) = task.rows(tmp_path)
    assert {name: row[name] for name in ROW} == ROW
    assert task.to_images(row)[0].read_bytes() == published.picture()
    assert task.groups(row) == (
        "skill: spatial", "capability: diagram", "capability: ocr", "specific: table",
    )  # fmt: skip
    (tmp_path / "data" / "dataset.json").write_text("[]")
    with pytest.raises(UserError, match="dataset.json is no table of questions"):
        task.rows(tmp_path)


def test_it_loads_from_a_snapshot_of_the_hub(tmp_path):
    row = {"id": "v1_0", **RAW, "image": published.picture()}
    row.pop("imagename")
    published.snapshot(tmp_path / "data" / "test-00000-of-00001.parquet", [row])
    (found,) = tasks.load("logicvista").rows(tmp_path)
    assert {name: found[name] for name in ROW} == ROW
    assert tasks.load("logicvista").to_images(found)[0].read_bytes() == published.picture()
