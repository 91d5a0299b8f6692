"""Endpoints that answer, and endpoints that misbehave: the results are those of a quiet run."""

import base64
import functools
import io
import itertools
import json
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_models as tiny
from PIL import Image as Pillow
from pretend import Pretend, answer, completion, raw

import tasks
from common.errors import UserError
from common.pictures import ORIENTATION
from drift.adapter_folder import Adapter
from harness.checkpoints.kinds import AdaptedModel, takes_images
from harness.checkpoints.preflight import open_checkpoint
from harness.engines import Request, connection, desk, pace, reply
from harness.engines.connection import address
from harness.engines.message import content
from harness.engines.server import ServerEngine, Service, served_checkpoint
from harness.evaluate.run import EvalConfig, run
from harness.runs import log
from harness.runs.folder import read_card, read_cells, read_verdicts
from harness.runs.schema import Image, Question, Sampling

COUNT = 60


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    """Rows of the pocket task, each with a picture."""
    folder = tmp_path_factory.mktemp("many")
    (folder / "a.png").write_bytes(tiny.picture(1))
    with (folder / "test.jsonl").open("w") as file:
        for number in range(COUNT):
            row = {"id": f"q{number}", "question": f"<image>what is {number}?", "answer": "7",
                   "group": "perception", "images": ["a.png"]}  # fmt: skip
            file.write(json.dumps(row) + "\n")
    return folder


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    """Wait as long as ever, a hundred times faster."""
    monkeypatch.setattr(pace, "FIRST_WAIT", 0.005)
    monkeypatch.setattr(pace, "LONGEST_WAIT", 0.6)


def evaluate(
    out: Path, data: Path, *pretended: Pretend | str, model="vlm", weights=None, **settings
):
    own = settings.keys() & {"key", "timeout", "patience"}
    rules = {name: settings.pop(name) for name in own}
    urls = tuple(one if isinstance(one, str) else one.url for one in pretended)
    service = Service(urls, **{"patience": 5.0, **rules})
    return run(
        [served_checkpoint(model, service, weights)], [tasks.load("pocket")], out,
        EvalConfig(data=data, **settings), engine=functools.partial(ServerEngine, service=service),
    )  # fmt: skip


def results(out: Path) -> list:
    """All that a run says, but how long it took and in which order answers came."""
    said = [replace(r, seconds=0.0) for r in log.read_responses(out)]
    names = ("questions.jsonl", "verdicts.jsonl", "cells.json")
    files = [(out / name).read_bytes() for name in names]
    return [sorted(said, key=lambda r: (len(r.id), r.id, r.sample)), files]


@pytest.fixture(scope="module")
def quiet(tmp_path_factory, many) -> list:
    """Results of an undisturbed run; every run here is named vlm, as it is in them."""
    out = tmp_path_factory.mktemp("quiet") / "vlm"
    with Pretend() as pretend:
        evaluate(out, many, pretend)
    assert len(read_verdicts(out)) == COUNT
    assert len({r.text for r in log.read_responses(out)}) == 10
    return results(out)


def asked(pretend: Pretend) -> list[str]:
    """Texts of the questions that came with a picture."""
    contents = [body["messages"][0]["content"] for body in pretend.bodies]
    return [content[1]["text"] for content in contents if not isinstance(content, str)]


# What is sent, and what is made of the reply


def test_a_question_is_sent_with_its_pictures_in_their_places(tmp_path, world):
    with Pretend() as pretend:
        evaluate(tmp_path / "vlm", world, pretend)
    expected = []
    for number, text in ((0, "first"), (2, "second")):
        data = base64.b64encode((world / "images" / f"{number}.png").read_bytes()).decode()
        url = {"url": f"data:image/png;base64,{data}"}
        expected += [{"type": "image_url", "image_url": url}, {"type": "text", "text": text}]
    sent = [body["messages"] for body in pretend.bodies]
    assert [{"role": "user", "content": expected}] in sent
    assert [{"role": "user", "content": "what is 3 + 4?"}] in sent
    said = {(body["model"], body["temperature"], body["max_tokens"]) for body in pretend.bodies}
    assert said == {("vlm", 0.0, 40)}
    # A checkpoint's generation config must not come in by the server's defaults.
    neutral = {"top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
    for body in pretend.bodies:
        assert {name: body[name] for name in neutral} == neutral
        assert "seed" not in body and "stop" not in body


def test_each_drawn_answer_is_a_request_of_its_own_seed(tmp_path, world):
    drawn = Sampling(temperature=0.7, top_p=0.9, top_k=20, n=3, stop=("END",))
    with Pretend() as pretend:
        evaluate(tmp_path / "vlm", world, pretend, sampling=drawn, limit=2)
    assert len(pretend.bodies) == 6
    assert len({body["seed"] for body in pretend.bodies}) == 6
    for body in pretend.bodies:
        assert (body["temperature"], body["top_p"], body["top_k"]) == (0.7, 0.9, 20)
        assert body["stop"] == ["END"]
    assert {(r.id, r.sample) for r in log.read_responses(tmp_path / "vlm")} == {
        (id, sample) for id in ("q0", "q1") for sample in range(3)
    }


def test_a_penalty_and_switches_of_the_template_are_sent_where_they_are_asked_for(tmp_path, world):
    told = {"enable_thinking": False}
    with Pretend() as pretend:
        evaluate(tmp_path / "plain", world, pretend, limit=1)
        (card,) = evaluate(
            tmp_path / "vlm", world, pretend, limit=1,
            sampling=Sampling(presence_penalty=1.5), template_args=told,
        )  # fmt: skip
        with pytest.raises(UserError, match="other sampling, |other template_args"):
            evaluate(tmp_path / "vlm", world, pretend, limit=1)
    plain, asked = pretend.bodies[:2]
    assert not plain.keys() & {"presence_penalty", "chat_template_kwargs"}
    assert (asked["presence_penalty"], asked["chat_template_kwargs"]) == (1.5, told)
    assert card.template_args == told
    assert "its chat template was told enable_thinking=false" in card.notes
    assert any("heed --template-args is unknown" in note for note in card.notes)


@pytest.mark.parametrize(
    ("field", "flag"),
    [("presence_penalty", "presence-penalty"), ("chat_template_kwargs", "template-args")],
)
def test_an_endpoint_that_does_not_know_them_ends_the_run(tmp_path, world, field, flag):
    def refuses(number, body):
        return 400, {"error": {"message": f"Unrecognized request argument: {field}"}}

    settings = {"sampling": Sampling(presence_penalty=1.0), "template_args": {"thinking": True}}
    with Pretend(refuses) as pretend, pytest.raises(UserError, match=f"leave --{flag} out"):
        evaluate(tmp_path / "vlm", world, pretend, limit=1, **settings)


def request(*data: bytes) -> Request:
    images = tuple(Image("", ".png", one) for one in data)
    return Request(
        question=Question(task="t", id="1", prompt="<image>" * len(data), images=images), key="k"
    )


def encoded(picture: Pillow.Image, format: str, **settings) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **settings)
    return file.getvalue()


