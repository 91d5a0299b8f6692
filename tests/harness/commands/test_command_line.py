"""The commands as a stranger types them."""

import inspect
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from scripted import Script, checkpoint

import tasks
from common.errors import UserError
from driftbench import __main__, elsewhere
from harness.commands import cells, evaluate
from harness.commands.options import RunOptions, chosen
from harness.engines.scripted import ScriptedEngine
from harness.evaluate import grade
from harness.evaluate import run as room

COMMANDS = ("eval", "score", "tasks", "parity", "doctor", "reproduce", "train", "prior")
COMMANDS += ("merge", "families", "distance", "pocket", "report")


def python(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True)


def test_help_comes_within_a_second_and_names_every_command():
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    result = python("-m", "driftbench", "--help")
    # Of a processor: a busy machine takes longer by the clock.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 1.0
    assert result.returncode == 0
    listed = result.stdout.partition("Commands:")[2]
    for command in COMMANDS:
        assert f"\n  {command} " in listed
    assert "..." not in listed


@pytest.fixture
def finished(tmp_path, world, capsys) -> Path:
    (card,) = room.run(
        [checkpoint()],
        [tasks.load("pocket")],
        tmp_path / "runs" / "vlm",
        room.EvalConfig(data=world),
        engine=lambda c: ScriptedEngine(c, {f"q{n}": "7" for n in range(5)}),
    )
    capsys.readouterr()
    return tmp_path / "runs" / "vlm"


def test_score_prints_the_cells(finished, driftbench):
    printed = driftbench("score", finished).out.splitlines()
    assert printed[0].split() == "run task group score n unparsed truncated error".split()
    # 5 of 7 right: 71.4 %, standard error sqrt(5/7 · 2/7 / 6) = 18.4 %
    assert printed[1].split() == "vlm pocket all 71.4 ± 18.4 7 0 0 2".split()
    assert printed[-1] == "vlm: the engine failed on 2, at first: no answer in the script"


def test_a_long_table_leaves_the_groups_out(finished, driftbench, monkeypatch):
    monkeypatch.setattr(cells, "MOST_LINES", 4)
    printed = driftbench("score", finished).out.splitlines()
    assert [line.split()[2] for line in printed[:2]] == ["group", "all"]
    assert printed[2].startswith("the groups are in each run's cells.json")


def test_an_unfinished_run_says_so(finished, driftbench):
    log = finished / "responses.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:3]))
    assert "vlm: not finished, 3 of 7 answers are there" in driftbench("score", finished).out


def test_tasks_lists_every_task_whole(driftbench):
    printed = driftbench("tasks").out
    for name in tasks.names():
        assert name in printed
    assert "…" not in printed


MISTAKES = [
    ("evla x", "no such command evla: did you mean eval? see `driftbench --help`"),
    ("xyz", "no such command xyz; see `driftbench --help`"),
    (
        "eval x --tsks p",
        "no such option --tsks: did you mean --tasks? see `driftbench eval --help`",
    ),
    ("eval x", "missing option '--tasks'; see `driftbench eval --help`"),
    ("eval", "missing argument 'CKPT...'; see `driftbench eval --help`"),
    ("eval x --limit 0 --tasks pocket --out o", "invalid value for '--limit': "),
    ("eval x --limit two --tasks pocket --out o", "invalid value for '--limit': "),
    ("eval x --tasks pokcet --out o", "there is no task 'pokcet': did you mean pocket? the tasks"),
    ("eval x --tasks , --out o", "--tasks names none: the tasks are ai2d"),
    (
        "eval x --tasks pocket --out o --engine vlm",
        "no engine 'vlm': did you mean vllm? the engines",
    ),
    ("eval x --tasks pocket --out o --data nowhere", "--data nowhere is not a folder"),
    ("eval nowhere --tasks pocket --out o", "there is no nowhere: give a folder"),
    (
        "eval x --model hf",
        "no such option --model: the checkpoint has no option before it, as in `driftbench eval",
    ),
    ("eval x --model_args a=b", "--tensor-parallel, --data-parallel, --context, --gpu-memory"),
    ("eval x --num_fewshot 5", "no such option --num_fewshot: no examples are shown; what is"),
    ("eval x --gen_kwargs a=b", "say it by --temperature, --top-p, --top-k, --max-tokens"),
    ("eval x --batch-size 4", "no such option --batch-size: the engine fills its batches itself"),
    ("score x --batch-size 4", "no such option --batch-size; see `driftbench score --help`"),
    (
        "eval x --tasks pocket --out o --data MathVista_MINI",
        "--data MathVista_MINI is not a folder; benchmarks are named by --tasks: did you mean "
        "mathvista?",
    ),
    ("score nowhere", "nowhere is not a run folder: it has no run.json"),
    ("score x --diff --judge-key-env NOSUCH", "--diff compares what rules say: leave the options"),
    ("score x --diff --judge-timeout 9", "--diff compares what rules say: leave the options"),
    (
        "score x --diff --judge http://h/v1 --judge-model j",
        "--diff compares what rules say: leave the options of the judge out",
    ),
    ("tasks --all", "no such option --all; see `driftbench tasks --help`"),
]


