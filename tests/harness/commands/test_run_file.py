"""A run as one file: read, written beside the run, and repeated from there."""

import inspect
from pathlib import Path

import pytest
import yaml
from scripted import Script, checkpoint

import driftbench as door
from harness.commands import evaluate as command
from harness.commands import run_file
from harness.evaluate import run as room


@pytest.fixture
def script(monkeypatch, tmp_path, world):
    """Stand in for checkpoints and engines; the current folder holds `vlm` and `world`."""
    made = Script()

    def opened(where, *_):
        return checkpoint(where.rpartition("/")[2], fingerprint=where)

    monkeypatch.setattr("harness.checkpoints.preflight.open_checkpoint", opened)
    monkeypatch.setattr(room, "maker", lambda choice, checkpoint, old: made)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "world").symlink_to(world)
    return made


LINE = "eval vlm --tasks pocket --data world --out runs/mine --limit 3 --temperature 0.6 --n 2"


def test_each_run_keeps_the_file_that_repeats_it(script, driftbench, tmp_path):
    driftbench(*LINE.split(), "--seed", 5, "--template-args", "a=true", "--retry-errors")
    kept = tmp_path / "runs" / "mine" / "run.yaml"
    before = kept.read_text()
    said = yaml.safe_load(before)
    assert before.startswith("# driftbench eval runs/mine/run.yaml\ncheckpoints:\n- vlm\n")
    assert said["temperature"] == 0.6 and said["template_args"] == ["a=true"]
    assert set(said).isdisjoint({*run_file.TYPED, *run_file.PASSING})
    asked = list(script.asked)
    driftbench("eval", kept)
    assert script.asked == asked and len(asked) == 6
    kept.parent.joinpath("cells.json").unlink()  # so that the run begins again
    driftbench("eval", kept)
    assert script.asked == asked and kept.read_text() == before
    driftbench("eval", kept, "--out", "again", "--n", "3")
    assert len(script.asked) == 6 + 9
    changed = yaml.safe_load((tmp_path / "again" / "run.yaml").read_text())
    assert changed == {**said, "out": "again", "n": 3}


def test_every_option_is_kept_or_said_to_pass():
    options = set(inspect.signature(command.evaluate).parameters)
    given = dict.fromkeys(options, "x") | {"checkpoints": ["vlm"]}
    (text,) = run_file.texts(given, [checkpoint()], Path("out")).values()
    assert set(yaml.safe_load(text)) == options - {*run_file.TYPED, *run_file.PASSING}


def test_several_checkpoints_have_a_file_each(script, driftbench, tmp_path):
    (tmp_path / "two.yaml").write_text(
        "checkpoints: [some/a, some/b]\ntasks: [pocket]\ndata: world\nout: runs\nlimit: 1\n"
    )
    driftbench("eval", "two.yaml")
    found = [yaml.safe_load((tmp_path / "runs" / n / "run.yaml").read_text()) for n in "ab"]
    assert [one["checkpoints"] for one in found] == [["some/a"], ["some/b"]]
    assert [one["out"] for one in found] == ["runs/a", "runs/b"]
    driftbench("eval", "two.yaml", "some/c", "--out", "third")
    third = yaml.safe_load((tmp_path / "third" / "run.yaml").read_text())
    assert third["checkpoints"] == ["some/c"] and third["limit"] == 1


def test_python_takes_a_file_too_and_its_keywords_stand_over_it(script, tmp_path):
    (tmp_path / "r.yaml").write_text(
        "checkpoints: [some/a]\ntasks: [pocket]\nout: file\nlimit: 3\nmax_tokens: 9\ndata: world\n"
    )
    results = door.evaluate("r.yaml", tasks="pocket", out="mine", limit=2)
    kept = yaml.safe_load((tmp_path / "mine" / "run.yaml").read_text())
    assert (kept["checkpoints"], kept["limit"], kept["max_tokens"]) == (["some/a"], 2, 9)
    assert results.cells.query("group == 'all'")["n"].tolist() == [2]


def test_another_run_leaves_the_file_as_it_is(script, driftbench, mistake, tmp_path):
    driftbench(*LINE.split())
    before = (tmp_path / "runs" / "mine" / "run.yaml").read_text()
    assert "holds another run" in mistake(*LINE.split(), "--seed", 6)
    assert (tmp_path / "runs" / "mine" / "run.yaml").read_text() == before


def test_what_trusts_is_typed_again_and_in_no_file(monkeypatch):
    given = {"checkpoints": ["m"], "key_env": "MY_KEY", "trust_code": None, "protocol": None}
    (text,) = run_file.texts(given, [checkpoint("m")], Path("a b")).values()
    assert text.splitlines()[0] == "# driftbench eval 'a b/run.yaml' --key-env MY_KEY"
    assert yaml.safe_load(text) == {"checkpoints": ["m"], "out": "a b"}


def test_of_the_hub_the_commit_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = {"checkpoints": ["owner/vlm@main"], "protocol": "vlmevalkit"}
    fetched = checkpoint(path=tmp_path / "snapshots" / ("c" * 40))
    (text,) = run_file.texts(given, [fetched], tmp_path / "o").values()
    said = yaml.safe_load(text)
    assert said["checkpoints"] == ["owner/vlm@" + "c" * 40]
    assert said["protocol"] == "vlmevalkit-2026"


MISTAKES = [
    ("limt: 3", "r.yaml: there is no option limt: did you mean limit?"),
    ("xyzzy: 3", "r.yaml: there is no option xyzzy: the options are checkpoints, tasks"),
    ("limit: 2.7", "r.yaml: limit is '2.7': Input should be a valid integer"),
    ("limit: true", "r.yaml: limit is True: Input should be a valid integer"),
    ("limit: [1, 2]", "r.yaml: limit is ('1', '2'): Input should be"),
    ("max-tokens: 0", "r.yaml: max-tokens is '0': Input should be greater"),
    ("overwrite: perhaps", "r.yaml: overwrite is 'perhaps': Input should be"),
    ("template_args: {a: 1}", "r.yaml: template_args is of type str, not {'a': 1}"),
    ("tasks: pokcet", "there is no task 'pokcet': did you mean pocket?"),
    ("limit: 1\nlimit: 2", "r.yaml is no valid YAML (the field limit stands there twice"),
    ("key_env: HF_TOKEN", "r.yaml: key_env is not taken from a file, which may be another's"),
    ("trust-code: abc", "give --trust-code on the command line"),
    ("- tasks", "r.yaml is a table of names and values, not ['tasks']"),
    ("tasks: pocket", "r.yaml names no checkpoints: give some"),
    ("checkpoints: vlm", "missing option '--tasks'"),
]


@pytest.mark.parametrize(("text", "sentence"), MISTAKES, ids=[text for text, _ in MISTAKES])
def test_a_mistake_in_a_file_gives_one_sentence(tmp_path, monkeypatch, mistake, text, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.yaml").write_text(text)
    rest = [] if text.startswith(("tasks: pocket", "checkpoints")) else ["vlm", "--out", "o"]
    rest += ["--tasks", "pocket"] if rest and not text.startswith("tasks") else []
    assert sentence in mistake("eval", "r.yaml", *rest)
    assert [one.name for one in tmp_path.iterdir()] == ["r.yaml"]


def test_a_file_that_is_not_there(tmp_path, monkeypatch, mistake):
    monkeypatch.chdir(tmp_path)
    assert "there is no file r.yaml with the options" in mistake("eval", "r.yaml")
    assert "r.yaml and s.yml are two runs" in mistake("eval", "r.yaml", "s.yml")
