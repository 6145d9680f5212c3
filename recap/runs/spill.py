"""`Spill`: what a run has logged and MLflow has not got, in memory and, where it matters, in a file.

```
RUN/tracking/where.json     the MLflow run, and where it is
RUN/tracking/queue.jsonl    what is not delivered: one entry a line, oldest first
RUN/tracking/refused.jsonl  what MLflow does not take though it takes all else, with the reason
RUN/tracking/lock           held while a process delivers
```
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows: two processes that deliver one run are not noticed there
    fcntl = None  # type: ignore[assignment]

Entry = dict[str, Any]  # what `recap.runs.mlflow_run` sends; JSON
FOLDER, QUEUE, REFUSED, WHERE, LOCK = "tracking", "queue.jsonl", "refused.jsonl", "where.json", "lock"
LOCK_WAIT_S = 10.0  # a killed process may take a moment to be gone


class Spill:
    """A queue whose older part is in a file, and whose younger part is in memory until `save`.

    A server that is away for days fills the file, not the memory. Several threads may use it.

    Args:
        directory: of the run; entries that a former process left there come first.

    Attributes:
        recovered: how many of those there are.
        exclusive: whether no other process can be at this run; false where the file system cannot tell.

    Raises:
        ValueError: another process delivers this run, or the folder cannot be written.
    """

    def __init__(self, directory: Path) -> None:
        self.folder = directory / FOLDER
        self._lock = threading.Lock()
        self._young: deque[Entry] = deque()
        self._offset = 0  # bytes of the file that are delivered
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock_file, self.exclusive = _lock(self.folder / LOCK)
            self._in_file = self._repair()
        except OSError as error:
            raise ValueError(f"the run's directory {directory} cannot be written ({error}); choose another") from error
        self.recovered = self._in_file

    def __len__(self) -> int:
        with self._lock:
            return self._in_file + len(self._young)

    def put(self, entry: Entry) -> None:
        with self._lock:
            self._young.append(entry)

    def save(self) -> None:
        """Moves what is in memory to the file, on the disk when this returns.

        Raises:
            OSError: it cannot be written; all is still in the queue.
        """
        with self._lock:
            if not self._young:
                return
            written = "".join(json.dumps(entry) + "\n" for entry in self._young).encode()
            with (self.folder / QUEUE).open("ab") as file:
                start = file.tell()
                try:
                    file.write(written)
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:  # a full disk takes half a line
                    os.truncate(file.fileno(), start)
                    raise
            self._in_file += len(self._young)
            self._young.clear()

    def head(self, most: int) -> list[Entry]:
        """The oldest entries; they stay until they are `done`."""
        with self._lock:
            if not self._in_file:
                return [self._young[n] for n in range(min(most, len(self._young)))]
            with (self.folder / QUEUE).open("rb") as file:
                file.seek(self._offset)
                return [json.loads(file.readline()) for _ in range(min(most, self._in_file))]

    def done(self, count: int) -> None:
        """Takes the oldest entries out; they may have moved to the file since `head` gave them."""
        with self._lock:
            old = min(count, self._in_file)
            if old:
                with (self.folder / QUEUE).open("r+b") as file:
                    file.seek(self._offset)
                    for _ in range(old):
                        self._offset += len(file.readline())
                    if old == self._in_file:
                        file.truncate(0)
                        self._offset = 0
                self._in_file -= old
            for _ in range(count - old):
                self._young.popleft()

    def refuse(self, entries: Sequence[Entry]) -> None:
        """Puts aside what MLflow does not take, while it takes others; each with its ``reason``.

        Raises:
            OSError: it cannot be written.
        """
        with (self.folder / REFUSED).open("a") as file:
            file.writelines(json.dumps(entry) + "\n" for entry in entries)

    def take_back(self) -> None:
        """Puts what was put aside at the end of the queue, to be tried again.

        Raises:
            OSError: it cannot be written; all is still there.
        """
        aside = self.folder / REFUSED
        if not aside.is_file():
            return
        for line in aside.read_text().splitlines(keepends=True):
            if line.endswith("\n"):  # else it was torn by a kill, and is still in the queue
                self.put(json.loads(line))
        self.save()
        aside.unlink()

    def left(self) -> list[Entry]:
        """Everything, for who has to know what a former process left."""
        return self.head(len(self))

    def close(self) -> None:
        """Lets another process deliver."""
        self._lock_file.close()

    def _repair(self) -> int:
        """Cuts off a line that was torn by a kill; returns how many are whole."""
        path = self.folder / QUEUE
        if not path.exists():
            return 0
        whole, lines = 0, 0
        with path.open("r+b") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                whole, lines = whole + len(line), lines + 1
            file.truncate(whole)
        return lines


def _lock(path: Path) -> tuple[IO[str], bool]:
    """The open file, locked by POSIX's means: a worker process does not inherit that, and a killed process loses it."""
    file = path.open("a")
    if fcntl is None:
        return file, False
    tried_until = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file, True
        except (BlockingIOError, PermissionError):
            if time.monotonic() > tried_until:
                file.close()
                raise ValueError(
                    f"{path.parent.parent}: another process is still at this run, and delivers what it logs"
                ) from None
            time.sleep(0.1)
        except OSError:  # a file system without locks
            return file, False


def was_refused(entry: Entry) -> bool:
    """Whether it was put aside before."""
    return "reason" in entry


def name_of(entry: Entry) -> str:
    """What an entry is, for a person."""
    if "values" in entry:
        return f"{', '.join(entry['values'])} of step {entry['step']}"
    if "group" in entry:
        return f"completions of {entry['group']['example']} at step {entry['group']['step']}"
    if "model" in entry:
        return f"model of step {entry['model']['step']}"
    return str(entry.get("file") or entry.get("local") or next(iter(entry)))  # e.g. tags
