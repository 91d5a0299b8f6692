"""Fine-tune a VLM: SFT, and DRIFT when there is a prior. One trainer for both.

transformers' Trainer runs the loop (accelerate's DDP and FSDP2 included); `DriftMixin` adds one
thing to it, the pull on the gradient after accumulation and reduction and before clipping. What
comes out is a whole Hugging Face checkpoint with `made.json` and `drift_log.jsonl`.

    driftbench train drift/recipes/pocket_drift.yaml --set vlm=… --set data=… --out DIR

The mixin goes with any subclass of transformers' Trainer, such as TRL's:

    class DriftSFT(DriftMixin, trl.SFTTrainer): ...

    made = prior.build(vlm, reasoner)
    DriftSFT(model=…, …, join=lambda live: Injector(live, made, mode="adaptive")).train()
"""

import json
import math
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from common import torch_guard, tracking

torch_guard.install()  # before transformers is imported

from accelerate.utils import gather_object
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    GenerationConfig,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.utils import GENERATION_CONFIG_NAME
from transformers.utils import logging as transformers_logging

from common.errors import UserError
from common.files import refuse_existing, unlinked, write_whole
from common.hub import local
from common.processes import processor_seconds
from common.progress import Bar
from common.provenance import Made, Parent, lineage
from common.typed import read_json
from drift import chat_template
from drift import delta as priors
from drift.adapted import start_along
from drift.adapter_injector import AdapterInjector
from drift.equations import exact_dtype
from drift.families import Family, family_of
from drift.fingerprints import parent
from drift.headers import entries
from drift.injector import Injector
from drift.joined import local_part
from drift.rounding import refuse_lost_steps
from drift.training import (
    adapters,
    added_tokens,
    flops,
    low_memory,
    memory,
    plan,
    row_files,
    sharding,
)
from drift.training.config import TrainConfig
from drift.training.encode import IGNORED
from drift.training.memory import Sizes
from drift.training.rl.rules import Rule, judged
from drift.training.rows import read_rows
from drift.training.samples import Samples, collate
from drift.training.saving import LOG, finish
from drift.training.trainable import freeze

SETTINGS = "settings.json"
TIMES = ("seconds", "processor_seconds")
IN_BACKWARD = (
    "the optimizer steps inside backward, tensor by tensor, so that there is no whole gradient to "
    "pull or to clip; take AdamW, or memory: low in a recipe, which saves more"
)


def answer_loss(
    outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
) -> torch.Tensor:
    """Cross-entropy of the labelled tokens, divided by their number in the whole global batch.

    Several VLMs of transformers (`accepts_loss_kwargs = False`: Qwen-VL, Gemma 3) divide by the
    number in their micro-batch instead, so that the micro-batch size weighs the samples.

    Args:
        outputs: With `logits` of shape (rows, tokens, words).
        labels: Shape (rows, tokens); `IGNORED` where nothing is learnt.
        num_items_in_batch: Labelled tokens of all micro-batches and devices.
    """
    labels = labels[:, 1:]
    learnt = labels != IGNORED
    logits = outputs.logits[:, :-1][learnt].float()
    total = torch.nn.functional.cross_entropy(logits, labels[learnt], reduction="sum")
    return total / (learnt.sum() if num_items_in_batch is None else num_items_in_batch)


