"""What logging to MLflow costs a run: the quick start's RECAP run, a local SQLite database, free and locked by another.

A step pays for what its own thread does, and at most for the CPU time of the thread that delivers: that shares Python's lock.

python tools/bench_tracking.py --steps 60
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import time
from pathlib import Path

from bench_sides import Stopwatch

from recap.experiment.config import load_config
from recap.runs.run import Run

QUICKSTART = Path(__file__).resolve().parent.parent / "experiments" / "quickstart.gin"


def measure(steps: int, folder: Path, locked: bool) -> None:
    """Prints both shares of a run whose database can be written, or cannot from the first step to the last."""
    database = folder / "mlflow.db"
    bindings = [
        f"train.steps = {steps}",
        "train.capabilities = []",
        "checkpoints.every = 10",
        "checkpoints.save_model = False",
        f"tracking.uri = 'sqlite:///{database}'",
    ]
    config = load_config(QUICKSTART, bindings)
    run = Run(config.experiment, folder / "run", operative_config=config.operative)
    watch = Stopwatch()
    for part in ("log", "table", "flush", "news"):
        watch.time(run.tracker, part, f"tracker.{part}")
    watch.time(run.trainer, "step", "trainer.step")
    delivering = 0.0
    send = run.tracker._delivery._send_some

    def timed() -> None:
        nonlocal delivering
        before = time.thread_time()
        try:
            send()
        finally:
            delivering += time.thread_time() - before

    run.tracker._delivery._send_some = timed  # type: ignore[method-assign]
    holder = sqlite3.connect(database)
    if locked:
        holder.execute("BEGIN EXCLUSIVE")
    before = time.process_time()
    run.execute()
    cpu = time.process_time() - before
    holder.close()
    stepping = watch.seconds.pop("trainer.step")
    logging = sum(watch.seconds.values())
    print(f"{steps} steps with the database {'locked' if locked else 'free'}:")
    print(f"  in the steps' thread {logging:.3f} of {stepping:.1f} s, {logging / stepping:.3%}")
    print("   ", "  ".join(f"{part} {spent:.3f} s" for part, spent in watch.seconds.items()))
    print(f"  CPU of the delivery {delivering:.2f} of {cpu:.1f} s, {delivering / cpu:.2%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    steps = parser.parse_args().steps
    for locked in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            measure(steps, Path(folder), locked)


if __name__ == "__main__":
    main()
