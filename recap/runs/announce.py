"""The first lines of a run, and its last."""

from __future__ import annotations

import json
from pathlib import Path

from rich.table import Table

from recap.experiment.layout import live_layout, notes
from recap.experiment.warm_up import weights_that_stay
from recap.learning.trainer import Trainer
from recap.runs.links import base_of, charts_page, is_server, runs_page
from recap.runs.result_table import result_table
from recap.runs.spill import FOLDER, WHERE


def first_lines(trainer: Trainer, run_id: str | None) -> list[str]:
    """What is trained, where and how long, where it is logged, and what works but perhaps not as meant."""
    experiment, accelerator = trainer.experiment, trainer.accelerator
    dtype = str(trainer.models.trained_parameters[0].dtype).removeprefix("torch.")
    return [
        f"{trainer.loaded.description} on {accelerator.num_processes} x {accelerator.device.type},"
        f" {experiment.steps} steps of {experiment.prompts_per_step} prompts x {experiment.rollout.group_size}"
        f" completions; MLflow {experiment.tracking.resolved_uri}, run {run_id}",
        *(f"note: {note}" for note in weights_that_stay(experiment)),
        *(f"note: {note}" for note in notes(experiment, live_layout(accelerator), dtype)),
    ]


def last_lines(directory: Path, enabled: bool = True) -> list[str | Table]:
    """What came of a run, and where it is to be found: its directory, its pages in MLflow or the command that shows them.

    Args:
        enabled: false on every process but the main one: nothing is said there.
    """
    file = directory / FOLDER / WHERE
    if not enabled or not file.is_file():
        return []
    place = json.loads(file.read_text())
    uri, result = place["uri"], result_table(directory)
    lines: list[str | Table] = [*([] if result is None else [result]), f"run directory: {directory}"]
    if uri is not None and is_server(uri):
        base = base_of(uri)
        lines += [
            f"charts: {charts_page(base, place['experiment_id'], place['run_id'])}",
            f"all runs: {runs_page(base, place['experiment_id'])}",
        ]
    else:
        lines.append(f"charts, tables, examples: recap ui {directory}")
    return lines
