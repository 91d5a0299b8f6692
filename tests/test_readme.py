"""What the README shows must exist: its commands, with the options it names."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SHOWN = re.findall(r"^    driftbench ([\w-]+)(.*?)(?:\s#.*)?$", README, re.MULTILINE)


@pytest.mark.parametrize(("command", "rest"), SHOWN, ids=[command for command, _ in SHOWN])
def test_every_command_shown_knows_its_options(command, rest):
    help_text = subprocess.run(
        [sys.executable, "-P", "-m", "driftbench", command, "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for option in re.findall(r"--[\w-]+", rest):
        assert option in help_text, f"driftbench {command} has no {option}"


def test_every_make_target_shown_exists():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = re.findall(r"^    make (\w+)|`make (\w+)`", README, re.MULTILINE)
    assert shown and {block or inline for block, inline in shown} <= targets


def test_every_link_leads_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target
