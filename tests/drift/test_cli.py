import json
import subprocess
import sys

import pytest
import torch
from conftest import read

from drift import cli
from drift.families import FAMILIES


def run(*words):
    """Exit status of `driftbench words…`."""
    with pytest.raises(SystemExit) as left:
        cli.main([str(word) for word in words])
    return left.value.code


def test_help_is_quick_and_loads_no_torch():
    script = (
        "import sys\n"
        "from drift.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit as left:\n    assert not left.code\n"
        "heavy = {'torch', 'transformers', 'numpy', 'pandas', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    for command in ("prior", "merge", "distance", "train", "families"):
        done = subprocess.run(
            [sys.executable, "-c", script, command, "--help"], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert f"Usage: driftbench {command}" in done.stdout


def test_merge_and_a_sweep_are_the_same(qwen, tmp_path, capsys):
    assert run("merge", qwen / "vlm", qwen / "llm", "--alpha", 0.3, "--out", tmp_path / "m") == 0
    sweep = ("--alphas", "0,0.30,1", "--out-dir", tmp_path / "s")
    assert run("merge", qwen / "vlm", qwen / "llm", *sweep) == 0
    names = sorted(path.name for path in (tmp_path / "s").iterdir())
    assert names == ["merge-0.00", "merge-0.30", "merge-1.00"]
    one, same = read(tmp_path / "m"), read(tmp_path / "s" / "merge-0.30")
    assert all(torch.equal(one[name], same[name]) for name in one)
    said = capsys.readouterr().out
    assert "merge-0.30: linear, alpha 0.3, 25 tensors, 100.0% of the decoder" in said


def test_every_setting_of_a_merge_arrives(qwen, tmp_path):
    words = ("--method", "ties", "--base", qwen / "base", "--density", 0.3, "--seed", 4)
    words += ("--modules", "mlp,norm", "--alpha", 0.5, "--out", tmp_path / "m")
    assert run("merge", qwen / "vlm", qwen / "llm", *words) == 0
    settings = json.loads((tmp_path / "m" / "made.json").read_text())["settings"]
    assert settings == {
        "method": "ties", "alpha": 0.5, "density": 0.3, "swap_layers": [], "seed": 4,
        "modules": ["mlp", "norm"],
    }  # fmt: skip
    words = ("--method", "layer_swap", "--layers", "1", "--alpha", 1, "--out", tmp_path / "l")
    assert run("merge", qwen / "vlm", qwen / "llm", *words) == 0


def test_prior_then_train(qwen, rows, tmp_path, capsys):
    prior = tmp_path / "prior"
    words = ("--variant", "random", "--dtype", "float32", "--seed", 2, "--out", prior)
    assert run("prior", qwen / "vlm", qwen / "llm", *words) == 0
    sets = [f"vlm={qwen / 'vlm'}", f"data={rows}", f"prior={prior}", "steps=2", "batch=2"]
    words = [word for setting in sets for word in ("--set", setting)]
    assert run("train", "pocket_drift", *words, "--out", tmp_path / "out") == 0
    made = json.loads((tmp_path / "out" / "made.json").read_text())
    assert made["method"] == "drift"
    assert made["settings"]["prior"] == str(prior)
    assert made["settings"]["batch"] == 2
    said = capsys.readouterr().out
    assert "random, 25 tensors of Qwen2.5-VL" in said
    assert "pulling 20 tensors (14 attention, 6 mlp), 15,488 parameters, 99.0%" in said


def test_distance_and_families(qwen, tmp_path, capsys):
    out, plot = tmp_path / "d.json", tmp_path / "d.svg"
    assert run("distance", qwen / "vlm", qwen / "llm", "--out", out, "--plot", plot) == 0
    assert json.loads(out.read_text())["family"] == "Qwen2.5-VL"
    assert "<svg" in plot.read_text()
    assert run("families", "--check", qwen / "vlm", qwen / "llm") == 0
    assert "Qwen2.5-VL: 27 tensors paired" in capsys.readouterr().out
    assert run("families") == 0
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if line.startswith("Qwen2.5-VL"))
    words = row.split()
    assert words[1:4] == ["qwen2_5_vl", "model.layers.*", "qwen2"]
    assert row.rstrip().endswith("Qwen2.5-VL-7B-Instruct + DeepSeek-R1-Distill-Qwen-7B")
    assert sum(line.split(" ")[0] != "" for line in lines) == 1 + len(FAMILIES)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["merge", "V", "L", "--alpha", "0.5"], "give --alpha with --out"),
        (["merge", "V", "L", "--alphas", "0,1", "--out", "o"], "or --alphas with --out-dir"),
        (["merge", "V", "L", "--alphas", "0,x", "--out-dir", "o"], "--alphas takes numbers"),
        (["merge", "V", "L", "--alphas", ".1,.101", "--out-dir", "o"], "the same to two digits"),
        (["merge", "V", "nowhere", "--alpha", "1", "--out", "o"], "nowhere holds no config.json"),
        (
            ["merge", "V", "L", "--modules", "ffn", "--alpha", "1", "--out", "o"],
            "--modules takes attention, mlp, norm",
        ),
        (["prior", "V", "L", "--variant", "best", "--out", "o"], "no prior is called 'best'"),
        (["train", "nowhere", "--out", "o"], "there is no recipe nowhere"),
        (["train", "pocket_sft", "--out", "o"], "does not say vlm and data"),
        (["distance", "L", "V", "--out", "o.json"], "'qwen2', which is no VLM family known"),
        (["merge", "V"], "Missing argument 'LLM'"),
        (["blend"], "No such command 'blend'"),
    ],
)
def test_slips_are_one_sentence_and_leave_nothing(
    qwen, tmp_path, capsys, monkeypatch, words, sentence
):
    monkeypatch.chdir(tmp_path)
    places = {"V": str(qwen / "vlm"), "L": str(qwen / "llm")}
    assert run(*(places.get(word, word) for word in words)) == 2
    said = capsys.readouterr().err
    assert said.startswith("driftbench: ") and sentence in said
    assert said.count("\n") == 1 and "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_and_an_interruption_are_said(qwen, tmp_path, capsys, monkeypatch):
    import errno

    from drift import merge

    def fail(error):
        def rewrite(*args):
            raise error

        monkeypatch.setattr(merge, "rewrite", rewrite)
        return run("merge", qwen / "vlm", qwen / "llm", "--alpha", 0.3, "--out", tmp_path / "m")

    assert fail(OSError(errno.ENOSPC, "no space")) == 2
    assert "driftbench: the disk is full" in capsys.readouterr().err
    assert fail(KeyboardInterrupt()) == 130
    assert "driftbench: interrupted; what was complete is kept" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
