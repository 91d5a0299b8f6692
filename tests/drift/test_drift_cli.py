import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_models import read

from drift import merge
from drift.as_far import to_reach
from drift.displacement import displacement
from drift.families import FAMILIES
from drift.pairing import pair
from driftbench import __main__


def run(*words):
    """Exit status of `driftbench words…`."""
    return __main__.run([str(word) for word in words])


def test_merge_and_a_sweep_are_the_same(qwen, tmp_path, capsys):
    assert run("merge", qwen / "vlm", qwen / "llm", "--alpha", 0.3, "--out", tmp_path / "m") == 0
    sweep = ("--alphas", "0,0.004,0.025,0.30,1", "--out-dir", tmp_path / "s")
    assert run("merge", qwen / "vlm", qwen / "llm", *sweep) == 0
    names = sorted(path.name for path in (tmp_path / "s").iterdir())
    assert names == ["merge-0.00", "merge-0.004", "merge-0.025", "merge-0.30", "merge-1.00"]
    one, same = read(tmp_path / "m"), read(tmp_path / "s" / "merge-0.30")
    assert all(torch.equal(one[name], same[name]) for name in one)
    said = capsys.readouterr().out
    assert "merge-0.30: linear, alpha 0.3, 25 tensors, 100.0% of the decoder" in said
    assert said.splitlines()[1] == f"next: driftbench eval {tmp_path / 'm'} --tasks … --out runs/m"
    assert said.endswith(f"{tmp_path / 's' / 'merge-1.00'} --tasks … --out runs/s\n")


def test_models_on_the_hub_are_named_as_folders_are(qwen, tmp_path, hub, capsys):
    for name in ("vlm", "llm"):
        shutil.copytree(qwen / name, hub.folder("owner") / name)
    pair = ("owner/vlm", f"owner/llm@{hub.commit('owner/llm')}")
    assert run("merge", *pair, "--alpha", 0.3, "--out", tmp_path / "m") == 0
    assert run("merge", qwen / "vlm", qwen / "llm", "--alpha", 0.3, "--out", tmp_path / "l") == 0
    there, here = read(tmp_path / "m"), read(tmp_path / "l")
    assert all(torch.equal(there[name], here[name]) for name in here)
    parents = json.loads((tmp_path / "m" / "made.json").read_text())["parents"]
    assert [Path(parent["path"]).name for parent in parents] == [
        hub.commit("owner/vlm"),
        hub.commit("owner/llm"),
    ]
    assert run("prior", *pair, "--out", tmp_path / "p") == 0
    assert run("distance", *pair, "--out", tmp_path / "d.json") == 0
    assert run("families", "--check", *pair) == 0
    asked = len(hub.requests)
    assert run("merge", *pair, "--alpha", 0.3) == 2  # a slip is told before anything is fetched
    assert len(hub.requests) == asked
    assert run("merge", "owner/vlm", "owner/none", "--alpha", 0, "--out", tmp_path / "n") == 2
    assert "the hub has no public model owner/none" in capsys.readouterr().err


def test_every_setting_of_a_merge_arrives(qwen, tmp_path):
    words = ("--method", "ties", "--base", qwen / "base", "--density", 0.3, "--seed", 4)
    words += ("--modules", "mlp,norm", "--alpha", 0.5, "--out", tmp_path / "m")
    assert run("merge", qwen / "vlm", qwen / "llm", *words) == 0
    settings = json.loads((tmp_path / "m" / "made.json").read_text())["settings"]
    assert settings == {
        "method": "ties", "alpha": 0.5, "weights": None, "by_layer": [], "density": 0.3,
        "swap_layers": [], "seed": 4,
        "modules": ["mlp", "norm"], "rho": None, "rounding": "nearest",
    }  # fmt: skip
    words = ("--method", "layer_swap", "--layers", "1", "--alpha", 1, "--out", tmp_path / "l")
    assert run("merge", qwen / "vlm", qwen / "llm", *words) == 0


def moved(folder, target, llm, along, noise, dtype=torch.float32):
    """A copy of the VLM in `folder`, moved toward `llm` and sideways."""
    shutil.copytree(folder / "vlm", target)
    numbers = torch.Generator().manual_seed(0)
    tensors, theirs = read(folder / "vlm"), read(llm)
    for weight in pair(folder / "vlm", llm).weights:
        if weight.role in ("attention", "mlp"):
            delta = theirs[weight.llm_key] - tensors[weight.vlm_key]
            side = torch.randn(delta.shape, generator=numbers) * delta.norm() / delta.numel() ** 0.5
            tensors[weight.vlm_key] = tensors[weight.vlm_key] + along * delta + noise * side
    save_file({k: t.to(dtype) for k, t in tensors.items()}, target / "model.safetensors")
    return target


