import base64
import io
import json

import pytest
import tiny_models as tiny
import torch
import transformers as tf
from PIL import Image

from common.errors import UserError
from drift.families import FAMILIES
from drift.training.data import IGNORED, KINDS, Samples, collate, encode, read_rows, stretches

PER_ROW = {family.model_type: family.pixels_per_row for family in FAMILIES}


def write(folder, *rows, name="rows.jsonl"):
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def pictures(tmp_path):
    for i, size in enumerate([(16, 16), (32, 16), (16, 32)]):
        Image.new("RGB", size, (80 * i, 10, 200)).save(tmp_path / f"{i}.png")
    return tmp_path


def ends(processor):
    return frozenset([processor.tokenizer.eos_token_id])


def learnt(sample, processor):
    """The words that the loss is taken of."""
    return processor.tokenizer.decode(sample["labels"][sample["labels"] != IGNORED])


# Rows


def test_both_forms_say_the_same(pictures):
    flat = {"question": "what is <image> ?", "answer": "one .", "images": ["0.png"]}
    chat = {
        "messages": [
            {"role": "user", "content": "what is <image> ?"},
            {"role": "assistant", "content": "one ."},
        ],
        "images": ["0.png"],
    }
    a, b = read_rows(write(pictures, flat, chat))
    assert a.messages == b.messages == (("user", "what is <image> ?"), ("assistant", "one ."))
    assert a.images == b.images == (pictures / "0.png",)
    assert a.where == f"row 1 of {pictures / 'rows.jsonl'}"


def test_pictures_without_marks_come_first(pictures):
    row = {"question": "what ?", "answer": "one .", "images": ["0.png", "1.png"]}
    (found,) = read_rows(write(pictures, row))
    assert found.messages[0][1] == "<image><image>what ?"


def test_json_and_parquet_hold_the_same_rows(pictures):
    import pandas as pd

    row = {"question": "what <image> ?", "answer": "one .", "images": ["1.png"]}
    (expected,) = read_rows(write(pictures, row))
    (pictures / "rows.json").write_text(json.dumps([row]))
    pd.DataFrame([row]).to_parquet(pictures / "rows.parquet")
    raw = (pictures / "1.png").read_bytes()
    held = {"bytes": {"bytes": raw, "path": None}, "raw": raw,
            "base64": base64.b64encode(raw).decode()}  # fmt: skip
    for name, cell in held.items():
        pd.DataFrame([{**row, "images": [cell]}]).to_parquet(pictures / f"{name}.parquet")
    for name in ("rows.json", "rows.parquet", *(f"{name}.parquet" for name in held)):
        (found,) = read_rows(pictures / name)
        assert found.messages == expected.messages
        assert found.images == (raw,) or found.images == expected.images
    assert found.images == (raw,)


def test_parts_of_content_are_read_as_marks(pictures):
    parts = [
        {"type": "text", "text": "what is "},
        {"type": "image"},
        {"type": "text", "text": " ?"},
    ]
    within = [parts[0], {"type": "image", "image": "0.png"}, parts[2]]
    said = [{"role": "assistant", "content": [{"type": "text", "text": "one ."}]}]
    a, b = read_rows(
        write(
            pictures,
            {"messages": [{"role": "user", "content": parts}, *said], "images": ["0.png"]},
            {"messages": [{"role": "user", "content": within}, *said]},
        )
    )
    assert a.messages == b.messages == (("user", "what is <image> ?"), ("assistant", "one ."))
    assert a.images == b.images == (pictures / "0.png",)


