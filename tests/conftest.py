"""Before any test imports transformers or vLLM."""

from common import torch_guard

torch_guard.install()
