import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from common import progress
from common.progress import Bar, counted, reading, working


def test_reading_a_small_file_is_silent_and_a_large_one_says_so(capsys):
    with reading("reading a", 10) as moved:
        moved(10)
    assert capsys.readouterr().err == ""
    with reading("reading a", 2 << 30) as moved:
        moved(2 << 30)
    assert capsys.readouterr().err == "reading a (2.1 GB)\n"


def test_reading_a_large_file_moves_a_bar_on_a_terminal(clock, screen, monkeypatch):
    monkeypatch.setattr("sys.stderr", screen)
    with reading("reading [/] a", 2 << 30) as moved:
        moved(1 << 29)
        assert screen.getvalue() == ""
        clock.now = 3.0
        moved(1 << 29)
    assert "reading [/] a" in screen.getvalue()
    assert "1.1/2.1 GB" in screen.getvalue()


def test_work_that_takes_long_says_once_what_it_does(capsys, monkeypatch):
    with working("looking"):
        pass
    assert capsys.readouterr().err == "", "what is over at once is not told"
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.01)
    with working("looking") as say:
        time.sleep(0.2)
        say("drawing")
        time.sleep(0.2)
    assert capsys.readouterr().err == "looking …\ndrawing …\n"


def test_work_within_work_is_told_by_the_outer_one(capsys, monkeypatch):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.01)
    with working("reading runs") as outer:
        with working("reading a") as say:
            time.sleep(0.2)
            assert say is outer
        time.sleep(0.2)
    with working("comparing"):
        time.sleep(0.2)
    assert capsys.readouterr().err == "reading a …\ncomparing …\n"


def test_work_that_takes_minutes_is_told_again_each_minute(capsys, monkeypatch):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.01)
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0.1)
    with working("looking"):
        time.sleep(0.5)
    assert 2 <= capsys.readouterr().err.count("looking …\n") <= 6


@pytest.mark.parametrize("redirected", [False, True])
def test_a_terminal_shows_work_and_output_that_goes_elsewhere_stays_there(
    redirected, screen, capsys, monkeypatch
):
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.01)
    with working("looking"):
        time.sleep(0.3)
        if redirected:
            print("found")
    assert "looking" in screen.getvalue() and "found" not in screen.getvalue()
    assert capsys.readouterr().out == ("found\n" if redirected else "")


def test_a_bar_shows_itself_before_anything_is_done(capsys, screen, monkeypatch):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.01)
    with Bar("training", 100):
        time.sleep(0.3)
    assert capsys.readouterr().err == "training: 0/100  …\n"
    monkeypatch.setattr("sys.stderr", screen)
    with Bar("training", 100):
        time.sleep(0.3)
    assert "training" in screen.getvalue() and "0/100" in screen.getvalue()


def test_items_are_passed_on_and_counted(clock, capsys):
    found = []
    for item in counted("grading", "abc", 3):
        found.append(item)
        clock.now += 40.0
    assert found == ["a", "b", "c"]
    assert capsys.readouterr().err == "grading: 3/3  eta 0:00:00\n"


def test_what_was_done_before_does_not_count_for_the_rate(clock, capsys):
    bar = Bar("training", 100, done=90)
    clock.now = 80.0
    bar.add(2)
    assert capsys.readouterr().err == "training: 92/100  eta 0:05:20\n"


def test_threads_count_together(clock, capsys):
    bar = Bar("reading", 8000)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: [bar.add() for _ in range(1000)], range(8)))
    clock.now = 61.0
    bar.add(0)
    assert capsys.readouterr().err.startswith("reading: 8000/8000")
