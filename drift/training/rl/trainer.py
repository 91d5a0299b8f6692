"""GRPO (arXiv 2402.03300) by TRL's trainer, on the rows, records and checkpoints of our own.

TRL draws the questions, compares rewards within a group, and takes the step (its `dapo` loss, arXiv
2503.14476: the mean over the tokens of all answers of a step). Prompts and pictures are those of
`drift.training.encode`, which are token for token what the harness asks with.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from common.errors import UserError
from drift.equations import exact_dtype
from drift.training import adapters, flops
from drift.training.config import TrainConfig
from drift.training.data import Data
from drift.training.encode import KINDS, Sample, open_image
from drift.training.mixin import DriftMixin
from drift.training.rl.rules import Rule
from drift.training.rl.sampling import left_padded, sample
from drift.training.samples import prompt


@contextmanager
def _without_vllm() -> Iterator[None]:
    """Let TRL be imported without vLLM, whose import takes longer than a small training.

    Where there is a GPU it may be wanted. TRL 1.16 warns of the version that is pinned here, though
    what it uses of it is there.
    """
    try:
        import trl.import_utils as found
    except ImportError as error:
        raise UserError(
            "a reward needs TRL, which is not installed: pip install 'driftbench[rl]'"
        ) from error
    known = found.is_vllm_available
    if not torch.cuda.is_available():
        found.is_vllm_available = lambda *_, **__: False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        found.is_vllm_available = known


with _without_vllm():
    from trl import GRPOConfig, GRPOTrainer
    from trl.models import unwrap_model_for_generation
    from trl.trainer.utils import RepeatSampler

CHECKPOINTING = {"use_reentrant": False}
VLLM_SHARE = 0.35
"""Of a GPU's memory, what a vLLM has that shares it: the weights of 7B in bfloat16, and a cache."""


def further_arguments(config: TrainConfig) -> tuple[type, dict[str, Any]]:
    """The class of TRL's settings, and those that other training has not."""
    return GRPOConfig, {
        "num_generations": config.generations,
        "max_completion_length": config.answer_tokens,
        "temperature": config.temperature,
        "beta": config.beta,
        "disable_dropout": True,  # answers are scored by the model that sampled them
        "gradient_checkpointing": False,  # `_trainer` turns it on where it is wanted
        "gradient_checkpointing_kwargs": CHECKPOINTING,
        "use_vllm": config.engine == "vllm",
        "vllm_mode": "colocate",
        "vllm_gpu_memory_utilization": VLLM_SHARE,
        "vllm_max_model_length": config.max_tokens,
    }


TOLD = ("answers", "reward", "unparsed", "truncated", "groups", "flat", "sampled", "flops")
"""What is added up over the answers of a step."""


class _Order(RepeatSampler):
    """TRL's order, drawn anew for each epoch by its number, as a run that is taken up needs it."""

    def set_epoch(self, epoch: int) -> None:
        self.generator.manual_seed((self.seed or 0) + epoch)


