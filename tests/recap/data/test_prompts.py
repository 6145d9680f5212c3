"""How examples are asked."""

from __future__ import annotations

from typing import Any

import pytest

from recap.data.prompts import Asking
from registry.chat import Chat
from registry.example import Example

EXAMPLE = Example(id="a", question="{3}+3=?", answer="6")


def test_a_prompt_holds_all_that_is_asked() -> None:
    how = Asking(prompt="Q: {question}", system="Be {brief}.", shots=[("1+1=?", "2")], chat_arguments={"think": False})
    prompt = how.ask(EXAMPLE)
    assert prompt.chat == Chat("Q: {3}+3=?", "Be {brief}.", (("Q: 1+1=?", "2"),), {"think": False})
    assert prompt.text == "Q: {3}+3=?"
    assert prompt.example is EXAMPLE


def test_by_default_a_prompt_is_the_question_alone() -> None:
    assert Asking().ask(EXAMPLE).chat == Chat("{3}+3=?")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompt": "nothing"}, r"a/Domain.prompt must contain \{question\}"),
        ({"shots": [("q", "a"), ("q",)]}, r"a/Domain.shots\[1\] must be a pair of texts"),
        ({"shots": [("q", 2)]}, r"a/Domain.shots\[0\] must be a pair of texts"),
        ({"chat_arguments": {"tokenize": True}}, r"a/Domain.chat_arguments may not hold tokenize"),
        ({"long_prompts": "shorten"}, r"a/Domain.long_prompts must be 'skip' or 'cut'; it is 'shorten'"),
        ({"max_prompt_tokens": 0}, r"a/Domain.max_prompt_tokens must be at least 1"),
    ],
)
def test_what_cannot_be_asked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Asking(**settings).check_asking("a/Domain")
