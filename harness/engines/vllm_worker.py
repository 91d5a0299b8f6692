"""What runs inside vLLM's workers. vLLM finds it by name (`worker_extension_cls`)."""

from typing import Any


class Weights:
    """Loads other weights into a running engine; added to the bases of vLLM's worker class.

    What calls these from another process can hand over plain values only.
    """

    def load_folder(self: Any, path: str) -> None:
        """Replace the weights in place by those of the checkpoint folder `path`."""
        self.reload_weights(weights_path=path)
        _repack_head(self.get_model())

    def load_merge(
        self: Any, vlm: str, llm: str, base: str | None, recipe: dict[str, Any]
    ) -> dict[str, float]:
        """Replace the weights in place by a merge, tensor by tensor as it is computed.

        Args:
            vlm: Folder of the VLM.
            llm: Folder of what is merged into it.
            base: Folder of the model that both came from, for the methods that need it.
            recipe: Fields of a `drift.merge_methods.Recipe`.

        Returns:
            How far the merge went: see `drift.merge.Reached`.
        """
        from drift import merge
        from drift.merge_methods import Recipe

        how, reached = Recipe(**recipe), merge.Reached()
        models = merge.open_models(vlm, llm, [how], base)
        self.reload_weights(weights_iterator=merge.tensors(models, how, reached))
        _repack_head(self.get_model())
        return reached.record()

    def unused_of_adapter(self: Any, number: int) -> list[str]:
        """Return the matrices of a LoRA adapter that no layer of the model takes.

        vLLM passes over them in silence (0.32, `LoRAModelManager.activate_adapter`).
        """
        manager = self.model_runner.lora_manager._adapter_manager
        adapted = manager.list_adapters()[number].loras
        return [name for name in adapted if name not in manager.modules]


def _repack_head(model: Any) -> None:
    """Refresh the CPU's repacked head: tied to the embedding, it would stay the old one."""
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        for module in model.modules():
            if isinstance(module, ParallelLMHead):
                module.quant_method.process_weights_after_loading(module)
