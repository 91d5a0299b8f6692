"""The recipe of a study: a YAML file → its steps.

A recipe has `steps`, each with the command it runs (`python -m` a package of this project), what it
reads and what it writes, as paths within the study's folder.

`{…}` in a step stands for a value of `vars`, of an entry of `each`, or for `{seed}`. A step whose
name holds one of an entry's is repeated for each entry (`where` picks among them), one whose name
holds `{seed}` for each seed; what a step that is not repeated runs, reads or writes under such a
name stands for all of them. A word in which a list is named is repeated for each of its items.
`over` repeats one step for each of its own entries, whose values win over all others.
`controls` holds `vars` and `steps` of a longer study: they are added when it is asked for.
`scales` holds stand-ins for a study that is too large to try: other `vars` and `each`, and `steps`
that make what these name; the recipe's own steps stay what they are.

`{gpus}` and `{accumulate}` are filled in when a step starts: the number of GPUs, and the
micro-batches of one sample that make up `global_batch` on them.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from common.errors import UserError, near

GPUS, ACCUMULATE = "{gpus}", "{accumulate}"
STEP = {"name", "run", "reads", "writes", "seconds", "gpu", "resumes", "where", "over"} | {
    "stage",
    "download_gib",
    "disk_gib",
}
"""Fields of a step in a recipe."""

Gpu = Literal["", "one", "all", "ranks"]


@dataclass(frozen=True)
class Step:
    """One process of a study."""

    name: str
    run: tuple[str, ...]
    """Package and arguments of `python -m`; paths are relative to the study's folder."""
    reads: tuple[str, ...] = ()
    """Paths whose content decides the result."""
    writes: tuple[str, ...] = ()
    seconds: float = 30.0
    """Expected on the recipe's reference machine; only the time left is judged by it."""
    gpu: Gpu = ""
    """GPUs that it takes where there are any: one, all that the study may use, or all with a
    process on each (`torchrun`)."""
    resumes: bool = False
    """Goes on by itself from what it wrote before; anything else starts afresh."""
    stage: str = ""
    """Of the study, for the plan."""
    download_gib: float = 0.0
    """Fetched; an estimate, as the seconds and the next are."""
    disk_gib: float = 0.0
    """Written, downloads aside."""


@dataclass(frozen=True)
class Recipe:
    """A study."""

    name: str
    about: str
    steps: tuple[Step, ...]
    disk_bytes: int
    """Room that the study needs."""
    threads: int
    """Of each step; part of the recipe because float sums depend on it."""
    global_batch: int | None = None
    """Samples of one optimizer step, on any number of GPUs."""
    sharding: tuple[tuple[str, str], ...] = ()
    """Environment of a step that runs as several processes."""


def names() -> list[str]:
    """Bundled recipes."""
    return sorted(path.stem for path in _bundled().glob("*.yaml"))


def load(recipe: str, seeds: int = 1, controls: bool = False, scale: str | None = None) -> Recipe:
    """Read and check a recipe.

    Args:
        recipe: Name of a bundled recipe, or a YAML file.
        seeds: `{seed}` runs from 0 to one less.
        controls: Add the recipe's controls.
        scale: One of the recipe's scales, instead of the study itself.

    Raises:
        UserError: It does not exist, has a field that means nothing, or neither `{seed}`, controls
            nor the scale where they are asked for.
    """
    path = Path(recipe) if recipe.endswith((".yaml", ".yml")) else _bundled() / f"{recipe}.yaml"
    raw = _read(path, recipe)
    if scale is not None:
        raw = _scaled(raw, scale, path)
    more = raw.get("controls") or {}
    _check_fields(more, {"vars", "steps"}, set(), f"{path}: controls")
    if controls and not more:
        raise UserError(f"{path.stem} has no controls; run it without --controls")
    if not controls:
        more = {}
    items = [*raw["steps"], *more.get("steps", ())]
    for item in items:
        where = f"{path}: step {item.get('name', '?') if isinstance(item, dict) else item!r}"
        _check_fields(item, STEP, {"name", "run"}, where)
    values = (raw.get("vars") or {}) | (more.get("vars") or {})
    entries = [
        _resolved(
            values | entry | {"seed": seed, "gpus": GPUS, "accumulate": ACCUMULATE}, str(path)
        )
        for seed in range(seeds)
        for entry in raw.get("each") or [{}]
    ]
    expanded = [pair for item in items for pair in _expand(item, entries, path)]
    # One seed after the other, so that what is done of a study can be looked at.
    steps = [step for _, step in sorted(expanded, key=lambda pair: pair[0])]
    if seeds > 1 and not any(step.name.startswith(f"seed-{seeds - 1}/") for step in steps):
        raise UserError(f"{path.stem} has one seed: no step of it is named seed-{{seed}}/…")
    if len({step.name for step in steps}) < len(steps):
        raise UserError(f"{path} has two steps of the same name")
    return Recipe(
        f"{path.stem} at {scale} scale" if scale else path.stem,
        raw["about"],
        tuple(steps),
        raw["disk_bytes"] * seeds if "disk_bytes" in raw else room(steps),
        raw.get("threads", 1),
        raw.get("global_batch"),
        tuple((raw.get("sharding") or {}).items()),
    )


def room(steps: Iterable[Step]) -> int:
    """Bytes that some steps fetch and write, as the recipe estimates them."""
    return round(2**30 * sum(step.download_gib + step.disk_gib for step in steps))


