"""What logging to MLflow costs a run: the quick start's RECAP run, a local SQLite database.

python tools/bench_tracking.py --steps 60
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from bench_sides import Stopwatch

from recap.experiment.config import load_config
from recap.runs.run import Run

QUICKSTART = Path(__file__).resolve().parent.parent / "experiments" / "quickstart.gin"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    steps = parser.parse_args().steps
    with tempfile.TemporaryDirectory() as folder:
        bindings = [
            f"train.steps = {steps}",
            "train.capabilities = []",
            f"tracking.uri = 'sqlite:///{folder}/mlflow.db'",
        ]
        config = load_config(QUICKSTART, bindings)
        run = Run(config.experiment, Path(folder) / "run", operative_config=config.operative)
        watch = Stopwatch()
        for part in ("log", "table", "flush"):
            watch.time(run.tracker, part, f"tracker.{part}")
        watch.time(run.trainer, "step", "trainer.step")
        started = time.perf_counter()
        run.execute()
        seconds = time.perf_counter() - started
    stepping = watch.seconds.pop("trainer.step")
    logging = sum(watch.seconds.values())
    print(
        f"{steps} steps: {stepping:.1f} s of {seconds:.1f} s; logging {logging:.2f} s, {logging / stepping:.2%} of the steps"
    )
    for part, spent in watch.seconds.items():
        print(f"  {part} {spent:.2f} s")


if __name__ == "__main__":
    main()
