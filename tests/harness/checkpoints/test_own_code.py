"""Checkpoints that bring code: refused, unless just this code is named; then a part of what ran."""

import json
import shutil

import pytest
import tiny_models as tiny

import tasks
from common.errors import UserError
from harness.checkpoints.own_code import own_code
from harness.checkpoints.preflight import open_checkpoint
from harness.evaluate.run import EvalConfig, run
from harness.runs.folder import read_card
from harness.runs.log import read_responses

CONFIGURATION = """
from transformers import Qwen3VLConfig

class OwnConfig(Qwen3VLConfig):
    model_type = "own_qwen"
"""
MODELING = """
from pathlib import Path
from transformers import Qwen3VLForConditionalGeneration
from .configuration_own import OwnConfig
from .helper_own import VALUE

Path("{mark}").write_text("ran")

class OwnModel(Qwen3VLForConditionalGeneration):
    config_class = OwnConfig
"""
FILES = ("configuration_own.py", "helper_own.py", "modeling_own.py")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return tiny.make_vlm("qwen3_vl", tmp_path_factory.mktemp("plain") / "vlm")


@pytest.fixture
def own(plain, tmp_path):
    """Qwen3-VL as a type of its own, whose code leaves a mark when it runs."""
    folder = tmp_path / "own"
    shutil.copytree(plain, folder)
    config = json.loads((folder / "config.json").read_text())
    auto = {"AutoConfig": "configuration_own.OwnConfig"}
    auto["AutoModelForImageTextToText"] = "modeling_own.OwnModel"
    config |= {"model_type": "own_qwen", "auto_map": auto, "architectures": ["OwnModel"]}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "configuration_own.py").write_text(CONFIGURATION)
    (folder / "helper_own.py").write_text("VALUE = 1")
    (folder / "modeling_own.py").write_text(MODELING.format(mark=tmp_path / "mark"))
    return folder


def digest_of(folder):
    return own_code(folder, json.loads((folder / "config.json").read_text())).digest


def test_code_is_refused_with_both_ways_out_and_the_digest_of_all_that_is_reached(own, tmp_path):
    with pytest.raises(UserError) as caught:
        open_checkpoint(own)
    sentence = str(caught.value)
    assert f"code of its own ({', '.join(FILES)}), which is not run" in sentence
    assert "`vllm serve --trust-remote-code` and ask it with --engine server" in sentence
    assert "a converted checkpoint" in sentence
    assert f"--trust-code {digest_of(own)}" in sentence
    with pytest.raises(
        UserError, match=f"has the digest {digest_of(own)}, not 0123: read it again"
    ):
        open_checkpoint(own, trusted="0123")
    assert not (tmp_path / "mark").exists()


def test_named_code_runs_is_recorded_and_is_part_of_the_fingerprint(
    plain, own, tmp_path, world, monkeypatch
):
    monkeypatch.setattr(
        "transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules")
    )
    opened, first = open_checkpoint(own, trusted=digest_of(own)), digest_of(own)
    config = EvalConfig(data=world, max_tokens=6)
    for name, checkpoint in (("own", opened), ("plain", open_checkpoint(plain))):
        run([checkpoint], [tasks.load("pocket")], tmp_path / f"run-{name}", config, engine="hf")
    texts = [
        {one.id: one.text for one in read_responses(tmp_path / f"run-{name}")}
        for name in ("own", "plain")
    ]
    assert texts[0] == texts[1] and any(texts[0].values())
    assert (tmp_path / "mark").read_text() == "ran"
    (note,) = (
        one for one in read_card(tmp_path / "run-own").notes if "code of its own was run" in one
    )
    assert first in note and "commit of the weights unknown, of the code unknown" in note
    (own / "helper_own.py").write_text("# another")
    assert digest_of(own) != first
    again = open_checkpoint(own, trusted=digest_of(own))
    assert again.fingerprint != opened.fingerprint


def test_the_commit_is_that_of_the_snapshot(own, tmp_path):
    (tmp_path / "snapshots").mkdir()
    shutil.move(own, tmp_path / "snapshots" / "abc123")
    place = tmp_path / "snapshots" / "abc123"
    note = open_checkpoint(place, trusted=digest_of(place)).notes[0]
    assert "commit of the weights abc123, of the code abc123" in note


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"AutoModel": "other/repo--modeling.Model"}, "code from another repository (other/repo)"),
        ({"AutoModel": "missing_own.Model"}, "needs missing_own.py, code of its own, which is not"),
        ({"AutoModel": "../x.Model"}, "is no module and class"),
    ],
)
def test_code_that_lies_elsewhere_is_refused(own, change, said):
    config = json.loads((own / "config.json").read_text())
    config["auto_map"] |= change
    (own / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError) as caught:
        open_checkpoint(own, trusted="0123")
    assert said in str(caught.value)


def test_imports_from_outside_and_what_is_no_python_are_refused(own):
    for text, said in (("from ..x import y", "outside its folder"), ("def", "is no Python")):
        (own / "helper_own.py").write_text(text)
        with pytest.raises(UserError, match=said):
            open_checkpoint(own)


def test_where_transformers_has_a_class_code_is_neither_wanted_nor_run(plain, tmp_path):
    shutil.copytree(plain, tmp_path / "both")
    config = json.loads((plain / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "modeling_qwen.Qwen"}
    (tmp_path / "both" / "config.json").write_text(json.dumps(config))
    assert open_checkpoint(tmp_path / "both").code is None
    with pytest.raises(UserError, match="needs no code of its own: leave --trust-code out"):
        open_checkpoint(tmp_path / "both", trusted="0123")
