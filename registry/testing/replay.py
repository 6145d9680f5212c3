"""What every replay source promises, as functions for tests.

>>> check_replay_source(lambda: MySource(seed=3))
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable

from registry.example import Example, MalformedExample
from registry.replay.base import ReplaySource

Factory = Callable[[], ReplaySource]

LONGEST_EPOCH = 300
"""Examples: a longer epoch is not read to its end."""


def check_replay_source(make: Factory, count: int = 12) -> None:
    """All properties, for the sources that `make` builds with the same parameters each time.

    Args:
        make: builds a source at its start.
        count: positions tried, at least 4; more than an epoch of a small source has are as good.
    """
    assert_pure(make, count)
    assert_ids_unique(make, count)
    assert_epoch_whole(make)
    assert_processes_share(make, count)
    assert_state_round_trip(make, count)


def assert_pure(make: Factory, count: int = 12) -> None:
    """A position gives the same example at every call, in any order, in another object and in another process."""
    source = make()
    once = [_outcome(source, position) for position in range(count)]
    assert [_outcome(source, position) for position in reversed(range(count))] == once[::-1], "depends on earlier calls"
    assert [_outcome(make(), position) for position in range(count)] == once, "depends on the object"
    copy = pickle.loads(pickle.dumps(source))
    assert [_outcome(copy, position) for position in range(count)] == once, "changes when pickled"


def assert_ids_unique(make: Factory, count: int = 12) -> None:
    """Within an epoch no two examples share an id."""
    source = make()
    found = [_outcome(source, position) for position in range(min(count, source.length or count))]
    ids = [example.id for example in found if isinstance(example, Example)]
    assert len(set(ids)) == len(ids), f"ids occur twice: {ids}"


def assert_epoch_whole(make: Factory) -> None:
    """A source with a length gives in every epoch of so many positions the same examples, each once."""
    source = make()
    length = source.length
    assert length is None or length >= 1, f"length is {length}: None where there is no end, else at least 1"
    if length is None or length > LONGEST_EPOCH:
        return
    epochs = [sorted(_name(_outcome(source, start + i)) for i in range(length)) for start in (0, length)]
    assert epochs[0] == epochs[1], f"the second epoch of {length} has other examples than the first"


def assert_processes_share(make: Factory, count: int = 12) -> None:
    """Any number of processes take together what one would have taken, and stay in step."""
    for processes in (2, 3):
        alone, ranks = make(), [make() for _ in range(processes)]
        for size in (count, 1, count - 1):  # an odd share in between: positions, not shares, decide whose turn it is
            taken = [source.take(size, rank, num_processes=processes) for rank, source in enumerate(ranks)]
            assert _by_id([example for share in taken for example in share]) == _by_id(alone.take(size)), (
                f"{processes} processes take other examples than one"
            )
            assert {source.position for source in ranks} == {alone.position}
        assert sum(source.malformed.total() for source in ranks) == alone.malformed.total()


def assert_state_round_trip(make: Factory, count: int = 12) -> None:
    """A source that was stopped goes on with what it would have given next, also on another number of processes.

    Its state survives JSON, in which checkpoints keep it, and does not change as the source goes on.
    """
    source = make()
    source.take(count // 2)
    state = source.state_dict()
    kept = json.dumps(state)
    expected = source.take(count)
    assert json.dumps(state) == kept, "a state changes as the source goes on: it must be a copy"
    resumed, used = make(), make()
    used.take(count + 1)
    for other in (resumed, used):
        other.load_state_dict(json.loads(kept))
        assert other.take(count) == expected
        assert other.state_dict() == source.state_dict()
    ranks = [make(), make()]
    shares = []
    for rank, other in enumerate(ranks):
        other.load_state_dict(json.loads(kept))
        shares += other.take(count, rank, num_processes=2)
    assert _by_id(shares) == _by_id(expected), "two processes that go on take other examples than one would have"


def _outcome(source: ReplaySource, position: int) -> Example | str:
    """The example at a position, or why there is none."""
    try:
        return source.example(position)
    except MalformedExample as error:
        return str(error)


def _name(outcome: Example | str) -> str:
    return outcome.id if isinstance(outcome, Example) else outcome


def _by_id(examples: list[Example]) -> list[Example]:
    return sorted(examples, key=lambda example: (example.id, example.occurrence))
