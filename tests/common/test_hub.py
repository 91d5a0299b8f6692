import pytest

from common.errors import UserError
from common.hub import link, local

COMMIT = "a" * 40


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No network, and a cache as huggingface_hub lays it out."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    for kind in ("models", "datasets"):
        repo = tmp_path / "cache" / f"{kind}--owner--name"
        (repo / "snapshots" / COMMIT).mkdir(parents=True)
        (repo / "snapshots" / COMMIT / "config.json").write_text("{}")
        (repo / "refs").mkdir()
        (repo / "refs" / "main").write_text(COMMIT)
    return tmp_path / "cache"


def test_what_is_here_is_taken_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert str(local("owner/name")) == "owner/name"
    for word in ("nowhere", "/no/where", "rows/train.jsonl"):  # no names of the hub
        assert str(local(word)) == word


@pytest.mark.parametrize("kind", ["model", "dataset"])
@pytest.mark.parametrize("revision", ["", "@main", f"@{COMMIT}"])
def test_a_name_of_the_hub_is_the_folder_of_its_commit(offline, kind, revision):
    found = local(f"owner/name{revision}", kind)
    assert found == offline / f"{kind}s--owner--name" / "snapshots" / COMMIT


@pytest.mark.parametrize("place", ["owner/other", "owner/name@v2"])
def test_offline_is_one_sentence(offline, place):
    with pytest.raises(UserError, match=f"no folder {place}, and it cannot be fetched.*go online"):
        local(place)


@pytest.mark.parametrize("place", ["owner/name", "here"])
def test_a_link_leads_to_the_hubs_folder_or_to_one_that_is_here(offline, tmp_path, place):
    (tmp_path / "here").mkdir()
    place = place if place == "owner/name" else str(tmp_path / place)
    where = tmp_path / "study" / "models" / "vlm"
    for _ in range(2):  # laid again it is the same
        assert link(place, where) == where.resolve() == local(place).resolve()
    assert [one.name for one in where.parent.iterdir()] == ["vlm"]


def test_a_link_takes_nobodys_place(offline, tmp_path):
    (tmp_path / "thesis").mkdir()
    with pytest.raises(UserError, match="thesis exists and is no link"):
        link("owner/name", tmp_path / "thesis")
    with pytest.raises(UserError, match="there is no nowhere: give a folder, or owner/name"):
        link("nowhere", tmp_path / "vlm")
    assert not (tmp_path / "vlm").is_symlink()
