"""How many questions one endpoint bears, and how long it is left alone when it fails."""

import asyncio
import math
import random

from harness.engines.endpoint import Endpoint
from harness.engines.reply import Failed

FIRST, MOST = 128, 512
"""Questions at a time of one endpoint, in the beginning and at most."""

CLIMB_SECONDS = 0.05
"""After which an endpoint that has turned nothing away gets twice as many."""

FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0
"""Seconds after the first failure in a row; twice as many after each further one, at most."""

CALM = 16
"""Times a pause, for which the limit that led to it is not tried again."""


class Line:
    """One endpoint, and how many questions it bears.

    It is not known beforehand: a server may take whatever comes and let it wait, turn away what is
    too much (429), break, or answer the slower the more it has. So the limit doubles every moment
    until something fails; answers may take minutes, which nobody need wait for. What was turned
    away while the rest is borne tells the limit exactly. Any other failure halves it, once for all
    the requests that were on their way together, as TCP does: back to that half it grows by one
    an answer, and beyond by one a full round.
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
        """When it may be asked again."""
        self.climbs = math.inf
        """When the limit doubles, which was used up."""
        self._climbing = True
        self._failures = 0
        self._failing = math.inf
        # Of the last failures together: when they began, the limit before, requests that they left
        # on their way, the pause they make.
        self._eased = -math.inf
        self._before, self._borne, self._pause = self.limit, 0, 0.0
        self._reach = 0.0
        """Up to which the limit grows by one an answer."""
        self._calm = -math.inf
        """When it may grow beyond."""

    def free(self, now: float) -> bool:
        """Whether it can get a question now."""
        room = len(self.tasks) < int(self.limit) if self.known else not self.tasks
        return room and not self.gone and now >= self.resumes

    def climb(self, now: float) -> None:
        """Double the limit when its moment has come."""
        if now >= self.climbs:
            self.limit, self.climbs = min(MOST, 2 * self.limit), math.inf
            self._climbing = self.limit < MOST
        used_up = self.known and len(self.tasks) >= int(self.limit)
        if self._climbing and used_up and self.climbs == math.inf:
            self.climbs = now + CLIMB_SECONDS

    def succeeded(self, began: float, now: float) -> None:
        """Count an answer to a request that began then."""
        self.heard = now
        self._failing = math.inf
        if began < self._eased:  # it tells nothing of the limit since
            return
        self._failures = 0
        if self.limit < self._reach:
            self.limit += 1
        elif now >= self._calm:
            self.limit = min(MOST, self.limit + 1 / self.limit)

    def tired(self, now: float, patience: float) -> bool:
        """Whether it has failed for too long."""
        return now - self._failing > patience

    def failed(self, failure: Failed, began: float, now: float, patience: float) -> str:
        """Count a failure; return why it should be given up, or nothing."""
        self._failing = min(self._failing, now)
        if began >= self._eased:
            self._eased, self._climbing, self.climbs = now, False, math.inf
            self._failures += 1
            self._before, self._pause = self.limit, backoff(self._failures)
            self._borne = 0 if failure.down else len(self.tasks)
        self._borne -= 1
        exact = failure.crowded and self._borne > 0
        least = self._borne if exact else max(self._before / 2, self._borne)
        self.limit = max(1.0, min(self._before, least))
        if self._failures == 1:
            self._reach = self.limit
        if not (exact and self._failures == 1):  # else the next answer makes room
            self.resumes = max(self.resumes, self._eased + self._pause)
        if failure.wait is not None:
            # Not all at the same moment, when the time has come.
            self.resumes = max(self.resumes, now + failure.wait + random.uniform(0, FIRST_WAIT))
        self._calm = max(self._calm, self.resumes + CALM * (self.resumes - now))
        if failure.down:
            self.known = False
        if (failure.wait or 0) > patience:
            return f"{failure}; it asks to wait {failure.wait:.0f} s"
        return str(failure) if self.tired(now, patience) else ""


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures in a row, with jitter."""
    return min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(failures - 1, 16)) * random.uniform(0.5, 1)
