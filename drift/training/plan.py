"""What a recipe takes, told from `config.json` alone, and the nearest setting that fits."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import hub
from common.errors import UserError
from common.loading import loaded
from common.progress import working
from common.terminal import print_table
from drift.families import family_of, read_config, text_config
from drift.training import adapters, memory, sharding
from drift.training.config import TrainConfig, as_stored
from drift.training.memory import GIB, Memory, Sizes
from drift.training.trainable import freeze

if TYPE_CHECKING:
    import torch

SHORTEST = 512
"""Tokens of a sample with a picture, below which no setting is worth naming."""


def outline(vlm: str) -> "torch.nn.Module":
    """The model in the folder `vlm` without its weights.

    Raises:
        UserError: they are quantised, and so cannot be trained; or `config.json` does not load.
    """
    import torch

    from common import torch_guard

    torch_guard.install()
    from transformers import AutoConfig, AutoModelForImageTextToText

    told = read_config(vlm)
    how = told.get("quantization_config") or text_config(told).get("quantization_config")
    if how:
        raise UserError(
            f"{vlm} is quantised ({how.get('quant_method', 'config.json says so')}): give the "
            "checkpoint in bfloat16 or float32; adapter_base: nf4 packs it for adapters, and "
            "memory: low trains no 4-bit weights"
        )
    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(
            loaded(AutoConfig, vlm, "config"), dtype=torch.float32
        )


def with_memory(
    model: "torch.nn.Module", sizes: Sizes, config: TrainConfig, room: int | None
) -> TrainConfig:
    """`config` with `memory` decided; says so where it was open and `low` was taken.

    Plain fine-tuning is given what its DRIFT would be given, so that the two differ in the pull
    alone.

    Args:
        model: On any device; what is frozen is frozen already.
        sizes: Of `config`.
        config: Of the run.
        room: Bytes of the device; None where nobody knows.

    Raises:
        UserError: `low` is wanted for several devices.
    """
    devices = sharding.processes()
    if config.memory == "low":
        if devices > 1:
            raise UserError(
                f"memory: low is of one device, and here are {devices}: each would round by a "
                "chance of its own; take memory: float32, which they can share (FSDP2)"
            )
        return config
    whole, low = replace(config, memory="float32"), replace(config, memory="low")
    only = config.dtype == "float32" or config.anchor is not None or config.adapter_rank is not None
    if only or config.memory is not None or devices > 1 or room is None:
        return whole
    pulled = memory.sizes(model, replace(config, prior="reasoner-vlm"), sizes.tokens)
    needed, limit = memory.estimate(pulled, whole, 1, False), room * sharding.ROOM
    if needed.total <= limit or memory.estimate(pulled, low, 1, False).fixed > limit:
        return whole
    print(
        f"memory: low, as float32 would take {needed.line()} with Δ and the device has "
        f"{room / GIB:.0f} GiB: bfloat16 weights rounded by chance, 8-bit moments "
        "(--set memory=float32 refuses instead)"
    )
    return low


@dataclass(frozen=True)
class Setting:
    """A way to train, and what it takes."""

    changes: dict[str, Any]
    """Fields of the recipe that it changes."""
    memory: Memory
    longest: int | None
    """Tokens of the longest sample that fits; None where the device is not known."""

    def name(self) -> str:
        """For people."""
        words = (f"{field}: {str(value).lower()}" for field, value in self.changes.items())
        return ", ".join(words) or "as it is"


def settings(sizes: Sizes, config: TrainConfig, room: int | None) -> list[Setting]:
    """`config` on one device, and what saves memory: the same method first, `low` last."""
    config = replace(config, memory=config.memory or "float32")
    exact: list[dict[str, Any]] = [{}]
    if config.batch > 1:
        smaller: dict[str, Any] = {"batch": 1}
        if config.reward is None:  # whose step takes the same answers at any batch
            smaller["accumulate"] = config.accumulate * config.batch
        exact.append(smaller)
    if not config.gradient_checkpointing:
        exact.append(exact[-1] | {"gradient_checkpointing": True})
    cheap = exact[-1]
    if config.prior is not None and not config.offload:
        exact.append(cheap | {"offload": True})
    if config.memory == "float32" and config.adapter_rank is None and config.anchor is None:
        low = {"memory": "low"} | ({"dtype": "bfloat16"} if config.dtype == "float32" else {})
        exact += [low | one for one in (exact[-2:] if exact[-1] != cheap else [cheap])]
    return [_setting(sizes, config, changes, room) for changes in exact]


def _setting(
    sizes: Sizes, config: TrainConfig, changes: dict[str, Any], room: int | None
) -> Setting:
    changed = replace(config, **changes)

    def of(tokens: int) -> Memory:
        return memory.estimate(replace(sizes, tokens=tokens), changed, 1, False)

    longest = None
    if room is not None:
        left = int(room * sharding.ROOM) - of(0).total
        longest = max(0, left // (of(1).total - of(0).total))
    return Setting(changes, of(sizes.tokens), longest)


def nearest(found: list[Setting], tokens: int) -> dict[str, Any] | None:
    """The changes that make samples of so many `tokens` fit, or else shorter ones."""
    for one in found:
        if one.longest is not None and one.longest >= tokens:
            return one.changes
    for one in found:
        if one.longest is not None and one.longest >= SHORTEST:
            return one.changes | {"max_tokens": one.longest}
    return None


def tell(config: TrainConfig, gib: float | None) -> None:
    """Print what `config` takes on one device and the nearest setting that fits.

    Args:
        config: A recipe, whose VLM may be on the hub: its `config.json` is enough.
        gib: GiB of a device; None: of the one at hand.

    Raises:
        UserError: no `config.json`, or of no VLM that is known here; no prior in its folder.
    """
    config = as_stored(config)
    place = config.vlm
    if not Path(place).exists() and hub.is_name(place):
        name, _, revision = place.partition("@")
        place = str(hub.fetch(name, "model", revision or None, only=["config.json"]))
    family_of(place)
    with working("building the model without its weights"):
        model = outline(place)
    freeze(model, config.train)
    adapters.refuse_experts(model, config)
    tokens = config.max_tokens or model.config.get_text_config().max_position_embeddings  # type: ignore[operator, union-attr]
    sizes = memory.sizes(model, config, tokens)
    room = sharding.device_bytes() if gib is None else int(gib * GIB)
    found = settings(sizes, config, room)
    print(
        f"{config.vlm}: {sizes.parameters:,} parameters, {sizes.trained:,} trained, "
        f"{sizes.pulled:,} pulled; samples of up to {tokens:,} tokens (max_tokens)"
    )
    heads = ["weights", "gradients", "moments", "Δ", "activations", "in all", "longest sample"]
    print_table(
        ["one device, GiB", *heads],
        [[one.name(), *_cells(one)] for one in found],
        "lrrrrrrr",
    )
    if room is None:
        print("no GPU here: --device-memory 24 tells what fits 24 GiB")
        return
    changes = nearest(found, tokens)
    size = f"{room / GIB:.3g} GiB"
    if changes == {}:
        print(f"fits {size} as it is")
    elif changes is None:
        limit = int(room * sharding.ROOM)
        print(f"does not fit {size}; {sharding.advice(sizes, config, limit)}")
    else:
        words = " ".join(f"--set {field}={str(value).lower()}" for field, value in changes.items())
        print(f"does not fit {size} as it is; the nearest that does: {words}")


def _cells(one: Setting) -> list[str]:
    shares = one.memory
    sizes = (shares.weights, shares.gradients, shares.moments, shares.delta, shares.activations)
    longest = "" if one.longest is None else f"{one.longest:,}"
    return [*(f"{size / GIB:.2f}" for size in (*sizes, shares.total)), longest]
