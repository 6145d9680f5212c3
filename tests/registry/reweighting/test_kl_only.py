import math

import pytest

from registry.reweighting.kl_only import KLOnly
from registry.testing import check_reweighting_policy


def test_contract():
    check_reweighting_policy(KLOnly)


def test_weights_are_uniform_and_the_kl_term_is_asked_for():
    policy = KLOnly(["a", "b"])
    assert policy.weights == {"a": 1.0, "b": 1.0}
    assert policy.kl_coefficient == 0.04
    assert KLOnly(["a"], kl_coefficient=0.01).kl_coefficient == 0.01


@pytest.mark.parametrize("value", [0.0, -0.1, math.nan, math.inf, "0.04"])
def test_a_coefficient_that_is_no_protection_is_refused(value):
    with pytest.raises(ValueError, match=rf"kl_coefficient must be a finite number > 0 .*use uniform.*got {value!r}"):
        KLOnly(["a"], kl_coefficient=value)
