"""What a benchmark asks, and what counts as right.

Each benchmark is an lm-eval task definition, `tasks/<name>.yaml`, beside a small module with its
functions; stock `lm_eval --include_path tasks` runs the same files, and the groups of tasks in
`tasks/groups`. What lm-eval has no word for stands under `metadata`: `version`, `source`, `parity`,
the function `groups`, and `protocols`: whose way of asking and scoring, each with its functions
`verdict` and, where it is not `doc_to_text`, `prompt`, with `scoring` (one sentence) and, where
needed, `ends` and `summary`. Where rows share a problem, not only a picture, `cluster` names it.
What benchmarks share lies in `_base.yaml` and `_multiple_choice.yaml`.

    >>> load("pocket").max_tokens
    40
"""

import difflib
import importlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from common.errors import UserError
from tasks.data import Source
from tasks.judging import Row, Verdict

__all__ = ["Row", "Source", "Task", "expand", "groups", "listed", "load", "names"]

HERE = Path(__file__).parent

DATED = {
    "vlmevalkit-2025": "VLMEvalKit of September 2025 (cfa63b1d)",
    "vlmevalkit-2026": "VLMEvalKit of August 2026 (e8e78f05)",
}
"""The protocols that `vlmevalkit` in a YAML stands for. The verdicts of 2026 are those of 2025 with
`head=True`, where they take it. Asked for by its bare name, it is the last of them."""

ROBUST = "robust"
"""The protocol that every task has, and that headline numbers are made by."""


@dataclass(frozen=True)
class Task:
    """A benchmark."""

    name: str
    version: str
    """Goes up when prompts, pixels or verdicts change, and with them the numbers."""
    protocol: str
    """Whose way of asking and scoring this is: `official` is the benchmark's own script."""
    protocols: tuple[str, ...]
    """All that the benchmark has."""
    scoring: str
    """One sentence: the rule behind the verdicts."""
    max_tokens: int
    """Upper bound of generated tokens, unless the user sets another."""
    ends: bool
    """The answer stands at the very end of the text, so that a text cut at the limit has none."""
    rows: Callable[[Path | None], list[Row]]
    """Data folder → rows. Raises UserError where the data is not as it should be."""
    to_prompt: Callable[[Row], str]
    """Row → the user's message, `<image>` where a picture goes."""
    to_images: Callable[[Row], list[Path]]
    """Row → its pictures, one for each `<image>`."""
    verdict: Verdict
    """Row and response → what was read as the answer, and whether it is right, None where that is
    not known; or a generator that asks a judge first, see `tasks.judging`."""
    groups: Callable[[Row], tuple[str, ...]]
    """Row → the groups in which it counts, beyond `all`."""
    summary: Callable[[list[tuple[Row, bool]]], dict[str, float]] | None
    """Rows, and whether each was answered right → the benchmark's own metrics, where they are more
    than a mean. The answer that was read may stand in the row as `read`."""
    cluster: Callable[[Row], str]
    """Row → name of the problem that it shares with other rows; empty if with none, or only with
    rows that show the same pictures."""
    source: Source | None
    """Where the rows come from when no folder is given; None: they are always local."""
    parity: str
    """What was compared with published verdicts, and with what result; empty: nothing."""


def names() -> list[str]:
    """Names of all benchmarks here."""
    return sorted(path.stem for path in HERE.glob("[!_]*.yaml"))


def listed() -> list[tuple[str, Source | None, tuple[str, ...], str]]:
    """Name, source, protocols and parity of all benchmarks, whose functions are not imported."""
    found = []
    for name in names():
        with _loading(path := HERE / f"{name}.yaml"):
            metadata = _read(path, function=str)["metadata"]
            protocols = tuple(_dated(metadata["protocols"]))
            found.append((name, _source(metadata), protocols, metadata.get("parity", "")))
    return found


def groups() -> dict[str, tuple[str, ...]]:
    """Names of the groups of benchmarks, and what is in them."""
    return {path.stem: tuple(_read(path)["task"]) for path in sorted(HERE.glob("groups/*.yaml"))}


def expand(wanted: Iterable[str]) -> list[str]:
    """Return the names of tasks, groups replaced by what is in them, each once.

    Raises:
        UserError: A name is neither a task nor a group.
    """
    known = groups()
    found: list[str] = []
    for name in wanted:
        if name not in known:
            _check_known(name, [*names(), *known])
        found.extend(known.get(name, (name,)))
    return list(dict.fromkeys(found))


def _check_known(name: str, known: list[str]) -> None:
    if name in known:
        return
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise UserError(f"there is no task {name!r}: {hint}the tasks are {', '.join(known)}")


@cache
def load(name: str, protocol: str | None = None) -> Task:
    """Load a benchmark by name.

    Args:
        name: Of the task.
        protocol: Whose way of asking and scoring; None is `robust`, `vlmevalkit` the newest of it.

    Raises:
        UserError: There is none of this name, it has no such protocol, or its YAML is not as it
            should be.
    """
    _check_known(name, names())
    with _loading(path := HERE / f"{name}.yaml"):
        return _task(name, _read(path), resolved(protocol or ROBUST))