def test_sft_then_merge_reaches_the_displacement_of_drift(qwen, tmp_path, capsys):
    sft = moved(qwen, tmp_path / "sft", qwen / "llm", 0.02, 0.1)
    drift = moved(qwen, tmp_path / "drift", qwen / "llm", 0.07, 0.05)
    words = ("merge", sft, qwen / "llm", "--base", qwen / "vlm", "--rho-of", drift)
    assert run(*words, "--out", tmp_path / "m") == 0
    reached = displacement(qwen / "vlm", qwen / "llm", tmp_path / "m")
    wanted = displacement(qwen / "vlm", qwen / "llm", drift)
    assert reached.rho == pytest.approx(wanted.rho, rel=1e-4)
    made = json.loads((tmp_path / "m" / "made.json").read_text())
    assert [one["role"] for one in made["parents"]] == ["vlm", "reasoner", "base"]
    assert made["settings"]["rho"] == pytest.approx(wanted.rho)
    assert made["settings"]["modules"] == ["attention", "mlp"]
    assert f"wanted {wanted.rho:.5g}" in capsys.readouterr().out
    # What is added to the SFT checkpoint is the prior of the first VLM, and nothing else.
    merged, before, vlm, llm = (
        read(f) for f in (tmp_path / "m", sft, qwen / "vlm", qwen / "llm")
    )  # fmt: skip
    for weight in pair(qwen / "vlm", qwen / "llm").weights:
        expected = before[weight.vlm_key]
        if weight.role in ("attention", "mlp"):
            delta = llm[weight.llm_key] - vlm[weight.vlm_key]
            expected = expected + made["settings"]["alpha"] * delta
        torch.testing.assert_close(merged[weight.vlm_key], expected)
    assert run(*words[:6], sft, "--out", tmp_path / "n") == 2
    assert "which does not reach" in capsys.readouterr().err
    for more in (("--alpha", 0.1), ("--density", 0.2), ("--layers", 9), ("--rounding", "nearest")):
        assert run(*words, *more, "--out", tmp_path / "n") == 2
        assert "--rho-of goes with --base and --out" in capsys.readouterr().err
    both = (qwen / "vlm", qwen / "llm", "--alpha", 0.1, "--out", tmp_path / "n")
    assert run("merge", *both, "--density", 0.2) == 2
    assert "--density is of ties, dare_linear, dare_ties" in capsys.readouterr().err


def test_merge_before_sft_leaves_room_for_what_sft_goes_by_itself(qwen, tmp_path, capsys):
    sft = moved(qwen, tmp_path / "sft", qwen / "llm", 0.02, 0.1)
    drift = moved(qwen, tmp_path / "drift", qwen / "llm", 1.07, 0.05)  # past the reasoner
    words = ("merge", qwen / "vlm", qwen / "llm", "--base", qwen / "vlm")
    asked = ("--rho-of", drift, "--before", sft, "--out", tmp_path / "m")
    assert run(*words, *asked) == 0
    rho = {
        name: displacement(qwen / "vlm", qwen / "llm", tmp_path / name).rho
        for name in ("sft", "drift", "m")
    }
    assert rho["m"] == pytest.approx(rho["drift"] - rho["sft"], rel=1e-4) and rho["m"] > 1
    assert run(*words, "--before", sft, "--out", tmp_path / "n", "--alpha", 0.1) == 2
    assert "--before goes with --rho-of" in capsys.readouterr().err


