"""Sources that end: repeated, dropped out, or the end of the run; exact after a resume, alike on any number of processes."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from recap.data.domains import AtEnd, Domain
from recap.data.draw import draw
from recap.data.endings import course, next_step
from recap.data.mixtures import Alternate, Mixture, Quotas, Uniform, Weighted
from recap.data.objectives import NextTokenPrediction
from registry.example import Example
from registry.replay.base import ReplaySource, shuffled_row

MIXTURES = [Uniform(), Weighted({"a": 1, "b": 2, "c": 1}), Alternate(), Quotas({"a": 3})]


class Rows(ReplaySource):
    def __init__(self, name: str, length: int | None) -> None:
        super().__init__()
        self.name, self._length = name, length

    @property
    def length(self) -> int | None:
        return self._length

    def example(self, position: int) -> Example:
        row = position if self._length is None else shuffled_row(position, self._length, 1)
        return Example(f"{self.name}/{row}", "q", "a")


def domain(name: str, length: int | None, at_end: AtEnd) -> Domain:
    return Domain(name=name, source=Rows(name, length), at_end=at_end, objectives={"next_token": NextTokenPrediction()})


def run(parts: list[Domain], mixture: Mixture, steps: int = 60, start: int = 0, processes: int = 1) -> list[list[str]]:
    """The ids of every step, as one process draws them, or several of the same sources."""
    found = []
    ranks = [parts, *([_copy(part) for part in parts] for _ in range(processes - 1))]
    for step in range(start, steps):
        if next_step(parts, mixture, 8, step) is None:
            assert all(next_step(own, mixture, 8, step) is None for own in ranks)
            break
        shares = [draw(own, mixture, 8, step=step, rank=rank, processes=processes) for rank, own in enumerate(ranks)]
        found.append(sorted(item.prompt.example.id for share in shares for item in share))
    return found


def _copy(part: Domain) -> Domain:
    assert isinstance(part.source, Rows)
    copy = domain(part.name, part.source.length, part.at_end)
    copy.source.load_state_dict(json.loads(json.dumps(part.source.state_dict())))
    return copy


def three(a: AtEnd = "repeat", b: AtEnd = "repeat", c: AtEnd = "repeat") -> list[Domain]:
    return [domain("a", 21, a), domain("b", 34, b), domain("c", None, c)]


@pytest.mark.parametrize("mixture", MIXTURES)
def test_dropping_out_gives_every_example_once_and_full_steps(mixture: Mixture) -> None:
    steps = run(three("drop_out", "drop_out"), mixture)
    assert len(steps) == 60
    drawn = Counter(example for step in steps for example in step)
    assert set(drawn.values()) == {1}
    assert sum(example.startswith("a/") for example in drawn) == 21
    assert sum(example.startswith("b/") for example in drawn) == 34
    assert all(len(step) == 8 for step in steps)


@pytest.mark.parametrize("mixture", MIXTURES)
def test_the_run_ends_with_the_source_that_ends_it(mixture: Mixture) -> None:
    steps = run(three("end_run"), mixture)
    drawn = Counter(example for step in steps for example in step)
    assert len(steps) < 60
    assert sum(count for example, count in drawn.items() if example.startswith("a/")) == 21
    assert any(example.startswith("a/") for example in steps[-1])


@pytest.mark.parametrize("mixture", MIXTURES)
def test_the_run_ends_when_no_step_can_be_filled(mixture: Mixture) -> None:
    parts = [domain("a", 21, "drop_out"), domain("b", 34, "drop_out"), domain("c", 9, "drop_out")]
    steps = run(parts, mixture)
    assert len(steps) == (21 + 34 + 9) // 8
    assert max(Counter(example for step in steps for example in step).values()) == 1


def test_repeating_is_as_before() -> None:
    steps = run(three(), Uniform())
    assert len(steps) == 60
    assert Counter(example for step in steps for example in step)["a/0"] > 1


@pytest.mark.parametrize("mixture", MIXTURES)
@pytest.mark.parametrize("ends", [("drop_out", "drop_out"), ("drop_out", "end_run"), ("end_run", "repeat")])
@pytest.mark.parametrize("stop", [1, 5, 9])
def test_resumed_equals_uninterrupted(mixture: Mixture, ends: tuple[AtEnd, AtEnd], stop: int) -> None:
    whole = run(three(*ends), mixture)
    parts = three(*ends)
    first = run(parts, mixture, steps=stop)
    assert first + run([_copy(part) for part in parts], mixture, start=len(first)) == whole


@pytest.mark.parametrize("mixture", MIXTURES)
@pytest.mark.parametrize("processes", [2, 3])
def test_any_number_of_processes_draw_the_same(mixture: Mixture, processes: int) -> None:
    ends: tuple[AtEnd, AtEnd] = ("drop_out", "end_run")
    assert run(three(*ends), mixture, processes=processes) == run(three(*ends), mixture)


@pytest.mark.parametrize("mixture", MIXTURES)
def test_the_course_is_what_a_run_draws(mixture: Mixture) -> None:
    parts = three("drop_out", "end_run")
    expected = list(course(parts, mixture, 8, 60))
    assert all(part.source.position == 0 for part in parts)
    drawn = [Counter(example.split("/")[0] for example in step) for step in run(parts, mixture)]
    assert [{name: count for name, count in step.items() if count} for step in expected] == drawn


def test_drawing_past_the_end_is_an_error() -> None:
    parts = [domain("a", 8, "end_run")]
    assert len(run(parts, Uniform())) == 1
    with pytest.raises(ValueError, match="step 1 has nothing to draw"):
        draw(parts, Uniform(), 8, step=1, rank=0, processes=1)


def test_what_happens_at_the_end_has_three_names() -> None:
    with pytest.raises(ValueError, match=r"a/Domain.at_end must be one of repeat, drop_out, end_run; it is 'stop'"):
        domain("a", 8, "stop")  # type: ignore[arg-type]
