"""One OpenAI-compatible endpoint: what it serves, and one question put to it.

The words are those of OpenAI's chat completions; what vLLM and SGLang know beyond them is sent too,
and left out for an endpoint that refuses it. Nothing is tried twice here: see `server.py`.
"""

import base64
import difflib
import email.utils
import io
import json
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from common.errors import UserError
from common.pictures import is_plain
from harness.checkpoints.kinds import ModelFolder, Served
from harness.engines import Request, rendering, said
from harness.engines.pictures import decoded_image
from harness.runs.schema import Finish, Image, Response

if TYPE_CHECKING:
    import aiohttp

CONNECT_SECONDS = 10.0
"""For a connection, and for what an endpoint tells of itself."""

NEUTRAL = {"top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
"""Sent so that the sampling defaults of the checkpoint's generation config, which vLLM and SGLang
apply, do not come in; left out where an endpoint refuses them."""

FINISHES: dict[str, Finish] = {"stop": "stop", "eos_token": "stop", "length": "length"}

REFUSED = (400, 413, 415, 422)
"""Statuses that are about this one question."""
BEYOND = ("context length", "max_model_len")
"""Said of a request that is too long, by vLLM, SGLang and OpenAI."""
LATER = (408, 409, 425, 429)
"""Statuses that, as those from 500 on, may pass. All others are about the endpoint: no key, no
money, no such model."""

KEEP_SECONDS = 3.0
"""For which an idle connection is used again; vLLM closes it after 5, just as a question comes."""

AS_THEY_ARE = {"PNG": "png", "JPEG": "jpeg", "WEBP": "webp"}
"""Formats that every endpoint with pictures takes."""


class Refused(Exception):
    """This question is not answered, whoever asks again."""


class Closed(Exception):
    """No question is answered here."""

    def __init__(self, words: str, status: int = 0) -> None:
        super().__init__(words)
        self.status = status


class Failed(Exception):
    """No answer this time.

    Attributes:
        wait: Seconds that the endpoint asks to be left alone, or None.
        down: It does not even take the connection, or drops it.
        counted: It may be the question's fault.
    """

    def __init__(
        self, words: str, wait: float | None = None, down: bool = False, counted: bool = True
    ) -> None:
        super().__init__(words)
        self.wait, self.down, self.counted = wait, down, counted


def address(url: str) -> str:
    """Return the base address of an endpoint, `http://host:8000/v1`.

    Raises:
        UserError: It is no address, or one that holds a secret.
    """
    parts = urlsplit(url.strip().removesuffix("/").removesuffix("/chat/completions"))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"{url!r} is no endpoint: give its address as http://HOST:PORT/v1")
    if parts.username or parts.query:
        raise UserError(
            f"the endpoint at {parts.hostname} is given with a password or a query, which would be "
            "recorded: give the address alone, and the key with --key-env"
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path or '/v1'}"


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
        """Decode an answer in one piece; piece by piece, a server may lead with a blank."""
        tokenizer = getattr(self.processor, "tokenizer", self.processor)
        return tokenizer.decode(ids, skip_special_tokens=True)


