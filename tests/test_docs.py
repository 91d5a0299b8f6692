"""What the documents say holds: commands, options, links, files, code."""

import json
import re
import shlex
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
import typer
import yaml

import tasks
from drift.delta import VARIANTS
from drift.families import ROLES
from drift.injector import Injector
from drift.merge_methods import METHODS
from drift.training import config
from drift.training.rows import read_rows
from driftbench import elsewhere
from driftbench.__main__ import application
from harness.studies import load

ROOT = Path(__file__).parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in sorted(
        [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md")],
        key=lambda path: (len(path.parts), path),
    )
}
GUIDES = "".join(PAGES.values())


# What is shown


def fences(page: str) -> list[tuple[str, str]]:
    """Language and content of each fenced block."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def lines(page: str) -> list[str]:
    """The lines of code blocks, those that go on after a backslash as one."""
    bare = re.sub(r"^```(?:yaml|python|json)\n.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    blocks = [line[4:] for line in bare.splitlines() if line.startswith("    ")]
    blocks += [line for _, block in fences(bare) for line in block.splitlines()]
    return re.sub(r"\\\n\s*", "", "\n".join(blocks)).splitlines()


def command_of(line: str) -> list[str] | None:
    """The words after `driftbench`, of a line that runs it."""
    found = re.match(r"\s*(?:\S*driftbench|.*\s-m driftbench) ([a-z].*)", line)
    return shlex.split(found[1], comments=True) if found else None


SHOWN = [
    pytest.param(words, id=f"{name}: {' '.join(words[:4])}")
    for name, page in PAGES.items()
    for line in lines(page)
    if (words := command_of(line))
]
RUN_FILE = next(code for kind, code in fences(GUIDES) if kind == "yaml" and "checkpoints:" in code)
INLINE = sorted(set(re.findall(r"`driftbench ([^`]+)`", GUIDES)))


def command(words: list[str]) -> tuple[typer.core.TyperCommand, list[str]]:
    """The command that `words` name, and its arguments."""
    found: Any = typer.main.get_command(application())
    while words and words[0][0] != "-" and (inner := getattr(found, "commands", None)):
        assert words[0] in inner, f"there is no command {words[0]}"
        found, words = inner[words[0]], words[1:]
    return found, words


def options(found: typer.core.TyperCommand) -> set[str]:
    return {name for param in found.params for name in param.opts} | {"--help"}


# Commands


@pytest.mark.parametrize("words", SHOWN)
def test_a_command_line_shown_can_be_typed(words, tmp_path, monkeypatch):
    """Known command, known options, all that is needed, numbers where numbers are wanted."""
    found, rest = command(words)
    if words[0] == "eval" and rest[0].endswith(".yaml"):
        monkeypatch.chdir(tmp_path)
        Path(rest[0]).parent.mkdir(parents=True)
        Path(rest[0]).write_text(RUN_FILE)
    given = found.make_context(words[0], [word for word in rest if word != "…"]).params

    def known(name, among):
        """Words in capitals stand for something."""
        wanted = [word for word in str(given.get(name) or "").split(",") if not word.isupper()]
        assert set(filter(None, wanted)) <= set(among), f"--{name} {given[name]}"

    made_here = {"sums"}  # the task that tasks/README.md makes
    known("tasks", {*tasks.names(), *tasks.groups(), *made_here})
    known("task", tasks.names())
    known("protocol", {"robust", "official", "vlmevalkit", "vlmevalkit-2025"})
    known("method", METHODS)
    known("variant", VARIANTS)
    known("modules", ROLES)
    for param in found.params:
        choices = (getattr(param, "metavar", None) or "").split("|")
        if len(choices) > 1 and all(choice.islower() for choice in choices):
            known(param.name, choices)
    if words[0] == "train":
        fields = config.from_settings(given["settings"] or [])
        assert set(fields) <= set(config.TrainConfig.__dataclass_fields__)
        bundled = {path.stem for path in config.BUNDLED.glob("*.yaml")}
        assert given["recipe"] in bundled or f"# {given['recipe']}" in GUIDES
    if words[0] == "reproduce":
        assert given["study"] in load.BUNDLED or given["study"].endswith(".py")


@pytest.mark.parametrize("said", INLINE)
def test_a_command_named_in_a_sentence_has_these_options(said):
    words = said.split()
    if words[0].isupper():  # `driftbench COMMAND --help`
        return
    found, rest = command(words)
    named = {word for word in rest if word.startswith("--")}
    assert named <= options(found)


def test_options_named_beside_a_command_are_some_commands_own():
    """Options in a table or a sentence, without their command."""
    every = set().union(*(options(found) for found in all_commands().values()))
    others = {"--nproc_per_node", "--config_file", "--include_path", "--scale"}
    for name, page in PAGES.items():
        if name.startswith("docs/") and name.count("/") == 1:
            said = set(re.findall(r"`(--[a-z][\w-]*)", page))
            theirs = {word for word in said if word.replace("_", "-") in elsewhere.HINTS}
            assert said <= every | others | theirs, f"{name}: {said - every - others - theirs}"


def all_commands() -> dict[str, typer.core.TyperCommand]:
    found = {name: command([name])[0] for name in typer.main.get_command(application()).commands}
    return {name: one for name, one in found.items() if not one.hidden}


def test_every_command_is_in_the_documents():
    for name in all_commands():
        assert re.search(rf"driftbench {name}\b", GUIDES), f"no page names driftbench {name}"


def test_every_command_and_option_says_what_it_is_for():
    for name, found in all_commands().items():
        assert found.help or hasattr(found, "commands"), name
        for param in found.params:
            assert param.name == "help" or getattr(param, "help", None), f"{name} {param.name}"


# Links and files


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_to_a_file_and_a_heading(name):
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[name]):
        if target.startswith("http"):
            continue
        place, _, part = target.partition("#")
        path = (ROOT / name).parent / place if place else ROOT / name
        assert path.exists(), f"{name} links to {target}"
        if part:
            heads = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert part in map(anchor, heads), f"{name} links to {target}"


def anchor(heading: str) -> str:
    """As GitHub makes it of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("name", PAGES)
