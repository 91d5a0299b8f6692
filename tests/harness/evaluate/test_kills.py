"""The script that kills runs, in short; in full it is `python perf/kills.py`."""

import subprocess
import sys

import places
import pytest

SCRIPT = places.ROOT / "perf" / "kills.py"


@pytest.mark.parametrize("shards", ["1", "2"])
def test_killed_runs_ask_nothing_twice_and_end_as_if_undisturbed(shards):
    command = [sys.executable, str(SCRIPT), "--kills", "3", "--questions", "150"]
    done = subprocess.run([*command, "--shards", shards], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "150 answers, each in the logs once" in done.stdout
    assert "the result files are those of an undisturbed run, byte for byte" in done.stdout
