"""Who may import whom, what a light command must not load, and that nothing stands in our way."""

import ast
import functools
import graphlib
import importlib.metadata
import itertools
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import graded
import pytest
from places import ROOT

from driftbench import __main__
from harness.runs.schema import Question

ALLOWED = {
    "common": {"common"},
    "tasks": {"common", "tasks"},
    "drift": {"common", "drift"},
    "harness": {"common", "tasks", "drift", "harness"},
    "reports": {"common", "tasks", "drift", "harness", "reports"},
    "driftbench": {"common", "tasks", "drift", "harness", "reports", "driftbench"},
}
SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ALLOWED
    for path in (ROOT / package).rglob("*.py")
}
"""Module → its file."""


@functools.cache
def tree(module: str) -> ast.Module:
    return ast.parse(SOURCES[module].read_text())


def imported(node: ast.AST) -> set[str]:
    """Modules that a statement imports, and what it takes from them, under full names."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"line {node.lineno} imports relatively"
        return {f"{node.module}.{alias.name}" for alias in node.names} | {node.module or ""}
    return set()


def everywhere(module: str) -> set[str]:
    """What `module` imports, in functions too."""
    return set().union(*map(imported, ast.walk(tree(module))))


def at_import_time(node: ast.AST) -> Iterator[ast.AST]:
    """What runs when a module is imported: no functions, nothing for type checkers alone."""
    for child in ast.iter_child_nodes(node):
        function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if not function and "TYPE_CHECKING" not in ast.dump(getattr(child, "test", child)):
            yield child
            yield from at_import_time(child)


def needs(module: str) -> set[str]:
    """Our modules that importing `module` imports, and those packages that it is not inside of."""
    found = set()
    for name in set().union(*map(imported, at_import_time(tree(module)))):
        parts = name.split(".")
        above = (".".join(parts[:count]) for count in range(1, len(parts)))
        found |= {name, *(one for one in above if not f"{module}.".startswith(f"{one}."))}
    return found & SOURCES.keys() - {module}


@pytest.mark.parametrize("package", ALLOWED)
def test_packages_import_as_the_picture_says(package):
    for module in SOURCES:
        if module.split(".")[0] == package:
            ours = {name.split(".")[0] for name in everywhere(module)} & set(ALLOWED)
            assert ours <= ALLOWED[package], f"{module} imports {ours}"


def test_no_module_is_needed_for_its_own_import():
    """The packages' arrows above, and the modules inside each, form no circle."""
    graphlib.TopologicalSorter({one: ours - {one} for one, ours in ALLOWED.items()}).prepare()
    graphlib.TopologicalSorter({module: needs(module) for module in SOURCES}).prepare()


def test_nothing_but_the_door_imports_a_command():
    commands = re.compile(r"harness\.commands\b|(drift|drift\.pocket|reports)\.(merge_)?cli\b")
    for module in SOURCES:
        if not commands.match(module) and module.split(".")[0] != "driftbench":
            assert not list(filter(commands.match, everywhere(module))), module


TORCHRUN = "*together"
"""What `-m` names behind it, torchrun runs in processes that inherit PYTHONSAFEPATH."""


def test_no_process_takes_modules_from_the_current_folder():
    """`-m` without `-P` would take `statistics`, `harness` … from wherever it is started."""
    ours = "|".join(ALLOWED)
    for module in SOURCES:
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.List | ast.Tuple):
                words = [ast.unparse(one) for one in node.elts]
                before = {a for a, b in itertools.pairwise(["", *words]) if b == "'-m'"}
                assert before <= {"'-P'", TORCHRUN}, module
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not re.search(rf"python3? -m ({ours})\b", node.value), module