@contextmanager
def _loading(path: Path) -> Iterator[None]:
    """Whatever is wrong with a YAML is told in a sentence."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise UserError(f"{path} does not load as a task: {said}") from error


def _task(name: str, config: dict[str, Any], protocol: str) -> Task:
    if config["task"] != name:
        raise ValueError(f"its field task says {config['task']!r}, its file name says {name!r}")
    if config["generation_kwargs"]["until"]:
        raise ValueError("generation_kwargs.until must be empty: a stop string can end a thought")
    metadata = config["metadata"]
    if "data" in metadata:
        raise ValueError("metadata.data is lm-eval's word for the folder: name the hub `source`")
    protocols = _dated(metadata["protocols"])
    if protocol not in protocols:
        raise UserError(f"{name} has no protocol {protocol!r}: it has {', '.join(protocols)}")
    own = {**metadata, **protocols[protocol]}
    source = _source(metadata)
    return Task(
        name=name,
        version=str(metadata["version"]),
        protocol=protocol,
        protocols=tuple(protocols),
        scoring=" ".join(own["scoring"].split()),
        max_tokens=config["generation_kwargs"]["max_gen_toks"],
        ends=own.get("ends", False),
        rows=_rows(name, config, source),
        to_prompt=own.get("prompt", config["doc_to_text"]),
        to_images=own["images"],
        verdict=own["verdict"],
        groups=own.get("groups", _none),
        summary=own.get("summary"),
        cluster=own.get("cluster", _alone),
        source=source,
        parity=metadata.get("parity", ""),
    )


def _source(metadata: dict[str, Any]) -> Source | None:
    return Source(**metadata["source"]) if "source" in metadata else None


def resolved(protocol: str) -> str:
    """Return the protocol that a name stands for: `vlmevalkit` is the newest of that harness."""
    return list(DATED)[-1] if protocol == "vlmevalkit" else protocol


def _dated(protocols: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Put the dated protocols in place of the bare one, each saying its date in `scoring`."""
    found: dict[str, dict[str, Any]] = {}
    for name, own in protocols.items():
        if name != "vlmevalkit":
            found[name] = own
            continue
        for dated, when in DATED.items():
            verdict = own["verdict"]
            takes = getattr(verdict, "__kwdefaults__", None) or {}
            if resolved(name) == dated and "head" in takes:
                verdict = partial(verdict, head=True)
            scoring = f"{own['scoring'].strip()} ({when})"
            found[dated] = {**own, "verdict": verdict, "scoring": scoring}
    return found


def _alone(_: Row) -> str:
    return ""


def _none(_: Row) -> tuple[str, ...]:
    return ()


def _rows(
    name: str, config: dict[str, Any], source: Source | None
) -> Callable[[Path | None], list[Row]]:
    dataset, split = config["custom_dataset"], config["test_split"]

    def rows(data: Path | None) -> list[Row]:
        try:
            splits = dataset(**{**config["metadata"], "data": data})  # as lm-eval calls it
            if split not in splits:
                there = ", ".join(splits)
                raise UserError(f"{name} asks the {split} split, and {data} holds {there}")
            found = [{**row, "id": str(row["id"])} for row in splits[split]]
        except KeyError as error:
            raise UserError(f"{name} has a row without the field {error} in {data}") from error
        if not found:
            raise UserError(f"{name} has no rows in {data}")
        times = Counter(row["id"] for row in found)
        if len(times) != len(found):
            raise UserError(f"{name} has two rows of id {times.most_common(1)[0][0]!r} in {data}")
        if data is not None and source is not None and len(found) > source.n:
            raise UserError(
                f"{name} has {source.n} rows, and {data} holds {len(found)}: another dataset?"
            )
        if data is None and source is not None and len(found) != source.n:
            raise UserError(
                f"{name} has {source.n} rows, and {source.repo} holds {len(found)}: the dataset "
                "has changed"
            )
        return found

    return rows


def _function(name: str) -> Callable[..., Any]:
    module, _, own = name.rpartition(".")
    found: Callable[..., Any] = getattr(importlib.import_module(f"tasks.{module}"), own)
    return found


def _read(path: Path, function: Callable[[str], Any] = _function) -> dict[str, Any]:
    """Read a YAML as lm-eval does: `include` shallow, `!function` from the module beside.

    Other than there, what is under `metadata` adds to the included one, name by name, all the way
    down.

    Args:
        path: Of the YAML.
        function: What makes something of the name of a function.
    """
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        pass

    Loader.add_constructor("!function", lambda own, node: function(own.construct_scalar(node)))
    with path.open("rb") as file:
        config = yaml.load(file, Loader=Loader)  # a SafeLoader: no object but our functions
    if not isinstance(config, dict):
        raise ValueError("it is not a mapping")
    if base := config.pop("include", None):
        included = _read(path.parent / base, function)
        metadata = _merged(included.get("metadata", {}), config.get("metadata", {}))
        config = {**included, **config, "metadata": metadata}
    return config


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = {**below, **above}
    for name in below.keys() & above.keys():
        if isinstance(below[name], dict) and isinstance(above[name], dict):
            merged[name] = _merged(below[name], above[name])
    return merged
