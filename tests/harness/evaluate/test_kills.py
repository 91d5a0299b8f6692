"""The script that kills runs, in short; in full it is `python perf/kills.py`."""

import subprocess
import sys

import places
import pytest

SCRIPT = places.ROOT / "perf" / "kills.py"


@pytest.mark.parametrize(
    "how",
    [
        ["--kills", "3", "--shards", "1"],
        ["--kills", "3", "--shards", "2"],
        ["--kills", "2", "--data-parallel", "2", "--signal", "KILL"],
        ["--kills", "2", "--data-parallel", "2", "--signal", "TERM"],
    ],
    ids=" ".join,
)
def test_killed_runs_leave_nothing_ask_nothing_twice_and_end_as_if_undisturbed(how):
    command = [sys.executable, str(SCRIPT), "--questions", "150"]
    done = subprocess.run([*command, *how], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "150 answers, each in the logs once" in done.stdout
    assert "all that was started was gone within" in done.stdout
    assert "the result files are those of an undisturbed run, byte for byte" in done.stdout
