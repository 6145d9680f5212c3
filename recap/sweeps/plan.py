"""`Plan`: the runs of a sweep, kept in its directory, so that the same sweep can be gone on with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from recap.experiment.config import load_config
from recap.experiment.experiment import Experiment
from recap.runs.resumption import find_resumption
from recap.runs.run_directory import RECORD_FILE
from recap.sweeps.grid import Point

PLAN_FILE = "sweep.json"


@dataclass(frozen=True)
class Plan:
    """What a sweep is made of.

    Attributes:
        file: of the experiment, absolute.
        bindings, plugins: common to all runs.
        points: of the grid.
        seeds: of each point.
        parent: the MLflow run that holds the others; None before it is made.
    """

    file: str
    bindings: tuple[str, ...]
    plugins: tuple[str, ...]
    points: tuple[Point, ...]
    seeds: tuple[int, ...]
    parent: str | None = None

    def children(self, directory: Path) -> list[Child]:
        """All runs, seed by seed, so that what is stopped early has whole seeds."""
        return [
            Child(point, seed, directory / point.label / f"seed-{seed}") for seed in self.seeds for point in self.points
        ]

    def write(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / PLAN_FILE).write_text(json.dumps(asdict(self), indent=2))


@dataclass(frozen=True)
class Child:
    """One run of a sweep.

    Attributes:
        directory: of the run.
    """

    point: Point
    seed: int
    directory: Path

    @property
    def name(self) -> str:
        return f"{self.point.label}-seed-{self.seed}"

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.directory.with_suffix(".log")

    @property
    def begun(self) -> bool:
        return (self.directory / RECORD_FILE).is_file()

    def finished(self, steps: int) -> bool:
        """Whether it has taken all of its steps."""
        return self.begun and find_resumption(self.directory).is_finished(steps)


def read_plan(directory: Path) -> Plan:
    """The plan of a sweep that is there.

    Raises:
        ValueError: no sweep there.
    """
    file = directory / PLAN_FILE
    if not file.is_file():
        raise ValueError(f"{directory}: no sweep there (it has no {PLAN_FILE})")
    found = json.loads(file.read_text())
    points = tuple(Point(point["label"], tuple(point["bindings"])) for point in found["points"])
    return Plan(
        found["file"],
        tuple(found["bindings"]),
        tuple(found["plugins"]),
        points,
        tuple(found["seeds"]),
        found["parent"],
    )


def check_points(plan: Plan, allow_unused: bool = False) -> dict[str, Experiment]:
    """Label -> experiment, of every point, each loaded as `recap check` does.

    Raises:
        ValueError: the first point that is no valid experiment; its message names the bindings.
    """
    found = {}
    for point in plan.points:
        bindings: Sequence[str] = (*plan.bindings, *point.bindings)
        config = load_config(plan.file, bindings, plan.plugins, allow_unused=allow_unused)
        missing = config.experiment.check()
        if missing:
            raise ValueError("\n".join(missing))
        found[point.label] = config.experiment
    return found


def refuse_what_the_sweep_binds(grid: Sequence[str], bindings: Sequence[str], seeds: str | None) -> None:
    """Raises ValueError for a binding that the sweep's own would replace: all runs of its points would be the same run."""
    varied, common = ([text.partition("=")[0].strip() for text in texts] for texts in (grid, bindings))
    if "train.seed" in varied:
        raise ValueError(
            "-g varies train.seed: seeds are given by --seeds, e.g. --seeds 0-4, so that runs are matched by them"
        )
    if "train.seed" in common and seeds is not None:
        raise ValueError("-b 'train.seed' and --seeds both say which seed: leave one of them out")
    for name in ("tracking.run_name", "tracking.tags"):
        if name in varied:
            raise ValueError(
                f"-g varies {name}, which a sweep sets itself: it names each run by its values and its seed"
            )
