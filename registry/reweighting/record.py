"""The record of a run's weights: a line of JSON for every step, ``{"step": 1, "weights": {"iou": 1.02, ...}}``.

A run writes one beside its checkpoints; `reweighting.replayed` reads it.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path

WEIGHTS_FILE = "weights.jsonl"
"""Its name in the directory of a run."""

Weights = dict[str, float]


def append_weights(file: Path, step: int, weights: Mapping[str, float]) -> None:
    """Adds the λ that a step was taken with.

    A run that went back to a checkpoint takes steps again: the line that comes last is the one that counts.

    Args:
        step: from 1.
    """
    line = json.dumps({"step": step, "weights": dict(weights)}) + "\n"
    with file.open("ab+") as lines:
        if lines.seek(0, os.SEEK_END):
            lines.seek(-1, os.SEEK_END)
            line = line if lines.read(1) == b"\n" else "\n" + line  # a kill tore the last one
        lines.write(line.encode())


def with_another_seed(place: Path, seed: int | None) -> Path:
    """The run whose record a run with `seed` is to replay.

    Args:
        place: of a run, which it is itself; or a folder of a sweep with runs ``seed-0``, ``seed-1``, ...: the one with the next
            seed after this, and after the last of them the first.
        seed: of the run that replays; None: not known yet, any will do.

    Raises:
        ValueError: the folder holds no run with another seed.
    """
    named = {int(found[1]): path for path in _inside(place) if (found := re.fullmatch(r"seed-(\d+)", path.name))}
    if not named:
        return place
    others = sorted(named.keys() - {seed})
    if not others:
        raise ValueError(
            f"{place} holds no run with another seed than {seed}: a course replayed there would be no control"
        )
    return named[next((other for other in others if seed is not None and other > seed), others[0])]


def read_weights(run: Path) -> list[Weights]:
    """The λ of steps 1, 2, 3, ... of a run; a step that is not in the record has those of the step before it.

    Args:
        run: its directory, or the file itself.

    Raises:
        ValueError: no record there, an empty one, or a line that is none.
    """
    file = run / WEIGHTS_FILE if run.is_dir() else run
    if not file.is_file():
        raise ValueError(
            f"no record of weights at {file}: name a run's directory that has a {WEIGHTS_FILE}, which every run writes"
        )
    by_step: dict[int, Weights] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            found = json.loads(line)
        except json.JSONDecodeError:
            continue  # torn by a kill: the step was taken again
        try:
            by_step[int(found["step"])] = {str(name): _weight(value) for name, value in found["weights"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{file}, line {number}: no weights of a step: {error}") from error
    if not by_step:
        raise ValueError(f"{file}: it holds the weights of no step")
    objectives = set(next(iter(by_step.values())))
    course: list[Weights] = []
    for step in range(1, max(by_step) + 1):
        weights = by_step.get(step) or (course[-1] if course else by_step[min(by_step)])
        if set(weights) != objectives:
            raise ValueError(f"{file}: step {step} weighs {sorted(weights)}, others {sorted(objectives)}")
        course.append(weights)
    return course


def _weight(value: float) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"a weight must be a finite number >= 0, not {value!r}")
    return float(value)


def _inside(place: Path) -> list[Path]:
    return [path for path in place.iterdir() if path.is_dir()] if place.is_dir() else []
