"""Chat templates are found where transformers and vLLM find them, in their order."""

import json
import shutil
from itertools import combinations

import pytest
from tiny_models import make_llm, processor

from common.errors import UserError
from drift import chat_template


def put(folder, place):
    """Lay a template that says where it lies."""
    if place.endswith(".jinja"):
        (folder / place).parent.mkdir(exist_ok=True)
        (folder / place).write_text(place)
        return
    name, _, several = place.partition(" ")
    content = json.loads((folder / name).read_text()) if (folder / name).exists() else {}
    content["chat_template"] = (
        [{"name": "tool_use", "template": "x"}, {"name": "default", "template": place}]
        if several
        else place
    )
    (folder / name).write_text(json.dumps(content))


PLACES = (
    "processor_config.json",
    "chat_template.json",
    "chat_template.jinja",
    "additional_chat_templates/tool_use.jinja",
    "tokenizer_config.json",
    "tokenizer_config.json several",
)


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A VLM's processor that has no chat template, and a text model's tokenizer."""
    folder = tmp_path_factory.mktemp("bare")
    made = processor("qwen2_5_vl")
    made.chat_template = made.tokenizer.chat_template = None
    made.save_pretrained(folder / "vlm")
    shutil.copy(make_llm("qwen2_5_vl", folder / "llm") / "config.json", folder / "vlm")
    (folder / "llm" / "chat_template.jinja").unlink()
    return folder


def in_order(*found):
    """What vLLM takes of a processor's and a tokenizer's templates; of several, the default."""
    template = next((one for one in found if one), None)
    return template.get("default") if isinstance(template, dict) else template


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("places", [(), *((one,) for one in PLACES), *combinations(PLACES, 2)])
def test_the_order_is_that_of_transformers_and_vllm(bare, tmp_path, places):
    from transformers import AutoProcessor, AutoTokenizer

    for kind in ("vlm", "llm"):
        folder = shutil.copytree(bare / kind, tmp_path / kind)
        for place in places:
            put(folder, place)
    try:
        templates = AutoProcessor.from_pretrained(tmp_path / "vlm").chat_template
    except ValueError:  # it takes no other file beside a chat_template.json
        return
    words = AutoTokenizer.from_pretrained(tmp_path / "vlm").chat_template
    for folder, expected in (
        (tmp_path / "vlm", in_order(templates, words)),
        (tmp_path / "llm", in_order(AutoTokenizer.from_pretrained(tmp_path / "llm").chat_template)),
    ):
        of_processor = folder.name == "vlm"
        if expected is None and set(places) & {PLACES[3]}:
            with pytest.raises(UserError, match="tool_use and none that is the default: choose"):
                chat_template.own(folder, of_processor)
        else:
            assert chat_template.own(folder, of_processor) == expected


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("tokenizer_config.json", '{"chat_template": 5}', "holds a chat template that is no text"),
        ("tokenizer_config.json", '{"chat_template": [5]}', "none that is the default"),
        ("tokenizer_config.json", "[]", "is not a JSON object"),
        ("chat_template.json", "{", "is not JSON"),
        ("chat_template.jinja", b"\xff", "cannot be read"),
    ],
)
def test_what_is_no_template_is_one_sentence(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=f"{name} .*{sentence}"):
        chat_template.own(tmp_path, of_processor=True)