def _read(path: Path, recipe: str) -> dict[str, Any]:
    import yaml

    if not path.is_file():
        known = names()
        raise UserError(
            f"no recipe {recipe!r}; {near(recipe, known)}there are {', '.join(known)}, "
            "or give a YAML file"
        )
    try:
        raw = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML: {str(error).splitlines()[0]}") from None
    fields = {"about", "disk_bytes", "threads", "vars", "each", "steps", "controls", "scales"}
    _check_fields(raw, fields | {"global_batch", "sharding"}, {"about", "steps"}, str(path))
    return raw


def _scaled(raw: dict[str, Any], scale: str, path: Path) -> dict[str, Any]:
    """The recipe with what one of its scales puts in the place of the real thing."""
    known = raw.get("scales") or {}
    if scale not in known:
        there = f"there are {', '.join(known)}" if known else "it has none"
        raise UserError(f"{path.stem} has no scale {scale!r}; {near(scale, known)}{there}")
    other = known[scale]
    fields = {"about", "disk_bytes", "threads", "vars", "each", "steps", "seconds", "sharding"}
    _check_fields(other, fields, {"about", "seconds"}, f"{path}: scale {scale}")
    small = {"seconds": other["seconds"], "download_gib": 0, "disk_gib": 0}
    controls = dict(raw.get("controls") or {})
    if "steps" in controls:
        controls["steps"] = [step | small for step in controls["steps"]]
    kept = {name: value for name, value in other.items() if name not in ("vars", "seconds")}
    return (
        raw
        | kept
        | {
            "vars": (raw.get("vars") or {}) | (other.get("vars") or {}),
            "steps": [*other.get("steps", ()), *(step | small for step in raw["steps"])],
            "controls": controls,
        }
    )


def _bundled() -> Path:
    return Path(__file__).parent / "recipes"


def _check_fields(raw: Any, known: set[str], needed: set[str], where: str) -> None:
    if not isinstance(raw, dict):
        raise UserError(f"{where} holds {type(raw).__name__}, expected fields: {', '.join(known)}")
    for name in raw:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, 1)
            hint = (
                f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(known))}"
            )
            raise UserError(f"{where} has an unknown field {name!r}{hint}")
    if missing := needed - raw.keys():
        raise UserError(f"{where} lacks {', '.join(sorted(missing))}")


def _resolved(entry: dict[str, Any], where: str) -> dict[str, Any]:
    """The entry with its texts filled in from its other values."""
    return {
        name: _fill(value, entry, where) if isinstance(value, str) else value
        for name, value in entry.items()
    }


def _expand(
    item: dict[str, Any], entries: list[dict[str, Any]], path: Path
) -> Iterator[tuple[int, Step]]:
    """The last seed of a step and the step, for each entry that its name tells from the others."""
    where = f"{path}: step {item['name']}"
    entries = [
        _resolved(entry | own, where) for own in item.get("over") or [{}] for entry in entries
    ]
    wanted = item.get("where") or {}
    if unknown := [name for name in wanted if name not in entries[0]]:
        raise UserError(f"{where} picks by {unknown[0]}, known: {', '.join(entries[0])}")
    named: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        if all(entry[name] in _listed(value) for name, value in wanted.items()):
            named.setdefault(_fill(item["name"], entry, where), []).append(entry)
    if not named:
        raise UserError(f"{where} picks {wanted}, which is no entry of the recipe")
    for name, mine in named.items():
        run, reads, writes = (
            tuple(_filled(item.get(field, ()), mine, where)) for field in ("run", "reads", "writes")
        )
        yield (
            mine[-1]["seed"],
            Step(
                name,
                run,
                reads,
                writes,
                float(_fill(item.get("seconds", 30), mine[0], where)),
                _gpu(item.get("gpu", False), where),
                bool(item.get("resumes", False)),
                _fill(item.get("stage", ""), mine[0], where),
                float(_fill(item.get("download_gib", 0), mine[0], where)),
                float(_fill(item.get("disk_gib", 0), mine[0], where)),
            ),
        )


def _gpu(value: Any, where: str) -> Gpu:
    word: Any = "one" if value is True else value or ""
    if word not in get_args(Gpu):
        raise UserError(f"{where} says gpu: {value}; it is one of true, all, ranks")
    return word


def _filled(words: list[Any], entries: list[dict[str, Any]], where: str) -> Iterator[str]:
    """The words with their values, each once for the entries that make it the same."""
    for word in map(str, words):
        lists = [name for name in re.findall(r"\{(\w+)\}", word) if _is_list(entries[0], name)]
        for item in entries[0][lists[0]] if lists else [None]:
            more = {lists[0]: item} if lists else {}
            yield from dict.fromkeys(_fill(word, entry | more, where) for entry in entries)


def _fill(text: Any, values: dict[str, Any], where: str) -> str:
    try:
        return str(text).format_map(values)
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(f"{where} uses {error}, known: {', '.join(values)}") from None


def _is_list(entry: dict[str, Any], name: str) -> bool:
    return isinstance(entry.get(name), list)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def after(steps: Sequence[Step]) -> dict[str, set[str]]:
    """Step → those that write what it reads, see `within`."""
    writers: dict[Path, set[str]] = {}
    inside: dict[Path, set[str]] = {}
    for step in steps:
        for written in map(Path, step.writes):
            writers.setdefault(written, set()).add(step.name)
            for place in written.parents:
                inside.setdefault(place, set()).add(step.name)
    found: dict[str, set[str]] = {}
    for step in steps:
        names = found.setdefault(step.name, set())
        for read in map(Path, step.reads):
            names |= inside.get(read, set())
            for place in (read, *read.parents):
                names |= writers.get(place, set())
        names.discard(step.name)
    return found


def within(read: str, write: str) -> bool:
    """Whether what is read is, holds or lies in what is written."""
    a, b = Path(read), Path(write)
    return a == b or a in b.parents or b in a.parents
