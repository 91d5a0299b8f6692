"""Who may write a run folder, told by processes that really hold it."""

import multiprocessing
import os
from contextlib import suppress

import pytest

from common.errors import UserError
from harness.runs import locks
from harness.runs.locks import Busy, locked, shared

SPAWN = multiprocessing.get_context("spawn")


def _hold(folder, how, arguments, line):
    with getattr(locks, how)(folder, *arguments[0], **arguments[1]):
        line.send("held")
        line.poll(20)


class Holder:
    """Another process that holds a lock while it is entered."""

    def __init__(self, folder, how, *words, **settings):
        # A pipe, not an event: setting one waits for who waits for it, even if that was killed.
        self.line, other = SPAWN.Pipe()
        self.process = SPAWN.Process(target=_hold, args=(folder, how, (words, settings), other))

    def __enter__(self):
        self.process.start()
        assert self.line.poll(30)
        self.line.recv()
        return self.process

    def release(self):
        with suppress(OSError):  # it has ended
            self.line.send("release")

    def __exit__(self, *_):
        self.release()
        self.process.join()


def test_a_second_writer_is_told_who_the_first_is(tmp_path):
    with Holder(tmp_path, "locked") as other:
        with pytest.raises(Busy) as error, locked(tmp_path):
            pass
        assert str(error.value) == (
            f"{tmp_path} is being written by process {other.pid}: wait for it, or choose another "
            "--out"
        )
        # A shard does not wait for a run that may take hours.
        with pytest.raises(Busy, match=f"process {other.pid}"), shared(tmp_path):
            pass
    with locked(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    assert list(tmp_path.iterdir()) == []


def test_who_holds_it_on_another_machine_is_told_with_the_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(locks.socket, "gethostname", lambda: "elsewhere")
    with locked(tmp_path):
        monkeypatch.undo()
        with pytest.raises(Busy, match=f"process {os.getpid()} on elsewhere"), locked(tmp_path):
            pass


def test_a_lock_left_by_a_killed_process_does_not_hold(tmp_path):
    (tmp_path / ".lock").write_text("99999")
    with locked(tmp_path):
        pass
    with Holder(tmp_path, "locked") as other:
        other.kill()
        other.join()
        with locked(tmp_path):
            pass


def test_a_link_in_the_place_of_a_lock_harms_nobody(tmp_path):
    victim, run = tmp_path / "victim", tmp_path / "run"
    run.mkdir()
    victim.write_text("mine")
    (run / ".lock").symlink_to(victim)
    for lock in (locked, shared):
        with pytest.raises(UserError, match=".lock is a link"), lock(run):
            pass
    assert victim.read_text() == "mine"


def test_shards_are_side_by_side_and_nobody_else_is(tmp_path):
    with Holder(tmp_path, "shared"), shared(tmp_path):
        with pytest.raises(Busy), locked(tmp_path):
            pass
    # The last to leave takes the file away, whoever it is.
    assert list(tmp_path.iterdir()) == []


def test_the_same_shard_is_refused_and_another_is_not(tmp_path):
    with Holder(tmp_path, "locked", "1of2") as other:
        with pytest.raises(Busy) as error, locked(tmp_path, "1of2"):
            pass
        assert str(error.value).startswith(
            f"{tmp_path} (shard 1of2) is being written by process {other.pid}"
        )
        with locked(tmp_path, "2of2"):
            pass


def test_a_shard_waits_for_who_holds_it_but_for_a_moment(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(locks, "SILENT_SECONDS", 0.1)
    holder = Holder(tmp_path, "locked", brief=True)
    with holder as other:
        waited = []

        def sleep(seconds):
            waited.append(seconds)
            if len(waited) == 20:
                holder.line.close()
            real(seconds)

        real = locks.time.sleep
        monkeypatch.setattr(locks.time, "sleep", sleep)
        with shared(tmp_path):
            assert len(waited) >= 20
        assert f"waiting for process {other.pid}" in capsys.readouterr().err