@pytest.mark.parametrize(("dtype", "rho"), [(torch.bfloat16, 0.02), (torch.float16, 0.002)])
def test_16_bits_keep_a_step_that_is_smaller_than_they_resolve(qwen, tmp_path, dtype, rho):
    """Rounded to the nearest, a good part of so small a step is lost; what was reached is told."""
    base = moved(qwen, tmp_path / "q" / "vlm", qwen / "llm", 0, 0, dtype)
    vlm, llm = tmp_path / "q" / "vlm", near(tmp_path / "q", qwen / "llm", tmp_path / "llm")
    recipe = to_reach(rho, vlm, llm, base, ("attention", "mlp"))
    assert (recipe.method, recipe.alpha, recipe.rounding) == ("task_arithmetic", rho, "stochastic")
    jobs = {tmp_path / "chance": recipe, tmp_path / "near": replace(recipe, rounding="nearest")}
    made = {out.name: made for out, made in merge.merge(vlm, llm, jobs, vlm)}
    found = {path.name: displacement(vlm, llm, path).rho for path in jobs}
    assert found["chance"] == pytest.approx(rho, rel=0.15)
    assert found["near"] < 0.5 * found["chance"]
    for name, reached in found.items():
        assert made[name].reached["rho"] == pytest.approx(reached, rel=1e-4)
        assert made[name].reached["kept"] == pytest.approx(reached / rho, rel=1e-3)


def near(folder, llm, target):
    """A text-only model whose decoder is that of the VLM, but for a twentieth of each weight."""
    shutil.copytree(llm, target)
    tensors, ours = read(llm), read(folder / "vlm")
    for weight in pair(folder / "vlm", llm).weights:
        noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
        tensors[weight.llm_key] = ours[weight.vlm_key].float() * (1 + 0.05 * noise)
    save_file(tensors, target / "model.safetensors")
    return target


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
    assert said.splitlines()[-2].startswith(f"{tmp_path / 'out'}: the checkpoint, made.json")
    assert said.splitlines()[-1] == (
        f"next: driftbench eval {tmp_path / 'out'} --tasks … --out runs/out"
    )
    assert "pulling 20 tensors (14 attention, 6 mlp), 73,984 parameters, 99.6%" in said


def pocket(qwen, rows, out, *settings):
    """Two steps of `pocket_drift` on the tiny model; its log."""
    given = (
        f"vlm={qwen / 'vlm'}",
        f"reasoner={qwen / 'llm'}",
        f"data={rows}",
        "steps=2",
        "lr=0.001",
    )
    words = [word for one in (*given, "batch=4", *settings) for word in ("--set", one)]
    assert run("train", "pocket_drift", *words, "--out", out) == 0
    return [json.loads(line) for line in (out / "drift_log.jsonl").read_text().splitlines()]


def test_rivals_are_trained_by_settings(qwen, rows, tmp_path):
    log = pocket(qwen, rows, tmp_path / "digrap", "mode=project", "live=true")
    ratios = [line[role]["ratio"] for line in log for role in ("attention", "mlp")]
    assert min(ratios) >= 0 and 0 < max(ratios) < 1  # of the gradient, only what leads away
    log = pocket(qwen, rows, tmp_path / "learnt", "mode=project_learnt")
    assert log[0]["omega"] == 0 and 0 <= log[1]["omega"] <= 0.01
    start = ("alpha=0", "toward=start", "warmup=0", "lr_schedule=constant")
    pocket(qwen, rows, tmp_path / "free", *start[:1], *start[2:])
    far = ("anchor=spd", "anchor_strength=1", "lr=0.1", "steps=6")  # so that some steps go back
    log = pocket(qwen, rows, tmp_path / "spd", *start, *far)
    assert log[0]["decayed"] == 0 and 0 < max(line["decayed"] for line in log) < 1
    # lr · λ = 1: the weights are put back to their anchor after each step.
    log = pocket(qwen, rows, tmp_path / "held", *start, "anchor=l2_sp", "anchor_strength=1000")
    assert [line["decayed"] for line in log] == [1, 1]
    vlm, free, held = (read(one) for one in (qwen / "vlm", tmp_path / "free", tmp_path / "held"))
    assert all(torch.equal(held[name], tensor) for name, tensor in vlm.items())
    assert not all(torch.equal(free[name], tensor) for name, tensor in vlm.items())


