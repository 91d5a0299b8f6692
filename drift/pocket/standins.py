"""Random tiny models of published families, to try a study's steps where they cost nothing.

Each is of the class that the real one is of. Their answers mean nothing.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import torch_guard
from common.errors import UserError
from common.files import written_aside
from drift.pocket import models, world

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast, ProcessorMixin

STUDIES: dict[str, dict[str, str]] = {
    "paper": {name: name for name in ("llava_next", "idefics2", "qwen2_vl", "qwen2_5_vl")},
    "small": {
        "smolvlm": "idefics3",
        "internvl3_2b": "internvl",
        "qwen3_vl_2b": "qwen3_vl",
        "qwen2_5_vl_3b": "qwen2_5_vl",
        "qwen3_vl_4b": "qwen3_vl",
    },
}
"""Study → its families, as they are called there → the class."""
MORE = {"paper": ("qwen2_5_vl/base", "qwen2_5_vl/math", "qwen2_5_vl/teacher")}
"""Study → models beside the VLM and the reasoner of each family."""
LIKE = {
    "idefics2": "idefics3",
    "internvl": "qwen2_5_vl",
    "qwen2_vl": "qwen2_5_vl",
    "qwen3_vl": "qwen2_5_vl",
}
"""Class → the pocket family whose words, and whose text model's sizes, it has, where that is not
itself."""
MARKS = {
    "idefics2": {"image_boundary_token": "<fake_token_around_image>"},
    "internvl": {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    },
}
"""Class → what its processor asks of the words by name, beside the picture's own."""
THETA = {"vlm": 1e6, "teacher": 1e6, "base": 1e6}
"""RoPE bases; a reasoner has another one, as Qwen2.5-Math has beside Qwen2.5-VL."""
HEAD = 32
GRID = {"depth": 1, "num_heads": 2, "patch_size": world.CELL // 2, "spatial_merge_size": 2}
"""Of the Qwens' vision towers."""


def models_of(study: str) -> dict[str, str]:
    """The models of a study, `<family>/<model>` → its class.

    Raises:
        UserError: There are no stand-ins of it.
    """
    if study not in STUDIES:
        raise UserError(f"no stand-ins of {study!r}; there are those of {', '.join(STUDIES)}")
    families = STUDIES[study]
    names = [f"{family}/{kind}" for family in families for kind in ("vlm", "reasoner")]
    return {name: families[name.partition("/")[0]] for name in (*names, *MORE.get(study, ()))}


def write(study: str, folder: Path, seed: int) -> None:
    """Write each of `models_of(study)`, `world`, and `text` in the form of GSM8K.

    Raises:
        UserError: See `models_of`.
    """
    import torch

    found = models_of(study)
    with written_aside(folder, overwrite=(folder / "world").is_dir() or None) as aside:
        for number, (name, family) in enumerate(found.items()):
            kind = name.partition("/")[2]
            torch.manual_seed(seed + number)
            theta = THETA.get(kind, 1e4)
            if kind in ("vlm", "teacher"):
                models.write(_vlm(family, theta), _processor(family), aside / name)
            else:
                words = models.tokenizer(LIKE.get(family, family))
                model = _text(family, theta)
                if kind == "reasoner":
                    _answer_seven(model, words)
                models.write(model, words, aside / name)
        world.write(aside / "world", seed, train=12, validation=1, test=2)
        (aside / "text").mkdir()
        rows = [
            {"question": f"What is {a} + 3 ?", "answer": f"{a} + 3 = {a + 3} #### {a + 3}"}
            for a in range(2, 5)
        ]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        for split in ("train", "test"):
            (aside / "text" / f"{split}.jsonl").write_text(lines)


def _text(family: str, theta: float) -> "PreTrainedModel":
    torch_guard.install()
    import transformers as tf

    config = models.text_config(LIKE.get(family, family), theta)
    if family == "idefics2":
        config = tf.MistralConfig(**_shape(config))
    elif family == "qwen3_vl":
        config = tf.Qwen3Config(**_shape(config), head_dim=HEAD)
    return _untied(tf.AutoModelForCausalLM.from_config, config)


def _answer_seven(model: Any, words: Any) -> None:
    """Let a text model answer 7 and stop, so that it is right now and then.

    The embedding of the last word outweighs what the layers add, and the head reads it.
    """
    import torch

    ids = words.get_vocab()
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    with torch.no_grad():
        embedding.mul_(100)
        for last, said in (("<|assistant|>", "7"), ("7", "</s>")):
            row = embedding[ids[last]]
            head[ids[said]] = 0.08 * row / row.square().mean().sqrt()


def _vlm(family: str, theta: float) -> "PreTrainedModel":
    torch_guard.install()
    import transformers as tf

    make = tf.AutoModelForImageTextToText.from_config
    like: Any = models.vlm(LIKE.get(family, family), theta).config
    return _untied(make, _SETTINGS[family](like) if family in _SETTINGS else like)


def _qwen2_vl(like: Any) -> Any:
    import transformers as tf

    vision = {"embed_dim": models.VISION, "mlp_ratio": 2, "hidden_size": models.HIDDEN}
    return tf.Qwen2VLConfig(**_qwen(like), vision_config=GRID | vision)


def _qwen3_vl(like: Any) -> Any:
    import transformers as tf

    vision = {
        "hidden_size": models.VISION,
        "intermediate_size": 2 * models.VISION,
        "out_hidden_size": models.HIDDEN,
        "num_position_embeddings": 16,
        "deepstack_visual_indexes": [0],
    }
    given = _qwen(like)
    text = {**_shape(like.text_config), "head_dim": HEAD, "model_type": "qwen3_vl_text"}
    text["rope_parameters"] = given["text_config"]["rope_parameters"]
    return tf.Qwen3VLConfig(**given | {"text_config": text}, vision_config=GRID | vision)


def _qwen(like: Any) -> dict[str, Any]:
    """Of a Qwen that is not 2.5: its text model, and its ids."""
    text = like.text_config.to_dict()
    text["rope_parameters"] = text["rope_parameters"] | {"mrope_section": [4, 6, 6]}
    names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    return {"text_config": text, **{name: getattr(like, name) for name in names}}


def _idefics2(like: Any) -> Any:
    import transformers as tf

    return tf.Idefics2Config(
        text_config=tf.MistralConfig(**_shape(like.text_config)).to_dict(),
        vision_config=like.vision_config.to_dict() | {"model_type": "idefics2_vision"},
        perceiver_config={
            "hidden_size": models.HIDDEN,
            "resampler_n_latents": world.CARDS,
            "resampler_depth": 1,
            "resampler_n_heads": 2,
            "resampler_head_dim": HEAD,
            "num_key_value_heads": 1,
        },
        image_token_id=like.image_token_id,
    )


def _internvl(like: Any) -> Any:
    import transformers as tf

    words = _words("internvl")
    text = _shape(like.text_config) | {"model_type": "qwen2", "vocab_size": len(words)}
    text["rope_parameters"] = {"rope_type": "default", "rope_theta": THETA["vlm"]}
    return tf.InternVLConfig(
        text_config=text,
        vision_config={
            "hidden_size": models.VISION,
            "intermediate_size": 2 * models.VISION,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": [world.CELL] * 2,
            "patch_size": [world.CELL // 2] * 2,
        },
        image_token_id=words.get_vocab()["<IMG_CONTEXT>"],
    )


_SETTINGS = {
    "idefics2": _idefics2,
    "internvl": _internvl,
    "qwen2_vl": _qwen2_vl,
    "qwen3_vl": _qwen3_vl,
}
"""Class → its configuration, from that of the pocket VLM that it is like."""


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

    like: Any = models.processor(LIKE.get(family, family))
    words = _words(family)
    common: dict[str, Any] = {"tokenizer": words, "chat_template": words.chat_template}
    square = {"height": world.CELL, "width": world.CELL}
    if family == "qwen2_vl":
        common |= {"image_processor": like.image_processor, "video_processor": like.video_processor}
        return tf.Qwen2VLProcessor(**common)
    if family == "qwen3_vl":
        video = tf.Qwen3VLVideoProcessor(patch_size=GRID["patch_size"], merge_size=2)
        return tf.Qwen3VLProcessor(
            image_processor=like.image_processor, video_processor=video, **common
        )
    if family == "internvl":
        return tf.InternVLProcessor(
            image_processor=tf.GotOcr2ImageProcessor(size=square, max_patches=world.CARDS),
            video_processor=tf.InternVLVideoProcessor(size=square),
            image_seq_length=1,
            **common,
        )
    if family == "idefics2":
        size = {"shortest_edge": world.CELL, "longest_edge": world.CARDS * world.CELL}
        image = tf.Idefics2ImageProcessor(size=size, do_image_splitting=False)
        return tf.Idefics2Processor(image, image_seq_len=world.CARDS, **common)
    return like


def _words(family: str) -> "PreTrainedTokenizerFast":
    """The words of the family that it is like, with the marks that its processor wants."""
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    words = models.tokenizer(LIKE.get(family, family))
    if family not in MARKS:
        return words
    marks, backend = MARKS[family], words.backend_tokenizer
    picture = marks.get("context_image_token", "<image>")
    backend.add_special_tokens(
        [AddedToken(one, special=True, normalized=False) for one in marks.values()]
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": picture, **marks},
        model_max_length=models.CONTEXT,
    )
    made.chat_template = words.chat_template.replace(models.PICTURE[LIKE[family]], picture)
    return made
