"""The check of replay sources finds what it promises to find."""

import itertools

import pytest

from registry.example import Example, MalformedExample
from registry.replay.arithmetic import Arithmetic
from registry.replay.base import ReplaySource
from registry.testing import check_replay_source


class Good(ReplaySource):
    def __init__(self):
        super().__init__()

    @property
    def length(self):
        return 20

    def example(self, position):
        if position % 20 == 7:
            raise MalformedExample("row 7 is bad")
        return Example(str(position % 20), f"q{position % 20}", "a")


class Forgetful(Good):
    """Its position is not in its state."""

    def load_state_dict(self, state):
        super().load_state_dict({**state, "position": 0})


class CountsCalls(Good):
    def __init__(self):
        super().__init__()
        self.calls = itertools.count()

    def example(self, position):
        return Example(str(position % 20), str(next(self.calls)), "a")


class SameId(Good):
    def example(self, position):
        return Example("the same", f"q{position % 20}", "a")


class WrongLength(Good):
    def example(self, position):
        return Example(str(position % 21), "q", "a")


class Shard(Good):
    """Every process has rows of its own."""

    def take(self, count, rank=0, num_processes=1):
        return super().take(count, 0, 1)[rank * 2 :]


class SharedState(Good):
    def __init__(self):
        super().__init__()
        self.seen = []

    def take(self, count, rank=0, num_processes=1):
        self.seen.append(count)
        return super().take(count, rank, num_processes)

    def state_dict(self):
        return {**super().state_dict(), "seen": self.seen}


class NotJson(Good):
    def state_dict(self):
        return {**super().state_dict(), "seen": {1, 2}}


def test_good_ones_pass():
    check_replay_source(Good)
    check_replay_source(lambda: Arithmetic(seed=1))


@pytest.mark.parametrize("bad", [Forgetful, CountsCalls, SameId, WrongLength, Shard, SharedState])
def test_bad_ones_fail(bad):
    with pytest.raises(AssertionError):
        check_replay_source(bad)


def test_a_state_must_be_json():
    with pytest.raises(TypeError, match="set is not JSON serializable"):
        check_replay_source(NotJson)
