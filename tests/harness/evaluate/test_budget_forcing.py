"""Thoughts that are cut at the limit are closed and answered, once, and never quietly."""

import graded
import pytest
from scripted import Script, evaluate

from harness.evaluate.budget_forcing import CLOSING, is_cut_thought
from harness.runs import log
from harness.runs.folder import read_verdicts
from harness.runs.schema import Sampling, key


def response(text, finish="length"):
    return graded.response(id="q0", text=text, finish=finish, tokens_out=3)


@pytest.mark.parametrize(
    ("prompt", "text", "finish", "cut"),
    [
        ("user: hi assistant:", "<think> 3 + 4", "length", True),
        ("user: hi assistant: <think>\n", "3 + 4", "length", True),
        ("user: hi assistant:", "[THINK] 3 + 4", "length", True),
        ("user: hi assistant:", "3 + 4", "length", False),
        ("user: <think> aloud assistant:", "3 + 4", "length", False),
        ("user: hi assistant:", "<think> 3 + 4 </think> the ans", "length", False),
        ("user: hi assistant:", "<think> 3 + 4", "stop", False),
    ],
)
def test_a_cut_thought_is_told(prompt, text, finish, cut):
    assert is_cut_thought(prompt, response(text, finish)) is cut


def thinker(request):
    """Thinks on and on about q0, answers the rest at once; knows what to say when it is closed."""
    if request.prompt.endswith(CLOSING):
        return "7"
    return "<think> " + "so " * 99 if request.question.id == "q0" else "7"


def said(folder):
    return {r.id: r for r in log.read_responses(folder)}


def test_the_answer_is_forced_out_of_the_cut_thought_alone(tmp_path, world):
    script = Script(thinker)
    evaluate(tmp_path / "run", world, script, sampling=Sampling(force=1), max_tokens=3)
    found = said(tmp_path / "run")
    assert found["q0"].text == "<think> so so" + CLOSING + "7"
    assert (found["q0"].forced, found["q0"].finish, found["q0"].tokens_out) == (True, "stop", 4)
    assert not any(r.forced for id, r in found.items() if id != "q0")
    verdicts = {v.id: v for v in read_verdicts(tmp_path / "run")}
    assert verdicts["q0"].answer == "7"
    # The same again asks nothing.
    before = list(script.asked)
    evaluate(tmp_path / "run", world, script, sampling=Sampling(force=1), max_tokens=3)
    assert script.asked == before


def test_what_was_cut_before_a_crash_is_forced_after_it(tmp_path, world):
    class Crash(Exception):
        pass

    def crashes(request):
        if request.prompt.endswith(CLOSING):
            raise Crash
        return thinker(request)

    with pytest.raises(Crash):
        evaluate(tmp_path / "run", world, Script(crashes), sampling=Sampling(force=1), max_tokens=3)
    script = Script(thinker)
    evaluate(tmp_path / "run", world, script, sampling=Sampling(force=1), max_tokens=3)
    assert [id for id, _ in script.asked] == ["q0"]
    assert said(tmp_path / "run")["q0"].forced


def test_an_answer_that_could_not_be_forced_stays_as_it_was(tmp_path, world):
    refuses = Script(lambda request: None if request.prompt.endswith(CLOSING) else thinker(request))
    evaluate(tmp_path / "run", world, refuses, sampling=Sampling(force=1), max_tokens=3)
    found = said(tmp_path / "run")["q0"]
    assert (found.text, found.finish, found.forced) == ("<think> so so", "length", False)
    assert found.reason == "no answer could be forced: no answer in the script"


@pytest.mark.parametrize(("trouble", "again"), [(None, 1), (ValueError("too long"), 0)])
def test_it_is_forced_again_where_the_engine_failed(tmp_path, world, trouble, again):
    settings = {"sampling": Sampling(force=1), "max_tokens": 3}
    fails = Script(
        lambda request: trouble if request.prompt.endswith(CLOSING) else thinker(request)
    )
    (card,) = evaluate(tmp_path / "run", world, fails, **settings)
    assert (card.finished, card.tasks[0].failed) == (True, again)
    script = Script(thinker)
    (card,) = evaluate(tmp_path / "run", world, script, **settings)
    assert [id for id, _ in script.asked] == ["q0"] * again
    assert card.tasks[0].failed == 0
    evaluate(tmp_path / "run", world, script, **settings, retry_errors=True)
    assert [id for id, _ in script.asked] == ["q0"]
    found = said(tmp_path / "run")["q0"]
    assert (found.forced, found.reason, found.lasting) == (True, "", False)


def test_a_thought_is_closed_with_the_mark_of_its_family(tmp_path, world):
    def thinks(ask):
        if "Final Answer" in ask.prompt:
            return "7"
        return "[THINK] " + "so " * 99 if ask.question.id == "q0" else "7"

    evaluate(tmp_path / "run", world, Script(thinks), sampling=Sampling(force=1), max_tokens=3)
    assert said(tmp_path / "run")["q0"].text == "[THINK] so so\n[/THINK]\n\nFinal Answer: 7"


def test_forcing_changes_the_key():
    fields = {
        "fingerprint": "f", "adapter": None, "prompt": "p", "images": [], "pixels": {},
        "sample": 0, "engine": "e", "version": "1", "dtype": "d",
    }  # fmt: skip
    keys = {key(sampling=Sampling(force=tokens), **fields) for tokens in (0, 1, 8)}
    assert len(keys) == 3
