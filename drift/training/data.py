"""What is learnt from: rows, the VLM's own processor, and the tokens that pad and that end."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import torch_guard

torch_guard.install()  # before transformers is imported

from transformers import AutoConfig, AutoProcessor, GenerationConfig
from transformers.utils import GENERATION_CONFIG_NAME
from transformers.utils import logging as transformers_logging

from common.errors import UserError
from common.loading import loaded
from drift import chat_template
from drift.families import Family
from drift.training import added_tokens
from drift.training.config import TrainConfig
from drift.training.rl.rules import Rule, judged
from drift.training.rows import read_rows
from drift.training.samples import Samples


@dataclass(frozen=True, kw_only=True)
class Data:
    """What is learnt from, ready before any weight is loaded."""

    processor: Any
    """Of the VLM, with the added words."""
    pieces: dict[str, list[int]]
    """Of the added words: see `drift.training.added_tokens`."""
    samples: Samples
    bad: list[str]
    """A sentence for each row that is left out."""
    pad: int
    """Token id of the padding."""
    ends: frozenset[int]
    """Token ids that stop a generation."""
    rule: Rule | None
    """Judges answers that are sampled; None: those of the rows are learnt."""


def prepared(config: TrainConfig, family: Family, rule: Rule | None) -> Data:
    """Read the rows of `config` and what its VLM says of tokens.

    Args:
        config: Of the run, with folders in place of names on the hub.
        family: Of the VLM.
        rule: By which a `config.reward` judges.

    Raises:
        UserError: config or processor does not load; or a row cannot be used, and `skip_bad_rows`
            is off or no other is left.
    """
    bad: list[str] = []
    rows = [row for place in config.places for row in read_rows(place, config.images, bad)]
    rule = rule if config.reward is not None else None
    if rule is not None:
        rows = judged(rows, rule, bad)
    if bad and not (config.skip_bad_rows and rows):
        raise UserError(
            f"{bad[0]} ({len(bad)} of {len(rows) + len(bad)} rows cannot be used; "
            "--skip-bad-rows leaves them out)"
        )
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()  # what it would warn of in loading stops us below
    model = loaded(AutoConfig, config.vlm, "config")
    processor = loaded(AutoProcessor, config.vlm, "processor")
    if not processor.chat_template:
        processor.chat_template = chat_template.own(Path(config.vlm), of_processor=True)
    pieces = added_tokens.to_tokenizer(processor, config.add_tokens)
    ends = _ends(config.vlm, model, processor.tokenizer)
    samples = Samples(
        rows,
        processor,
        ends,
        config.max_tokens or model.get_text_config().max_position_embeddings,
        family.pixels_per_row,
        max_pixels=config.image_max_pixels,
        day=str(config.day),
        bad=bad if config.skip_bad_rows else None,
        sampled=None if rule is None else config.answer_tokens,
    )
    pad = processor.tokenizer.pad_token_id
    return Data(
        processor=processor,
        pieces=pieces,
        samples=samples,
        bad=bad,
        pad=min(ends) if pad is None else pad,
        ends=ends,
        rule=rule,
    )


def _ends(vlm: str, config: Any, tokenizer: Any) -> frozenset[int]:
    """Token ids that stop a generation."""
    has_own = (Path(vlm) / GENERATION_CONFIG_NAME).is_file()
    settings = (
        GenerationConfig.from_pretrained(vlm)
        if has_own
        else GenerationConfig.from_model_config(config)
    )
    stop = settings.eos_token_id
    ids = stop if isinstance(stop, list) else [stop]
    return frozenset(one for one in [*ids, tokenizer.eos_token_id] if one is not None)
