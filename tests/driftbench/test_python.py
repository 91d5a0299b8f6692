"""The Python API says what the commands print and the files of a report hold."""

import csv
import io
import json
import random
import re
import subprocess
import sys

import graded
import pandas
import pytest
import synthetic
import tiny_models
from places import ROOT

import driftbench
from driftbench import __main__

PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studies") / "pocket"
    return synthetic.write_study(
        folder, families=("llava_next", "qwen2_5_vl"), alphas=(0.0, 1.0), per_group=6
    )


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Four runs of eight questions under `runs`, in the current folder."""
    monkeypatch.chdir(tmp_path)
    right = {"sft": "11000000", "drift": "11111100", "sft-2": "10000000", "drift-2": "11111110"}
    for name, bits in right.items():
        made = {"method": name.partition("-")[0], "settings": {"seed": int("-2" in name)}}
        answers = {f"q{i}": ["7" if bit == "1" else "3"] for i, bit in enumerate(bits)}
        graded.write(
            tmp_path / "runs" / name,
            answers,
            made=made,
            groups=lambda id: ("odd",) * (id in "q1q3"),
        )
    return tmp_path / "runs"


def read(text):
    return pandas.read_csv(io.StringIO(text))


def test_a_report_of_a_study_and_its_frames_hold_the_same(study, tmp_path):
    results = driftbench.load(study)
    assert __main__.run(["report", str(study), "--out", str(tmp_path)]) == 0
    files = {"scores": results.cells, "comparison": results.differences, "cost": results.costs}
    for name, frame in files.items():
        assert len(frame) and frame.equals(read((tmp_path / f"{name}.csv").read_text()))
    drawn = {path.stem for path in tmp_path.rglob("*.svg")}
    assert set(results.plots) == drawn
    figure = results.plot("merge_degradation_llava_next")
    assert figure.axes and not figure.axes[0].get_title().startswith("_")
    titles = list(results.table.index.get_level_values("block").unique())
    assert sorted(titles) == ["LLaVA-NeXT", "Qwen2.5-VL"]
    assert set(results.answers["block"]) == {"llava_next", "qwen2_5_vl"}
    assert len(results.questions) == 4 * 6 + 4 * 3
    with pytest.raises(driftbench.UserError, match="several training seeds"):
        _ = results.findings


def test_frames_are_those_of_the_answers_counted_by_hand(runs):
    results = driftbench.load(runs / "sft", runs / "drift")
    whole = results.cells.query("group == 'all'").set_index("run")
    assert whole["correct"].to_dict() == {"sft": 2, "drift": 6}
    assert whole.loc["drift", "score"] == 0.75
    answers = results.answers
    assert len(answers) == 16 and answers.groupby("run")["correct"].sum()["drift"] == 6
    assert answers["text"].iloc[0] == "so 7" and str(answers["correct"].dtype) == "boolean"
    assert results.table.loc["drift", "t"].startswith("75.0 ± ")


def test_names_that_look_like_numbers_or_nothing_are_names(tmp_path):
    names = ["0100", "NA", "1e3", "-7", "true"]
    for name in names:
        made = tmp_path / "checkpoints" / name
        made.mkdir(parents=True)
        (made / "drift_log.jsonl").write_text('{"step": 1, "loss": 2.5}\n')
        graded.write(
            tmp_path / "runs" / name,
            {"q0": ["7"], "q1": ["3"]},
            groups=lambda id: ("01",),
            checkpoint=str(made),
            made={"method": "null", "settings": {}} if name == "NA" else None,
        )
    results = driftbench.load(*(tmp_path / "runs" / name for name in names))
    assert list(dict.fromkeys(results.cells["run"])) == names
    assert list(dict.fromkeys(results.cells["group"])) == ["all", "01"]
    assert results.cells.groupby("run")["method"].first().dropna().to_dict() == {"NA": "null"}
    assert list(dict.fromkeys(results.differences["name"])) == names[1:]
    assert set(results.differences["baseline"]) == {"0100"}
    assert results.costs["checkpoint"].tolist() == names
    assert results.training["checkpoint"].tolist() == names
    assert results.training["loss"].tolist() == [2.5] * 5
    empty = [results.cells["alpha"], results.costs["device"], results.training["rho"]]
    assert all(column.isna().all() and column.dtype == float for column in empty)
    merged = results.answers.merge(results.cells.query("group == 'all'"), on="run")
    assert len(merged) == 10


def test_compare_is_what_the_command_prints(runs, capsys):
    found = driftbench.compare(runs / "sft", runs / "drift", groups=True)
    words = ["compare", str(runs / "sft"), str(runs / "drift"), "--groups", "--format"]
    assert __main__.run([*words, "csv"]) == 0
    printed = capsys.readouterr().out
    assert found.columns.tolist() == next(csv.reader([printed.splitlines()[0]]))
    # The file has nothing where a number cannot be told.
    finite = found.replace({float("inf"): float("nan")}).astype({"needed": float})
    pandas.testing.assert_frame_equal(finite, read(printed), check_dtype=False, rtol=1e-14)
    assert __main__.run([*words, "json"]) == 0
    assert found.attrs["notes"] == json.loads(capsys.readouterr().out)["notes"]


def test_methods_by_seed_are_sides(runs):
    sides = {name: [runs / name, runs / f"{name}-2"] for name in ("sft", "drift")}
    found = driftbench.compare(**sides)
    assert found["name"].tolist() == ["drift"] and found["baseline"].tolist() == ["sft"]
    assert found["difference"].iloc[0] == pytest.approx((0.75 + 0.875 - 0.25 - 0.125) / 2)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: driftbench.load(), "no path"),
        (lambda: driftbench.load("nowhere"), "nowhere is not a folder"),
        (lambda: driftbench.load(["runs/sft"]), r"load\(\) was given \['runs/sft'\] for a path"),
        (lambda: driftbench.load("runs/sft", baseline=7), "'7'"),
        (lambda: driftbench.compare("runs/sft"), "given 1 sides"),
        (lambda: driftbench.compare("runs/sft", "runs/sftt"), r"no run folder runs/sftt.*sft"),
        (lambda: driftbench.compare("runs/sft", "runs/drift", tasks=[]), "tasks names none"),
        (lambda: driftbench.compare("runs/sft", "runs/drift", tasks="u"), "answered 'u'"),
        (lambda: driftbench.compare("runs/sft", "runs/drift", metric=3), "'3'"),
        (lambda: driftbench.compare("runs/sft", "runs/drift", groups="so"), "groups is 'so': "),
        (lambda: driftbench.compare("runs/sft", drift=7), "drift was given 7 for a path"),
        (lambda: driftbench.load("runs/sft").plot("cots"), "no plot 'cots'"),
        (lambda: driftbench.load("runs/sft").plot(3), "no plot 3"),
        (
            lambda: driftbench.load("runs/sft").question("q1", task="u"),
            "u has no question q1",
        ),
        (lambda: driftbench.load("runs/sft").question("q99"), "no question is called 'q99'"),
        (lambda: driftbench.evaluate("x", tasks="pockt", out="o"), "pocket"),
        (
            lambda: driftbench.evaluate("x", tasks="pocket", out="o", data_parallel=2),
            "command line",
        ),
        (
            lambda: driftbench.evaluate("x", tasks="pocket", out="o", dry_run=True),
            "dry_run leaves nothing to load",
        ),
        (lambda: driftbench.evaluate(tasks="pocket", out="o"), "checkpoints is missing"),
        (lambda: driftbench.evaluate("x", tasks=None, out="o"), "tasks is missing"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(runs, call, said):
    with pytest.raises(driftbench.UserError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("limit", -190, "limit is -190: Input should be greater than or equal to 1"),
        ("limit", 0, "limit is 0: Input should be greater than or equal to 1"),
        ("limit", 2.5, "limit is 2.5: Input should be a valid integer"),
        ("limit", "two", "limit is 'two': Input should be a valid integer"),
        ("limit", True, "limit is True: Input should be a valid integer"),
        ("max_tokens", -1, "max_tokens is -1: Input should be greater than or equal to 1"),
        ("n", 0, "n is 0: Input should be greater than or equal to 1"),
        ("data_parallel", "two", "data_parallel is 'two': Input should be a valid integer"),
        ("overwrite", "perhaps", "overwrite is 'perhaps': Input should be a valid boolean"),
        ("max_token", 9, "there is no option max_token: did you mean max_tokens?"),
    ],
)
def test_a_keyword_is_held_to_what_its_option_takes(tmp_path, monkeypatch, name, value, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(driftbench.UserError) as caught:
        driftbench.evaluate("x", tasks="pocket", out="o", **{name: value})
    assert str(caught.value).startswith(said)
    assert not list(tmp_path.iterdir())


def test_one_run_and_one_task_need_no_list(runs):
    found = driftbench.compare(sft="runs/sft", drift=runs / "drift", tasks="t")
    assert found[["baseline", "name", "task"]].values.tolist() == [["sft", "drift", "t"]]
    assert found.equals(driftbench.compare(sft=["runs/sft"], drift=["runs/drift"], tasks=["t"]))


def test_hostile_text_is_inert_in_a_notebook(tmp_path):
    answers = {"q": ["<script>alert(1)</script>"]}
    image = synthetic.picture([1, 2, 3, 4], random.Random(0))
    graded.write(tmp_path / "run", answers, prompt="<b>{}</b>", images=(image,))
    results = driftbench.load(tmp_path / "run")
    shown = results.question("q")._repr_html_() + results._repr_html_()
    assert "<script" not in shown and "<b>" not in shown and "&lt;b&gt;q" in shown
    assert shown.count("<img") == 1 and "data:image/png;base64,iVBOR" in shown


def test_the_page_runs_as_it_stands(runs, tmp_path):
    tiny_models.make_vlm("llava_next", tmp_path / "vlm")
    (tmp_path / "world").mkdir()
    (tmp_path / "world" / "0.png").write_bytes(tiny_models.picture(0))
    row = {"question": "<image>what is it?", "answer": "7", "group": "g", "images": ["0.png"]}
    rows = [json.dumps(row | {"id": f"q{i}"}) + "\n" for i in range(3)]
    (tmp_path / "world" / "test.jsonl").write_text("".join(rows))
    names: dict[str, object] = {}
    snippets = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(snippets) == 7
    for code in snippets:
        # Transformers starts at once; which engine answers is not the page's matter.
        exec(code.replace("limit=8", "limit=2, engine='hf'"), names)
    assert (tmp_path / "figure.pdf").stat().st_size > 1000
    cells = names["mine"].cells  # type: ignore[attr-defined]
    assert cells.query("group == 'all'")["n"].tolist() == [2]


def test_the_door_opens_without_what_is_heavy():
    heavy = ("torch", "transformers", "vllm", "pandas", "matplotlib", "numpy")
    code = f"import sys, driftbench; print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n"
