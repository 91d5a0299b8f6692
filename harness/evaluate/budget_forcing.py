"""An answer out of a thought that was cut at the token limit.

Budget forcing as in s1 (Muennighoff et al. 2025, arXiv 2501.19393, section 3.1): the end-of-thought
mark and "Final Answer:" are appended, and the model goes on from there. It is another way of
asking, so it is off unless wanted, enters an answer's key, and each answer says if it was forced.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from harness.engines import Request
from harness.runs.schema import Response, place
from tasks.grading.thought import THINK_CLOSE, closing, opening

ANSWER = "\n\nFinal Answer: "
CLOSING = f"\n{THINK_CLOSE}{ANSWER}"
"""What is appended; of a family with marks of its own, with its own."""


def is_cut_thought(prompt: str, response: Response) -> bool:
    """Whether a response ended at the limit inside a thought, which the prompt may have opened."""
    return response.finish == "length" and closing(opening(prompt) + response.text) is not None


def _appended(response: Response) -> str:
    mark = closing(response.whole)
    return f"\n{mark}{ANSWER}" if mark else CLOSING


def continuations(
    requests: Iterable[Request], responses: Iterable[Response]
) -> Iterator[tuple[Request, Response]]:
    """Yield what is to be forced: the request that continues a response, and that response."""
    by_place = {request.place: request for request in requests}
    for response in responses:
        request = by_place.get(place(response))
        if request and request.sampling.force and is_cut_thought(request.prompt, response):
            sampling = replace(request.sampling, max_tokens=request.sampling.force, force=0)
            prompt = request.prompt + response.text + _appended(response)
            yield replace(request, prompt=prompt, sampling=sampling), response


def joined(cut: Response, forced: Response) -> Response:
    """Return the whole answer; one that could not be forced stays as it was cut, and says why."""
    if forced.finish == "error":
        reason = f"no answer could be forced: {forced.reason}"
        return replace(cut, reason=reason, lasting=forced.lasting)
    return replace(
        cut,
        text=cut.text + _appended(cut) + forced.text,
        finish=forced.finish,
        tokens_out=cut.tokens_out + forced.tokens_out,
        seconds=round(cut.seconds + forced.seconds, 4),
        reason="",
        forced=True,
        lasting=False,
    )
