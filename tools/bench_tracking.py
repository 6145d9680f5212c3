"""What logging costs the quick start's RECAP run: CPU time, with traces, models, outcomes and system metrics.

Three sides take turns: nothing logged, a local SQLite database, and one that another process locks from the first step to the
last. The training thread pays for what it does itself, and at most for the CPU time of the threads beside it, which share
Python's lock. A run of a few steps has an evaluation at its start and one at its end, and a checkpoint every ten steps; one of
80 is the quick start as it is. What a process pays once, importing MLflow and opening the database, is not in the threads'
time; it is said first.

python tools/bench_tracking.py --steps 20 --rounds 2
python tools/bench_tracking.py --steps 80 --rounds 1 --sides on    # the quick start's own length
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recap.experiment.config import load_config
from recap.experiment.run_settings import Tracking
from recap.runs.delivery import Delivery
from recap.runs.mlflow_store import start_run
from recap.runs.run import Run
from recap.runs.slow_entries import SlowEntries
from recap.runs.system_metrics import SystemMetrics

QUICKSTART = Path(__file__).resolve().parent.parent / "experiments" / "quickstart.gin"
OWN_STEPS = 80  # of the quick start
SIDES = ("off", "on", "locked")


def open_mlflow() -> None:
    """Says the CPU seconds of a process's first look at MLflow, with a new database, and of a second one."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Tracking(uri=f"sqlite:///{folder}/mlflow.db")
        spent = []
        for _ in range(2):
            before = time.process_time()
            start_run(settings, "bench", {})
            spent.append(time.process_time() - before)
    print(f"once a process and database: {spent[0]:.2f} s of CPU, {spent[1]:.2f} s where both are there")


class Watch:
    """Seconds of a thread within calls that are watched, the outermost alone, by name."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._depth: defaultdict[int, int] = defaultdict(int)

    def watch(
        self, owner: Any, method: str, name: str, training: bool = True, clock: Callable[[], float] = time.thread_time
    ) -> None:
        """Counts a method's calls.

        Args:
            training: whether only those of the main thread count.
            clock: CPU of the thread alone, or of the process, where torch's threads work at it too; or the wall's.
        """
        original = getattr(owner, method)

        @functools.wraps(original)
        def watched(*args: Any, **named: Any) -> Any:
            thread = threading.current_thread()
            if self._depth[thread.ident or 0] or (training and thread is not threading.main_thread()):
                return original(*args, **named)
            self._depth[thread.ident or 0] += 1
            before = clock()
            try:
                return original(*args, **named)
            finally:
                self.seconds[name] += clock() - before
                self._depth[thread.ident or 0] -= 1

        setattr(owner, method, watched)


def measure(steps: int, folder: Path, side: str) -> dict[str, float]:
    """One run of a side; CPU seconds by name, those of `total` and `evaluations` among them, and `wall`: seconds beside the
    evaluations."""
    database = folder / "mlflow.db"
    os.environ["MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"] = str(side != "off").lower()
    bindings = [
        f"train.steps = {steps}",
        *(["checkpoints.every = 10"] if steps < OWN_STEPS else []),
        "checkpoints.save_model = False",
        f"tracking.uri = 'sqlite:///{database}'",
    ]
    config = load_config(QUICKSTART, bindings)
    begun = time.process_time()
    run = Run(config.experiment, folder / "run", operative_config=config.operative)
    start = time.process_time() - begun
    if side == "off":
        run.tracker.finish("FINISHED")  # what is logged after it goes nowhere
    beside, training, wall = Watch(), Watch(), Watch()
    wall.watch(run.evaluations, "measure", "evaluations", clock=time.monotonic)
    beside.watch(run.evaluations, "measure", "evaluations", clock=time.process_time)
    training.watch(run, "_log", "steps")
    training.watch(run.evaluations, "_record", "outcomes")
    training.watch(run.keeper, "_show", "models")
    training.watch(run.tracker, "flush", "flush")
    training.watch(run.tracker, "news", "news")
    training.watch(run.tracker, "finish", "finish")
    holder = sqlite3.connect(database)
    if side == "locked":
        holder.execute("BEGIN EXCLUSIVE")
    before, began = time.process_time(), time.monotonic()
    run.execute()
    total, took = time.process_time() - before, time.monotonic() - began
    holder.close()
    return {
        "start": start,
        "total": total,
        "wall": took - wall.seconds["evaluations"],
        **{f"thread {name}": seconds for name, seconds in training.seconds.items()},
        **THREADS.seconds,
        **beside.seconds,
    }


def report(side: str, runs: list[dict[str, float]], without: list[dict[str, float]]) -> None:
    """Prints the medians of a side; `without`: the runs that log nothing, each taken before the one of the same place."""
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
        print(
            f"  {label} {spent:.3f} s, {spent / rest:.2%} of what is beside the evaluations,"
            f" {spent / found['total']:.2%} of all: {shares}"
        )
    for name, label in (("total", "CPU"), ("wall", "seconds beside the evaluations")):
        more = [run[name] / none[name] - 1 for run, none in zip(runs, without, strict=False)]
        if more and side != "off":
            print(f"  {label} against none logged, round by round: {'  '.join(f'{share:+.2%}' for share in more)}")


THREADS = Watch()
THREADS.watch(Delivery, "_work", "beside delivery", training=False)
THREADS.watch(SlowEntries, "_make", "beside pictures", training=False)
THREADS.watch(SystemMetrics, "_work", "beside system metrics", training=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES)
    arguments = parser.parse_args()
    open_mlflow()
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in arguments.sides}
    for turn in range(arguments.rounds + 1):
        for side in arguments.sides if turn else SIDES[:1]:  # the first is not counted: everything is imported in it
            THREADS.seconds.clear()
            with tempfile.TemporaryDirectory() as folder:
                found = measure(arguments.steps if turn else 1, Path(folder), side)
            if turn:
                runs[side].append(found)
    for side, measured in runs.items():
        report(side, measured, runs.get("off", []))


if __name__ == "__main__":
    main()
