"""Random tiny models of the paper's families, to try its study's steps where they cost nothing.

Each is of the class that the real one is of: LLaVA-NeXT with Llama, Idefics2 with Mistral, Qwen2-VL
and Qwen2.5-VL with Qwen2. Their answers mean nothing.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import torch_guard
from common.files import written_aside
from drift.pocket import models, world

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast, ProcessorMixin

LIKE = {
    "llava_next": "llava_next",
    "idefics2": "idefics3",
    "qwen2_vl": "qwen2_5_vl",
    "qwen2_5_vl": "qwen2_5_vl",
}
"""Family → the pocket family whose words, and whose text model's sizes, it has."""

MODELS = (
    *(f"{family}/{kind}" for family in LIKE for kind in ("vlm", "reasoner")),
    "qwen2_5_vl/base",
    "qwen2_5_vl/math",
    "qwen2_5_vl/teacher",
)
THETA = {"vlm": 1e6, "teacher": 1e6, "base": 1e6}
"""RoPE bases; a reasoner has another one, as Qwen2.5-Math has beside Qwen2.5-VL."""


def write(folder: Path, seed: int) -> None:
    """Write `<family>/<model>` for each of `MODELS`, `world`, and `text` in the form of GSM8K."""
    import torch

    with written_aside(folder, overwrite=(folder / "world").is_dir() or None) as aside:
        for number, name in enumerate(MODELS):
            family, kind = name.split("/")
            torch.manual_seed(seed + number)
            theta = THETA.get(kind, 1e4)
            if kind in ("vlm", "teacher"):
                models.write(_vlm(family, theta), _processor(family), aside / name)
            else:
                models.write(_text(family, theta), models.tokenizer(LIKE[family]), aside / name)
        world.write(aside / "world", seed, train=12, validation=1, test=2)
        (aside / "text").mkdir()
        rows = [
            {"question": f"What is {a} + 3 ?", "answer": f"{a} + 3 = {a + 3} #### {a + 3}"}
            for a in range(2, 5)
        ]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (aside / "text" / "test.jsonl").write_text(lines)


def _text(family: str, theta: float) -> "PreTrainedModel":
    torch_guard.install()
    import transformers as tf

    config = models.text_config(LIKE[family], theta)
    if family == "idefics2":
        config = tf.MistralConfig(**_shape(config))
    return _untied(tf.AutoModelForCausalLM.from_config, config)


def _vlm(family: str, theta: float) -> "PreTrainedModel":
    torch_guard.install()
    import transformers as tf

    make = tf.AutoModelForImageTextToText.from_config
    if family == LIKE[family]:
        return _untied(make, models.vlm(family, theta).config)
    like: Any = models.vlm(LIKE[family], theta).config
    if family == "qwen2_vl":
        names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
        text = models.text_config("qwen2_5_vl", theta).to_dict()
        text["rope_parameters"] |= {"mrope_section": [4, 6, 6]}
        vision = {"depth": 1, "embed_dim": models.VISION, "num_heads": 2, "mlp_ratio": 2}
        grid = {"patch_size": world.CELL // 2, "spatial_merge_size": 2}
        return _untied(
            make,
            tf.Qwen2VLConfig(
                text_config=text,
                vision_config=vision | grid | {"hidden_size": models.HIDDEN},
                **{name: getattr(like, name) for name in names},
            ),
        )
    return _untied(
        make,
        tf.Idefics2Config(
            text_config=tf.MistralConfig(**_shape(like.text_config)).to_dict(),
            vision_config=like.vision_config.to_dict() | {"model_type": "idefics2_vision"},
            perceiver_config={
                "hidden_size": models.HIDDEN,
                "resampler_n_latents": world.CARDS,
                "resampler_depth": 1,
                "resampler_n_heads": 2,
                "resampler_head_dim": 32,
                "num_key_value_heads": 1,
            },
            image_token_id=like.image_token_id,
        ),
    )


def _shape(config: Any) -> dict[str, Any]:
    """What of a Llama's configuration a Mistral's takes."""
    names = (*models.TEXT, "vocab_size", "bos_token_id", "eos_token_id", "pad_token_id")
    return {name: getattr(config, name) for name in (*names, "rope_parameters")}


def _untied(make: "Callable[[Any], PreTrainedModel]", config: Any) -> "PreTrainedModel":
    """A model whose head is its own, as all of the paper's are; no norm or bias is as another's."""
    import torch

    for one in (config, getattr(config, "text_config", config)):
        one.tie_word_embeddings = False
    model = make(config)
    # They start at 1 and 0 in every model, and no prior would pull them anywhere.
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name or name.endswith("bias"):
                weight.add_(0.1 * torch.randn_like(weight))
    return model


def _processor(family: str) -> "ProcessorMixin":
    torch_guard.install()
    import transformers as tf

    like: Any = models.processor(LIKE[family])
    if family == LIKE[family]:
        return like
    if family == "qwen2_vl":
        return tf.Qwen2VLProcessor(
            image_processor=like.image_processor,
            tokenizer=like.tokenizer,
            video_processor=like.video_processor,
            chat_template=like.chat_template,
        )
    words = _with_boundary(like.tokenizer)
    size = {"shortest_edge": world.CELL, "longest_edge": world.CARDS * world.CELL}
    return tf.Idefics2Processor(
        tf.Idefics2ImageProcessor(size=size, do_image_splitting=False),
        image_seq_len=world.CARDS,
        tokenizer=words,
        chat_template=words.chat_template,
    )


def _with_boundary(words: "PreTrainedTokenizerFast") -> "PreTrainedTokenizerFast":
    """The words with the mark around a picture that Idefics2's processor asks for by name."""
    from transformers import PreTrainedTokenizerFast

    made = PreTrainedTokenizerFast(
        tokenizer_object=words.backend_tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens={
            "image_token": "<image>",
            "image_boundary_token": "<fake_token_around_image>",
        },
        model_max_length=models.CONTEXT,
    )
    made.chat_template = words.chat_template
    return made
