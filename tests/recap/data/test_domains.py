from dataclasses import replace

import pytest

from recap.data.domains import Domain
from recap.data.draw import draw
from recap.data.mixtures import Uniform
from recap.data.objectives import NextTokenPrediction
from recap.evaluation.capabilities import Capability
from registry.example import Example
from registry.replay.arithmetic import Arithmetic
from registry.verifiers.accuracy import Accuracy

EXAMPLE = Example(id="1", question="2 + 2?", answer="4")


def domain(**settings: object) -> Domain:
    return Domain(name="sums", source=Arithmetic(), objectives={"right": NextTokenPrediction()}, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "imitated"),
    [
        ({}, "<answer>4</answer>"),
        ({"answer": "boxed"}, r"\boxed{4}"),
        ({"answer": ["after:####", "last"]}, "#### 4"),
        ({"answer": "last"}, "4"),
        ({"target": "{answer}"}, "4"),
        ({"answer": "boxed", "target": r"So it is \boxed{{answer}}."}, r"So it is \boxed{4}."),
    ],
)
def test_what_is_imitated_stands_where_the_answer_does(settings: dict[str, object], imitated: str) -> None:
    filled = domain(**settings).fill(EXAMPLE)
    assert filled.supervised_target == imitated
    assert filled.answer_in == settings.get("answer", "tags")


def test_a_row_with_a_target_of_its_own_keeps_it() -> None:
    assert domain(target="<{answer}>").fill(replace(EXAMPLE, target="four")).supervised_target == "four"


def test_what_is_drawn_is_filled_in() -> None:
    boxed = domain(answer="boxed")
    (drawn,) = draw([boxed], Uniform(), 1, step=0, rank=0, processes=1)
    assert drawn.prompt.example.answer_in == "boxed"


def test_unknown_places_and_targets_without_an_answer_are_errors() -> None:
    with pytest.raises(ValueError, match=r"^sums/Domain.answer must be .*; it is 'box'"):
        domain(answer="box")
    with pytest.raises(ValueError, match=r"^sums/Domain.target must contain \{answer\}.*; it is 'so'"):
        domain(target="so")
    with pytest.raises(ValueError, match=r"^sums/Capability.answer must be .*; it is 'box'"):
        Capability(name="sums", source=Arithmetic(), verifier=Accuracy(), answer="box")
