"""A Qwen2.5-VL of random weights with what trains it, for each way to hold the weights."""

import tempfile
from dataclasses import dataclass, field
from typing import Any

import torch

from common import torch_guard

torch_guard.install()  # before transformers is imported

import transformers as tf

from drift.adapter_injector import AdapterInjector
from drift.delta import Prior
from drift.equations import strength
from drift.families import decoder, layer_and_role
from drift.injector import Injector
from drift.published import PUBLISHED
from drift.training import adapters, low_memory
from drift.training.config import TrainConfig
from drift.training.encode import IGNORED
from drift.training.trainable import freeze

RANK = 64
"""Of adapters."""
MROPE = {"rope_type": "default", "rope_theta": 1e6}


def small() -> tf.PreTrainedConfig:
    """A Qwen2.5-VL of 113 M parameters in its attention and MLPs."""
    text = {
        "hidden_size": 1024,
        "intermediate_size": 2816,
        "num_hidden_layers": 10,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "vocab_size": 4096,
        "tie_word_embeddings": False,
        "rope_parameters": MROPE | {"mrope_section": [8, 12, 12]},
    }
    vision = {"depth": 2, "hidden_size": 256, "num_heads": 4, "intermediate_size": 512}
    return _config(text, vision | {"out_hidden_size": 1024, "fullatt_block_indexes": [1]})


def large() -> tf.PreTrainedConfig:
    """The dimensions of Qwen/Qwen2.5-VL-7B-Instruct."""
    pair = next(one for one in PUBLISHED if one.vlm == "Qwen/Qwen2.5-VL-7B-Instruct")
    return _config(dict(pair.inside), dict(pair.vision or {}))


def _config(text: dict, vision: dict) -> tf.PreTrainedConfig:
    size = text["vocab_size"]
    ids = {
        "image_token_id": size - 1,
        "video_token_id": size - 2,
        "vision_start_token_id": size - 3,
        "vision_end_token_id": size - 4,
    }
    special = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    return tf.Qwen2_5_VLConfig(
        text_config=text | special | {"model_type": "qwen2_5_vl_text"},
        vision_config=vision,
        tie_word_embeddings=False,
        **ids,
    )


def batch_of(config: tf.PreTrainedConfig, rows: int, tokens: int, device: str) -> dict:
    """Rows with one picture of 16 × 16 patches each; the second half of each is the answer."""
    vision = config.vision_config
    side, merged = 16, 16 * 16 // vision.spatial_merge_size**2
    ids = torch.randint(1, config.get_text_config().vocab_size - 8, (rows, tokens))
    ids[:, 1] = config.vision_start_token_id
    ids[:, 2 : 2 + merged] = config.image_token_id
    ids[:, 2 + merged] = config.vision_end_token_id
    labels = ids.clone()
    labels[:, : tokens // 2] = IGNORED
    width = 3 * vision.temporal_patch_size * vision.patch_size**2
    made = {
        "input_ids": ids,
        "labels": labels,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == config.image_token_id).long(),
        "pixel_values": torch.randn(rows * side * side, width),
        "image_grid_thw": torch.tensor([[1, side, side]] * rows),
    }
    return {name: tensor.to(device) for name, tensor in made.items()}


def shapes_of(config: tf.PreTrainedConfig) -> dict[str, tuple[int, ...]]:
    """Name → shape of what is pulled."""
    with torch.device("meta"):
        params = decoder(tf.Qwen2_5_VLForConditionalGeneration(config))[1]
    return {
        name: tuple(param.shape)
        for name, param in params.items()
        if layer_and_role(name)[1] in ("attention", "mlp")
    }


def prior_of(config: tf.PreTrainedConfig, device: str) -> Prior:
    """Random Δ of a fifth of the size of random weights, made on `device`."""
    shapes = shapes_of(config)
    return Prior(
        variant="reasoner-vlm",
        family="Qwen2.5-VL",
        parents=(),
        dtype="bfloat16",
        seed=0,
        shapes=shapes,
        read=lambda name: (0.004 * torch.randn(shapes[name], device=device)).bfloat16(),
    )


class Published:
    """Hooks as in the authors' code: Δ in pageable host memory, applied in every backward."""

    def __init__(self, injector: Injector) -> None:
        self.deltas = [(one.param, one.delta.cpu()) for one in injector.targets]
        self.hooks: list = []

    def attach(self) -> None:
        """Hook every parameter."""

        def pull(grad: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
            delta = delta.to(grad.device, grad.dtype)
            gg, gd, dd = ((a * b).sum() for a, b in ((grad, grad), (grad, delta), (delta, delta)))
            return grad - strength(1.0, "adaptive", float(gg), float(gd), float(dd)) * delta

        for param, delta in self.deltas:
            self.hooks.append(param.register_hook(lambda grad, delta=delta: pull(grad, delta)))

    def detach(self) -> None:
        """Take the hooks off."""
        for hook in self.hooks:
            hook.remove()
        self.hooks = []

    def memory(self) -> dict[str, int]:
        """Bytes of Δ."""
        return {"delta_host_bytes": sum(delta.nbytes for _, delta in self.deltas)}


@dataclass(kw_only=True)
class Held:
    """A model with what trains it."""

    model: Any
    params: list[torch.nn.Parameter]
    optimizer: torch.optim.Optimizer
    pulls: dict[str, Any] = field(default_factory=dict)
    """Kind → its injector, or `Published`."""


def hold(kinds: list[str], config: tf.PreTrainedConfig, device: str, checkpointing: bool) -> Held:
    """The model that `kinds` of one way take turns on, random weights and random Δ."""
    way = way_of(kinds[0])
    with torch.device(device):
        torch.set_default_dtype(torch.bfloat16 if way else torch.float32)
        model: Any = tf.Qwen2_5_VLForConditionalGeneration(config)
        torch.set_default_dtype(torch.float32)
    if way == "qlora":
        packed = TrainConfig(vlm="", data="", adapter_rank=RANK, adapter_base="nf4")
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            model = type(model).from_pretrained(folder, **adapters.load_frozen(packed)).to(device)
    if "lora" in way:
        adapters.attach(model.train(), TrainConfig(vlm="", data="", adapter_rank=RANK))
    else:
        freeze(model.train(), ("attention", "mlp"))
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.disable_input_require_grads()
    params = [param for param in model.parameters() if param.requires_grad]
    # As transformers' Trainer has them.
    kind, more = (
        (low_memory.LowMemoryAdamW, {}) if way == "low" else (torch.optim.AdamW, {"fused": True})
    )
    held = Held(
        model=model, params=params, optimizer=kind(params, lr=1e-6, weight_decay=0.0, **more)
    )
    for kind in kinds:
        pull = kind.split("-")[-1]
        if pull == "published":
            held.pulls[kind] = Published(Injector(model, prior_of(config, device), mode="adaptive"))
        elif pull != "sft":
            join: Any = AdapterInjector if "lora" in way else Injector
            held.pulls[kind] = join(
                model, prior_of(config, device), mode="adaptive", offload=pull == "offload"
            )
    return held


def way_of(kind: str) -> str:
    """How the weights are held."""
    return kind.rpartition("-")[0]
