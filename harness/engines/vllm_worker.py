"""What runs inside vLLM's workers. vLLM finds it by name (`worker_extension_cls`)."""

import json
import subprocess
from collections.abc import Iterator
from math import prod
from typing import Any


class Pour:
    """New weights into a running engine; added to the bases of vLLM's worker class."""

    def pour_weights(self: Any, path: str) -> None:
        """Replace the weights in place by those of the checkpoint folder `path`."""
        self.reload_weights(weights_path=path)
        _repack_head(self.get_model())

    def pour_merge(self: Any, command: list[str], alpha: float) -> None:
        """Replace the decoder's weights in place by a merge.

        Args:
            command: Starts the process that pours merges, as drift/pour.py describes it; it is
                kept for the next one.
            alpha: Which merge is asked of it.

        Raises:
            RuntimeError: The process ended, with what it said.
        """
        source = getattr(self, "_merges", None)
        if source is None or source.args != command or source.poll() is not None:
            self.end_merges()
            source = self._merges = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        self.reload_weights(weights_iterator=_merge(source, alpha))
        _repack_head(self.get_model())

    def unused_of_adapter(self: Any, number: int) -> list[str]:
        """Return the matrices of a LoRA adapter that no layer of the model takes.

        vLLM passes over them in silence (0.32, `LoRAModelManager.activate_adapter`).
        """
        manager = self.model_runner.lora_manager._adapter_manager
        adapted = manager.list_adapters()[number].loras
        return [name for name in adapted if name not in manager.modules]

    def end_merges(self: Any) -> None:
        """End the process that pours merges, if there is one."""
        if source := getattr(self, "_merges", None):
            with source:
                self._merges = None


def _merge(source: "subprocess.Popen[bytes]", alpha: float) -> Iterator[tuple[str, Any]]:
    import torch

    assert source.stdin and source.stdout
    source.stdin.write(json.dumps({"alpha": alpha}).encode() + b"\n")
    source.stdin.flush()
    for _ in range(json.loads(_read_line(source))["tensors"]):
        head = json.loads(_read_line(source))
        kind = getattr(torch, head["dtype"])
        room = bytearray(kind.itemsize * prod(head["shape"]))
        if source.stdout.readinto(room) != len(room):  # type: ignore[attr-defined]
            raise RuntimeError(f"{head['name']} was cut off: {_last_words(source)}")
        yield head["name"], torch.frombuffer(room, dtype=kind).view(head["shape"])


def _read_line(source: "subprocess.Popen[bytes]") -> bytes:
    assert source.stdout
    line = source.stdout.readline()
    if not line:
        raise RuntimeError(_last_words(source))
    return line


def _last_words(source: "subprocess.Popen[bytes]") -> str:
    _, said = source.communicate()
    lines = said.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"exit status {source.returncode}"


def _repack_head(model: Any) -> None:
    """Refresh the CPU's repacked head: tied to the embedding, it would stay the old one."""
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        for module in model.modules():
            if isinstance(module, ParallelLMHead):
                module.quant_method.process_weights_after_loading(module)
