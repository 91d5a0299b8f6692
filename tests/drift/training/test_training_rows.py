import base64
import io
import json
from dataclasses import replace

import pytest
from PIL import Image
from tiny_models import write_rows

from common.errors import UserError
from drift.training.forms import Turn
from drift.training.rows import read_rows

ASKED = Turn("user", "what is <image> ?")
SAID = Turn("assistant", "one .", learnt=True)


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


# Forms


def _data_url(folder, name):
    return "data:image/png;base64," + base64.b64encode((folder / name).read_bytes()).decode()


def forms(folder):
    """One conversation in each form: name → row."""
    image, said = {"images": ["0.png"]}, "one ."
    text, mark = "what is <image> ?", {"type": "image"}
    parts = [{"type": "text", "text": "what is "}, mark, {"type": "text", "text": " ?"}]

    def around(part):
        return {"messages": [user([parts[0], part, parts[2]]), assistant(said)]}

    raw = base64.b64encode((folder / "0.png").read_bytes()).decode()
    url = {"url": _data_url(folder, "0.png"), "detail": "auto"}
    return {
        "messages": {"messages": [user(text), assistant(said)], **image},
        "question": {"question": text, "answer": said, **image},
        "llava": {
            "id": "000",
            "image": "0.png",
            "conversations": [{"from": "human", "value": text}, {"from": "gpt", "value": said}],
        },
        "sharegpt, roles of openai": {"conversations": [user(text), assistant(said)], **image},
        "prompt": {"prompt": text, "completion": said, **image},
        "prompt of turns": {"prompt": [user(text)], "completion": [assistant(said)], **image},
        "prompt of parts": {"prompt": [user(parts)], "completion": said, **image},
        "alpaca": {"instruction": text, "input": "", "output": said, **image},
        "parts": {"messages": [user(parts), assistant([{"type": "text", "text": said}])], **image},
        "part with a path": around({"type": "image", "image": "0.png"}),
        "part with base64": around({"type": "image", "base64": raw}),
        "part with a data URL": around({"type": "image_url", "image_url": url}),
        "part with a bare data URL": around({"type": "image_url", "image_url": url["url"]}),
        "picture as base64": {"question": text, "answer": said, "image": raw},
        "picture with a path": {"question": text, "answer": said, "image": {"path": "0.png"}},
        "empty fields": {"question": text, "answer": said, "tools": [], "videos": None, **image},
    }


FORMS = (
    "messages", "question", "llava", "sharegpt, roles of openai", "prompt", "prompt of turns",
    "prompt of parts", "alpaca", "parts", "part with a path", "part with base64",
    "part with a data URL", "part with a bare data URL", "picture as base64",
    "picture with a path", "empty fields",
)  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_each_form_says_the_same(pictures, name):
    assert set(forms(pictures)) == set(FORMS)
    (found,) = read_rows(write_rows(pictures, forms(pictures)[name]))
    assert found.turns == (ASKED, SAID)
    content = (pictures / "0.png").read_bytes()
    (image,) = found.images
    assert image in (pictures / "0.png", content)
    assert found.where == f"row 1 of {pictures / 'rows.jsonl'}"
    assert found.labels == (("id",) if name == "llava" else ())


def test_the_loss_is_on_the_turns_that_say_so(pictures):
    def turns(**flags):
        return [user("a"), assistant("b", **flags), user("c"), assistant("d")]

    rows = read_rows(
        write_rows(
            pictures,
            {"messages": turns()},
            {"messages": turns(loss=False)},
            {"messages": turns(weight=0)},
            {"messages": turns(weight=1)},
            {"prompt": turns()[:3], "completion": [turns()[3]]},  # TRL: on the completion alone
        )
    )
    learnt = [tuple(turn.learnt for turn in row.turns) for row in rows]
    first = (False, True, False, True)
    assert learnt == [first, (False, False, False, True), (False, False, False, True), first,
                      (False, False, False, True)]  # fmt: skip


