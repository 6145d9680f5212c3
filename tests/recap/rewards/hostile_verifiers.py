"""Verifiers that misbehave; a file like one given to `--plugin`, since worker processes cannot import a test module."""

import os
import signal
import sys
import time
from pathlib import Path

from registry.example import Example
from registry.verifiers.base import Verifier


class Commanded(Verifier):
    """Does what the completion says."""

    isolated = True

    def __call__(self, completion: str, example: Example) -> float | None:
        command, _, argument = completion.partition(" ")
        match command:
            case "give":
                return float(argument)
            case "pass":
                return None
            case "sleep":
                time.sleep(1000)
            case "compute":
                return float(9 ** (9**9))
            case "exit":
                os._exit(int(argument))
            case "segfault":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "touch":
                Path(argument).touch()
                return 1.0
            case "raise":
                raise KeyError(argument)
            case "stop":
                sys.exit(argument)
            case "interrupt":
                raise KeyboardInterrupt
            case "allocate":
                return float(len(bytearray(int(argument) * 2**30)))
            case "text":
                return argument  # type: ignore[return-value]
            case "images":
                return float(len(example.images))
            case "modules":
                return float(argument in sys.modules)
        return 0.0


class CommandedHere(Commanded):
    """The same in the calling process."""

    isolated = False


class CannotBeUnpacked(Verifier):
    """Comes to pieces on the way to a worker."""

    isolated = True

    def __call__(self, completion: str, example: Example) -> float:
        return 1.0

    def __setstate__(self, state: object) -> None:
        raise RuntimeError("lost")

    def __getstate__(self) -> dict[str, int]:
        return {"a": 1}
