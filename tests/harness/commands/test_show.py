"""`driftbench show`, `diff` and `runs`."""

import hashlib
import io
import re

import graded
import pytest
from PIL import Image as Pillow

from harness.commands import show
from harness.runs.schema import Image

THINKING = "<think>one two three</think>so {}\x1b[2J\u202e"


@pytest.fixture
def pair(tmp_path):
    def groups(id):
        return ("first" if id in ("q0", "q1") else "second",)

    a = graded.write(tmp_path / "a", graded.bits("110010"), groups=groups, text=THINKING)
    b = graded.write(tmp_path / "b", graded.bits("101110"), groups=groups)
    return a, b


def test_show_folds_the_thought_and_escapes_the_rest(pair, driftbench):
    out = driftbench("show", pair[0], "q2").out
    assert out.splitlines() == [
        "t q2",
        "what is q2?",
        "truth 7",
        "",
        "answer (9 tokens)",
        r"[a thought of 3 words; --thoughts shows it]so 3\x1b[2J\u202e",
        "verdict wrong, by rule, read as 3",
    ]
    whole = driftbench("show", pair[0], "q2", "--thoughts").out
    assert r"<think>one two three</think>so 3\x1b[2J\u202e" in whole


@pytest.mark.parametrize(
    "text, folded",
    [
        ("<think>a b</think>7", "[a thought of 2 words; --thoughts shows it]7"),
        ("a b c</think>7", "[a thought of 3 words; --thoughts shows it]7"),
        ("<think>a b", "[a thought of 2 words; --thoughts shows it]"),
        ("plain 7", "plain 7"),
    ],
)
def test_thoughts_closed_or_not(text, folded):
    assert show.THOUGHT.sub(show._folded, text) == folded


def picture(colors):
    image = Pillow.new("RGB", (len(colors[0]), len(colors)))
    image.putdata([color for line in colors for color in line])
    file = io.BytesIO()
    image.save(file, "PNG")
    data = file.getvalue()
    return Image(hashlib.sha256(data).hexdigest(), ".png", data)


RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def test_show_names_the_picture_where_there_is_no_terminal(tmp_path, driftbench):
    image = picture([[RED]])
    run = graded.write(tmp_path / "a", graded.bits("1"), images=[image])
    out = driftbench("show", run, "q0").out
    assert out.splitlines()[1] == str(tmp_path / "images" / f"{image.sha256}.png")
    (tmp_path / "images" / f"{image.sha256}.png").unlink()
    assert "is missing" in driftbench("show", run, "q0").out


def test_show_draws_the_picture_in_a_terminal(tmp_path, driftbench, monkeypatch):
    monkeypatch.setattr(show, "_colors", lambda: "truecolor")
    run = graded.write(tmp_path / "a", graded.bits("1"), images=[picture([[RED], [BLUE]])])
    assert "\x1b[38;2;255;0;0;48;2;0;0;255m▀\x1b[0m" in driftbench("show", run, "q0").out
    broken = Image("0" * 64, ".png", b"no picture")
    run = graded.write(tmp_path / "b", graded.bits("1"), images=[broken])
    assert "the picture cannot be read" in driftbench("show", run, "q0").out


def test_a_half_block_shows_two_pixels(tmp_path):
    path = tmp_path / "p.png"
    path.write_bytes(picture([[RED, BLUE], [BLUE, WHITE], [WHITE, RED], [RED, RED]]).data)
    lines = show.half_blocks(path, 80).splitlines()
    assert [len(re.findall("▀", line)) for line in lines] == [2, 2]
    assert lines[0].startswith(
        "\x1b[38;2;255;0;0;48;2;0;0;255m▀\x1b[38;2;0;0;255;48;2;255;255;255m▀"
    )
    assert show.half_blocks(path, 80, False).startswith("\x1b[38;5;196;48;5;21m▀")
    Pillow.new("RGBA", (300, 100), (0, 0, 0, 0)).save(path)
    wide = show.half_blocks(path, 60).splitlines()
    assert (len(wide), wide[0].count("▀")) == (10, 60)
    assert "38;2;255;255;255" in wide[0]  # transparent is white


def test_diff_lists_what_flipped(pair, driftbench):
    lines = driftbench("diff", *pair).out.splitlines()
    assert lines[0] == "t: of 6 questions 2 became right and 1 wrong from a to b"
    assert [line.split()[1] for line in lines[2:5]] == ["q1", "q2", "q3"]
    assert lines[2].split()[2:] == ["first", "7", "(right)", "3", "(wrong)"]
    assert lines[5].endswith("3 of 3")
    right = driftbench("diff", *pair, "--to", "right", "--limit", "1").out.splitlines()
    assert [line.split()[1] for line in right[2:3]] == ["q2"]
    assert right[-1].endswith("1 of 2")
    first = driftbench("diff", *pair, "--group", "first", "--task", "t").out.splitlines()
    assert first[0] == "t, first: of 2 questions 0 became right and 1 wrong from a to b"