class DriftMixin:
    """What DRIFT adds to a transformers `Trainer`; put it before the Trainer among the bases.

    Without `join` it adds a record of each step and the refusal of a loss that is no number.
    """

    def __init__(
        self,
        *args: Any,
        join: Callable[[torch.nn.Module], Injector | AdapterInjector] | None = None,
        log: Path | None = None,
        **kwargs: Any,
    ) -> None:
        """As the Trainer, and further.

        Args:
            *args: Of the Trainer.
            join: Makes the `Injector` for the model as it will be trained: wrapped and sharded,
                still at its first weights.
            log: File that gets one JSON line per optimizer step.
            **kwargs: Of the Trainer.
        """
        super().__init__(*args, **kwargs)
        trainer: Any = self
        if trainer.is_deepspeed_enabled:
            raise UserError(
                "DeepSpeed takes its optimizer step inside backward, so the gradient cannot be "
                "edited once per step; use DDP or FSDP2 (accelerate, fsdp_version: 2)"
            )
        if trainer.args.fp16:
            raise UserError(
                "float16 scales gradients, and leaves out steps whose scale was too large; use bf16"
            )
        if str(trainer.args.optim.value).endswith(("lomo", "layerwise")):
            raise UserError(IN_BACKWARD)
        own_loss = super().compute_loss.__func__ is not Trainer.compute_loss  # type: ignore[misc]
        if not own_loss and trainer.compute_loss_func is None:
            trainer.compute_loss_func = answer_loss  # a Trainer with a loss of its own keeps it
        self.injector: Injector | AdapterInjector | None = None
        self.spent = dict.fromkeys(("samples", "tokens", "flops"), 0) | dict.fromkeys(TIMES, 0.0)
        self._join_prior = join
        self._log_path = log
        self._micro: list[torch.Tensor] = []
        self._rows: list[torch.Tensor] = []
        self._micro_sizes: list[torch.Tensor | float] = []
        self._edits: dict[str, Any] = {}
        self._edited_step = -1
        self._started = 0.0
        self._counted = processor_seconds()
        self._rates: flops.Rates | None = None
        trainer.add_callback(_Steps(self))

    def _prepare_for_training(self, *args: Any, **kwargs: Any) -> Any:
        prepared = super()._prepare_for_training(*args, **kwargs)  # type: ignore[misc]
        self._join()
        return prepared

    def _init_training_state(self, max_steps: int, *args: Any) -> tuple[int, int]:
        epoch, batches = super()._init_training_state(max_steps, *args)  # type: ignore[misc]
        trainer: Any = self
        # Taken up after its last step, the Trainer would take one more.
        return (epoch, batches) if trainer.state.global_step < max_steps else (sys.maxsize, 0)

    def _load_from_checkpoint(self, folder: str, model: Any = None) -> None:
        """Load what `train` resumes from; the prior is joined before, at the first weights."""
        trainer: Any = self
        self._join(model)
        if trainer.is_fsdp_enabled or not hasattr(type(trainer.model), "from_pretrained"):
            super()._load_from_checkpoint(folder, model)  # type: ignore[misc]
            return
        # The Trainer would match names on disk with names in memory, which differ for most VLMs,
        # and skip those that do not match.
        live = trainer.model
        if getattr(live, "peft_config", None):
            adapters.take_up(live, folder)
            return
        loaded = type(live).from_pretrained(folder, dtype=live.dtype)
        live.load_state_dict(loaded.state_dict())

    def _join(self, model: Any = None) -> None:
        trainer: Any = self
        if self._join_prior is None or self.injector is not None:
            return
        self.injector = self._join_prior(model if model is not None else trainer.model_wrapped)
        if trainer.is_world_process_zero():
            print(f"pulling {self.injector.coverage().line()}")

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        """One micro-batch: forward and backward."""
        loss = super().training_step(model, inputs, *args, **kwargs)  # type: ignore[misc]
        exact = exact_dtype(loss.device)
        numbers = [torch.as_tensor(one) for one in (loss, *self._micro_sizes)]
        self._micro.append(torch.stack([one.to(loss.device, exact) for one in numbers]))
        return loss

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """The Trainer's. `rows`, if given, are the numbers of those in this micro-batch."""
        self._micro_sizes = self._sizes(model, inputs)
        rows = inputs.pop("rows", None)
        self._rows.append(torch.empty(0) if rows is None else rows)
        return super().compute_loss(model, inputs, *args, **kwargs)  # type: ignore[misc]

    def _sizes(self, model: Any, inputs: dict[str, Any]) -> list[torch.Tensor | float]:
        """Tokens of a micro-batch, their pairs within rows, image tokens, patches, and rows."""
        trainer: Any = self
        ids = inputs["input_ids"]
        mask = inputs.get("attention_mask")
        lengths = (torch.ones_like(ids) if mask is None else mask).sum(
            -1, dtype=exact_dtype(ids.device)
        )
        config = trainer.accelerator.unwrap_model(model).config
        image = getattr(config, "image_token_id", getattr(config, "image_token_index", None))
        shown = torch.zeros_like(ids) if image is None else ids == image
        seen = flops.patches(trainer.model, inputs.get("pixel_values"))
        return [lengths.sum(), (lengths**2).sum(), shown.sum(), seen, len(ids)]

    def floating_point_ops(self, inputs: Any) -> int:
        """Nothing: `_edit` counts, where transformers would walk all parameters each batch."""
        return 0

    def _clip_grad_norm(self, model: Any) -> Any:
        self._edit()
        return super()._clip_grad_norm(model)  # type: ignore[misc]

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> float:
        self._edit()  # when there is no clipping
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)  # type: ignore[misc]
        self._edits["grad_norm"] = float(norm)
        if not math.isfinite(self._edits["grad_norm"]):
            self._stop(f"the gradient's norm is {float(norm)}", self._rows_of_step)
        return norm

    def _edit(self) -> None:
        """Pull, once per optimizer step, on the accumulated and reduced gradient."""
        trainer: Any = self
        step = trainer.state.global_step
        if self._edited_step == step:
            return
        self._edited_step = step
        micro, self._micro = torch.stack(self._micro), []
        self._rows_of_step, self._rows = self._rows, []
        mine = torch.cat([micro.sum(0), micro.new_tensor([self._processor()])])
        sums = trainer.accelerator.reduce(mine, "sum").tolist()
        loss, length, pairs, images, seen, samples, processor = sums
        value = loss / trainer.args.world_size
        if self._rates is None:
            bare = trainer.accelerator.unwrap_model(trainer.model)
            self._rates = flops.rates(bare, bare.is_gradient_checkpointing)
        self.spent["processor_seconds"] += processor
        self.spent["samples"] += int(samples)
        self.spent["tokens"] += int(length)
        self.spent["flops"] += self._rates.of(length, pairs, seen, images)
        if not math.isfinite(value):
            finite = micro[:, 0].isfinite().tolist()
            batches = zip(self._rows_of_step, finite, strict=True)
            self._stop(f"the loss is {value}", [rows for rows, fine in batches if not fine])
        self._edits = {"loss": value, "lr": trainer._get_learning_rate()}
        if self.injector is not None:
            progress = step / max(1, trainer.state.max_steps)
            self._edits |= self.injector.apply(progress, self._edits["lr"])

    def settle(self) -> None:
        """Hold the weights to their anchor, if they have one, after the optimizer's step."""
        trainer: Any = self
        if self.injector is not None:
            self._edits |= self.injector.settle(trainer._get_learning_rate())

    def _stop(self, what: str, rows: list[torch.Tensor]) -> None:
        """Stop before the weights are harmed, naming the step and the rows (of all processes)."""
        trainer: Any = self
        data = getattr(trainer, "samples", trainer.train_dataset)
        numbers = sorted(gather_object([row for batch in rows for row in batch.tolist()]))
        named = [data.rows[row].where for row in numbers] if isinstance(data, Samples) else []
        among = f" (in {', '.join(named[:8])}{' …' if len(named) > 8 else ''})" if named else ""
        raise UserError(
            f"{what} at step {trainer.state.global_step + 1}{among}; the weights were left as they "
            "were; lower lr, or look for a broken sample"
        )

    def record(self) -> None:
        """Append the line of the step that was just taken."""
        trainer: Any = self
        if self._join_prior is not None and (
            self.injector is None or self._edited_step != trainer.state.global_step - 1
        ):
            raise RuntimeError("an optimizer step was taken without the pull on its gradient")
        line = {
            "step": trainer.state.global_step,
            **self._edits,
            **self.spent,
            "seconds": self.seconds(),
        }
        if self._log_path is not None and trainer.args.should_save:
            with open(self._log_path, "a", encoding="utf-8", opener=unlinked) as file:
                file.write(json.dumps(line) + "\n")

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """As the Trainer, with what `record` writes of the pull: α, ρ, and by role the cosine."""
        if "loss" in logs:
            logs = {**_flat(self._edits), **logs}
        super().log(logs, *args, **kwargs)  # type: ignore[misc]

    def seconds(self) -> float:
        """Spent training, sessions before a resume included."""
        return self.spent["seconds"] + time.perf_counter() - self._started

    def count_from(self, processor: float) -> None:
        """Count what this process took since it had taken so many processor seconds."""
        self._counted = processor

    def _processor(self) -> float:
        """Processor seconds of this process since they were last asked for."""
        before, self._counted = self._counted, processor_seconds()
        return self._counted - before

    def processor_seconds(self) -> float:
        """Of all processes, from their rows to now, sessions before a resume included.

        All processes must ask at the same time.
        """
        trainer: Any = self
        rest = torch.tensor([self._processor()], device=trainer.args.device)
        self.spent["processor_seconds"] += float(trainer.accelerator.reduce(rest, "sum"))
        return self.spent["processor_seconds"]

    def rewind(self, steps: int) -> None:
        """Take up the record where a checkpoint of `steps` steps left it."""
        self._started = time.perf_counter()
        if self._log_path is None or not self._log_path.is_file():
            return
        lines = [json.loads(line) for line in self._log_path.read_text().splitlines()]
        kept = [line for line in lines if line["step"] <= steps]
        if kept:
            self.spent = {name: kept[-1].get(name, 0) for name in self.spent}
        trainer: Any = self
        if trainer.args.should_save:
            text = "".join(json.dumps(line) + "\n" for line in kept)
            write_whole(self._log_path, text.encode())