@pytest.fixture
def datasets_cache(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def test_a_folder_is_read_as_the_hub_has_it(pictures, datasets_cache):
    """Encoded pictures in Parquet, splits by file name."""
    import datasets

    def rows(names):
        return {
            "messages": [
                [
                    {"role": "user", "content": "what is <image> ?"},
                    {"role": "assistant", "content": f"{name} ."},
                ]
                for name in names
            ],
            "images": [[{"bytes": (pictures / f"{name}.png").read_bytes()}] for name in names],
        }

    turn = {"role": datasets.Value("string"), "content": datasets.Value("string")}
    kinds = datasets.Features(
        {"messages": datasets.List(turn), "images": datasets.List(datasets.Image())}
    )
    folder = pictures / "set"
    for split, names in (("train", "01"), ("test", "2")):
        made = datasets.Dataset.from_dict(rows(names), features=kinds)
        made.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    found = read_rows(folder)
    assert [row.messages[1][1] for row in found] == ["0 .", "1 ."]
    assert found[1].where == f"row 2 of {folder} (train)"
    assert Image.open(io.BytesIO(found[1].images[0])).size == (32, 16)
    (other,) = read_rows(f"{folder}:test")
    assert other.messages[1][1] == "2 ."
    with pytest.raises(UserError, match="set cannot be read as a data set .*valid"):
        read_rows(f"{folder}:valid")


def test_the_layout_of_drift_tl_distill(pictures, datasets_cache):
    """ChaoHuangCS/DRIFT-TL-Distill-4K: messages, and paths that start above the folder."""
    row = {
        "messages": [
            {"role": "user", "content": "<image>what is this ?"},
            {"role": "assistant", "content": "<think> that is one </think> \\boxed{one}"},
        ],
        "images": ["../pictures/0.png"],
    }
    folder = pictures / "set"
    (folder / "pictures").mkdir(parents=True)
    (folder / "data.json").write_text(json.dumps([row, row]))
    with pytest.raises(UserError, match="row 1 of .* names the image ../pictures/0.png, which is"):
        read_rows(folder)
    beside = pictures / "elsewhere" / "pictures"
    for place in (folder / "pictures", beside):
        place.mkdir(parents=True, exist_ok=True)
        (place / "0.png").write_bytes((pictures / "0.png").read_bytes())
    found = read_rows(folder)
    assert len(found) == 2
    assert found[0].images == (folder / "pictures" / "0.png",)
    assert found[0].messages[1][1].startswith("<think> that is one </think>")
    (elsewhere, _) = read_rows(folder, beside.parent)
    assert elsewhere.images == (beside / "0.png",)


def test_data_sets_that_llama_factory_describes(pictures, datasets_cache):
    """Source of the form: hiyouga/LLaMA-Factory, data/README.md."""
    turns = [{"from": "human", "value": "what is <image> ?"}, {"from": "gpt", "value": "one ."}]
    ours = [{"role": "user", "content": "what is <image> ?"}, {"role": "ai", "content": "one ."}]
    flat = {"instruction": "what is", "input": "<image> ?", "output": "one .", "history": []}
    (pictures / "default.json").write_text(
        json.dumps([{"conversations": turns, "images": ["0.png"]}])
    )
    (pictures / "sub").mkdir()
    (pictures / "sub" / "tagged.jsonl").write_text(
        json.dumps({"chat": ours, "pictures": ["0.png"], "sys": "that is"})
    )
    (pictures / "alpaca.json").write_text(json.dumps([flat | {"images": ["0.png"]}]))
    about = {
        "default": {"file_name": "default.json", "formatting": "sharegpt"},
        "tagged": {
            "file_name": "sub/tagged.jsonl",
            "formatting": "sharegpt",
            "columns": {"messages": "chat", "images": "pictures", "system": "sys"},
            "tags": {
                "role_tag": "role",
                "content_tag": "content",
                "user_tag": "user",
                "assistant_tag": "ai",
            },
        },
        "alpaca": {"file_name": "alpaca.json"},
        "ranked": {"file_name": "alpaca.json", "ranking": True},
        "nothing": {},
        "wrong": {
            "file_name": "sub/tagged.jsonl",
            "formatting": "sharegpt",
            "columns": {"messages": "chat"},
        },
    }
    info = pictures / "dataset_info.json"
    info.write_text(json.dumps(about))
    expected = (("user", "what is <image> ?"), ("assistant", "one ."))
    for name, before in (("default", ()), ("tagged", (("system", "that is"),)), ("alpaca", ())):
        (row,) = read_rows(f"{info}:{name}")
        said = tuple((role, text.replace("is\n", "is ")) for role, text in row.messages)
        assert said == before + expected, name
        assert row.images == (pictures / "0.png",)  # from the folder of the description
    for name, sentence in (
        ("other", "describes no 'other'; give .*:NAME, of default, tagged"),
        ("ranked", "holds ranked answers"),
        ("nothing", "neither file_name nor hf_hub_url"),
        ("wrong", "row 1 of .*tagged.jsonl has a turn without from and value, or of another role"),
    ):
        with pytest.raises(UserError, match=sentence):
            read_rows(f"{info}:{name}")
    info.write_text(json.dumps({"default": about["default"]}))
    assert len(read_rows(info)) == 1


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"question": "q", "answer": " "}, "row 2 of .* has an empty answer"),
        ({"question": [{"type": "video"}], "answer": "a"}, "role or content is no text"),
        ({"question": "q"}, "row 2 of .* has neither `messages` nor `question` and `answer`"),
        ([1], "row 2 of .* is no JSON object"),
        ({"question": "<image>", "answer": "a"}, "row 2 of .* has 1 <image> marks and 0 images"),
        ({"question": "q", "answer": 5}, "row 2 of .* has a message whose role or content is no"),
        ({"question": "q", "answer": "a", "images": ["x.png"]}, "row 2 .* names the image x.png"),
        ({"question": "q", "answer": "a", "images": [7]}, "an image that is neither a path nor"),
        ({"question": "q", "answer": "<image>", "images": ["0.png"]}, "mark in an answer"),
        ({"messages": [{"role": "user"}]}, "has messages without role and content"),
        ({"messages": [{"role": "user", "content": "q"}]}, "does not end with an answer of the"),
    ],
)
def test_bad_rows_are_named(pictures, row, sentence):
    good = {"question": "q", "answer": "a"}
    with pytest.raises(UserError, match=sentence):
        read_rows(write(pictures, good, row))


