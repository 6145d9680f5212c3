import math

import pytest

from registry.reweighting.schedule import Schedule
from registry.testing import check_reweighting_policy

COURSES = {
    "accuracy": ("linear", 1.0, 3.0, 10),
    "answer_format": ("cosine", 2.0, 0.0, 10),
    "iou": ("steps", {0: 1.0, 5: 4.0}),
    "next_token_prediction": 0.5,
}


def raw(policy, steps):
    """Weights at each step, as multiples of the constant's."""
    found = []
    for _ in range(steps):
        weights = policy.weights
        found.append({name: 0.5 * weight / weights["next_token_prediction"] for name, weight in weights.items()})
        policy.update({})
    return found


def test_contract():
    check_reweighting_policy(lambda objectives: Schedule(objectives, weights=COURSES))


def test_courses_by_hand():
    found = raw(Schedule(list(COURSES), weights=COURSES), 13)
    for step, weights in enumerate(found):
        part = min(step / 10, 1)
        assert weights == pytest.approx(
            {
                "accuracy": 1 + 2 * part,
                "answer_format": 2 * (1 + math.cos(math.pi * part)) / 2,
                "iou": 1.0 if step < 5 else 4.0,
                "next_token_prediction": 0.5,
            },
            abs=1e-12,
        )


def test_an_objective_that_is_not_mentioned_has_one():
    weights = Schedule(["a", "b"], weights={"a": 3.0}).weights
    assert weights == {"a": 1.5, "b": 0.5}


@pytest.mark.parametrize(
    "course",
    [
        -1.0, math.nan, ("linear", 1.0, 2.0), ("linear", 1.0, -2.0, 10), ("cosine", 1.0, 2.0, 0), ("linear", 1, 2, 1.5),
        ("steps", {}), ("steps", {5: 1.0}), ("steps", {0: -1.0}), ("sine", 1.0, 2.0, 10), "linear", None,
    ],
)  # fmt: skip
def test_a_course_of_no_form(course):
    with pytest.raises(ValueError, match=r"schedule: weights\['a'\] is .*write a number, \('linear'"):
        Schedule(["a"], weights={"a": course})


def test_an_unknown_objective():
    with pytest.raises(ValueError, match="unknown objective 'acuracy'; did you mean accuracy"):
        Schedule(["accuracy"], weights={"acuracy": 2.0})


def test_something_that_is_no_state_of_schedule_is_refused():
    with pytest.raises(ValueError, match="not a state of schedule"):
        Schedule(["a"], weights={}).load_state_dict({"losses": {}})


def test_all_zero_counts_as_equal():
    assert Schedule(["a", "b"], weights={"a": 0.0, "b": 0.0}).weights == {"a": 1.0, "b": 1.0}
