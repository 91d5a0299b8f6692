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
                and a minute to start; a share of a merge on the 900 of validation: 80 s, and a
                minute

What fits is what `driftbench rehearse small --device-memory 24` says.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from drift.training import config as recipes
from harness.studies import parts
from harness.studies.scale import STANDINS, Scale, given
from harness.studies.step import Claim, Method, MethodRun, Step, Study


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
    "tuned": "merge, α tuned",
    "sft": "SFT",
    "drift": "DRIFT",
    "merge_then_sft": "merge, α tuned, then SFT",
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
        titles={name: family.title for name, family in FAMILIES.items()},
        threads=1 if scale else 8,
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
        validation="mmmu",
        options=("--max-tokens", "2048", "--context", "8192"),
        options_text=("--max-tokens", "6144", "--context", "8192", "--limit", "400"),
        training=("--set", f"steps={STEPS}"),
    )


def _methods(seeds: int, controls: bool) -> tuple[Method, ...]:
    runs: dict[str, list[MethodRun]] = {name: [] for name in LABELS}
    for name in FAMILIES:
        for seed in range(seeds):
            once = ("vlm", "reasoner", "tuned") if seed == 0 else ()
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


def _arms(name: str, controls: bool) -> tuple[str, ...]:
    """What is trained for each seed, by method."""
    full = ("sft", "drift", "merge_then_sft") if FAMILIES[name].full else ()
    more = CONTROLS if controls and full else ()
    return (*full, "lora_sft", "lora_drift", *more)


def _asked_once(scale: Scale, name: str) -> list[Step]:
    """The VLM, the reasoner in text, and the merge that does best on validation."""
    at, family = f"seed-0/{name}", FAMILIES[name]
    own = _seeing(scale, name)
    seconds = 60 + len(ALPHAS) * (60 + 80 * family.billions[0])
    asked = (*family.thinking, *scale.options_text)
    thought = 60 + 400 * family.billions[1]
    return [
        parts.tuned(own, f"{at}/tuned", parts.pair(name), ALPHAS, stage="merges", seconds=seconds),
        _answers(own, f"{at}/baseline_answers", ("vlm", "tuned")),
        parts.answers(
            own, f"{at}/reasoner_answers", ("reasoner",), own.text, asked, seconds=thought
        ),
    ]


def _trained(scale: Scale, name: str, seed: int, controls: bool) -> list[Step]:
    """Every arm of a training seed: its recipe, its training, its answers."""
    at, family, (vlm, llm) = f"seed-{seed}/{name}", FAMILIES[name], parts.pair(name)
    steps = []
    for method in _arms(name, controls):
        recipe, *more = CONTROLS.get(method, (method,))
        parents = {"vlm": vlm, "reasoner": llm}
        if method == "merge_then_sft":
            recipe, parents = "sft", {"vlm": f"seed-0/{name}/tuned"}
        adapters = recipe.startswith("lora")
        cost: dict[str, Any] = {"seconds": (810 if adapters else 1080) * family.billions[0]}
        if adapters:
            cost["disk_gib"] = 0.5
        given = (f"seed={seed}", *more)
        run = (f"{at}/{method}", f"{name}_{recipe}", parents, given)
        steps.append(parts.trained(scale, *run, gpu="one", stage="training", **cost))
    whole = [f"{at}/{method}" for method in _arms(name, controls) if "lora" not in method]
    if whole:
        moved: dict[str, Any] = {"of": whole, "stage": "distances", "seconds": 60}
        steps.append(parts.distance(f"{at}/trained_distance", (vlm, llm), **moved))
    return [*steps, _answers(_seeing(scale, name), f"{at}/answers", _arms(name, controls))]


def _seeing(scale: Scale, name: str) -> Scale:
    """With the options of the family; stand-ins are of other sizes."""
    more = () if scale.standins else FAMILIES[name].seeing
    return replace(scale, options=(*more, *scale.options))


def _answers(scale: Scale, name: str, names: Sequence[str]) -> Step:
    billions = FAMILIES[name.split("/")[1]].billions[0]
    seconds = 60 + len(names) * 270 * billions
    return parts.answers(scale, name, names, scale.everything, scale.options, seconds=seconds)
