"""`limit`, `concatenate`, `shuffle_buffer`, `filter` and `deduplicate` around sources with and without end."""

import json

import pytest
from PIL import Image

from registry.example import Example, MalformedExample
from registry.replay.arithmetic import Arithmetic
from registry.replay.base import MissingData, ReplaySource, shuffled_row
from registry.replay.concatenate import Concatenate
from registry.replay.limit import Limit
from registry.replay.selection import Deduplicate, Filter
from registry.replay.shuffle_buffer import ShuffleBuffer
from registry.testing import check_replay_source


class Rows(ReplaySource):
    """Rows 0 .. length - 1, each epoch in an order of its own; question and picture of row i say i % copies."""

    def __init__(self, length=30, bad=(), copies=1000, shuffle=True):
        super().__init__(seed=5)
        self._length, self.bad, self.copies, self.shuffle = length, bad, copies, shuffle

    @property
    def length(self):
        return self._length

    def example(self, position):
        row = shuffled_row(position, self._length, 5) if self.shuffle else position % self._length
        if row in self.bad:
            raise MalformedExample(f"row {row} is bad")
        said = row % self.copies
        return Example(f"rows/{row}", f"Row  {said}", str(row), images=(Image.new("L", (2, 2), said % 256),))

    def check(self):
        raise MissingData("no folder")


def even(example):
    return int(example.answer) % 2 == 0


def never(example):
    return False


def rows(source, count):
    return [int(example.answer) for example in source.take(count)]


WRAPPED = {
    "limit": lambda source: Limit(source, 11),
    "concatenate": lambda source: Concatenate([Rows(7), source]),
    "shuffle_buffer": lambda source: ShuffleBuffer(source, 8, seed=2),
    "filter": lambda source: Filter(source, even),
    "deduplicate": Deduplicate,
}


@pytest.mark.parametrize(
    "source", [Rows, lambda: Rows(bad=(3, 8)), lambda: Rows(copies=9), lambda: Arithmetic(digits=2)]
)
@pytest.mark.parametrize("wrapper", WRAPPED)
def test_keeps_the_contract(wrapper, source):
    check_replay_source(lambda: WRAPPED[wrapper](source()), count=14)


def test_wrappers_wrap_wrappers():
    def made():
        return ShuffleBuffer(Concatenate([Limit(Filter(Rows(), even), 9), Deduplicate(Rows(copies=4))]), 5)

    assert made().length == 9 + 4
    check_replay_source(made, count=20)


@pytest.mark.parametrize("wrapper", WRAPPED.values())
def test_missing_data_is_reported(wrapper):
    with pytest.raises(MissingData, match="no folder"):
        wrapper(Rows()).check()


def test_limit():
    source = Limit(Rows(), 4)
    assert source.length == 4
    assert rows(source, 8) == rows(Rows(), 4) * 2
    assert Limit(Rows(3), 10).length == 3
    assert Limit(Arithmetic(), 10).length == 10
    with pytest.raises(ValueError, match="size must be at least 1, not 0"):
        Limit(Rows(), 0)


def test_concatenate_plays_the_epochs_of_each():
    source = Concatenate([Rows(3), Rows(5)])
    assert source.length == 8
    found = rows(source, 16)
    assert found[:3] + found[8:11] == rows(Rows(3), 6), "the second epoch of the first"
    assert found[3:8] + found[11:] == rows(Rows(5), 10)
    assert [source.example(position).id.split("/")[0] for position in range(8)] == ["0"] * 3 + ["1"] * 5
    endless = Concatenate([Rows(3), Arithmetic()])
    assert endless.length is None
    assert endless.example(3 + 100).question == Arithmetic().example(100).question
    with pytest.raises(ValueError, match=r"source 0 \(Arithmetic\) has no length"):
        Concatenate([Arithmetic(), Rows(3)]).take(1)
    with pytest.raises(ValueError, match="sources is empty"):
        Concatenate([])


def test_shuffle_buffer_shuffles_within_windows():
    source = ShuffleBuffer(Rows(20, shuffle=False), 8)
    first, second = rows(source, 20), rows(source, 20)
    assert [sorted(first[start:end]) for start, end in ((0, 8), (8, 16), (16, 20))] == [
        [*range(8)],
        [*range(8, 16)],
        [*range(16, 20)],
    ]
    assert first != sorted(first)
    assert first != second
    assert sorted(rows(ShuffleBuffer(Rows(20, shuffle=False), 100), 20)) == [*range(20)]


