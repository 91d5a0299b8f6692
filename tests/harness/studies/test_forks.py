"""A step that forks is what a new process would be."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from common.errors import UserError
from harness.studies.forks import Forks

STEP = """
import json, os, signal, sys
print(json.dumps({"words": sys.argv[1:], "cwd": os.getcwd(), "environment": dict(os.environ),
    "name": __name__, "torch": "torch" in sys.modules, "threads": os.environ["OMP_NUM_THREADS"],
    "sigint": signal.getsignal(signal.SIGINT) is signal.default_int_handler}))
print("aside", file=sys.stderr)
if "atexit" in sys.argv:
    import atexit
    atexit.register(print, "at exit")
if "raise" in sys.argv:
    raise ValueError("broken")
if "words" in sys.argv:
    sys.exit("no status")
if "sleep" in sys.argv:
    import time
    print("asleep", flush=True)
    time.sleep(60)
sys.exit(len(sys.argv))
"""
RUNNER = """
import os, sys, time
from pathlib import Path
from harness.studies.forks import Forks

folder = Path(sys.argv[1])
forks = Forks(os.environ, folder / "forks.log")
with open(folder / "step.log", "wb") as log:
    step = forks.start(["step", "sleep"], folder, os.environ, log.fileno())
print(step.pid, forks._process.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forks")
    (folder / "step.py").write_text(STEP)
    return folder


@pytest.fixture(scope="module")
def environment(folder):
    return {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def forks(folder, environment):
    forks = Forks(environment, folder / "forks.log")
    yield forks
    forks.stop()
    assert forks._process.poll() is not None


def until(text, log):
    end = time.monotonic() + 60
    while text not in log.read_text() and time.monotonic() < end:
        time.sleep(0.02)
    assert text in log.read_text()


def test_a_fork_has_what_a_new_process_has(forks, folder, environment):
    asked = {**environment, "ONLY_HERE": "yes", "PYTHONUNBUFFERED": "1"}
    said = []
    for how in ("as-a-fork", "as-a-process"):
        cwd, log = folder / how, folder / f"{how}.log"
        cwd.mkdir()
        with open(log, "wb") as file:
            if how == "as-a-fork":
                step = forks.start(["step", "a b", "é"], cwd, asked, file.fileno())
            else:
                words = [sys.executable, "-P", "-m", "step", "a b", "é"]
                step = subprocess.Popen(words, cwd=cwd, env=asked, stdout=file, stderr=file)
        assert step.wait(60) == 3 and step.poll() == 3
        said.append(log.read_text().replace(how, "").replace('"torch": true', '"torch": false'))
    assert said[0] == said[1] and '"ONLY_HERE": "yes"' in said[0]
    assert '"torch": true' in (folder / "as-a-fork.log").read_text()


@pytest.mark.parametrize(
    ("how", "status", "last"),
    [("atexit", 2, "at exit"), ("raise", 1, "ValueError: broken"), ("words", 1, "no status")],
)
def test_a_fork_ends_as_a_new_process_does(forks, folder, environment, how, status, last):
    log = folder / f"{how}.log"
    with open(log, "wb") as file:
        step = forks.start(["step", how], folder, environment, file.fileno())
    assert step.wait(60) == status
    assert log.read_text().splitlines()[-1] == last
    new = subprocess.run(
        [sys.executable, "-P", "-m", "step", how], env=environment, capture_output=True, check=False
    )
    assert new.returncode == status and last in (new.stdout + new.stderr).decode()


def test_what_one_fork_does_reaches_no_other(forks, folder, environment):
    logs = [folder / f"{number}.log" for number in range(3)]
    steps = []
    for log in logs:
        with open(log, "wb") as file:
            words = ["step", log.name, *(["sleep"] if log == logs[0] else [])]
            steps.append(forks.start(words, folder, environment, file.fileno()))
    assert [step.wait(60) for step in steps[1:]] == [2, 2] and steps[0].poll() is None
    assert '["1.log"]' in logs[1].read_text() and "2.log" not in logs[1].read_text()
    until("asleep", logs[0])
    with pytest.raises(subprocess.TimeoutExpired):
        steps[0].wait(0.1)
    steps[0].terminate()
    assert steps[0].wait(60) == -signal.SIGTERM
    steps[0].kill()  # of what has ended: nothing


def test_a_process_number_that_is_given_again_is_another_step(folder, monkeypatch):
    class Process:
        """Forks nothing; what it would say is said by the test."""

        def __init__(self, words, pass_fds, **more):
            self.socket = socket.socket(fileno=os.dup(pass_fds[0]))

        last = None

        def poll(self):
            """Whether it is over, of which the last word was a status."""
            if self.last is not None:
                self.say(self.last)
                self.last = None
                return 0
            return None

        def say(self, status):
            self.socket.send(json.dumps({"pid": 4711, "status": status}).encode())

    monkeypatch.setattr("harness.studies.forks.subprocess.Popen", Process)
    forks = Forks({}, folder / "numbers.log")
    steps, process = [], forks._process
    for status in (0, 3, 5):  # nobody looks between the end of the one and the start of the next
        process.say(None)
        steps.append(forks.start(["step"], folder, {}, 1))
        if len(steps) == 2:
            assert [step.poll() for step in steps] == [0, None]
        process.say(status)
    assert [step.poll() for step in steps] == [0, 3, 5]
    process.say(None)
    step, process.last = forks.start(["step"], folder, {}, 1), 7
    assert step.poll() == 7
    process.socket.close()
    forks._socket.close()


def test_forks_end_with_the_runner_however_it_ends(folder, environment):
    words = [sys.executable, "-P", "-c", RUNNER, str(folder)]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as runner:
        pids = [int(pid) for pid in runner.stdout.readline().split()]
        until("asleep", folder / "step.log")
        runner.kill()
    end = time.monotonic() + 30
    while any(map(psutil.pid_exists, pids)) and time.monotonic() < end:
        time.sleep(0.02)
    assert not any(map(psutil.pid_exists, pids))


def test_a_step_has_nothing_to_fork_from_where_the_process_has_ended(folder, environment):
    forks = Forks({**environment, "PYTHONPATH": str(folder / "broken")}, folder / "broken.log")
    forks._process.kill()
    with open(os.devnull, "wb") as file, pytest.raises(UserError, match=r"see .*broken\.log"):
        forks.start(["step"], folder, environment, file.fileno())
    forks.stop()


def test_an_environment_too_large_to_send_is_told_and_not_waited_for(forks, folder, environment):
    large = {**environment, "LARGE": "x" * 2**22}
    with open(os.devnull, "wb") as file, pytest.raises(UserError, match="too long"):
        forks.start(["step"], folder, large, file.fileno())
