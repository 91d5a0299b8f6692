"""Keep a CUDA build of torchvision, torchaudio or torchcodec from breaking a CPU build of torch.

The package registry has no CPU build of these three. Beside a CPU torch their compiled parts do not
load: `import torchvision` then stops at "operator torchvision::nms does not exist", and with it
transformers' VLM classes and vLLM. Missing are two operator *declarations*, no code that a VLM's
processor runs. Whoever imports transformers' VLM classes, vLLM or torchvision here calls `install`
first. Where torchvision is sound nothing is changed, but for one thing: transformers is kept from
importing scikit-learn, which lm-eval brings.
"""

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

META = "torchvision._meta_registrations"
BROKEN_BESIDE_CPU_TORCH = ("torchaudio", "torchcodec")


def install() -> None:
    """Import torch, and keep what does not fit it from breaking; a second call changes nothing."""
    import torch

    if getattr(getattr(torch, "version", None), "cuda", None) is None:
        _guard()
    _leave_sklearn_out()


def _guard() -> None:
    for name in BROKEN_BESIDE_CPU_TORCH:
        # None makes `import name` an ImportError, which importers of optional parts expect.
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
        _forget(name)
    if META not in sys.modules and not any(isinstance(f, _Finder) for f in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _leave_sklearn_out() -> None:
    """Save a third of importing a VLM's classes.

    transformers@5.19.0:src/transformers/generation/candidate_generator.py takes one function of it,
    for assisted generation, which nothing here asks for.
    """
    from transformers import utils

    utils.is_sklearn_available = utils.import_utils.is_sklearn_available = lambda: False


def _forget(name: str) -> None:
    """Let transformers look again: imported before torch, it may have found the package already."""
    transformers = sys.modules.get("transformers.utils.import_utils")
    available = getattr(transformers, f"is_{name}_available", None)
    if available is not None and hasattr(available, "cache_clear"):
        available.cache_clear()


class _Finder(MetaPathFinder):
    """Finds one module, `torchvision._meta_registrations`, and declares the operators before it."""

    def find_spec(self, name, path=None, target=None) -> ModuleSpec | None:
        if name != META:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            spec.loader = _DeclareFirst(spec.loader)
        return spec


class _DeclareFirst(Loader):
    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        _declare_missing_ops()
        self.loader.exec_module(module)


def _declare_missing_ops() -> None:
    """Declare `nms` and `qnms`, as torchvision's compiled library would have done."""
    import torch

    if sys.modules["torchvision.extension"]._has_ops():
        return
    signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    for name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{name}", signature)
