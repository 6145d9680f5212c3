import re

import pytest

from registry.replay.arithmetic import Arithmetic
from registry.replay.careless import THOUGHT, Careless
from registry.replay.copying import Copying
from registry.testing import check_replay_source


def test_keeps_the_contract():
    check_replay_source(lambda: Careless(Arithmetic(seed=3), seed=1))


def test_only_the_target_is_changed():
    plain = Arithmetic().take(50)
    for example, careful in zip(Careless(Arithmetic(), untagged=0).take(50), plain, strict=True):
        assert (example.id, example.question, example.answer) == (careful.id, careful.question, careful.answer)
        assert example.target == careful.target or example.target.startswith(THOUGHT)


def test_shares_and_spread():
    """2,000 examples: shares to 5 standard errors (0.056 at 1/2)."""
    examples = Careless(Arithmetic(), guesses=0.5, untagged=0.2, spread=2).take(2000)
    guessed = [example for example in examples if "guess" in example.target]
    untagged = [example for example in examples if "<answer>" not in example.target]
    assert abs(len(guessed) / 2000 - 0.5) < 0.056
    assert abs(len(untagged) / 2000 - 0.2) < 0.045
    assert abs(sum("guess" in example.target for example in untagged) / len(untagged) - 0.5) < 0.13
    errors = [int(re.findall(r"\d+", example.target)[-1]) - int(example.answer) for example in guessed]
    assert set(errors) == {-2, -1, 0, 1, 2}
    assert abs(errors.count(0) / len(errors) - 0.2) < 0.064


def test_without_tags_the_answer_still_stands_alone():
    (example,) = Careless(Arithmetic(), guesses=0, untagged=1).take(1)
    assert re.fullmatch(rf"[0-9+= ]+ {example.answer}", example.target)


@pytest.mark.parametrize("settings", [{"guesses": 1.1}, {"untagged": -0.1}, {"spread": -1}])
def test_impossible_settings(settings):
    (name,) = settings
    with pytest.raises(ValueError, match=rf"replay\.careless: {name}"):
        Careless(Arithmetic(), **settings)


def test_an_answer_that_is_no_number_is_named():
    with pytest.raises(ValueError, match="copying/train/0"):
        Careless(Copying(), guesses=1).take(1)
