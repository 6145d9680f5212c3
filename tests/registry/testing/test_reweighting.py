"""A plugin in 15 lines that keeps the contract, and policies that break it, one way each."""

import itertools
import math
import random
import subprocess
import sys

import pytest

from registry import load_plugin, reweighting_policies
from registry.reweighting.base import ReweightingPolicy
from registry.testing import check_reweighting_policy

PLUGIN = '''
from registry import reweighting_policies
from registry.reweighting.base import ReweightingPolicy

@reweighting_policies.register("rarest_first")
class RarestFirst(ReweightingPolicy):
    """Weighs an objective by the inverse of how often it was seen."""
    def __init__(self, objectives):
        super().__init__(objectives)
        self.seen = dict.fromkeys(self.objectives, 1)
    def update(self, signals):
        self.check_known(signals)
        self.seen.update({name: self.seen[name] + 1 for name in signals})
    @property
    def weights(self):
        total = sum(1 / n for n in self.seen.values())
        return {name: len(self.seen) / n / total for name, n in self.seen.items()}
    def state_dict(self):
        return dict(self.seen)
    def load_state_dict(self, state):
        self.seen = dict(state)
'''


def test_a_plugin_of_a_few_lines_keeps_the_contract(tmp_path):
    file = tmp_path / "rarest_first.py"
    file.write_text(PLUGIN)
    with reweighting_policies.temporarily():
        load_plugin(file)
        check_reweighting_policy(lambda objectives: reweighting_policies.build("rarest_first", objectives))


class Last(ReweightingPolicy):
    """Weighs by the last signal of each objective: right in the base class, broken in one way by each below."""

    def __init__(self, objectives):
        super().__init__(objectives)
        self.last = dict.fromkeys(self.objectives, 1.0)

    def update(self, signals):
        self.check_known(signals)
        self.last.update({name: min(abs(x), 1e6) for name, x in signals.items() if math.isfinite(x)})

    @property
    def weights(self):
        raw = {name: self.last[name] + 1 for name in self.objectives}
        total = math.fsum(raw.values())
        return {name: len(raw) * x / total for name, x in raw.items()}

    def state_dict(self):
        return {"last": dict(self.last)}

    def load_state_dict(self, state):
        self.last = dict(state["last"])


class NotOfMeanOne(Last):
    @property
    def weights(self):
        return dict(self.last)


class NotOfMeanOneAndSaysSo(NotOfMeanOne):
    mean_one = False


class Negative(Last):
    @property
    def weights(self):
        (first, weight), *rest = super().weights.items()
        return {first: -weight, rest[0][0]: rest[0][1] + 2 * weight, **dict(rest[1:])}


class LetsNaNIn(Last):
    def update(self, signals):
        self.check_known(signals)
        self.last.update(signals)


class ForgetsTheAbsent(Last):
    @property
    def weights(self):
        return dict.fromkeys(self.present, 1.0) if hasattr(self, "present") else super().weights

    def update(self, signals):
        super().update(signals)
        self.present = list(signals)


class ForgetsItsState(Last):
    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


class SharesItsState(Last):
    def state_dict(self):
        return {"last": self.last}


class KeepsTheStateItWasGiven(Last):
    def load_state_dict(self, state):
        self.last = state["last"]


class AcceptsAnything(Last):
    def check_known(self, signals):
        pass


class ForgetsItsStateAndAcceptsAnything(ForgetsItsState, AcceptsAnything):
    pass


class KeepsPartOfARejectedStep(Last):
    def update(self, signals):
        for name, value in signals.items():
            super().update({name: value})


class Random(Last):
    @property
    def weights(self):
        first, second, *rest = self.objectives
        u = random.random()
        return {first: u, second: 2 - u, **dict.fromkeys(rest, 1.0)}


class DiffersBetweenProcesses(Last):
    instances = itertools.count()

    def __init__(self, objectives):
        super().__init__(objectives)
        self.last[self.objectives[next(self.instances) % 2]] = 2.0

    def update(self, signals):
        self.check_known(signals)


class HandsOutItsOwnWeights(Last):
    def __init__(self, objectives):
        super().__init__(objectives)
        self.own = dict.fromkeys(self.objectives, 1.0)

    @property
    def weights(self):
        return self.own


class LogsNaN(Last):
    @property
    def diagnostics(self):
        return {"rate": dict.fromkeys(self.objectives, math.nan)}


class ByNorm(Last):
    """Weighs by the gradient norms, of which it needs one for each signal."""

    needs_gradient_norms = True

    def observe_gradient_norms(self, norms):
        self.norms = dict(norms)

    def update(self, signals):
        self.check_known(signals)
        super().update({name: self.norms[name] for name in signals})


class LetsNormsOfNaNIn(ByNorm):
    def update(self, signals):
        self.check_known(signals)
        self.last.update(self.norms)


@pytest.mark.parametrize("policy", [Last, NotOfMeanOneAndSaysSo, ByNorm])
def test_the_contract_kept(policy):
    check_reweighting_policy(policy)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (NotOfMeanOne, "have mean .*, not 1"),
        (Negative, "the weight of 'accuracy' is -"),
        (LetsNaNIn, "the weight of .* is nan"),
        (ForgetsTheAbsent, "weights of .*, objectives"),
        (ForgetsItsState, "resumed, .* uninterrupted"),
        (SharesItsState, "changed as the run went on: it must be a copy"),
        (KeepsTheStateItWasGiven, "must not change as the run goes on"),
        (AcceptsAnything, "'no_such_objective' was accepted"),
        (KeepsPartOfARejectedStep, "a rejected update changed"),
        (Random, "in one process, .* in another"),
        (DiffersBetweenProcesses, "in one process, .* in another"),
        (HandsOutItsOwnWeights, r"then \{\}"),
        (LetsNormsOfNaNIn, "the weight of .* is nan"),
        (LogsNaN, "diagnostics 'rate' of .* is nan"),
    ],
)
def test_each_breach_is_caught_and_described(policy, message):
    with pytest.raises(AssertionError, match=message):
        check_reweighting_policy(policy)


class DividesByZero(Last):
    @property
    def weights(self):
        return {name: 1.0 / (self.last[name] - 1) for name in self.objectives}


def test_all_that_is_broken_is_reported_with_what_to_do():
    with pytest.raises(AssertionError) as caught:
        check_reweighting_policy(ForgetsItsStateAndAcceptsAnything)
    message = str(caught.value)
    assert message.startswith("ForgetsItsStateAndAcceptsAnything breaks 2 of the 8 promises of a reweighting policy")
    assert "assert_state_round_trip: A run interrupted at a random step and resumed" in message
    assert "do: give everything that `update` changes in state_dict" in message
    assert "do: begin `update` with self.check_known(signals)" in message


def test_an_error_of_the_policy_is_reported_with_its_line():
    with pytest.raises(AssertionError, match=rf"raised ZeroDivisionError: .* at {__file__}:\d+"):
        check_reweighting_policy(DividesByZero)


def test_importable_without_pytest_and_without_torch():
    code = "import sys, registry.testing; assert not {'pytest', 'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