def test_bad_files_are_named(tmp_path):
    with pytest.raises(UserError, match="there is no data file"):
        read_rows(tmp_path / "x.jsonl")
    (tmp_path / "x.jsonl").write_text("{")
    with pytest.raises(UserError, match="x.jsonl cannot be read as .jsonl"):
        read_rows(tmp_path / "x.jsonl")
    (tmp_path / "x.jsonl").write_text("\n")
    with pytest.raises(UserError, match="holds no rows"):
        read_rows(tmp_path / "x.jsonl")


def test_a_broken_picture_names_its_row(pictures):
    (pictures / "0.png").write_bytes((pictures / "0.png").read_bytes()[:40])
    rows = read_rows(write(pictures, {"question": "q", "answer": "a", "images": ["0.png"]}))
    processor = tiny.processor("idefics3")
    with pytest.raises(UserError, match="row 1 of .*: the image .*0.png cannot be decoded"):
        encode(rows[0], processor, ends(processor))


# Samples


@pytest.mark.parametrize("images", [["0.png"], ["1.png", "2.png"], []])
def test_a_question_is_encoded_as_it_will_be_asked(kind, pictures, images):
    """Token for token, pixel for pixel what transformers gives for the prompt."""
    processor = tiny.processor(kind)
    text = " and ".join(["what is <image>"] * len(images)) or "what is this"
    row = {"question": text, "answer": "one two .", "images": images}
    (found,) = read_rows(write(pictures, row))
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
    (found,) = read_rows(write(pictures, row))
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
    (row,) = read_rows(write(pictures, {"question": "what ?", "answer": "one ."}))
    sample = encode(row, processor, ends(processor))
    assert learnt(sample, processor) == "one .</s>"


def test_an_answer_in_unknown_letters_is_named(pictures):
    processor = tiny.processor("llava_next")
    (row,) = read_rows(write(pictures, {"question": "où ?", "answer": "one и ."}))
    with pytest.raises(
        UserError, match="row 1 of .* does not know; what it reads is 'one  . </s>'"
    ):
        encode(row, processor, ends(processor))


