"""A second, batched reading of answers that rules left unparsed, where a protocol has a judge.

A judge is any engine: an endpoint or a checkpoint. What it replied lies in the run folder, in
`judge.jsonl`, one line a request that was answered, so that nothing is asked twice and a run is
graded again without it:

    {"key": "…", "judge": "<fingerprint>", "reply": "B"}

The replies are validated by the protocol's own generator, see `tasks.judging`. What the judge could
not answer stays unparsed. So does what its rule could not use, which is taken back by a line with
an empty reply: the next judging asks again.
"""

import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
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

CONTROL = re.compile(
    r"""[<‹](?=[|｜][^<>‹›\s]{1,60}[>›] | [^<>\s|]{1,40}\|> | </?SYS>>
        | /?(?:s|bos|eos|pad|unk|sep|cls|mask|sop|eop|gmask|endoftext|human|bot|user|assistant
        | system|image|img|video|audio|think|tool_call|tool_response
        | (?:start|end)_of_(?:turn|image|audio)
        | seed:\w+|unused\d+|reserved_\d+|extra_id_\d+|image_soft_token)>)
    | \[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_[A-Z]+|IMG(?:_BREAK|_END)?|THINK|AUDIO
        |PREFIX|MIDDLE|SUFFIX|gMASK|UNUSED_TOKEN_\d+|CLS|SEP|PAD|MASK|UNK|BOS|EOS)\])
    | ◁(?=/?\w{1,40}▷)""",
    re.VERBOSE | re.IGNORECASE,
)
"""Where a mark begins that a chat template or a tokenizer takes for its own: ChatML, Llama 2 to 4,
Mistral, DeepSeek, Gemma, GLM, InternLM, Kimi, Seed. A response that is quoted to the judge may hold
them, by chance or to end the quotation; a blank makes them words."""

ROOM = 8192
"""Tokens for a reply that said nothing within its own bound: a judge that thinks needs them."""

LONGEST, SHOWN = 1 << 16, 60
"""Characters of a reply, what is longer is none; and of one that is told."""


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
        self.unusable = 0
        """Replies that said nothing, or nothing that the rule could use."""
        self.reason = ""
        """Why the first of all these was not, in the engine's words or the judge's own."""
        self._run = run
        self._engine = engine
        lines = [one for one in folder.read_replies(run) if one["judge"] == record["fingerprint"]]
        last = {line["key"]: line["reply"] for line in lines}
        self._known = {key: reply for key, reply in last.items() if reply}

    def replies(self, requests: Sequence[Request]) -> list[str | None]:
        """Answer requests, all at once; None where there is no answer."""
        keys = [key(request) for request in requests]
        new = {k: r for k, r in zip(keys, requests, strict=True) if k not in self._known}
        if new and self._engine is not None:
            self._ask(self._engine, new)
        found = [self._known.get(k) for k in keys]
        self.replied += sum(reply is not None for reply in found)
        return found

    def take_back(self, requests: Iterable[Request]) -> None:
        """Forget what was replied to requests: the rule could not use it."""
        self.unusable += 1
        replies = [(k, self._known.pop(k)) for r in requests if (k := key(r)) in self._known]
        if replies:
            self.reason = self.reason or f"it said {ascii(replies[-1][1][:SHOWN])}"
        if self._engine is not None:
            with Log(self._run, "judge.jsonl") as log:
                for forgotten, _ in replies:
                    self._keep(log, forgotten, "")

    def _ask(self, engine: Engine, requests: dict[str, Request]) -> None:
        silent: dict[str, Request] = {}
        with Log(self._run, "judge.jsonl") as log:
            try:
                silent = self._round(engine, requests, log)
                if silent:
                    roomy = {k: replace(r, max_tokens=ROOM) for k, r in silent.items()}
                    silent = self._round(engine, roomy, log)
            except UserError as error:
                self.reason = self.reason or str(error)
        self.unusable += len(silent)
        if silent:
            self.reason = self.reason or f"it said nothing within {ROOM} tokens"
        self.failed += sum(k not in self._known and k not in silent for k in requests)

    def _round(self, engine: Engine, requests: dict[str, Request], log: Log) -> dict[str, Request]:
        """Put requests once; return those to which the reply said nothing."""
        wanted = [_for_engine(engine, key, request) for key, request in requests.items()]
        silent = {}
        for response in counted("asking the judge", engine.generate(wanted), len(wanted)):
            if response.finish == "error":
                self.reason = self.reason or response.reason
            elif response.finish == "length" or not _said(response.text):
                silent[response.key] = requests[response.key]
            else:
                self._known[response.key] = response.text
                self._keep(log, response.key, response.text)
        return silent

    def _keep(self, log: Log, key: str, reply: str) -> None:
        log.append({"key": key, "judge": self.record["fingerprint"], "reply": reply})


def _said(reply: str) -> str:
    """Return what a reply says: a judge that thinks aloud has said nothing in an open thought."""
    return (extract.after_thinking(reply) or "") if len(reply) <= LONGEST else ""


def key(request: Request) -> str:
    """Return the content address of a request."""
    return digest(asdict(request))


def _for_engine(engine: Engine, key: str, request: Request) -> engines.Request:
    prompt = CONTROL.sub(r"\g<0> ", request.prompt)
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
        For each the reading, and whether a reply was used; None: it is unparsed for want of one
        that the rule can use.
    """
    ends: list[tuple[Reading, bool | None]] = []
    waiting: dict[int, tuple[Judging, Request]] = {}
    heard: dict[int, list[Request]] = defaultdict(list)
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
        for (number, (judging, request)), reply in zip(asked, replies, strict=True):
            if reply is None:
                judging.close()
                del waiting[number]
                continue
            heard[number].append(request)
            _step(number, judging, _said(reply), ends, waiting)
            reading, used = ends[number]
            if number not in waiting and used and reading[0] is None:
                judge.take_back(heard[number])
                ends[number] = UNPARSED, None
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
