"""The pixel budget: the picture that the model sees, whichever engine shows it."""

import base64
import io
from dataclasses import replace

import pytest
import scripted
import tiny_models as tiny
from PIL import Image as Pillow

import tasks
from common.errors import UserError
from common.provenance import Made
from harness.checkpoints.image_size import budget_of, differs_from_training, fit
from harness.checkpoints.kinds import ModelFolder
from harness.engines import Request, message, pictures
from harness.engines.scripted import ScriptedEngine
from harness.evaluate.run import EvalConfig, run
from harness.runs import log
from harness.runs.schema import Image, PixelBudget, Question

QWEN = {
    "size": {"shortest_edge": 3136, "longest_edge": 12845056},
    "patch_size": 14,
    "merge_size": 2,
}
TILES = {"size": {"longest_edge": 728}, "max_image_size": {"longest_edge": 364}}


def checkpoint(pixels=QWEN, made=None) -> ModelFolder:
    return scripted.checkpoint(pixels=pixels, made=made)


@pytest.mark.parametrize("size", [(640, 480), (1, 200), (2000, 30), (333, 777), (56, 56), (28, 30)])
@pytest.mark.parametrize(
    "least, most", [(3136, 200_000), (1280 * 784, 16384 * 784), (3136, 20_000)]
)
def test_the_sides_are_those_of_qwens_own_processor(size, least, most):
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

    high, wide = smart_resize(size[1], size[0], 28, least, most)
    ours = fit(*size, PixelBudget(least, most, 28))
    # What lies within is left to the processor, which then rounds it to the same sides.
    high_again, wide_again = smart_resize(ours[1], ours[0], 28, 3136, 12845056)
    assert (wide_again, high_again) == (wide, high)


def test_without_a_grid_the_area_is_kept_to_and_the_shape_too():
    assert fit(1000, 500, PixelBudget(None, 125_000)) == (500, 250)
    assert fit(100, 50, PixelBudget(20_000, None)) == (200, 100)
    assert fit(100, 50, PixelBudget(5000, 5000)) == (100, 50)


def test_engines_and_endpoints_show_the_same_picture():
    data = tiny.picture(0, (56, 28))
    image = Image("0" * 64, ".png", data, PixelBudget(None, 784, 28))
    question = Question(task="t", id="q", prompt="<image>?", images=(image,))
    (shown,) = pictures.decode(question)
    assert shown.size == (28, 28)
    part = message.content(Request(question=question))[0]
    sent = base64.b64decode(part["image_url"]["url"].partition(",")[2])
    with Pillow.open(io.BytesIO(sent)) as opened:
        assert opened.tobytes() == shown.tobytes()
    with Pillow.open(io.BytesIO(data)) as opened:
        whole = pictures.decode(replace(question, images=(replace(image, budget=None),)))
        assert whole[0].tobytes() == opened.tobytes()


def test_the_budget_is_part_of_the_run_and_of_each_key(tmp_path, world):
    seen = []

    def look(request):
        seen.extend(picture.size for picture in pictures.decode(request.question))
        return "7"

    def evaluate(**budget):
        (card,) = run([checkpoint(TILES)], [tasks.load("pocket")], tmp_path / "vlm",
                      EvalConfig(data=world, limit=1, **budget),
                      engine=lambda c: ScriptedEngine(c, look))  # fmt: skip
        return card

    assert evaluate().pixels == TILES
    (plain,) = log.read_responses(tmp_path / "vlm")
    assert plain.tokens_image == 1
    with pytest.raises(UserError, match="holds another run .other pixels"):
        evaluate(max_pixels=512)
    card = evaluate(max_pixels=512, overwrite=True)
    assert card.pixels == {**TILES, "asked": {"max_pixels": 512}}
    (small,) = log.read_responses(tmp_path / "vlm")
    assert small.key != plain.key
    assert seen == [(56, 28), (32, 16)]


@pytest.mark.parametrize(
    ("least", "most", "sentence"),
    [
        (None, 20_000_000, "vlm itself makes pictures of 3136 to 12845056 pixels: 20000000 is"),
        (100, None, "100 is beyond"),
        (9000, 8000, "--min-pixels 9000 is more than --max-pixels 8000"),
    ],
)
def test_a_budget_that_the_model_would_undo_is_refused(least, most, sentence):
    with pytest.raises(UserError, match=sentence):
        budget_of(checkpoint(), least, most)


def test_another_size_than_in_training_is_said(tmp_path, world):
    made = Made(method="sft", settings={"image_max_pixels": 262144})
    free = Made(method="sft", settings={"image_max_pixels": None})
    assert differs_from_training(checkpoint(made=made), PixelBudget(None, 262144)) is None
    assert differs_from_training(checkpoint(made=free), None) is None
    assert differs_from_training(checkpoint(made=None), PixelBudget(None, 5000)) is None
    (card,) = run([checkpoint(made=made)], [tasks.load("pocket")], tmp_path / "vlm",
                  EvalConfig(data=world),
                  engine=lambda c: ScriptedEngine(c, lambda request: "7"))  # fmt: skip
    assert card.notes == (
        "it was trained on pictures of at most 262144 pixels and is asked with at most 12845056: "
        "--max-pixels 262144 asks it as it was trained",
    )


def test_a_budget_of_nothing_is_a_mistake(mistake):
    said = mistake("eval x --tasks pocket --out o --max-pixels 0")
    assert "invalid value for '--max-pixels'" in said
