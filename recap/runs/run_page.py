"""What a run's page in MLflow says of it: a description, tags, parameters, data and files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from recap.experiment.config import Command
from recap.experiment.describe import settings
from recap.experiment.experiment import Experiment
from recap.experiment.run_settings import MAX_TAG_LENGTH
from recap.runs.provenance import origin_tags, without_passwords
from recap.runs.run_inputs import RunInput, run_inputs

MAX_PARAMETER_NAME, MAX_PARAMETER = 250, 6000  # characters that MLflow takes
BINDING = re.compile(r"^([\w./-]+) = (.*)$")


@dataclass(frozen=True)
class RunPage:
    """What is logged of a new run.

    Attributes:
        files: texts by the name of their artifact.
    """

    parameters: Mapping[str, str]
    tags: Mapping[str, str]
    inputs: Sequence[RunInput]
    files: Mapping[str, str]


def run_page(
    experiment: Experiment, model: str, operative_config: str, command: Command | None, directory: Path
) -> RunPage:
    """The page of a run.

    Args:
        model: what was loaded, in a few words.
        operative_config: gin's, as text; empty for an experiment that was made in Python.
        command: what loaded the experiment; None where nothing did.
        directory: of the run.
    """
    short = settings(experiment)
    files = {"operative_config.gin": operative_config}
    if command is not None and (file := Path(command.file)).is_file():
        files[f"experiment/{file.name}"] = file.read_text(encoding="utf-8", errors="replace")
    tags = {
        **origin_tags(command, directory),
        "mlflow.note.content": _description(experiment, model),
        "base_model": model,
        "policy": short["reweighting"],
        "domains": short["domains"],
        "seed": str(experiment.seed),
    }
    parameters = short | bindings(operative_config)
    return RunPage(
        {
            name[:MAX_PARAMETER_NAME]: without_passwords(value)[:MAX_PARAMETER]
            for name, value in {**parameters, "model": model}.items()
        },
        {name: value[:MAX_TAG_LENGTH] for name, value in tags.items()},
        run_inputs(experiment),
        files,
    )


def bindings(operative_config: str) -> dict[str, str]:
    """Every value of gin's operative configuration, macros too, as written, on one line.

    >>> bindings("RATE = 1e-4\\nadamw.learning_rate = %RATE\\ntrain.domains = \\\\\\n    [@a/Domain(),\\n     @b()]")
    {'RATE': '1e-4', 'adamw.learning_rate': '%RATE', 'train.domains': '[@a/Domain(), @b()]'}
    """
    found: dict[str, list[str]] = {}
    name = None
    for line in operative_config.splitlines():
        if (match := BINDING.match(line)) is not None:
            name = match[1]
            found[name] = [match[2].strip().removesuffix("\\").strip()]
        elif name is not None and line[:1].isspace() and line.strip():
            found[name].append(line.strip())
        else:
            name = None
    return {name: " ".join(part for part in parts if part) for name, parts in found.items()}


def _description(experiment: Experiment, model: str) -> str:
    """Three lines of Markdown: what is trained and how, on what, and what is measured."""
    trained = "; ".join(f"{domain.name} ({', '.join(domain.objectives)})" for domain in experiment.domains)
    measured = ", ".join(capability.name for capability in experiment.capabilities) or "nothing"
    every = experiment.evaluate_every
    policy = settings(experiment)["reweighting"]
    group = experiment.rollout.group_size
    return "  \n".join(
        (
            f"**{model}**, objectives weighted by **{policy}**: {experiment.steps} steps of {experiment.prompts_per_step}"
            f" prompts x {group} completions, learning rate {experiment.optimizer.learning_rate:g}, seed {experiment.seed}",
            f"Trained on {trained}",
            f"Measured: {measured}{f', every {every} steps' if every else ', before and after'}",
        )
    )
