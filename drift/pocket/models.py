"""Tiny models of three real families, in transformers' own classes, with tokenizer and processor.

About half a million parameters each. A family is a vision-language model and its text-only
partner: Qwen2.5-VL (Qwen2), LLaVA-NeXT (Llama), Idefics3 (Llama). Each has its own way to see a
wide picture: Qwen2.5-VL its native grid, LLaVA-NeXT anyres tiles, Idefics3 image splitting. The
strip of four cards becomes one visual token a card everywhere, and a thumbnail for the latter two.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import torch_guard
from common.errors import UserError
from drift.pocket.world import CARDS, CELL, WORDS

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast, ProcessorMixin

FAMILIES = ("qwen2_5_vl", "llava_next", "idefics3")
CONTEXT = 2048
HIDDEN = 96
VISION = 64
TEXT = {
    "hidden_size": HIDDEN,
    "intermediate_size": 288,
    "num_hidden_layers": 4,
    "num_attention_heads": 3,  # heads of 32: the smallest size vLLM's CPU attention knows
    "num_key_value_heads": 3,
    "max_position_embeddings": CONTEXT,
    "tie_word_embeddings": True,
    "initializer_range": 0.08,
}
SPECIAL = {
    "qwen2_5_vl": ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
    "llava_next": ("<image>",),
    "idefics3": (
        "<image>",
        "<fake_token_around_image>",
        "<global-img>",
        "<end_of_utterance>",
        *(f"<row_{r}_col_{c}>" for r in range(1, 7) for c in range(1, 7)),
    ),
}
BASIC = ("<pad>", "<unk>", "<s>", "</s>", "<|user|>", "<|assistant|>")
PICTURE = {
    "qwen2_5_vl": "<|vision_start|><|image_pad|><|vision_end|>",
    "llava_next": "<image>",
    "idefics3": "<image>",
}
# Words and specials are joined by single spaces: the tokenizer splits on white space.
TEMPLATE = (
    "{{ '<s>' }}{% for message in messages %}{{ '<|' + message['role'] + '|> ' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}PICTURE"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
    "{% if message['role'] == 'assistant' %}{{ ' </s>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def check_family(family: str) -> None:
    """Stop at a family that has no tiny model."""
    if family not in FAMILIES:
        raise UserError(f"no pocket family {family!r}; there are {', '.join(FAMILIES)}")


def tokenizer(family: str) -> "PreTrainedTokenizerFast":
    """Whole words of the pocket world, with the family's own special tokens."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = [*BASIC, *WORDS, *SPECIAL[family]]
    vocabulary = {word: number for number, word in enumerate(words)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens(
        [AddedToken(w, special=True, normalized=False) for w in (*BASIC, *SPECIAL[family])]
    )
    # Every word is an added token: transformers reads any tokenizer beside a Qwen2 as Qwen2's own
    # byte-level one, which leaves nothing else of a vocabulary of words.
    backend.add_tokens(
        [AddedToken(w, lstrip=True, single_word=w.isalpha(), normalized=False) for w in WORDS]
    )
    image = "<|image_pad|>" if family == "qwen2_5_vl" else "<image>"
    made = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": image},
        model_max_length=CONTEXT,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )
    made.chat_template = TEMPLATE.replace("PICTURE", PICTURE[family])
    return made