def sent(data: bytes) -> tuple[str, bytes]:
    (part,) = content(request(data))
    head, _, tail = part["image_url"]["url"].partition(",")
    return head, base64.b64decode(tail)


def test_a_picture_that_servers_would_read_differently_is_sent_as_the_pixels_we_see():
    plain = Pillow.new("RGB", (4, 2), "red")
    for format in ("PNG", "JPEG", "WEBP"):
        data = encoded(plain, format)
        assert sent(data) == (f"data:image/{format.lower()};base64", data)
    clear = Pillow.new("RGBA", (4, 2), (0, 0, 0, 0))
    head, data = sent(encoded(clear, "PNG"))
    assert head == "data:image/png;base64"
    assert Pillow.open(io.BytesIO(data)).getpixel((0, 0)) == (255, 255, 255)
    turned = Pillow.Exif()
    turned[ORIENTATION] = 6
    _, data = sent(encoded(plain, "JPEG", exif=turned))
    again = Pillow.open(io.BytesIO(data))
    assert (again.size, again.getexif().get(ORIENTATION)) == ((2, 4), None)
    for other in (encoded(plain, "BMP"), encoded(plain.convert("CMYK"), "JPEG")):
        head, data = sent(other)
        assert (head, Pillow.open(io.BytesIO(data)).mode) == ("data:image/png;base64", "RGB")
    with pytest.raises(reply.Refused, match="a picture cannot be decoded"):
        content(request(b"no picture"))


SEVEN = b'{"choices": [{"message": {"content": "7"}, "finish_reason": %s}], "usage": %s}'
PARTS = [{"type": "text", "text": "It is "}, "7", {"text": "."}]
THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "3 + 4"}]}


@pytest.mark.parametrize(
    ("told", "text", "finish"),
    [
        (completion("7"), "7", "stop"),
        (completion("so far", "length"), "so far", "length"),
        (completion("7", reasoning="3 + 4"), "<think>3 + 4</think>7", "stop"),
        (completion("7", reasoning_content="3 + 4"), "<think>3 + 4</think>7", "stop"),
        (completion(None, "length", reasoning="3 +"), "<think>3 +", "length"),
        (completion(None), "", "stop"),
        (completion(None, refusal="I will not."), "I will not.", "stop"),
        (completion(PARTS), "It is 7.", "stop"),
        (completion([THOUGHT, {"type": "text", "text": "7"}]), "<think>3 + 4</think>7", "stop"),
        *[(completion("7", word), "7", "stop") for word in ("eos", "end_turn", "stop_sequence")],
        *[(completion("7", word), "7", "length") for word in ("MAX_TOKENS", "repetition")],
        *[(completion("7", why), "7", "stop") for why in (None, ["stop"], ["a", "b"], {}, 3, "so")],
        ({**completion("7", None), "usage": {"completion_tokens": 40}}, "7", "length"),
        (
            raw(SEVEN % (b"1e999", b'{"prompt_tokens": 1e999, "completion_tokens": "9"}')),
            "7",
            "stop",
        ),
        (raw(SEVEN % (b'"stop"', b"[-1]")), "7", "stop"),
    ],
)
def test_what_was_generated_is_kept_whole(tmp_path, many, told, text, finish):
    with Pretend(lambda number, body: told) as pretend:
        (card,) = evaluate(tmp_path / "vlm", many, pretend, limit=1)
    (response,) = log.read_responses(tmp_path / "vlm")
    assert (response.text, response.finish) == (text, finish)
    assert response.tokens_in == (10 if isinstance(told, dict) and len(told["usage"]) > 1 else 0)
    assert card.finished


def test_reasons_that_are_not_known_are_said(tmp_path, many):
    reasons = ["stop", None, "mood\x1b[31m"]
    with Pretend(lambda number, body: completion("7", reasons[number])) as pretend:
        (card,) = evaluate(tmp_path / "vlm", many, pretend, limit=3)
    assert card.notes[1].startswith(f"{pretend.url} ended answers for reasons that are not known (")
    assert "none" in card.notes[1] and "mood" in card.notes[1] and "\x1b" not in card.notes[1]