def test_a_template_that_rewrites_the_question_is_refused(pictures):
    processor = tiny.processor("llava_next")
    processor.chat_template = "{{ messages | length }}" + processor.chat_template
    (row,) = read_rows(write(pictures, {"question": "what ?", "answer": "one ."}))
    with pytest.raises(UserError, match="row 1 of .* renders an answer not as a continuation"):
        stretches(row, processor)


def test_large_pictures_are_made_smaller(pictures):
    Image.new("RGB", (128, 128)).save(pictures / "big.png")
    (row,) = read_rows(write(pictures, {"question": "q", "answer": "one", "images": ["big.png"]}))
    processor = tiny.processor("qwen2_5_vl")
    grids = [
        encode(row, processor, ends(processor), max_pixels=limit)["image_grid_thw"].tolist()
        for limit in (None, 64 * 64)
    ]
    assert grids == [[[1, 8, 8]], [[1, 4, 4]]]


def test_what_does_not_fit_is_left_out_by_name_and_never_cut(family, rows):
    processor = tiny.processor(family)
    per_row = PER_ROW[family]
    raw = read_rows(rows)
    lengths = [len(encode(row, processor, ends(processor), per_row)["input_ids"]) for row in raw]
    limit = sorted(lengths)[len(lengths) // 2]
    samples = Samples(raw, processor, ends(processor), limit, per_row)
    kept = [row.where for row, length in zip(raw, lengths, strict=True) if length <= limit]
    lost = [f"{r.where} ({n} tokens)" for r, n in zip(raw, lengths, strict=True) if n > limit]
    assert [row.where for row in samples.rows] == kept
    assert samples.dropped == lost
    assert max(len(samples[i]["input_ids"]) for i in range(len(samples))) == limit
    with pytest.raises(UserError, match="none of 16 rows fits into 3 tokens"):
        Samples(raw, processor, ends(processor), 3, per_row)


def test_samples_beyond_the_cache_are_made_anew(rows, monkeypatch):
    processor = tiny.processor("idefics3")
    raw = read_rows(rows)
    cached = Samples(raw, processor, ends(processor), 99, True)
    monkeypatch.setattr("drift.training.data.CACHE_BYTES", 10_000)
    mixed = Samples(raw, processor, ends(processor), 99, True)
    assert 0 < len(mixed._cache) < len(raw) == len(cached._cache)
    for i in range(len(raw)):
        assert mixed[i].keys() == cached[i].keys()
        assert all(torch.equal(mixed[i][key], cached[i][key]) for key in mixed[i])


# Batches


def test_a_batch_gives_each_row_the_logits_it_has_alone(models, kind, rows):
    """Pictures of several sizes, two pictures, none: padding changes nothing."""
    folder = models / kind / "vlm"
    processor = tf.AutoProcessor.from_pretrained(folder)
    model = tf.AutoModelForImageTextToText.from_pretrained(folder).eval()
    per_row = PER_ROW[kind]
    samples = Samples(read_rows(rows), processor, ends(processor), 256, per_row)
    chosen = [samples[i] for i in (0, 1, 2, 5)]
    with torch.no_grad():
        together = model(**collate(chosen, 0, per_row)).logits
        for i, sample in enumerate(chosen):
            alone = model(**collate([sample], 0, per_row)).logits[0]
            torch.testing.assert_close(together[i, : len(alone)], alone, rtol=1e-4, atol=1e-5)


def test_padding_is_not_learnt(rows):
    processor = tiny.processor("qwen2_5_vl")
    samples = Samples(read_rows(rows), processor, ends(processor), 256)
    batch = collate([samples[i] for i in range(4)], pad=7)
    outside = batch["attention_mask"] == 0
    assert outside.any()
    assert (batch["labels"][outside] == IGNORED).all()
    assert (batch["input_ids"][outside] == 7).all()
    assert (batch["mm_token_type_ids"][outside] == 0).all()
    assert batch["input_ids"].shape == batch["labels"].shape == batch["attention_mask"].shape
