"""The contracts as property functions, a file for each family: built-ins and plugins are tested with the same list.

Each function raises AssertionError, with the step and the values, where the contract does not hold; none needs pytest.
In the test of a plugin:

    from registry.testing import check_reweighting_policy

    def test_contract():
        check_reweighting_policy(MyPolicy)
        check_reweighting_policy(lambda objectives: MyPolicy(objectives, parameter=3))
"""

from registry.testing.backend import check_backend
from registry.testing.replay import check_replay_source
from registry.testing.reweighting import assert_weights_valid, check_reweighting_policy
from registry.testing.verifiers import check_verifier

__all__ = ["assert_weights_valid", "check_backend", "check_replay_source", "check_reweighting_policy", "check_verifier"]