def test_tokens_are_counted_where_the_endpoint_tells_them(tmp_path, many):
    told = completion("7")
    usage = {"prompt_tokens": 30, "completion_tokens": 2,
             "prompt_tokens_details": {"multimodal_tokens": {"image": 16}}}  # fmt: skip
    replies = [{**told, "usage": usage}, {**told, "usage": None}]
    with Pretend(lambda number, body: replies[number]) as pretend:
        evaluate(tmp_path / "vlm", many, pretend, limit=2)
    found = log.read_responses(tmp_path / "vlm")
    counts = {(r.tokens_in, r.tokens_image, r.tokens_out) for r in found}
    assert counts == {(30, 16, 2), (0, 0, 0)}


@pytest.mark.parametrize(
    "listing",
    [
        [{"id": "vlm", "owned_by": "vllm"}],
        {"models": [{"id": "vlm", "owned_by": "vllm", "max_model_len": "many"}, 5, {"id": {}}]},
        {"data": [{"id": "vlm", "owned_by": "vllm", "root": 7, "max_model_len": 1e999}]},
    ],
)
def test_a_list_of_models_is_read_in_the_forms_that_there_are(tmp_path, many, quiet, listing):
    with Pretend(listing=listing) as pretend:
        (card,) = evaluate(tmp_path / "vlm", many, pretend)
    assert card.engine_version == "vllm 0.32.0"
    assert results(tmp_path / "vlm")[1][0] == quiet[1][0]


@pytest.mark.parametrize(
    "listing",
    [
        {"data": 7},
        {"data": [{"name": "vlm"}]},
        raw(b"<html>the chat is elsewhere</html>"),
        raw(b"[" * 200_000),
        (403, {"error": {"message": "no lists for you"}}),
        (404, {}),
        (400, {"error": "what?"}),
    ],
)
def test_an_endpoint_that_keeps_no_list_is_asked_all_the_same(tmp_path, many, listing):
    with Pretend(listing=listing) as pretend:
        (card,) = evaluate(tmp_path / "vlm", many, pretend, limit=3)
    assert (card.finished, card.engine_version) == (True, "unknown")
    assert len(pretend.bodies) == 3


# Who is asked


def test_endpoints_share_the_questions(tmp_path, many, quiet):
    def slowly(number, body):
        time.sleep(0.02)
        return completion(answer(body))

    with Pretend(slowly) as one, Pretend(slowly) as two:
        (card,) = evaluate(tmp_path / "vlm", many, one, two)
    assert len(one.bodies) + len(two.bodies) == COUNT
    assert one.bodies and two.bodies
    assert results(tmp_path / "vlm") == quiet
    assert (card.engine, card.engine_version, card.dtype) == ("server", "vllm 0.32.0", "unknown")
    assert card.device == f"{one.url} {two.url}"
    assert card.notes == (
        "vlm is served: its weights could not be verified, only its name is known",
    )


# Faults