def _flat(edits: dict[str, Any]) -> dict[str, float]:
    """Numbers by one name, `attention/cos`; those that the Trainer names itself are left to it."""
    found: dict[str, float] = {}
    for name, value in edits.items():
        if isinstance(value, dict):
            found |= {f"{name}/{inner}": number for inner, number in value.items()}
        elif name not in ("loss", "lr", "grad_norm"):
            found[name] = value
    return found


class _Steps(TrainerCallback):
    """Tells a `DriftMixin` when training begins and when a step is done; shows the progress."""

    def __init__(self, trainer: DriftMixin) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.bar = Bar("training", state.max_steps, done=state.global_step)
        optimizer = kwargs["optimizer"]
        params = [p for group in optimizer.param_groups for p in group["params"]]
        refuse_lost_steps(params, args.learning_rate, low_memory.rounds_by_chance(optimizer))
        if any(getattr(param, "_post_accumulate_grad_hooks", None) for param in params):
            raise UserError(IN_BACKWARD)
        self.trainer.rewind(state.global_step)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.settle()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.record()
        if state.is_world_process_zero:
            self.bar.add()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.bar.close()


class DriftTrainer(DriftMixin, Trainer):
    """transformers' Trainer with the pull."""


def train(
    config: TrainConfig,
    out: Path | str,
    overwrite: bool = False,
    rule: Rule | None = None,
    *,
    report_to: Sequence[str] = (),
) -> Made:
    """Train as `config` says and write the checkpoint `out`.

    While it runs, `<out>.partial` holds the log and the checkpoints to resume from; a second call
    with the same settings takes up the newest of them.

    Args:
        config: Of the run.
        out: Folder to write.
        overwrite: Replace what is at `out`.
        rule: By which a `config.reward` judges.
        report_to: Trackers that are told of each step: see `common.tracking`.

    Returns:
        What is written to `made.json`.

    Raises:
        UserError: anything that the user can put right.
    """
    began = processor_seconds()
    out = Path(out)
    refuse_existing(out, overwrite)
    if config.reward is not None:
        _refuse_reward(config, rule)
    given, config = config, at_hand(config)
    family = family_of(config.vlm)
    entries(config.vlm)  # sound and safe to read, before anything heavy begins
    work = out.with_name(f"{out.name}.partial")
    given = replace(given, day=_day(work, given))
    config = replace(config, day=given.day)
    data = _data(config, family, rule)
    outline = plan.outline(config.vlm)
    freeze(outline, config.train)
    sizes = memory.sizes(outline, config, data.samples.longest)
    config = plan.with_memory(outline, sizes, config, sharding.device_bytes())
    given = replace(given, memory=config.memory)
    sharded = _shared(config, data, sizes)
    prior, parents = _prior(config)
    notes = [note for place in config.places for note in row_files.notes(place)]
    before = [asdict(one) for one in lineage(parents, notes)]
    arguments = _arguments(config, work, tracked=bool(report_to))
    if sharded:
        arguments = replace(arguments, **sharding.arguments(outline, config))
        arguments.fsdp_plugin_args["mixed_precision_policy"] = sharding.precision(config)
    with arguments.main_process_first(local=False):
        resume = _resume_point(work, given, arguments.process_index == 0)
    try:
        trainer, added = _trainer(config, family, data, prior, arguments)
        trainer.count_from(began)
        with tracking.told(report_to):
            for one in tracking.callbacks(report_to, out):
                trainer.add_callback(one)
            trainer.train(resume_from_checkpoint=resume)
        made = Made(
            method=_method(config),
            name=out.name,
            parents=parents,
            settings=asdict(given if _tells_day(data.processor) else replace(given, day=None)),
            coverage=asdict(trainer.injector.coverage()) if trainer.injector else None,
            cost=_cost(trainer, data) | {"before": before},
            tokens=added or None,
        )
        return finish(trainer, made, config, work, out)
    except torch.OutOfMemoryError as error:
        limit = sharding.device_bytes() or 0
        raise UserError(
            f"the device ran out of memory; {sharding.advice(sizes, config, limit, sharded)}"
        ) from error
    finally:
        # Kept only while there is something in it to go on from or to look at.
        if not any(work.glob("checkpoint-*")) and not (work / LOG).exists():
            shutil.rmtree(work, ignore_errors=True)


