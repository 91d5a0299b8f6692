"""Which questions count as one: those of one problem, or about one picture."""

import tasks
from harness.evaluate.grade import cluster_of as named
from harness.runs.schema import Image, Question


def cluster_of(task, row, images=()):
    question = Question(task=task, id=row["id"], prompt="?", images=tuple(images), row=row)
    return named(tasks.load(task), question)


def pocket(id, **row):
    return {"id": id, "answer": "7", "group": "reasoning-image", **row}


def image(letter):
    return Image(letter * 64, ".png", b"")


def test_versions_of_a_chain_are_one_problem():
    ids = [f"test-reasoning-{version}-0004" for version in ("image", "both", "text")]
    assert {cluster_of("pocket", pocket(id)) for id in ids} == {"reasoning-0004"}
    assert cluster_of("pocket", pocket("test-reasoning-text-0005")) == "reasoning-0005"
    assert cluster_of("pocket", pocket("test-perception-0004")) == ""


def test_questions_about_one_picture_are_one_cluster():
    first, second, other = (
        cluster_of("pocket", pocket(id), images)
        for id, images in (
            ("a", [image("1"), image("2")]),
            ("b", [image("1"), image("2")]),
            ("c", [image("1")]),
        )
    )
    assert first == second != other


def test_a_picture_that_is_not_at_hand_is_known_by_its_name():
    assert cluster_of("pocket", pocket("a", images=["images/x.png"])) == "images/x.png"


def test_figures_of_one_set_are_one_cluster():
    task = tasks.load("hallusionbench")
    details = {"category": "VD", "subcategory": "map"}
    rows = [
        {"metadata": {**details, "set_id": set_id, "figure_id": figure}}
        for set_id, figure in (("1", "0"), ("1", "2"), ("2", "0"))
    ]
    assert [task.cluster(row) for row in rows] == ["VD_map_1", "VD_map_1", "VD_map_2"]


def test_passes_of_one_question_are_one_cluster():
    task = tasks.load("mmbench")
    found = [task.cluster({"id": id}) for id in ("241", "1000241", "2000241", "242")]
    assert found == ["241", "241", "241", "242"]
