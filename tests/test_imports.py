"""Who may import whom, and what a light command must not load."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {
    "common": {"common"},
    "tasks": {"common", "tasks"},
    "drift": {"common", "drift"},
    "harness": {"common", "tasks", "drift", "harness"},
    "reports": {"common", "tasks", "drift", "harness", "reports"},
    "driftbench": {"common", "tasks", "drift", "harness", "reports", "driftbench"},
}
HEAVY = {"torch", "transformers", "vllm", "lm_eval", "matplotlib", "datasets", "pandas", "scipy"}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            module = node.module or ""
            names |= {f"{module}.{alias.name}" for alias in node.names} | {module}
    return names


@pytest.mark.parametrize("package", ALLOWED)
def test_packages_import_as_the_picture_says(package):
    for path in (ROOT / package).rglob("*.py"):
        ours = {name.split(".")[0] for name in imported(path)} & set(ALLOWED)
        assert ours <= ALLOWED[package], f"{path.relative_to(ROOT)} imports {ours}"


@pytest.mark.parametrize(
    "command",
    [["--help"], ["tasks"], ["report", "--help"], ["train", "--help"], ["families"]],
    ids=" ".join,
)
def test_light_commands_load_nothing_heavy(command):
    code = (
        "import runpy, sys\n"
        f"sys.argv[1:] = {command}\n"
        f"try: runpy.run_module('driftbench', run_name='__main__')\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        f"print(*({HEAVY} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == ""
