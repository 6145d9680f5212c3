from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recap.domains import Domain
from recap.mixtures import Alternate, Proportional, Uniform, Weighted
from recap.objectives import NextTokenPrediction
from registry.replay.arithmetic import Arithmetic


class Sized(Arithmetic):
    def __init__(self, length: int) -> None:
        super().__init__()
        self._length = length

    @property
    def length(self) -> int | None:
        return self._length


def domains(*names: str) -> list[Domain]:
    return [Domain(name=n, source=Arithmetic(), objectives={"next_token": NextTokenPrediction()}) for n in names]


def test_uniform_deals_evenly() -> None:
    assert Uniform().allocate(domains("a", "b", "c", "d"), 64, 7) == {"a": 16, "b": 16, "c": 16, "d": 16}


@given(
    st.lists(st.floats(0.01, 100), min_size=1, max_size=6),
    st.integers(1, 64),
    st.integers(0, 10_000),
)
def test_allocations_sum_to_the_prompts_and_follow_the_rates(rates: list[float], prompts: int, step: int) -> None:
    parts = domains(*"abcdef"[: len(rates)])
    mixture = Weighted(dict(zip("abcdef", rates, strict=False)))
    counts = mixture.allocate(parts, prompts, step)
    assert sum(counts.values()) == prompts
    for name, rate in zip("abcdef", rates, strict=False):
        assert abs(counts[name] - rate / sum(rates) * prompts) < 1 + 1e-6


def test_over_many_steps_shares_are_exact() -> None:
    parts = domains("a", "b", "c")
    total: Counter[str] = Counter()
    for step in range(600):
        total.update(Weighted({"a": 1, "b": 2, "c": 0.5}).allocate(parts, 2, step))
    assert total["a"] == pytest.approx(1200 / 3.5, rel=0.02)
    assert total["b"] == pytest.approx(2400 / 3.5, rel=0.02)


def test_proportional_to_length() -> None:
    parts = [
        Domain(name=n, source=Sized(size), objectives={"next_token": NextTokenPrediction()})
        for n, size in (("a", 300), ("b", 100))
    ]
    assert Proportional().allocate(parts, 8, 0) == {"a": 6, "b": 2}


def test_proportional_needs_lengths() -> None:
    with pytest.raises(ValueError, match="a has none"):
        Proportional().allocate(domains("a"), 8, 0)


def test_alternate_takes_turns() -> None:
    allocations = [Alternate().allocate(domains("a", "b"), 4, step) for step in range(3)]
    assert allocations == [{"a": 4, "b": 0}, {"a": 0, "b": 4}, {"a": 4, "b": 0}]


def test_a_mistyped_domain_gets_its_near_match() -> None:
    with pytest.raises(ValueError, match="did you mean grounding"):
        Weighted({"groundign": 1.0}).allocate(domains("grounding"), 4, 0)


def test_negative_rates_are_refused() -> None:
    with pytest.raises(ValueError, match="must be >= 0"):
        Weighted({"a": -1.0})
