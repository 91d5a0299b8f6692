"""One OpenAI-compatible endpoint: what it serves, and one question put to it.

The words are those of OpenAI's chat completions; what vLLM and SGLang know beyond them is sent too,
and left out for an endpoint that refuses it. Nothing is tried twice here: see `desk.py`.
"""

import difflib
import re
import time
from dataclasses import dataclass
from typing import Any

from harness.checkpoints.kinds import ModelFolder, Served
from harness.engines import Request, rendering, reply
from harness.engines.connection import REPLY_BYTES, Connection
from harness.engines.message import content
from harness.engines.reply import Closed, Failed, Refused, Unreadable
from harness.runs.schema import Response

NEUTRAL = {"top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
"""Sent so that the sampling defaults of the checkpoint's generation config, which vLLM and SGLang
apply, do not come in; left out where an endpoint refuses them."""

ASKED = {"presence_penalty": "presence-penalty", "chat_template_kwargs": "template-args"}
"""Sent only where the user asks for it → by which option."""

BEYOND = ("context length", "max_model_len")
"""Said of a request that is too long, by vLLM, SGLang and OpenAI."""

TOKEN_BYTES = 256
"""That a reply may take for each token of its answer: its text, escaped, twice, and its number."""

MOST_NAMES = 5
"""Of who answered, and of why, that are noted."""


@dataclass(frozen=True)
class Tokens:
    """How a checkpoint makes tokens of text and text of tokens."""

    processor: Any
    folder: ModelFolder

    def special(self, prompt: str) -> bool:
        """Whether the tokenizer adds the beginning token, where the template does not write it.

        vLLM's server leaves it away unless it is told to add it.
        """
        return rendering.adds_special_tokens(self.processor, self.folder, prompt)

    def text(self, ids: list[int]) -> str:
        """Decode an answer in one piece; piece by piece, a server may lead with a blank.

        Raises:
            Unreadable: They are of another tokenizer.
        """
        tokenizer = getattr(self.processor, "tokenizer", self.processor)
        try:
            return tokenizer.decode(ids, skip_special_tokens=True)
        except (IndexError, OverflowError, TypeError, ValueError):
            raise Unreadable("its token ids are none of the checkpoint's tokenizer") from None


class Endpoint:
    """A connection to one address, and the dialect that is spoken there."""

    def __init__(self, url: str, key: str, timeout: float) -> None:
        """Connect to nothing yet.

        Args:
            url: As `connection.address` returns it.
            key: Sent with each request, kept out of all that is said about them; may be empty.
            timeout: Seconds for one answer.
        """
        self.tokens: Tokens | None = None
        """To be set where the endpoint is vLLM's and serves a checkpoint that is at hand."""
        self.template_args: dict[str, Any] = {}
        """What the chat template there is to be told."""
        self.url = url
        self.left_out: set[str] = set()
        """Fields of a request that this endpoint refuses."""
        self.names: set[str] = set()
        """Under which it says that it answered."""
        self.reasons: set[str] = set()
        """For which it says that answers ended, in words that are not known."""
        self._bound = "max_tokens"
        self._timeout = timeout
        self._connection = Connection(url, key)

    async def close(self) -> None:
        """Close the connections; the next request opens others."""
        await self._connection.close()

    # What it is

    async def listed(self) -> list[Served]:
        """Return what is served here, its software left open; see `models`."""
        try:
            return reply.models(await self._connection.send("GET", f"{self.url}/models"))
        except (Refused, Unreadable):
            return []
        except Closed as closed:
            if closed.status in (403, 404, 405):  # it may answer questions all the same
                return []
            raise

    async def models(self) -> list[Served]:
        """Return what is served here; empty where the endpoint keeps no list that can be read.

        Raises:
            Failed, Closed: It did not tell.
        """
        listed = await self.listed()
        owners = {served.owner for served in listed}
        software = {owner: await self._software(owner) for owner in owners}
        kept = self._connection.kept
        return [
            Served(
                model=served.model,
                root=served.root and kept(served.root),
                owner=kept(served.owner),
                software=kept(software[served.owner]),
                context=served.context,
            )
            for served in listed
        ]

    async def served(self, model: str) -> Served:
        """Return what is told of one model.

        Raises:
            Failed: It did not tell.
            Closed: It does not serve it.
        """
        found = {served.model: served for served in await self.models()}
        if found and model not in found:
            close = difflib.get_close_matches(model, found, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            names = self._connection.hidden(f"{hint}it serves {', '.join(sorted(found))}")
            raise Closed(f"it does not serve {model}: {names}")
        return found.get(model, Served(model=model))

    async def _software(self, owner: str) -> str:
        """Ask vLLM or SGLang for its version, which it may keep to itself.

        Raises:
            Failed: It did not tell this time: the same model would go by another name.
        """
        paths = {"vllm": "version", "sglang": "get_server_info"}
        if owner not in paths:
            return ""
        root = self.url.removesuffix("/v1")
        try:
            told = await self._connection.send("GET", f"{root}/{paths[owner]}")
        except Failed as failure:
            if failure.crowded or failure.down:
                raise
            return owner  # no word of waiting: that page is broken
        except (Refused, Closed, Unreadable):
            return owner
        version = told.get("version") if isinstance(told, dict) else None
        return f"{owner} {version}" if isinstance(version, str) else owner

    # One question

    async def answer(self, request: Request, model: str) -> Response:
        """Put one question; return its answer.

        Raises:
            Refused: The endpoint will not answer this question.
            Closed: It will not answer any.
            Failed: It did not answer this time.
        """
        began = time.monotonic()
        messages = [{"role": "user", "content": content(request)}]
        body = {"model": model, "messages": messages, **self._settings(request)}
        while True:
            try:
                told = await self._connection.send(
                    "POST",
                    f"{self.url}/chat/completions",
                    timeout=self._timeout,
                    body=body,
                    most=REPLY_BYTES + TOKEN_BYTES * request.sampling.max_tokens,
                )
                break
            except Refused as refused:
                if not self._adapt(str(refused), body):
                    raise
        return self._response(request, told, time.monotonic() - began)

    def _settings(self, request: Request) -> dict[str, Any]:
        sampling = request.sampling
        settings: dict[str, Any] = {
            **NEUTRAL,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k or -1,
            self._bound: sampling.max_tokens,
        }
        if sampling.temperature > 0:
            settings["seed"] = request.seed
        if sampling.stop:
            settings["stop"] = list(sampling.stop)
        if sampling.presence_penalty:
            settings["presence_penalty"] = sampling.presence_penalty
        if self.template_args:
            settings["chat_template_kwargs"] = self.template_args
        if self.tokens:
            settings["add_special_tokens"] = self.tokens.special(request.prompt)
            settings["return_token_ids"] = True
        return {name: value for name, value in settings.items() if name not in self.left_out}

    def _adapt(self, words: str, body: dict[str, Any]) -> bool:
        """Change a refused request to what the endpoint takes and means the same, if it can be."""
        if "max_completion_tokens" in words and "max_tokens" in body:
            self._bound = "max_completion_tokens"
            body[self._bound] = body.pop("max_tokens")
            return True
        if any(mark in words for mark in BEYOND) and self._bound in body:
            # The bound alone, or with the prompt: without it, the answer ends at the context.
            del body[self._bound]
            return True
        for name, flag in ASKED.items():
            if name in body and _names(words, name):
                raise Closed(f"it takes no {name}: leave --{flag} out ({words})")
        named = {name for name in (*NEUTRAL, "seed") if _names(words, name)} & body.keys()
        for name in named & NEUTRAL.keys():
            if body[name] != NEUTRAL[name]:
                flag = name.replace("_", "-")
                raise Closed(f"it takes no {name}: leave --{flag} out ({words})")
        self.left_out |= named
        for name in named:
            del body[name]
        return bool(named)

    def _response(self, request: Request, told: Any, seconds: float) -> Response:
        hidden = self._connection.hidden
        try:
            answer = reply.answer(told, request.sampling.max_tokens)
        except Unreadable as trouble:
            raise Unreadable(hidden(str(trouble))) from None
        text = answer.text
        if self.tokens and answer.ids and not request.sampling.stop:
            text = self.tokens.text(answer.ids)
        _note(self.names, hidden(answer.model))
        _note(self.reasons, hidden(answer.reason))
        return Response(
            key=request.key,
            task=request.question.task,
            id=request.question.id,
            sample=request.sample,
            text=self._connection.kept(text),
            finish=answer.finish,
            tokens_in=answer.tokens_in,
            tokens_image=answer.tokens_image,
            tokens_out=answer.tokens_out,
            seconds=round(seconds, 4),
        )


def _note(noted: set[str], word: str) -> None:
    if word and len(noted) < MOST_NAMES:
        noted.add(word)


def _names(words: str, field: str) -> bool:
    return re.search(rf"(?<![a-z_]){field}(?![a-z_])", words) is not None
