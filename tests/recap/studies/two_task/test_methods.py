"""What is compared, and how policies of every kind are asked."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from recap.studies.two_task.methods import Method, ablations, all_methods
from registry import reweighting_policies
from registry.reweighting.base import ReweightingPolicy

LOSSES = np.array([[1.0, 2.0]])
GRADIENTS = np.array([[[3.0, 4.0], [0.0, 2.0]]])


class Recorder(ReweightingPolicy):
    """Weights L1 by the number of updates so far, and writes down what it is told."""

    def __init__(self, objectives: list[str]) -> None:
        super().__init__(objectives)
        self.told: list[Mapping[str, float]] = []
        self.updates = 0

    def update(self, signals: Mapping[str, float]) -> None:
        self.told.append(dict(signals))
        self.updates += 1

    @property
    def weights(self) -> dict[str, float]:
        return {"L1": float(self.updates), "L2": 0.0}


def test_weights_are_those_of_the_step_before() -> None:
    with reweighting_policies.temporarily():
        reweighting_policies.register("recorder")(Recorder)
        rule = Method("recorder", "policy", "recorder").start([0])
        np.testing.assert_array_equal(rule.direction(LOSSES, GRADIENTS), [[0, 0]])
        np.testing.assert_array_equal(rule.direction(LOSSES, GRADIENTS), [[1.5, 2.0]])  # (1/K) λ1 ∇L1
        assert rule.weight_spread == 0.5


def test_a_same_step_policy_with_gradient_norms() -> None:
    class Normed(Recorder):
        """Knows the norms first, and acts at once."""

        same_step = True
        needs_gradient_norms = True

        def observe_gradient_norms(self, norms: Mapping[str, float]) -> None:
            self.told.append(dict(norms))

        @property
        def weights(self) -> dict[str, float]:
            assert self.told == [{"L1": 5.0, "L2": 2.0}, {"L1": 1.0, "L2": 2.0}]
            return super().weights

    with reweighting_policies.temporarily():
        reweighting_policies.register("normed")(Normed)
        rule = Method("normed", "policy", "normed").start([0])
        np.testing.assert_array_equal(rule.direction(LOSSES, GRADIENTS), [[1.5, 2.0]])


def test_a_plugin_takes_part_and_one_that_cannot_be_built_is_a_note() -> None:
    class Demanding(Recorder):
        """Wants what nobody gives."""

        def __init__(self, objectives: list[str], wanted: float) -> None:
            super().__init__(objectives)

    with reweighting_policies.temporarily():
        reweighting_policies.register("recorder")(Recorder)
        reweighting_policies.register("demanding")(Demanding)
        methods, notes = all_methods()
    names = [method.name for method in methods]
    assert {"recap", "uniform", "static", "recorder"} <= set(names)
    assert len(set(names)) == len(names)
    assert "demanding" not in names
    assert any("demanding is left out" in note and "wanted" in note for note in notes)
    assert any("kl_only is left out" in note for note in notes)


def test_a_missing_extra_drops_those_rows_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str, objectives: int) -> None:
        raise ValueError(f'{name}: pip install "recap-rlvr[gradients]"')

    monkeypatch.setattr("recap.studies.two_task.methods.build_aggregator", missing)
    methods, notes = all_methods()
    assert not [method for method in methods if method.group == "gradient method"]
    assert any("pcgrad is left out" in note and "recap-rlvr[gradients]" in note for note in notes)


def test_ablations_are_the_papers() -> None:
    values = {group: [] for group in ("alpha", "temperature")}  # type: dict[str, list[float]]
    for method in ablations():
        if method.group in values:
            values[method.group] += method.parameters.values()
    assert values == {"alpha": [0, 0.25, 0.5, 0.75, 1], "temperature": [0.1, 1, 10, 30]}


def test_a_random_gradient_method_depends_on_its_own_seed_alone() -> None:
    pytest.importorskip("torchjd")
    graddrop = Method("graddrop", "gradient method", "graddrop")
    assert not graddrop.deterministic
    assert Method("pcgrad", "gradient method", "pcgrad").deterministic
    conflict = np.array([[[1.0, -2.0], [-3.0, 1.0]]])

    def draws(seeds: list[int]) -> np.ndarray:
        rule = graddrop.start(seeds)
        return np.stack([rule.direction(LOSSES, np.repeat(conflict, len(seeds), axis=0)) for _ in range(40)])

    alone, together = draws([3]), draws([1, 3])
    np.testing.assert_array_equal(alone[:, 0], together[:, 1])
    assert (together[:, 0] != together[:, 1]).any()  # 40 fair draws each: equal with probability below 1e-9