def test_every_file_named_exists(name):
    rooms = "common|harness|drift|tasks|reports|tests|perf|docs"
    for said in re.findall(rf"`((?:{rooms})/[\w./-]+)`", PAGES[name]):
        whole = said.rstrip("/")
        ours = (ROOT / whole).exists() or (ROOT / f"{whole}.py").exists()
        assert ours or "sums" in said, f"{name} names {said}"


def test_every_make_target_shown_exists():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = re.findall(r"^    make (\w+)|`make (\w+)`", PAGES["README.md"], re.MULTILINE)
    assert shown and {block or inline for block, inline in shown} <= targets


# The table of rooms


def rooms() -> set[str]:
    """The folders that the table names."""
    table = PAGES["CONTRIBUTING.md"].partition("## The rooms")[2].partition("\n## ")[0]
    return {name.rstrip("/") for name in re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)}


def test_the_table_of_rooms_names_every_folder_with_code_and_no_other():
    kinds = ("*.py", "*.yaml", "*.csv")
    packages = ("common", "tasks", "drift", "harness", "reports", "driftbench", "perf")
    found = {
        path.parent.relative_to(ROOT).as_posix()
        for package in packages
        for kind in kinds
        for path in (ROOT / package).rglob(kind)
    }
    assert rooms() == found - {"harness"}


def test_every_source_file_says_what_it_is_for():
    for package in rooms():
        for path in (ROOT / package).glob("*.py"):
            assert path.read_text(encoding="utf-8").startswith(('"""', 'r"""')), path


# Code


SNIPPETS = [
    pytest.param(language, code, id=f"{name}: {code.strip().splitlines()[0][:40]}")
    for name, page in PAGES.items()
    for language, code in fences(page)
]