# Run


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Two graded runs, `a` and `b`, of which `a` can be graded again."""
    folder = tmp_path_factory.mktemp("runs")
    row = {"question": "3 + 4 ?", "answer": "7", "group": "perception"}
    questions = [
        Question(task="pocket", id=f"q{n}", prompt="3 + 4 ?", row={**row, "id": f"q{n}"})
        for n in "012345"
    ]
    for name, bits in (("a", "110100"), ("b", "111110")):
        answers = graded.simple_answers(questions, map(int, bits))
        graded.write_run(folder / name, questions, answers)
    return folder


REAL = (["tasks"], ["score", "a"], ["compare", "a", "b"], ["report", "a", "b", "--out", "page"])
WRITTEN = ("a/verdicts.jsonl", "page/index.html", "page/comparison.csv")


MODELS = {"torch", "transformers", "vllm", "lm_eval", "datasets"}
NUMBERS = {"numpy", "scipy", "pandas", "matplotlib", "PIL"}
ROOMS = {"asyncio", "harness.runs.schema", "tasks.grading", "drift.pairing"}
"""Of ours, and what takes as long: together half a second, for commands that only list."""


@pytest.mark.parametrize(
    ("words", "heavy"),
    [
        (["--help"], MODELS | NUMBERS | ROOMS | {"yaml", "drift.families"}),
        (["families"], MODELS | NUMBERS | ROOMS | {"yaml"}),
        (["tasks"], MODELS | NUMBERS | ROOMS),
        *zip(REAL[1:], (MODELS | NUMBERS - {"numpy"}, MODELS, MODELS), strict=True),
    ],
)
def test_light_commands_load_nothing_heavy(runs, tmp_path, words, heavy):
    code = (
        "import runpy, sys\n"
        f"sys.argv[1:] = {words}\n"
        "try: runpy.run_module('driftbench', run_name='__main__')\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        f"print(*({heavy} & set(sys.modules)), file=sys.stderr)"
    )
    folder = shutil.copytree(runs, tmp_path / "runs")
    assert said([sys.executable, "-P", "-c", code], [], folder)[::2] == (0, "\n")


def said(program: list[str], words: list[str], folder: Path) -> tuple[int, str, str]:
    """Status, output and complaints of a command in a folder.

    Without lines on progress (`reading runs …`), which a busy machine alone gets to see.
    """
    done = subprocess.run([*program, *words], cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout, re.sub(r"^.* …\n", "", done.stderr, flags=re.MULTILINE)


SCRIPT = [str(Path(sys.executable).with_name("driftbench"))]
MODULE = [sys.executable, "-P", "-m", "driftbench"]


@pytest.fixture
def shadowed(tmp_path) -> Path:
    """A folder of files with the names of our packages, and of one of Python's."""
    (tmp_path / "tasks").mkdir()
    for name in (
        "drift",
        "harness",
        "reports",
        "common",
        "driftbench",
        "statistics",
        "tasks/__init__",
    ):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken from the current folder')\n")
    return tmp_path


@pytest.fixture(scope="module")
def elsewhere(runs, tmp_path_factory) -> tuple[Path, list[tuple[int, str, str]]]:
    """A folder with the runs and no such files, and what the commands said in it."""
    folder = shutil.copytree(runs, tmp_path_factory.mktemp("elsewhere"), dirs_exist_ok=True)
    return folder, [said(SCRIPT, words, folder) for words in REAL]


@pytest.mark.parametrize("program", [SCRIPT, MODULE], ids=["script", "module"])
def test_commands_do_what_they_do_elsewhere_in_a_folder_of_such_names(
    runs, shadowed, elsewhere, program
):
    folder, expected = elsewhere
    assert [status for status, _, _ in expected] == [0] * len(REAL)
    shutil.copytree(runs, shadowed, dirs_exist_ok=True)
    assert [said(program, words, shadowed) for words in REAL] == expected
    for name in WRITTEN:
        assert (shadowed / name).read_bytes() == (folder / name).read_bytes()


def test_every_command_helps_in_a_folder_of_such_names_and_loads_nothing_heavy(shadowed):
    names = [one.name for one in __main__.application().registered_commands if not one.hidden]
    code = (
        "import sys, reports.tables, reports.page.page\n"
        "from driftbench.__main__ import run\n"
        f"for name in {[*names, 'pocket']}: assert run([name, '--help']) == 0\n"
        f"print(*({MODELS | NUMBERS | {'jinja2'}} & set(sys.modules)), file=sys.stderr)"
    )
    status, out, err = said([sys.executable, "-P"], ["-c", code], shadowed)
    assert (status, err) == (0, "\n")
    assert re.findall(r"Usage: driftbench (\S+)", out) == [*names, "pocket"]


def test_other_programs_are_as_without_driftbench(shadowed):
    """Nothing of ours is loaded by another program, from wherever it is started."""
    code = (
        "import sys, torch\n"
        "try: import torchaudio\n"
        "except (ImportError, OSError, RuntimeError): pass\n"
        f"print({set(ALLOWED)} & {{name.split('.')[0] for name in sys.modules}})"
    )
    assert said([sys.executable], ["-c", code], shadowed)[:2] == (0, "set()\n")
    points = importlib.metadata.distribution("driftbench").entry_points
    assert {point.group for point in points} == {"console_scripts"}


def test_generating_knows_nothing_of_verdicts():
    room = ROOT / "harness" / "evaluate"
    for name in ("config", "requests", "generate", "budget_forcing", "prompts"):
        ours = imported(room / f"{name}.py")
        assert not ours & {"harness.evaluate.grade", "harness.evaluate.judge", "tasks.judging"}


def test_no_two_files_of_tests_have_one_name():
    """pytest imports them by their bare names."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(set(names)) == sorted(names)
