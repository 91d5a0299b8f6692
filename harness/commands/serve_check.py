"""Models behind endpoints: reached for `driftbench eval`, examined by `driftbench serve-check`."""

import functools
import io
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from common.errors import UserError
from common.progress import working
from common.terminal import print_table

if TYPE_CHECKING:
    from harness.checkpoints.kinds import Checkpoint, Served
    from harness.engines import Maker, Request
    from harness.engines.endpoint import Endpoint
    from harness.runs.schema import Response, Sampling

TOGETHER = 16
"""Questions at a time, to see whether an endpoint bears several."""

ANSWER_SECONDS = 300.0
"""For one short answer."""

COLOURS = ("red", "blue")
SIDE = 112
"""Of a picture, in pixels."""


def at_endpoints(
    models: Sequence[str],
    urls: Sequence[str],
    key_env: str | None,
    checkpoint: Path | None,
    timeout: float,
) -> "tuple[list[Checkpoint], Maker]":
    """Find models at endpoints.

    Args:
        models: Their names there.
        urls: Addresses, each perhaps several with commas between.
        key_env: Environment variable that holds the key.
        checkpoint: The weights that are served, if they are at hand.
        timeout: Seconds for one answer.

    Returns:
        The models as checkpoints, and what makes an engine of one.

    Raises:
        UserError: An address or the key is none, or the models are not served there.
    """
    from harness.checkpoints.preflight import open_checkpoint
    from harness.engines.connection import address
    from harness.engines.server import ServerEngine, Service, served_checkpoint

    wanted = [address(url) for part in urls for url in part.split(",") if url.strip()]
    if not wanted:
        raise UserError("the engine server asks endpoints: give --endpoint http://HOST:PORT/v1")
    if checkpoint and len(models) > 1:
        raise UserError("--checkpoint says what one served model is: evaluate the others without")
    service = Service(tuple(dict.fromkeys(wanted)), _key(key_env), timeout)
    known = open_checkpoint(checkpoint) if checkpoint else None
    found: list[Checkpoint] = [served_checkpoint(model, service, known) for model in models]
    return found, functools.partial(ServerEngine, service=service)


def _key(variable: str | None) -> str:
    """Read a key from the environment, the only place where it is ever looked for."""
    if variable is None:
        return ""
    if not (key := os.environ.get(variable, "").strip()):
        raise UserError(f"the environment variable {variable} that --key-env names is not set")
    if not (key.isascii() and key.isprintable()):
        raise UserError(f"the environment variable {variable} holds signs that no key has")
    return key


# What an endpoint can do


def serve_check(
    url: Annotated[str, Argument(metavar="URL", help="Such as http://localhost:8000/v1.")],
    model: Annotated[str | None, Option(help="Default: the first that is served.")] = None,
    key_env: Annotated[
        str | None, Option(metavar="NAME", help="Environment variable with the endpoint's key.")
    ] = None,
) -> None:
    """Tell what an OpenAI-compatible endpoint can do.

    The exit status is 0 if it can be evaluated with pictures, else 2.
    """
    import asyncio

    from harness.engines.connection import address

    with working(f"asking {url}") as say:
        findings = asyncio.run(_examine(address(url), model, _key(key_env), say))
    _print(findings)
    if any(finding.needed and not finding.able for finding in findings):
        raise typer.Exit(2)


@dataclass(frozen=True)
class Finding:
    """One line of the table."""

    what: str
    able: bool
    detail: str
    needed: bool = False
    """Without it, `eval` cannot use the endpoint."""


async def _examine(
    url: str, model: str | None, key: str, say: Callable[[str], None]
) -> list[Finding]:
    from harness.engines.endpoint import Endpoint
    from harness.engines.reply import Closed, Failed

    endpoint = Endpoint(url, key, ANSWER_SECONDS)
    try:
        listed = await endpoint.models()
        if model is None and not listed:
            raise UserError(f"{url} keeps no list of its models: name one with --model")
        served = await endpoint.served(model or listed[0].model)
        examiner = _Examiner(endpoint, served.model)
        return [*_told(listed, served), *await examiner.findings(say)]
    except (Failed, Closed) as trouble:
        raise UserError(f"{url} cannot be examined: {trouble}") from None
    finally:
        await endpoint.close()


def _told(listed: "list[Served]", served: "Served") -> list[Finding]:
    names = ", ".join(found.model for found in listed) or "no list"
    context = f"{served.context} tokens" if served.context else "not told"
    return [
        Finding("models", bool(listed), names),
        Finding("examined", True, served.model),
        Finding("software", bool(served.software), served.software or "not told"),
        Finding("context", served.context is not None, context),
    ]


