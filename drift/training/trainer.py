"""Fine-tune a VLM: SFT, and DRIFT when there is a prior. One trainer for both.

transformers' Trainer runs the loop (accelerate's DDP and FSDP2 included), and `DriftMixin` pulls.
What comes out is a whole Hugging Face checkpoint with `made.json` and `drift_log.jsonl`.

    driftbench train drift/recipes/pocket_drift.yaml --set vlm=… --set data=… --out DIR
"""

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from common import torch_guard, tracking

torch_guard.install()  # before transformers is imported

from transformers import (
    AutoModelForImageTextToText,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)

from common.errors import UserError
from common.files import refuse_existing, write_whole
from common.hub import local
from common.processes import processor_seconds
from common.provenance import Made, Parent, lineage
from common.typed import read_json
from drift import chat_template
from drift import delta as priors
from drift.adapted import start_along
from drift.adapter_injector import AdapterInjector
from drift.families import Family, family_of
from drift.fingerprints import parent
from drift.headers import entries
from drift.injector import Injector
from drift.joined import local_part
from drift.training import (
    adapters,
    added_tokens,
    low_memory,
    memory,
    plan,
    row_files,
    sharding,
)
from drift.training.config import TrainConfig, as_stored
from drift.training.data import Data, prepared
from drift.training.memory import Sizes
from drift.training.mixin import DriftMixin
from drift.training.rl.rules import Rule
from drift.training.rows import content
from drift.training.samples import collate
from drift.training.saving import LOG, finish
from drift.training.trainable import freeze

SETTINGS = "settings.json"


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
    given = as_stored(config)
    config = at_hand(given)
    family = family_of(config.vlm)
    entries(config.vlm)  # sound and safe to read, before anything heavy begins
    work = out.with_name(f"{out.name}.partial")
    given = replace(given, day=_day(work, given))
    config = replace(config, day=given.day)
    data = prepared(config, family, rule)
    outline = plan.outline(config.vlm)
    freeze(outline, config.train)
    adapters.refuse_experts(outline, config)
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
    inputs = _inputs(config, data, parents)
    with arguments.main_process_first(local=False):
        resume = _resume_point(work, given, inputs, arguments.process_index == 0)
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
            start_along(
                model, prior, modules=config.modules, layers=config.layers, seed=config.seed
            )
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
    arguments = kind(
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
    if (seen := arguments.n_gpu) > 1:
        # The Trainer would spread each batch over all of them (nn.DataParallel), and count it so.
        arguments._n_gpu = 1
        print(
            f"training on one of {seen} GPUs (CUDA_VISIBLE_DEVICES says which); torchrun "
            f"--nproc_per_node {seen} -m driftbench train … takes them all"
        )
    return arguments


def _day(work: Path, config: TrainConfig) -> str:
    """The day that a chat template with a clock tells, also when the run goes on on another."""
    noted = read_json(work / SETTINGS) if (work / SETTINGS).is_file() else {}
    return config.day or noted.get("day") or date.today().isoformat()


def _tells_day(processor: Any) -> bool:
    return chat_template.tells_day(chat_template.default(processor.chat_template))


def _inputs(config: TrainConfig, data: Data, parents: tuple[Parent, ...]) -> dict[str, str]:
    """Setting → digest of what it names, where a run is to be taken up from checkpoints."""
    if not config.save_every:
        return {}
    named = {one.role: one.fingerprint for one in parents}
    if config.prior is not None and config.prior not in priors.VARIANTS:
        named["prior"] = priors.fingerprint(config.prior)
    return named | {"data": content(data.samples.rows)}


def _resume_point(
    work: Path, config: TrainConfig, inputs: dict[str, str], first: bool
) -> str | None:
    """The newest checkpoint in `work`, if it was made with these settings from these `inputs`.

    The `first` process notes them there; the others come after it.
    """
    settings = json.loads(json.dumps(asdict(config)))
    note = work / SETTINGS
    # The state is written last: a checkpoint without it was cut off.
    whole = [path.parent for path in work.glob("checkpoint-*/trainer_state.json")]
    found = max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)
    if found is not None and note.is_file():
        noted = json.loads(note.read_text())
        began = noted.pop("inputs", {})  # none in those of older runs
        if noted != settings:
            raise UserError(
                f"{work} holds a run with other settings; remove it, or give another --out"
            )
        if changed := [name for name in began if inputs.get(name) != began[name]]:
            raise UserError(
                f"what {' and '.join(changed)} names is not what the run in {work} began with; put "
                "that back, or remove the folder to begin anew"
            )
    if first:
        work.mkdir(parents=True, exist_ok=True)
        write_whole(note, json.dumps({**settings, "inputs": inputs}, indent=2).encode())
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
