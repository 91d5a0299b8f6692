"""A run in the forms of other tools, read back by those tools."""

import json
import math
import random
import zipfile
from dataclasses import replace

import graded
import pytest
import synthetic
import yaml

from driftbench import __main__
from harness.runs.folder import read_card, write_json
from harness.runs.schema import Question
from harness.statistics.sides import read_run


@pytest.fixture
def run(tmp_path):
    """Eight questions of MathVista: five right, one unparsed; one with a picture."""
    answers = {f"q{i}": [a] for i, a in enumerate(["7"] * 5 + ["3", "4", None])}
    image = synthetic.picture([1, 2, 3, 4], random.Random(0))
    where = {"task": "mathvista", "groups": lambda id: ("geometry",) * (id < "q4")}
    folder = tmp_path / "run"
    return graded.write(folder, answers, images=(image,), prompt="see <image>: {}?", **where)


def exported(run, format, out):
    assert __main__.run(["export", str(run), "--format", format, "--out", str(out)]) == 0
    return out


def test_lm_eval_prints_its_own_table_of_it(run, tmp_path):
    from lm_eval.utils import make_table

    found = json.loads(exported(run, "lm-eval", tmp_path / "results.json").read_text())
    lines = [[cell.strip() for cell in line.split("|")] for line in make_table(found).splitlines()]
    assert lines[2][1:9] == ["mathvista", "1", "robust", "0", "acc", "↑", "0.625", "±"]
    # Of eight questions with five right, Bessel's correction in the variance.
    assert float(lines[2][9]) == pytest.approx(math.sqrt(5 / 8 * 3 / 8 / 7), abs=1e-4)
    assert ["unparsed", "", "1.000"] in [line[5:8] for line in lines]


def test_the_hub_reads_its_card(run, tmp_path):
    from huggingface_hub import ModelCard

    card = ModelCard.load(exported(run, "model-card", tmp_path / "card.md"))
    (found,) = card.data.eval_results
    assert (found.dataset_type, found.dataset_split) == ("AI4Math/MathVista", "testmini")
    assert (found.metric_type, found.metric_value, found.metric_args["n"]) == ("accuracy", 62.5, 8)
    assert card.data.model_name == "run"


def test_the_hub_reads_its_results(run, tmp_path):
    from huggingface_hub import parse_eval_result_entries

    text = exported(run, "hub", tmp_path / "run.yaml").read_text()
    (entry,) = parse_eval_result_entries(yaml.safe_load(text))
    assert (entry.dataset_id, entry.task_id, entry.value) == (
        "AI4Math/MathVista",
        "mathvista",
        62.5,
    )
    assert "protocol robust" in entry.notes and "1 unparsed" in entry.notes


def test_the_log_for_inspect(run, tmp_path):
    """The parts that inspect_ai 0.3.285 reads, each by the types of its own models."""
    folder = exported(run, "inspect", tmp_path / "logs")
    with zipfile.ZipFile(folder / "run_mathvista.eval") as log:
        header = json.loads(log.read("header.json"))
        sample = json.loads(log.read("samples/q0_epoch_1.json"))
        unread = json.loads(log.read("samples/q7_epoch_1.json"))
        assert len(json.loads(log.read("summaries.json"))) == len(log.namelist()) - 2 == 8
    assert header["version"] == 2 and header["status"] == "success"
    assert header["results"]["scores"][0]["metrics"]["accuracy"]["value"] == 0.625
    (user,) = sample["input"]
    assert [part["type"] for part in user["content"]] == ["text", "image", "text"]
    assert user["content"][1]["image"].startswith("data:image/png;base64,iVBOR")
    assert sample["scores"]["robust"]["value"] == "C"
    assert unread["scores"]["robust"] == {
        "value": "N",
        "answer": None,
        "explanation": "by unparsed",
    }
    assert sample["metadata"]["groups"] == ["geometry"]


def test_a_log_for_inspect_can_be_scored_again(run, tmp_path, driftbench):
    """Read by the reader of inspect's own logs: each answer is there once, as it was said."""
    from harness.runs.log import read_responses

    pocket = graded.write(tmp_path / "pocket", {f"q{i}": [str(i)] for i in range(8)}, task="pocket")
    log = exported(pocket, "inspect", tmp_path / "logs") / "pocket_pocket.eval"
    row = {"question": "what?", "answer": "7", "group": "g", "images": []}
    rows = [json.dumps(row | {"id": f"q{i}"}) + "\n" for i in range(8)]
    (tmp_path / "test.jsonl").write_text("".join(rows))
    words = ["--task", "pocket", "--responses", log, "--data", tmp_path, "--out", tmp_path / "o"]
    driftbench("score", *words)
    said = {one.id: one.text for one in read_responses(tmp_path / "o")}
    assert said == {f"q{i}": f"so {i}" for i in range(8)}
    assert read_run(tmp_path / "o").cells["pocket", "all"].correct == 1


