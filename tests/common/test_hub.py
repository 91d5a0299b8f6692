"""A place is what lies here, else what the hub gives; each refusal says what it is."""

from pathlib import Path

import pytest
from fakehub import GATED, Fault

from common import hub as room
from common.errors import UserError
from common.hub import commit, fetch, link, local


@pytest.fixture
def model(hub):
    """A model with what stands beside its weights on the hub."""
    folder = hub.folder("owner/name")
    for name in (
        "config.json", "model.safetensors", "merges.txt", "README.md", "pytorch_model.bin",
        "consolidated.safetensors", "onnx/model.safetensors", "original/params.json",
        "additional_chat_templates/tool.jinja",
    ):  # fmt: skip
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"{{}} {name}")
    return folder


def test_what_is_here_is_taken_as_it_is(tmp_path, monkeypatch, hub):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert local("owner/name") == Path("owner/name")
    for word in ("nowhere", "/no/where", "rows/train.jsonl", "owner/nane"):  # none of the hub's
        with pytest.raises(UserError, match=f"there is no {word}.*: .*owner/name on the hub"):
            local(word, "dataset")
    with pytest.raises(UserError, match=r"owner/nane \(owner is a .* here\): did you mean name\?"):
        local("owner/nane")
    assert not hub.requests


@pytest.mark.parametrize("kind", ["model", "dataset"])
@pytest.mark.parametrize("revision", ["", "@main", "@commit"])
def test_a_name_of_the_hub_is_the_folder_of_its_commit(hub, tmp_path, kind, revision):
    (hub.folder("owner/name", f"{kind}s") / "config.json").write_text("{}")
    at = hub.commit("owner/name", f"{kind}s")
    found = local(f"owner/name{revision.replace('commit', at)}", kind)
    assert found == tmp_path / "hub-cache" / f"{kind}s--owner--name" / "snapshots" / at
    assert (found / "config.json").read_text() == "{}"


def test_of_a_model_only_what_is_read_is_fetched(hub, model):
    local("owner/name")
    assert hub.fetched() == [
        "additional_chat_templates/tool.jinja", "config.json", "merges.txt", "model.safetensors",
    ]  # fmt: skip


def test_of_a_data_set_what_is_wanted(hub):
    folder = hub.folder("owner/rows", "datasets")
    for name in ("a/test-0.parquet", "a/train-0.parquet", "test-0.parquet"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    found = fetch("owner/rows", "dataset", only=["a/test-*.parquet"])
    assert hub.fetched() == ["a/test-0.parquet"]
    assert (found / "a" / "test-0.parquet").read_text() == "a/test-0.parquet"


def test_a_copy_in_the_cache_is_enough_when_the_hub_does_not_answer(hub, model, monkeypatch):
    found = local("owner/name")
    for fault in (Fault(503), Fault(429), GATED):
        hub.faults["owner/name"] = fault
        assert local("owner/name") == found
        assert commit("owner/name") == found.name
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert local("owner/name") == found
    assert commit("owner/name") == found.name
    (found / "model.safetensors").unlink()
    with pytest.raises(UserError, match="cannot be reached"):
        local("owner/name")


def test_a_commit_is_asked_of_the_hub_only_where_none_is_given(hub, model):
    assert commit("owner/name", revision="a" * 40) == "a" * 40
    assert not hub.requests
    assert commit("owner/name") == commit("owner/name", revision="main") == hub.commit("owner/name")
    assert commit("owner/other") is None


REFUSALS = {
    "gated": (GATED, "is gated: accept the terms at http://127.0.0.1.*/owner/name, and log in"),
    "no such": (Fault(401, "RepoNotFound"), "the hub has no public {noun} owner/name "),
    "no such revision": (Fault(404, "RevisionNotFound"), "the hub's {noun} .* no revision v2"),
    "busy": (Fault(429), r"the hub has too many requests \(429\): try later"),
    "down": (Fault(503), r"the hub is out of order \(503\): try later"),
    "forbidden": (Fault(403), "the hub refuses the {noun} owner/name"),
}


@pytest.mark.parametrize(("kind", "noun"), [("model", "model"), ("dataset", "data set")])
@pytest.mark.parametrize(("fault", "sentence"), REFUSALS.values(), ids=REFUSALS)
def test_each_refusal_is_said_as_what_it_is(hub, fault, sentence, kind, noun):
    hub.faults["owner/name"] = fault
    with pytest.raises(UserError) as error:
        local("owner/name@v2", kind)
    error.match("there is no folder owner/name@v2, and .*" + sentence.format(noun=noun))
    assert "\n" not in str(error.value) and "offline" not in str(error.value)


def test_terms_that_stand_before_the_files_alone_are_told_too(hub, model, monkeypatch):
    def refuse(*_, **__):
        hub.faults["owner/name"] = GATED

    monkeypatch.setattr(room, "_check_room", refuse)
    with pytest.raises(UserError, match=r"is gated: accept the terms"):
        local("owner/name")


def test_only_a_hub_that_cannot_be_reached_is_offline(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"no folder owner/name, and .*ConnectError\): go online"):
        local("owner/name")
    with pytest.raises(UserError, match="the hub takes no such name"):
        local("owner/na--me..x")


def test_a_download_that_breaks_off_is_one_sentence(hub, model, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    hub.faults["owner/name"] = Fault(cut=True)
    with pytest.raises(UserError, match="model owner/name broke off .* same command goes on"):
        local("owner/name")
    del hub.faults["owner/name"]
    assert (local("owner/name") / "model.safetensors").read_text() == "{} model.safetensors"


def test_a_disk_without_room_is_told_before_anything_is_fetched(hub, model, monkeypatch, tmp_path):
    local("owner/name")
    monkeypatch.setattr(room, "free_bytes", lambda place: 0)
    assert local("owner/name")  # all of it is there
    (model / "model.safetensors").write_text("another one")
    hub.requests.clear()
    with pytest.raises(UserError, match=f"takes 0.0 GiB more, and {tmp_path}/hub-cache .*HF_HOME"):
        local("owner/name")
    assert not hub.fetched()


def test_a_cache_that_cannot_be_written_is_one_sentence(hub, model, tmp_path):
    (tmp_path / "hub-cache").write_text("a file")
    with pytest.raises(UserError, match="hub-cache cannot take the model owner/name: "):
        local("owner/name")


@pytest.mark.parametrize("place", ["owner/name", "here"])
def test_a_link_leads_to_the_hubs_folder_or_to_one_that_is_here(hub, model, tmp_path, place):
    (tmp_path / "here").mkdir()
    place = place if place == "owner/name" else str(tmp_path / place)
    where = tmp_path / "study" / "models" / "vlm"
    for _ in range(2):  # laid again it is the same
        assert link(place, where) == where.resolve() == local(place).resolve()
    assert [one.name for one in where.parent.iterdir()] == ["vlm"]


def test_a_link_takes_nobodys_place(hub, model, tmp_path):
    (tmp_path / "thesis").mkdir()
    with pytest.raises(UserError, match="thesis exists and is no link"):
        link("owner/name", tmp_path / "thesis")
    with pytest.raises(UserError, match="there is no nowhere: give a folder, or owner/name"):
        link("nowhere", tmp_path / "vlm")
    assert not (tmp_path / "vlm").is_symlink()