def _method(config: TrainConfig) -> str:
    """How `made.json` names what was done."""
    if config.reward is not None:
        return "grpo"
    if config.prior is None:
        return "sft"
    if config.anchor is not None and config.alpha == 0:
        return config.anchor
    if config.mode in ("project", "project_learnt"):
        return "digrap"
    # The gradient of λ/2 ‖w − A‖², which `absolute` with a live Δ is, term by term.
    return "l2_sp" if config.live and config.mode == "absolute" else "drift"


def _refuse_reward(config: TrainConfig, rule: Rule | None) -> None:
    """Stop before anything is read where GRPO cannot run here."""
    if rule is None:
        raise UserError(
            f"the reward {config.reward} is a task's own rule, which `driftbench train` gives; "
            "give train(…, rule=…) a function of a row's answer and a sampled one"
        )
    if config.engine == "vllm" and not torch.cuda.is_available():
        raise UserError(
            "engine: vllm samples on the GPU that trains, and there is none here; set engine: hf"
        )
    if find_spec("trl") is None:
        raise UserError("a reward needs TRL, which is not installed: pip install 'driftbench[rl]'")


def at_hand(config: TrainConfig) -> TrainConfig:
    """`config` with folders in place of names on the hub, fetched if they are not here yet."""

    def here(place: str | None) -> str | None:
        return place if place is None else str(local(place))

    def rows(place: str) -> str:
        data, colon, part = place.partition(":")
        return f"{local(data, 'dataset')}{colon}{part}"

    # A baseline may name the reasoner of the recipes that extend it, and needs none.
    needed = config.prior in priors.VARIANTS
    return replace(
        config,
        vlm=str(local(config.vlm)),
        data=rows(config.data) if isinstance(config.data, str) else tuple(map(rows, config.places)),
        reasoner=here(config.reasoner) if needed else None,
        base=here(config.base) if needed else None,
    )


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


