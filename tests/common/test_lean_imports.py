"""What an import leaves out is gone while it runs, and there again afterwards."""

import gc
import importlib.util
import subprocess
import sys

import pytest

from common.imports import lean

CODE = """
import gc, importlib.util, sys
from common.imports import lean

with lean("wave"):
    assert not gc.isenabled()
    assert importlib.util.find_spec("wave") is None
    try:
        import wave
    except ImportError:
        pass
    else:
        raise SystemExit("imported")
assert gc.isenabled() and gc.get_freeze_count() > 0
import wave
with lean("wave"):
    import wave
print(wave.__name__)
"""


def test_it_looks_absent_in_there_alone_and_what_is_loaded_stays():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout == "wave\n"


def test_a_failing_import_leaves_nothing_hidden():
    frozen = gc.get_freeze_count()
    with pytest.raises(ModuleNotFoundError), lean("nntplib_of_another"):
        import nntplib_of_another  # noqa: F401
    assert "nntplib_of_another" not in sys.modules
    assert importlib.util.find_spec("scipy") is not None
    assert gc.isenabled()
    if not frozen:
        gc.unfreeze()