FAULTS = {
    "500": (500, {"error": {"message": "out of luck"}}),
    "502 in HTML": raw(b"<html></html>", b"502 Bad Gateway"),
    "503": (503, {"detail": "later"}, {"retry-after": "0"}),
    "a wait of no length": (
        503,
        {"detail": [1]},
        {"retry-after": "Wed, 99 Oct 99999 07:28:00 GMT"},
    ),
    "429": (429, {"error": {"message": "too fast"}}),
    "broken in the middle": raw(b"{", length=900),
    "packed, it says": raw(b"hello", b"200 OK\r\ncontent-encoding: gzip"),
    "not JSON": raw(b"hello"),
    "nested": raw(b"[" * 200_000),
    "nested objects": raw(b'{"choices":' * 100_000),
    "endless": raw(b'{"choices": "' + b"x" * 5_000_000 + b'"}'),
    "digits": raw(b'{"choices": ' + b"1" * 6000 + b"}"),
    "not an object": (200, ["hello"]),
    "empty choices": (200, {"choices": []}),
    "choices of an object": (200, {"choices": {"0": completion("7")["choices"][0]}}),
    "no message": (200, {"choices": [{"finish_reason": "stop"}]}),
    "text of a number": (200, completion(7)),
    "a part of no text": (200, completion([{"type": "image_url", "image_url": {"url": "x"}}])),
    "nothing for no reason": (200, completion("", None)),
    "aborted": (200, completion("7", "abort")),
    "an error for a success": (200, {"error": {"message": "provider failed"}}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_third_of_the_questions_brings_two_faults_first(tmp_path, many, quiet, fault):
    tries: dict[str, int] = {}

    def reply(number, body):
        tries[answer(body, 1000)] = tries.get(answer(body, 1000), 0) + 1
        faulty = int(answer(body, 3)) == 0 and tries[answer(body, 1000)] <= 2
        return FAULTS[fault] if faulty else completion(answer(body))

    with Pretend(reply) as pretend:
        (card,) = evaluate(tmp_path / "vlm", many, pretend, patience=60.0)
    assert card.finished
    assert results(tmp_path / "vlm") == quiet
    assert len(pretend.bodies) > 1.3 * COUNT


def test_an_endpoint_that_bears_four_at_a_time_gets_no_more_for_long(tmp_path, many, quiet):
    flying = []
    turned_away = []

    def limited(number, body):
        flying.append(number)
        crowded = len(flying) > 4
        time.sleep(0.02)
        flying.remove(number)
        if crowded:
            turned_away.append(number)
            return 429, {"error": {"message": "too many at once"}}, {"retry-after": "0.3"}
        return completion(answer(body))

    with Pretend(limited) as pretend:
        evaluate(tmp_path / "vlm", many, pretend)
    assert results(tmp_path / "vlm") == quiet
    # A busy machine lets more of them meet; who never slows down is turned away at every try.
    assert 0 < len(turned_away) < 3 * COUNT


@pytest.mark.parametrize(("asked", "wait"), [("7200", "7200"), ("9" * 400, "10000000000")])
def test_an_endpoint_that_asks_for_too_long_a_wait_ends_the_run_in_one_sentence(
    tmp_path, many, asked, wait
):
    quota = (429, {"error": {"message": "quota used up"}}, {"retry-after": asked})
    with Pretend(lambda number, body: quota) as pretend:
        with pytest.raises(UserError, match=f"quota used up; it asks to wait {wait} s") as error:
            evaluate(tmp_path / "vlm", many, pretend)
    assert str(error.value).endswith("every answer that came is kept, the same command goes on")


def test_a_date_to_wait_for_is_understood():
    due = 3023335680.0  # that moment, in seconds after 1970
    wait = reply.retry_after("Wed, 21 Oct 2065 07:28:00 GMT")
    assert wait is not None and abs(wait - (due - time.time())) < 2
    assert reply.retry_after("1.5") == 1.5
    assert reply.retry_after("Wed, 21 Oct 1965 07:28:00 GMT") == 0.0
    assert [reply.retry_after(asked) for asked in ("soon", "", "1e999", "-1")] == [None] * 4


@pytest.mark.parametrize(
    "fault", ["500", "empty choices", "broken in the middle", "nested", "endless"]
)
def test_a_question_that_never_brings_an_answer_is_an_error_and_asked_again_later(
    tmp_path, many, quiet, fault
):
    def reply(number, body):
        return FAULTS[fault] if "what is 59?" in json.dumps(body) else completion(answer(body))

    with Pretend(reply) as pretend:
        evaluate(tmp_path / "vlm", many, pretend)
        errors = [r for r in log.read_responses(tmp_path / "vlm") if r.finish == "error"]
        assert [r.id for r in errors] == ["q59"]
        assert errors[0].reason.startswith("no answer in 8 tries, at last: ")
        assert not errors[0].lasting
        assert asked(pretend).count("what is 59?") == 8
        # Alone in the second run: nobody else's answer shows that the endpoint is sound.
        evaluate(tmp_path / "vlm", many, pretend)
        assert read_cells(tmp_path / "vlm")[0].error == 1
    with Pretend(port=pretend.port) as pretend:
        evaluate(tmp_path / "vlm", many, pretend)
        assert asked(pretend) == ["what is 59?"]
    assert results(tmp_path / "vlm") == quiet


def test_a_question_that_is_refused_where_others_are_answered_is_refused_for_good(tmp_path, many):
    def reply(number, body):
        if "what is 5?" in json.dumps(body):
            return 400, {"error": {"message": "the picture is too large"}}
        if "what is 6?" in json.dumps(body):
            return completion("", "content_filter")
        return completion(answer(body))

    with Pretend(reply) as pretend:
        evaluate(tmp_path / "vlm", many, pretend)
    reasons = {r.id: r.reason for r in log.read_responses(tmp_path / "vlm") if r.reason}
    assert reasons == {
        "q5": "HTTP 400: the picture is too large",
        "q6": "the endpoint withheld the answer (content_filter)",
    }
    # The first refusal is doubted: a plain question, and the same once more.
    assert len(pretend.bodies) == COUNT + 2
    with Pretend(reply) as again:
        evaluate(tmp_path / "vlm", many, again)
        assert asked(again) == []
        evaluate(tmp_path / "vlm", many, again, retry_errors=True)
        assert sorted(asked(again)) == ["what is 5?", "what is 5?", "what is 6?"]


@pytest.mark.parametrize(("limit", "most"), [(COUNT, 3 * COUNT), (2, 12)])
def test_an_endpoint_that_refuses_everything_ends_the_run_and_nothing_is_held_against_the_questions(
    tmp_path, many, quiet, limit, most
):
    refused = (400, {"error": {"message": "temperature 0 is not supported"}})
    with Pretend(lambda number, body: refused) as pretend:
        with pytest.raises(UserError, match="refuses whatever it is asked: HTTP 400: temp"):
            evaluate(tmp_path / "vlm", many, pretend, limit=limit)
    assert len(pretend.bodies) <= most
    assert log.read_responses(tmp_path / "vlm") == []
    with Pretend() as sound:
        evaluate(tmp_path / "vlm", many, sound)
    assert results(tmp_path / "vlm") == quiet


def test_a_bound_of_tokens_that_is_refused_ends_the_run_and_is_held_against_no_question(
    tmp_path, many, quiet
):
    def reply(number, body):
        if (bound := body["max_tokens"]) > 16384:
            words = f"max_tokens is too large: {bound}. This model supports at most 16384"
            return 400, {"error": {"message": words}}
        return completion(answer(body))

    with Pretend(reply) as pretend:
        for limit in (1, COUNT):
            with pytest.raises(UserError, match="refuses whatever it is asked: .* too large: 4000"):
                evaluate(tmp_path / "vlm", many, pretend, limit=limit, max_tokens=40000)
            assert log.read_responses(tmp_path / "vlm") == []
        evaluate(tmp_path / "vlm", many, pretend, overwrite=True)
    assert results(tmp_path / "vlm") == quiet


def test_a_bound_that_only_one_task_has_is_refused_though_others_were_answered():
    small, large = Sampling(max_tokens=16), Sampling(max_tokens=40000)

    def reply(number, body):
        if body["max_tokens"] > 16384:
            return 400, {"error": {"message": "max_tokens is too large"}}
        return completion(answer(body))

    def requests():
        for number in range(90):
            question = Question(task="a" if number < 30 else "b", id=str(number), prompt="?")
            yield Request(question=question, sampling=small if number < 30 else large)

    with Pretend(reply) as pretend:
        service = Service((pretend.url,), patience=5.0)
        engine = ServerEngine(served_checkpoint("vlm", service), service)
        came = []
        with pytest.raises(UserError, match="refuses whatever it is asked: .*too large"):
            came.extend(response.task for response in engine.generate(requests()))
    assert set(came) <= {"a"}


@pytest.mark.parametrize(("begin", "end"), [(0, 25), (30, 60), (58, 80)])
def test_what_an_endpoint_refuses_while_it_is_out_of_order_is_asked_again(
    tmp_path, many, quiet, begin, end
):
    def reply(number, body):
        out_of_order = begin <= number < end
        return (400, {"error": "no model is loaded"}) if out_of_order else completion(answer(body))

    with Pretend(reply) as pretend:
        (card,) = evaluate(tmp_path / "vlm", many, pretend)
    assert card.finished and len(pretend.bodies) >= COUNT + end - begin
    assert results(tmp_path / "vlm") == quiet


def test_an_endpoint_of_which_nothing_can_be_read_ends_the_run_in_one_sentence(tmp_path, many):
    with Pretend(lambda number, body: FAULTS["nested"]) as pretend:
        with pytest.raises(UserError, match="answers nothing that can be read: its reply is not"):
            evaluate(tmp_path / "vlm", many, pretend)
    errors = log.read_responses(tmp_path / "vlm")
    assert {(r.finish, r.lasting) for r in errors} == {("error", False)}


def test_one_of_two_endpoints_is_dead_from_the_beginning(tmp_path, many, quiet, capsys):
    with Pretend() as gone:
        pass
    with Pretend() as pretend:
        (card,) = evaluate(tmp_path / "vlm", many, gone, pretend)
    assert card.finished
    assert results(tmp_path / "vlm") == quiet
    assert f"{gone.url} is down" in capsys.readouterr().err


def test_one_of_two_dies_in_the_middle(tmp_path, many, quiet):
    dying = Pretend()

    def reply(number, body):
        time.sleep(0.01)
        if number == 10:
            threading.Thread(target=dying.die).start()
            time.sleep(0.2)
        return completion(answer(body))

    dying.reply = reply
    with Pretend(lambda number, body: (time.sleep(0.01), completion(answer(body)))[1]) as pretend:
        dying.__enter__()
        (card,) = evaluate(tmp_path / "vlm", many, dying, pretend)
    assert card.finished
    assert results(tmp_path / "vlm") == quiet
    assert len(dying.bodies) > 10


def test_when_all_are_dead_what_came_is_kept_and_the_rest_is_asked_later(tmp_path, many, quiet):
    dying = Pretend()

    def reply(number, body):
        if number == 30:
            threading.Thread(target=dying.die).start()
        if number >= 30:
            time.sleep(0.5)
        return completion(answer(body))

    dying.reply = reply
    dying.__enter__()
    with pytest.raises(UserError, match="no endpoint answers any more: .* takes no connection"):
        evaluate(tmp_path / "vlm", many, dying, patience=0.3)
    kept = {r.id for r in log.read_responses(tmp_path / "vlm")}
    assert len(kept) >= 20
    assert not read_card(tmp_path / "vlm").finished
    with Pretend(port=dying.port) as again:
        evaluate(tmp_path / "vlm", many, again)
    assert len(again.bodies) == COUNT - len(kept)
    assert results(tmp_path / "vlm") == quiet


@pytest.mark.parametrize("version", ["0.32.0", "0.33.0"])
def test_an_endpoint_that_comes_back_is_asked_again_if_it_is_the_same(
    tmp_path, many, quiet, version
):
    first, second = Pretend(), Pretend(version=version)

    def restart():
        first.die()
        time.sleep(0.3)
        second.port = first.port
        second.__enter__()

    def reply(number, body):
        if number == 20:
            threading.Thread(target=restart).start()
        time.sleep(0.3 if number >= 20 else 0.001)
        return completion(answer(body))

    first.reply = reply
    first.__enter__()
    if version == "0.32.0":
        evaluate(tmp_path / "vlm", many, first, patience=60.0)
        assert second.bodies
        assert results(tmp_path / "vlm") == quiet
    else:
        with pytest.raises(UserError, match="it serves something else as vlm now"):
            evaluate(tmp_path / "vlm", many, first, patience=60.0)
        assert second.bodies == []
    second.die()


@pytest.mark.parametrize(
    "odd",
    [(503, {}), (404, {}), {"version": None}, raw(b"<html>busy")],
    ids=["busy", "absent", "untold", "unreadable"],
)
@pytest.mark.parametrize("what", ["version", "listing"])
def test_an_endpoint_that_once_tells_less_of_itself_is_the_same(tmp_path, many, quiet, odd, what):
    """When the run begins it is asked what it serves for the second time."""
    times = itertools.count()
    sound = {"version": "0.32.0", "data": [Pretend().card]}

    def told(handler):
        found = odd if next(times) == 1 else sound
        if callable(found):
            return found(handler)
        handler.send(*found) if isinstance(found, tuple) else handler.send(200, found)

    with Pretend(**{what: told}) as pretend:
        (card,) = evaluate(tmp_path / "vlm", many, pretend)
    assert next(times) >= 3
    assert card.finished and card.engine_version == "vllm 0.32.0"
    assert results(tmp_path / "vlm") == quiet


def test_a_version_that_cannot_be_told_at_first_names_no_run(tmp_path, many):
    times = itertools.count()

    def late(handler):
        handler.send(200, {"version": "0.32.0"}) if next(times) else handler.send(503, {})

    with Pretend(version=late) as pretend:
        service = Service((pretend.url,))
        assert served_checkpoint("vlm", service).served.software == "vllm 0.32.0"
    with Pretend(version=(503, {"error": {"message": "still loading"}})) as pretend:
        with pytest.raises(UserError, match="no endpoint answers: .* HTTP 503: still loading"):
            evaluate(tmp_path / "vlm", many, pretend)
    assert not (tmp_path / "vlm").exists()
    with Pretend(version=(500, {})) as pretend:  # a broken page, behind which all is well
        service = Service((pretend.url,))
        assert served_checkpoint("vlm", service).served.software == "vllm"


def test_a_slow_answer_is_given_up_and_asked_for_again(tmp_path, many, quiet):
    slow = set()

    def reply(number, body):
        text = json.dumps(body)
        if "what is 3?" in text and text not in slow:
            slow.add(text)
            time.sleep(1.0)
        return completion(answer(body))

    with Pretend(reply) as pretend:
        evaluate(tmp_path / "vlm", many, pretend, timeout=0.4)
    assert results(tmp_path / "vlm") == quiet
    assert asked(pretend).count("what is 3?") == 2


STOPPING = """
import os, signal, sys
from pretend import Pretend, answer, completion, raw

def reply(number, body):
    if number == 5:
        os.kill(os.getpid(), signal.SIGSTOP)
    return completion(answer(body))

with Pretend(reply) as pretend:
    print(pretend.url, flush=True)
    sys.stdin.read()
"""


def test_questions_are_taken_back_from_an_endpoint_that_hangs(tmp_path, many, quiet, monkeypatch):
    monkeypatch.setattr(desk, "WATCH_SECONDS", 0.2)
    monkeypatch.setattr(connection, "CONNECT_SECONDS", 0.5)
    hanging = subprocess.Popen(
        [sys.executable, "-c", STOPPING], text=True, cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        url = hanging.stdout.readline().strip()
        with Pretend(lambda n, body: (time.sleep(0.02), completion(answer(body)))[1]) as sound:
            (card,) = evaluate(tmp_path / "vlm", many, url, sound, timeout=600.0, patience=600.0)
    finally:
        hanging.kill()
        hanging.communicate()
    assert card.seconds < 60
    assert results(tmp_path / "vlm") == quiet


def test_a_run_that_is_left_in_the_middle_leaves_nothing_behind(many):
    with Pretend(lambda n, body: (time.sleep(0.05), completion(answer(body)))[1]) as pretend:
        service = Service((pretend.url,))
        engine = ServerEngine(served_checkpoint("vlm", service), service)
        requests = (
            Request(question=Question(task="t", id=str(n), prompt=f"what is {n}?"), key=str(n))
            for n in range(2000)
        )
        begun = engine.generate(requests)
        next(begun)
        begun.close()
        time.sleep(1.0)  # for what was sent to be read there
        begun = len(pretend.bodies)
        time.sleep(0.2)
        assert len(pretend.bodies) == begun < 1000
        assert "endpoints" not in [thread.name for thread in threading.enumerate()]


def test_trouble_with_the_questions_themselves_is_not_swallowed():
    def requests():
        yield Request(question=Question(task="t", id="1", prompt="what?"), key="1")
        raise OSError(5, "Input/output error", "picture.png")

    with Pretend() as pretend:
        service = Service((pretend.url,))
        engine = ServerEngine(served_checkpoint("vlm", service), service)
        with pytest.raises(OSError, match="picture.png"):
            list(engine.generate(requests()))


# Dialects


def test_fields_that_an_endpoint_does_not_know_are_left_out_and_said(tmp_path, many, quiet):
    def openai(number, body):
        for name in ("top_k", "min_p", "repetition_penalty", "seed"):
            if name in body:
                return 400, {"error": {"message": f"Unrecognized request argument: {name}"}}
        if "max_tokens" in body:
            words = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
            return 400, {"error": {"message": words}}
        return {**completion(answer(body)), "model": "vlm-2026-01-01"}

    with Pretend(openai) as pretend:
        (card,) = evaluate(tmp_path / "vlm", many, pretend)
    assert results(tmp_path / "vlm") == quiet
    assert card.notes[1:] == (
        f"{pretend.url} takes no min_p, repetition_penalty, top_k: its own settings hold there",
        f"{pretend.url} says that vlm-2026-01-01 answered",
    )
    assert read_card(tmp_path / "vlm").notes == card.notes
    assert pretend.bodies[-1]["max_completion_tokens"] == 40
    with Pretend(openai) as pretend:
        with pytest.raises(UserError, match="it takes no top_k: leave --top-k out"):
            drawn = Sampling(temperature=1.0, top_k=5)
            evaluate(tmp_path / "drawn" / "vlm", many, pretend, sampling=drawn)


@pytest.mark.parametrize(
    "words",
    [
        "This model's maximum context length is 64 tokens",
        "max_tokens=400 cannot be greater than max_model_len=256.",
    ],
)
def test_a_bound_beyond_the_context_ends_at_the_context(tmp_path, many, words):
    def short(number, body):
        if "max_tokens" in body:
            return 400, {"error": {"message": words}}
        return completion("cut", "length")

    with Pretend(short) as pretend:
        evaluate(tmp_path / "vlm", many, pretend, limit=1)
    (response,) = log.read_responses(tmp_path / "vlm")
    assert (response.text, response.finish) == ("cut", "length")


@pytest.mark.parametrize(("family", "special"), [("llava_next", True), ("idefics3", False)])
def test_where_the_weights_are_at_hand_tokens_are_theirs(
    tmp_path, world, checkpoints, family, special
):
    from transformers import AutoTokenizer

    weights = open_checkpoint(checkpoints[f"{family}-a"])
    ids = AutoTokenizer.from_pretrained(weights.path).encode("seven", add_special_tokens=False)

    def reply(number, body):
        told = completion(" s e v e n")
        told["choices"][0]["token_ids"] = [*ids, 3]  # 3 ends a text
        return told

    with Pretend(reply) as pretend:
        (card,) = evaluate(tmp_path / "vlm", world, pretend, weights=weights)
    assert {r.text for r in log.read_responses(tmp_path / "vlm")} == {"seven"}
    assert {body["add_special_tokens"] for body in pretend.bodies} == {special}
    assert card.notes == (
        "vlm is served: its weights could not be verified, they are taken to be those of "
        f"{weights.path}",
    )


# Names and secrets


def test_a_served_model_is_named_by_all_that_is_told_of_it(checkpoints):

    def named(version="0.32.0", weights=None, **card):
        with Pretend(card={"id": "vlm", "owned_by": "vllm", **card}, version=version) as pretend:
            return served_checkpoint("vlm", Service((pretend.url,)), weights)

    local = open_checkpoint(checkpoints["llava_next-a"])
    plain = named()
    assert plain.fingerprint.startswith("served:vlm:")
    assert plain == named()
    assert plain.fingerprint == named(max_model_len=99, created=5).fingerprint
    others = [named(root="/models/a"), named(version="0.33.0"), named(weights=local)]
    assert len({plain.fingerprint, *(other.fingerprint for other in others)}) == 4
    assert takes_images(plain) and others[2].folder.pixels == local.pixels != {}
    assert not takes_images(named(weights=open_checkpoint(checkpoints["llava_next-text"])))


def test_of_an_adapter_that_is_served_the_record_names_the_adapter(checkpoints, tmp_path):
    base = open_checkpoint(checkpoints["qwen2_5_vl-a"])
    content = Adapter(path=tmp_path / "adapter", fingerprint="a", rank=1, scales={})
    adapter = AdaptedModel(name="adapter", path=content.path, fingerprint="f", surroundings="s",
                           folder=base, adapter=content)  # fmt: skip
    with Pretend() as pretend:
        service = Service((pretend.url,))
        engine = ServerEngine(served_checkpoint("vlm", service, adapter), service)
    assert engine.notes == (
        "vlm is served: its weights could not be verified, they are taken to be those of "
        f"{tmp_path / 'adapter'}",
    )


def test_a_run_goes_on_at_other_addresses_and_not_with_another_model(tmp_path, many):
    with Pretend() as one:
        evaluate(tmp_path / "vlm", many, one, limit=5)
    with Pretend() as two:
        evaluate(tmp_path / "vlm", many, two, limit=8)
    assert len(two.bodies) == 3
    with Pretend(version="0.33.0") as three:
        with pytest.raises(UserError, match=r"another run \(other fingerprint, engine_version\)"):
            evaluate(tmp_path / "vlm", many, three)
    assert three.bodies == []


def test_endpoints_must_serve_the_same(tmp_path, many):
    with Pretend() as one, Pretend(card={"id": "vlm", "root": "/other"}) as two:
        with pytest.raises(UserError, match="serve different things as vlm: .*/other"):
            evaluate(tmp_path / "vlm", many, one, two)
        with pytest.raises(UserError, match="does not serve vml: did you mean vlm"):
            evaluate(tmp_path / "vlm", many, one, model="vml")
    with pytest.raises(UserError, match="no endpoint answers: .* it takes no connection"):
        evaluate(tmp_path / "vlm", many, one, two)
    assert not (tmp_path / "vlm").exists()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("localhost:8000", "is no endpoint: give its address as http://HOST:PORT/v1"),
        ("ftp://host/v1", "is no endpoint"),
        ("http://host:99999/v1", "is no endpoint"),
        ("http://[host/v1", "is no endpoint"),
        ("https://me:secret@host/v1", "the endpoint at host is given with a password or a query"),
        ("https://host/v1?key=secret", "the endpoint at host is given with a password or a query"),
    ],
)
def test_an_address_is_checked_and_its_secret_not_repeated(url, says):
    with pytest.raises(UserError, match=says) as error:
        address(url)
    assert "secret" not in str(error.value)


def test_an_address_may_be_given_short_or_long():
    for url in ("http://host:8000", "http://host:8000/", "http://host:8000/v1/chat/completions"):
        assert address(url) == "http://host:8000/v1"
    assert address("https://host/api/v3/") == "https://host/api/v3"


KEY = "sk-very-secret-1234"


def test_the_key_is_sent_and_written_nowhere(tmp_path, many, capfd):
    def reply(number, body):
        if "what is 5?" in json.dumps(body):
            return 400, {"error": {"message": f"the key {KEY} may not \x1b[31m see this picture"}}
        if "what is 6?" in json.dumps(body):
            return completion("", None, **{"role": KEY})
        return {**completion(f"{KEY} says {answer(body)}", KEY), "model": f"vlm-{KEY}"}

    card = {"id": "vlm", "owned_by": KEY, "root": f"/models/{KEY}"}
    with Pretend(reply, card=card, version=KEY) as pretend:
        evaluate(tmp_path / "vlm", many, pretend, key=KEY, limit=20)
    assert {headers["authorization"] for headers in pretend.headers} == {f"Bearer {KEY}"}
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    for said in (b"the key [key] may not", b"[key] says", b"that vlm-[key] answered"):
        assert any(said in data for data in written)
    assert not any(KEY.encode() in data or b"\\u001b" in data for data in written)
    with Pretend(lambda number, body: (401, {"error": f"wrong key {KEY}"})) as pretend:
        with pytest.raises(UserError, match=r"wrong key \[key\]"):
            evaluate(tmp_path / "other", many, pretend, key=KEY)
    assert KEY not in "".join(capfd.readouterr()) + repr(Service((), KEY))


def test_a_password_that_nobody_gave_is_not_sent(tmp_path, many, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with Pretend() as pretend:
        evaluate(tmp_path / "vlm", many, pretend, limit=2)
    assert all("authorization" not in headers for headers in pretend.headers)


def test_a_proxy_is_used_where_the_environment_names_one(tmp_path, many, monkeypatch):
    with Pretend() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1"))
        (card,) = evaluate(tmp_path / "vlm", many, "http://model.invalid/v1", limit=2)
        assert card.finished and {h["host"] for h in proxy.headers} == {"model.invalid"}
        monkeypatch.setenv("no_proxy", "model.invalid")
        assert connection.proxy_of("http://model.invalid/v1") is None
        assert connection.proxy_of("https://other.invalid/v1") is None
    monkeypatch.setenv("https_proxy", "socks5://me:secret@host:1")
    with pytest.raises(UserError, match="is no http://HOST:PORT: unset it, or add other") as error:
        connection.proxy_of("https://other.invalid/v1")
    assert "secret" not in str(error.value)


# The command line


def test_eval_asks_endpoints(tmp_path, world, driftbench, monkeypatch):
    monkeypatch.setenv("MY_KEY", "abc")
    words = f"eval vlm --tasks pocket --data {world} --out {tmp_path / 'run'} --key-env MY_KEY"
    with Pretend() as one, Pretend() as two:
        endpoints = f"--endpoint {one.url},{two.url}"
        printed = driftbench(words, endpoints).out
        driftbench(words, endpoints, "--engine server")
    # Which of the two is asked first is nobody's business.
    keys = {headers["authorization"] for headers in (*one.headers, *two.headers)}
    assert keys == {"Bearer abc"}
    assert len(one.bodies) + len(two.bodies) == 7
    assert "run: vlm is served: its weights could not be verified" in printed


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("--engine server", "the engine server asks endpoints: give --endpoint"),
        ("--endpoint http://h --engine hf", "are for --engine server"),
        ("--timeout 5", "--checkpoint and --timeout are for --engine server"),
        ("--endpoint http://h --context 5", "are vLLM's, not those of server"),
        ("--endpoint http://h --tensor-parallel 4", "are vLLM's, not those of server"),
        ("--endpoint http://h --gpu-memory 0.5", "are vLLM's, not those of server"),
        ("--endpoint nowhere", "'nowhere' is no endpoint"),
        ("--endpoint http://h --key-env UNSET_KEY", "UNSET_KEY that --key-env names is"),
        ("--engine serve", "did you mean server? the engines are auto, vllm, hf, server, ray"),
    ],
)
def test_slips_are_told_in_one_sentence(tmp_path, world, mistake, given, says):
    words = f"eval vlm --tasks pocket --data {world} --out {tmp_path / 'run'}"
    assert says in mistake(words, given)


