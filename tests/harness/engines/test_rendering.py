import types
from datetime import datetime
from pathlib import Path

import pytest
import scripted
import tiny_models as tiny

from common.errors import UserError
from harness.checkpoints.kinds import ModelFolder, prompted
from harness.checkpoints.preflight import open_checkpoint
from harness.engines import rendering, template_worker


def folder(multimodal: bool) -> ModelFolder:
    return scripted.checkpoint(path=Path("/c"), multimodal=multimodal)


class Template:
    """Stands for a processor: keeps the message that it was given."""

    def apply_chat_template(self, messages, *, tokenize, add_generation_prompt):
        assert (tokenize, add_generation_prompt) == (False, True)
        (self.message,) = messages
        return "rendered"


@pytest.mark.parametrize(
    ("prompt", "pictures", "parts"),
    [
        ("what?", 0, ["what?"]),
        ("<image>what?", 1, [None, "what?"]),
        ("see <image> and <image>", 2, ["see ", None, " and ", None]),
        ("<image><image>", 2, [None, None]),
        ("<image1> <image>", 1, ["<image1> ", None]),
    ],
)
def test_marks_become_image_parts_in_order(prompt, pictures, parts):
    expected = [
        {"type": "image"} if part is None else {"type": "text", "text": part} for part in parts
    ]
    assert rendering.content(tiny.question("1", prompt, pictures)) == expected


@pytest.mark.parametrize(("prompt", "pictures"), [("<image>", 0), ("what?", 1), ("<image>", 2)])
def test_marks_that_do_not_match_the_pictures_are_refused(prompt, pictures):
    with pytest.raises(UserError, match=f"pocket/1: the prompt has . <image> marks for {pictures}"):
        rendering.content(tiny.question("1", prompt, pictures))


def test_a_vlm_gets_parts_and_a_text_model_gets_text():
    template = Template()
    rendering.render(template, folder(True), tiny.question("1", "what?"))
    assert template.message == {"role": "user", "content": [{"type": "text", "text": "what?"}]}
    rendering.render(template, folder(False), tiny.question("1", "what?"))
    assert template.message == {"role": "user", "content": "what?"}


def test_a_template_that_refuses_is_named():
    class Refusing:
        def apply_chat_template(self, *_, **__):
            raise ValueError("roles must\nalternate")

    with pytest.raises(UserError) as error:
        rendering.render(Refusing(), folder(True), tiny.question("1", "what?"))
    assert str(error.value) == "/c: its chat template refuses pocket/1: roles must alternate"


