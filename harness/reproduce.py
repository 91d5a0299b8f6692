"""A study as a list of steps, each its own process, each skipped when nothing it reads has changed.

A recipe is a YAML file: `steps`, each with the command it runs (`python -m` a package of this
project), what it reads and what it writes, as paths within the study's folder. A step waits for
those that write what it reads. What was done lies in `steps/<step>.json`: command, seconds, peak
memory, fingerprints of the code, of what was read and of what was written. A step is skipped when
these still hold.

`{…}` in a step stands for a value of `vars`, of an entry of `each`, or for `{seed}`. A step whose
name holds one of an entry's is repeated for each entry (`where` picks among them), one whose name
holds `{seed}` for each seed; what a step that is not repeated runs, reads or writes under such a
name stands for all of them. A word in which a list is named is repeated for each of its items.
`over` repeats one step for each of its own entries, whose values win over all others.
`controls` holds `vars` and `steps` of a longer study: they are added when it is asked for.
`scales` holds stand-ins for a study that is too large to try: other `vars` and `each`, and `steps`
that make what these name; the recipe's own steps stay what they are.

`{gpus}` and `{accumulate}` are filled in when a step starts: the number of GPUs, and the
micro-batches of one sample that make up `global_batch` on them. A step is the same, and is skipped,
on any number of GPUs.
"""

import difflib
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Literal, get_args

from harness import replicas
from harness.errors import UserError
from harness.records import write_json

STATE = "steps"
MEASURE_SECONDS = 1.0
"""Between two looks at the memory of the steps."""
PACKAGES_READ = {
    "drift": ("drift",),
    "harness": ("harness", "tasks"),
    "reports": ("reports", "harness", "tasks"),
}
"""Package run → packages whose code decides what it writes; any other stands for itself."""
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


@dataclass
class Running:
    """A step under way."""

    step: Step
    process: subprocess.Popen[bytes]
    log: Path
    started: float
    reads: dict[str, str]
    devices: tuple[str, ...] = ()
    """GPUs that it was given, as CUDA_VISIBLE_DEVICES names them."""
    peak: int = field(default=0)


def reproduce(
    recipe: str, out: Path, jobs: int | None = None, seeds: int = 1, controls: bool = False
) -> None:
    """Load a study and run it, or what is left of it: see `load` and `run`."""
    run(load(recipe, seeds, controls), out, jobs)


def run(study: Recipe, out: Path, jobs: int | None = None, gpus: int = 1) -> None:
    """Run a study, or what is left of it.

    Args:
        study: Its steps.
        out: Its folder; must be empty, new, or hold the same study.
        jobs: Steps at a time, by default one a core and at most four, or one a GPU.
        gpus: GPUs to use, where there are any.

    Raises:
        UserError: The folder holds something else, there are too few GPUs, or a step failed.
    """
    out = out.absolute()
    check_gpus(study, gpus)
    _claim(out, study)
    with _locked(out):
        Scheduler(study, out, jobs or max(gpus, min(4, os.cpu_count() or 1)), gpus).go()


def check_gpus(study: Recipe, gpus: int) -> None:
    """Stop where the study's global batch cannot be shared out.

    Raises:
        UserError: `gpus` does not divide it.
    """
    batch = study.global_batch
    if batch and batch % gpus:
        able = ", ".join(str(n) for n in range(1, batch + 1) if batch % n == 0)
        raise UserError(
            f"--gpus {gpus} does not divide the study's global batch of {batch}: give one of {able}"
        )


# The recipe


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


def near(word: str, known: Iterable[str]) -> str:
    """`did you mean …? `, where something is alike."""
    close = difflib.get_close_matches(word, [str(name) for name in known], 1)
    return f"did you mean {close[0]}? " if close else ""


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


# The folder


