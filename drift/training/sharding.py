"""Whether processes that train together hold the model whole (DDP) or in shares (FSDP2).

What fits is chosen, by the estimate of `drift.training.memory`, printed before weights are loaded.
FSDP2 wraps the decoder's layers, by the class they have in the live model: transformers' own list
of classes names modules that some VLMs lack, and vision blocks, which a row without pictures never
runs.
"""

import os
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from drift.families import decoder
from drift.training.config import TrainConfig
from drift.training.memory import GIB, Memory, Sizes, estimate

if TYPE_CHECKING:
    import torch

ROOM = 0.95
"""Of a device's memory, what training can have: the rest is of the driver and of fragments."""
MOST_DEVICES = 1024


def processes() -> int:
    """How many train together, as the launcher says."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def device_bytes() -> int | None:
    """Memory of this process's device; None without one."""
    import torch

    if not torch.cuda.is_available():
        return None
    return torch.cuda.get_device_properties(int(os.environ.get("LOCAL_RANK", "0"))).total_memory


def shareable(config: TrainConfig) -> bool:
    """Whether devices may share the model: a pull in backward takes whole gradients."""
    return config.when == "step"


def choose(sizes: Sizes, config: TrainConfig, devices: int, room: int | None) -> bool:
    """Whether to share the model among `devices`; prints the estimate and the choice.

    A launcher that asks for FSDP2 (`ACCELERATE_USE_FSDP` with `FSDP_VERSION=2`) is given it.

    Args:
        sizes: Of model and data.
        config: Of the run.
        devices: Processes, each with a device.
        room: Bytes of each; None where nobody knows.

    Raises:
        UserError: what is held whatever the samples fits no device; says how many would do. Or the
            model has to be shared, and the pull takes whole gradients.
    """
    wanted = os.environ.get("ACCELERATE_USE_FSDP") == "true"
    if wanted and os.environ.get("FSDP_VERSION") == "1":
        raise UserError("FSDP1's flat parameters hide the tensors of Δ; set fsdp_version: 2")
    whole, shared = (estimate(sizes, config, devices, sharded) for sharded in (False, True))
    limit = None if room is None else int(room * ROOM)
    fits = limit is None or whole.total <= limit
    sharded = devices > 1 and (wanted or not fits)
    chosen = shared if sharded else whole
    if sharded and not shareable(config):
        raise UserError(
            "`when: backward` pulls whole gradients, and on these devices the model is shared "
            "(FSDP2): train it on one device, with accumulate for the batch and memory: low where "
            "there is no room, or take when: step"
        )
    if os.environ.get("RANK", "0") == "0":
        way = "FSDP2, the model shared" if sharded else "DDP, a copy on each"
        place = f"{devices} devices: {way}" if devices > 1 else "one device"
        of = "" if room is None else f" of {room / GIB:.0f} GiB"
        print(f"memory per device, {place}: about {chosen.line()}{of}")
        if sharded and not wanted:
            print(f"(a copy on each would take {whole.line()})")
    if limit is not None and chosen.fixed > limit:
        raise UserError(f"{_too_much(chosen, room)}; {advice(sizes, config, limit)}")
    return sharded


def _too_much(chosen: Memory, room: int | None) -> str:
    return (
        f"training takes {chosen.line()} on each device before any sample, and there is "
        f"{(room or 0) / GIB:.0f} GiB"
    )


def advice(sizes: Sizes, config: TrainConfig, limit: int, sharded: bool = False) -> str:
    """What to do where memory is short: how many devices under FSDP2, and what saves on each.

    Args:
        sizes: Of model and data.
        config: Of the run.
        limit: Bytes of a device.
        sharded: Whether these devices share the model already, and more are needed.
    """
    counts = range(max(2, processes() + sharded), MOST_DEVICES)
    counts = counts if shareable(config) else range(0)
    needed = next((n for n in counts if estimate(sizes, config, n, True).total <= limit), None)
    spare = config.memory == "float32" and config.dtype == "bfloat16" and processes() == 1
    saving = [
        *(["memory: low"] if spare else []),
        *(["gradient_checkpointing: true"] if not config.gradient_checkpointing else []),
        *(["offload: true"] if sizes.pulled and not config.offload else []),
        *(["a smaller batch with a larger accumulate"] if config.batch > 1 else []),
    ]
    more = f"; also {', '.join(saving)}" if saving else ""
    if needed is None:
        return f"no number of such devices would do as it is{more.replace('; also', '; try')}"
    return (
        f"{needed} such devices would do, sharing the model (FSDP2): ACCELERATE_USE_FSDP=true "
        f"torchrun --nproc_per_node {needed} -m driftbench train …{more}"
    )


def arguments(model: "torch.nn.Module", config: TrainConfig) -> dict[str, Any]:
    """The fields of `TrainingArguments` by which transformers trains under FSDP2.

    Args:
        model: The VLM as it will be trained; may lie on the meta device.
        config: Of the run.
    """
    # Read by transformers when it loads weights: one process reads them, the others get shares.
    os.environ |= {"ACCELERATE_USE_FSDP": "true", "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}
    layer = decoder(model)[0].layers[0]  # type: ignore[index]
    shape = {
        "version": 2,
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "transformer_layer_cls_to_wrap": [type(layer).__name__],
        "reshard_after_forward": True,
        "state_dict_type": "FULL_STATE_DICT",
        "cpu_ram_efficient_loading": True,
    }
    return {"fsdp": True, "fsdp_config": shape}


def precision(config: TrainConfig) -> Any:
    """FSDP2's: gradients are reduced in float32 whatever the arithmetic, as DDP does."""
    import torch
    from torch.distributed.fsdp import MixedPrecisionPolicy

    if config.dtype != "bfloat16":
        return None
    return MixedPrecisionPolicy(
        param_dtype=torch.bfloat16, reduce_dtype=torch.float32, output_dtype=torch.bfloat16
    )