def test_thoughts_and_systems_are_kept(pictures):
    rows = read_rows(
        write_rows(
            pictures,
            {"messages": [user("a"), assistant("b", reasoning_content="so")], "system": "s"},
            {"messages": [user("a"), assistant("b", thinking="so", reasoning_content=None)]},
            {"messages": [{"role": "system", "content": "s"}, user("a"), assistant("b")]},
        )
    )
    answer = Turn("assistant", "b", "so", learnt=True)
    assert rows[0].turns == (Turn("system", "s"), Turn("user", "a"), answer)
    assert rows[1].turns == (Turn("user", "a"), answer)
    assert rows[2].turns == (
        Turn("system", "s"),
        Turn("user", "a"),
        Turn("assistant", "b", "", True),
    )


def test_lines_end_at_line_feeds_alone(tmp_path):
    text = "a\u2028b\u2029c\u0085d"
    row = {"question": text, "answer": "one ."}
    line = json.dumps(row, ensure_ascii=False)
    assert text in line
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + f"{line}\r\n\n{line}".encode())
    assert [row.turns[0].text for row in read_rows(path)] == [text, text]
    path = tmp_path / "rows.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps([row]).encode())
    assert read_rows(path)[0].turns[0].text == text
    path.write_bytes(json.dumps([row]).encode("utf-16"))
    with pytest.raises(UserError, match="rows.json cannot be read as .json .*utf-8"):
        read_rows(path)


# Files


def test_pictures_without_marks_come_first(pictures):
    row = {"question": "what ?", "answer": "one .", "images": ["0.png", "1.png"]}
    (found,) = read_rows(write_rows(pictures, row))
    assert found.turns[0].text == "<image><image>what ?"


def test_json_and_parquet_hold_the_same_rows(pictures):
    import pandas as pd

    row = {"question": "what <image> ?", "answer": "one .", "images": ["1.png"]}
    (expected,) = read_rows(write_rows(pictures, row))
    (pictures / "rows.json").write_text(json.dumps([row]))
    pd.DataFrame([row]).to_parquet(pictures / "rows.parquet")
    raw = (pictures / "1.png").read_bytes()
    held = {"bytes": {"bytes": raw, "path": None}, "raw": raw,
            "base64": base64.b64encode(raw).decode()}  # fmt: skip
    for name, cell in held.items():
        pd.DataFrame([{**row, "images": [cell]}]).to_parquet(pictures / f"{name}.parquet")
    for name in ("rows.json", "rows.parquet", *(f"{name}.parquet" for name in held)):
        (found,) = read_rows(pictures / name)
        assert found.turns == expected.turns
        assert found.images == (raw,) or found.images == expected.images
    assert found.images == (raw,)


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
    assert [row.turns[1].text for row in found] == ["0 .", "1 ."]
    assert found[1].where == f"row 2 of {folder} (train)"
    assert Image.open(io.BytesIO(found[1].images[0])).size == (32, 16)
    (other,) = read_rows(f"{folder}:test")
    assert other.turns[1].text == "2 ."
    with pytest.raises(UserError, match="set cannot be read as a data set .*valid"):
        read_rows(f"{folder}:valid")