@pytest.mark.parametrize(("line", "sentence"), MISTAKES, ids=[line for line, _ in MISTAKES])
def test_a_mistake_gives_one_sentence(tmp_path, monkeypatch, mistake, line, sentence):
    monkeypatch.chdir(tmp_path)
    assert sentence in mistake(line)
    assert list(tmp_path.iterdir()) == []


WRITTEN = ("--out", "--out-dir", "--best", "--plot")
"""Options that name what a command writes."""


def written(command, words=()):
    """Yield every command's words and each of its options that names what it writes."""
    for name, one in getattr(command, "commands", {}).items():
        yield from written(one, (*words, name))
    for one in command.params:
        if set(one.opts) & set(WRITTEN) and one.type_descriptor.annotation is not bool:
            yield words, one


def test_what_is_written_below_a_file_is_refused_by_every_command(tmp_path, monkeypatch):
    from typer import Context
    from typer.main import get_command

    monkeypatch.chdir(tmp_path)
    (tmp_path / "afile").write_text("mine")
    found = list(written(get_command(__main__.application())))
    assert {words[0] for words, _ in found} >= {
        *("eval", "sweep", "score", "export", "rows", "tune", "reproduce", "report", "train"),
        *("prior", "merge", "distance", "fetch", "noisy", "pocket"),
    }
    for words, option in found:
        context = Context(get_command(__main__.application()))
        assert option.process_value(context, "new/x") == Path("new/x"), words
        with pytest.raises(UserError) as error:
            option.process_value(context, "afile/a/x")
        assert str(error.value) == (
            f"{option.opts[0]} afile/a/x lies in afile, which is a file: expected a folder, or "
            "nothing there yet"
        )


@pytest.mark.parametrize(
    "line",
    [
        "eval x --tasks pocket --data {world} --out {}",
        "eval x y --tasks pocket --data {world} --out {}",
        "export {run} --format inspect --out {}",
        "report {run} --out {}",
        "score --responses {run}/responses.jsonl --task pocket --data {world} --out {}",
    ],
)
def test_a_file_where_a_folder_is_written_is_named(
    tmp_path, monkeypatch, mistake, finished, world, line
):
    opened = "harness.checkpoints.preflight.open_checkpoint"
    monkeypatch.setattr(opened, lambda where, *_: checkpoint(where))
    monkeypatch.setattr(room, "maker", lambda *_: Script())
    path = tmp_path / "afile"
    path.write_text("mine")
    words = [word.format(path, run=finished, world=world) for word in line.split()]
    place = path / "x" if "y" in words else path
    above = f" lies in {path}, which" if "y" in words else ""
    assert mistake(*words) == (
        f"driftbench: --out {place}{above} is a file: expected a folder, or nothing there yet\n"
    )
    assert path.read_text() == "mine"


