"""The log of a run: what a model said, appended the moment it came, and read back."""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from common.errors import UserError
from common.files import unlinked
from harness.runs.folder import decoded, encoded, lines, read_keys, read_records
from harness.runs.schema import UTF8, Place, Response, place

ANSWERED = re.compile(
    rb'\{"key": "([^"\\]*)", "task": "([^"\\]*)", "id": "([^"\\]*)", "sample": (\d{1,9}), '
    rb'"text": ".*", "finish": "(?!error).*\}\n',
    re.DOTALL,
)
"""A line as `Log` writes it, unless it is an error. No text has `", "finish"` in it: a quote in a
text has a backslash before it."""


def read_responses(run: Path) -> list[Response]:
    """Read the responses of a run folder, log by log, in the order in which they were first asked.

    Of what was asked again, the answer. A last line that was cut off by a crash is left out, and so
    are the lines of another run: see `keys.json` above.
    """
    wanted = read_keys(run)
    found: dict[Place, Response] = {}
    for path in logs(run):
        for response in read_records(Response, path):
            at = place(response)
            if wanted is not None and at not in wanted:
                continue
            if at not in found or _worth(response) >= _worth(found[at]):
                found[at] = response
    return list(found.values())


def _worth(response: Response) -> int:
    """An answer stands for the error before it, a forced answer for the thought it goes on from.

    So does what failed for good for what failed this time.
    """
    if response.finish == "error":
        return response.lasting
    return 2 + response.lasting + 2 * response.forced


def failed(response: Response) -> bool:
    """Whether the engine failed, and not the question: it is asked again when the run goes on."""
    return (response.finish == "error" or response.reason != "") and not response.lasting


def logs(run: Path) -> list[Path]:
    """Return the logs of a run folder: its own first, then those of shards."""
    return sorted(run.glob("responses.jsonl")) + sorted(run.glob("responses.*of*.jsonl"))


def answered(run: Path, permanent: bool = True) -> Iterator[Place]:
    """Yield task, id, sample and key of each answer in the logs, in any order.

    Args:
        run: The run folder.
        permanent: Errors that would come again count as answers.
    """
    for at, error in _skimmed(run):
        if error is None or (permanent and error.lasting):
            yield at


def errors(run: Path) -> list[Response]:
    """Read the responses of a run folder that are errors, in the order of the logs."""
    wanted, done = read_keys(run), set()
    found: dict[Place, Response] = {}
    for at, error in _skimmed(run):
        if error is None:
            done.add(at)
        elif wanted is None or at in wanted:
            if at not in found or _worth(error) >= _worth(found[at]):
                found[at] = error
    return [error for at, error in found.items() if at not in done]


def _skimmed(run: Path) -> Iterator[tuple[Place, Response | None]]:
    """Yield task, id, sample and key of each line of the logs, and the response if it is an error.

    The texts are not parsed: that is what takes the time.
    """
    for path in logs(run):
        for number, line in lines(path):
            if found := ANSWERED.fullmatch(line):
                key, task, id, sample = (part.decode(errors="replace") for part in found.groups())
                yield (task, id, int(sample), key), None
            else:
                response = decoded(Response, path, number, line)
                yield place(response), response if response.finish == "error" else None


class Log:
    """The responses of a run, or what a judge replied, appended one line at a time.

    A line reaches the operating system at once, so that killing the process loses nothing; it
    reaches the disk within `SYNC_SECONDS`, so that losing power loses that much.
    """

    SYNC_SECONDS = 1.0

    def __init__(self, run: Path, name: str = "responses.jsonl") -> None:
        self._path = run / name
        _drop_torn_tail(self._path)
        self._file = unlinked(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._size = os.fstat(self._file).st_size
        self._synced = True
        self._trouble: OSError | None = None
        self._closing = threading.Event()
        self._timer: threading.Thread | None = None

    def append(self, record: Response | dict[str, str]) -> None:
        """Add one record.

        Raises:
            UserError: It cannot be written; all before it are.
        """
        line = encoded(record).encode(*UTF8)
        try:
            if self._trouble is not None:
                raise self._trouble
            written = 0
            while written < len(line):
                written += os.write(self._file, line[written:])
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise self._full(error) from error
        self._size += len(line)
        self._synced = False
        if self._timer is None:
            self._timer = threading.Thread(target=self._sync, name="fsync", daemon=True)
            self._timer.start()

    def _sync(self) -> None:
        """Bring lines to the disk from time to time, beside whoever appends them."""
        while not self._closing.wait(self.SYNC_SECONDS):
            if not self._synced:
                self._synced = True
                try:
                    os.fsync(self._file)
                except OSError as error:
                    self._trouble = error

    def _full(self, error: OSError) -> UserError:
        return UserError(
            f"{self._path} cannot be written ({error.strerror}): every answer in it is kept; make "
            "room, and the same command goes on"
        )

    def close(self) -> None:
        """Bring everything to the disk."""
        self._closing.set()
        if self._timer is not None:
            self._timer.join()
        try:
            os.fsync(self._file)
        except OSError as error:
            raise self._full(error) from error
        finally:
            os.close(self._file)

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _drop_torn_tail(path: Path) -> None:
    """Cut off a last line without its newline: the process died while writing it."""
    if not path.exists():
        return
    with open(path, "rb+", opener=unlinked) as file:
        size = end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 65536)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end != size:
            file.truncate(end)
