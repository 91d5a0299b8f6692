"""DRIFT on small VLMs: full weights where one GPU of 24 GB holds them, adapters in every family.

    driftbench reproduce small --plan
    driftbench reproduce small --scale pocket      # every step, on stand-ins, on a CPU
    driftbench reproduce small --set smolvlm/vlm=/models/SmolVLM-500M-Instruct

Seconds are estimates for one GPU of 24 GB that computes 71 TFLOP/s in bfloat16 and reads 936 GB/s
(an RTX 3090, the slowest of its kind); none was measured there:

    training    200 steps of 8 samples of about 1,000 tokens, 8 FLOP a parameter and token with
                recomputation (6 under adapters, whose base has no gradient), at a third of the
                peak, and as much again for batches of one sample
    evaluation  3,531 questions with answers of about 300 tokens: 270 s for a billion parameters,
                and a minute to start; the 4,329 questions of validation have short answers, 120 s,
                or 240 s after training

What fits is what `driftbench rehearse small --device-memory 24` says.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from drift.training import config as recipes
from harness.studies import arms, parts
from harness.studies.arms import Arm, grid
from harness.studies.scale import RULE, STANDINS, Scale, given
from harness.studies.step import Claim, Method, MethodRun, Step, Study, Trial


@dataclass(frozen=True, kw_only=True)
class Family:
    """A VLM and its reasoner; which they are say the recipes."""

    title: str
    billions: tuple[float, float]
    """Parameters of the two."""
    full: bool
    """Whether 24 GB hold its full weights in training."""
    seeing: tuple[str, ...] = ()
    """Options of asking the VLM."""
    thinking: tuple[str, ...] = ("--temperature", "0.6", "--top-p", "0.95")
    """Options of asking the reasoner."""


PIXELS = ("--max-pixels", "1003520")
"""1,280 tokens of Qwen's, which leave room in the context; the others cut a picture into no more
tiles than they have room for."""
FAMILIES = {
    "smolvlm": Family(title="SmolVLM-500M", billions=(0.51, 0.36), full=True, thinking=()),
    "internvl3_2b": Family(title="InternVL3-2B", billions=(2.1, 1.8), full=True),
    "qwen3_vl_2b": Family(title="Qwen3-VL-2B", billions=(2.1, 2.0), full=True, seeing=PIXELS),
    "qwen2_5_vl_3b": Family(
        title="Qwen2.5-VL-3B", billions=(3.8, 3.4), full=False, seeing=PIXELS, thinking=()
    ),
    "qwen3_vl_4b": Family(title="Qwen3-VL-4B", billions=(4.4, 4.0), full=False, seeing=PIXELS),
}
"""By the name of their recipes. The reasoners that think long are asked as their cards say."""
STEPS = 200
ALPHAS = (0.05, 0.1, 0.2, 0.4)
TUNED_IN = "smolvlm"
"""Family in which the settings are chosen that all families take: the smallest."""
BEST = {
    "sft": grid("lr", at=[[2e-6], [1e-5], [5e-5]]),
    "drift": grid("lr", "alpha", at=[[2e-6, 1.0], [1e-5, 0.3], [5e-5, 0.1]]),
    "lora_sft": grid("lr", at=[[2e-5], [1e-4], [5e-4]]),
    "lora_drift": grid("lr", "alpha", at=[[2e-5, 1.0], [1e-4, 0.3], [5e-4, 0.1]]),
}
"""Recipe → what is tried of it."""
CONTROLS = {
    "random": ("drift", "prior=random"),
    "published": ("drift", "when=backward"),
    "lora_random_start": ("lora_drift", "adapter_start=random"),
}
"""Method → the recipe of its family, and what differs: a random direction with the norms of the
prior; a pull for each micro-batch; adapters that begin where others do."""
LABELS = {
    "vlm": "VLM",
    "reasoner": "reasoner (text only)",
    arms.TUNED: "merge, tuned",
    "sft": "SFT",
    "drift": "DRIFT",
    "merge_then_sft": "merge, tuned, then SFT",
    "lora_sft": "LoRA SFT",
    "lora_drift": "LoRA DRIFT",
    "random": "DRIFT, random Δ",
    "published": "DRIFT, a pull per micro-batch",
    "lora_random_start": "LoRA DRIFT, random start",
}
"""Method → its row, in the order of the tables."""
BENCHMARKS = {"mathvista": "MathVista", "logicvista": "LogicVista"}
PERCEPTION, TEXT = "realworldqa", "gsm8k"
GIB = 2e9 / 2**30
"""Of a billion parameters in bfloat16."""


def study(
    *,
    seeds: int = 1,
    controls: bool = False,
    scale: Literal["pocket"] | None = None,
    offload: bool = False,
    **models: str,
) -> Study:
    """Build the study.

    Args:
        seeds: Of training.
        controls: Does the direction matter, or when it pulls, or where adapters begin?
        scale: `pocket`: the same steps on stand-ins.
        offload: Keep Δ in the host's memory, of full weights too.
        models: Folders of one's own in the place of names on the hub, `smolvlm/vlm=…`.

    Raises:
        UserError: One of `models` is none.
    """
    chosen = given(_scale(bool(scale)), models, offload)
    steps = parts.fetched(chosen)
    for name in FAMILIES:
        steps += parts.checked(name, stage="distances", seconds=60)
    steps += _tuning(chosen)
    for name in FAMILIES:
        steps += _asked_once(chosen, name)
    for seed in range(seeds):
        for name in FAMILIES:
            steps += _trained(chosen, name, seed, controls)
    folders = [f"seed-{seed}/{name}/runs" for seed in range(seeds) for name in FAMILIES]
    steps.append(parts.report(folders))
    about = "DRIFT on small VLMs, full weights and adapters, on one GPU of 24 GB"
    if scale:
        about = "The steps of the study of small VLMs on stand-ins; its numbers mean nothing"
        steps = parts.in_miniature(steps, "small")
    return Study(
        name="small at pocket scale" if scale else "small",
        about=about,
        steps=tuple(steps),
        methods=_methods(seeds, controls),
        claims=_claims(),
        baseline="sft",
        trials=tuple(_trials()),
        tuning=chosen.rule,
        titles={name: family.title for name, family in FAMILIES.items()},
        threads=1 if scale else 8,
        forked=bool(scale),
    )


def _scale(standins: bool) -> Scale:
    """What is fetched is what the recipes name."""
    models, gib = {}, {}
    for name, family in FAMILIES.items():
        recipe = recipes.load(f"{name}_sft")
        sides = {"vlm": recipe.vlm, "reasoner": recipe.reasoner or ""}
        for (side, place), size in zip(sides.items(), family.billions, strict=True):
            models[f"{name}/{side}"], gib[f"{name}/{side}"] = place, GIB * size
    models["data"], gib["data"] = str(recipe.data), 1.0
    if standins:
        models = {name: f"standins/{name}" for name in models} | {"data": "standins/world"}
        return Scale(models=models, gib=gib, **STANDINS)
    asked = f"{','.join(BENCHMARKS)},{PERCEPTION}"
    return Scale(
        models=models,
        gib=gib,
        seeing=asked,
        everything=f"{asked},{TEXT}",
        reasoning=asked,
        text=TEXT,
        rule=RULE,
        options=("--max-tokens", "2048", "--context", "8192"),
        options_text=("--max-tokens", "6144", "--context", "8192", "--limit", "400"),
        training=("--set", f"steps={STEPS}"),
    )


def _methods(seeds: int, controls: bool) -> tuple[Method, ...]:
    runs: dict[str, list[MethodRun]] = {name: [] for name in LABELS}
    for name in FAMILIES:
        for seed in range(seeds):
            once = ("vlm", "reasoner", arms.TUNED) if seed == 0 else ()
            for method in (*once, *_arms(name, controls)):
                folder = f"seed-{seed}/{name}/runs/{method}"
                runs[method].append(MethodRun(name, seed, folder))
    return tuple(
        Method(name=name, label=LABELS[name], runs=tuple(own)) for name, own in runs.items() if own
    )


def _claims() -> tuple[Claim, ...]:
    asked = (
        ("DRIFT scores higher than SFT", "drift", "sft", True),
        ("DRIFT scores higher than a tuned merge, then SFT", "drift", "merge_then_sft", True),
        ("LoRA DRIFT scores higher than LoRA SFT", "lora_drift", "lora_sft", True),
        ("DRIFT scores higher than the VLM", "drift", "vlm", False),
        ("LoRA DRIFT scores higher than the VLM", "lora_drift", "vlm", False),
    )
    reasoning = [
        Claim(text=f"{text}: {title}", method=a, against=b, group=task, primary=primary)
        for text, a, b, primary in asked
        for task, title in BENCHMARKS.items()
    ]
    perception = [
        Claim(
            text=f"{LABELS[method]} costs perception: RealWorldQA",
            method=method,
            against="vlm",
            group=PERCEPTION,
            sign=-1,
        )
        for method in ("drift", "lora_drift")
    ]
    return (*reasoning, *perception)


# The steps of a family


def _arms(name: str, controls: bool) -> dict[str, Arm]:
    """What is trained for each seed, by method."""
    family = FAMILIES[name]

    def arm(method: str, recipe: str, *fixed: str, like: str = "", start: str = "vlm") -> Arm:
        adapters = recipe.startswith("lora")
        cost: dict[str, Any] = {"gpu": "one"}
        cost["seconds"] = (810 if adapters else 1080) * family.billions[0]
        if adapters:
            cost["disk_gib"] = 0.5
        label, tried = LABELS[method], BEST[recipe]
        return Arm(
            label=label, recipe=recipe, grid=tried, fixed=fixed, cost=cost, like=like, start=start
        )

    found = {one: arm(one, one) for one in BEST if family.full or one.startswith("lora")}
    if family.full:
        found["merge_then_sft"] = arm("merge_then_sft", "sft", like="sft", start=arms.TUNED)
    if family.full and controls:
        for method, (recipe, fixed) in CONTROLS.items():
            found[method] = arm(method, recipe, fixed, like=recipe)
    return found


def _tuning(scale: Scale) -> list[Step]:
    """The settings: of trainings in the smallest family, of merges in each."""
    billions = {name: family.billions[0] for name, family in FAMILIES.items()}
    steps = []
    for name, size in billions.items():
        own, seconds = _seeing(scale, name), 60 + 120 * size
        steps += arms.merges_tried(own, name, ALPHAS, seconds=seconds)
    own, tried = _seeing(scale, TUNED_IN), _arms(TUNED_IN, controls=False)
    steps += arms.tried(own, TUNED_IN, tried, seconds=240 * billions[TUNED_IN])
    steps.append(arms.choose(arms.CHOSEN, _trials()))
    more: dict[str, Any] = {"stage": "at-their-best", "seconds": 60}
    return [*steps, *(arms.merge_chosen(scale, name, **more) for name in FAMILIES)]


def _trials() -> list[Trial]:
    merges = [one for name in FAMILIES for one in arms.merge_trials(name, ALPHAS)]
    return [*merges, *arms.trials(TUNED_IN, _arms(TUNED_IN, controls=False))]


def _asked_once(scale: Scale, name: str) -> list[Step]:
    """The VLM, the merge that was chosen, and the reasoner in text."""
    at, family = f"seed-0/{name}", FAMILIES[name]
    asked = (*family.thinking, *scale.options_text)
    thought = 60 + 400 * family.billions[1]
    return [
        _answers(scale, f"{at}/baseline_answers", ("vlm", arms.TUNED)),
        parts.answers(
            scale, f"{at}/reasoner_answers", ("reasoner",), scale.text, asked, seconds=thought
        ),
    ]


def _trained(scale: Scale, name: str, seed: int, controls: bool) -> list[Step]:
    """Every arm of a training seed, and its answers."""
    at, found = f"seed-{seed}/{name}", _arms(name, controls)
    steps = [
        arms.counted(scale, f"{at}/{method}", arm, seed, TUNED_IN) for method, arm in found.items()
    ]
    moved: dict[str, Any] = {"of": [f"{at}/{method}" for method in found], "seconds": 60}
    far = parts.distance(f"{at}/trained_distance", parts.pair(name), stage="distances", **moved)
    return [*steps, far, _answers(scale, f"{at}/answers", tuple(found))]


def _answers(scale: Scale, name: str, names: Sequence[str]) -> Step:
    family = name.split("/")[1]
    own, seconds = _seeing(scale, family), 60 + len(names) * 270 * FAMILIES[family].billions[0]
    return parts.answers(own, name, names, own.everything, own.options, seconds=seconds)


def _seeing(scale: Scale, name: str) -> Scale:
    """With the options of the family; stand-ins are of other sizes."""
    more = () if scale.standins else FAMILIES[name].seeing
    return replace(scale, options=(*more, *scale.options))
