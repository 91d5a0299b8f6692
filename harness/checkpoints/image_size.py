"""The pixel budget of a run: how large pictures are when a model sees them.

A budget is applied to the decoded picture, before the checkpoint's own processor, so that it means
the same with every engine and every family. Where a processor cuts the picture into merged patches
(Qwen-VL), the sides become multiples of these: its own rounding then changes nothing.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from common import torch_guard
from common.errors import UserError
from harness.checkpoints.kinds import Checkpoint
from harness.runs.schema import PixelBudget

if TYPE_CHECKING:
    from PIL.Image import Image


FRAMES = 2
"""GLM-V's limits are of frames times pixels, and a picture is two frames (transformers 5.19,
models/glm4v/image_processing_glm4v.py, `smart_resize`)."""


def budget_of(
    checkpoint: Checkpoint, min_pixels: int | None, max_pixels: int | None
) -> PixelBudget | None:
    """Return the budget that is asked of a checkpoint, None where its own is.

    Raises:
        UserError: The checkpoint's processor would undo it, or it is none.
    """
    if min_pixels is None and max_pixels is None:
        return None
    if min_pixels and max_pixels and min_pixels > max_pixels:
        raise UserError(f"--min-pixels {min_pixels} is more than --max-pixels {max_pixels}")
    least, most = own_limits(checkpoint)
    for wanted in (min_pixels, max_pixels):
        if wanted is not None and not least <= wanted <= most:
            raise UserError(
                f"{checkpoint.name} itself makes pictures of {least:.0f} to {most:.0f} pixels: "
                f"{wanted} is beyond"
            )
    pixels = own_pixels(checkpoint)
    grid = pixels.get("patch_size") if isinstance(pixels.get("merge_size"), int) else None
    side = grid * pixels["merge_size"] if isinstance(grid, int) else 1
    return PixelBudget(min_pixels, max_pixels, side)


def own_pixels(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the size settings of a checkpoint's image processor, none where it is not known."""
    return checkpoint.folder.pixels if checkpoint.folder else {}


def own_limits(checkpoint: Checkpoint) -> tuple[float, float]:
    """Return the least and the most pixels of a picture by the processor's own settings.

    0 and infinity where they are no numbers of pixels: other families than Qwen-VL cut tiles.
    """
    pixels = own_pixels(checkpoint)
    size = pixels.get("size")
    edges = size if isinstance(size, dict) and "merge_size" in pixels else {}
    least = pixels.get("min_pixels"), edges.get("shortest_edge"), 0.0
    most = pixels.get("max_pixels"), edges.get("longest_edge"), math.inf
    config = checkpoint.folder.config if checkpoint.folder else {}
    frames = FRAMES if str(config.get("model_type")).startswith("glm") else 1
    return _number(least) / frames, _number(most) / frames


def _number(values: Sequence[Any]) -> float:
    """Return the first that is a number and not 0, else the last."""
    return float(next((v for v in values if isinstance(v, int | float) and v), values[-1]))


def fit(width: int, height: int, budget: PixelBudget) -> tuple[int, int]:
    """Return the sides of a picture within a budget; its own if it lies within.

    The rule of Qwen2-VL's image processor (`smart_resize`, transformers 5.19): the shape is kept
    but for rounding to the grid, down where the picture is too large, up where it is too small.
    """
    grid = budget.grid
    area = max(grid, round(width / grid) * grid) * max(grid, round(height / grid) * grid)
    if budget.max_pixels is not None and area > budget.max_pixels:
        scale = math.sqrt(width * height / budget.max_pixels)
        sides = (max(grid, math.floor(side / scale / grid) * grid) for side in (width, height))
    elif budget.min_pixels is not None and area < budget.min_pixels:
        scale = math.sqrt(budget.min_pixels / (width * height))
        sides = (math.ceil(side * scale / grid) * grid for side in (width, height))
    else:
        return width, height
    wide, high = sides
    return wide, high


def fitted(picture: "Image", budget: PixelBudget | None) -> "Image":
    """Return a picture resized to a budget."""
    from PIL import Image

    if budget is None:
        return picture
    sides = fit(*picture.size, budget)
    return picture if sides == picture.size else picture.resize(sides, Image.Resampling.BICUBIC)


def setting(checkpoint: Checkpoint, budget: PixelBudget | None) -> dict[str, Any]:
    """Return the budget in force, as it goes into keys and the run card."""
    if budget is None:
        return own_pixels(checkpoint)
    asked = {"min_pixels": budget.min_pixels, "max_pixels": budget.max_pixels}
    return {**own_pixels(checkpoint), "asked": {k: v for k, v in asked.items() if v is not None}}


def undone(checkpoint: Checkpoint, budget: PixelBudget | None) -> str | None:
    """Return a sentence if the image processor brings pictures to a size of its own all the same.

    It is asked: what it makes of a square as large as the budget, and of one half as wide.
    """
    if budget is None or checkpoint.folder is None or not checkpoint.folder.is_multimodal:
        return None
    torch_guard.install()
    from PIL import Image
    from transformers import AutoImageProcessor

    side = math.isqrt(budget.max_pixels or budget.min_pixels or 1)
    try:
        process = AutoImageProcessor.from_pretrained(str(checkpoint.folder.path))
        made = [
            process(images=[Image.new("RGB", (edge, edge))], return_tensors="pt")
            for edge in (side, max(1, side // 2))
        ]
        seen = [
            int(one["pixel_attention_mask"].sum())
            if "pixel_attention_mask" in one
            else one["pixel_values"].numel()
            for one in made
        ]
    except Exception:
        return None  # what is wrong with it is said where it is needed
    if seen[0] != seen[1]:
        return None
    return (
        "its image processor brings pictures to a size of its own, whatever --min-pixels and "
        "--max-pixels say: they change how sharp a picture is, not how many tokens it takes"
    )


def differs_from_training(checkpoint: Checkpoint, budget: PixelBudget | None) -> str | None:
    """Return a sentence if the checkpoint was trained on pictures of another size."""
    settings = checkpoint.made.settings if checkpoint.made else {}
    if "image_max_pixels" not in settings:
        return None
    _, own = own_limits(checkpoint)
    trained = settings["image_max_pixels"] or own
    if not isinstance(trained, int | float):
        raise UserError(f"{checkpoint.path}/made.json: image_max_pixels is no number: {trained}")
    asked = budget.max_pixels if budget and budget.max_pixels else own
    if trained == asked:
        return None
    words = ["any number of" if math.isinf(n) else f"at most {n:.0f}" for n in (trained, asked)]
    hint = "" if math.isinf(trained) else f": --max-pixels {trained:.0f} asks it as it was trained"
    return f"it was trained on pictures of {words[0]} pixels and is asked with {words[1]}{hint}"
