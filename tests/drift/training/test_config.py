from dataclasses import asdict

import pytest
import yaml

from common.errors import UserError
from drift.published import PUBLISHED
from drift.training import config as recipe
from drift.training.config import BUNDLED, parse

WHICH = {"vlm": "v", "data": "d"}
WORD = {"reward": "word"}


@pytest.mark.parametrize("path", sorted(BUNDLED.glob("*.yaml")), ids=lambda path: path.stem)
def test_bundled_recipes_parse(path):
    config = recipe.load(path, WHICH | {"reasoner": "r"})
    assert recipe.load(path.stem, WHICH | {"reasoner": "r"}) == config
    assert (config.vlm, config.data, config.reasoner) == ("v", "d", "r")


def test_the_pocket_recipes_are_one_field_apart():
    sft, drift = (
        asdict(recipe.load(f"pocket_{name}", WHICH | {"reasoner": "r"}))
        for name in ("sft", "drift")
    )
    assert {name for name in sft if sft[name] != drift[name]} == {"prior"}
    assert sft["prior"] is None


def differences(name):
    """What a recipe sets otherwise than the one that it extends."""
    raw = yaml.safe_load((BUNDLED / f"{name}.yaml").read_text())
    ours, theirs = (asdict(recipe.load(one)) for one in (name, raw["extends"]))
    found = {key: ours[key] for key in ours if ours[key] != theirs[key]}
    assert found.keys() == raw.keys() - {"extends"}  # nothing is said twice
    return raw["extends"], found


ATTN, MLP = ("attention",), ("mlp",)
NORM, HEAD = ("attention", "mlp", "norm"), ("attention", "mlp", "norm", "head")


@pytest.mark.parametrize(
    ("name", "baseline", "fields"),
    [
        ("drift", "sft", {"prior": "reasoner-vlm"}),
        ("drift_published", "drift", {"when": "backward"}),
        ("drift_math", "drift", {"reasoner": "Qwen/Qwen2.5-Math-7B"}),
        ("drift_stage", "drift", {"prior": "reasoner-base", "base": "Qwen/Qwen2.5-Math-7B"}),
        ("drift_attn", "drift", {"modules": ATTN}),
        ("drift_mlp", "drift", {"modules": MLP}),
        ("drift_norm", "drift", {"modules": NORM}),
        ("drift_head", "drift", {"modules": HEAD}),
        ("drift_absolute", "drift", {"mode": "absolute"}),
        ("drift_grad_norm", "drift", {"mode": "grad_norm"}),
        ("drift_grad_norm_attn", "drift_grad_norm", {"modules": ATTN}),
        ("drift_grad_norm_mlp", "drift_grad_norm", {"modules": MLP}),
        ("drift_grad_norm_norm", "drift_grad_norm", {"modules": NORM}),
        ("drift_grad_norm_head", "drift_grad_norm", {"modules": HEAD}),
        ("drift_grad_norm_half", "drift_grad_norm", {"alpha": 0.5}),
        ("drift_random", "drift", {"prior": "random"}),
        ("drift_shuffled", "drift", {"prior": "shuffled"}),
        ("drift_negated", "drift", {"prior": "negated"}),
        ("l2sp_reasoner", "drift_absolute", {"alpha": 0.1, "live": True}),
        ("l2sp_start", "l2sp_reasoner", {"toward": "start"}),
        (
            "digrap",
            "drift",
            {"mode": "project_learnt", "live": True, "toward": "start", "save_every": 0},
        ),
        (
            "spd",
            "drift",
            {"alpha": 0.0, "toward": "start", "anchor": "spd", "anchor_strength": 1.0},
        ),
    ],
)
def test_runs_of_the_paper_are_one_change_from_their_baseline(name, baseline, fields):
    assert differences(f"qwen2_5_vl_{name}") == (f"qwen2_5_vl_{baseline}", fields)


