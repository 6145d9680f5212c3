import re

import pytest

from registry.replay.copying import Copying
from registry.testing import check_replay_source


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_keeps_the_contract(split):
    check_replay_source(lambda: Copying(seed=3, split=split))


def test_the_answer_is_what_stands_in_the_question():
    for example in Copying().take(200):
        assert re.fullmatch(r"copy ([a-z0-9]{4,8})\.", example.question)[1] == example.answer


def test_splits_share_no_string():
    held_out = {example.answer for example in Copying(split="held_out").take(2000)}
    assert not held_out & {example.answer for example in Copying(seed=1).take(2000)}
