"""The check of the contract finds the verifiers that break it."""

import os
import time
from dataclasses import replace
from typing import Any

import pytest

from registry.example import Example
from registry.testing import check_verifier
from registry.verifiers.base import UNDECIDED, Undecided, Verifier, settle

NUMBER = Example(id="number", question="How many dogs are there?", answer="42")


class Right(Verifier):
    """Keeps the contract."""

    quick = True

    def __call__(self, completion: str, example: Example) -> float:
        return float(completion == f"<answer>{example.answer}</answer>")


class Raises(Right):
    def __call__(self, completion: str, example: Example) -> float:
        return super().__call__(completion, example) or float("7" not in completion[:9] or int(completion)) * 0


class Generous(Right):
    def __call__(self, completion: str, example: Example) -> float:
        return float(bool(completion.strip()))


class OutOfRange(Right):
    def __call__(self, completion: str, example: Example) -> float:
        return 2 * super().__call__(completion, example)


class Forgetful(Right):
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, completion: str, example: Example) -> float:
        self.calls += 1
        return super().__call__(completion, example) / self.calls


class Meddles(Right):
    def __call__(self, completion: str, example: Example) -> float:
        example.metadata.setdefault("seen", []).append(1)  # type: ignore[attr-defined]
        return super().__call__(completion, example)


class Unpayable(Right):
    def __call__(self, completion: str, example: Example) -> float:
        return float(completion == example.answer)


class HangsHere(Right):
    def __call__(self, completion: str, example: Example) -> float:
        if "\x00" in completion:
            time.sleep(100)
        return super().__call__(completion, example)


class HangsInAWorker(HangsHere):
    quick = False


class EndsTheProcess(Right):
    def __call__(self, completion: str, example: Example) -> float:
        if "\x00" in completion:
            os._exit(3)
        return super().__call__(completion, example)


class Disagrees(HangsInAWorker):
    def shortcut(self, completion: str, example: Example) -> float | Undecided:
        return 0.0 if completion.startswith("<answer>") else UNDECIDED


class Undecidable(HangsInAWorker):
    def __call__(self, completion: str, example: Example) -> Any:
        return UNDECIDED


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Raises, r"Raises raised ValueError: .* on a megabyte of digits, in tags: a completion is whatever .* return 0"),
        (Generous, r"Generous pays 1.0 for .*must earn 0|Generous pays 1.0 for a power tower.*a model would learn to write"),
        (OutOfRange, r"OutOfRange gave 2.0 .*a number in \[0, 1\]"),
        (Forgetful, r"judged again 0\.\d+: a verifier is a function of completion and example alone"),
        (Meddles, r"Meddles changed example 'number'"),
        (Unpayable, r"Unpayable pays 0.0 for '<answer>42</answer>', which should be right .*wrong place"),
        (HangsHere, r"HangsHere ran past 0.5 s on NUL, in tags, in the training process"),
        (EndsTheProcess, r"EndsTheProcess ended its process \(exit code 3\) on NUL, in tags"),
        (Disagrees, r"the shortcut of Disagrees says 0.0 .*its full check 1.0"),
        (Undecidable, r"Undecidable gave UNDECIDED in its full check"),
    ],
)  # fmt: skip
def test_breaches_are_found(kind: type[Verifier], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_verifier(kind(), replace(NUMBER, metadata={}), limit_s=0.5)


def test_what_keeps_the_contract_passes() -> None:
    check_verifier(Right(), NUMBER, limit_s=5)
    check_verifier(HangsInAWorker(), NUMBER, limit_s=0.5)  # the engine stops it


def test_a_local_class_cannot_be_sent() -> None:
    class Local(Right):
        pass

    with pytest.raises(AssertionError, match=r"Local cannot be pickled.*top of its file"):
        check_verifier(Local(), NUMBER)


def test_a_function_is_checked_too() -> None:
    check_verifier(judge, NUMBER)
    assert settle(judge, "a", NUMBER) is UNDECIDED


def judge(completion: str, example: Example) -> float:
    return float(completion == f"<answer>{example.answer}</answer>")