def processor(family: str) -> "ProcessorMixin":
    """The family's own processor, with sizes that give a card one visual token."""
    torch_guard.install()
    import transformers as tf

    words = tokenizer(family)
    common: dict[str, Any] = {"tokenizer": words, "chat_template": words.chat_template}
    if family == "qwen2_5_vl":
        return tf.Qwen2_5_VLProcessor(
            image_processor=tf.Qwen2VLImageProcessor(
                patch_size=CELL // 2,
                merge_size=2,
                size={"shortest_edge": CARDS * CELL**2, "longest_edge": 16 * CELL**2},
            ),
            video_processor=tf.Qwen2VLVideoProcessor(patch_size=CELL // 2, merge_size=2),
            **common,
        )
    if family == "llava_next":
        return tf.LlavaNextProcessor(
            image_processor=tf.LlavaNextImageProcessor(
                size={"shortest_edge": CELL},
                crop_size={"height": CELL, "width": CELL},
                image_grid_pinpoints=llava_grid(),
            ),
            patch_size=CELL,
            vision_feature_select_strategy="default",
            image_token="<image>",
            num_additional_image_tokens=1,
            **common,
        )
    return tf.Idefics3Processor(
        image_processor=tf.Idefics3ImageProcessor(
            size={"longest_edge": CARDS * CELL}, max_image_size={"longest_edge": CELL}
        ),
        image_seq_len=1,
        **common,
    )


def llava_grid() -> list[list[int]]:
    """Tile layouts (height, width) that anyres may choose from."""
    return [[CELL, CARDS * CELL], [CARDS * CELL, CELL], [2 * CELL, 2 * CELL]]


def text_config(family: str, rope_theta: float) -> Any:
    """Of the text-only partner."""
    torch_guard.install()
    import transformers as tf

    words = tokenizer(family)
    shape: dict[str, Any] = TEXT | {
        "vocab_size": len(words),
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
        "rope_parameters": {"rope_type": "default", "rope_theta": rope_theta},
    }
    return (tf.Qwen2Config if family == "qwen2_5_vl" else tf.LlamaConfig)(**shape)


def text_model(family: str, rope_theta: float) -> "PreTrainedModel":
    """The text-only partner with fresh weights."""
    torch_guard.install()
    import transformers as tf

    config = text_config(family, rope_theta)
    return (tf.Qwen2ForCausalLM if family == "qwen2_5_vl" else tf.LlamaForCausalLM)(config)


def vlm(family: str, rope_theta: float) -> "PreTrainedModel":
    """The vision-language model with fresh weights."""
    torch_guard.install()
    import transformers as tf

    words = tokenizer(family)
    text = text_config(family, rope_theta).to_dict()
    ids = {
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
        "tie_word_embeddings": True,
    }

    def token(word: str) -> int:
        return words.get_vocab()[word]

    if family == "qwen2_5_vl":
        # A strip spreads along the width axis alone, so that axis gets every frequency: with the
        # usual split a card would turn by hundredths of a radian, too little to tell it apart.
        text["rope_parameters"] |= {"mrope_section": [0, 0, 16]}
        return tf.Qwen2_5_VLForConditionalGeneration(
            tf.Qwen2_5_VLConfig(
                text_config=text,
                vision_config={
                    "depth": 1,
                    "hidden_size": VISION,
                    "intermediate_size": 2 * VISION,
                    "num_heads": 2,
                    "out_hidden_size": HIDDEN,
                    "patch_size": CELL // 2,
                    "spatial_merge_size": 2,
                    "window_size": 4 * CELL,
                    "fullatt_block_indexes": [0],
                },
                image_token_id=token("<|image_pad|>"),
                video_token_id=token("<|video_pad|>"),
                vision_start_token_id=token("<|vision_start|>"),
                vision_end_token_id=token("<|vision_end|>"),
                **ids,
            )
        )
    tower = {
        "hidden_size": VISION,
        "intermediate_size": 4 * VISION,
        "num_attention_heads": 2,
        "image_size": CELL,
        "patch_size": CELL,
        "initializer_range": 0.05,
    }
    if family == "llava_next":
        return tf.LlavaNextForConditionalGeneration(
            tf.LlavaNextConfig(
                text_config=text,
                vision_config=tower | {"model_type": "clip_vision_model", "num_hidden_layers": 1},
                image_token_index=token("<image>"),
                image_grid_pinpoints=llava_grid(),
                image_seq_length=1,
                vision_feature_layer=-1,
                **ids,
            )
        )
    return tf.Idefics3ForConditionalGeneration(
        tf.Idefics3Config(
            text_config=text,
            # Its connector is a single linear map, so the tower is deeper.
            vision_config=tower | {"num_hidden_layers": 2},
            image_token_id=token("<image>"),
            scale_factor=1,
            **ids,
        )
    )


def save(model: "PreTrainedModel", family: str, folder: Path) -> None:
    """Write a Hugging Face checkpoint: weights, config, tokenizer, processor, chat template."""
    write(model, (processor if hasattr(model.config, "text_config") else tokenizer)(family), folder)


def write(model: "PreTrainedModel", reader: Any, folder: Path) -> None:
    """Write a checkpoint of `model` and of the processor or tokenizer that reads for it."""
    from transformers import GenerationConfig
    from transformers.conversion_mapping import get_model_conversion_mapping

    if getattr(model, "_weight_conversions", None) is None:
        # Made from a config, not loaded: without this LLaVA's tower would be written under names
        # that neither the hub's checkpoints nor vLLM use.
        vars(model)["_weight_conversions"] = get_model_conversion_mapping(model, add_legacy=False)
    words = getattr(reader, "tokenizer", reader)
    model.generation_config = GenerationConfig(
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    model.save_pretrained(folder)
    reader.save_pretrained(folder)