def test_distance_and_families(qwen, tmp_path, capsys):
    out, plot = tmp_path / "d.json", tmp_path / "d.svg"
    words = ("--out", out, "--plot", plot, "--of", qwen / "vlm", "--modules", "mlp")
    assert run("distance", qwen / "vlm", qwen / "llm", *words) == 0
    found = json.loads(out.read_text())
    assert found["family"] == "Qwen2.5-VL"
    assert found["displacements"][0]["by_role"] == {"mlp": 0.0}
    assert "<svg" in plot.read_text()
    said = capsys.readouterr().out
    assert f"wrote {out} and {plot}\n" in said and "\nnext: driftbench merge " in said
    assert run("families", "--check", qwen / "vlm", qwen / "llm") == 0
    assert "Qwen2.5-VL: 27 tensors paired" in capsys.readouterr().out
    assert run("families") == 0
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if line.startswith("Qwen2.5-VL"))
    words = row.split()
    assert words[1:4] == ["qwen2_5_vl", "model.layers.*", "qwen2,"]
    assert row.rstrip().endswith("Qwen2.5-VL-7B-Instruct + DeepSeek-R1-Distill-Qwen-7B")
    assert sum(line.split(" ")[0] != "" for line in lines) == 1 + len(FAMILIES)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["merge", "V", "L", "--alpha", "0.5"], "give --alpha with --out"),
        (["merge", "V", "L", "--alphas", "0,1", "--out", "o"], "or --alphas with --out-dir"),
        (["merge", "V", "L", "--alphas", "0,x", "--out-dir", "o"], "--alphas takes numbers"),
        (["merge", "V", "L", "--alphas", ".1,0.10", "--out-dir", "o"], "names a share twice"),
        (["merge", "V", "L", "--alphas", ",", "--out-dir", "o"], "--alphas takes numbers"),
        (
            ["merge", "V", "nowhere", "--alpha", "1", "--out", "o"],
            "there is no nowhere: give a folder",
        ),
        (
            ["merge", "V", "L", "--modules", "ffn", "--alpha", "1", "--out", "o"],
            "--modules takes attention, mlp, norm",
        ),
        (["prior", "V", "L", "--variant", "best", "--out", "o"], "no prior is called 'best'"),
        (["train", "nowhere", "--out", "o"], "there is no recipe nowhere"),
        (["train", "pocket_sft", "--out", "o"], "does not say vlm and data"),
        (["distance", "L", "V", "--out", "o.json"], "'qwen2', which is no VLM family known"),
        (["merge", "V"], "missing argument 'OTHER'"),
        (
            ["merge", "V", "L", "--alpha", "0.5", "--weights", "1,1", "--out", "o"],
            "give --alpha with --out (or --weights or --by-layer in its place)",
        ),
        (["merge", "V", "L", "--weights", "1.6", "--out", "o"], "--weights takes two factors"),
        (["merge", "V", "L", "--weights", "1.6,0.2", "--out", "o"], "weights of the two updates"),
        (["merge", "V", "L", "--weights", "nan,1", "--out", "o"], "--weights takes numbers"),
        (["merge", "V", "L", "--by-layer", ",", "--out", "o"], "--by-layer takes numbers"),
        (["merge", "V", "L", "--by-layer", "0..", "--out", "o"], "layer, 0..0.3, not 0.."),
        (["merge", "V", "L", "--by-layer", "..0.3", "--out", "o"], "layer, 0..0.3, not ..0.3"),
        (["merge", "V", "L", "--by-layer", "0..0.1..0.3", "--out", "o"], "not 0..0.1..0.3"),
        (["merge", "V", "L", "--by-layer", "0,0.1,1", "--out", "o"], "3 shares for 2 layers"),
        (["merge", "V", "L", "--by-layer", "0..2", "--out", "o"], "alpha is 2.0; it is the"),
        (
            ["merge", "V", "L", "--alpha", "0.5", "--rounding", "up", "--out", "o"],
            "--rounding is nearest or stochastic, not up",
        ),
        (["blend"], "no such command blend"),
    ],
)
def test_slips_are_one_sentence_and_leave_nothing(
    qwen, tmp_path, mistake, monkeypatch, words, sentence
):
    monkeypatch.chdir(tmp_path)
    places = {"V": str(qwen / "vlm"), "L": str(qwen / "llm")}
    assert sentence in mistake(*(places.get(word, word) for word in words))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_and_an_interruption_are_said(qwen, tmp_path, capsys, monkeypatch):
    import errno

    def fail(error):
        def rewrite(*args):
            raise error

        monkeypatch.setattr(merge, "rewrite", rewrite)
        return run("merge", qwen / "vlm", qwen / "llm", "--alpha", 0.3, "--out", tmp_path / "m")

    assert fail(OSError(errno.ENOSPC, "no space")) == 2
    assert "driftbench: the disk is full" in capsys.readouterr().err
    assert fail(KeyboardInterrupt()) == 130
    assert "driftbench: interrupted; what is complete is kept" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
