"""What every replay source promises, as functions for tests; built-ins and plugins are held to the same list.

>>> check_replay_source(lambda: MySource(seed=3))
"""

from __future__ import annotations

import pickle
from collections.abc import Callable

from registry.example import Example
from registry.replay.base import ReplaySource

Factory = Callable[[], ReplaySource]


def check_replay_source(make: Factory, count: int = 12) -> None:
    """All properties, for the sources that `make` builds with the same parameters each time."""
    assert_pure(make, count)
    assert_ids_unique(make, count)
    assert_processes_share(make, count)
    assert_state_round_trip(make, count)


def assert_pure(make: Factory, count: int = 12) -> None:
    """A position gives the same example at every call, in any order, in another object and in another process."""
    source = make()
    once = [source.example(position) for position in range(count)]
    assert [source.example(position) for position in reversed(range(count))] == once[::-1], "depends on earlier calls"
    assert [make().example(position) for position in range(count)] == once, "depends on the object"
    copy = pickle.loads(pickle.dumps(source))
    assert [copy.example(position) for position in range(count)] == once, "changes when pickled"


def assert_ids_unique(make: Factory, count: int = 12) -> None:
    """Within an epoch no two examples share an id."""
    source = make()
    count = min(count, source.length or count)
    ids = [source.example(position).id for position in range(count)]
    assert len(set(ids)) == count, f"ids occur twice: {ids}"


def assert_processes_share(make: Factory, count: int = 12) -> None:
    """Two processes together take what one would have taken, and stay in step."""
    alone, ranks = make(), [make(), make()]
    for size in (count, 1, count - 1):  # an odd share in between: positions, not shares, decide whose turn it is
        taken = [source.take(size, rank, num_processes=2) for rank, source in enumerate(ranks)]
        assert _by_id(taken[0] + taken[1]) == _by_id(alone.take(size))
        assert {source.position for source in ranks} == {alone.position}


def assert_state_round_trip(make: Factory, count: int = 12) -> None:
    """A source that was stopped goes on with what it would have given next."""
    source, resumed = make(), make()
    source.take(count // 2)
    resumed.load_state_dict(pickle.loads(pickle.dumps(source.state_dict())))
    assert resumed.take(count) == source.take(count)
    assert resumed.state_dict() == source.state_dict()


def _by_id(examples: list[Example]) -> list[Example]:
    return sorted(examples, key=lambda example: example.id)
