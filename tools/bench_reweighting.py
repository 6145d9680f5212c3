"""What reweighting costs: `recap` over many objectives against a step of the tiny model, in one run.

python tools/bench_reweighting.py
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from pathlib import Path

from recap.experiment.config import load_config
from recap.learning.trainer import Trainer
from registry import reweighting_policies

QUICKSTART = Path(__file__).resolve().parent.parent / "experiments" / "quickstart.gin"


def reweighting_seconds(objectives: int, updates: int) -> float:
    """Median seconds of update, weights and diagnostics, as the trainer calls them once per step, history full."""
    names = [f"objective_{k}" for k in range(objectives)]
    policy = reweighting_policies.build("recap", objectives=dict.fromkeys(names, "reward"))
    rng = random.Random(0)
    times = []
    for _ in range(updates):
        signals = {name: rng.random() for name in names}
        started = time.perf_counter()
        policy.update(signals)
        _ = policy.weights, policy.diagnostics
        times.append(time.perf_counter() - started)
    return statistics.median(times[2 * policy.window :])


def step_seconds(steps: int) -> float:
    """Median seconds of a quick-start step, the first left out."""
    trainer = Trainer(load_config(QUICKSTART, ["train.capabilities = []"]).experiment)
    with trainer.experiment.rewards:
        times = [trainer.step().metrics["step_seconds"] for _ in range(steps + 1)]
    return statistics.median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objectives", type=int, default=100)
    parser.add_argument("--steps", type=int, default=5)
    arguments = parser.parse_args()
    before = reweighting_seconds(arguments.objectives, 200)
    step = step_seconds(arguments.steps)
    after = reweighting_seconds(arguments.objectives, 200)  # around the steps, in case the machine changed its pace
    reweighting = (before + after) / 2
    print(f"reweighting of {arguments.objectives} objectives: {1e3 * reweighting:.3f} ms; a step: {step:.3f} s")
    print(f"{100 * reweighting / step:.4f} % of a step")


if __name__ == "__main__":
    main()
