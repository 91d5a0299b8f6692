"""One set of answers under each protocol: what is asked, what is scored, and what is kept apart."""

import json
from dataclasses import replace
from pathlib import Path

import graded
import pytest
import tiny_models as tiny
from scripted import checkpoint

import tasks
from common.errors import UserError
from harness.engines.scripted import ScriptedEngine
from harness.evaluate.grade import Running, score
from harness.evaluate.run import EvalConfig, run
from harness.runs.folder import read_card, read_cells, read_questions, read_verdicts
from harness.runs.log import read_responses
from harness.runs.schema import Question, place
from harness.statistics.sides import read_run


@pytest.fixture
def data(tmp_path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.png").write_bytes(tiny.picture(0))
    pocket = {"id": "p", "question": "say 7", "answer": "7", "group": "perception", "images": []}
    (folder / "test.jsonl").write_text(json.dumps(pocket) + "\n")
    rows = [
        {"benchmark": "MATH-V", "id": str(number), "question": f"How many? {number}",
         "options": list("ABCDE"), "answer": "B", "level": 1, "subject": "algebra",
         "image_file": "a.png"}
        for number in range(3)
    ]  # fmt: skip
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


SAID = {
    "p": "7",
    "0": "The answer is (B).",
    "1": "<think>surely B",
    "2": "B or C, that depends on A",
}


def evaluate(out: Path, data: Path, *wanted, said=SAID, **settings):
    (card,) = run([checkpoint()], list(wanted), out, EvalConfig(data=data, **settings),
                  engine=lambda c: ScriptedEngine(c, said))  # fmt: skip
    return card


def correct(folder: Path) -> dict[str, bool | None]:
    return {verdict.id: verdict.correct for verdict in read_verdicts(folder)}


def test_a_run_says_whose_prompts_it_was_asked_with_and_whose_rules_scored_it(tmp_path, data):
    card = evaluate(tmp_path / "run", data, tasks.load("mathvision", "vlmevalkit"))
    (task,) = card.tasks
    assert (task.asked, task.protocol, task.reworded, task.whole) == (
        "vlmevalkit-2026", "vlmevalkit-2026", 0, 3040,
    )  # fmt: skip
    (question, *_) = read_questions(tmp_path / "run")
    assert question.prompt == tasks.load("mathvision", "vlmevalkit").to_prompt(question.row)
    folder = score(tmp_path / "run", "official")
    (task,) = read_card(folder).tasks
    assert (task.asked, task.protocol, task.reworded) == ("vlmevalkit-2026", "official", 3)


def test_a_bare_vlmevalkit_on_disk_is_of_2025(tmp_path, data):
    out = tmp_path / "run"
    evaluate(out, data, tasks.load("mathvision"))
    folder = score(out, "vlmevalkit-2025")
    card = folder.rename(folder.with_name("vlmevalkit")) / "run.json"
    card.write_text(card.read_text().replace("vlmevalkit-2025", "vlmevalkit"))
    (task,) = read_run(out, protocol="vlmevalkit-2025").card.tasks
    assert task.protocol == "vlmevalkit-2025"
    with pytest.raises(UserError, match="was not scored by vlmevalkit-2026"):
        read_run(out, protocol="vlmevalkit")


def test_protocols_differ_and_the_headline_stays(tmp_path, data):
    out = tmp_path / "run"
    evaluate(out, data, tasks.load("mathvision"))
    before = {path: path.read_bytes() for path in out.iterdir()}
    assert correct(out) == {"0": True, "1": None, "2": None}
    # The script reads a letter in front of a full stop; "surely b" is no answer to it.
    assert correct(score(out, "official")) == {"0": True, "1": False, "2": False}
    assert correct(score(out, "vlmevalkit")) == {"0": True, "1": True, "2": None}
    assert {path: path.read_bytes() for path in before} == before
    assert score(out, "robust") == out


def test_of_several_tasks_those_are_scored_that_have_the_protocol(tmp_path, data):
    out = tmp_path / "run"
    evaluate(out, data, tasks.load("pocket"), tasks.load("mathvision"))
    folder = score(out, "official")
    assert {cell.task for cell in read_cells(folder)} == {"mathvision"}
    assert [task.name for task in read_card(folder).tasks] == ["mathvision"]
    evaluate(tmp_path / "pocket", data, tasks.load("pocket"))
    with pytest.raises(UserError, match="pocket has no protocol 'official': it has robust"):
        score(tmp_path / "pocket", "official")
    assert not (tmp_path / "pocket" / "scored").exists()


def test_further_answers_make_the_scores_beside_stale(tmp_path, data):
    out = tmp_path / "run"
    evaluate(out, data, tasks.load("mathvision"), limit=1)
    score(out, "official")
    evaluate(out, data, tasks.load("mathvision"))
    assert not (out / "scored").exists()
    assert len(correct(score(out, "official"))) == 3


def test_answers_in_place_of_errors_make_the_scores_beside_stale(tmp_path, data):
    out, task = tmp_path / "run", tasks.load("mathvision")
    evaluate(out, data, task, said={"0": SAID["0"]})
    assert correct(score(out, "official")) == {"0": True, "1": None, "2": None}
    evaluate(out, data, task, said=dict.fromkeys("012", SAID["0"]))
    with pytest.raises(UserError, match="was not scored by official"):
        read_run(out, protocol="official")
    assert correct(score(out, "official")) == {"0": True, "1": True, "2": True}
    evaluate(out, data, task, said={})
    assert len(read_verdicts(out / "scored" / "official")) == 3  # nothing was left to ask


def test_a_run_under_another_protocol_is_another_run(tmp_path, data):
    evaluate(tmp_path / "run", data, tasks.load("mathvision"))
    with pytest.raises(UserError, match="holds another run"):
        evaluate(tmp_path / "run", data, tasks.load("mathvision", "official"))


def test_a_rule_that_breaks_leaves_its_answer_open_and_says_so(tmp_path, data, capsys):
    def breaks(row, text):
        if "think" in text:
            raise RecursionError
        return text, True

    task = replace(tasks.load("mathvision"), verdict=breaks)
    evaluate(tmp_path / "run", data, task)
    assert correct(tmp_path / "run") == {"0": True, "1": None, "2": True}
    said = capsys.readouterr().err
    assert "the robust rule of mathvision broke on the response to 1 (RecursionError)" in said


def test_eval_takes_a_protocol_and_groups(tmp_path, mistake, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = "eval nowhere --out o --tasks"
    said = mistake(words, "pocket --protocol official")
    assert "pocket has no protocol 'official': it has robust" in said
    assert "there is no nowhere: give a folder" in mistake(words, "paper --protocol official")


def test_rows_that_cannot_be_asked_are_counted_and_the_first_named(tmp_path, data):
    (data / "a.png").unlink()
    with pytest.raises(UserError) as error:
        evaluate(tmp_path / "run", data, tasks.load("mathvision"))
    assert str(error.value).startswith("mathvision: 3 of 3 rows cannot be asked (0, 1, 2): row 0: ")
    assert str(error.value).endswith("a.png does not exist")


CUT_ROW = {"id": "1", "question_type": "free_form", "choices": [], "answer": "7"}


@pytest.mark.parametrize(
    ("text", "finish", "correct", "how"),
    [
        ("We have 3 + 4 = 7", "stop", True, "rule"),
        ("We have 3 + 4 = 7", "length", None, "truncated"),
        ("The answer is 7", "length", None, "truncated"),  # of 70, maybe
        ("The answer is 7. To be sure, we", "length", True, "rule"),
        (r"So it is \boxed{7}. To be sure, we", "length", True, "rule"),
        (r"<think> \boxed{7} To be sure, we", "length", None, "truncated"),
    ],
)
def test_a_cut_response_has_the_answer_that_it_stated(text, finish, correct, how):
    task = tasks.load("mathvision")
    question = Question(task="mathvision", id="1", prompt="How many?", row=CUT_ROW)
    response = graded.response(task="mathvision", id="1", text=text, finish=finish)
    running = Running([task], [question])
    assert running(response) == how
    assert running.readings[place(response)][1] == correct


@pytest.mark.parametrize(
    ("text", "finish", "correct", "how"),
    [
        (r"So it is \boxed{7}. But wait, let me", "length", None, "truncated"),
        (r"So it is \boxed{7}. But wait, let me", "stop", None, "unparsed"),
        (r"So it is \boxed{8}. But wait.</think> \boxed{7}", "stop", True, "rule"),
    ],
)
def test_a_thought_that_the_template_opened_is_no_answer(text, finish, correct, how):
    task = tasks.load("mathvision")
    question = Question(task="mathvision", id="1", prompt="How many?", row=CUT_ROW)
    response = graded.response(
        task="mathvision", id="1", text=text, finish=finish, opened="<think>"
    )
    running = Running([task], [question])
    assert running(response) == how
    assert running.readings[place(response)][1] == correct


def test_a_run_records_that_the_template_opened_a_thought(tmp_path, data, monkeypatch):
    monkeypatch.setattr(ScriptedEngine, "render", lambda self, question: "hi <think>\n")
    evaluate(tmp_path / "run", data, tasks.load("mathvision"))
    assert {response.opened for response in read_responses(tmp_path / "run")} == {"<think>"}
    assert correct(tmp_path / "run") == {"0": None, "1": None, "2": None}
