"""What DRIFT adds to a Trainer of transformers: the pull, once per optimizer step, and a record.

The pull is taken on the gradient after accumulation and reduction and before clipping. It goes with
any subclass of transformers' Trainer, such as TRL's: `class DriftSFT(DriftMixin, trl.SFTTrainer)`.
"""

import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from common import torch_guard

torch_guard.install()  # before transformers is imported

from accelerate.utils import gather_object
from transformers import Trainer, TrainerCallback

from common.errors import UserError
from common.files import unlinked, write_whole
from common.processes import processor_seconds
from common.progress import Bar
from drift.adapter_injector import AdapterInjector
from drift.equations import exact_dtype
from drift.injector import Injector
from drift.rounding import refuse_lost_steps
from drift.training import adapters, flops, low_memory
from drift.training.encode import IGNORED
from drift.training.samples import Samples

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
        if (seen := trainer.args.n_gpu) > 1:
            raise UserError(
                f"{seen} GPUs in one process are nn.DataParallel, whose replicas' losses would be "
                "added up though each is divided by the words of the whole batch; start it with "
                f"torchrun --nproc_per_node {seen}, or let CUDA_VISIBLE_DEVICES name one"
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
