"""What logging costs the quick start's RECAP run: CPU time, with traces, models, outcomes and system metrics.

Three sides take turns: nothing logged, a local SQLite database, and one that another process locks from the first step to the
last. The training thread pays for what it does itself, and at most for the CPU time of the threads beside it, which share
Python's lock. A run of a few steps has an evaluation at its start and one at its end, and a checkpoint every ten steps.

python tools/bench_tracking.py --steps 20 --rounds 2
"""

from __future__ import annotations

import argparse
import functools
import os
import sqlite3
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from recap.experiment.config import load_config
from recap.runs.delivery import Delivery
from recap.runs.run import Run
from recap.runs.slow_entries import SlowEntries
from recap.runs.system_metrics import SystemMetrics

QUICKSTART = Path(__file__).resolve().parent.parent / "experiments" / "quickstart.gin"
SIDES = ("off", "on", "locked")


class CpuWatch:
    """CPU seconds of a thread within calls that are watched, the outermost alone, by name."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._depth: defaultdict[int, int] = defaultdict(int)

    def watch(self, owner: Any, method: str, name: str, training: bool = True) -> None:
        """Counts a method's calls.

        Args:
            training: whether only those of the main thread count.
        """
        original = getattr(owner, method)

        @functools.wraps(original)
        def watched(*args: Any, **named: Any) -> Any:
            thread = threading.current_thread()
            if self._depth[thread.ident or 0] or (training and thread is not threading.main_thread()):
                return original(*args, **named)
            self._depth[thread.ident or 0] += 1
            before = time.thread_time()
            try:
                return original(*args, **named)
            finally:
                self.seconds[name] += time.thread_time() - before
                self._depth[thread.ident or 0] -= 1

        setattr(owner, method, watched)


def measure(steps: int, folder: Path, side: str) -> dict[str, float]:
    """One run of a side; CPU seconds by name, those of `total` and `evaluations` among them."""
    database = folder / "mlflow.db"
    os.environ["MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"] = str(side != "off").lower()
    bindings = [
        f"train.steps = {steps}",
        "checkpoints.every = 10",
        "checkpoints.save_model = False",
        f"tracking.uri = 'sqlite:///{database}'",
    ]
    config = load_config(QUICKSTART, bindings)
    begun = time.process_time()
    run = Run(config.experiment, folder / "run", operative_config=config.operative)
    start = time.process_time() - begun
    if side == "off":
        run.tracker.finish("FINISHED")  # what is logged after it goes nowhere
    beside, training = CpuWatch(), CpuWatch()
    beside.watch(run.evaluations, "measure", "evaluations")
    training.watch(run, "_log", "steps")
    training.watch(run.evaluations, "_record", "outcomes")
    training.watch(run.keeper, "_show", "models")
    training.watch(run.tracker, "flush", "flush")
    training.watch(run.tracker, "news", "news")
    training.watch(run.tracker, "finish", "finish")
    holder = sqlite3.connect(database)
    if side == "locked":
        holder.execute("BEGIN EXCLUSIVE")
    before = time.process_time()
    run.execute()
    total = time.process_time() - before
    holder.close()
    return {
        "start": start,
        "total": total,
        **{f"thread {name}": seconds for name, seconds in training.seconds.items()},
        **THREADS.seconds,
        **beside.seconds,
    }


def report(side: str, runs: list[dict[str, float]], without: float) -> None:
    """Prints the medians of a side."""
    names = {name for run in runs for name in run}
    found = {name: statistics.median(run.get(name, 0.0) for run in runs) for name in sorted(names)}
    rest = found["total"] - found["evaluations"]
    own = {name: seconds for name, seconds in found.items() if name.startswith("thread ")}
    other = {name: seconds for name, seconds in found.items() if name.startswith("beside ")}
    print(
        f"{side}: {found['total']:.1f} s of CPU, {found['evaluations']:.1f} of them evaluations, start {found['start']:.1f}"
    )
    for label, parts in (("the training thread's logging", own), ("the threads beside it", other)):
        spent = sum(parts.values())
        shares = "  ".join(f"{name.split(' ', 1)[1]} {seconds:.3f}" for name, seconds in parts.items())
        print(f"  {label} {spent:.3f} s, {spent / rest:.2%} of what is beside the evaluations: {shares}")
    print(f"  the whole process against none logged {(found['total'] - without) / without:+.2%}")


THREADS = CpuWatch()
THREADS.watch(Delivery, "_work", "beside delivery", training=False)
THREADS.watch(SlowEntries, "_make", "beside pictures", training=False)
THREADS.watch(SystemMetrics, "_work", "beside system metrics", training=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for turn in range(arguments.rounds + 1):
        for side in SIDES if turn else SIDES[:1]:  # the first is not counted: everything is imported in it
            THREADS.seconds.clear()
            with tempfile.TemporaryDirectory() as folder:
                found = measure(arguments.steps if turn else 1, Path(folder), side)
            if turn:
                runs[side].append(found)
    without = statistics.median(run["total"] for run in runs["off"])
    for side in SIDES:
        report(side, runs[side], without)


if __name__ == "__main__":
    main()
