"""What is started ends with who started it; SIGTERM ends a command."""

import signal
import subprocess
import sys
import time

import psutil
import pytest

from common import processes

FAMILY = r"""
import multiprocessing, os, subprocess, sys, time
from common import processes

def rest(*_):
    os.write(1, b"%d\n" % os.getpid())
    time.sleep(100)

def parent(_):
    multiprocessing.get_context("fork").Process(target=rest).start()
    rest()

if __name__ == "__main__":
    processes.LAST_SECONDS = 1.0
    processes.tie_forks()
    processes.end_spawned()
    processes.end_on_sigterm()
    code = "import os, time; os.write(1, b'%d\\n' % os.getpid()); time.sleep(100)"
    first = subprocess.Popen([sys.executable, "-c", code], preexec_fn=processes.tie())
    for way in ("fork", "spawn"):
        multiprocessing.get_context(way).Process(target=parent, args=(0,)).start()
    try:
        rest()
    finally:
        processes.stop([first])
"""


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux kills what a killed process started"
)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("module", [False, True])
def test_all_that_was_started_ends_with_it(tmp_path, how, module):
    (tmp_path / "family.py").write_text(FAMILY)
    words = [sys.executable, "-m", "family"] if module else [sys.executable, "family.py"]
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=tmp_path
    )
    # It, one of subprocess, two of multiprocessing, and one that each of these forked.
    family = [psutil.Process(int(process.stdout.readline())) for _ in range(6)]
    assert process.pid in {one.pid for one in family}
    process.send_signal(how)
    process.wait()
    _, left = psutil.wait_procs(family, 10)
    process.stdout.close()
    assert not left


def run(code: str) -> subprocess.Popen:
    words = [sys.executable, "-c", f"import os, time\nfrom common import processes\n{code}"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def ended(process: subprocess.Popen, how: int = signal.SIGTERM) -> tuple[int, str]:
    process.send_signal(how)
    said, _ = process.communicate(timeout=20)
    return process.returncode, said


def test_a_sigterm_that_nobody_hears_ends_a_command_all_the_same():
    process = run(
        "processes.LAST_SECONDS, said = 0.5, False\nprocesses.end_on_sigterm()\n"
        "while True:\n    try:\n        if not said:\n            said = True\n"
        "            print('ready', flush=True)\n"
        "        time.sleep(1)\n    except BaseException: pass"
    )
    assert ended(process) == (processes.TERMINATED, "")


def test_what_is_complete_is_kept_before_a_command_ends():
    process = run(
        "processes.end_on_sigterm()\n"
        "try:\n    print('ready', flush=True)\n    time.sleep(100)\n"
        "except KeyboardInterrupt:\n"
        "    os.kill(os.getpid(), 15)  # once more changes nothing\n"
        "    print('kept', processes.terminating)"
    )
    assert ended(process) == (0, "kept True\n")


def test_who_does_not_end_when_told_is_killed(monkeypatch):
    monkeypatch.setattr(processes, "GRACE_SECONDS", 0.3)
    deaf = run(
        "import signal\nsignal.signal(15, signal.SIG_IGN)\nprint('ready', flush=True)\n"
        "time.sleep(100)"
    )
    hears = run("print('ready', flush=True)\ntime.sleep(100)")
    began = time.monotonic()
    processes.stop([deaf, hears])
    assert time.monotonic() - began < 5
    assert (deaf.returncode, hears.returncode) == (-signal.SIGKILL, -signal.SIGTERM)
    for one in (deaf, hears):
        one.stdout.close()


def test_processor_seconds_are_those_of_the_process_and_its_children():
    code = "import time\nwhile time.process_time() < 0.4: pass\nprint(flush=True)\ninput()"
    before, alone = processes.processor_seconds(living=True), processes.processor_seconds()
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    child.stdout.readline()
    assert processes.processor_seconds() - alone < 0.3
    assert processes.processor_seconds(living=True) - before > 0.35
    child.communicate(b"\n")
    assert processes.processor_seconds() - alone > 0.35
    assert processes.processor_seconds(living=True) - before < 2


def test_who_has_been_told_is_waited_for_and_not_told_again():
    told = run(
        "import signal\nsignal.signal(15, lambda *_: os._exit(15))\nprint('ready', flush=True)\n"
        "time.sleep(0.5)"
    )
    processes.stop([told], tell=False)
    told.stdout.close()
    assert told.returncode == 0


def test_a_command_says_that_it_was_terminated(capfd):
    process = run(
        "import sys, typer\nfrom common.command_line import guarded\napp = typer.Typer()\n"
        "@app.command()\ndef nap():\n    print('ready', flush=True)\n    time.sleep(100)\n"
        "processes.end_on_sigterm()\nsys.exit(guarded(app, []))"
    )
    assert ended(process) == (processes.TERMINATED, "")
    sentence = "driftbench: terminated; what is complete is kept, the same command goes on"
    assert capfd.readouterr().err.splitlines()[-1] == sentence


def test_as_many_files_as_wanted_may_be_open_where_the_system_allows_it():
    code = (
        "import resource as r\n"
        "from common.processes import allow_files\n"
        "r.setrlimit(r.RLIMIT_NOFILE, (100, 400))\n"
        "for wanted in (50, 300, 9000):\n"
        "    allow_files(wanted)\n"
        "    print(*r.getrlimit(r.RLIMIT_NOFILE))\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert told.stdout.split() == ["100", "400", "300", "400", "400", "400"]
