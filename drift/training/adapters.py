"""LoRA adapters in training: put on a VLM, taken up again, written as a folder or folded in."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from common.files import write_whole
from common.typed import read_json
from drift.families import decoder, layer_and_role
from drift.headers import ADAPTER
from drift.training.config import TrainConfig
from drift.training.trainable import parts

if TYPE_CHECKING:
    import torch

CONFIG = "adapter_config.json"


def attach(model: Any, config: TrainConfig) -> int:
    """Put adapters on the matrices that `config.train` names, and freeze all else.

    W₀ x + (adapter_alpha / rank) · B A x, with a random A and B = 0 (arXiv 2106.09685, section
    4.1), in float32.

    Returns:
        The number of parameters that are trained.

    Raises:
        UserError: peft is not installed or adapts other modules, or the rank is larger than a
            matrix.
    """
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise UserError(
            "adapter_rank needs peft, which is not installed: pip install 'driftbench[adapters]'"
        ) from error
    rank = config.adapter_rank or 0
    stack, params = decoder(model)
    chosen = {}
    for path, module in stack.named_modules():
        placed = layer_and_role(f"{path}.weight")
        if placed is not None and placed[1] in config.train and hasattr(module, "in_features"):
            chosen[id(module)] = path
            sides: Any = (module.out_features, module.in_features)
            if rank > min(sides):
                raise UserError(
                    f"adapter_rank is {rank}, and {path} is {sides[0]} × {sides[1]}: give at most "
                    f"{min(sides)}"
                )
    names = [name for name, module in model.named_modules() if id(module) in chosen]
    model.add_adapter(
        LoraConfig(
            r=rank,
            lora_alpha=config.adapter_alpha or rank,
            target_modules=names,
            base_model_name_or_path=config.vlm,
        )
    )
    found = {name for name, module in model.named_modules() if hasattr(module, "lora_A")}
    if unlike := sorted(found ^ set(names)):
        raise UserError(
            f"peft put adapters on other modules than train names ({', '.join(unlike[:5])}); train "
            "whole weights, or another part"
        )
    trained = [param for param in model.parameters() if param.requires_grad]
    for param in trained:
        param.data = param.data.float()
    return sum(param.numel() for param in trained)


def refuse_experts(model: Any, config: TrainConfig) -> None:
    """Stop where adapters are to go on experts, whose matrices lie in one tensor.

    Args:
        model: On any device.
        config: Of the run.
    """
    held = [name for name, part, param in parts(model) if part == "mlp" and param.ndim > 2]
    if config.adapter_rank and "mlp" in config.train and held:
        raise UserError(
            f"train names mlp, and this VLM's are experts ({held[0]}), which take no adapters; "
            "set train: [attention] and modules: [attention], or leave adapter_rank out"
        )


def load_frozen(config: TrainConfig) -> dict[str, Any]:
    """How `from_pretrained` is to load the VLM under adapters.

    Raises:
        UserError: 4 bits are wanted, and bitsandbytes is not here.
    """
    import torch
    from transformers import BitsAndBytesConfig

    dtype = getattr(torch, config.dtype)
    if config.adapter_base == "vlm":
        return {"dtype": dtype}
    try:
        import bitsandbytes  # noqa: F401
    except Exception as error:  # it looks for a driver when it is imported
        raise UserError(
            f"adapter_base: nf4 needs bitsandbytes, which cannot be used here ({error}); pip "
            "install 'driftbench[adapters]', or set adapter_base: vlm"
        ) from error
    quantized = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",  # arXiv 2305.14314, section 3
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=["lm_head", *_SEEING],
    )
    return {"dtype": dtype, "quantization_config": quantized}


_SEEING = ("model.visual", "model.vision", "model.multi_modal_projector", "model.connector")
"""How names of towers and projectors begin, which stay in `dtype`."""


def take_up(model: Any, folder: str) -> None:
    """Load the factors that a checkpoint of an unfinished run holds."""
    from safetensors.torch import load_file

    held = {_within(name): tensor for name, tensor in load_file(Path(folder) / ADAPTER).items()}
    live = {name: param for name, param in model.named_parameters() if ".lora_" in name}
    if held.keys() != live.keys():
        raise UserError(f"{folder} holds other adapters than this run trains; remove it")
    for name, param in live.items():
        param.data.copy_(held[name])


def _within(name: str) -> str:
    """Name of a factor in memory, from its name on disk."""
    return name.removeprefix("base_model.model.").replace(".weight", ".default.weight")


def save(model: Any, config: TrainConfig, vlm: str, folder: Path) -> None:
    """Write the adapters as peft does, in float32.

    Args:
        model: The trained one, not wrapped.
        config: Of the run.
        vlm: As the user named it: a folder, or a name on the hub.
        folder: New folder.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    factors = {
        f"base_model.model.{name.replace('.default.weight', '.weight')}": param.detach().cpu()
        for name, param in model.named_parameters()
        if ".lora_" in name
    }
    save_file(factors, folder / ADAPTER, {"format": "pt"})
    base, at, revision = (
        (str(Path(vlm).resolve()), "", "") if Path(vlm).exists() else vlm.partition("@")
    )
    peft_config = model.peft_config["default"]
    peft_config.base_model_name_or_path, peft_config.revision = base, revision or None
    peft_config.inference_mode = True
    peft_config.save_pretrained(folder)
    told = read_json(folder / CONFIG)
    told["target_modules"] = sorted(told["target_modules"])  # a set, in peft
    write_whole(folder / CONFIG, (json.dumps(told, indent=2) + "\n").encode())


def live_weights(model: Any) -> "Iterator[tuple[str, torch.Tensor]]":
    """Name → tensor of the VLM under adapters, these folded in, as it is in memory now."""
    for name, param in model.named_parameters():
        owner, base, rest = name.rpartition(".base_layer.")
        if base:
            layer = model.get_submodule(owner)
            plain = param.data
            if rest == "weight":
                plain = (plain.float() + layer.get_delta_weight("default").float()).to(plain.dtype)
            yield f"{owner}.{rest}", plain
        elif ".lora_" not in name:
            yield name, param.data


def folded(
    before: "dict[str, torch.Tensor]", state: "dict[str, torch.Tensor]", scale: float
) -> "dict[str, torch.Tensor]":
    """The VLM with W₀ + scale·B·A for each adapted matrix, in float32 before it is rounded.

    Args:
        before: Name → tensor of the VLM.
        state: Of the trained model, factors included.
        scale: Of the products.
    """
    mark = ".lora_A.default.weight"
    result = dict(before)
    for name in (name.removesuffix(mark) for name in state if name.endswith(mark)):
        a, b = state[f"{name}{mark}"].cpu(), state[f"{name}.lora_B.default.weight"].cpu()
        result[f"{name}.weight"] = before[f"{name}.weight"].float() + scale * (b @ a)
    return result
