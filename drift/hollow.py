"""Checkpoints without weights: real names and shapes over bytes that take no room on the disk.

Whatever reads the headers of safetensors reads them; what reads weights finds zeros.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import torch_guard

if TYPE_CHECKING:
    import torch

Header = dict[str, dict[str, Any]]
"""Of a safetensors file: name → its `dtype`, `shape` and `data_offsets`."""


def write(path: Path, header: Header) -> None:
    """Write a safetensors file of zeros."""
    raw = json.dumps(header).encode()
    end = max((one["data_offsets"][1] for one in header.values()), default=0)
    with path.open("wb") as file:
        file.write(len(raw).to_bytes(8, "little") + raw)
        file.truncate(8 + len(raw) + end)


def configured(settings: Mapping[str, Any]) -> Any:
    """Return transformers' configuration of what a `config.json` says."""
    torch_guard.install()
    from transformers import CONFIG_MAPPING

    rest = {name: value for name, value in settings.items() if name != "model_type"}
    return CONFIG_MAPPING[settings["model_type"]](**rest)


def live(config: Any) -> "torch.nn.Module":
    """Build the model of one of transformers' configurations on the meta device, in bfloat16."""
    torch_guard.install()
    import torch
    import transformers as tf
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

    sees = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    kind = tf.AutoModelForImageTextToText if sees else tf.AutoModelForCausalLM
    with torch.device("meta"):
        return kind.from_config(config, dtype=torch.bfloat16)


def lay_out(model: Any, folder: Path) -> Path:
    """Write what `save_pretrained` would of a live model, with the names of the hub.

    Args:
        model: Of transformers; it may be on the meta device.
        folder: New.
    """
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import revert_weight_conversion

    model._weight_conversions = get_model_conversion_mapping(model, add_legacy=False)
    tensors = model.state_dict()
    for tied, source in (getattr(model, "all_tied_weights_keys", None) or {}).items():
        if source in tensors:
            tensors.pop(tied, None)
    header: Header = {}
    start = 0
    for name, tensor in revert_weight_conversion(model, tensors).items():
        end = start + 2 * tensor.numel()
        shape = list(tensor.shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
        start = end
    folder.mkdir(parents=True)
    config = model.config.to_dict() | {"architectures": [type(model).__name__]}
    (folder / "config.json").write_text(json.dumps(config))
    write(folder / "model.safetensors", header)
    return folder
