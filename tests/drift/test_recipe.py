from dataclasses import asdict

import pytest
import yaml

from drift import recipe
from drift.errors import UserError
from drift.recipe import BUNDLED, parse

WHICH = {"vlm": "v", "data": "d"}


@pytest.mark.parametrize("path", sorted(BUNDLED.glob("*.yaml")), ids=lambda path: path.stem)
def test_bundled_recipes_parse(path):
    config = recipe.load(path, WHICH | {"reasoner": "r"})
    assert recipe.load(path.stem, WHICH | {"reasoner": "r"}) == config
    assert config.vlm == "v"


def test_the_pocket_recipes_are_one_field_apart():
    sft, drift = (
        asdict(recipe.load(f"pocket_{name}", WHICH | {"reasoner": "r"}))
        for name in ("sft", "drift")
    )
    assert {name for name in sft if sft[name] != drift[name]} == {"prior"}
    assert sft["prior"] is None


def test_settings_win_over_the_file(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(WHICH | {"lr": 0.1, "steps": 5}))
    words = ["lr=2e-6", "layers=[0, 3]", "prior=null", "seed=7", "train=[mlp]"]
    config = recipe.load(path, recipe.from_settings(words))
    assert (config.lr, config.layers, config.prior, config.seed) == (2e-6, (0, 3), None, 7)
    assert (config.steps, config.train) == (5, ("mlp",))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"learning_rate": 1}, "unknown field 'learning_rate'; there are vlm, data"),
        ({"alhpa": 1}, "unknown field 'alhpa'; did you mean alpha?"),
        ({"vlm": None}, "does not say vlm; add it or pass --set vlm=PATH"),
        ({"lr": "fast"}, "lr is of type float, not 'fast'"),
        ({"lr": 0}, "lr is 0.0; give more than 0"),
        ({"steps": 1.5}, "steps is of type int, not 1.5"),
        ({"steps": True}, "steps is of type int, not True"),
        ({"steps": -3}, "steps is -3; give more than 0"),
        ({"clip": -1}, "clip is -1.0; give 0 or more"),
        ({"warmup": 10}, "warmup is 10.0; give a share of the steps, below 1"),
        ({"live": "yes"}, "live is of type bool, not 'yes'"),
        ({"mode": "gradnorm"}, "mode is one of absolute, grad_norm, adaptive"),
        ({"modules": "attention"}, r"modules is a list, not 'attention'; write \[a, b\]"),
        ({"train": ["atention"]}, "train is one of attention, mlp, norm"),
        ({"train": []}, "train is empty"),
        ({"prior": "random"}, "the prior random needs a reasoner: a folder"),
        ({"prior": "random", "train": ["mlp"]}, "modules names attention, which train leaves"),
    ],
)
def test_a_slip_is_one_sentence(fields, sentence):
    with pytest.raises(UserError, match=sentence):
        parse(WHICH | fields, "r.yaml")


def test_numbers_are_read_as_meant():
    config = parse(WHICH | {"lr": "1e-6", "alpha": 1, "vlm": 7}, "r.yaml")
    assert (config.lr, config.alpha, config.vlm) == (1e-6, 1.0, "7")


def test_files_that_are_no_recipe(tmp_path):
    with pytest.raises(UserError, match="there is no recipe .*; bundled ones are pocket_drift"):
        recipe.load(tmp_path / "x.yaml")
    (tmp_path / "x.yaml").write_text("a: [")
    with pytest.raises(UserError, match="is no valid YAML"):
        recipe.load(tmp_path / "x.yaml")
    (tmp_path / "x.yaml").write_text("just words")
    with pytest.raises(UserError, match="holds no fields"):
        recipe.load(tmp_path / "x.yaml")
    with pytest.raises(UserError, match="--set takes key=value, not 'lr'"):
        recipe.from_settings(["lr"])
    with pytest.raises(UserError, match="the value is no YAML"):
        recipe.from_settings(["lr=["])
