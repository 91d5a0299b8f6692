import json
import re
import subprocess
import sys

import places
import pytest

import tasks
from common.errors import UserError


@pytest.fixture
def room(tmp_path, monkeypatch):
    """An empty folder of tasks."""
    monkeypatch.setattr(tasks, "HERE", tmp_path)
    tasks.load.cache_clear()
    yield tmp_path
    tasks.load.cache_clear()


def test_every_task_loads_and_says_how_it_scores():
    for name in tasks.names():
        for protocol in tasks.load(name).protocols:
            task = tasks.load(name, protocol)
            assert (task.name, task.protocol) == (name, protocol)
            assert task.max_tokens > 0
            assert len(task.scoring) > 30


def test_every_task_has_a_robust_protocol_and_an_honest_source():
    for name in tasks.names():
        task = tasks.load(name)
        assert task.protocol == "robust"
        if task.source is not None:
            assert task.source.n > 0
            assert task.source.revision is None or re.fullmatch(
                "[0-9a-f]{40}", task.source.revision
            )


def test_validation_is_the_pocket_task_on_its_other_split(tmp_path):
    row = {"question": "q", "answer": "7", "group": "perception", "images": []}
    (tmp_path / "test.jsonl").write_text(json.dumps({"id": "t", **row}) + "\n")
    (tmp_path / "validation.jsonl").write_text(json.dumps({"id": "v", **row}) + "\n")
    assert [row["id"] for row in tasks.load("pocket").rows(tmp_path)] == ["t"]
    assert [row["id"] for row in tasks.load("pocket_validation").rows(tmp_path)] == ["v"]


def test_an_unknown_task_names_the_nearest_and_all():
    with pytest.raises(UserError) as error:
        tasks.load("mathvison")
    assert str(error.value) == (
        "there is no task 'mathvison': did you mean mathvision? the tasks are "
        + ", ".join(tasks.names())
    )


def test_an_unknown_protocol_names_those_there_are():
    with pytest.raises(UserError) as error:
        tasks.load("pocket", "oficial")
    assert str(error.value) == "pocket has no protocol 'oficial': it has robust"


def test_groups_expand_to_tasks_each_once():
    assert tasks.expand(["pocket"]) == ["pocket"]
    assert tasks.expand(["wemath", "paper"]) == [
        "wemath", "mathvista", "mathverse_vision_only", "mathvision", "logicvista",
    ]  # fmt: skip
    with pytest.raises(UserError, match="no task 'papre': did you mean paper"):
        tasks.expand(["papre"])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("task: [", "while parsing"),
        ("- a list", "it is not a mapping"),
        ("task: other", "its field task says 'other', its file name says 'broken'"),
        ("task: broken", "KeyError: 'generation_kwargs'"),
        ("task: broken\nf: !function pocket.nothing", "has no attribute 'nothing'"),
        ("task: broken\nf: !function nothing.at_all", "No module named 'tasks.nothing'"),
        ("task: broken\nf: !!python/object/apply:os.system [ls]", "could not determine a const"),
        ("task: broken\ngeneration_kwargs: {until: [stop]}", "until must be empty"),
        (
            "task: broken\ngeneration_kwargs: {until: []}\nmetadata: {data: {}}",
            "metadata.data is lm-eval's word for the folder: name the hub `source`",
        ),
    ],
)
def test_a_yaml_that_does_not_load_is_named(room, text, sentence):
    (room / "broken.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        tasks.load("broken")
    assert str(room / "broken.yaml") in str(error.value)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


ROW = '{"id": "a", "answer": "7", "group": "g"}'


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (None, "which does not exist: is --data the right folder?"),
        (["{"], "line 1 is not JSON"),
        (["[1]"], "line 1 is not a JSON object"),
        ([], "pocket has no rows in"),
        (['{"answer": "7", "group": "g"}'], "a row without the field 'id'"),
        ([ROW, ROW], "pocket has two rows of id 'a'"),
    ],
)
def test_bad_data_gives_one_sentence(tmp_path, lines, sentence):
    if lines is not None:
        (tmp_path / "test.jsonl").write_text("".join(line + "\n" for line in lines))
    with pytest.raises(UserError) as error:
        tasks.load("pocket").rows(tmp_path)
    assert sentence in str(error.value)


def test_no_data_folder_says_what_to_give():
    with pytest.raises(UserError, match="--data FOLDER"):
        tasks.load("wemath").rows(None)


def test_a_split_that_is_not_there_is_named(tmp_path):
    (tmp_path / "test.jsonl").write_text(ROW)
    with pytest.raises(UserError, match="asks the validation split, and .* holds test"):
        tasks.load("pocket_validation").rows(tmp_path)


@pytest.mark.parametrize("parity", places.PARITY)
def test_the_question_files_load_whole(parity, driftbench):
    printed = driftbench("tasks --check --data", parity / "questions").out
    found = {
        line.split()[0]: line.split()[1:]
        for line in printed.splitlines()
        if line.endswith("ok") or " ok " in f"{line} "
    }
    expected = {
        "mathvista": 1000, "mathvision_testmini": 304, "wemath": 1740, "logicvista": 448,
        "mathverse_text_only": 788, "pope": 9000, "hallusionbench": 1129, "mmmu": 900,
    }  # fmt: skip
    if parity != places.PARITY[-1]:
        expected["mathvision"] = 3040
    assert found == {name: [str(n), str(n), "ok"] for name, n in expected.items()}


def test_a_check_says_what_is_missing(tmp_path, driftbench):
    row = {"id": "1", "question": "How many?", "options": [], "answer": "9", "level": 1,
           "subject": "algebra", "image": "a.png"}  # fmt: skip
    (tmp_path / "test.jsonl").write_text(json.dumps(row) + "\n")
    printed = driftbench("tasks --check --data", tmp_path, status=2).out
    printed = {line.split()[0]: line for line in printed.splitlines()}
    assert "1 rows, expected 3040" in printed["mathvision"]
    assert "finds none of the files it knows" in printed["mathvista"]


def test_the_readers_of_answers_load_fast_and_without_torch():
    code = "import sys, tasks.grading.extract; print(sorted({'torch', 'sympy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