def notes(run, out):
    (entry,) = yaml.safe_load(exported(run, "hub", out).read_text())
    return entry


def test_what_failed_and_whose_rows_they_are_is_told(tmp_path):
    """Four questions of MathVista: one right, one that was cut, two errors; rows of the hub."""
    commit = "c" * 40
    answers = {
        ("mathvista", f"q{i}"): [(right, how, None, "so")]
        for i, (right, how) in enumerate(
            [(True, "rule"), (None, "truncated"), (None, "error"), (None, "error")]
        )
    }
    questions = [Question(task=task, id=id, prompt="?") for task, id in answers]
    run = graded.write_run(tmp_path / "run", questions, answers)
    local = notes(run, tmp_path / "local.yaml")
    assert "revision" not in local["dataset"]
    assert "0 unparsed, 1 truncated, 2 errors; vllm 0.32.0, greedy, at most 40" in local["notes"]
    card = read_card(run)
    (task,) = card.tasks
    write_json(run / "run.json", replace(card, tasks=(replace(task, commit=commit),)))
    assert notes(run, tmp_path / "hub.yaml")["dataset"]["revision"] == commit
    head = yaml.safe_load(exported(run, "model-card", tmp_path / "card.md").read_text()[4:-5])
    ((result,),) = [model["results"] for model in head["model-index"]]
    assert result["dataset"]["revision"] == commit
    assert result["metrics"][0]["args"] == {
        "stderr": 25.0, "n": 4, "unparsed": 0, "truncated": 1, "errors": 2,
    }  # fmt: skip


def test_of_answers_that_were_collected_elsewhere_nothing_is_made_up(tmp_path):
    run = graded.write(tmp_path / "run", {"q0": ["7"]}, task="mathvista", engine="elsewhere")
    write_json(run / "run.json", replace(read_card(run), name="../Qwen/Qwen2.5-VL"))
    said = notes(run, tmp_path / "run.yaml")["notes"]
    assert said.endswith(
        "accuracy in percent over 1 questions, 0 unparsed, 0 truncated, 0 errors; answers that "
        "another tool collected"
    )
    results = json.loads(exported(run, "lm-eval", tmp_path / "results.json").read_text())
    assert results["config"].keys() == {"model", "model_args"}
    assert "generation_kwargs" not in results["configs"]["mathvista"]
    logs = exported(run, "inspect", tmp_path / "logs")
    (log,) = tmp_path.rglob("*.eval")
    assert log == logs / ".._Qwen_Qwen2.5-VL_mathvista.eval"
    with zipfile.ZipFile(log) as file:
        assert json.loads(file.read("header.json"))["plan"]["config"] == {}


def test_a_run_that_is_not_finished_goes_nowhere_but_into_a_log_that_says_so(
    run, tmp_path, mistake
):
    card = read_card(run)
    tasks = (replace(card.tasks[0], n=10),)
    write_json(run / "run.json", replace(card, tasks=tasks, finished=False))
    for format in ("lm-eval", "model-card", "hub"):
        said = mistake("export", run, "--format", format, "--out", tmp_path / "x")
        assert f"run is not finished, 8 of 10 answers are graded, and {format} has no word" in said
        assert not (tmp_path / "x").exists()
    with zipfile.ZipFile(exported(run, "inspect", tmp_path) / "run_mathvista.eval") as log:
        assert json.loads(log.read("header.json"))["status"] == "cancelled"


def test_mistakes(run, tmp_path, mistake):
    assert "did you mean lm-eval?" in mistake(
        "export", run, "--format lmeval --out", tmp_path / "x"
    )
    pocket = graded.write(tmp_path / "pocket", graded.bits("10"))
    said = mistake("export", pocket, "--format hub --out", tmp_path / "x")
    assert "no graded task whose data set is on the hub" in said
    assert "is a folder" in mistake("export", run, "--format lm-eval --out", tmp_path)
    assert not (tmp_path / "x").exists()