class _Examiner:
    """Puts questions to one model of one endpoint."""

    def __init__(self, endpoint: "Endpoint", model: str) -> None:
        self._endpoint, self._model = endpoint, model

    async def findings(self, say: Callable[[str], None]) -> list[Finding]:
        checks: list[tuple[str, bool, Callable[[], Awaitable[tuple[bool, str]]]]] = [
            ("text", True, self._text),
            ("one picture", True, self._picture),
            ("pictures between texts", False, self._pictures),
            ("bound of tokens", True, self._bound),
            ("greedy answers repeat", False, self._greedy),
            ("a seed repeats", False, self._seed),
            ("top_k", False, self._top_k),
            (f"{TOGETHER} questions at once", False, self._together),
        ]
        found: list[Finding] = []
        for what, needed, check in checks:
            say(f"{self._endpoint.url}: {what}, {len(found) + 1} of {len(checks)}")
            found.append(await self._check(what, needed, check))
        return found

    async def _check(
        self, what: str, needed: bool, check: Callable[[], Awaitable[tuple[bool, str]]]
    ) -> Finding:
        from harness.engines.reply import Closed, Failed, Refused

        try:
            able, detail = await check()
        except (Failed, Closed, Refused) as trouble:
            able, detail = False, str(trouble)
        return Finding(what, able, detail, needed)

    async def _request(
        self, prompt: str, pictures: int = 0, sample: int = 0, **sampling: float
    ) -> "Response":
        from harness.runs.schema import Sampling

        request = _request(prompt, pictures, sample, Sampling(**{"max_tokens": 32, **sampling}))  # type: ignore[arg-type]
        return await self._endpoint.answer(request, self._model)

    async def _text(self) -> tuple[bool, str]:
        return True, _shown(await self._request("What is 2 + 3? Answer with the number."))

    async def _picture(self) -> tuple[bool, str]:
        without = await self._request("Which colour is this?", max_tokens=1)
        shown = await self._request("<image>Which colour is this?", 1)
        if shown.tokens_in and shown.tokens_in <= without.tokens_in:
            return False, f"the picture is ignored: the prompt has {shown.tokens_in} tokens with it"
        return True, f"{COLOURS[0]}: {_shown(shown)}"

    async def _pictures(self) -> tuple[bool, str]:
        one = await self._request("First: <image> Then:  Which colours?", 1, max_tokens=1)
        two = await self._request("First: <image> Then: <image> Which colours?", 2)
        if two.tokens_in and two.tokens_in <= one.tokens_in:
            return False, f"the second is ignored: the prompt has {two.tokens_in} tokens with it"
        return True, f"{' and '.join(COLOURS)}: {_shown(two)}"

    async def _bound(self) -> tuple[bool, str]:
        found = await self._request("Count from 1 to 100.", max_tokens=4)
        kept = found.tokens_out <= 4 and (found.finish == "length" or found.tokens_out < 4)
        return kept, f"{found.tokens_out} tokens of at most 4, ended by {found.finish}"

    async def _greedy(self) -> tuple[bool, str]:
        texts = {(await self._request("Tell a short story.")).text for _ in range(3)}
        return len(texts) == 1, f"{len(texts)} different in 3"

    async def _seed(self) -> tuple[bool, str]:
        drawn = [
            await self._request("Tell a short story.", sample=sample, temperature=1.0)
            for sample in (0, 0, 1)
        ]
        if "seed" in self._endpoint.left_out:
            return False, "it takes no seed"
        same, other = drawn[0].text == drawn[1].text, drawn[0].text != drawn[2].text
        unlike = "other seeds differ" if other else "but another seed gives the same too"
        return same and other, unlike if same else "the same seed gives two different answers"

    async def _top_k(self) -> tuple[bool, str]:
        greedy = await self._request("Tell a short story.")
        drawn = await self._request("Tell a short story.", temperature=1.0, top_k=1)
        same = drawn.text == greedy.text
        return same, "the one best token is the greedy answer" if same else "taken, without effect"

    async def _together(self) -> tuple[bool, str]:
        import asyncio

        from harness.engines.reply import Closed, Failed, Refused

        began = time.monotonic()
        await self._request("What is 1 + 1?", max_tokens=8)
        alone = time.monotonic() - began
        requests = [
            self._request(f"What is {number} + {number}?", max_tokens=8)
            for number in range(TOGETHER)
        ]
        found = await asyncio.gather(*requests, return_exceptions=True)
        together = time.monotonic() - began - alone
        troubles = [one for one in found if isinstance(one, Failed | Closed | Refused)]
        answered = TOGETHER - len(troubles)
        times = f"{answered} answered in {together:.1f} s, one alone in {alone:.1f} s"
        return not troubles, f"{times}: {troubles[0]}" if troubles else times


def _request(prompt: str, pictures: int, sample: int, sampling: "Sampling") -> "Request":
    from harness.engines import Request
    from harness.runs.schema import Image, Question

    images = tuple(Image("", ".png", _square(colour)) for colour in COLOURS[:pictures])
    return Request(
        question=Question(task="check", id="", prompt=prompt, images=images),
        sampling=sampling,
        sample=sample,
    )


def _square(colour: str) -> bytes:
    from PIL import Image as Pillow

    file = io.BytesIO()
    Pillow.new("RGB", (SIDE, SIDE), colour).save(file, "PNG")
    return file.getvalue()


def _shown(response: "Response") -> str:
    """Quote the beginning of what a model said, harmless to a terminal."""
    text = response.text
    return ascii(text if len(text) <= 60 else f"{text[:60]}...")


def _print(findings: list[Finding]) -> None:
    words = [("yes" if one.able else "NO" if one.needed else "no") for one in findings]
    rows = [(one.what, word, one.detail) for one, word in zip(findings, words, strict=True)]
    print_table(("what", "", "detail"), rows, "lll", 400)  # nothing is cut off in a file