def _data(config: TrainConfig, family: Family, rule: Rule | None) -> Data:
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
    processor = AutoProcessor.from_pretrained(config.vlm)
    if not processor.chat_template:
        processor.chat_template = chat_template.own(Path(config.vlm), of_processor=True)
    pieces = added_tokens.to_tokenizer(processor, config.add_tokens)
    model = AutoConfig.from_pretrained(config.vlm)
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


def _shared(config: TrainConfig, data: Data, sizes: Sizes) -> bool:
    """Whether devices share the model."""
    sharded = sharding.choose(sizes, config, sharding.processes(), sharding.device_bytes())
    if sharded and config.reward is not None:
        raise UserError(
            "GRPO samples from a whole copy of the model on each device, and it does not fit; take "
            "adapters (adapter_rank), beta: 0, or a smaller batch"
        )
    seen = [bool(row.images) for row in data.samples.rows]
    if sharded and {"tower", "projector"} & set(config.train) and any(seen) and not all(seen):
        raise UserError(
            "some rows have pictures and others none, so that under FSDP2 a process may have "
            "gradients of the tower and projector where another has none; train neither, or rows "
            "of one kind, or with a copy of the model on each device (DDP)"
        )
    return sharded


def _trainer(
    config: TrainConfig,
    family: Family,
    data: Data,
    prior: priors.Prior | None,
    arguments: TrainingArguments,
) -> tuple[DriftTrainer, dict[str, Any]]:
    """Model, data and loop, ready to run, and what `drift.training.added_tokens` added."""
    set_seed(config.seed)
    low = config.memory == "low"
    whole = torch.bfloat16 if low else torch.float32
    loaded: Any = AutoModelForImageTextToText.from_pretrained(
        config.vlm,
        output_loading_info=True,
        **(adapters.load_frozen(config) if config.adapter_rank else {"dtype": whole}),
    )
    model, loading = loaded
    absent = sorted(loading["missing_keys"]) + [str(one) for one in loading["mismatched_keys"]]
    if absent:
        raise UserError(f"{config.vlm} lacks weights of its own model: {', '.join(absent[:5])}")
    added = added_tokens.to_model(model, data.processor, data.pieces)
    if config.adapter_rank:
        trained = adapters.attach(model, config)
        if prior is not None and config.adapter_start == "delta":
            start_along(model, prior, config.modules, config.seed)
    else:
        trained = freeze(model, config.train)
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        # What transformers does for adapters; here it would differentiate a frozen tower.
        model.disable_input_require_grads()
    log = Path(str(arguments.output_dir)) / LOG
    if data.rule is None:
        trainer: Any = DriftTrainer(
            model=model,
            args=arguments,
            train_dataset=data.samples,
            processing_class=data.processor,
            data_collator=lambda batch: collate(batch, data.pad, family.pixels_per_row),
            join=None if prior is None else lambda live: _injector(live, prior, config),
            log=log,
        )
    else:
        from drift.training.rl.trainer import GroupTrainer

        trainer = GroupTrainer(
            config=config, data=data, rule=data.rule, model=model, args=arguments, log=log
        )
    if low:
        trainer.optimizer_cls_and_kwargs = low_memory.optimizer(arguments)
    trainer.remove_callback(PrinterCallback)
    if trainer.is_world_process_zero():
        for line in prior.warnings if prior else ():
            print(f"warning: {line}")
        _tell(data, trained, config)
    return trainer, added


