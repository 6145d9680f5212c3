import math

import pytest

from registry.reweighting.static import Static
from registry.testing import check_reweighting_policy


@pytest.mark.parametrize("weights", [None, {}, {"accuracy": 2}, {"accuracy": 0, "iou": 1e300}, {"iou": 5e-324}])
def test_contract(weights):
    check_reweighting_policy(lambda objectives: Static(objectives, weights), steps=10)


def test_by_hand():
    # 3, 0 and the unmentioned 1: their mean is 4/3
    weights = Static(["a", "b", "c"], {"a": 3, "b": 0}).weights
    assert weights == pytest.approx({"a": 9 / 4, "b": 0.0, "c": 3 / 4})


def test_signals_do_not_move_the_weights():
    policy = Static(["a", "b"], {"a": 3})
    policy.update({"a": 100.0, "b": 0.0})
    assert policy.weights == {"a": 1.5, "b": 0.5}


def test_the_default_doubles_accuracy_and_iou_against_formats():
    weights = Static(["accuracy", "iou", "thinking_format", "answer_format"]).weights
    assert weights == pytest.approx({"accuracy": 4 / 3, "iou": 4 / 3, "thinking_format": 2 / 3, "answer_format": 2 / 3})


def test_the_default_knows_objectives_kept_per_domain():
    weights = Static(["counting/accuracy", "grounding/IoU", "accuracy/format", "a/b/iou"]).weights
    assert weights == pytest.approx(
        {"counting/accuracy": 8 / 7, "grounding/IoU": 8 / 7, "accuracy/format": 4 / 7, "a/b/iou": 8 / 7}
    )


def test_the_default_is_uniform_where_nothing_is_doubled():
    assert Static(["answer_format", "next_token_prediction"]).weights == {
        "answer_format": 1.0,
        "next_token_prediction": 1.0,
    }


def test_an_unknown_objective_is_an_error_with_near_matches():
    with pytest.raises(ValueError, match=r"unknown objective 'acuracy'; did you mean accuracy\?"):
        Static(["accuracy", "iou"], {"acuracy": 2})
    with pytest.raises(ValueError, match=r"'accuracy'; did you mean counting/accuracy\?"):
        Static(["counting/accuracy"], {"accuracy": 2})
    with pytest.raises(ValueError, match=r"'xyz'; known: accuracy, iou"):
        Static(["accuracy", "iou"], {"xyz": 2})


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, "2", None])
def test_a_number_that_cannot_weigh_is_refused(value):
    with pytest.raises(ValueError, match=rf"weights\['a'\] must be a finite number >= 0, got {value!r}"):
        Static(["a", "b"], {"a": value})


def test_all_zero_is_refused():
    with pytest.raises(ValueError, match="at least one objective above 0"):
        Static(["a", "b"], {"a": 0, "b": 0.0})
