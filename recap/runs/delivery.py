"""`Delivery`: the thread that brings a queue to MLflow, however often MLflow goes away."""

from __future__ import annotations

import threading
import time

from recap.runs.mlflow_run import MLflowRun, Refused
from recap.runs.mlflow_store import first_line
from recap.runs.spill import Entry, Spill

EVERY_S = 5.0  # a batch of metrics takes a database about as long as a single one
ENTRIES_PER_CALL = 200
FIRST_RETRY_S, LAST_RETRY_S = 1.0, 60.0  # doubled in between
CLOSE_WAIT_S, STUCK_AFTER_S = 60.0, 15.0  # a run that ends waits while entries arrive, and not long while none does


class Delivery:
    """Delivers what is in a queue, in order and once, until it is closed.

    What was sent and not confirmed may have arrived: before it is sent again, the thread looks. Nothing is raised.

    Attributes:
        error: why the newest attempt failed; empty where it did not.
        refused: entries, or single metrics, that MLflow will never take.
    """

    def __init__(self, spill: Spill, run: MLflowRun) -> None:
        self.spill, self.run = spill, run
        self.error = ""
        self.refused = 0
        self._uncertain = spill.recovered  # oldest entries that may have arrived already
        self._wake = threading.Condition()
        self._closing = self._given_up = False
        self._retry_s = FIRST_RETRY_S
        self._progress_at = time.monotonic()
        self._thread = threading.Thread(target=self._work, daemon=True, name="recap-mlflow")
        self._thread.start()

    def close(self, wait_s: float = CLOSE_WAIT_S) -> int:
        """Ends the thread once all is delivered, or nothing more can be; returns how many entries are left."""
        with self._wake:
            self._closing, self._retry_s = True, FIRST_RETRY_S
            self._progress_at = time.monotonic()
            self._wake.notify_all()
        until = time.monotonic() + wait_s
        while self._thread.is_alive() and time.monotonic() < min(until, self._progress_at + STUCK_AFTER_S):
            self._thread.join(0.1)
        with self._wake:
            self._given_up = True
            self._wake.notify_all()
            return len(self.spill)

    def _work(self) -> None:
        while not self._given_up:
            try:
                while len(self.spill) and not self._given_up:
                    self._send_some()
                    self.error, self._retry_s, self._progress_at = "", FIRST_RETRY_S, time.monotonic()
            except Exception as error:
                self._failed(error)
            if self._closing and not len(self.spill):
                return
            with self._wake:
                closing, pause = self._closing, self._pause() if self.error else EVERY_S
                if self.error or not closing:
                    self._wake.wait_for(lambda: self._given_up or self._closing != closing, pause)  # noqa: B023

    def _send_some(self) -> None:
        entries = self.spill.head(ENTRIES_PER_CALL)
        before, self._uncertain = self._uncertain, max(self._uncertain, len(entries))
        try:
            count = self.run.send(entries, look=before > 0)
        except Refused:
            self._send_what_can_be(entries[0])
            count, before = 1, max(before, len(entries))
        with self._wake:
            if self._given_up:  # who closed has counted, and another process may deliver now
                return
            self.spill.done(count)
            self._uncertain = max(0, before - count)

    def _send_what_can_be(self, entry: Entry) -> None:
        """Sends an entry of which something is refused, a metric at a time."""
        values = entry.get("values")
        parts = [{**entry, "values": {name: value}} for name, value in values.items()] if values else [entry]
        for part in parts:
            try:
                self.run.send([part], look=True)
            except Refused as error:
                self.spill.refuse([part], str(error))
                self.refused += 1

    def _failed(self, error: Exception) -> None:
        self.error = first_line(error)
        try:
            self.spill.save()
        except OSError as full:
            self.error += f"; and {self.spill.folder} cannot be written: {full}"

    def _pause(self) -> float:
        """Until the next attempt; a run that ends does not wait for long."""
        pause, self._retry_s = self._retry_s, min(LAST_RETRY_S, 2 * self._retry_s)
        return min(pause, 1.0) if self._closing else pause
