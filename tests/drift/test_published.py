"""Real dimensions: transformers' own models on the meta device, laid out as they lie on disk."""

import re
from math import prod

import pytest

from drift import compatibility
from drift.families import FAMILIES, decoder, family_of
from drift.hollow import configured, lay_out, live
from drift.pairing import pair
from drift.published import PUBLISHED

ATTENTION = tuple(f"self_attn.{part}_proj" for part in "qkvo")
MLP = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
SEVEN_B = {
    "self_attn.q_proj": (3584, 3584), "self_attn.k_proj": (512, 3584),
    "self_attn.v_proj": (512, 3584), "self_attn.o_proj": (3584, 3584),
    "mlp.gate_proj": (18944, 3584), "mlp.up_proj": (18944, 3584), "mlp.down_proj": (3584, 18944),
}  # fmt: skip


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda one: f"{one.vlm} + {one.llm}")
def test_every_published_pair_is_paired_completely(published, tmp_path):
    model = live(configured(published.of_vlm()))
    in_memory = decoder(model)[1]
    vlm = lay_out(model, tmp_path / "vlm")
    llm = lay_out(live(configured(published.partner)), tmp_path / "llm")
    assert family_of(vlm).model_type == published.model_type
    weights = {weight.name: weight for weight in pair(vlm, llm).weights}
    layers = published.inside["num_hidden_layers"]
    wanted = {f"layers.{i}.{part}.weight" for i in range(layers) for part in ATTENTION + MLP}
    if published.partner["model_type"] == "qwen2":
        wanted |= {f"layers.{i}.{part}.bias" for i in range(layers) for part in ATTENTION[:3]}
    inside = {name for name, weight in weights.items() if weight.role in ("attention", "mlp")}
    assert inside == wanted
    bases = [one["rope_parameters"]["rope_theta"] for one in (published.inside, published.partner)]
    warned = any("rope_theta" in line for line in compatibility.warnings(vlm, llm))
    assert warned == (bases[0] != bases[1])
    # The same tensors, with the same names and shapes, as in memory.
    assert all(tuple(in_memory[name].shape) == weights[name].shape for name in wanted)
    prefix, head = family_of(vlm).layouts[0]  # the hub's form, not what other writers left
    assert all(one.vlm_key.startswith((prefix, head)) for one in weights.values())
    assert not any(re.search("vis|connector|projector", one.vlm_key) for one in weights.values())


def test_the_dimensions_are_those_of_the_papers(tmp_path):
    """6.525 billion weights are pulled in Qwen2.5-VL-7B: attention and MLP, with biases."""
    published = PUBLISHED[3]
    assert published.llm == "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"
    llm = live(configured(published.partner))
    shapes = {name: tuple(p.shape) for name, p in decoder(llm)[1].items()}
    for part, shape in SEVEN_B.items():
        assert shapes[f"layers.27.{part}.weight"] == shape
    pulled = sum(prod(s) for n, s in shapes.items() if "self_attn" in n or "mlp" in n)
    assert pulled == 28 * (sum(map(prod, SEVEN_B.values())) + 3584 + 2 * 512)
    assert round(pulled / 1e9, 3) == 6.525
    assert round(sum(map(prod, shapes.values())) / 1e9, 2) == 7.62  # as its model card says


def test_published_pairs_are_of_families_that_admit_them():
    known = {family.model_type: family for family in FAMILIES}
    for published in PUBLISHED:
        assert published.partner["model_type"] in known[published.model_type].text_types