def test_the_layout_of_drift_tl_distill(pictures):
    """ChaoHuangCS/DRIFT-TL-Distill-4K and how the authors' dataset_info.json describes it.

    Paths of pictures begin beside the folder of the data set, by its name on the hub; the folder of
    a snapshot is called after its commit. There are more pictures than files of rows.
    """
    row = {
        "messages": [
            user("<image>what is this ?"),
            assistant("<think> that is one </think> \\boxed{one}"),
        ],
        "images": ["../DRIFT-TL-Distill-4K/images/0.png"],
    }
    folder = pictures / "snapshots" / "0123abc"
    (folder / "images").mkdir(parents=True)
    (folder / "train.json").write_text(json.dumps([row, row]))
    (folder / "README.md").write_text("# data")
    with pytest.raises(UserError, match="row 1 .* names the image ../DRIFT-TL-Distill-4K/images/0"):
        read_rows(folder)
    beside = pictures / "elsewhere" / "DRIFT-TL-Distill-4K" / "images"
    for place in (folder / "images", beside):
        place.mkdir(parents=True, exist_ok=True)
        for i in range(3):
            (place / f"{i}.png").write_bytes((pictures / "0.png").read_bytes())
    about = {
        "file_name": "train.json",
        "formatting": "sharegpt",
        "columns": {"messages": "messages", "images": "images"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
        },
    }
    (folder / "dataset_info.json").write_text(json.dumps({"drift_tl_distill_4k": about}))
    for place in (folder, folder / "train.json", folder / "dataset_info.json"):
        found = read_rows(place)
        assert len(found) == 2
        assert found[0].images == (folder / "images" / "0.png",)
        assert found[0].turns[1].text == "<think> that is one </think> \\boxed{one}"
        assert found[0].turns[1].learnt
    (elsewhere, _) = read_rows(folder, beside.parent.parent)
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
        "outside": {"file_name": "../rows.json"},
        "wrong": {
            "file_name": "sub/tagged.jsonl",
            "formatting": "sharegpt",
            "columns": {"messages": "chat"},
        },
    }
    info = pictures / "dataset_info.json"
    info.write_text(json.dumps(about))
    for name, before in (("default", ()), ("tagged", (Turn("system", "that is"),)), ("alpaca", ())):
        (row,) = read_rows(f"{info}:{name}")
        said = tuple(replace(turn, text=turn.text.replace("is\n", "is ")) for turn in row.turns)
        assert said == (*before, ASKED, SAID), name
        assert row.images == (pictures / "0.png",)  # from the folder of the description
    for name, sentence in (
        ("other", "describes no 'other'; give .*:NAME, of default, tagged"),
        ("ranked", "holds ranked answers"),
        ("outside", "names .*rows.json, which lies outside the folder"),
        ("nothing", "neither file_name nor hf_hub_url"),
        ("wrong", "row 1 of .*tagged.jsonl has a turn without from and value, or of another role"),
    ):
        with pytest.raises(UserError, match=sentence):
            read_rows(f"{info}:{name}")
    info.write_text(json.dumps({"default": about["default"]}))
    assert len(read_rows(info)) == 1


