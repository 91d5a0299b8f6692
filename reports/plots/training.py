"""What `drift_log.jsonl` tells of a training, step by step.

Loss, reward, cos(g, Δ), displacement ρ.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.text import csv_text
from common.typed import as_json, read_bytes
from reports.plots import style
from reports.plots.style import INCHES, INK, STYLES, Plot, Style

LOG = "drift_log.jsonl"
"""File in a checkpoint's folder, as the trainer writes it."""

POINTS = 300
"""Steps of a line; of a longer training the steps between are averaged."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One optimizer step."""

    step: int
    loss: float
    rho: float
    """Displacement toward the reasoner before the step; nan where nothing pulls."""
    modules: dict[str, dict[str, float]]
    """Role → `cos` of gradient and Δ, `ratio` of the norms, `rho`; empty where nothing pulls."""
    reward: float = math.nan
    """Share of the sampled answers that were right, of GRPO."""


@dataclass(frozen=True)
class Log:
    """The log of one checkpoint."""

    checkpoint: str
    steps: tuple[Step, ...]


def read(folder: Path) -> Log | None:
    """Read the log of a checkpoint; None where it has none.

    Raises:
        UserError: A line is broken.
    """
    path = folder / LOG
    if not path.is_file():
        return None
    steps = []
    for number, text in enumerate(read_bytes(path).splitlines(), start=1):
        try:
            steps.append(_step(as_json(text, f"{path} line {number}")))
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise UserError(f"{path} line {number} is no step of a training: {error!r}") from error
    return Log(folder.name, tuple(steps)) if steps else None


def _step(row: dict[str, Any]) -> Step:
    modules = {
        name: {field: float(value[field]) for field in ("cos", "ratio", "rho") if field in value}
        for name, value in row.items()
        if isinstance(value, dict)
    }
    rho = float(row["rho"]) if row.get("rho") is not None else math.nan
    return Step(
        step=int(row["step"]),
        loss=float(row.get("loss", math.nan)),
        rho=rho,
        modules=modules,
        reward=float(row.get("reward", math.nan)),
    )


def pulled(logs: Iterable[Log]) -> list[Log]:
    """Return those in which something pulled: a training without a prior has no cosine."""
    return [log for log in logs if any(step.modules for step in log.steps)]


Limits = Mapping[str, tuple[float, float]]
"""`loss`, `rho` or a module → the ends of its scale."""


def limits(logs: Iterable[Log]) -> Limits:
    """The scales on which the plots of all these logs can be compared."""
    values: dict[str, list[float]] = {}
    for step in (step for log in logs for step in log.steps):
        values.setdefault("loss", []).append(step.loss)
        values.setdefault("rho", []).append(step.rho)
        for module, own in step.modules.items():
            values.setdefault(module, []).append(own.get("cos", math.nan))
    known = {name: [v for v in own if math.isfinite(v)] for name, own in values.items()}
    ends = {name: (min(0.0, *own), max(0.0, *own)) for name, own in known.items() if own}
    pads = {name: 0.05 * (high - low) or 1.0 for name, (low, high) in ends.items()}
    return {name: (low - pads[name], high + pads[name]) for name, (low, high) in ends.items()}


def plots_of(
    name: str, title: str, logs: Sequence[Log], scales: Limits | None = None
) -> list[Plot]:
    """Losses, rewards, then what pulled, in as many plots as keep the lines of each apart.

    GRPO's loss is no measure of what was learned (its advantages are centred, so that it begins
    and ends near 0): of such a training the reward is drawn instead.

    Args:
        name: Of the block.
        title: Of the block.
        logs: Of its trainings.
        scales: As `limits` returns them; None: those of these logs.
    """
    scales = limits(logs) if scales is None else scales
    judged = [log for log in logs if any(math.isfinite(step.reward) for step in log.steps)]
    lossy = [
        log
        for log in logs
        if log not in judged and any(math.isfinite(step.loss) for step in log.steps)
    ]
    found = []
    for draw, known in ((loss_plot, lossy), (reward_plot, judged), (plot, pulled(logs))):
        for start in range(0, len(known), len(STYLES)):
            part = known[start : start + len(STYLES)]
            turn = f"_{start // len(STYLES) + 1}" if start else ""
            found.append(draw(f"{name}{turn}", title, part, scales))
    return found


def loss_plot(name: str, title: str, logs: Sequence[Log], scales: Limits) -> Plot:
    """The training loss over the steps, a line a checkpoint; arguments as of `plots_of`."""
    text = f"Training loss ({THICK})."
    drawn = partial(_lines, logs, "loss", "training loss", scales["loss"])
    return Plot(f"loss_{style.file_name(name)}", f"{title}: loss", text, drawn, title)


def reward_plot(name: str, title: str, logs: Sequence[Log], scales: Limits) -> Plot:
    """GRPO's reward over the steps, a line a checkpoint; arguments as of `plots_of`."""
    text = f"Reward: percent of the answers sampled in a step that were right ({THICK})."
    drawn = partial(_lines, logs, "reward", "reward (%)", (-5.0, 105.0), scale=100.0)
    return Plot(f"reward_{style.file_name(name)}", f"{title}: reward", text, drawn, title)


THICK = "thin: each step; thick: a running mean over a tenth of the whole"


