"""The wire to one endpoint: one request, one reply of a bounded size, and the key out of sight.

Nothing is taken from `.netrc`. A proxy is taken from `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and
`NO_PROXY`: whoever sets them wants them, and they change the way, not the answer.
"""

import io
import json
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from common.errors import UserError
from common.text import said, shown
from harness.engines.reply import Closed, Failed, Refused, Unreadable, complaint, loads, retry_after

if TYPE_CHECKING:
    import aiohttp

CONNECT_SECONDS = 10.0
"""For a connection, and for what an endpoint tells of itself."""

KEEP_SECONDS = 3.0
"""For which an idle connection is used again; vLLM closes it after 5, just as a question comes."""

REPLY_BYTES = 4 << 20
"""Of a reply beside its answer: token ids of the prompt, lists of models."""
ERROR_BYTES = 1 << 16
"""Of the body of an error, of which little is shown."""

REFUSED = (400, 413, 415, 422)
"""Statuses that are about this one question."""
LATER = (408, 409, 425, 429)
"""Statuses that, as those from 500 on, may pass. All others are about the endpoint: no key, no
money, no such model."""
CROWDED = (429, 503, 529)
"""Of those, what a server says that has too much to do."""

SHOWN = 300
"""Characters of what an endpoint says that are repeated."""
SECRET = 8
"""Characters from which on a key is a secret, and no word such as EMPTY."""


def address(url: str) -> str:
    """Return the base address of an endpoint, `http://host:8000/v1`.

    Raises:
        UserError: It is no address, or one that holds a secret.
    """
    try:
        parts = urlsplit(url.strip().removesuffix("/").removesuffix("/chat/completions"))
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"{url!r} is no endpoint: give its address as http://HOST:PORT/v1")
    if "@" in parts.netloc or parts.query:
        raise UserError(
            f"the endpoint at {parts.hostname} is given with a password or a query, which would be "
            "recorded: give the address alone, and the key with --key-env"
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path or '/v1'}"


def proxy_of(url: str) -> str | None:
    """Return the proxy that the environment names for an address.

    Raises:
        UserError: It is none that HTTP goes through.
    """
    parts = urlsplit(url)
    named = urllib.request.getproxies_environment()
    proxy = named.get(parts.scheme) or named.get("all")
    if urllib.request.proxy_bypass(parts.netloc):
        return None
    if proxy and urlsplit(proxy).scheme not in ("http", "https"):
        raise UserError(
            f"the proxy that the environment names for {parts.scheme} is no http://HOST:PORT: "
            f"unset it, or add {parts.hostname} to NO_PROXY"
        )
    return proxy or None


class Connection:
    """A pool of connections to one address."""

    def __init__(self, url: str, key: str) -> None:
        """Connect to nothing yet.

        Args:
            url: As `address` returns it.
            key: Sent with each request, kept out of all that is said about them; may be empty.
        """
        self._key = key
        self._proxy = proxy_of(url)
        self._opened: aiohttp.ClientSession | None = None

    def _session(self) -> "aiohttp.ClientSession":
        """Return the connections, which belong to the event loop of the first request."""
        if self._opened is None:
            import aiohttp

            key = {"Authorization": f"Bearer {self._key}"} if self._key else {}
            self._opened = aiohttp.ClientSession(
                # What is packed has no size until it is unpacked.
                headers={"Accept-Encoding": "identity", **key},
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_SECONDS),
            )
        return self._opened

    async def close(self) -> None:
        """Close the connections; the next request opens others."""
        if self._opened:
            await self._opened.close()
        self._opened = None

    async def send(
        self,
        method: str,
        url: str,
        *,
        timeout: float | None = None,
        body: dict[str, Any] | None = None,
        most: int = REPLY_BYTES,
    ) -> Any:
        """Send one request; return what its reply of success says, of at most so many bytes.

        Raises:
            Refused: The endpoint will not answer this.
            Closed: It will not answer anything.
            Failed: It did not answer this time.
        """
        import aiohttp

        data = io.BytesIO(json.dumps(body).encode()) if body else None
        timeout = timeout or CONNECT_SECONDS
        try:
            async with self._session().request(
                method,
                url,
                data=data,
                headers={"Content-Type": "application/json"} if body else {},
                timeout=aiohttp.ClientTimeout(timeout, sock_connect=CONNECT_SECONDS),
                allow_redirects=False,
                proxy=self._proxy,
            ) as reply:
                ok = reply.status == 200
                content, whole = await _read(reply, most if ok else ERROR_BYTES)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            words = self.hidden(said(error))
            raise Failed(f"it takes no connection: {words}", down=True, counted=False) from None
        except TimeoutError:
            raise Failed(f"no answer within {timeout:g} s", crowded=True) from None
        except (aiohttp.ClientError, OSError) as error:
            raise Failed(f"the connection broke: {self.hidden(said(error))}", down=True) from None
        if ok and not whole:
            raise Unreadable(f"its reply is larger than {most / 2**20:.0f} MiB")
        if ok:
            return loads(content)
        said_why = complaint(content) or reply.reason or "no reason given"
        words = f"HTTP {reply.status}: {self.hidden(said_why)}"
        if reply.status in LATER or reply.status >= 500:
            wait = retry_after(reply.headers.get("retry-after", ""))
            crowded = reply.status in CROWDED
            raise Failed(words, wait=wait, counted=reply.status != 429, crowded=crowded)
        raise Refused(words) if reply.status in REFUSED else Closed(words, reply.status)

    def hidden(self, words: str) -> str:
        """Shorten what an endpoint says to a line for a message, and take the key out of it."""
        line = shown(words.replace(self._key, "[key]") if self._key else words)
        return line if len(line) <= SHOWN else f"{line[:SHOWN]} …"

    def kept(self, text: str) -> str:
        """Take the key out of what goes on record as it is."""
        return text.replace(self._key, "[key]") if len(self._key) >= SECRET else text


async def _read(reply: "aiohttp.ClientResponse", most: int) -> tuple[bytes, bool]:
    """Read a body, or its beginning; whether it is whole."""
    content = bytearray()
    async for part in reply.content.iter_any():
        content += part
        if len(content) > most:
            reply.close()
            return bytes(content[:most]), False
    return bytes(content), True