def test_runs_with_llava_are_those_with_qwen_on_other_models():
    baseline, fields = differences("llava_next_sft")
    assert (baseline, set(fields)) == ("qwen2_5_vl_sft", {"vlm", "reasoner", "max_tokens"})
    found = differences("llava_next_drift")
    assert found == ("llava_next_sft", {"prior": "reasoner-vlm"})


@pytest.mark.parametrize(
    "family", ["qwen2_5_vl_3b", "qwen3_vl_2b", "qwen3_vl_4b", "internvl3_2b", "smolvlm"]
)
def test_small_vlms_have_full_weights_and_adapters_plain_and_pulled(family):
    sft, drift, lora, lora_drift = (
        asdict(recipe.load(f"{family}_{name}"))
        for name in ("sft", "drift", "lora_sft", "lora_drift")
    )

    def changed(one, other):
        return {name: other[name] for name in one if one[name] != other[name]}

    assert changed(sft, drift) == changed(lora, lora_drift) == {"prior": "reasoner-vlm"}
    adapters = {"adapter_rank": 64, "adapter_alpha": 64, "lr": 1e-4, "offload": True}
    assert changed(sft, lora) == adapters


@pytest.mark.parametrize("path", sorted(BUNDLED.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_models_of_a_recipe_pair_in_their_published_dimensions(path):
    """`test_published.py` pairs every tensor of attention, MLP and norms of these."""
    if path.stem.startswith("pocket"):
        pytest.skip("its models are made on the spot")
    config = recipe.load(path)
    pairs = {(one.vlm, one.llm): one for one in PUBLISHED}
    for partner in filter(None, (config.reasoner, config.base)):
        found = pairs[config.vlm, partner]
        if "head" in config.modules:
            shapes = {
                (one["vocab_size"], one["hidden_size"]) for one in (found.inside, found.partner)
            }
            assert len(shapes) == 1
            assert not found.inside["tie_word_embeddings"]


def test_the_settings_of_the_paper():
    """arXiv 2510.15050v2, section 4.1, and the authors' configuration."""
    sft = recipe.load("qwen2_5_vl_sft")
    assert (sft.vlm, sft.prior) == ("Qwen/Qwen2.5-VL-7B-Instruct", None)
    assert (sft.lr, sft.lr_schedule, sft.warmup, sft.epochs) == (1e-6, "cosine", 0.05, 3)
    assert (sft.batch, sft.accumulate, sft.clip, sft.weight_decay) == (1, 1, 1.0, 0.0)
    assert (sft.max_tokens, sft.image_max_pixels) == (32768, 262144)
    assert sft.add_tokens == ("<think>", "</think>")
    assert not {"tower", "projector"} & set(sft.train)
    drift = recipe.load("qwen2_5_vl_drift")
    assert (drift.mode, drift.alpha, drift.modules) == ("adaptive", 1.0, ("attention", "mlp"))


def test_extending(tmp_path):
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(WHICH | {"lr": 0.1, "steps": 5}))
    (tmp_path / "b.yaml").write_text("extends: a\nsteps: 7\n")
    (tmp_path / "c.yaml").write_text("extends: b.yaml\nclip: 0\n")
    (tmp_path / "mine.yaml").write_text("extends: pocket_sft\nvlm: v\ndata: d\nlr: 1\n")
    config = recipe.load(tmp_path / "c.yaml", {"batch": 2})
    assert (config.lr, config.steps, config.clip, config.batch) == (0.1, 7, 0.0, 2)
    assert recipe.load(tmp_path / "mine.yaml").batch == 16
    (tmp_path / "a.yaml").write_text("extends: c\n")
    with pytest.raises(UserError, match="c.yaml extends itself, by way of .*c.yaml, .*a.yaml"):
        recipe.load(tmp_path / "c.yaml")
    (tmp_path / "a.yaml").write_text("extends: [b]\n")
    with pytest.raises(UserError, match=r"a.yaml: extends names one recipe, not \['b'\]"):
        recipe.load(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("extends: gone\n")
    with pytest.raises(UserError, match="there is no recipe gone; bundled ones are"):
        recipe.load(tmp_path / "a.yaml")


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
        ({"train": ["atention"]}, r"train\[0\] is one of attention, mlp, norm"),
        ({"train": []}, "train is empty"),
        ({"prior": "random"}, "the prior random needs a reasoner: a folder, or"),
        ({"mode": "project", "alpha": 2}, "r.yaml: alpha is 2.0 with mode project"),
        ({"toward": "start"}, "r.yaml: toward: start is for live and anchor"),
        ({"anchor": "spd", "anchor_strength": 1}, "anchor is spd and prior null; name a prior"),
        (
            {"anchor": "l2_sp", "anchor_strength": 2e4, "lr": 2e-4, "prior": "reasoner-vlm"},
            "anchor_strength is 4, the share",
        ),
        ({"alpha": 0.0, "stop_rho": 0.1}, "are of the pull, and alpha is 0"),
        ({"alpha": 0.0, "alpha_schedule": "decay"}, "are of the pull, and alpha is 0"),
        ({"mode": "project_learnt", "save_every": 9}, "save_every is 9, but what project_learnt"),
        ({"prior": "random", "modules": []}, "modules is empty, .*prior: null for plain fine-tun"),
        ({"stop_rho": 0}, "stop_rho is 0.0; give more than 0"),
        ({"image_max_pixels": -1}, "image_max_pixels is -1; give more than 0"),
        ({"prior": "random", "train": ["mlp"]}, "modules names attention, which train leaves"),
        ({"reward": "points"}, "reward is one of word, math"),
        (
            WORD | {"prior": "random", "reasoner": "r"},
            "prior is random and reward word: .* set prior: null",
        ),
        (WORD | {"generations": 1}, "generations is 1; give 2 or more"),
        (WORD | {"batch": 5}, "8 questions × 8 generations .* a divisor of 64"),
        (WORD | {"accumulate": 2}, "accumulate is 2, .* leave accumulate out"),
        (WORD | {"add_tokens": ["<a>"]}, "add them in fine-tuning, and start from that"),
        (WORD | {"beta": -1}, "beta is -1.0; give 0 or more"),
        (WORD | {"temperature": 0}, "temperature is 0.0; give more than 0"),
    ],
)
def test_a_slip_is_one_sentence(fields, sentence):
    with pytest.raises(UserError, match=sentence):
        parse(WHICH | fields, "r.yaml")


