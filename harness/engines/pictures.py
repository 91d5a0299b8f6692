"""Decoding pictures ahead of the engine, in a few threads."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

from common import pictures
from harness.checkpoints.image_size import fitted
from harness.engines import Request
from harness.runs.schema import Image, Question

THREADS = 4


def decode(question: Question) -> list[Any] | Exception:
    """Decode a question's pictures to RGB; an undecodable one is returned as its exception."""
    try:
        return [decoded_image(image) for image in question.images]
    except ValueError as error:
        return error


def decoded_image(image: Image) -> Any:
    """Decode one picture to RGB, in the size that its budget allows.

    Raises:
        ValueError: It cannot be decoded.
    """
    return fitted(pictures.decoded(image.data), image.budget)


def decoded(
    requests: Iterable[Request], ahead: int
) -> Iterator[tuple[Request, list[Any] | Exception]]:
    """Yield requests with their pictures, in order, with `ahead` of them in the works."""
    source = iter(requests)
    with ThreadPoolExecutor(THREADS) as pool:
        works: deque[tuple[Request, Future[list[Any] | Exception]]] = deque()

        def start(count: int) -> None:
            works.extend(
                (request, pool.submit(decode, request.question))
                for request in islice(source, count)
            )

        start(ahead)
        while works:
            request, future = works.popleft()
            start(1)
            yield request, future.result()