def test_diff_counts_several_answers(tmp_path, driftbench):
    a = graded.write(tmp_path / "a", {"q": ["7", "3", "3"], "r": ["7", "7", None]})
    b = graded.write(tmp_path / "b", {"q": ["7", "7", "3"], "r": ["7", "3", "7"]})
    lines = driftbench("diff", a, b).out.splitlines()
    assert lines[2].split() == "t q 1 of 3 right 2 of 3 right".split()
    assert lines[3].endswith("1 of 1")


def test_diff_leaves_out_other_questions_under_the_same_ids(tmp_path, driftbench):
    a = graded.write(tmp_path / "a", graded.bits("1100"))
    b = graded.write(tmp_path / "b", graded.bits("0011"), prompt="and what is {}?")
    line = driftbench("diff", a, b).out.splitlines()[0]
    assert line == (
        "t: of 4 questions 2 became right and 2 wrong from a to b; 4 were put in other words or "
        "with other pictures"
    )
    path = b / "questions.jsonl"
    lines = path.read_text().splitlines()
    lines[:3] = [
        line.replace('"groups": []', '"groups": [], "of": "another"') for line in lines[:3]
    ]
    path.write_text("".join(f"{line}\n" for line in lines))
    assert driftbench("diff", a, b).out.splitlines()[0] == (
        "t: of 1 questions 1 became right and 0 wrong from a to b; under 3 ids they were asked "
        "other questions, left out here; 1 were put in other words or with other pictures"
    )


def test_diff_escapes_what_a_model_answered(tmp_path, driftbench):
    a = graded.write(tmp_path / "[red]a", {"q": ["\x1b[31m[bold]x"]})
    b = graded.write(tmp_path / "b", {"q": ["7"]})
    out = driftbench("diff", a, b).out
    assert r"\x1b[31m[bold]x (wrong)" in out and "[red]a" in out and "\x1b" not in out


def test_runs_lists_what_is_on_disk(tmp_path, pair, driftbench):
    graded.write(tmp_path / "deep" / "er" / "c", graded.bits("1"), finished=False)
    graded.write(pair[0] / "scored" / "official", graded.bits("1"))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "run.json").write_text("{")
    captured = driftbench("runs", tmp_path)
    lines = [line.split() for line in captured.out.splitlines()]
    assert [line[0] for line in lines] == ["run", "a", "b", "deep/er/c"]
    assert lines[1][1:6] == ["a", "t", "6", "–", "yes"]
    assert lines[3][5] == "no"
    assert "bad/run.json is not JSON" in captured.err


MISTAKES = [
    ("show {a} q9", "a has no question 'q9': near are q"),
    ("show {a} q0 --task u", "a has no task 'u': it has t"),
    ("show {root} q0", "is not a run folder: it has no run.json"),
    ("diff {a} {b} --to left", "--to is right or wrong, not 'left'"),
    ("diff {a} {b} --group frst", "there is no group 'frst': did you mean first? there are all, "),
    ("diff {a} {b} --task tt", "the two runs share no task 'tt': did you mean t? they share t"),
    ("diff {a} {root}/other", "the two runs have no task in common"),
    ("runs {root}/nowhere", "there is no folder {root}/nowhere"),
    ("runs {root}/empty", "{root}/empty holds no run: `driftbench eval` writes them"),
]


@pytest.mark.parametrize(("line", "sentence"), MISTAKES, ids=[line for line, _ in MISTAKES])
def test_a_mistake_gives_one_sentence(tmp_path, pair, mistake, line, sentence):
    graded.write(tmp_path / "other", graded.bits("1"), task="u")
    (tmp_path / "empty").mkdir()
    places = {"root": tmp_path, "a": pair[0], "b": pair[1]}
    assert sentence.format(**places) in mistake(line.format(**places))


def test_a_question_of_two_tasks_has_to_be_told_apart(tmp_path, pair, driftbench, mistake):
    other = graded.write(tmp_path / "x" / "a", graded.bits("1"), task="u")
    for file in ("questions", "responses", "verdicts"):
        with (pair[0] / f"{file}.jsonl").open("ab") as lines:
            lines.write((other / f"{file}.jsonl").read_bytes())
    assert "t, u have a question q0: choose one by --task" in mistake("show", pair[0], "q0")
    assert driftbench("show", pair[0], "q0 --task u").out.startswith("u q0\n")
