"""A second, batched reading of answers that rules left unparsed, where a protocol has a judge.

A judge is any engine: an endpoint or a checkpoint. What it replied lies in the run folder, in
`judge.jsonl`, one line a request that was answered, so that nothing is asked twice and a run is
graded again without it:

    {"key": "…", "judge": "<fingerprint>", "reply": "B"}

The replies are validated by the protocol's own generator, see `tasks.judging`. What the judge could
not answer stays unparsed.
"""

import dataclasses
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from common.errors import UserError
from common.progress import counted
from common.provenance import digest
from harness import engines
from harness.checkpoints.kinds import Checkpoint
from harness.engines import Engine
from harness.runs import folder
from harness.runs.log import Log
from harness.runs.schema import Question, Sampling
from tasks.grading import extract
from tasks.judging import UNPARSED, Judging, Reading, Request

CONTROL = re.compile(r"<(?=\|[^<>|\s]{1,40}\|>|/?(?:image|s|think|start_of_turn|end_of_turn)>)")
"""Where a mark begins that a chat template or a tokenizer takes for its own. A response that is
quoted to the judge may hold them, by chance or to end the quotation; a blank makes them words."""


class Judge:
    """Replies to requests: from the file first, then from the engine."""

    def __init__(self, run: Path, record: dict[str, str], engine: Engine | None = None) -> None:
        """Begin with what was said before.

        Args:
            run: Folder of the run.
            record: Name, fingerprint and engine, as they go into the run card.
            engine: None: what was not asked before is not answered.
        """
        self.record = record
        self.replied = 0
        """Requests that were answered, now or before."""
        self.failed = 0
        """Requests that were not answered."""
        self.reason = ""
        """Why the first of them was not, in the engine's words."""
        self._run = run
        self._engine = engine
        self._known = {
            line["key"]: line["reply"]
            for line in folder.read_replies(run)
            if line["judge"] == record["fingerprint"]
        }

    def replies(self, requests: Sequence[Request]) -> list[str | None]:
        """Answer requests, all at once; None where there is no answer."""
        keys = [key(request) for request in requests]
        new = {k: r for k, r in zip(keys, requests, strict=True) if k not in self._known}
        if new and self._engine is not None:
            self._ask(self._engine, new)
        found = [self._known.get(k) for k in keys]
        self.replied += sum(reply is not None for reply in found)
        return found

    def _ask(self, engine: Engine, requests: dict[str, Request]) -> None:
        wanted = [_for_engine(engine, key, request) for key, request in requests.items()]
        answered = 0
        with Log(self._run, "judge.jsonl") as log:
            try:
                found = counted("asking the judge", engine.generate(wanted), len(wanted))
                for response in found:
                    if response.finish == "error":
                        self.reason = self.reason or response.reason
                        continue
                    answered += 1
                    self._known[response.key] = response.text
                    judge = self.record["fingerprint"]
                    log.append({"key": response.key, "judge": judge, "reply": response.text})
            except UserError as error:
                self.reason = self.reason or str(error)
        self.failed += len(requests) - answered


def key(request: Request) -> str:
    """Return the content address of a request."""
    return digest(dataclasses.asdict(request))


def _for_engine(engine: Engine, key: str, request: Request) -> engines.Request:
    prompt = CONTROL.sub("< ", request.prompt)
    if request.system:
        prompt = f"{request.system}\n\n{prompt}"
    question = Question(task="judge", id=key, prompt=prompt)
    sampling = Sampling(temperature=request.temperature, max_tokens=request.max_tokens)
    return engines.Request(
        question=question, prompt=engine.render(question), sampling=sampling, key=key
    )


def settled(
    begun: Iterable[Reading | Judging],
    judge: Judge | None,
    extractions: Iterable[str | None],
) -> list[tuple[Reading, bool | None]]:
    """Bring verdicts to their end, those that ask in rounds: each asks one thing at a time.

    Args:
        begun: What verdict functions returned.
        judge: Who replies; None: what asks stays unparsed.
        extractions: For each a reply to its first request, where another tool made one.

    Returns:
        For each the reading, and whether a reply was used; None: it is unparsed for want of one.
    """
    ends: list[tuple[Reading, bool | None]] = []
    waiting: dict[int, tuple[Judging, Request]] = {}
    for number, (one, extraction) in enumerate(zip(begun, extractions, strict=True)):
        ends.append((UNPARSED, None))
        if not isinstance(one, tuple):
            _step(number, one, None, ends, waiting)
            if extraction is not None and number in waiting:
                _step(number, one, extraction, ends, waiting)
        else:
            ends[number] = (one, False)
    while waiting and judge is not None:
        asked = list(waiting.items())
        replies = judge.replies([request for _, (_, request) in asked])
        for (number, (judging, _)), reply in zip(asked, replies, strict=True):
            if reply is None:
                judging.close()
                del waiting[number]
            else:
                # A judge that thinks aloud has said nothing until its thought is closed.
                _step(number, judging, extract.after_thinking(reply) or "", ends, waiting)
    for judging, _ in waiting.values():
        judging.close()
    return ends


def _step(
    number: int,
    judging: Judging,
    reply: str | None,
    ends: list[tuple[Reading, bool | None]],
    waiting: dict[int, tuple[Judging, Request]],
) -> None:
    """Give a verdict under way its reply (None: begin it); note its next request, or its end."""
    try:
        request = next(judging) if reply is None else judging.send(reply)
    except StopIteration as end:
        waiting.pop(number, None)
        ends[number] = (end.value, reply is not None)
    except Exception as error:  # what a model or the judge wrote must not cost all other verdicts
        waiting.pop(number, None)
        ends[number] = UNPARSED, False
        print(f"driftbench: a rule broke on a reply ({type(error).__name__})", file=sys.stderr)
    else:
        waiting[number] = (judging, request)


def record(checkpoint: Checkpoint, engine: Engine) -> dict[str, str]:
    """Return what a run card says of its judge."""
    return {
        "name": checkpoint.name,
        "fingerprint": checkpoint.fingerprint,
        "engine": f"{engine.name} {engine.version}",
    }