def able(number, body):
    """Count one token a word and ten a picture; draw by the seed."""
    parts = body["messages"][0]["content"]
    parts = [{"type": "text", "text": parts}] if isinstance(parts, str) else parts
    tokens = sum(10 if part["type"] == "image_url" else len(part["text"].split()) for part in parts)
    greedy = body["temperature"] == 0 or body.get("top_k") == 1
    words = [answer(body) if greedy else str(body["seed"]), *"abcdefghijk"]
    kept = words[: body["max_tokens"]]
    reply = completion(" ".join(kept), "stop" if len(kept) == len(words) else "length")
    return {**reply, "usage": {"prompt_tokens": tokens, "completion_tokens": len(kept)}}


def table(printed: str) -> dict[str, tuple[str, str]]:
    lines = printed.splitlines()[1:]
    at = max(len(line) - len(line[26:].lstrip()) for line in lines[:1])
    found = {}
    for line in lines:
        what, _, rest = line.strip().partition("  ")
        able, _, detail = rest.strip().partition(" ")
        found[what] = (able, detail.strip())
    assert at
    return found


def test_serve_check_tells_what_an_endpoint_can_do(driftbench):
    card = {"id": "vlm", "owned_by": "vllm", "max_model_len": 4096}
    with Pretend(able, card=card) as pretend:
        found = table(driftbench("serve-check", pretend.url).out)
    assert {able for able, _ in found.values()} == {"yes"}
    assert found["models"] == ("yes", "vlm")
    assert found["software"] == ("yes", "vllm 0.32.0")
    assert found["context"] == ("yes", "4096 tokens")
    assert found["bound of tokens"] == ("yes", "4 tokens of at most 4, ended by length")
    assert found["16 questions at once"][1].startswith("16 answered in ")