class GroupTrainer(DriftMixin, GRPOTrainer):
    """TRL's trainer with our prompts, sampling, verdicts and records."""

    def __init__(self, *, config: TrainConfig, data: Data, rule: Rule, **kwargs: Any) -> None:
        """As `DriftMixin`, and further.

        Args:
            config: Of the run.
            data: Its questions.
            rule: Judges the answers.
            **kwargs: Of the Trainer.
        """
        import datasets

        count, needed = len(data.samples), config.questions * kwargs["args"].world_size
        if count < needed:
            raise UserError(
                f"{config.data} has {count} rows, and a step asks {needed} questions: set "
                "questions lower, or give more rows"
            )
        self.config, self.samples, self.rule = config, data.samples, rule
        self._pad, self._per_row = data.pad, data.samples.per_row
        self._group = config.generations
        self._ends = sorted(data.ends)
        self._at_hand: list[int] = []
        self._told: list[torch.Tensor] = []
        numbers = [str(number) for number in range(len(data.samples))]
        super().__init__(
            reward_funcs=[self.judge],
            train_dataset=datasets.Dataset.from_dict({"prompt": numbers}),
            processing_class=data.processor,
            **kwargs,
        )
        self.eos_token_ids = self._ends
        if self.use_vllm and config.adapter_rank:
            # TRL folds the adapters of peft's own wrapper alone.
            engine: Any = self.vllm_generation
            engine._iter_named_params = lambda: adapters.live_weights(self.model)
        self.spent |= {"sampled_tokens": 0}
        self._forward: flops.Rates | None = None

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """None: `made.json` says what it would."""

    # Prompts: a row is named by its number

    def _get_train_sampler(self, dataset: Any = None) -> _Order:
        theirs = super()._get_train_sampler(dataset)
        names = ("data_source", "mini_repeat_count", "batch_size", "repeat_count", "seed")
        return _Order(**{name: getattr(theirs, name) for name in names})

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self._at_hand = [int(one["prompt"]) for one in inputs]
        made = super()._generate_and_score_completions(inputs)
        rows = torch.tensor(self._at_hand, device=self.accelerator.device)
        return {**made, "rows": rows}

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        ids = {row: prompt(self.samples[row])["input_ids"].tolist() for row in {*self._at_hand}}
        return [ids[row] for row in self._at_hand], None, {}

    def _prompts(self, rows: Sequence[int]) -> Sample:
        batch = left_padded([prompt(self.samples[row]) for row in rows], self._pad, self._per_row)
        del batch["rows"]
        return {key: value.to(self.accelerator.device) for key, value in batch.items()}

    # Sampling

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], *args: Any, **kwargs: Any
    ) -> tuple[list[list[int]], Any]:
        if self.use_vllm:
            pictures = [self._pictures(row) for row in self._at_hand]
            return super()._generate_single_turn(
                prompt_ids, pictures if any(pictures) else None, {}, self._group
            )
        with (
            unwrap_model_for_generation(
                self.model_wrapped,
                self.accelerator,
                gradient_checkpointing_kwargs=CHECKPOINTING,
            ) as model,
            self.accelerator.autocast(),
        ):
            return sample(
                model,
                self._prompts(self._at_hand[:: self._group]),
                self._group,
                tokens=self.config.answer_tokens,
                temperature=self.temperature,
                ends=self._ends,
                banned=[model.config.image_token_id],
            ), None

    def _pictures(self, row: int) -> list[Any] | None:
        one = self.samples.rows[row]
        most = self.config.image_max_pixels
        return [open_image(source, one.where, most) for source in one.images] or None

    # Verdicts

    def judge(self, prompts: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        """Judge answers: 1 where the rule says that it is right, else 0; one that was cut is 0."""
        verdicts: list[bool | None] = []
        cut = [ids[-1] not in self._ends for ids in completion_ids]
        for row, ids, is_cut in zip(self._at_hand, completion_ids, cut, strict=True):
            text = self._tokenizer.decode(ids, skip_special_tokens=True)
            truth = self.samples.rows[row].turns[-1].text
            verdicts.append(False if is_cut else self.rule(truth, text))
        rewards = [float(verdict is True) for verdict in verdicts]
        size = self._group
        groups = [rewards[i : i + size] for i in range(0, len(rewards), size)]
        counts = [
            len(rewards), sum(rewards), verdicts.count(None), sum(cut), len(groups),
            sum(len(set(group)) == 1 for group in groups), sum(map(len, completion_ids)),
            self._sampling_flops(completion_ids),
        ]  # fmt: skip
        device = self.accelerator.device
        self._told.append(torch.tensor(counts, dtype=exact_dtype(device), device=device))
        return rewards

    def _sampling_flops(self, answers: list[list[int]]) -> int:
        """Of the prompts once each, of the answers token by token, and of scoring them."""
        model = self.accelerator.unwrap_model(self.model)
        if self._forward is None:
            self._forward = flops.rates(model, backward=False)
        size = self._group
        asked = self._prompts(self._at_hand[::size])
        lengths = asked["attention_mask"].sum(-1).tolist()
        seen = flops.patches(model, asked.get("pixel_values"))
        shown = int((asked["input_ids"] == model.config.image_token_id).sum())
        total = self._forward.of(sum(lengths), sum(one**2 for one in lengths), seen, shown)
        made = [(lengths[i // size], len(answer)) for i, answer in enumerate(answers)]
        pairs = sum(before * own + own * (own + 1) / 2 for before, own in made)
        total += self._forward.of(sum(own for _, own in made), pairs, 0, 0)
        whole = [before + own for before, own in made]
        scored = self._forward.of(
            sum(whole), sum(one**2 for one in whole), size * seen, size * shown
        )
        return total + scored * ((self.beta > 0) + bool(self.use_vllm))

    # The step

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """TRL's loss of a micro-batch."""
        self._at_hand = inputs["rows"].tolist()
        return super().compute_loss(model, inputs, *args, **kwargs)

    def _sizes(self, model: Any, inputs: dict[str, Any]) -> list[torch.Tensor | float]:
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
        mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
        asked = self._prompts(self._at_hand)
        return super()._sizes(model, {**asked, "input_ids": ids, "attention_mask": mask})

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        **_: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        """As TRL's, with the pictures of the rows at hand, in the form in which we train on them.

        Args:
            model: With TRL's fused head.
            input_ids: (answers, tokens), prompts padded on the left, answers on the right.
            attention_mask: Likewise.
            logits_to_keep: Tokens of the longest answer.
            batch_size: Answers at a time.
        """
        logps, entropies = [], []
        size = batch_size or len(input_ids)
        for start in range(0, len(input_ids), size):
            part = slice(start, start + size)
            rows, ids, mask = self._at_hand[part], input_ids[part], attention_mask[part]
            labels = ids.masked_fill(mask == 0, -100)
            labels[:, :-logits_to_keep] = -100
            fields = self._prompts(rows) | {"input_ids": ids, "attention_mask": mask}
            for kind in set(KINDS) & fields.keys():
                before = ids.shape[1] - logits_to_keep - fields[kind].shape[1]
                fields[kind] = torch.nn.functional.pad(fields[kind], (before, logits_to_keep))
            with self.accelerator.autocast():
                made = model(**fields, labels=labels, fused_lm_head=True)
            logps.append(made.log_probs[:, -logits_to_keep:])
            if made.entropy is not None:
                entropies.append(made.entropy[:, -logits_to_keep:])
        return torch.cat(logps), torch.cat(entropies) if entropies else None, None

    def _edit(self) -> None:
        fresh = self._edited_step != self.state.global_step
        super()._edit()
        if not fresh:
            return
        sums = self.accelerator.reduce(torch.stack(self._told).sum(0), "sum").tolist()
        self._told = []
        told = dict(zip(TOLD, sums, strict=True))
        self.spent["flops"] += int(told["flops"])
        self.spent["sampled_tokens"] += int(told["sampled"])
        self._edits |= {
            **{name: told[name] / told["answers"] for name in ("reward", "unparsed", "truncated")},
            "flat_groups": told["flat"] / told["groups"],
            "answer_tokens": told["sampled"] / told["answers"],
        }