def test_a_tokenizer_that_does_not_load_is_named(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    broken = scripted.checkpoint(path=tmp_path, multimodal=False)
    with pytest.raises(UserError, match=f"{tmp_path}: its tokenizer does not load: "):
        rendering.load_processor(broken)


# Templates that are no good


def opened(checkpoints, tmp_path, template, text_only=False):
    (tmp_path / "template").write_text(template)
    name = "qwen2_5_vl-text" if text_only else "qwen2_5_vl-a"
    return open_checkpoint(checkpoints[name], template=tmp_path / "template")


SAY = "{{ messages[0].content[0].text }}"
NO_GOOD = {
    "constant": ("Hello", "it leaves the question out"),
    "endless": (
        "{% set n = range(90000) %}{% for a in n %}{% for b in n %}{% endfor %}{% endfor %}",
        "it does not end",
    ),
    "huge": ("{{ 'x' * 10 ** 10 }}", "it takes more than 1 GiB of memory"),
    "long": ("{{ 'x' * 10 ** 7 }}", "it makes a prompt of more than 1,000,000 characters"),
    "refusing": ("{{ raise_exception('\x1b[2Jno\n' + 'x' * 100000) }}", r"no x+ …; --chat"),
    "broken": ("{% for %}", "Expected an expression"),
    "unsafe": ("{{ ''.__class__.__mro__ }}", "access to attribute '__class__' .* is unsafe"),
    "for text": ("{{ messages[0].content }}", "it is for plain text, and writes the parts"),
    "joining": ("{{ 'User: ' + messages[0].content }}", "can only concatenate str"),
}


@pytest.mark.parametrize(("template", "sentence"), NO_GOOD.values(), ids=NO_GOOD)
def test_a_template_that_makes_no_prompt_is_told_before_a_run(
    checkpoints, tmp_path, template, sentence
):
    with pytest.raises(UserError, match=f"makes no prompt of a short question: .*{sentence}") as e:
        rendering.load_processor(opened(checkpoints, tmp_path, template))
    assert len(str(e.value)) < 1500 and str(e.value).isprintable()


@pytest.mark.parametrize(
    ("template", "text_only"),
    [
        (SAY, False),
        ("{{ messages[0].content }}", True),
        ("{% generation %}" + SAY + "{% endgeneration %}", False),
        ("{% for m in messages %}{{ m.content | tojson }}{% break %}{% endfor %}", True),
    ],
)
def test_what_transformers_renders_passes(checkpoints, tmp_path, template, text_only):
    folder = opened(checkpoints, tmp_path, template, text_only)
    processor = rendering.load_processor(folder)
    assert "what?" in rendering.render(processor, folder, tiny.question("1", "what?"))


THINKS = "{% if enable_thinking is defined and enable_thinking %}<think>{% endif %}" + SAY


def test_a_template_is_told_what_it_reads_and_nothing_else(checkpoints, tmp_path):
    folder = opened(checkpoints, tmp_path, THINKS)
    question = tiny.question("1", "what?")
    for told, made in (({}, "what?"), ({"enable_thinking": True}, "<think>what?")):
        switched = prompted(folder, template_args=told)
        processor = rendering.load_processor(switched)
        assert rendering.render(processor, switched, question) == made
    with pytest.raises(
        UserError, match=r"--template-args thinking would .*\(of its own it reads enable_thinking\)"
    ):
        rendering.load_processor(prompted(folder, template_args={"thinking": True}))


def test_the_day_that_a_template_tells_is_the_runs(checkpoints, tmp_path):
    folder = opened(checkpoints, tmp_path, "{{ strftime_now('%d %b %Y %H:%M') }} " + SAY)
    assert folder.tells_day
    processor = rendering.load_processor(folder)
    dated = prompted(folder, day="2026-01-31")
    rendered = rendering.render(processor, dated, tiny.question("1", "what?"))
    assert rendered == "31 Jan 2026 00:00 what?"
    assert dated.fingerprint == folder.fingerprint
    today = rendering.render(processor, folder, tiny.question("1", "what?"))
    assert today.startswith(datetime.now().strftime("%d %b %Y"))


def test_the_worker_renders_as_transformers_does(checkpoints):
    for name, path in checkpoints.items():
        folder = open_checkpoint(path)
        processor = rendering.load_processor(folder)
        for prompt in ("what?", " a\n\nb "):
            question = tiny.question("1", prompt)
            content = rendering.content(question) if folder.is_multimodal else prompt
            words = getattr(processor, "tokenizer", processor).special_tokens_map
            messages = [{"role": "user", "content": content}]
            made = template_worker.render(folder.template, messages, words)
            assert made == rendering.render(processor, folder, question), name


@pytest.mark.parametrize(
    ("wanted", "settings", "found"),
    [
        (None, {"max_position_embeddings": 4096}, 4096),
        (None, {"max_position_embeddings": 262144}, 32768),
        (None, {}, 32768),
        (65536, {"max_position_embeddings": 262144}, 65536),
        (64, {"max_position_embeddings": 4096}, 64),
        (65536, {}, 65536),
        (4097, {"max_position_embeddings": 4096}, "--context 4097 .* whose own is 4096: give"),
        (131072, {"max_position_embeddings": 32768,
                  "rope_parameters": {"rope_type": "linear", "factor": 4.0}}, 131072),
        (131073, {"max_position_embeddings": 131072,
                  "rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, "own is 131072"),
    ],
)  # fmt: skip
def test_the_context_is_the_users_or_the_models_own_within_bounds(wanted, settings, found):
    language = types.SimpleNamespace(**settings)
    if isinstance(found, int):
        assert rendering.context(language, wanted) == found
    else:
        with pytest.raises(UserError, match=found):
            rendering.context(language, wanted)
