import sys

import pytest

from registry.replay.reasoning_gym import ReasoningGym
from registry.testing import check_replay_source

pytest.importorskip("reasoning_gym")


@pytest.mark.parametrize("task", ["leg_counting", "countdown", "string_manipulation"])  # the last holds a lambda
def test_keeps_the_contract(task):
    check_replay_source(lambda: ReasoningGym(task, length=20, seed=3), count=14)


def test_an_example():
    example = ReasoningGym("leg_counting", config={"min_animals": 1, "max_animals": 1}).example(0)
    assert "how many legs" in example.question
    assert example.answer.isdigit()
    assert example.metadata["reasoning_gym"]["entry"]["answer"] == example.answer
    assert example.metadata["reasoning_gym"]["entry"]["metadata"]["num_animals"] == 1


def test_an_epoch_is_the_whole_length_and_seeds_share_nothing():
    sources = [ReasoningGym("countdown", length=50, seed=seed) for seed in (0, 1)]
    first, second = ({example.question for example in source.take(50)} for source in sources)
    assert len(first) == 50
    assert not first & second
    assert {example.question for example in sources[0].take(50)} == first


def test_puzzles_with_many_solutions_have_no_reference():
    assert ReasoningGym("rubiks_cube").example(0).answer == ""


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"task": "leg_countin"}, "(?s)no task 'leg_countin'.*did you mean: leg_counting"),
        (
            {"task": "leg_counting", "config": {"min_animal": 3}},
            "(?s)no setting 'min_animal'.*did you mean: min_animals",
        ),
        ({"task": "leg_counting", "config": {"seed": 3}}, "no setting 'seed'"),
        ({"task": "leg_counting", "config": {"min_animals": -1}}, "refuses its settings: min_animals must be positive"),
    ],
)
def test_check(settings, complaint):
    with pytest.raises(ValueError, match=complaint):
        ReasoningGym(**settings).check()


def test_length():
    with pytest.raises(ValueError, match="length must be at least 1, not 0"):
        ReasoningGym("leg_counting", length=0)


def test_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(ValueError, match=r"pip install \"recap-rlvr\[reasoning-gym\]\""):
        ReasoningGym("leg_counting").check()


def test_a_run_is_not_trained_on_what_is_held_out_with_its_seed() -> None:
    for seed in (0, 3):
        trained, held_out = ReasoningGym("chain_sum", length=50), ReasoningGym("chain_sum", length=50, seed=seed)
        trained.take_seed(seed)
        assert len({e.question for e in trained.take(50)} & {e.question for e in held_out.take(50)}) < 5
