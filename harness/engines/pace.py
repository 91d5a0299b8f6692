"""How many questions one endpoint bears, and how long it is left alone when it fails."""

import asyncio
import math
import random

from harness.engines.endpoint import Endpoint
from harness.engines.reply import Failed

FIRST, MOST = 16, 512
"""Questions at a time of one endpoint, in the beginning and at most."""

FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0
"""Seconds after the first failure in a row; twice as many after each further one, at most."""


class Line:
    """One endpoint, and how many questions it bears: as TCP finds out what a network bears.

    Each answer raises the limit by one until the first failure, then each full round does; a
    failure halves it, once for all the requests that were on their way together.
    """

    def __init__(self, endpoint: Endpoint, now: float) -> None:
        self.endpoint = endpoint
        self.tasks: set[asyncio.Task[None]] = set()
        self.known = False
        """It has told what it serves since it was last down."""
        self.gone = ""
        """Why it is given up."""
        self.limit = float(FIRST)
        self.heard = now
        self.resumes = -math.inf
        self._doubling = True
        self._failures = 0
        self._failing = math.inf
        self._eased = -math.inf

    def free(self, now: float) -> bool:
        """Whether it can get a question now."""
        room = len(self.tasks) < int(self.limit) if self.known else not self.tasks
        return room and not self.gone and now >= self.resumes

    def succeeded(self, now: float) -> None:
        """Count an answer."""
        self.heard = now
        self._failures, self._failing = 0, math.inf
        self.limit = min(MOST, self.limit + (1 if self._doubling else 1 / self.limit))

    def tired(self, now: float, patience: float) -> bool:
        """Whether it has failed for too long."""
        return now - self._failing > patience

    def failed(self, failure: Failed, began: float, now: float, patience: float) -> str:
        """Count a failure; return why it should be given up, or nothing."""
        self._failing = min(self._failing, now)
        if began >= self._eased:
            self._eased, self._doubling = now, False
            self.limit = max(1.0, self.limit / 2)
            self._failures += 1
            self.resumes = max(self.resumes, now + backoff(self._failures))
        if failure.wait is not None:
            # Not all at the same moment, when the time has come.
            self.resumes = max(self.resumes, now + failure.wait + random.uniform(0, FIRST_WAIT))
        if failure.down:
            self.known = False
        if (failure.wait or 0) > patience:
            return f"{failure}; it asks to wait {failure.wait:.0f} s"
        return str(failure) if self.tired(now, patience) else ""


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures in a row, with jitter."""
    return min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(failures - 1, 16)) * random.uniform(0.5, 1)
