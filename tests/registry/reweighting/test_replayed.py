"""Weights from another run's record: who gets whose, and that nothing of this run matters."""

import json
import math
import statistics

import pytest

from registry.reweighting.record import WEIGHTS_FILE, append_weights, read_weights
from registry.reweighting.replayed import ORDERS, Replayed
from registry.testing import check_reweighting_policy
from registry.testing.reweighting import OBJECTIVES

NAMES = list(OBJECTIVES)
COURSE = [
    {"accuracy": 1.0, "answer_format": 1.0, "iou": 1.0, "next_token_prediction": 1.0},
    {"accuracy": 1.5, "answer_format": 0.25, "iou": 1.25, "next_token_prediction": 1.0},
    {"accuracy": 2.0, "answer_format": 0.5, "iou": 0.75, "next_token_prediction": 0.75},
]


@pytest.fixture
def run(tmp_path):
    for step, weights in enumerate(COURSE, 1):
        append_weights(tmp_path / WEIGHTS_FILE, step, weights)
    return tmp_path


def course(policy, steps):
    found = []
    for step in range(steps):
        found.append(policy.weights)
        policy.update({"accuracy": 0.1 * step})
    return found


@pytest.mark.parametrize("order", ORDERS)
def test_contract(run, order):
    check_reweighting_policy(lambda objectives: Replayed(objectives, run=str(run), order=order))


def test_as_recorded_step_by_step_and_the_last_ones_past_the_end(run):
    assert course(Replayed(NAMES, run=str(run)), 5) == [*COURSE, COURSE[-1], COURSE[-1]]
    assert course(Replayed(NAMES, run=str(run / WEIGHTS_FILE)), 3) == COURSE


def test_in_a_folder_of_runs_the_one_with_the_next_seed(tmp_path):
    for seed in (0, 2, 10):
        (tmp_path / f"seed-{seed}").mkdir()
        append_weights(tmp_path / f"seed-{seed}" / WEIGHTS_FILE, 1, dict.fromkeys(NAMES, 1.0 + seed))
    (tmp_path / "seed-0.log").write_text("")
    policy = Replayed(NAMES, run=str(tmp_path), seed=3)
    seen = {}
    for seed in (0, 1, 2, 7, 10):
        policy.take_seed(seed)
        seen[seed] = policy.weights["iou"] - 1.0
    assert seen == {0: 2, 1: 2, 2: 10, 7: 10, 10: 0}


def test_a_folder_without_another_seed_is_no_control(tmp_path):
    (tmp_path / "seed-4").mkdir()
    append_weights(tmp_path / "seed-4" / WEIGHTS_FILE, 1, dict.fromkeys(NAMES, 1.0))
    policy = Replayed(NAMES, run=str(tmp_path))
    policy.take_seed(3)
    with pytest.raises(ValueError, match="no run with another seed than 4"):
        policy.take_seed(4)


def test_mean_is_the_average_over_the_steps(run):
    expected = {"accuracy": 1.5, "answer_format": 1.75 / 3, "iou": 1.0, "next_token_prediction": 2.75 / 3}
    assert all(found == pytest.approx(expected) for found in course(Replayed(NAMES, run=str(run), order="mean"), 4))


def test_permuted_by_hand_and_by_seed(run):
    ring = dict(zip(NAMES, [*NAMES[1:], NAMES[0]], strict=True))
    found = course(Replayed(NAMES, run=str(run), order="permuted", permutation=ring), 3)
    assert found[1] == {"accuracy": 0.25, "answer_format": 1.25, "iou": 1.0, "next_token_prediction": 1.5}
    seen = set()
    for seed in range(40):
        second = course(Replayed(NAMES, run=str(run), order="permuted", seed=seed), 2)[1]
        assert all(second[name] != COURSE[1][name] for name in NAMES)  # all four differ: none kept its own
        seen.add(tuple(second.values()))
    assert len(seen) > 3  # of nine derangements; that 40 draws give so few has a chance below 1e-10


def test_shuffled_has_the_spread_of_the_record_and_forgets_whose_it_was(run):
    long = [COURSE[1]] * 400
    (run / WEIGHTS_FILE).unlink()
    for step, weights in enumerate(long, 1):
        append_weights(run / WEIGHTS_FILE, step, weights)
    found = course(Replayed(NAMES, run=str(run), order="shuffled"), 400)
    assert all(sorted(weights.values()) == sorted(COURSE[1].values()) for weights in found)
    for name in NAMES:  # standard error 0.46 / 20: a fair draw fails by less than once in 10,000 seeds
        assert statistics.mean(weights[name] for weights in found) == pytest.approx(1, abs=0.11)
    assert found == course(Replayed(NAMES, run=str(run), order="shuffled"), 400)
    assert found != course(Replayed(NAMES, run=str(run), order="shuffled", seed=1), 400)


def test_a_step_taken_again_counts_once_and_a_torn_line_not_at_all(run):
    again = dict(COURSE[2], accuracy=0.5)
    append_weights(run / WEIGHTS_FILE, 3, again)
    with (run / WEIGHTS_FILE).open("a") as file:
        file.write('{"step": 4, "wei')
    assert read_weights(run) == [*COURSE[:2], again]
    append_weights(run / WEIGHTS_FILE, 4, COURSE[0])
    assert read_weights(run) == [*COURSE[:2], again, COURSE[0]]


def test_a_step_without_a_line_has_the_weights_before_it(tmp_path):
    append_weights(tmp_path / WEIGHTS_FILE, 2, COURSE[1])
    append_weights(tmp_path / WEIGHTS_FILE, 4, COURSE[2])
    assert read_weights(tmp_path) == [COURSE[1], COURSE[1], COURSE[1], COURSE[2]]


def test_what_is_refused(run, tmp_path):
    with pytest.raises(ValueError, match=r"no record of weights at .*nowhere"):
        Replayed(NAMES, run=str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"weighs accuracy, answer_format.*this experiment has accuracy: both need"):
        Replayed(["accuracy"], run=str(run))
    with pytest.raises(ValueError, match="order must be one of"):
        Replayed(NAMES, run=str(run), order="reversed")
    with pytest.raises(ValueError, match="permutation must go with 'permuted'"):
        Replayed(NAMES, run=str(run), permutation={"accuracy": "iou"})
    with pytest.raises(ValueError, match="permutation must map"):
        Replayed(NAMES, run=str(run), order="permuted", permutation={"accuracy": "iou"})
    (run / WEIGHTS_FILE).write_text(json.dumps({"step": 1, "weights": {"accuracy": math.inf}}))
    with pytest.raises(ValueError, match=r"line 1: no weights of a step: .*finite number >= 0"):
        read_weights(run)