def _lines(
    logs: Sequence[Log],
    field: str,
    label: str,
    ends: tuple[float, float],
    *,
    scale: float = 1.0,
) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(INCHES, 2.1), layout="constrained")
    axis = figure.subplots()
    looks = style.styles([log.checkpoint for log in logs])
    for log in logs:
        look = looks[log.checkpoint]
        points = [(step.step, scale * getattr(step, field)) for step in log.steps]
        x, y = thinned([(step, value) for step, value in points if math.isfinite(value)])
        axis.plot(x, y, color=look.color, linewidth=0.4, alpha=0.35)
        axis.plot(x, smooth(y), label=style.plain(log.checkpoint), **_thick(look))
    axis.set_ylabel(label)
    axis.set_xlabel("step")
    axis.set_ylim(*ends)
    axis.grid(axis="y", linewidth=0.4, alpha=0.25, color=INK)
    figure.legend(loc="outside upper center", ncols=_abreast(logs), handlelength=3)
    return figure


def _abreast(logs: Sequence[Log]) -> int:
    """Names that fit side by side."""
    return max(1, min(4, len(logs), 66 // (8 + max(len(log.checkpoint) for log in logs))))


def _thick(look: Style) -> dict[str, Any]:
    return {"color": look.color, "linestyle": (0, look.dashes or ()), "linewidth": 1.2}


def plot(name: str, title: str, logs: Sequence[Log], scales: Limits) -> Plot:
    """cos(g, Δ) of each module and ρ over the steps, a line a checkpoint, of `pulled` logs."""
    modules = list(dict.fromkeys(m for log in logs for step in log.steps for m in step.modules))
    text = (
        "Cosine of the gradient and Δ, each module by itself (thin: each step; thick: a running "
        "mean), and the displacement ρ = ⟨w − w₀, Δ⟩ / ‖Δ‖². Where the cosine is below 0, a "
        "descent step alone goes along Δ. Δ is the one that the run was pulled by: a random or a "
        "negated one has a ρ of its own."
    )
    drawn = partial(_figure, logs, modules, scales)
    return Plot(f"training_{style.file_name(name)}", f"{title}: pull along Δ", text, drawn, title)


def _figure(logs: Sequence[Log], modules: Sequence[str], scales: Limits) -> Any:
    from matplotlib.figure import Figure

    rows = len(modules) + 1
    figure = Figure(figsize=(INCHES, 0.45 + 1.05 * rows), layout="constrained")
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    looks = style.styles([log.checkpoint for log in logs])
    for axis, module in zip(axes, modules, strict=False):
        for log in logs:
            look = looks[log.checkpoint]
            x, y = cosines(log, module)
            axis.plot(x, y, color=look.color, linewidth=0.4, alpha=0.35)
            axis.plot(x, smooth(y), **_thick(look))
        axis.axhline(0, linewidth=0.6, color=INK, alpha=0.6)
        axis.set_ylabel(f"cos(g, Δ)\n{style.plain(module)}")
        if module in scales:
            axis.set_ylim(*scales[module])
    for log in logs:
        look = looks[log.checkpoint]
        x, y = thinned([(s.step, s.rho) for s in log.steps if math.isfinite(s.rho)])
        axes[-1].plot(x, y, label=style.plain(log.checkpoint), **_thick(look))
    if "rho" in scales:
        axes[-1].set_ylim(*scales["rho"])
    axes[-1].set_ylabel("ρ")
    axes[-1].set_xlabel("step")
    for axis in axes:
        axis.grid(axis="y", linewidth=0.4, alpha=0.25, color=INK)
    figure.legend(loc="outside upper center", ncols=_abreast(logs), handlelength=3)
    return figure


def cosines(log: Log, module: str) -> tuple[list[float], list[float]]:
    """Steps and cosines of one module."""
    known = [
        (step.step, step.modules[module].get("cos")) for step in log.steps if module in step.modules
    ]
    return thinned([(step, value) for step, value in known if value is not None])


def thinned(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """At most `POINTS` points: neighbours are averaged."""
    size = max(1, math.ceil(len(points) / POINTS))
    parts = [points[i : i + size] for i in range(0, len(points), size)]
    xs = [math.fsum(x for x, _ in part) / len(part) for part in parts]
    return xs, [math.fsum(y for _, y in part) / len(part) for part in parts]


def smooth(values: Sequence[float]) -> list[float]:
    """Running mean over a tenth of the whole, narrower at the ends."""
    reach = max(1, len(values) // 20)
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    found = []
    for i in range(len(values)):
        width = min(reach, i, len(values) - 1 - i)
        found.append((sums[i + width + 1] - sums[i - width]) / (2 * width + 1))
    return found


FIELDS = ("block", "checkpoint", "step", "loss", "reward", "module", "cos", "ratio", "rho")


def long_form(logs: Iterable[tuple[str, Sequence[Log]]]) -> str:
    """Write the logs of some blocks as CSV, a line for each step and module, and one for all."""
    return csv_text(FIELDS, rows(logs))


def rows(logs: Iterable[tuple[str, Sequence[Log]]]) -> list[dict[str, object]]:
    """Every step of some blocks, under `FIELDS`: of the whole, then of each module."""
    found: list[dict[str, object]] = []
    for block, own in logs:
        for log in own:
            for step in log.steps:
                row = {"block": block, "checkpoint": log.checkpoint, "step": step.step}
                whole = {"loss": step.loss, "reward": step.reward, "rho": step.rho}
                found.append(row | whole | {"module": "all"})
                found += [row | {"module": name} | one for name, one in step.modules.items()]
    return found