def test_serve_check_sees_through_an_endpoint_that_pretends(driftbench, mistake):
    def poor(number, body):
        content = body["messages"][0]["content"]
        if not isinstance(content, str):  # takes the pictures, and does not look at them
            content = "".join(part.get("text", "") for part in content)
        if "top_k" in body:
            return 400, {"error": {"message": "unknown field top_k"}}
        said = completion(f"[red]{number}\x1b[31m " + "on " * 60, "stop")
        return {**said, "usage": {"prompt_tokens": len(content), "completion_tokens": 60}}

    with Pretend(poor) as pretend:
        printed = driftbench("serve-check", pretend.url, "--model vlm", status=2)
    assert "\x1b" not in printed.out and "[red]" in printed.out
    verdicts = {line[:24].strip(): line[24:].split()[0] for line in printed.out.splitlines()[1:]}
    assert verdicts == {
        "models": "yes", "examined": "yes", "software": "yes", "context": "no", "text": "yes",
        "one picture": "NO", "pictures between texts": "no", "bound of tokens": "NO",
        "greedy answers repeat": "no", "a seed repeats": "no", "top_k": "no",
        "16 questions at once": "yes",
    }  # fmt: skip
    assert "cannot be examined: it takes no connection" in mistake("serve-check", pretend.url)