def test_what_others_call_an_option_leads_to_one_of_ours():
    own = set(inspect.signature(evaluate.evaluate).parameters)
    for theirs, hint in elsewhere.HINTS.items():
        assert theirs[2:].replace("-", "_") not in own
        ours = re.sub(r"`driftbench (?!eval).*?`", "", hint)
        named = {name.replace("-", "_") for name in re.findall(r"--([a-z-]+)", ours)}
        assert named <= own, hint


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("driftbench rep", ["report", "reproduce"]),
        ("driftbench eval vlm --tasks hallu", ["hallusionbench"]),
        ("driftbench eval vlm --tasks pocket,pop", ["pocket,pope"]),
        ("driftbench eval vlm --engine v", ["vllm"]),
        ("driftbench eval vlm --data-p", ["--data-parallel"]),
        ("driftbench train pocket_g", ["pocket_grpo"]),
        ("driftbench reproduce s", ["small"]),
        ("driftbench tune runs/pocket --families idefics3,l", ["idefics3,llava_next"]),
        ("driftbench pocket base q", ["qwen2_5_vl"]),
        ("driftbench train mine.yaml --report-to t", ["tensorboard", "trackio"]),
    ],
)
def test_a_shell_completes_names(monkeypatch, capsys, typed, offered):
    """What typer's script for bash asks."""
    monkeypatch.setenv("_DRIFTBENCH_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split()) - 1))
    with pytest.raises(SystemExit) as end:
        __main__.run([])
    assert end.value.code == 0
    assert sorted(capsys.readouterr().out.split()) == offered


def test_the_script_for_a_shell_is_shown(monkeypatch, capsys):
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    with pytest.raises(SystemExit):
        __main__.run(["--show-completion", "bash"])
    assert "_DRIFTBENCH_COMPLETE=complete_bash" in capsys.readouterr().out


def test_an_interruption_says_what_is_kept(monkeypatch, driftbench, finished):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(grade, "score", interrupt)
    said = driftbench("score", finished, status=130).err
    assert "what is complete is kept, the same command goes on" in said


def test_a_full_disk_gives_one_sentence(monkeypatch, mistake, finished):
    def full(*_):
        raise OSError(28, "No space left on device", "/x/cells.json")

    monkeypatch.setattr(grade, "write_json", full)
    said = "driftbench: the disk is full; make room, then run it again: /x/cells.json\n"
    assert mistake("score", finished) == said


def test_nothing_typed_is_a_question_for_help(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["driftbench"])
    with pytest.raises(SystemExit) as end:
        __main__.main()
    assert end.value.code == 0
    assert "Usage: driftbench" in capsys.readouterr().out


def test_doctor_and_reproduce_hand_on_what_was_typed(monkeypatch):
    from harness.commands import doctor
    from harness.studies import load, runner

    called = []

    def run(study, out, jobs, gpus, steps):
        called.append((study.name, len(study.steps), out, jobs, gpus))

    monkeypatch.setattr(doctor, "run", lambda: 3)
    monkeypatch.setattr(runner, "run", run)
    assert __main__.run(["doctor"]) == 3
    assert __main__.run(["reproduce", "pocket"]) == 0
    words = ["reproduce", "pocket", "--seeds", "5", "--controls", "--out", "o", "--jobs", "2"]
    assert __main__.run(words) == 0
    short, long = load.load("pocket"), load.load("pocket", seeds=5, controls=True)
    assert called == [
        ("pocket", len(short.steps), Path("runs/pocket"), None, 1),
        ("pocket", len(long.steps), Path("o"), 2, 1),
    ]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("enable_thinking", "takes NAME=VALUE, as enable_thinking=true, not enable_thinking"),
        ("two words=1", "takes NAME=VALUE"),
        ("messages=[]", "messages is what every chat template is given"),
    ],
)
def test_switches_of_a_template_are_a_name_and_a_value(tmp_path, word, said):
    options = RunOptions(tasks="pocket", out=tmp_path, template_args=[word])
    with pytest.raises(UserError, match=said):
        chosen(options)


def test_values_of_switches_are_json_or_a_word(tmp_path):
    words = ["a=true", "b=False", "c=3", "d=high", 'e="7"']
    config = chosen(RunOptions(tasks="pocket", out=tmp_path, template_args=words)).config
    assert config.template_args == {"a": True, "b": False, "c": 3, "d": "high", "e": "7"}