def test_filter_keeps_the_order_of_the_source():
    source = Filter(Rows(), even)
    assert source.length == 15
    assert rows(source, 30) == [row for row in rows(Rows(), 60) if row % 2 == 0]


def test_filter_looks_no_further_than_it_must():
    looked = []

    def look(example):
        looked.append(example.id)
        return True

    Filter(Arithmetic(), look).take(5)
    assert len(looked) == 5


def test_a_resumed_filter_does_not_look_again():
    source, resumed = Filter(Rows(), even), Filter(Rows(), even)
    source.take(10)
    resumed.load_state_dict(json.loads(json.dumps(source.state_dict())))
    resumed.keep = lambda example: pytest.fail("looked again") if resumed._looked < source._looked else even(example)
    assert rows(resumed, 10) == rows(source, 10)


def test_a_filter_from_a_file(tmp_path):
    (tmp_path / "mine.py").write_text("def small(example):\n    return int(example.answer) < 10\n\nTEN = 10\n")
    source = Filter(Rows(), f"{tmp_path / 'mine.py'}:small")
    assert sorted(rows(source, 10)) == [*range(10)]
    for name, complaint in {"smal": "no function 'smal' in .*did you mean small", "TEN": "no function 'TEN'"}.items():
        with pytest.raises(ValueError, match=f"(?s)replay.filter.keep is .*{complaint}"):
            Filter(Rows(), f"{tmp_path / 'mine.py'}:{name}").check()
    with pytest.raises(ValueError, match=r"write 'path/to/file.py:function'"):
        Filter(Rows(), "small").check()
    with pytest.raises(ValueError, match="does not exist"):
        Filter(Rows(), "gone.py:small").check()
    with pytest.raises(ValueError, match="must be a function"):
        Filter(Rows(), 3).check()


def test_what_keeps_nothing_is_an_error_not_an_endless_search():
    for wrapper in (Filter(Rows(), never), Filter(Arithmetic(), never)):
        with pytest.raises(ValueError, match="of its source it keeps none"):
            wrapper.take(1)
    with pytest.raises(ValueError, match="of all 30 examples of its source it keeps none"):
        _ = Filter(Rows(), never).length
    with pytest.raises(ValueError, match="of 10000 examples in a row of its source it keeps none"):
        Deduplicate(Repeating()).take(2)


class Repeating(Arithmetic):
    def example(self, position):
        return super().example(0)


def test_a_predicate_that_fails_names_itself_and_the_example():
    with pytest.raises(ValueError, match=r"replay.filter.keep = .* fails at example 'rows/\d+': KeyError: 'kind'"):
        Filter(Rows(), lambda example: example.metadata["kind"]).take(1)


def test_malformed_rows_are_met_in_their_turn():
    source = Filter(Rows(bad=(4, 5)), even)
    assert source.length == 16
    assert len(source.take(16)) == 14
    assert source.malformed.total() == 2


def test_deduplicate_keeps_the_same_copies_in_every_epoch():
    source = Deduplicate(Rows(copies=9))
    assert source.length == 9
    first, second = rows(source, 9), rows(source, 9)
    assert sorted(row % 9 for row in first) == [*range(9)]
    assert sorted(first) == sorted(second)
    assert first != second


@pytest.mark.parametrize("where", [True, False])
@pytest.mark.parametrize("restored", [True, False])
def test_deduplicate_tells_apart_rows_that_share_an_id(where, restored):
    class Shared(Rows):  # rows of one id; 2 and 3 are copies of 0
        def example(self, position):
            row = shuffled_row(position, 4, 5)
            return Example("same", f"q{row % 2 if row < 3 else 0}", f"{row}", where=f"line {row}" if where else "")

    source = Deduplicate(Shared(4))
    epochs = []
    for _ in range(5):
        epochs.append([(e.question, e.answer) for e in source.take(2)])
        if restored:
            state = json.loads(json.dumps(source.state_dict()))
            source = Deduplicate(Shared(4))
            source.load_state_dict(state)
    assert {tuple(sorted(epoch)) for epoch in epochs} == {tuple(sorted(epochs[0]))}
    assert sorted(question for question, _ in epochs[0]) == ["q0", "q1"]


def test_deduplicate_compares_questions_and_pictures():
    questions = ["a  b", "A B", "a b", "a c", "a b"]
    shades = [0, 0, 1, 0, 1]

    class Few(Rows):
        def example(self, position):
            row = position % 5
            return Example(f"{row}", questions[row], f"{row}", images=(Image.new("L", (2, 2), shades[row]),))

    assert rows(Deduplicate(Few(5)), 3) == [0, 2, 3]
