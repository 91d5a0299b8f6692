import json
import random

import pytest
import torch
import transformers as tf
from safetensors import safe_open

from common.errors import UserError
from drift.pairing import pair
from drift.pocket import build, models, stages, world

SHORT = 0.01
"""Share of the steps: five for a base."""
CLOSE = stages.Schooling()


@pytest.fixture(scope="module", params=models.FAMILIES)
def made(request, tmp_path_factory):
    """Family and folder of a base, a VLM and a reasoner with hardly any training."""
    family, folder = request.param, tmp_path_factory.mktemp(request.param)
    build.base(family, folder / "base", 0, SHORT)
    build.vlm(family, folder / "base", folder / "vlm", share=0.7, seed=0, length=SHORT)
    build.reasoner(family, folder / "base", folder / "reasoner", CLOSE, seed=0, length=SHORT)
    return family, folder


def tensors(folder):
    with safe_open(folder / "model.safetensors", "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def strip(digits=(3, 4, 2, 1)):
    return world.strip(digits, world.glyphs(0, "test", 1), random.Random(0))


def test_loads_as_an_ordinary_checkpoint_and_pairs_whole(made):
    family, folder = made
    vlm, report = tf.AutoModelForImageTextToText.from_pretrained(
        folder / "vlm", output_loading_info=True
    )
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert vlm.config.model_type == family
    layers = 4 * (9 + 3 * (family == "qwen2_5_vl"))
    decoder = [w for w in pair(folder / "vlm", folder / "reasoner").weights if w.layer is not None]
    assert len(decoder) == layers


def test_names_on_disk_are_those_of_the_hub(made):
    family, folder = made
    expected = {
        "qwen2_5_vl": ("model.layers.0.mlp.up_proj.weight", "visual.patch_embed.proj.weight"),
        "llava_next": (
            "language_model.model.layers.0.mlp.up_proj.weight",
            "vision_tower.vision_model.embeddings.patch_embedding.weight",
        ),
        "idefics3": (
            "model.text_model.layers.0.mlp.up_proj.weight",
            "model.vision_model.embeddings.patch_embedding.weight",
        ),
    }[family]
    assert set(expected) <= tensors(folder / "vlm").keys()


def test_the_strip_is_one_visual_token_a_card_in_the_order_of_the_cards(made):
    family, folder = made
    processor = tf.AutoProcessor.from_pretrained(folder / "vlm")
    seen = processor(text=[models.PICTURE[family]], images=[[strip()]], return_tensors="pt")
    visual = processor.tokenizer.convert_tokens_to_ids(
        "<|image_pad|>" if family == "qwen2_5_vl" else "<image>"
    )
    extra = {"qwen2_5_vl": 0, "llava_next": 2, "idefics3": 1}[family]  # thumbnail, end of row
    assert int((seen["input_ids"] == visual).sum()) == world.CARDS + extra
    # Another third card changes that card's feature, and those before it at most by attention.
    model = tf.AutoModelForImageTextToText.from_pretrained(folder / "vlm")
    picture = {n: v for n, v in seen.items() if n.startswith(("pixel", "image"))}
    other = processor(
        text=[models.PICTURE[family]], images=[[strip((3, 4, 9, 1))]], return_tensors="pt"
    )
    changed = {n: v for n, v in other.items() if n.startswith(("pixel", "image"))}
    with torch.no_grad():
        moved = stages._card_features(model, family, picture) - stages._card_features(
            model, family, changed
        )
    assert moved[0].norm(dim=-1).argmax() == 2


def test_batches_read_like_the_processor_and_its_template(made):
    family, folder = made
    processor = tf.AutoProcessor.from_pretrained(folder / "vlm")
    question, answer = "<image> compute + * - ?", "<think> 3 + 4 = 7 </think> 7"
    ids, labels = stages.Encoder(family).batch([(question, answer)])
    text = " compute + * - ?"
    user = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}
    said = {"role": "assistant", "content": [{"type": "text", "text": answer}]}
    whole = processor.apply_chat_template([user, said])
    asked = processor.apply_chat_template([user], add_generation_prompt=True)
    expected = processor(text=[whole], images=[[strip()]], return_tensors="pt")["input_ids"]
    prompt = processor(text=[asked], images=[[strip()]], return_tensors="pt")["input_ids"]
    assert torch.equal(ids, expected)
    assert (labels[0, : prompt.shape[1]] == -100).all()
    assert torch.equal(labels[0, prompt.shape[1] :], ids[0, prompt.shape[1] :])


