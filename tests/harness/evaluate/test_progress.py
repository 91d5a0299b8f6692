import graded

from harness.evaluate.progress import Progress


def step(bar, how="rule"):
    bar.step(graded.response(tokens_out=20), how)


def test_elsewhere_than_on_a_terminal_a_line_comes_now_and_then(clock, capsys):
    with Progress("vlm", 100) as bar:
        step(bar)
        clock.now = 40.0
        step(bar, "unparsed")
        assert capsys.readouterr().err == ""
        clock.now = 80.0
        step(bar, "truncated")
        step(bar)
    assert capsys.readouterr().err == (
        "vlm: 3/100  0.0/s  1 tokens/s  1 unparsed  1 truncated  eta 0:43:07\n"
    )


def test_a_terminal_shows_nothing_in_the_first_two_seconds(clock, screen, monkeypatch):
    monkeypatch.setattr("sys.stderr", screen)
    with Progress("vlm", 3) as bar:
        clock.now = 1.0
        step(bar)
        assert screen.getvalue() == ""
        clock.now = 3.0
        step(bar, "unparsed")
    assert "2/3" in screen.getvalue()
    assert "1 unparsed" in screen.getvalue()
