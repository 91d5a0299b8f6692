"""POPE: VLMEvalKit's metrics and those by hand, loading."""

import gzip
import json

import published
import pytest

import tasks
from common.errors import UserError
from tasks import pope
from tasks.judging import settle

FILE = "pope_adversarial__synthetic_seed21"


def test_the_metrics_of_a_category_alone_are_those_of_all():
    records = published.records(FILE)
    found = pope.summary([(record, record["official_verdict"]) for record in records])
    names = {name.partition(" ")[2] for name in found}
    assert names == {"accuracy", "precision", "recall", "F1", "yes ratio"}
    assert all(found[f"adversarial {name}"] == found[f"all {name}"] for name in names)


def test_metrics_are_vlmevalkits_when_the_answers_read_are_known():
    expected = published.scores(FILE)["vlmevalkit"]
    graded = []
    for record in published.records(FILE):
        said = record["vlmevalkit_extraction"]
        right = said == record["answer"].capitalize()
        graded.append(({**record, "read": said}, right))
    found = pope.summary(graded)
    for name, metric in (("precision", "precision"), ("recall", "recall"), ("f1", "F1")):
        assert found[f"all {metric}"] == pytest.approx(expected[name], abs=1e-12)
    assert found["all accuracy"] == pytest.approx(expected["acc"], abs=1e-12)


def test_metrics_worked_out_by_hand():
    pairs = [("yes", "yes")] * 3 + [("yes", "no")] + [("no", "yes")] * 2 + [("no", "no")] * 2
    assert pope.rates(pairs) == {
        "accuracy": 5 / 8,
        "precision": 3 / 5,
        "recall": 3 / 4,
        "F1": pytest.approx(2 / 3),
        "yes ratio": 5 / 8,
    }
    assert pope.rates([("no", "no")])["F1"] == 0


def test_a_model_that_says_neither_is_wrong_and_not_a_yes():
    row = {"answer": "no", "metadata": {"category": "random"}, "read": None}
    assert pope.summary([(row, False)])["all yes ratio"] == 0
    assert pope.summary([(row, False)])["random accuracy"] == 0


def test_prompt_byte_for_byte():
    assert pope.to_prompt({"question": "Is there a dog?"}) == "<image>Is there a dog?"


def test_it_loads_from_the_benchmarks_own_files(tmp_path):
    rows = tasks.load("pope").rows(published.place("questions"))
    assert len(rows) == 9000
    assert sum(row["answer"] == "yes" for row in rows) == 4500
    assert rows[0]["id"] == "random_1"
    assert {tasks.load("pope").groups(row) for row in rows} == {
        ("random",), ("popular",), ("adversarial",)
    }  # fmt: skip
    with pytest.raises(UserError, match="picture .*COCO_val2014_.*does not exist"):
        tasks.load("pope").to_images(rows[0])


def test_it_loads_from_the_names_of_its_repository(tmp_path):
    line = {"question_id": 1, "image": "a.jpg", "text": "Is there a dog?", "label": "yes"}
    (tmp_path / "val2014").mkdir()
    (tmp_path / "val2014" / "a.jpg").write_bytes(published.picture())
    for category in pope.CATEGORIES:
        path = tmp_path / f"coco_pope_{category}.json"
        path.write_text(json.dumps(line) + "\n")
    task = tasks.load("pope")
    rows = task.rows(tmp_path)
    assert [row["id"] for row in rows] == ["random_1", "popular_1", "adversarial_1"]
    assert task.to_images(rows[0])[0].read_bytes() == published.picture()
    path.write_text("{")
    with pytest.raises(UserError, match="coco_pope_adversarial.json line 1 is not JSON"):
        task.rows(tmp_path)
    path.unlink()
    with pytest.raises(UserError, match="pope has no file of the adversarial questions"):
        task.rows(tmp_path)
    with gzip.open(f"{path}.gz", "wt") as file:
        file.write(json.dumps(line))
    assert len(task.rows(tmp_path)) == 3


def test_it_loads_from_a_snapshot_of_the_hub(tmp_path):
    row = {"id": "0", "question_id": "1", "question": "Is there a dog?", "answer": "yes",
           "image_source": "COCO_val2014_1", "image": published.picture(),
           "category": "popular"}  # fmt: skip
    published.snapshot(tmp_path / "data" / "test-00000-of-00003.parquet", [row])
    (found,) = tasks.load("pope").rows(tmp_path)
    assert found["id"] == "popular_1"
    assert settle(pope.by_vlmevalkit, found, "yes")[0] == ("Yes", True)


@pytest.mark.parametrize(
    ("thing", "text", "said"),
    [
        ("dog", "There is a brown dog on the left.", "yes"),
        ("dog", "There are two dogs.", "yes"),
        ("dining table", "The image shows a wooden dining table.", "yes"),
        ("teddy bear", "There is a teddy bear.", "yes"),
        ("dog", "There is no dog.", "no"),
        ("dog", "The image doesn't show a dog.", "no"),
        ("dog", "A dog is not visible.", "no"),
        ("dog", "No, there is no dog house either.", "no"),
        ("bear", "The image shows a teddy bear.", None),
        ("dog", "The image shows a hot dog.", None),
        ("car", "There is a toy car on the floor.", None),
        ("dog", "There is a dog house in the image.", None),
        ("dog", "There is no dog house.", None),
        ("bus", "There is a bus stop.", None),
        ("orange", "There is an orange cat on the sofa.", None),
        ("dog", "There is a dog-shaped cloud.", None),
        ("dog", "There is a dog missing.", None),
        ("dog", "The answer is not yes.", None),
        ("dog", "It's not a no.", None),
        ("dog", "Yes, there is no dog in the image.", None),
        ("dog", "No, there is a dog.", None),
    ],
)
def test_robust_reads_whether_the_object_itself_is_there(thing, text, said):
    row = {"question": f"Is there a {thing} in the image?", "answer": "yes"}
    assert pope.robust(row, text) == (said, None if said is None else said == "yes")
