import json
import os
import stat
from pathlib import Path

import pytest

from common import files
from common.errors import UserError
from common.files import Stamped, written_aside


def test_a_folder_appears_complete_or_not_at_all(tmp_path):
    out = tmp_path / "deep" / "out"
    with pytest.raises(RuntimeError), written_aside(out) as aside:
        (aside / "half").write_text("x")
        assert not out.exists()
        raise RuntimeError
    assert list(out.parent.iterdir()) == []
    with written_aside(out) as aside:
        (aside / "whole").write_text("1")
    with pytest.raises(UserError, match="is already there; give another --out or add --overwrite"):
        with written_aside(out, overwrite=False):
            pass
    with written_aside(out, overwrite=True) as aside:
        (aside / "new").write_text("2")
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert [path.name for path in out.iterdir()] == ["new"]


@pytest.mark.parametrize("place", [".", "", "/"])
def test_what_has_no_name_is_refused_in_a_sentence(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="by its name|already there"):
        files.refuse_existing(Path(place))
    with pytest.raises(UserError, match=f"renamed to {Path(place)}: give a file or folder by its"):
        files.write_whole(Path(place), b"")
    assert not list(tmp_path.iterdir())


def test_a_file_appears_complete_or_not_at_all(tmp_path):
    path = tmp_path / "out.json"
    files.write_whole(path, b"old")
    with pytest.raises(RuntimeError), files.replaced(path) as aside:
        aside.write_text("half")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    with files.replaced(path) as aside:
        aside.write_text("new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["out.json"]
    with pytest.raises(UserError, match="nowhere/x cannot be written: No such file or directory"):
        files.write_whole(tmp_path / "nowhere" / "x", b"")
    os.umask(before := os.umask(0))
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~before


def test_two_that_write_the_same_at_once_are_not_in_each_others_way(tmp_path):
    """As two processes of one number do, in containers on a shared folder."""
    path, out = tmp_path / "a.png", tmp_path / "out"
    with files.replaced(path) as first, files.replaced(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"
    with written_aside(out, overwrite=True) as first:
        (first / "first").write_text("")
        with written_aside(out, overwrite=True) as second:
            (second / "second").write_text("")
        assert os.listdir(out) == ["second"]
    assert os.listdir(out) == ["first"]
    assert sorted(os.listdir(tmp_path)) == ["a.png", "out"]


def test_nothing_is_written_through_a_link(tmp_path, monkeypatch):
    victim, link = tmp_path / "victim", tmp_path / "link"
    victim.write_text("mine")
    link.symlink_to(victim)
    for mode in ("w", "ab", "rb+"):
        with pytest.raises(UserError, match="link is a link, which nothing is written through"):
            open(link, mode, opener=files.unlinked)
    # What was laid where a file is written aside is not followed, and a link itself is replaced.
    laid = tmp_path / ".link.6c696e6b.partial"
    laid.symlink_to(victim)
    with monkeypatch.context() as patch, pytest.raises(UserError, match="cannot be written: File"):
        patch.setattr(os, "urandom", lambda size: b"link")
        files.write_whole(link, b"new")
    files.write_whole(link, b"new")
    assert (link.read_bytes(), link.is_symlink()) == (b"new", False)
    other = tmp_path / "other"
    other.mkdir()
    (other / "kept").write_text("mine")
    (tmp_path / "folder").symlink_to(other)
    with pytest.raises(UserError, match="folder is a link or a file, where a folder is written"):
        files.own_folder(tmp_path / "folder")
    with written_aside(tmp_path / "folder", overwrite=True) as aside:
        (aside / "new").write_text("")
    files.clear(tmp_path / "folder")
    assert victim.read_text() == "mine"
    assert os.listdir(other) == ["kept"]


def test_clearing_takes_what_a_killed_writer_left(tmp_path):
    for name in ("out", ".out.1.partial", ".out.2.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text("")
    (tmp_path / ".out.3.partial").write_text("")
    (tmp_path / "outer").write_text("")
    files.clear(tmp_path / "out")
    assert os.listdir(tmp_path) == ["outer"]
    files.clear(tmp_path / "nowhere")


def test_what_was_found_out_holds_until_the_file_is_touched(tmp_path):
    path, place = tmp_path / "a", tmp_path / "cache" / "kept.json"
    path.write_text("one")
    read = []

    def size(of):
        read.append(of.name)
        return len(of.read_text())

    def found():
        kept = Stamped(place)
        value = kept.of(path, size)
        kept.save()
        return value

    assert [found(), found()] == [3, 3]
    assert read == ["a"]
    status = path.stat()
    path.write_text("two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (found(), read) == (3, ["a", "a"])
    for broken in ("{", "[]", '{"a": 1}', json.dumps({str(path): [[1, 2], 3, 4]})):
        place.write_text(broken)
        found()
    assert len(read) == 6
    # A cache that cannot be written costs time, nothing else.
    place.unlink()
    place.parent.rmdir()
    place.parent.write_text("a file, where a folder should be")
    assert found() == 3