@pytest.mark.parametrize(("language", "code"), SNIPPETS)
def test_a_snippet_can_be_read(language, code, tmp_path):
    if language == "python":
        compile(code, "snippet", "exec")
    elif language == "json":
        place = tmp_path / "rows.jsonl"
        place.write_text(code)
        for row in map(json.loads, code.splitlines()):
            for picture in row["images"]:
                (tmp_path / picture).parent.mkdir(exist_ok=True)
                (tmp_path / picture).touch()
        assert len(read_rows(place)) == len(code.splitlines())
    elif language == "yaml" and "fsdp" in code:
        from accelerate.commands.config.config_args import ClusterConfig
        from accelerate.commands.launch import launch_command_parser

        place = tmp_path / "accelerate.yaml"
        place.write_text(code)
        read = ClusterConfig.from_yaml_file(place)
        flags = {action.dest for action in launch_command_parser()._actions}
        assert set(read.fsdp_config) <= flags
    elif language == "yaml" and "checkpoints:" in code:
        (tmp_path / "run.yaml").write_text(code)
        found, _ = command(["eval"])
        given = found.make_context("eval", [str(tmp_path / "run.yaml")]).params
        assert given["checkpoints"] == yaml.safe_load(code)["checkpoints"]
    elif language == "yaml" and "jobs:" in code:
        steps = [s for job in yaml.safe_load(code)["jobs"].values() for s in job["steps"]]
        typed = [line.partition(" | ")[0] for s in steps for line in s.get("run", "").splitlines()]
        named = [words for line in typed if (words := command_of(line))]
        assert len(named) == 3
        for words in named:
            found, rest = command(words)
            found.make_context(words[0], rest)
    elif language == "yaml":
        place = tmp_path / "recipe.yaml"
        place.write_text(code)
        assert config.load(place).seed == yaml.safe_load(code)["seed"]
    else:
        assert language in ("bash", "sh", "text", "bibtex")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A folder with a random `vlm` and `reasoner` of a real family."""
    folder = tmp_path_factory.mktemp("pair")
    tiny_models.make_vlm("qwen2_5_vl", folder / "vlm")
    tiny_models.make_llm("qwen2_5_vl", folder / "reasoner")
    return folder


def loop_pieces(folder):
    """What a training loop has: a model, two batches of words, an optimizer that stands still."""
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(folder / "vlm", dtype=torch.float32)
    ids = torch.tensor([[5, 6, 7, 8]])
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    return {"model": model, "batches": [batch, batch], "optimizer": optimizer}


LOOPS = [
    (name, code)
    for name, page in PAGES.items()
    for language, code in fences(page)
    if language == "python" and "Injector(model" in code
]


def test_the_loops_of_the_documents_are_found():
    assert {name for name, _ in LOOPS} == {"docs/training_with_drift.md"}


@pytest.mark.parametrize(("name", "code"), LOOPS, ids=[name for name, _ in LOOPS])
def test_a_loop_of_ones_own_pulls_toward_the_reasoner(name, code, pair, monkeypatch):
    """The gradient that is left is that of the task, less ‖g‖ · Δ / ‖Δ‖ as `grad_norm` says."""
    monkeypatch.chdir(pair)
    pieces = loop_pieces(pair)
    plain = loop_pieces(pair)["model"]
    plain(**pieces["batches"][0]).loss.backward()
    own = {target: param.grad.clone() for target, param in plain.named_parameters()
           if param.grad is not None}  # fmt: skip
    edited: list[dict[str, torch.Tensor]] = []
    apply = Injector.apply

    def caught(self, progress=0.0):
        said = apply(self, progress)
        edited.append({target.name: target.param.grad.clone() for target in self.targets})
        return said

    monkeypatch.setattr(Injector, "apply", caught)
    if "backward()" not in code:  # five lines without their loop
        pieces["model"](**pieces["batches"][0]).loss.backward()
    exec(compile(code, name, "exec"), pieces)
    injector = pieces["injector"]
    by_id = {id(param): target for target, param in pieces["model"].named_parameters()}
    for target in injector.targets:
        grad, delta = own[by_id[id(target.param)]], target.delta.float()
        expected = grad - grad.norm() * delta / delta.norm()
        torch.testing.assert_close(edited[0][target.name], expected, rtol=1e-4, atol=1e-6)
    assert len(injector.targets) == injector.coverage().tensors == 20


def test_the_trainer_of_the_documents_is_one(pair, monkeypatch):
    """The mixin goes before TRL's trainer, with the arguments that the page gives it."""
    (code,) = [code for _, code in fences(PAGES["docs/training_with_drift.md"]) if "trl" in code]
    said: dict[str, object] = {}

    class Stand:
        def __init__(self, **given):
            said.update(given)

        def train(self):
            said["trained"] = True

    from drift.training import trainer as training

    monkeypatch.setitem(sys.modules, "trl", types.SimpleNamespace(SFTTrainer=Stand))
    monkeypatch.setattr(training.DriftMixin, "__init__", Stand.__init__)
    monkeypatch.chdir(pair)
    pieces = loop_pieces(pair)
    exec(compile(code, "page", "exec"), pieces | {"arguments": None, "rows": []})
    assert said["trained"] and said["join"](pieces["model"]).coverage().tensors == 20


def test_sizes_of_the_statistics_page():
    """Each `print` there has its result beside it."""
    for _, code in fences(PAGES["docs/reading_the_statistics.md"]):
        names: dict[str, object] = {}
        shown = re.findall(r"^print\((.*)\)\s+# (.*)$", code, re.MULTILINE)
        exec(code.partition("\nprint")[0], names)
        assert shown and all(str(eval(said, names)) == value for said, value in shown)
