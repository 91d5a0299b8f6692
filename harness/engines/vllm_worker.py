"""What runs inside vLLM's workers. vLLM finds it by name (`worker_extension_cls`)."""

from typing import Any


class Pour:
    """New weights into a running engine; added to the bases of vLLM's worker class."""

    def pour_weights(self: Any, path: str) -> None:
        """Replace the weights in place by those of the checkpoint folder `path`."""
        from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead
        from vllm.platforms import current_platform

        self.reload_weights(weights_path=path)
        if current_platform.is_cpu():
            # The CPU's repacked head is a copy; tied to the embedding, it would stay the old one.
            for module in self.get_model().modules():
                if isinstance(module, ParallelLMHead):
                    module.quant_method.process_weights_after_loading(module)
