from collections import Counter

import pytest

from registry.example import Example, MalformedExample
from registry.replay.arithmetic import Arithmetic
from registry.replay.base import MissingData, ReplaySource
from registry.replay.coreset import Coreset
from registry.testing import check_replay_source


class Rows(ReplaySource):
    """Rows 0 .. length - 1, in order, epoch after epoch."""

    def __init__(self, length: int, bad: int | None = None) -> None:
        super().__init__()
        self._length = length
        self.bad = bad

    @property
    def length(self) -> int:
        return self._length

    def example(self, position: int) -> Example:
        row = position % self._length
        if row == self.bad:
            raise MalformedExample("row is bad")
        return Example(id=str(row), question="?", answer=str(row))

    def check(self) -> None:
        raise MissingData("no folder")


def ids(source: ReplaySource, count: int) -> list[str]:
    return [example.id for example in source.take(count)]


@pytest.mark.parametrize("size", [1, 5, 100])
def test_keeps_the_contract(size):
    check_replay_source(lambda: Coreset(Arithmetic(seed=3), size, seed=1))
    check_replay_source(lambda: Coreset(Rows(30), size, seed=1))


@pytest.mark.parametrize("make", [Arithmetic, lambda: Rows(30)])
def test_the_same_few_in_every_epoch_each_once_in_another_order(make):
    source = Coreset(make(), 10)
    first, second = ids(source, 10), ids(source, 10)
    assert source.length == len(set(first)) == 10
    assert Counter(first) == Counter(second)
    assert first != second  # chance agreement of two random orders: 1 / 10!


def test_the_seed_chooses_among_the_rows_of_a_finite_source():
    chosen = {frozenset(ids(Coreset(Rows(1000), 20, seed), 20)) for seed in range(3)}
    assert len(chosen) == 3
    assert all(max(map(int, rows)) > 100 for rows in chosen), "not the first rows: odds below 1e-18"


def test_of_a_source_without_end_it_is_the_first():
    assert set(ids(Coreset(Arithmetic(seed=3), 20), 20)) == set(ids(Arithmetic(seed=3), 20))


def test_a_source_with_fewer_examples_is_used_whole():
    source = Coreset(Rows(4), 10)
    assert source.length == 4
    assert sorted(ids(source, 4)) == ["0", "1", "2", "3"]


def test_a_malformed_row_is_counted_once_an_epoch():
    source = Coreset(Rows(5, bad=2), 5)
    assert len(source.take(10)) == 8
    assert source.malformed.counts == {"row is bad": 2}


def test_missing_data_is_reported():
    with pytest.raises(MissingData, match="no folder"):
        Coreset(Rows(5), 2).check()


def test_an_empty_subset_is_refused():
    with pytest.raises(ValueError, match="size must be at least 1, not 0"):
        Coreset(Rows(5), 0)
