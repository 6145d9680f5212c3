"""A run's outcomes: what came of every held-out example, evaluation by evaluation, in its directory and in MLflow.

```
RUN/outcomes/step-000000.parquet    of the base model
RUN/outcomes/step-000020.parquet    a row for every completion; see `recap.evaluation.outcomes`
```
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Any

from recap.data.domains import describe
from recap.evaluation.capabilities import Capability
from recap.evaluation.outcomes import Outcomes, read_outcomes, write_outcomes
from recap.experiment.describe import settings
from recap.experiment.experiment import Experiment
from recap.runs.tracking import Tracker

FOLDER = "outcomes"
ELSE = {"name", "source", "examples", "batch_size"}


class OutcomeRecord:
    """Keeps the outcomes of a run; on the main process alone.

    Args:
        directory: of the run.
        tracker: which sends the files to MLflow.
        about: what the run is, written into every file: with it a file says all that a comparison has to know.
    """

    def __init__(self, directory: Path, tracker: Tracker, about: Mapping[str, Any]) -> None:
        self.directory = directory
        self.tracker = tracker
        self.about = about

    def keep(self, step: int, outcomes: Outcomes, more: Mapping[str, Any]) -> None:
        """Writes what an evaluation found; a resumed run writes the same again.

        Args:
            more: what else the evaluation measured; JSON.
        """
        path = self.directory / FOLDER / file_name(step)
        write_outcomes(path, outcomes, {**self.about, "step": step, **more})
        self.tracker.file(path)
        if step == 0:
            self.__dict__["base"] = outcomes

    def inherit(self, other: Path, step: int) -> None:
        """Takes over what another run's directory has up to a step, for a run that begins there: its base is the other's."""
        if not self.tracker.enabled:
            return
        for file in sorted((other / FOLDER).glob("step-*.parquet")):
            if int(file.stem.removeprefix("step-")) <= step:
                own = self.directory / FOLDER / file.name
                own.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, own)
                self.tracker.file(own)

    @cached_property
    def base(self) -> Outcomes:
        """Of the model before its first step; empty for a run that was not evaluated then."""
        file = self.directory / FOLDER / file_name(0)
        return read_outcomes(file)[0] if file.is_file() else {}


def about_run(experiment: Experiment, name: str, model: str, configuration: str) -> dict[str, Any]:
    """What is written into a run's files of outcomes; JSON.

    Args:
        model: the loaded model, described.
        configuration: gin's, as it took effect.
    """
    capabilities = {capability.name: _asked(capability) for capability in experiment.capabilities}
    return {
        "run": name,
        "seed": experiment.seed,
        "steps": experiment.steps,
        "model": model,
        "settings": settings(experiment),
        "configuration": configuration,
        "capabilities": capabilities,
    }


def _asked(capability: Capability) -> dict[str, str]:
    """How a capability is asked and judged: whatever else it is, its examples tell."""
    asked = {
        field.name: _text(getattr(capability, field.name)) for field in fields(capability) if field.name not in ELSE
    }
    settings_of_verifier = getattr(capability.verifier, "__dict__", {}).items()
    return asked | {
        f"verifier.{name}": _text(value) for name, value in settings_of_verifier if not name.startswith("_")
    }


def _text(value: Any) -> str:
    """The same in every process: what has no text of its own would show its address."""
    text = repr(value)
    return describe(value) if " at 0x" in text else text


def file_name(step: int) -> str:
    return f"step-{step:06d}.parquet"
