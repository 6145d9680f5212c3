"""`Delivery`: the thread that brings a queue to MLflow, however often MLflow goes away."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from recap.runs.errors import first_line
from recap.runs.mlflow_run import MLflowRun, is_final, together
from recap.runs.spill import Entry, Spill, name_of, was_refused

FIRST_S, EVERY_S = 5.0, 30.0  # doubled in between: a batch costs more than its metrics; MLflow's pages look every 30 s
ENTRIES_PER_CALL = 200
FIRST_RETRY_S, LAST_RETRY_S = 1.0, 60.0  # doubled in between
REFUSALS = 3  # of one entry, each while MLflow takes others, until it is put aside
CLOSE_WAIT_S, STUCK_AFTER_S = 60.0, 15.0  # a run that ends waits while entries arrive, and not long while none does
OWN_WAIT_S = 300.0  # where this process does the work itself: no server is away, only a disk is slow


class Delivery:
    """Delivers what is in a queue, in order and once, until it is closed.

    What was sent and not confirmed may have arrived: before it is sent again, the thread looks. Nothing is raised.

    An entry that fails while MLflow takes others is put aside, so that it holds up nothing: at once where MLflow calls it
    invalid, else when it has failed `REFUSALS` times. While MLflow takes nothing, nothing is put aside.

    A run that ends waits as long as entries arrive. A request under way counts as one that arrives where somebody works at it:
    this process itself, as with a database file, or a server that answers.

    Attributes:
        error: why the newest attempt failed; empty where it did not.
        refused: entries, or single metrics, that were put aside.
        refusal: why the last of them was.
    """

    def __init__(self, spill: Spill, run: MLflowRun) -> None:
        self.spill, self.run = spill, run
        self.error = ""
        self.refused, self.refusal = 0, ""
        self._refusals = 0  # of the oldest entry
        self._alone = 0  # oldest entries that are sent one by one: one of them fails
        self._uncertain = spill.recovered  # oldest entries that may have arrived already
        self._wake = threading.Condition()
        self._next: list[Entry] = []  # the oldest entries, read once
        self._closing = self._given_up = self._under_way = False
        self._every_s, self._retry_s = FIRST_S, FIRST_RETRY_S
        self._progress_at = time.monotonic()
        self._thread = threading.Thread(target=self._work, daemon=True, name="recap-mlflow")
        self._thread.start()

    def close(self, wait_s: float | None = None, stuck_s: float | None = None) -> int:
        """Ends the thread once all is delivered, or nothing more can be; returns how many entries are left.

        Args:
            wait_s: at most; None: `CLOSE_WAIT_S` for a server, `OWN_WAIT_S` for a database file.
            stuck_s: for so long while MLflow takes nothing; None: `STUCK_AFTER_S`.
        """
        with self._wake:
            self._closing, self._retry_s = True, FIRST_RETRY_S
            self._progress_at = time.monotonic()
            self._wake.notify_all()
        wait_s = (OWN_WAIT_S if self.run.is_own else CLOSE_WAIT_S) if wait_s is None else wait_s
        until, stuck_s = time.monotonic() + wait_s, STUCK_AFTER_S if stuck_s is None else stuck_s
        while self._thread.is_alive() and time.monotonic() < until and not self._stuck(stuck_s):
            self._thread.join(0.1)
        with self._wake:
            self._given_up = True
            self._wake.notify_all()
            return len(self.spill)

    def _stuck(self, after_s: float) -> bool:
        """Whether nothing has arrived for so long, and nobody works at what is under way."""
        if time.monotonic() < self._progress_at + after_s:
            return False
        if not (self._under_way and self.run.is_served()):
            return True
        self._progress_at = time.monotonic()
        return False

    def _work(self) -> None:
        while not self._given_up:
            try:
                while len(self.spill) and not self._given_up:
                    self._send_some()
                    self.error, self._retry_s = "", FIRST_RETRY_S
            except Exception as error:
                self._failed(error)
            if self._closing and not len(self.spill):
                return
            with self._wake:
                closing, pause = self._closing, self._pause()
                if self.error or not closing:
                    self._wake.wait_for(lambda: self._given_up or self._closing != closing, pause)  # noqa: B023

    def _send_some(self) -> None:
        self._next = self._next or self.spill.head(ENTRIES_PER_CALL)
        entries = self._next[:1] if self._alone else self._next
        before, self._uncertain = self._uncertain, max(self._uncertain, len(entries))
        try:
            count = self._send(entries, look=before > 0)
        except Exception as error:
            if not self.run.takes_others():
                raise
            count, before = self._refused(entries, error), self._uncertain
        with self._wake:
            if self._given_up:  # who closed has counted, and another process may deliver now
                return
            self.spill.done(count)
            del self._next[:count]
            self._uncertain = max(0, before - count)
            self._alone = max(0, self._alone - count)
            self._refusals = 0 if count else self._refusals

    def _send(self, entries: Sequence[Entry], look: bool) -> int:
        """Sends the first entries; returns how many. What arrives is progress, and so is what is under way and served."""
        self._under_way = True
        try:
            count = self.run.send(entries, look)
            self._progress_at = time.monotonic()
            return count
        finally:
            self._under_way = False

    def _refused(self, entries: Sequence[Entry], error: Exception) -> int:
        """Of entries that fail together: which does is found out, and it is put aside once it has failed often enough.

        Returns: how many are done.
        """
        self._progress_at = time.monotonic()
        count = together(entries)
        if count > 1:
            self._alone = count
            return 0
        self._refusals += 1
        if self._refusals < REFUSALS and not is_final(error) and not was_refused(entries[0]):
            raise error
        self._send_what_can_be(entries[0])
        return 1

    def _send_what_can_be(self, entry: Entry) -> None:
        """Sends an entry of which something is refused, a metric at a time."""
        values = entry.get("values")
        parts = [{**entry, "values": {name: value}} for name, value in values.items()] if values else [entry]
        aside: list[Entry] = []
        for part in parts:
            try:
                self._send([part], look=True)
            except Exception as error:
                if not self.run.takes_others():
                    raise
                aside.append({**part, "reason": str(error)})
                why = f"{name_of(part)}: {first_line(error)}"
        if aside:
            self.spill.refuse(aside)
            self.refused, self.refusal = self.refused + len(aside), why

    def _failed(self, error: Exception) -> None:
        self.error = first_line(error)
        try:
            self.spill.save()
        except OSError as full:
            self.error += f"; and {self.spill.folder} cannot be written: {full}"

    def _pause(self) -> float:
        """Until more is gathered, or until the next attempt; a run that ends does not wait for long."""
        if not self.error:
            pause, self._every_s = min(EVERY_S, self._every_s), min(EVERY_S, 2 * self._every_s)
            return pause
        pause, self._retry_s = self._retry_s, min(LAST_RETRY_S, 2 * self._retry_s)
        return min(pause, 1.0) if self._closing else pause
