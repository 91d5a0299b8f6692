import json
import subprocess
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import pytest

from common import provenance
from common.errors import UserError
from common.provenance import (
    Cost,
    Made,
    Parent,
    cost_of,
    lineage,
    package_versions,
    read_made,
    whole,
    write_made,
)


def test_made_json_holds_versions_and_parents(tmp_path):
    made = Made(
        method="merge", name="x", parents=(Parent("vlm", "a", "f"),), settings={"alpha": 0.5}
    )
    write_made(tmp_path, made)
    read_back = json.loads((tmp_path / "made.json").read_text())
    assert read_back["parents"] == [{"role": "vlm", "path": "a", "fingerprint": "f"}]
    assert read_back["packages"]["torch"] == version("torch")
    assert set(read_back) == {
        "method", "name", "parents", "settings", "coverage", "cost", "packages", "git",
        "tokens", "reached",
    }  # fmt: skip


def test_what_is_written_reads_back(tmp_path):
    made = Made(method="sft", parents=(Parent("vlm", "a", "f"),), cost={"seconds": 1.5})
    assert read_made(tmp_path) is None
    write_made(tmp_path, made)
    written = replace(made, packages=package_versions(), git=provenance.git_commit())
    assert read_made(tmp_path) == written
    # What a file does not say is unknown, not what it is here.
    (tmp_path / "made.json").write_text('{"method": "lora"}')
    assert read_made(tmp_path) == Made(method="lora", packages={}, git=None)


def test_what_making_took_is_told_as_numbers_or_refused():
    made = Made(method="sft", name="x", cost={"seconds": 3, "memory": {"peak": 1}})
    assert cost_of(made) == Cost(seconds=3.0) and cost_of(None) == Cost()
    with pytest.raises(UserError, match="made.json of x: cost: seconds is of type float, not 'a'"):
        cost_of(replace(made, cost={"seconds": "a"}))


def made_at(folder, method, parents=(), **cost):
    """A checkpoint in a folder, as a parent of another."""
    folder.mkdir()
    before = [asdict(one) for one in lineage(parents, cost.pop("notes", ()))]
    cost = {name: value for name, value in cost.items() if value is not None}
    write_made(folder, Made(method=method, name=folder.name, cost=cost | {"before": before}))
    return Parent("vlm", str(folder), f"print of {folder.name}")


def test_a_checkpoint_costs_what_it_was_made_from_too_each_thing_once(tmp_path):
    """SFT on sampled rows, DRIFT from it, a merge of the two, SFT from the merge."""
    base = made_at(tmp_path / "vlm", "pocket-vlm", processor_seconds=50.0)
    hub = Parent("reasoner", str(tmp_path / "elsewhere"), "unknown here")
    note = tmp_path / "own.made.json"
    rows = Made(method="rows", name="own", cost={"flops": 7, "processor_seconds": 0.5})
    note.write_text(json.dumps(asdict(rows)))

    sft = made_at(
        tmp_path / "sft", "sft", (base, hub), flops=100, processor_seconds=3.0, notes=[note]
    )
    drift = made_at(tmp_path / "drift", "drift", (sft, hub), flops=20, processor_seconds=2.0)
    both = made_at(tmp_path / "both", "merge", (sft, drift), flops=0, processor_seconds=0.25)
    last = made_at(tmp_path / "last", "sft", (both,), flops=1000, processor_seconds=10.0)

    def wholes(one):
        cost = cost_of(read_made(Path(one.path)))
        return whole(cost, "flops"), whole(cost, "processor_seconds")

    assert wholes(base) == (None, 50.0)
    assert wholes(sft) == (100 + 7, 3.0 + 0.5)
    assert wholes(drift) == (20 + 107, 2.0 + 3.5)
    assert wholes(both) == (0 + 100 + 7 + 20, 0.25 + 3.0 + 0.5 + 2.0)
    assert wholes(last) == (1000 + 127, 10.0 + 5.75)
    before = cost_of(read_made(tmp_path / "last")).before
    assert [(one.name, one.method) for one in before] == [
        ("own", "rows"), ("sft", "sft"), ("drift", "drift"), ("both", "merge")
    ]  # fmt: skip


def test_what_nobody_measured_makes_the_whole_unknown(tmp_path):
    old = made_at(tmp_path / "old", "sft", flops=10, processor_seconds=None)
    made_at(tmp_path / "new", "sft", (old,), flops=5, processor_seconds=1.0)
    cost = cost_of(read_made(tmp_path / "new"))
    assert (whole(cost, "flops"), whole(cost, "processor_seconds")) == (15, None)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "made.json is not JSON: "),
        ("[" * 100_000, "made.json is nested more than 100 deep"),
        ("[]", "made.json is not a JSON object"),
        ("{}", "made.json has no field method"),
        ('{"method": "sft", "by": "me"}', "made.json has the unknown field 'by'"),
        ('{"method": "sft", "parents": [1]}', r"made.json: parents\[0\] is an object, not 1"),
        ('{"method": "sft", "cost": 3}', "made.json: cost is a table of names and values, not 3"),
    ],
)
def test_another_file_of_this_name_is_refused(tmp_path, text, sentence):
    (tmp_path / "made.json").write_text(text)
    with pytest.raises(UserError, match=sentence):
        read_made(tmp_path)


def test_packages_that_are_not_installed_have_no_version():
    assert package_versions(["pytest", "no-such-package"]) == {"pytest": pytest.__version__}


def test_the_commit_is_that_of_this_checkout(tmp_path, monkeypatch):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "common").mkdir()
    code = tmp_path / "common" / "provenance.py"
    code.write_text("1")
    monkeypatch.setattr(provenance, "__file__", str(code))
    commit = provenance.git_commit.__wrapped__
    assert commit() is None
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True)
    head = subprocess.check_output([*git, "rev-parse", "HEAD"], text=True).strip()
    assert commit() == head
    Path(code).write_text("2")
    assert commit() == head + "+"