def _tell(data: Data, trained: int, config: TrainConfig) -> None:
    for line in data.samples.dropped:
        print(f"left out, longer than the context: {line}")
    for line in data.bad:
        print(f"left out: {line}")
    if labels := sorted({name for row in data.samples.rows for name in row.labels}):
        print(f"fields that nothing is learnt from: {', '.join(labels)}")
    print(
        f"{len(data.samples)} samples ({len(data.samples.dropped) + len(data.bad)} left out), "
        f"{trained:,} trained parameters ({', '.join(config.train)})"
    )


def _prior(config: TrainConfig) -> tuple[priors.Prior | None, tuple[Parent, ...]]:
    """The prior that `config` asks for, and the records of all parents."""
    if config.prior is None:
        return None, (parent("vlm", config.vlm),)
    if config.prior not in priors.VARIANTS:
        prior = priors.load(config.prior)
        vlm = parent("vlm", config.vlm)
        of = {one.role: one.fingerprint for one in prior.parents}
        if prior.variant != "reasoner-base" and of["vlm"] != vlm.fingerprint:
            raise UserError(
                f"the prior {config.prior} was made from another VLM than {config.vlm}; "
                "build it from this one"
            )
        return prior, (vlm, *(one for one in prior.parents if one.role != "vlm"))
    prior = priors.build(
        config.vlm,
        str(config.reasoner),
        config.prior,
        config.base,
        config.modules,
        config.prior_dtype,
        config.seed,
    )
    return prior, prior.parents


def _injector(
    model: torch.nn.Module, prior: priors.Prior, config: TrainConfig
) -> Injector | AdapterInjector:
    shared: dict[str, Any] = {
        "alpha": config.alpha,
        "mode": config.mode,
        "modules": config.modules,
        "layers": config.layers,
        "schedule": config.alpha_schedule,
        "stop_rho": config.stop_rho,
        "live": config.live,
        "offload": config.offload,
    }
    if config.adapter_rank:
        return AdapterInjector(model, prior, **shared)
    return Injector(
        model,
        prior,
        **shared,
        when=config.when,
        toward=config.toward,
        anchor=config.anchor,
        anchor_strength=config.anchor_strength,
    )