class Endpoint:
    """A connection pool to one address, and the dialect that is spoken there."""

    def __init__(self, url: str, key: str, timeout: float) -> None:
        """Connect to nothing yet.

        Args:
            url: As `address` returns it.
            key: Sent with each request, kept out of all that is said about them; may be empty.
            timeout: Seconds for one answer.
        """
        self.tokens: Tokens | None = None
        """To be set where the endpoint is vLLM's and serves a checkpoint that is at hand."""
        self.url = url
        self.left_out: set[str] = set()
        """Fields of a request that this endpoint refuses."""
        self.names: set[str] = set()
        """Under which it says that it answered."""
        self._key = key
        self._bound = "max_tokens"
        self._timeout = timeout
        self._opened: aiohttp.ClientSession | None = None

    def _session(self) -> "aiohttp.ClientSession":
        """Return the connections, which belong to the event loop of the first request."""
        if self._opened is None:
            import aiohttp

            self._opened = aiohttp.ClientSession(
                headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_SECONDS),
                trust_env=True,  # for a proxy
            )
        return self._opened

    async def close(self) -> None:
        """Close the connections; the next request opens others."""
        if self._opened:
            await self._opened.close()
        self._opened = None

    # What it is

    async def models(self) -> list[Served]:
        """Return what is served here; empty where the endpoint keeps no list.

        Raises:
            Failed, Closed: It did not tell.
        """
        try:
            listed = await self._send("GET", f"{self.url}/models", CONNECT_SECONDS)
            cards = [card for card in listed["data"] if isinstance(card["id"], str)]
        except Refused as refused:
            raise Failed(str(refused)) from None
        except Closed as closed:
            if closed.status in (404, 405):
                return []
            raise
        except (LookupError, TypeError):
            raise Failed("its list of models is none") from None
        software = {owner: await self._software(owner) for owner in {*map(_owner, cards)}}
        return [
            Served(
                model=card["id"],
                root=card.get("root"),
                owner=_owner(card),
                software=software[_owner(card)],
                context=card.get("max_model_len"),
            )
            for card in cards
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
            raise Closed(f"it does not serve {model}: {hint}it serves {', '.join(sorted(found))}")
        return found.get(model, Served(model=model))

    async def _software(self, owner: str) -> str:
        """Ask vLLM or SGLang for its version."""
        paths = {"vllm": "version", "sglang": "get_server_info"}
        if owner not in paths:
            return ""
        root = self.url.removesuffix("/v1")
        try:
            told = await self._send("GET", f"{root}/{paths[owner]}", CONNECT_SECONDS)
            return f"{owner} {told['version']}"
        except (Failed, Refused, Closed, LookupError, TypeError):
            return owner

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
                reply = await self._send(
                    "POST", f"{self.url}/chat/completions", self._timeout, body
                )
                break
            except Refused as refused:
                if not self._adapt(str(refused), body, request):
                    raise
        return self._response(request, reply, time.monotonic() - began)

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
        if self.tokens:
            settings["add_special_tokens"] = self.tokens.special(request.prompt)
            settings["return_token_ids"] = True
        return {name: value for name, value in settings.items() if name not in self.left_out}

    def _adapt(self, words: str, body: dict[str, Any], request: Request) -> bool:
        """Change a refused request to what the endpoint takes and means the same, if it can be."""
        if "max_completion_tokens" in words and "max_tokens" in body:
            self._bound = "max_completion_tokens"
            body[self._bound] = body.pop("max_tokens")
            return True
        if any(mark in words for mark in BEYOND) and self._bound in body:
            # The bound alone, or with the prompt: without it, the answer ends at the context.
            del body[self._bound]
            return True
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
        try:
            choice, usage = told["choices"][0], told.get("usage") or {}
            finish, text = choice["finish_reason"], _text(choice["message"])
            if self.tokens and choice.get("token_ids") and not request.sampling.stop:
                text = self.tokens.text(choice["token_ids"])
            details = usage.get("prompt_tokens_details") or {}
            image = (details.get("multimodal_tokens") or {}).get("image", 0)
            counts = [usage.get("prompt_tokens"), image, usage.get("completion_tokens")]
            tokens = [int(count or 0) for count in counts]
        except (LookupError, TypeError, ValueError, AttributeError):
            raise Failed(f"its reply is no chat completion: {self._hide(str(told))}") from None
        if finish == "content_filter":
            raise Refused("the endpoint withheld the answer (content_filter)")
        if finish not in FINISHES:
            raise Failed(f"its answer ends for an unknown reason ({self._hide(str(finish))})")
        if isinstance(told.get("model"), str):
            self.names.add(told["model"])
        return Response(
            key=request.key,
            task=request.question.task,
            id=request.question.id,
            sample=request.sample,
            text=text,
            finish=FINISHES[finish],
            tokens_in=tokens[0],
            tokens_image=tokens[1],
            tokens_out=tokens[2],
            seconds=round(seconds, 4),
        )

    async def _send(
        self, method: str, url: str, timeout: float, body: dict[str, Any] | None = None
    ) -> Any:
        """Send one request; return what its reply of success says."""
        import aiohttp

        data = io.BytesIO(json.dumps(body).encode()) if body else None
        try:
            async with self._session().request(
                method,
                url,
                data=data,
                headers={"Content-Type": "application/json"} if body else {},
                timeout=aiohttp.ClientTimeout(timeout, sock_connect=CONNECT_SECONDS),
                allow_redirects=False,
            ) as reply:
                content = await reply.read()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            words = self._hide(said(error))
            raise Failed(f"it takes no connection: {words}", down=True, counted=False) from None
        except TimeoutError:
            raise Failed(f"no answer within {timeout:g} s") from None
        except aiohttp.ClientError as error:
            raise Failed(f"the connection broke: {self._hide(said(error))}", down=True) from None
        if reply.status == 200:
            try:
                return json.loads(content)
            except ValueError:
                raise Failed("its reply is not JSON") from None
        words = f"HTTP {reply.status}: {self._hide(_complaint(reply.reason, content))}"
        if reply.status in LATER or reply.status >= 500:
            wait = _retry_after(reply.headers.get("retry-after", ""))
            raise Failed(words, wait=wait, counted=reply.status != 429)
        if reply.status in REFUSED:
            raise Refused(words)
        raise Closed(words, reply.status)

    def _hide(self, words: str) -> str:
        """Shorten what an endpoint says, and take the key out of it."""
        words = " ".join(words.split())
        words = words.replace(self._key, "[key]") if self._key else words
        return words if len(words) <= 300 else f"{words[:300]} …"


def _owner(card: dict[str, Any]) -> str:
    return str(card.get("owned_by") or "")


def _names(words: str, field: str) -> bool:
    return re.search(rf"(?<![a-z_]){field}(?![a-z_])", words) is not None


def _text(message: dict[str, Any]) -> str:
    """Return all that was generated: a thought that the server cut out goes back to its place."""
    answer = message.get("content") or ""
    thought = message.get("reasoning") or message.get("reasoning_content")
    if not isinstance(answer, str):
        raise TypeError
    if not isinstance(thought, str) or not thought:
        return answer
    return f"<think>{thought}</think>{answer}" if answer else f"<think>{thought}"


def _complaint(reason: str | None, content: bytes) -> str:
    """Return what the body of an error says, in whichever of the usual forms."""
    try:
        told = json.loads(content)
        inner = told.get("error", told)
        found = inner if isinstance(inner, str) else inner.get("message") or inner.get("detail")
        return str(found or told)
    except (ValueError, AttributeError):
        return content.decode(errors="replace") or reason or "no reason given"


def _retry_after(asked: str) -> float | None:
    """Return the seconds that a reply asks to wait; RFC 9110 allows a number or a date."""
    try:
        if re.fullmatch(r"\d+(\.\d+)?", asked):
            return float(asked)
        return max(0.0, email.utils.parsedate_to_datetime(asked).timestamp() - time.time())
    except ValueError:
        return None


# The message


def content(request: Request) -> str | list[dict[str, Any]]:
    """Return a question as the content of a chat message, its pictures where they stand.

    Raises:
        Refused: A picture cannot be decoded.
    """
    parts: list[dict[str, Any]] = []
    images = iter(request.question.images)
    for part in rendering.content(request.question):
        if part["type"] == "image":
            parts.append({"type": "image_url", "image_url": {"url": _data_url(next(images))}})
        else:
            parts.append(part)
    return parts if request.question.images else request.question.prompt


def _data_url(image: Image) -> str:
    """Return a picture as it lies on disk, where all who decode it see the same pixels.

    Transparency, orientation, depth, rarer formats and colours are read differently by different
    servers: such a picture, and one of a pixel budget, is decoded here, as other engines see it,
    and sent as PNG.
    """
    from PIL import Image as Pillow

    try:
        with Pillow.open(io.BytesIO(image.data)) as opened:
            known = image.budget is None and opened.format in AS_THEY_ARE
            plain = known and is_plain(opened, image.data)
            kind, data = AS_THEY_ARE.get(opened.format or "", ""), image.data
        if not plain:
            file = io.BytesIO()
            decoded_image(image).save(file, "PNG")
            kind, data = "png", file.getvalue()
    except (OSError, ValueError, Pillow.DecompressionBombError) as error:
        raise Refused(f"a picture cannot be decoded: {said(error)}") from None
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
