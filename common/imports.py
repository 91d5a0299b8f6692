"""Imports of what is heavy, without what it imports beside and nothing here uses.

transformers takes up other libraries wherever it finds them, such as scikit-learn for one curve of
assisted generation: a third of the processor time of its import, and of most short commands.
"""

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

UNUSED = ("sklearn", "scipy")
"""By training, answering, and everything that they import."""


@contextmanager
def lean(*unused: str) -> Iterator[None]:
    """Import in here without some libraries; what was imported is then left alone by the collector.

    Libraries that are loaded already stay, and all can be imported again afterwards. What found
    that one is absent may remember it, so this is for commands, not for what others import.

    Args:
        *unused: Top-level modules, beside `UNUSED`, that look absent in here.
    """
    hidden = [name for name in (*UNUSED, *unused) if name not in sys.modules]
    was = gc.isenabled()
    gc.disable()  # a quarter of an import is the search for garbage among what stays
    # None makes `import name` an ImportError, and `find_spec` find nothing.
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            if sys.modules.get(name, name) is None:
                del sys.modules[name]
        gc.freeze()
        atexit.register(gc.unfreeze)  # or at the end some report what they think leaked
        if was:
            gc.enable()