def _arguments(config: TrainConfig, work: Path, tracked: bool) -> TrainingArguments:
    kind: Any = TrainingArguments
    accumulate = config.accumulate
    further: dict[str, Any] = {}
    if config.reward is not None:
        from drift.training.rl.trainer import further_arguments

        kind, further = further_arguments(config)
        accumulate = config.questions * config.generations // config.batch
    return kind(
        **further,
        output_dir=str(work),
        per_device_train_batch_size=config.batch,
        gradient_accumulation_steps=accumulate,
        max_steps=config.steps or -1,
        num_train_epochs=config.epochs,
        learning_rate=config.lr,
        # transformers' plain `constant` would leave the warm-up out.
        lr_scheduler_type=config.lr_schedule.replace("constant", "constant_with_warmup"),
        warmup_steps=config.warmup,  # below 1: a share of all steps
        weight_decay=config.weight_decay,
        max_grad_norm=config.clip,
        use_cpu=not torch.accelerator.is_available(),
        bf16=config.dtype == "bfloat16",
        seed=config.seed,
        save_strategy="steps" if config.save_every else "no",
        save_steps=config.save_every or 500,
        save_total_limit=1,
        logging_strategy="steps" if tracked else "no",
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to="none",  # `train` adds the callbacks
        run_name=work.stem,
        project=tracking.PROJECT,
        disable_tqdm=True,  # _Steps has a bar that keeps quiet when it is not needed
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        # A row without pictures leaves the tower unused, which matters when it is trained.
        ddp_find_unused_parameters=bool({"tower", "projector"} & set(config.train)),
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


def _day(work: Path, config: TrainConfig) -> str:
    """The day that a chat template with a clock tells, also when the run goes on on another."""
    noted = read_json(work / SETTINGS) if (work / SETTINGS).is_file() else {}
    return config.day or noted.get("day") or date.today().isoformat()


def _tells_day(processor: Any) -> bool:
    return chat_template.tells_day(chat_template.default(processor.chat_template))


def _resume_point(work: Path, config: TrainConfig, first: bool) -> str | None:
    """The newest checkpoint in `work`, if it was made with these settings.

    The `first` process notes the settings there; the others come after it.
    """
    settings = json.loads(json.dumps(asdict(config)))
    note = work / SETTINGS
    # The state is written last: a checkpoint without it was cut off.
    whole = [path.parent for path in work.glob("checkpoint-*/trainer_state.json")]
    found = max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)
    if found is not None and note.is_file() and json.loads(note.read_text()) != settings:
        raise UserError(f"{work} holds a run with other settings; remove it, or give another --out")
    if first:
        work.mkdir(parents=True, exist_ok=True)
        write_whole(note, json.dumps(settings, indent=2).encode())
    return None if found is None else str(found)


def _cost(trainer: DriftTrainer, data: Data) -> dict[str, Any]:
    import resource

    cuda = torch.cuda.is_available()
    peak = (
        torch.cuda.max_memory_allocated()
        if cuda
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    return {
        **trainer.spent,
        "seconds": trainer.seconds(),
        "processor_seconds": trainer.processor_seconds(),
        "steps": trainer.state.global_step,
        "devices": trainer.args.world_size,
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "peak_memory_bytes": peak,
        "memory": _memory(trainer),
        "dropped_rows": len(data.samples.dropped),
        "bad_rows": len(data.bad),
    }


def _memory(trainer: Any) -> dict[str, int]:
    """Bytes that the first process holds between two steps, and of the gradients in them."""

    def held(tensors: Iterable[Any]) -> int:
        return sum(local_part(tensor).nbytes for tensor in tensors)

    params = list(trainer.model.parameters())
    state = trainer.optimizer.state_dict()["state"].values()
    return {
        "weights_bytes": held(params),
        "gradients_bytes": held(param for param in params if param.requires_grad),
        "optimizer_bytes": held(
            value for one in state for value in one.values() if torch.is_tensor(value)
        ),
        **(trainer.injector.memory() if trainer.injector else {}),
    }
