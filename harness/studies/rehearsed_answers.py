"""Whether the models of a step can be asked what it asks: context, memory, engine, template."""

from collections.abc import Sequence
from pathlib import Path

from common.errors import UserError
from common.text import gib
from common.typed import read_json
from drift.families import read_config
from harness.studies.rehearsed_models import Model, Models, Words

PROMPT = 512
"""Tokens that an answer must leave for a prompt, at least."""
GREEDY = 0.1
"""Temperature below which sampling is as good as greedy."""
SHARE = 0.9
"""Of a GPU's memory that vLLM takes (0.32, `gpu_memory_utilization`)."""


def look(models: Models, words: Words, places: Sequence[str], memory: int) -> str:
    """Tell what asking models takes, each of them once.

    Args:
        models: Of the study.
        words: Of a step that runs `eval` or `sweep`.
        places: Of its models.
        memory: Bytes of a GPU.

    Raises:
        UserError: One of them cannot be asked.
    """
    import tasks

    found = {(one := models.at(place)).name: one for place in places}
    names = tasks.expand([name.strip() for name in words.one("--tasks").split(",")])
    wanted = [tasks.load(name) for name in names]
    if not words.one("--data") and models.unreached is None:
        for source in (task.source for task in wanted if task.source):
            models.told("@".join(filter(None, (source.repo, source.revision))), "dataset")
    longest = int(words.one("--max-tokens") or max(task.max_tokens for task in wanted))
    return "; ".join(_asked(models, one, words, longest, memory) for one in found.values())


def _asked(models: Models, model: Model, words: Words, longest: int, memory: int) -> str:
    from harness.checkpoints.preflight import declared_dtype
    from harness.engines import rendering

    live = models.live(model)
    language = live.config.get_text_config()
    room = rendering.context(language)
    room = min(room, int(words.one("--context", str(room))))
    if longest + PROMPT > room:
        raise UserError(
            f"{model.name} has room for {room:,} tokens, and answers of up to {longest:,} leave "
            f"{max(0, room - longest):,} for the prompt: lower --max-tokens"
        )
    size = 4 if declared_dtype(read_config(model.folder)) == "float32" else 2
    held = size * sum(one.numel() for one in live.parameters())
    held += rendering.cache_bytes(language, size) * room
    if held > SHARE * memory:
        raise UserError(
            f"{model.name} takes {gib(held)} with one context of {room:,} tokens, and a GPU has "
            f"{gib(memory)}: add --tensor-parallel, or lower --context"
        )
    said = [_engine(type(live).__name__), f"{gib(held)} a GPU", _prompted(model, words)]
    return f"{model.short}: {', '.join([*said, *_advised(model, words)])}"


def _engine(architecture: str) -> str:
    from harness.engines import vllm

    found = vllm.installed()
    if found is None:
        return "vLLM is not installed, transformers answers"
    version = found[0].partition("+")[0]
    if vllm.knows(architecture):
        return f"{architecture} is in vLLM {version}"
    return f"{architecture} is not in vLLM {version}, transformers answers"


def _prompted(model: Model, words: Words) -> str:
    """Render a question with a model's template; of one without papers, tell what is known."""
    from drift import chat_template
    from harness.checkpoints import preflight
    from harness.engines import rendering
    from harness.runs.schema import Image, Question

    given = words.one("--chat-template")
    template = chat_template.given(Path(given)) if given else None
    if model.bundled:
        if not (template or model.bundled.has_template):
            raise UserError(
                f"{model.name} has no chat template, without which it cannot be asked: give "
                "--chat-template FILE"
            )
        return "the step's chat template" if template else "chat template not at hand"
    with model.named():
        found = preflight.look(model.folder, model.name, template)
        processor = rendering.load_processor(found)
        images = (Image("rehearsal.png", "", b""),) if found.is_multimodal else ()
        prompt = rendering.MARK * len(images) + rendering.SAMPLE
        question = Question(task="rehearsal", id="1", prompt=prompt, images=images)
        rendering.render(processor, found, question)
    whose = "the step's" if template else "its"
    return f"{whose} chat template renders a question"


def _advised(model: Model, words: Words) -> list[str]:
    """Tell where a model advises sampling and is asked greedily."""
    path = model.folder / "generation_config.json"
    advised = read_json(path) if path.is_file() else {}
    temperature = float(advised.get("temperature") or 0)
    if (
        advised.get("do_sample")
        and temperature > GREEDY
        and not float(words.one("--temperature", "0"))
    ):
        return [f"asked greedily, though it advises a temperature of {temperature:g}"]
    return []
