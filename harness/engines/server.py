"""Any number of OpenAI-compatible endpoints that serve one model: vLLM's, SGLang's, a company's.

    service = Service((address("http://one:8000"), address("http://two:8000")))
    run([served_checkpoint("Qwen/Qwen2.5-VL-7B-Instruct", service)], …,
        engine=functools.partial(ServerEngine, service=service))

One queue of questions; each endpoint gets as many at a time as it bears. What fails goes back into
the queue, for whichever endpoint is free first.
"""

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.processes import allow_files
from common.provenance import canonical, digest
from common.text import shown
from harness.checkpoints.kinds import AdaptedModel, Checkpoint, ModelFolder, Served, ServedModel
from harness.engines import Request, rendering
from harness.engines.desk import Desk
from harness.engines.endpoint import Endpoint, Tokens
from harness.engines.pace import MOST, backoff
from harness.engines.reply import Closed, Failed
from harness.runs.schema import Question, Response

TRIES = 3
"""To learn from an endpoint what it serves."""

OTHER_FILES = 256
"""That a process has open beside its connections."""


@dataclass(frozen=True)
class Service:
    """Where a model is served, and how patiently it is asked."""

    addresses: tuple[str, ...]
    """As `connection.address` returns them."""
    key: str = field(default="", repr=False)
    """Of the endpoints; in no record."""
    timeout: float = 1800.0
    """Seconds for one answer."""
    patience: float = 300.0
    """Seconds that an endpoint may fail without one answer before it is given up."""

    def endpoints(self) -> list[Endpoint]:
        """Return the endpoints, none of them connected yet."""
        return [Endpoint(url, self.key, self.timeout) for url in self.addresses]


def served_checkpoint(
    model: str, service: Service, weights: ModelFolder | AdaptedModel | None = None
) -> ServedModel:
    """Name a served model by what its endpoints tell; its weights are out of sight.

    Args:
        model: Its name there.
        service: All endpoints must tell the same of it; one that is down is left to the run.
        weights: The checkpoint that is served, where the user has it at hand and says so.

    Raises:
        UserError: No endpoint answers, one does not serve the model, or they disagree.
    """
    told = asyncio.run(_ask_all(service, lambda endpoint: _served(endpoint, model)))
    served = [found for found in told.values() if isinstance(found, Served)]
    for url, found in told.items():
        if isinstance(found, Closed):
            raise UserError(f"{url}: {found}")
        if isinstance(found, Failed) and served:
            print(f"driftbench: {url} is down ({found}): going on without it", file=sys.stderr)
    if not served:
        raise UserError(f"no endpoint answers: {_listed(told)}")
    if len({canonical(found.identity()) for found in served}) > 1:
        raise UserError(f"the endpoints serve different things as {model}: {_listed(told)}")
    identity = {**served[0].identity(), "weights": weights and weights.fingerprint}
    fingerprint = f"served:{model}:{digest(identity)}"
    return ServedModel(
        name=Path(model).name,
        path=Path(model),
        fingerprint=fingerprint,
        surroundings=fingerprint,
        made=weights.made if weights else None,
        served=served[0],
        weights=weights,
    )


async def _served(endpoint: Endpoint, model: str) -> Served:
    """Return what an endpoint tells of a model; one that lives is asked again, as questions are."""
    for tries in range(1, TRIES):
        try:
            return await endpoint.served(model)
        except Failed as failure:
            if failure.down:
                raise
            await asyncio.sleep(backoff(tries))
    return await endpoint.served(model)


async def _ask_all(
    service: Service, call: Callable[[Endpoint], Coroutine[Any, Any, Served]]
) -> dict[str, Any]:
    """Ask all endpoints one thing at once; return each one's answer or exception."""
    endpoints = service.endpoints()
    try:
        found = await asyncio.gather(*map(call, endpoints), return_exceptions=True)
    finally:
        for endpoint in endpoints:
            await endpoint.close()
    for one in found:
        if isinstance(one, BaseException) and not isinstance(one, Closed | Failed):
            raise one
    return dict(zip(service.addresses, found, strict=True))


def _listed(told: dict[str, Any]) -> str:
    return "; ".join(
        f"{url} {shown(canonical(found.identity())) if isinstance(found, Served) else found}"
        for url, found in told.items()
    )


class ServerEngine:
    """Endpoints that serve one model, of a `served_checkpoint`."""

    name = "server"
    context: int | None = None
    dtype = "unknown"

    def __init__(self, checkpoint: Checkpoint, service: Service) -> None:
        assert isinstance(checkpoint, ServedModel)
        self._service = service
        self._served, self._weights = checkpoint.served, checkpoint.weights
        self._folder = checkpoint.folder
        self._processor: Any = None
        self._endpoints = service.endpoints()
        for endpoint in self._endpoints:
            endpoint.template_args = checkpoint.template_args
        self.version = self._served.software or "unknown"
        self.device = " ".join(service.addresses)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is not known of the answers, so far."""
        place = self._weights and self._weights.path
        taken = f"they are taken to be those of {place}" if place else "only its name is known"
        notes = [f"{self._served.model} is served: its weights could not be verified, {taken}"]
        if self._endpoints[0].template_args and self._folder is None:
            notes.append("whether the server and its chat template heed --template-args is unknown")
        for endpoint in self._endpoints:
            if endpoint.left_out:
                fields = ", ".join(sorted(endpoint.left_out))
                notes.append(f"{endpoint.url} takes no {fields}: its own settings hold there")
            if others := endpoint.names - {self._served.model}:
                notes.append(f"{endpoint.url} says that {', '.join(sorted(others))} answered")
            if reasons := ", ".join(sorted(endpoint.reasons)):
                notes.append(
                    f"{endpoint.url} ended answers for reasons that are not known ({reasons}): "
                    "they are taken as whole, unless they have all the tokens that were asked for"
                )
        return tuple(notes)

    def render(self, question: Question) -> str:
        """Return the prompt, by the chat template of the weights.

        Where they are out of sight, the message: the server makes a prompt of it.
        """
        if self._folder is None:
            return canonical(rendering.content(question))
        if self._processor is None:
            self._processor = rendering.load_processor(self._folder)
        return rendering.render(self._processor, self._folder, question)

    def start(self) -> None:
        """Nothing to load."""

    def generate(self, requests: Iterable[Request]) -> Iterator[Response]:
        """Answer, in the order in which answers finish; see `Engine.generate`.

        The requests are made in a thread of their own: they go on while the caller works.
        """
        if self._folder and self._served.owner == "vllm":
            for endpoint in self._endpoints:
                endpoint.tokens = Tokens(self._processor, self._folder)
        allow_files(OTHER_FILES + MOST * len(self._endpoints))
        desk = Desk(requests, self._served, self._endpoints, self._service.patience)
        thread = threading.Thread(target=desk.run, name="endpoints", daemon=True)
        thread.start()
        try:
            while (found := desk.answers.get()) is not None:
                if isinstance(found, BaseException):
                    raise found
                yield found
        finally:
            desk.stop()
            thread.join()

    def swap(self, checkpoint: Checkpoint) -> None:
        """Go on with another checkpoint: never asked for, each has its own surroundings."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing to free."""
