from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recap.data.domains import Domain
from recap.data.mixtures import Alternate, Mixture, Proportional, Quotas, Temperature, Uniform, Weighted
from recap.data.objectives import NextTokenPrediction
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


def test_alternate_deals_the_turns_of_a_step_in_order() -> None:
    mixture = Alternate(turns=2)
    allocations = [mixture.allocate(domains("a", "b", "c"), 16, step) for step in range(3)]
    assert allocations == [{"a": 8, "b": 8, "c": 0}, {"a": 8, "b": 0, "c": 8}, {"a": 0, "b": 8, "c": 8}]


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=5), st.integers(1, 4), st.integers(0, 1000))
def test_alternate_gives_whole_turns(rates: list[float], turns: int, step: int) -> None:
    names = "abcde"[: len(rates)]
    mixture = Alternate(Weighted(dict(zip(names, rates, strict=True))), turns)
    counts = mixture.allocate(domains(*names), 12, step)
    assert sum(counts.values()) == 12
    assert all(count % (12 // turns) == 0 for count in counts.values())


@pytest.mark.parametrize("turns", [1, 2])
def test_alternate_around_a_mixture_gives_turns_by_its_rates(turns: int) -> None:
    mixture = Alternate(Weighted({"a": 1, "b": 2, "c": 0.5, "d": 0}), turns)
    total: Counter[str] = Counter()
    for step in range(700 // turns):
        total.update(mixture.allocate(domains("a", "b", "c", "d"), turns, step))
    # 700 turns in shares of 2 : 4 : 1; the golden-ratio sequence stays within a few turns of its share (discrepancy
    # O(log n)).
    assert {name: pytest.approx(total[name], abs=6) for name in "abc"} == {"a": 200, "b": 400, "c": 100}
    assert total["d"] == 0


def test_turns_must_share_the_prompts_equally() -> None:
    with pytest.raises(ValueError, match="turns = 2 cannot share"):
        Alternate(turns=2).allocate(domains("a"), 7, 0)
    with pytest.raises(ValueError, match="turns must be at least 1"):
        Alternate(turns=0)


def test_a_mistyped_domain_gets_its_near_match() -> None:
    with pytest.raises(ValueError, match="did you mean grounding"):
        Weighted({"groundign": 1.0}).allocate(domains("grounding"), 4, 0)


def test_negative_rates_are_refused() -> None:
    with pytest.raises(ValueError, match="must be >= 0"):
        Weighted({"a": -1.0})


def sized(**lengths: int) -> list[Domain]:
    return [
        Domain(name=n, source=Sized(size), objectives={"next_token": NextTokenPrediction()})
        for n, size in lengths.items()
    ]


def test_temperature_by_hand() -> None:
    parts = sized(a=900, b=100)
    assert Temperature(2.0).rates(parts, 0) == [30.0, 10.0]  # square roots
    assert Temperature(1.0).rates(parts, 0) == Proportional().rates(parts, 0)
    assert Temperature(float("inf")).rates(parts, 0) == [1.0, 1.0]
    assert Temperature(2.0).allocate(parts, 8, 0) == {"a": 6, "b": 2}
    assert Temperature(2.0, {"b": 400}).rates(parts, 0) == [30.0, 20.0]
    assert Temperature(1.0, {"c": 5}).rates(domains("c"), 0) == [5.0], "of a source without end"


@pytest.mark.parametrize(
    ("mixture", "complaint"),
    [
        (lambda: Temperature(0.0), "temperature must be > 0"),
        (lambda: Temperature(1.0, {"a": 0}), "sizes must be > 0"),
        (lambda: Temperature(1.0).allocate(domains("a"), 8, 0), "a has none"),
        (lambda: Temperature(1.0, {"aa": 1}).allocate(sized(a=3), 8, 0), "did you mean a"),
        (lambda: Quotas({"a": -1}), "must be >= 0"),
        (lambda: Quotas({"a": 9}).allocate(domains("a", "b"), 8, 0), "9 together, train.prompts_per_step is 8"),
        (lambda: Quotas({"a": 5}).allocate(domains("a"), 8, 0), "no other domain for the rest"),
        (lambda: Quotas({"aa": 5}).allocate(domains("a"), 8, 0), "names 'aa', which is no domain"),
    ],
)
def test_refused(mixture: Callable[[], object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        mixture()


def test_quotas_hold_in_every_step_and_the_others_share_the_rest() -> None:
    total: Counter[str] = Counter()
    for step in range(300):
        counts = Quotas({"a": 5}, Weighted({"b": 2, "c": 1})).allocate(domains("a", "b", "c"), 12, step)
        assert counts["a"] == 5
        assert sum(counts.values()) == 12
        total.update(counts)
    assert total["b"] == pytest.approx(2 * total["c"], rel=0.02)
    assert Quotas({"a": 5, "b": 3}).allocate(domains("a", "b"), 8, 7) == {"a": 5, "b": 3}


MIXTURES = {
    "uniform": Uniform(),
    "weighted": Weighted({"a": 1, "b": 3, "c": 0.5}),
    "alternate": Alternate(),
    "alternate weighted": Alternate(Weighted({"a": 1, "b": 3, "c": 0.5}), turns=2),
    "quotas": Quotas({"a": 2}),
    "two quotas": Quotas({"a": 2, "b": 3}, Weighted({"c": 1})),
}


@pytest.mark.parametrize("mixture", MIXTURES.values(), ids=MIXTURES)
@given(st.lists(st.one_of(st.none(), st.integers(0, 20)), min_size=3, max_size=3), st.integers(0, 100))
def test_nobody_gives_more_than_is_left_and_nobody_is_asked_in_vain(
    mixture: Mixture, left: list[int | None], step: int
) -> None:
    room = dict(zip("abc", left, strict=True))
    counts = mixture.allocate(domains("a", "b", "c"), 12, step, room)
    assert all(most is None or 0 <= counts[name] <= most for name, most in room.items())
    available = None if None in left else sum(most for most in left if most is not None)
    assert sum(counts.values()) == (12 if available is None else min(12, available))


@pytest.mark.parametrize("mixture", MIXTURES.values(), ids=MIXTURES)
def test_plenty_left_changes_nothing(mixture: Mixture) -> None:
    parts = domains("a", "b", "c")
    for step in range(20):
        assert mixture.allocate(parts, 12, step) == mixture.allocate(parts, 12, step, dict.fromkeys("abc", 100))
