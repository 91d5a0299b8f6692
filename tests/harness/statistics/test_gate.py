"""`driftbench compare --fail-if`: what a continuous integration is told, and by which status."""

import json

import graded
import pytest

from driftbench import __main__

OLD = "1" * 30 + "0" * 30


@pytest.fixture
def gate(tmp_path, capsys):
    """Compare a run with `OLD`, 60 questions; return the status and the gate of the JSON."""

    def gate(new, *words, finished=True, **tasks):
        graded.write(tmp_path / "old", graded.bits(OLD))
        graded.write(tmp_path / "new", graded.bits(new), finished=finished, **tasks)
        runs = [str(tmp_path / name) for name in ("old", "new")]
        status = __main__.run(["compare", *runs, "--format", "json", *words])
        return status, json.loads(capsys.readouterr().out).get("gate")

    return gate


SAME = OLD
# Ten lost, none won: p = 2 / 2^10.
LOST = "1" * 20 + "0" * 40
# Six lost, six won: nothing, in an interval of ± 11 points.
MOVED = "1" * 24 + "0" * 6 + "1" * 6 + "0" * 24


@pytest.mark.parametrize(
    ("new", "words", "status", "outcome"),
    [
        (SAME, "--fail-if worse", 0, "inconclusive"),
        (LOST, "--fail-if worse", 1, "worse"),
        (LOST, "--fail-if inconclusive", 1, "worse"),
        (MOVED, "--fail-if inconclusive", 0, "not worse"),
        # 16.7 points lost, to 28 at most: all of it below a margin of 30, not of 20.
        (LOST, "--fail-if inconclusive --margin 30", 0, "not worse"),
        (LOST, "--fail-if worse --margin 20", 1, "worse"),
        (MOVED, "--fail-if inconclusive --margin 5", 3, "inconclusive"),
        (MOVED, "--fail-if worse --margin 5", 0, "inconclusive"),
        (MOVED, "--fail-if inconclusive --margin 20", 0, "not worse"),
    ],
)
def test_status_and_outcome(gate, new, words, status, outcome):
    found = gate(new, *words.split())
    assert found[0] == status and found[1]["outcome"] == outcome
    (one,) = found[1]["judged"]
    assert (one["side"], one["task"], one["outcome"]) == ("new", "t", outcome)


def test_few_questions_that_differ_cannot_tell(gate):
    # Four lost of 60, none won: p is .125 at best.
    new = "1" * 26 + "0" * 34
    status, found = gate(new, "--fail-if", "inconclusive")
    assert status == 3 and "cannot be told" in found["judged"][0]["reason"]


def test_a_run_that_did_not_finish_does_not_pass(gate):
    status, found = gate(MOVED, "--fail-if", "inconclusive", finished=False)
    assert status == 3 and found["outcome"] == "inconclusive"
    assert found["judged"][0]["reason"].startswith("answers of new are missing; so far ")


@pytest.mark.parametrize("log", ["responses", "verdicts"])
def test_a_run_that_lost_answers_does_not_pass(gate, tmp_path, log, capsys):
    gate(MOVED)
    path = tmp_path / "new" / f"{log}.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:50]))
    words = ["compare", str(tmp_path / "old"), str(tmp_path / "new"), "--fail-if", "inconclusive"]
    assert __main__.run(words) == 3
    out = " ".join(capsys.readouterr().out.split())
    assert "new has lost answers: it was finished, and 50 of 60 are there." in out
    assert "gate: new on t is inconclusive: answers of new are missing; so far " in out


def test_a_gate_on_validation_alone_is_refused(tmp_path, capsys):
    runs = [
        str(graded.write(tmp_path / name, graded.bits(bits), task="t_validation"))
        for name, bits in (("old", OLD), ("new", LOST))
    ]
    assert __main__.run(["compare", *runs, "--fail-if", "worse"]) == 2
    assert "only validation splits are compared" in capsys.readouterr().err
    assert __main__.run(["compare", *runs]) == 0


def test_a_task_that_was_not_answered_does_not_pass(tmp_path, capsys):
    questions = graded.simple_questions(4)
    both = [*questions, *(q.__class__(**{**vars(q), "task": "u"}) for q in questions)]
    said = {(q.task, q.id): [(True, "rule", "7", "7")] for q in both}
    graded.write_run(tmp_path / "old", both, said)
    graded.write_run(tmp_path / "new", questions, said)
    runs = [str(tmp_path / name) for name in ("old", "new")]
    assert __main__.run(["compare", *runs, "--fail-if", "inconclusive"]) == 3
    assert "gate: new on u is inconclusive: it was not compared" in capsys.readouterr().out


def test_without_a_gate_no_loss_fails(gate):
    assert gate(LOST) == (0, None)


def test_mistakes(mistake):
    assert "did you mean worse?" in mistake("compare a b --fail-if worst")
    assert "give --fail-if" in mistake("compare a b --margin 3")
