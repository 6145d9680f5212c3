import pytest

from registry.reweighting.uniform import Uniform
from registry.testing import check_reweighting_policy


def test_contract():
    check_reweighting_policy(Uniform)


def test_every_weight_is_one_whatever_the_signals():
    policy = Uniform({"accuracy": "reward", "iou": "shortfall"})
    assert policy.weights == {"accuracy": 1.0, "iou": 1.0}
    policy.update({"accuracy": 0.9})
    assert policy.weights == {"accuracy": 1.0, "iou": 1.0}


def test_asks_for_no_kl_term():
    assert Uniform(["a"]).kl_coefficient is None


@pytest.mark.parametrize(
    ("objectives", "reason"),
    [
        ("iou", r"names of its objectives in a list: \['iou'\]"),
        (["iou", "accuracy", "iou"], "was given iou more than once"),
        ([], "at least one objective"),
    ],
)
def test_objectives_are_different_names(objectives, reason):
    with pytest.raises(ValueError, match=reason):
        Uniform(objectives)