@pytest.mark.parametrize("name", ["base", "vlm", "reasoner"])
def test_the_saved_tokenizer_reads_as_the_models_were_taught(made, name):
    family, folder = made
    words = tf.AutoTokenizer.from_pretrained(folder / name)
    question, answer = "hand 3 4 2 1 ; compute + * - ?", "<think> 3 + 4 = 7 </think> 7"
    ids, labels = stages.Encoder(family).batch([(question, answer)])
    user, said = ({"role": r, "content": c} for r, c in (("user", question), ("assistant", answer)))
    whole = words.apply_chat_template([user, said], tokenize=False)
    assert words(whole, add_special_tokens=False)["input_ids"] == ids[0].tolist()
    spoken = words.decode(labels[0][labels[0] != -100], skip_special_tokens=True)
    assert spoken.replace(" ", "") == answer.replace(" ", "")


def test_chosen_pictures_are_what_the_processor_makes_of_them(made):
    family, folder = made
    pictures = stages.Pictures(family, seed=0, size=6)
    rng = world.split_rng(0, "train", "strips of the schooling")
    bank = world.glyphs(0, "train", per_digit=200)
    for _ in range(6):
        world.random_digits(rng)
    strips = [world.strip(digits, bank, rng) for digits in pictures.digits]
    processor = tf.AutoProcessor.from_pretrained(folder / "vlm")
    expected = processor(
        text=[models.PICTURE[family]] * 2, images=[[strips[4]], [strips[1]]], return_tensors="pt"
    )
    for name, value in pictures.select([4, 1]).items():
        assert torch.equal(value, expected[name])


def test_training_repeats_itself_byte_for_byte(made, tmp_path):
    family, folder = made
    build.vlm(family, folder / "base", tmp_path / "vlm", share=0.7, seed=0, length=SHORT)
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (tmp_path / "vlm" / name).read_bytes() == (folder / "vlm" / name).read_bytes()


def test_growing_moves_only_what_it_should(made):
    family, folder = made
    base, reasoner, vlm = (tensors(folder / name) for name in ("base", "reasoner", "vlm"))
    for weight in pair(folder / "vlm", folder / "reasoner").weights:
        name = weight.llm_key
        if name not in base or weight.vlm_key not in vlm:
            continue
        moved = not torch.equal(base[name], reasoner[name])
        assert moved == ("_proj" in name), name
        if "embed" not in name:
            assert (not torch.equal(base[name], vlm[weight.vlm_key])) == ("_proj" in name), name
    words = models.tokenizer(family)
    table = next(
        w.vlm_key for w in pair(folder / "vlm", folder / "reasoner").weights if "embed" in w.vlm_key
    )
    rows = (vlm[table] != base["model.embed_tokens.weight"]).any(1).nonzero().flatten().tolist()
    assert set(words.convert_ids_to_tokens(rows)) <= set(models.SPECIAL[family])


def test_qwen_counts_places_along_the_strip(tmp_path):
    model = models.vlm("qwen2_5_vl", 1000.0)
    ids, _ = stages.Encoder("qwen2_5_vl").batch([("<image> which is first ?", "1")])
    places, _ = model.model.get_rope_index(
        ids, (ids == model.config.image_token_id).int(), image_grid_thw=torch.tensor([[1, 2, 8]])
    )
    # The width axis has all frequencies: a strip reads like words in a row.
    assert model.config.text_config.rope_parameters["mrope_section"] == [0, 0, 16]
    assert torch.equal(places[2, 0], torch.arange(ids.shape[1]))


