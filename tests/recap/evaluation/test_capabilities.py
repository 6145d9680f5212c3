from __future__ import annotations

import pytest

from recap.evaluation.capabilities import Capability
from registry.example import Example
from registry.replay.arithmetic import Arithmetic


def judge(completion: str, example: Example) -> float:
    return 1.0


def test_a_prompt_must_hold_the_question() -> None:
    with pytest.raises(ValueError, match=r"must contain \{question\}"):
        Capability(name="x", source=Arithmetic(), verifier=judge, prompt="nothing")
