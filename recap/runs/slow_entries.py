"""`SlowEntries`: entries that take time to make, made beside the training."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

from recap.runs.spill import Entry, Spill

logger = logging.getLogger(__name__)


class SlowEntries:
    """Makes entries on a thread of its own, one after the other, and puts them into a queue.

    One that cannot be made is left out, with a warning.
    """

    def __init__(self, spill: Spill) -> None:
        self._spill = spill
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="recap-entries")
        self._pending: list[Future[None]] = []

    def put(self, make: Callable[[], Entry]) -> None:
        self._pending = [future for future in self._pending if not future.done()]
        self._pending.append(self._pool.submit(self._make, make))

    def wait(self) -> None:
        """Until all are in the queue."""
        wait(self._pending)

    def close(self) -> None:
        """Ends the thread, once all are in the queue."""
        self._pool.shutdown()

    def _make(self, make: Callable[[], Entry]) -> None:
        try:
            self._spill.put(make())
        except Exception as error:
            logger.warning("not logged to MLflow: %s: %s", type(error).__name__, error)
