"""`recap interpolate RUN`: what models between the base and the trained one can do, by the run's own evaluation.

```
RUN/interpolation/alpha-0.25.parquet    what came of every held-out example, as RUN/outcomes
RUN/interpolation/scores.csv            α, capability, score, standard error, examples
```
"""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from recap.evaluation.evaluate import evaluate
from recap.evaluation.forgetting import forgetting_index, kept_share, measures
from recap.evaluation.outcomes import Outcomes, read_outcomes, write_outcomes
from recap.evaluation.score_table import matched_tables
from recap.evaluation.scores import CapabilityScore, score_of
from recap.experiment.experiment import Experiment
from recap.learning.trainer import Trainer
from recap.model.interpolation import mix, weights_of
from recap.parallel.processes import is_main_process
from recap.runs.checkpoint import latest_checkpoint, load_weights, read_state
from recap.runs.run_directory import run_directory
from recap.runs.spill import Entry
from recap.runs.sync import log_afterwards

FOLDER = "interpolation"
PERCENT = 100  # MLflow's steps are whole numbers


def parse_alphas(text: str) -> list[float]:
    """``START:END:STEP``, both ends included, or a list such as ``0,0.5,1``; ascending, each once.

    Raises:
        ValueError: not that, outside of [0, 1], or finer than hundredths.
    """
    wrong = f"--alphas {text!r}: write START:END:STEP or a list with commas, hundredths in [0, 1], e.g. 0:1:0.25"
    try:
        if ":" in text:
            start, end, step = map(float, text.split(":"))
            if step <= 0:
                raise ValueError(wrong)
            found = [start + number * step for number in range(int((end - start) / step + 1e-9) + 1)]
        else:
            found = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise ValueError(wrong) from error
    fine = found and all(0 <= a <= 1 + 1e-9 and abs(a * PERCENT - round(a * PERCENT)) < 1e-6 for a in found)
    if not fine:
        raise ValueError(wrong)
    return sorted({round(alpha, 2) for alpha in found})


def interpolate(
    experiment: Experiment, checkpoint: Path, alphas: Sequence[float]
) -> Iterator[tuple[float, Outcomes, int]]:
    """Evaluates (1 − α) base + α trained, one α after the other.

    In memory are one model and the weights of its base, on the CPU; the trained weights are read anew for every α. At α = 0 and
    1 the outcomes are those of the run's evaluations before its first step and at the checkpoint.

    Args:
        experiment: of the run.
        checkpoint: complete.

    Yields: α, what came of the held-out examples, and the step of the checkpoint.
    """
    if not experiment.capabilities:
        raise ValueError("the experiment has no capabilities to evaluate: bind train.capabilities")
    trainer = Trainer(experiment)
    models, accelerator, loaded = trainer.models, trainer.accelerator, trainer.loaded
    models.ready_to_sample()
    base, step = weights_of(loaded.model), int(read_state(checkpoint)["step"])
    with experiment.rewards:
        for alpha in alphas:
            load_weights(models, checkpoint)
            mix(loaded.model, base, alpha)
            if models.weight_sync is not None:
                models.weight_sync(loaded)
            outcomes = evaluate(
                loaded,
                experiment.capabilities,
                experiment.rewards,
                accelerator,
                experiment.rollout.generator,
                seed=experiment.seed,
                step=step if alpha else 0,  # which seeds what is sampled
            )
            yield alpha, outcomes, step


def interpolate_run(experiment: Experiment, run: Path, alphas: Sequence[float]) -> tuple[Measured, list[str]]:
    """Interpolates a run and keeps what was found, in its directory and in MLflow.

    Args:
        run: directory, whose newest checkpoint is taken, or a checkpoint.

    Returns: what was measured, and what a person should know.

    Raises:
        ValueError: no checkpoint there, or no capabilities.
    """
    checkpoint = latest_checkpoint(run)
    if checkpoint is None:
        raise ValueError(f"no complete checkpoint under {str(run)!r}")
    directory = run_directory(run)
    found: dict[float, Outcomes] = {}
    for alpha, outcomes, step in interpolate(experiment, checkpoint, alphas):
        found[alpha] = outcomes
        if not is_main_process():
            continue
        about = {"run": directory.name, "seed": experiment.seed, "step": step, "alpha": alpha}
        write_outcomes(directory / FOLDER / f"alpha-{alpha:.2f}.parquet", outcomes, about)
    measured = measure(found)
    if not is_main_process():
        return measured, []
    _write_csv(directory / FOLDER / "scores.csv", measured)
    return measured, [log_afterwards(directory, _entries(directory, measured))]


Measured = dict[float, tuple[dict[str, CapabilityScore], float]]
"""α -> the score of every capability, and the forgetting index against α = 0; NaN where that was not measured."""


def measure(found: Mapping[float, Outcomes]) -> Measured:
    """The scores of mixtures, from what came of their examples."""
    return {
        alpha: ({name: score_of(rows) for name, rows in outcomes.items()}, _index(found.get(0.0), outcomes))
        for alpha, outcomes in sorted(found.items())
    }


def read_interpolation(directory: Path) -> dict[float, Outcomes]:
    """What `recap interpolate` left in a run's directory; empty where it was never called."""
    read = (read_outcomes(file) for file in sorted((directory / FOLDER).glob("alpha-*.parquet")))
    return {float(about["alpha"]): outcomes for outcomes, about in read}


def _index(base: Outcomes | None, now: Outcomes) -> float:
    both = matched_tables(base or {}, now)
    return forgetting_index(
        [kept_share(measures(before.scores, after.scores, before.chance)) for _, before, after in both]
    )


def _write_csv(path: Path, measured: Measured) -> None:
    partial = path.with_name(f".{path.name}")
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["alpha", "capability", "score", "standard_error", "examples"])
        for alpha, (scores, _) in measured.items():
            for name, score in scores.items():
                writer.writerow([alpha, name, score.score, score.standard_error, score.examples])
    os.replace(partial, path)


def _entries(directory: Path, measured: Measured) -> Iterator[Entry]:
    """For MLflow: metrics ``interpolated/NAME`` with 100 α as their step, and the files."""
    for alpha, (scores, index) in measured.items():
        values = {f"interpolated/{name}": score.score for name, score in scores.items()}
        values |= {} if math.isnan(index) else {"interpolated_forgetting_index": index}
        known = {name: value for name, value in values.items() if math.isfinite(value)}
        yield {"step": round(PERCENT * alpha), "at": time.time_ns() // 1_000_000, "values": known}
    for file in sorted((directory / FOLDER).iterdir()):
        yield {"local": file.relative_to(directory).as_posix()}
