"""From the words of a command line to what they choose."""

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from common.errors import UserError

if TYPE_CHECKING:
    from harness.engines import Maker
    from harness.evaluate.config import Shard

TensorParallel = Annotated[int, Option(min=1, help="vLLM: GPUs that share every layer.")]
Context = Annotated[int | None, Option(min=1, help="vLLM: longest prompt and answer together.")]
GpuMemory = Annotated[
    float | None, Option(min=0.01, max=1.0, help="vLLM: share of each GPU's memory.")
]


def chosen_tasks(names: str, protocol: str | None) -> list[Any]:
    """Load the tasks that comma-separated names choose, groups of tasks spelled out.

    Raises:
        UserError: None is named.
        UserError: There is none of a name, or it lacks the protocol.
    """
    import tasks

    wanted = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    if not wanted:
        raise UserError(f"--tasks names none: the tasks are {', '.join(tasks.names())}")
    return [tasks.load(name, protocol) for name in tasks.expand(wanted)]


def chosen_engine(
    engine: str, devices: int, context: int | None, memory: float | None
) -> "str | Maker":
    """Return what `run` takes for an engine: its name, or one with the room it is given.

    Raises:
        UserError: Room is given to another engine than vLLM.
    """
    if engine != "ray" and devices == 1 and context is None and memory is None:
        return engine
    if engine not in ("auto", "vllm", "ray"):
        raise UserError(
            f"--tensor-parallel, --context and --gpu-memory are vLLM's, not those of {engine}"
        )
    from harness.engines.ray import RayEngine
    from harness.engines.vllm import Room, VllmEngine

    kind = RayEngine if engine == "ray" else VllmEngine
    return partial(kind, room=Room(devices, context, memory))


def chosen_shard(text: str | None) -> "Shard | None":
    """Return the part of the questions that `2/4` names.

    Raises:
        UserError: It names none.
    """
    from harness.evaluate.config import Shard

    if text is None:
        return None
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise UserError(f"--shard {text} names no part: the second of four is --shard 2/4")
    return Shard(int(index), int(count))