def test_numbers_are_read_as_meant():
    config = parse(WHICH | {"lr": "1e-6", "alpha": 1, "vlm": 7}, "r.yaml")
    assert (config.lr, config.alpha, config.vlm) == (1e-6, 1.0, "7")


def test_files_that_are_no_recipe(tmp_path):
    with pytest.raises(UserError, match=r"qwen2_5_vl_drfit; did you mean qwen2_5_vl_drift\?"):
        recipe.load("qwen2_5_vl_drfit")
    with pytest.raises(
        UserError, match="there is no recipe .*; bundled ones are internvl3_2b_drift"
    ):
        recipe.load(tmp_path / "x.yaml")
    for nameless in (".", "", "/"):
        with pytest.raises(UserError, match=r"there is no recipe [./]; bundled ones are"):
            recipe.load(nameless)
    (tmp_path / "x.yaml").write_text("a: [")
    with pytest.raises(UserError, match="is no valid YAML"):
        recipe.load(tmp_path / "x.yaml")
    (tmp_path / "x.yaml").write_text("just words")
    with pytest.raises(UserError, match="holds no fields"):
        recipe.load(tmp_path / "x.yaml")
    with pytest.raises(UserError, match="--set takes key=value, not 'lr'"):
        recipe.from_settings(["lr"])
    with pytest.raises(UserError, match="the value of --set lr is no valid YAML"):
        recipe.from_settings(["lr=["])


def test_rows_may_lie_in_several_places():
    one, two = (parse(WHICH | {"data": data}, "mine") for data in ("a", ["a", "b", "a"]))
    assert one.places == ("a",) and two.places == ("a", "b", "a")
    with pytest.raises(UserError, match="data is an empty list"):
        parse(WHICH | {"data": []}, "mine")
