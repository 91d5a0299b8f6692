from types import SimpleNamespace

import pytest
import tiny_models as tiny
import torch
from PIL import Image
from tiny_models import write_rows

from common.errors import UserError
from drift.families import FAMILIES
from drift.training.encode import IGNORED, KINDS, encode, stretches
from drift.training.rows import read_rows

PER_ROW = {family.model_type: family.pixels_per_row for family in FAMILIES}


def ends(processor):
    return frozenset([processor.tokenizer.eos_token_id])


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def learnt(sample, processor):
    """The words that the loss is taken of."""
    return processor.tokenizer.decode(sample["labels"][sample["labels"] != IGNORED])


def test_a_broken_picture_names_its_row(pictures):
    (pictures / "0.png").write_bytes((pictures / "0.png").read_bytes()[:40])
    rows = read_rows(write_rows(pictures, {"question": "q", "answer": "a", "images": ["0.png"]}))
    processor = tiny.processor("idefics3")
    with pytest.raises(UserError, match="row 1 of .*: the image .*0.png cannot be decoded"):
        encode(rows[0], processor, ends(processor))


@pytest.mark.parametrize("images", [["0.png"], ["1.png", "2.png"], []])
def test_a_question_is_encoded_as_it_will_be_asked(kind, pictures, images):
    """Token for token, pixel for pixel what transformers gives for the prompt."""
    processor = tiny.processor(kind)
    text = " and ".join(["what is <image>"] * len(images)) or "what is this"
    row = {"question": text, "answer": "one two .", "images": images}
    (found,) = read_rows(write_rows(pictures, row))
    sample = encode(found, processor, ends(processor), PER_ROW[kind])
    content = []
    for i, piece in enumerate(text.split("<image>")):
        content += [{"type": "image", "image": Image.open(pictures / images[i - 1])}] if i else []
        content += [{"type": "text", "text": piece}] if piece else []
    asked = processor.apply_chat_template(
        [[{"role": "user", "content": content}]],
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
    )
    count = asked["input_ids"].shape[1]
    assert torch.equal(sample["input_ids"][:count], asked["input_ids"][0])
    assert (sample["labels"][:count] == IGNORED).all()
    answer = processor.tokenizer("one two . </s>", add_special_tokens=False)["input_ids"]
    assert sample["input_ids"][count:].tolist() == answer
    assert sample["labels"][count:].tolist() == answer
    for key in asked.keys() - {"input_ids", "attention_mask"}:
        expected = asked[key]
        if key in KINDS:
            if images:
                assert torch.equal(sample[key][:count], expected[0])
                assert not sample[key][count:].any()
        else:
            assert torch.equal(sample[key], expected), key


def test_every_answer_of_a_conversation_is_learnt_and_nothing_else(family, pictures):
    row = {
        "messages": [
            {"role": "system", "content": "that is the answer"},
            {"role": "user", "content": "what is <image>"},
            {"role": "assistant", "content": "one two"},
            {"role": "user", "content": "and <image> ?"},
            {"role": "assistant", "content": "three ."},
        ],
        "images": ["1.png", "0.png"],
    }
    processor = tiny.processor(family)
    (found,) = read_rows(write_rows(pictures, row))
    pieces = stretches(found, processor)
    assert [(piece.images, piece.answer) for piece in pieces] == [
        (1, False), (0, True), (1, False), (0, True)
    ]  # fmt: skip
    per_row = PER_ROW[family]
    sample = encode(found, processor, ends(processor), per_row)
    assert learnt(sample, processor) == "one two </s>three . </s>"
    # All at once is the same: ids and pixels.
    whole = processor(
        text=["".join(piece.text for piece in pieces)],
        images=[[Image.open(pictures / name).convert("RGB") for name in row["images"]]],
        return_tensors="pt",
    )
    assert torch.equal(sample["input_ids"], whole["input_ids"][0])
    assert torch.equal(sample["pixel_values"], whole["pixel_values"])


def test_an_answer_without_an_end_gets_one(pictures):
    processor = tiny.processor("llava_next")
    processor.chat_template = processor.chat_template.replace("{{ ' </s>' }}", "")
    (row,) = read_rows(write_rows(pictures, {"question": "what ?", "answer": "one ."}))
    sample = encode(row, processor, ends(processor))
    assert learnt(sample, processor) == "one .</s>"


def test_an_answer_in_unknown_letters_is_named(pictures):
    processor = tiny.processor("llava_next")
    (row,) = read_rows(write_rows(pictures, {"question": "où ?", "answer": "one и ."}))
    with pytest.raises(
        UserError, match="row 1 of .* does not know; what it reads is 'one  . </s>'"
    ):
        encode(row, processor, ends(processor))