def test_a_far_reasoner_has_another_rope_base(made, tmp_path):
    family, folder = made
    school = stages.Schooling(distance="far", rope="other")
    build.reasoner(family, folder / "base", tmp_path / "far", school, seed=0, length=SHORT)
    config = tf.AutoConfig.from_pretrained(tmp_path / "far")
    assert config.rope_parameters["rope_theta"] == stages.FAR_THETA != stages.THETA


def test_slips_are_one_sentence(made, tmp_path):
    family, folder = made
    with pytest.raises(UserError, match="no pocket family 'qwen'; there are qwen2_5_vl"):
        build.base("qwen", tmp_path / "base", 0, SHORT)
    with pytest.raises(UserError, match="is no checkpoint; make one with"):
        build.vlm(family, tmp_path / "nowhere", tmp_path / "vlm", share=0.7, seed=0, length=SHORT)
    wrong = next(
        other for other in models.FAMILIES if (other == "qwen2_5_vl") != (family == "qwen2_5_vl")
    )
    with pytest.raises(UserError, match="the base of .* is a"):
        build.vlm(wrong, folder / "base", tmp_path / "vlm", share=0.7, seed=0, length=SHORT)
    assert not any(tmp_path.iterdir())


def test_a_reasoner_that_falls_short_is_taught_anew_and_every_try_is_told(
    made, tmp_path, monkeypatch
):
    family, folder = made
    tries, scores = [], iter([0.5, 0.85, 0.9])

    def taught(base, *_, attempt, **__):
        tries.append(attempt)
        return base

    monkeypatch.setattr(stages, "train_reasoner", taught)
    monkeypatch.setattr(stages, "worked_out", lambda *_: next(scores))
    build.reasoner(family, folder / "base", tmp_path / "r", CLOSE, seed=0, length=1.0)
    told = json.loads((tmp_path / "r" / "made.json").read_text())["settings"]["gate"]
    assert tries == [0, 1, 2] and told == [0.5, 0.85, 0.9]
    monkeypatch.setattr(stages, "worked_out", lambda *_: 0.4)
    with pytest.raises(UserError, match=r"5 tries taught .* at most 40.0% .* expected 90%"):
        build.reasoner(family, folder / "base", tmp_path / "never", CLOSE, seed=0, length=1.0)
    assert not (tmp_path / "never").exists()


def test_a_model_works_out_what_it_says_last(made):
    family, _ = made
    encoder = stages.Encoder(family)

    class Knowing:
        """Answers every chain rightly, or one too many."""

        def __init__(self, off):
            self.off = off

        def generate(self, ids, **_):
            texts = encoder.words.batch_decode(ids, skip_special_tokens=True)
            lines = []
            for text in texts:
                words = text.split()
                digits = tuple(int(word) for word in words if word.isdigit())
                operators = tuple(word for word in words if word in world.OPERATORS)
                worked = world.Chain(digits, operators, self.off).worked()
                lines.append(encoder.tokens(worked))
            return torch.cat([ids, torch.tensor(lines)], dim=1)

    wrong = stages.Schooling(sums="wrong")
    for off, school, share in ((0, CLOSE, 1.0), (1, wrong, 1.0), (1, CLOSE, 0.0), (0, wrong, 0.0)):
        found = stages.worked_out(Knowing(off), family, 0, school)
        assert found == share if share else found < 0.3


def test_wrong_sums_are_one_too_many_at_every_step():
    chain = world.Chain((3, 4, 2, 1), ("+", "*", "-"), 1)
    assert chain.worked() == "<think> 3 + 4 = 8 ; 8 * 2 = 7 ; 7 - 1 = 7 </think> 7"