SO = [user("q"), assistant("a")]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"question": "q", "answer": " "}, "row 2 of .* has an empty answer"),
        ({"question": [{"type": "video"}], "answer": "a"}, "a part of content of the type 'video'"),
        ({"question": "q"}, "row 2 of .* has neither `messages`, or .*`question` and `answer`"),
        ([1], "row 2 of .* is no JSON object"),
        ({"question": "<image>", "answer": "a"}, "row 2 of .* has 1 <image> marks and 0 images"),
        ({"question": "q", "answer": 5}, "row 2 of .* has a turn whose content is no text"),
        ({"question": "q", "answer": "a", "images": ["x.png"]}, "row 2 .* names the image x.png"),
        ({"question": "q", "answer": "a", "images": [7]}, "an image that is neither a path nor"),
        ({"question": "q", "answer": "<image>", "images": ["0.png"]}, "mark in an answer"),
        ({"messages": [{"role": "user"}]}, "has a turn whose content is no text"),
        ({"messages": [user("q")]}, "does not end with an answer of the"),
        ({"messages": "q"}, "has turns that are no list"),
        ({"messages": ["q"]}, "a turn that is no object with role and content"),
        ({"messages": [user(["q"]), SO[1]]}, "a part of content that is no object with a type"),
        ({"messages": [user([{"type": "text"}]), SO[1]]}, "a part of content whose text is no"),
        ({"instruction": 5, "output": "a"}, "has an instruction or input that is no text"),
        ({"instruction": "q", "output": "a", "history": "x"}, "a history that is no list of pairs"),
        # What would be dropped is refused by name.
        ({"messages": SO, "tools": ["t"]}, "a field that training has no use for, tools; remove"),
        ({"messages": SO, "videos": ["v"], "kto_tag": True}, "no use for, videos and kto_tag"),
        ({"messages": SO, "conversations": SO}, "no use for, conversations"),
        ({"messages": SO, "image": "0.png", "images": ["0.png"]}, "no use for, image"),
        ({"messages": [SO[0], assistant("a", tool_calls=[{"id": 1}])]}, "no use for, tool_calls"),
        ({"messages": [SO[0], assistant("a", thinking="x", reasoning="y")]}, "for, reasoning;"),
        ({"messages": [{**SO[0], "value": "x"}, SO[1]]}, "no use for, value"),
        ({"messages": [{"role": "tool", "content": "x"}, *SO]}, "a turn of the role 'tool'; known"),
        ({"messages": [{"content": "x"}, *SO]}, "a turn of the role None"),
        ({"messages": [{"role": "system", "content": "s"}, *SO], "system": "t"}, "both the field"),
        ({"messages": [user("<video> q"), SO[1]]}, "has <video> in a turn"),
        ({"messages": [user([{"type": "text", "text": "q", "at": 5}]), SO[1]]}, "no use for, at"),
        # The loss.
        ({"messages": [SO[0], assistant("a", weight=0.5)]}, "the weight 0.5; give 1 .* or 0"),
        ({"messages": [SO[0], assistant("a", loss="no")]}, "the loss 'no'; give 1"),
        ({"messages": [SO[0], assistant("a", loss=False)]}, "has no answer that is learnt"),
        ({"messages": [{**SO[0], "loss": True}, SO[1]]}, "has a loss at a turn of the user"),
        ({"messages": [{**SO[0], "thinking": "x"}, SO[1]]}, "has a thought at a turn of the user"),
        ({"messages": [SO[0], assistant("a", thinking=["x"])]}, "has a thought that is no text"),
        # Pictures.
        ({"question": "q", "answer": "a", "image": "https://x.org/a"}, "an image by URL .*save"),
        ({"question": "q", "answer": "a", "image": "data:image/png,x"}, "URL holds no base64"),
        ({"question": "q", "answer": "a", "image": "data:image/png;base64,%"}, "holds no base64"),
        ({"question": "q", "answer": "a", "image": "Qk" * 20000}, "the image (Qk){40}…, which is"),
        (
            {"messages": [user([{"type": "image", "image": "0.png"}]), SO[1]], "images": ["1.png"]},
            "pictures in its content and others in images",
        ),
        (
            {"messages": [user([{"type": "image_url", "image_url": "x", "detail": "low"}])]},
            "a part of content with the field that training has no use for, detail",
        ),
    ],
)  # fmt: skip
def test_bad_rows_are_named_and_left_out_on_demand(pictures, row, sentence):
    place = write_rows(pictures, {"question": "q", "answer": "a"}, row)
    with pytest.raises(UserError, match=sentence) as told:
        read_rows(place)
    assert len(str(told.value)) < 700 + len(str(pictures))
    bad = []
    assert [row.where for row in read_rows(place, bad=bad)] == [f"row 1 of {place}"]
    assert bad == [str(told.value)]


def test_bad_files_are_named(tmp_path):
    with pytest.raises(UserError, match="there is no data file"):
        read_rows(tmp_path / "x.jsonl")
    (tmp_path / "x.jsonl").write_text('{"question": "q", "answer": "a"}\n{')
    with pytest.raises(UserError, match="row 2 of .*x.jsonl is no JSON .Expecting"):
        read_rows(tmp_path / "x.jsonl")
    (tmp_path / "x.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="x.json cannot be read as .json .*recursion"):
        read_rows(tmp_path / "x.json")
    (tmp_path / "x.jsonl").write_text("\n")
    with pytest.raises(UserError, match="holds no rows"):
        read_rows(tmp_path / "x.jsonl")
