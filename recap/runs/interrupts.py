"""Ctrl-C and SIGTERM: what a process does by itself is left at once, everything else when it is whole."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from recap.parallel.local_work import stop

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Hears that the run is asked to stop, and says so to `recap.parallel.local_work`; a second Ctrl-C does not wait.

    Outside the main thread, where Python allows no handlers, it never hears anything.

    Args:
        at_once: whether nothing inside is worth finishing, as while a model is loaded.
    """

    def __init__(self, at_once: bool = False) -> None:
        self._at_once = at_once
        self._before: dict[signal.Signals, Any] = {}

    @property
    def requested(self) -> bool:
        return stop.requested

    def __enter__(self) -> Interrupts:
        stop.requested, stop.at_once = False, self._at_once
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        stop.requested = stop.at_once = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        stop()