def _claim(out: Path, study: Recipe) -> None:
    """Make the folder, or check that it holds this study."""
    record = out / STATE / "study.json"
    if record.is_file():
        held = json.loads(record.read_text())["recipe"]
        if held != study.name:
            raise UserError(
                f"{out} holds the study {held!r}, not {study.name!r}; give another --out"
            )
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} holds something other than a study; give a new folder as --out")
    place = next(parent for parent in (out, *out.parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if free < study.disk_bytes and not record.is_file():
        raise UserError(
            f"{place} has {free / 2**30:.1f} GiB free, "
            f"the study needs {study.disk_bytes / 2**30:.1f}"
        )
    (out / STATE).mkdir(parents=True, exist_ok=True)
    if not record.is_file():
        write_json(record, {"recipe": study.name, "about": study.about})


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    with (out / STATE / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process is running the study in {out}") from None
        yield


class Fingerprints:
    """Content hashes of files and folders; a file is read again only when size or time changed."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.known: dict[str, list[Any]] = {}
        if cache.is_file():
            self.known = json.loads(cache.read_text())

    def of(self, path: Path) -> str | None:
        """Of a file, or of all files below a folder; None when there is nothing."""
        if path.is_file():
            return self._file(path)
        if not path.is_dir():
            return None
        total = hashlib.sha256()
        for file in sorted(p for p in path.rglob("*") if p.is_file() and not _passing(p)):
            total.update(f"{file.relative_to(path)} {self._file(file)}\n".encode())
        return total.hexdigest()

    def save(self) -> None:
        """Keep what was read for the next time."""
        write_json(self.cache, self.known)

    def _file(self, path: Path) -> str:
        stat = path.stat()
        stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        found = self.known.get(str(path))
        if found is None or found[:3] != stamp:
            with path.open("rb") as file:
                found = [*stamp, hashlib.file_digest(file, "sha256").hexdigest()]
            self.known[str(path)] = found
        return found[3]


def _passing(path: Path) -> bool:
    """Locks and byte code come and go without meaning anything."""
    return path.suffix in (".lock", ".pyc") or path.name == "lock"


def _code(package: str, fingerprints: Fingerprints) -> str:
    """Of the source of the packages that decide what a step writes."""
    total = hashlib.sha256()
    for name in PACKAGES_READ.get(package, (package,)):
        spec = find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            raise UserError(
                f"a step runs `python -m {package}`, but no package {name} is installed"
            )
        total.update((fingerprints.of(Path(spec.submodule_search_locations[0])) or "").encode())
    return total.hexdigest()


# Running


class Scheduler:
    """Starts what is ready, skips what is unchanged, tells how it goes."""

    def __init__(self, study: Recipe, out: Path, jobs: int, gpus: int = 1) -> None:
        self.study, self.out, self.jobs, self.gpus = study, out, jobs, gpus
        self.fingerprints = Fingerprints(out / STATE / "fingerprints.json")
        self.code = {step.run[0]: _code(step.run[0], self.fingerprints) for step in study.steps}
        self.waiting = list(study.steps)
        self.after = after(study.steps)
        self.running: list[Running] = []
        self.skipped = 0
        self.done: dict[str, float] = {}
        self.peak = 0
        self.measured = 0.0
        self.free = replicas.visible()
        self.on_gpus = bool(self.free)
        if self.on_gpus and len(self.free) < gpus:
            raise UserError(f"--gpus {gpus}, but {len(self.free)} are visible: give fewer")
        del self.free[gpus:]

    def go(self) -> None:
        """Until nothing is left."""
        from harness.study_display import display

        started = time.monotonic()
        with display(self) as shown:
            try:
                self._start_ready()
                while self.running:
                    time.sleep(0.1)
                    if self._collect():
                        self._start_ready()
                    shown.update()
            except BaseException:
                self._stop_all()
                raise
            finally:
                self.fingerprints.save()
        record = self.out / STATE / "study.json"
        if self.done:
            held = {"recipe": self.study.name, "about": self.study.about}
            seconds = round(time.monotonic() - started, 1)
            write_json(record, held | {"seconds": seconds, "peak_memory_bytes": self.peak})
        shown.finish(time.monotonic() - started)

    def _start_ready(self) -> None:
        """Skip or start whatever waits for nothing more, as far as there is room."""
        looking = True
        while looking:
            looking = False
            for step in list(self.waiting):
                if self._must_wait(step):
                    continue
                reads = {path: self._read(step, path) for path in step.reads}
                if self._unchanged(step, reads):
                    self.waiting.remove(step)
                    self.skipped += 1
                    looking = True  # what reads its output may be ready now
                elif len(self.running) < self.jobs and self._gpus_of(step) <= len(self.free):
                    self.waiting.remove(step)
                    self.running.append(self._start(step, reads))
        if self.waiting and not self.running:
            names = ", ".join(step.name for step in self.waiting)
            raise UserError(f"these steps wait for one another: {names}")

    def _must_wait(self, step: Step) -> bool:
        pending = {one.name for one in (*self.waiting, *(run.step for run in self.running))}
        return not self.after[step.name].isdisjoint(pending)

    def _read(self, step: Step, path: str) -> str:
        found = self.fingerprints.of(self.out / path)
        if found is None:
            raise UserError(f"step {step.name} reads {path}, which no step has written")
        return found

    def _gpus_of(self, step: Step) -> int:
        if not (step.gpu and self.on_gpus):
            return 0
        return 1 if step.gpu == "one" else self.gpus

    def _record(self, step: Step) -> Path:
        return self.out / STATE / (step.name.replace("/", "--") + ".json")

    def _unchanged(self, step: Step, reads: dict[str, str]) -> bool:
        record = self._record(step)
        if not record.is_file():
            return False
        held = json.loads(record.read_text())
        now = {
            "run": list(step.run),
            "threads": self.study.threads,
            "code": self.code[step.run[0]],
            "reads": reads,
            "writes": {path: self.fingerprints.of(self.out / path) for path in step.writes},
        }
        return all(held.get(name) == value for name, value in now.items())

    def _start(self, step: Step, reads: dict[str, str]) -> Running:
        if not step.resumes:
            for path in step.writes:
                _remove(self.out / path)
        log = self._record(step).with_suffix(".log")
        count = self._gpus_of(step)
        devices, self.free = tuple(self.free[:count]), self.free[count:]
        environment = os.environ | {
            "OMP_NUM_THREADS": str(self.study.threads),
            "PYTHONUNBUFFERED": "1",
            "PYTHONSAFEPATH": "1",  # as -P, also for the processes that torchrun starts
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }
        if devices:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(devices)
        if step.gpu == "ranks" and self.gpus > 1:
            environment |= dict(self.study.sharding)
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", *command(step, self.study, self.gpus)],
                cwd=self.out,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                preexec_fn=_die_with_parent,
            )
        return Running(step, process, log, time.time(), reads, devices)

    def _collect(self) -> bool:
        """Put what has ended on record; whether anything has."""
        before = len(self.running)
        if time.monotonic() - self.measured > MEASURE_SECONDS:
            self.peak = max(self.peak, sum(map(_memory, self.running)))
            self.measured = time.monotonic()
        for run in list(self.running):
            if run.process.poll() is None:
                continue
            self.running.remove(run)
            self.free.extend(run.devices)
            if run.process.returncode != 0:
                raise UserError(_failure(run))
            missing = [path for path in run.step.writes if not (self.out / path).exists()]
            if missing:
                raise UserError(f"step {run.step.name} ended well but did not write {missing[0]}")
            self._keep(run)
        return len(self.running) < before

    def _keep(self, run: Running) -> None:
        step, finished = run.step, time.time()
        self.done[step.name] = finished - run.started
        record = asdict(step) | {
            "threads": self.study.threads,
            "code": self.code[step.run[0]],
            "reads": run.reads,
            "writes": {path: self.fingerprints.of(self.out / path) for path in step.writes},
            "command": ["python", "-m", *command(step, self.study, self.gpus)],
            "started": run.started,
            "finished": finished,
            "seconds": round(finished - run.started, 1),
            "peak_memory_bytes": run.peak,
        }
        write_json(self._record(step), record)

    def _stop_all(self) -> None:
        for run in self.running:
            run.process.terminate()
        for run in self.running:
            try:
                run.process.wait(5)
            except subprocess.TimeoutExpired:
                run.process.kill()


def command(step: Step, study: Recipe, gpus: int) -> list[str]:
    """What `python -m` is given for a step on so many GPUs."""
    share = (study.global_batch or gpus) // gpus
    words = [w.replace(GPUS, str(gpus)).replace(ACCUMULATE, str(share)) for w in step.run]
    if step.gpu != "ranks" or gpus == 1:
        return words
    together = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(gpus)]
    return [*together, "-m", *words]


def _remove(path: Path) -> None:
    """Clear the way for a step: its old output, and what a killed predecessor left beside it."""
    for leftover in path.parent.glob(f".{path.name}.*.partial"):
        shutil.rmtree(leftover, ignore_errors=True)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


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


def _memory(run: Running) -> int:
    """Resident bytes of a step and its children; its own peak is kept on the way."""
    import psutil

    try:
        process = psutil.Process(run.process.pid)
        total = sum(p.memory_info().rss for p in (process, *process.children(recursive=True)))
    except psutil.Error:
        return 0
    run.peak = max(run.peak, total)
    return total


def _die_with_parent() -> None:
    """Let no step outlive a killed study: it would write beside its successor. Linux only."""
    import ctypes

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _failure(run: Running) -> str:
    lines = last_lines(run.log, 3)
    reason = next((line for line in reversed(lines) if line.startswith("driftbench: ")), None)
    said = (
        reason.removeprefix("driftbench: ")
        if reason
        else (lines[-1] if lines else "it said nothing")
    )
    code = run.process.returncode
    ended = f"was killed by signal {-code}" if code < 0 else f"failed with exit status {code}"
    return (
        f"step {run.step.name} {ended}: {said} (log: {run.log}); the same command goes on from here"
    )


def last_lines(log: Path, count: int) -> list[str]:
    """The last lines of a log, without control characters."""
    with _tail(log) as file:
        text = file.read().decode(errors="replace")
    lines = [line.strip() for line in re.split(r"[\r\n]+", text)]
    return ["".join(c for c in line if c.isprintable()) for line in lines if line][-count:]


@contextmanager
def _tail(log: Path) -> Iterator[IO[bytes]]:
    with log.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - 4096))
        yield file