def test_a_template_that_rewrites_the_question_is_refused(pictures):
    processor = tiny.processor("llava_next")
    processor.chat_template = "{{ messages | length }}" + processor.chat_template
    (row,) = read_rows(write_rows(pictures, {"question": "what ?", "answer": "one ."}))
    with pytest.raises(UserError, match="row 1 of .* renders an answer not as a continuation"):
        stretches(row, processor)


def test_large_pictures_are_made_smaller(pictures):
    Image.new("RGB", (128, 128)).save(pictures / "big.png")
    (row,) = read_rows(
        write_rows(pictures, {"question": "q", "answer": "one", "images": ["big.png"]})
    )
    processor = tiny.processor("qwen2_5_vl")
    grids = [
        encode(row, processor, ends(processor), max_pixels=limit)["image_grid_thw"].tolist()
        for limit in (None, 64 * 64)
    ]
    assert grids == [[[1, 8, 8]], [[1, 4, 4]]]


# The template's way, and the tokenizer's


GENERATION = "{% generation %}{{ text }}{{ ' </s>' }}{% endgeneration %}"
SPOKEN = (
    "{% for m in messages %}{{ '<|' + m.role + '|> ' }}{% set text = m.content if m.content is "
    "string else m.content | map(attribute='text') | join %}{% if m.role == 'assistant' %}"
    f"{GENERATION}{{% else %}}{{{{ text }}}}{{% endif %}}{{% endfor %}}"
    "{% if add_generation_prompt %}{{ '<|assistant|> ' }}{% endif %}"
)


def test_labels_are_the_mask_of_transformers(pictures):
    """Where a template marks what the assistant generates, by its own tags."""
    processor = tiny.processor("qwen2_5_vl")
    processor.chat_template = SPOKEN
    turns = [user("that is"), assistant("one two"), user("and ?"), assistant("three .")]
    (row,) = read_rows(write_rows(pictures, {"messages": turns}))
    sample = encode(row, processor, ends(processor))
    expected = processor.tokenizer.apply_chat_template(
        turns, chat_template=SPOKEN, return_dict=True, return_assistant_tokens_mask=True
    )
    assert sample["input_ids"].tolist() == expected["input_ids"]
    assert (sample["labels"] != IGNORED).tolist() == [bool(m) for m in expected["assistant_masks"]]


def test_only_the_answers_that_say_so_are_learnt(pictures):
    processor = tiny.processor("qwen2_5_vl")
    turns = [user("that is"), assistant("one two"), user("and ?"), assistant("three .")]
    for flags, said in (
        (({}, {}), "one two </s>three . </s>"),
        (({"loss": False}, {}), "three . </s>"),
        (({"weight": 1}, {"weight": 0}), "one two </s>"),
    ):
        marked = [turns[0], {**turns[1], **flags[0]}, turns[2], {**turns[3], **flags[1]}]
        (row,) = read_rows(write_rows(pictures, {"messages": marked}))
        sample = encode(row, processor, ends(processor))
        assert learnt(sample, processor) == said
        (whole,) = read_rows(write_rows(pictures, {"messages": turns}))
        every = encode(whole, processor, ends(processor))["input_ids"]
        assert torch.equal(sample["input_ids"], every[: len(sample["input_ids"])])


THINKING = SPOKEN.replace("text }}", "'<think> ' + m.FIELD + ' </think> ' + text }}", 1)


@pytest.mark.parametrize("field", ["reasoning_content", "thinking"])
def test_a_thought_is_written_by_the_template(pictures, field):
    """Whatever the row calls it, it gets to where this template reads it."""
    processor = tiny.processor("qwen2_5_vl")
    processor.chat_template = THINKING.replace("FIELD", field)
    for name in ("reasoning_content", "thinking", "reasoning"):
        turns = [user("that is"), assistant("three .", **{name: "one two"})]
        (row,) = read_rows(write_rows(pictures, {"messages": turns}))
        (_, answer) = stretches(row, processor)
        assert answer.text == "<think> one two </think> three . </s>"


# DeepSeek-R1's way with an answer, and Qwen3's with earlier ones.
CUTTING = SPOKEN.replace("{{ text }}", "{{ text.split('</think>')[-1] }}", 1)
FORGETTING = SPOKEN.replace("{{ text }}", "{{ text if loop.last else text.split('</think>')[-1] }}")


