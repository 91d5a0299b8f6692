"""Who may import whom, and what a light command must not load."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {
    "tasks": {"tasks"},
    "harness": {"harness", "tasks"},
    "reports": {"reports", "harness.records", "harness.tally", "harness.seeds"},
    "drift": {"drift"},
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
        ours = {name for name in imported(path) if name.split(".")[0] in ALLOWED}
        for name in ours - ALLOWED[package]:
            inside = any(name.startswith(f"{allowed}.") for allowed in ALLOWED[package])
            holder = any(allowed.startswith(f"{name}.") for allowed in ALLOWED[package])
            assert inside or holder, f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize(
    "command",
    [["harness", "--help"], ["harness", "tasks"], ["reports", "--help"], ["drift", "--help"]],
    ids=" ".join,
)
def test_light_commands_load_nothing_heavy(command):
    code = (
        "import runpy, sys\n"
        f"sys.argv[1:] = {command[1:]}\n"
        f"try: runpy.run_module({command[0]!r}, run_name='__main__')\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        f"print(*({HEAVY} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == ""
