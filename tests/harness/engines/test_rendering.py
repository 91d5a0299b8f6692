from pathlib import Path

import pytest
import scripted
import tiny_models as tiny

from common.errors import UserError
from harness.checkpoints.kinds import ModelFolder
from harness.engines import rendering


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