def test_a_template_that_cuts_thoughts_out_is_refused(pictures):
    processor = tiny.processor("qwen2_5_vl")
    thought = "<think> one </think> two ."
    row = {"question": "what ?", "answer": thought}
    beside = {"messages": [user("what ?"), assistant("two .", reasoning_content="one")]}
    written, apart = read_rows(write_rows(pictures, row, beside))
    processor.chat_template = CUTTING
    with pytest.raises(UserError, match="row 1 .* leaves out some of the answer that begins '<th"):
        encode(written, processor, ends(processor))
    with pytest.raises(UserError, match="row 2 .* a thought beside its answer, .* writes none"):
        encode(apart, processor, ends(processor))
    processor.chat_template = CUTTING + "{# thinking #}"
    with pytest.raises(UserError, match="row 2 .* leaves out some of the answer that begins 'one'"):
        encode(apart, processor, ends(processor))
    processor.chat_template = FORGETTING
    turns = [user("what ?"), assistant(thought), user("and ?"), assistant(thought)]
    both, last = read_rows(
        write_rows(
            pictures,
            {"messages": turns},
            {"messages": [turns[0], {**turns[1], "loss": False}, *turns[2:]]},
        )
    )
    with pytest.raises(UserError, match='row 1 .* earlier answer otherwise .*"loss": false'):
        encode(both, processor, ends(processor))
    question, answer = stretches(last, processor)
    assert question.text.endswith("<|assistant|>  two . </s><|user|> and ?<|assistant|> ")
    assert answer.text == f"{thought} </s>"


def test_a_template_with_a_clock_tells_the_day_of_the_run(pictures):
    processor = tiny.processor("qwen2_5_vl")
    processor.chat_template = "{{ strftime_now('%d %B %Y') }}" + processor.chat_template
    (row,) = read_rows(write_rows(pictures, {"question": "what ?", "answer": "one ."}))
    assert stretches(row, processor, "2026-01-31")[0].text.startswith("31 January 2026")


def test_what_a_template_or_a_processor_refuses_names_the_row(pictures):
    processor = tiny.processor("qwen2_5_vl")
    Image.new("RGB", (2, 600)).save(pictures / "thin.png")
    thin, literal, image = read_rows(
        write_rows(
            pictures,
            {"question": "what ?", "answer": "one", "images": ["thin.png"]},
            {"question": "what is <|image_pad|> ?", "answer": "one"},
            {"question": "what ?", "answer": "one", "image": "0.png"},
        )
    )
    with pytest.raises(UserError, match="row 1 .*: the processor refuses it: .*aspect ratio"):
        encode(thin, processor, ends(processor))
    with pytest.raises(UserError, match=r"row 2 .* has <\|image_pad\|> in a text"):
        encode(literal, processor, ends(processor))
    processor.chat_template = "{{ raise_exception('not so') }}"
    with pytest.raises(UserError, match="row 3 .*: the chat template refuses it: not so"):
        encode(image, processor, ends(processor))


def sentencepiece():
    """A tokenizer that puts a space before each text, as Llama 2's does."""
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    words = [
        "<unk>",
        "<s>",
        "</s>",
        *"▁\n:.?ASNUERITonetwhafur",
        "▁t",
        "▁tw",
        "▁two",
        "▁o",
        "▁on",
        "▁one",
    ]
    merges = [("▁", "t"), ("▁t", "w"), ("▁tw", "o"), ("▁", "o"), ("▁o", "n"), ("▁on", "e")]
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys(words))}
    backend = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True))
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def test_an_answer_goes_on_from_its_prompt_as_it_would_be_generated(pictures):
    """LLaVA 1.5's template with Llama 2's way to read: `▁two`, not `▁`, `▁two`."""
    tokenizer = sentencepiece()
    tokenizer.chat_template = (
        "{% for m in messages %}{% set text = m.content | map(attribute='text') | join %}"
        "{{ ('USER: ' if m.role == 'user' else 'ASSISTANT: ') + text + ' ' }}{% endfor %}"
        "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
    )
    assert tokenizer.tokenize(" two") == ["▁", "▁two"]
    processor = SimpleNamespace(
        tokenizer=tokenizer,
        chat_template=tokenizer.chat_template,
        apply_chat_template=tokenizer.apply_chat_template,
    )
    turns = [user("what?"), assistant("two"), user("for?"), assistant("one")]
    (row,) = read_rows(write_rows(pictures, {"messages": turns}))
    sample = encode(row, processor, frozenset([tokenizer.eos_token_id]))
    whole = tokenizer("USER: what? ASSISTANT: two USER: for? ASSISTANT: one")["input_ids"]
    assert sample["input_ids"].tolist() == [*whole, tokenizer.eos_token_id]
    answers = sample["labels"][sample["labels"] != IGNORED].tolist()
    assert tokenizer.convert_ids_to_tokens(answers) == ["▁two", "▁one", "</s>"]
