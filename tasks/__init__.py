"""What a benchmark asks, and what counts as right.

Each benchmark is an lm-eval task definition, `tasks/<name>.yaml`, beside a small module with its
functions; stock `lm_eval --include_path tasks` runs the same files. What lm-eval has no word for
stands under `metadata`: `version`, `protocol`, `scoring` (one sentence), `ends`, and the functions
`images`, `verdict`, `groups` and, where the metric is more than a mean, `summary`.

    >>> load("pocket").max_tokens
    40
"""

import difflib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from tasks.errors import TaskError

__all__ = ["Row", "Task", "TaskError", "load", "names"]

HERE = Path(__file__).parent

Row = dict[str, Any]
"""One row of a benchmark: `id`, a string unique in the task; `folder`, where the data lies; …"""


@dataclass(frozen=True)
class Task:
    """A benchmark."""

    name: str
    version: str
    """Goes up when prompts or verdicts change, and with them the numbers."""
    protocol: str
    """Whose way of asking: `official` is the benchmark's own script."""
    scoring: str
    """One sentence: the rule behind the verdicts."""
    max_tokens: int
    """Upper bound of generated tokens, unless the user sets another."""
    ends: bool
    """The answer stands at the very end of the text, so that a text cut at the limit has none."""
    rows: Callable[[Path | None], list[Row]]
    """Data folder → rows. Raises TaskError where the data is not as it should be."""
    to_prompt: Callable[[Row], str]
    """Row → the user's message, `<image>` where a picture goes."""
    to_images: Callable[[Row], list[Path]]
    """Row → its pictures, one for each `<image>`."""
    verdict: Callable[[Row, str], tuple[str | None, bool | None]]
    """Row and response → what was read as the answer, and whether it is right; None, None if the
    answer could not be read."""
    groups: Callable[[Row], tuple[str, ...]]
    """Row → the groups in which it counts, beyond `all`."""
    summary: Callable[[list[tuple[Row, bool]]], dict[str, float]] | None
    """Rows, and whether each was answered right → the benchmark's own metrics, where they are more
    than a mean."""


def names() -> list[str]:
    """Names of all benchmarks here."""
    return sorted(path.stem for path in HERE.glob("*.yaml"))


@cache
def load(name: str) -> Task:
    """Load a benchmark by name.

    Raises:
        TaskError: There is none of this name, or its YAML is not as it should be.
    """
    if name not in names():
        close = difflib.get_close_matches(name, names(), n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise TaskError(f"there is no task {name!r}: {hint}the tasks are {', '.join(names())}")
    path = HERE / f"{name}.yaml"
    try:
        return _task(name, _read(path))
    except TaskError:
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise TaskError(f"{path} does not load as a task: {said}") from error


def _task(name: str, config: dict[str, Any]) -> Task:
    if config["task"] != name:
        raise ValueError(f"its field task says {config['task']!r}, its file name says {name!r}")
    if config["generation_kwargs"]["until"]:
        raise ValueError("generation_kwargs.until must be empty: a stop string can end a thought")
    extra = config["metadata"]
    return Task(
        name=name,
        version=str(extra["version"]),
        protocol=extra["protocol"],
        scoring=" ".join(extra["scoring"].split()),
        max_tokens=config["generation_kwargs"]["max_gen_toks"],
        ends=extra["ends"],
        rows=_rows(name, config["custom_dataset"], config["test_split"]),
        to_prompt=config["doc_to_text"],
        to_images=extra["images"],
        verdict=extra["verdict"],
        groups=extra["groups"],
        summary=extra.get("summary"),
    )


def _rows(
    name: str, dataset: Callable[..., dict[str, list[Row]]], split: str
) -> Callable[[Path | None], list[Row]]:
    def rows(data: Path | None) -> list[Row]:
        try:
            splits = dataset(data=data)
            if split not in splits:
                there = ", ".join(splits)
                raise TaskError(f"{name} asks the {split} split, and {data} holds {there}")
            found = [{**row, "id": str(row["id"])} for row in splits[split]]
        except KeyError as error:
            raise TaskError(f"{name} has a row without the field {error} in {data}") from error
        if not found:
            raise TaskError(f"{name} has no rows in {data}")
        ids = [row["id"] for row in found]
        if len(set(ids)) != len(ids):
            twice = next(id for id in ids if ids.count(id) > 1)
            raise TaskError(f"{name} has two rows of id {twice!r} in {data}")
        return found

    return rows


def _read(path: Path) -> dict[str, Any]:
    """Read a task's YAML as lm-eval does: `include` shallow, `!function` from the module beside."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    def function(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Callable[..., Any]:
        module, _, name = loader.construct_scalar(node).rpartition(".")
        return getattr(_module(module), name)

    Loader.add_constructor("!function", function)
    with path.open("rb") as file:
        config = yaml.load(file, Loader=Loader)  # a SafeLoader: no object but our functions
    if not isinstance(config, dict):
        raise ValueError("it is not a mapping")
    if base := config.pop("include", None):
        config = {**_read(path.parent / base), **config}
    return config


@cache
def _module(name: str) -> ModuleType:
    return importlib.import_module(f"tasks.{name}")
