"""The signal study: what RECAP's weights do on the tiny model, against uniform weights.

By signal, temperature, α, where the weights act, and whether a domain has objectives of its own.

    python tools/study_signals.py                    # trains what is missing, then reports
    python tools/study_signals.py --report-only

Runs with one seed are paired: they see the same prompts, the same random numbers and the same held-out examples, and
are the same run until λ leaves 1. Everything is in the MLflow experiment `recap signal study`.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from mlflow import MlflowClient
from scipy import stats  # type: ignore[import-untyped]

from recap.experiment.run_settings import Tracking

ROOT = Path(__file__).resolve().parent.parent
STUDIES = ROOT / "experiments" / "studies"
EXPERIMENT = "recap signal study"
SOURCES = ("counting", "arithmetic", "grounding", "reading")
LATE = 20  # steps at the end that "late" averages over
LEARNT = 0.9  # of the way from its first to its late value, a reward counts as learnt


@dataclass(frozen=True)
class Setting:
    """RECAP with one signal, temperature and α; uniform weights where the signal is None."""

    signal: str | None = None
    temperature: float = 5.0
    alpha: float | None = None
    act_on: str = "loss"
    scope: str = "shared"

    @property
    def twin(self) -> Setting:
        """Uniform weights that act in the same place: the same run until λ leaves 1."""
        return Setting(act_on=self.act_on)

    @property
    def name(self) -> str:
        name = "uniform"
        if self.signal is not None:
            alpha = "none" if self.alpha is None else self.alpha
            name = f"recap/signal={self.signal}/T={self.temperature:g}/alpha={alpha}"
        name += "" if self.act_on == "loss" else f"/on={self.act_on}"
        return name + ("" if self.scope == "shared" else f"/scope={self.scope}")

    @property
    def label(self) -> str:
        label = "uniform"
        if self.signal is not None:
            alpha = "c + i" if self.alpha is None else f"α = {self.alpha:g}"
            label = f"{self.signal}, T = {self.temperature:g}, {alpha}"
        label += "" if self.act_on == "loss" else f", on the {self.act_on}s"
        return label + ("" if self.scope == "shared" else ", per domain")

    def bindings(self) -> list[str]:
        places = [f"train.weights_act_on = {self.act_on!r}", f"train.objective_scope = {self.scope!r}"]
        if self.signal is None:
            return ["train.reweighting = @reweighting.uniform", *places]
        return [
            *places,
            f"train.signal = {self.signal!r}",
            f"reweighting.recap.temperature = {self.temperature}",
            f"reweighting.recap.alpha = {self.alpha}",
        ]


GRID = [
    Setting(),
    *(Setting(signal, t) for t in (5.0, 0.2, 1.0) for signal in ("reward", "shortfall", "loss")),
    *(Setting("reward", 0.2, alpha) for alpha in (0, 1)),
    Setting("reward", 0.2, scope="per_domain"),
    *(Setting(act_on=act_on) for act_on in ("advantage", "reward")),
    *(Setting("reward", 0.2, act_on=act_on) for act_on in ("advantage", "reward")),
]


@dataclass(frozen=True)
class Measured:
    """One run: held-out scores at the end, late λ, and the step at which each reward was learnt."""

    scores: Mapping[str, float]
    late_weights: Mapping[str, float]
    late_spread: float
    largest_spread: float
    learnt: Mapping[str, float]
    course: Mapping[str, np.ndarray]

    @property
    def mean_score(self) -> float:
        return float(np.mean(list(self.scores.values())))


def train(arguments: Sequence[str]) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": Tracking().resolved_uri}
    subprocess.run([sys.executable, "-m", "recap", "train", *arguments], env=environment, cwd=ROOT, check=True)


def train_missing(seeds: int, workers: int, directory: Path) -> None:
    """Trains the base model and every run of the grid that is not in MLflow yet."""
    base = directory / "base"
    if not (base / "model").is_dir():
        plugin = ["--plugin", str(STUDIES / "untagged.py")]
        train([str(STUDIES / "signals_base.gin"), *plugin, "--output", str(base)])
    done = finished_runs(MlflowClient(tracking_uri=Tracking().resolved_uri))
    jobs = []
    for seed in range(seeds):
        for setting in GRID:
            name = f"{setting.name}/seed={seed}"
            if name in done:
                continue
            bindings = [
                f"backends.tiny_qwen2_5_vl.weights = {str(base.resolve() / 'model')!r}",
                f"train.seed = {seed}",
                *(f"replay.{source}.seed = {seed}" for source in SOURCES),
                f"tracking.run_name = {name!r}",
                *setting.bindings(),
            ]
            output = directory / name.replace("/", "_")
            jobs.append(
                [str(STUDIES / "signals.gin"), "--output", str(output), *(x for b in bindings for x in ("-b", b))]
            )
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(train, jobs))


def finished_runs(client: MlflowClient) -> dict[str, Any]:
    """Name -> the newest finished run."""
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        return {}
    runs = client.search_runs(
        [found.experiment_id],
        "attributes.status = 'FINISHED'",
        max_results=1000,
        order_by=["attributes.start_time ASC"],
    )
    return {run.info.run_name: run for run in runs}


def measure(client: MlflowClient, run: Any) -> Measured:
    def course(name: str) -> np.ndarray:
        points = sorted(client.get_metric_history(run.info.run_id, name), key=lambda point: point.step)
        return np.array([point.value for point in points])

    courses: dict[str, np.ndarray] = {}
    for group in ("weight", "reward"):
        parts: dict[str, list[np.ndarray]] = {}  # objectives of one name: several where each domain has its own
        for key in run.data.metrics:
            if key.startswith(f"{group}/"):
                parts.setdefault(f"{group}/{key.split('/')[-1]}", []).append(course(key))
        courses |= {name: np.mean(values, axis=0) for name, values in parts.items()}
    weights = {name.split("/")[1]: values for name, values in courses.items() if name.startswith("weight/")}
    spread = course("weight_spread")
    learnt = {}
    for name in ("accuracy", "thinking_format", "answer_format", "iou"):
        values = courses[f"reward/{name}"]
        first, late = values[:2].mean(), values[-LATE:].mean()
        smooth = np.convolve(values, np.ones(3) / 3, mode="valid")
        above = np.flatnonzero(smooth >= first + LEARNT * (late - first))
        learnt[name] = float(above[0] + 2) if len(above) else math.nan
    return Measured(
        {name: run.data.metrics[f"capability/{name}"] for name in SOURCES},
        {name: float(values[-LATE:].mean()) for name, values in weights.items()},
        float(spread[-LATE:].mean()),
        float(spread.max()),
        learnt,
        courses,
    )


def interval(values: Sequence[float]) -> str:
    """Mean ± half of the 95 % t interval."""
    if len(values) < 2:
        return f"{np.mean(values):+.3f}"
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return f"{np.mean(values):+.3f} ± {half:.3f}"


def report(results: Mapping[Setting, Mapping[int, Measured]], out: Path) -> str:
    """Tables in markdown; draws the figure."""
    lines = [
        "| weights | seeds | λ max - min: largest, late | late λ: formats, accuracy, IoU, next token "
        "| score - uniform: mean of four | counting | grounding | reading |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for setting, runs in results.items():
        if setting.signal is None:
            continue
        pairs = [(run, twin) for seed, run in runs.items() if (twin := results[setting.twin].get(seed))]
        late = {k: float(np.mean([run.late_weights[k] for run, _ in pairs])) for k in pairs[0][0].late_weights}
        formats = (late["thinking_format"] + late["answer_format"]) / 2
        mean = [run.mean_score - base.mean_score for run, base in pairs]
        single = {name: [run.scores[name] - base.scores[name] for run, base in pairs] for name in SOURCES}
        largest, spread = (
            np.mean([run.largest_spread for run, _ in pairs]),
            np.mean([run.late_spread for run, _ in pairs]),
        )
        lines.append(
            f"| {setting.label} | {len(pairs)} | {largest:.2f}, {spread:.2f} "
            f"| {formats:.2f}, {late['accuracy']:.2f}, {late['iou']:.2f}, {late['next_token']:.2f} | {interval(mean)} "
            f"| {interval(single['counting'])} | {interval(single['grounding'])} | {interval(single['reading'])} |"
        )
    lines += [
        "",
        "| weights | thinking format learnt at step | answer format | accuracy | IoU |",
        "|---|---|---|---|---|",
    ]
    for setting, runs in results.items():
        cells = [
            f"{np.mean([run.learnt[name] for run in runs.values()]):.0f}"
            f" ({', '.join(f'{run.learnt[name]:.0f}' for run in runs.values())})"
            for name in ("thinking_format", "answer_format", "accuracy", "iou")
        ]
        lines.append(f"| {setting.label} | {' | '.join(cells)} |")
    lines += ["", "| held-out score by seed | " + " | ".join(SOURCES) + " |", "|---" * 5 + "|"]
    lines += [
        f"| {setting.label}, seed {seed} | " + " | ".join(f"{run.scores[n]:.3f}" for n in SOURCES) + " |"
        for setting, runs in results.items()
        if setting.signal is None
        for seed, run in runs.items()
    ]
    draw(results, out)
    return "\n".join(lines)


def draw(results: Mapping[Setting, Mapping[int, Measured]], out: Path) -> None:
    """λ of seed 0 by setting, above the paired differences of the mean score."""
    shown = [setting for setting in results if setting.signal is not None]
    columns = 4
    rows = math.ceil(len(shown) / columns)
    figure = plt.figure(figsize=(3.4 * columns, 2.3 * rows + 2.6), layout="constrained")
    grid = figure.add_gridspec(rows + 1, columns)
    for index, setting in enumerate(shown):
        axis = figure.add_subplot(grid[index // columns, index % columns])
        courses = next(iter(results[setting].values())).course
        weights = [name for name in courses if name.startswith("weight/")]
        for colour, name in enumerate(weights):
            values = courses[name]
            axis.plot(range(1, len(values) + 1), values, lw=1.2, color=f"C{colour}", label=name.split("/")[1])
        axis.axhline(1, lw=0.5, color="0.6")
        axis.set_title(setting.label, fontsize=9)
        axis.tick_params(labelsize=7)
        axis.set_xlabel("step", fontsize=7)
        if index == 0:
            axis.legend(fontsize=6)
            axis.set_ylabel("λ (seed 0)", fontsize=8)
    axis = figure.add_subplot(grid[rows, :])
    for row, setting in enumerate(shown):
        twins = results[setting.twin]
        differences = [
            run.mean_score - twins[seed].mean_score for seed, run in results[setting].items() if seed in twins
        ]
        axis.plot(differences, [row] * len(differences), "o", ms=4, color="C0", alpha=0.6)
        axis.plot(np.mean(differences), row, "|", ms=14, color="k")
    axis.axvline(0, lw=0.7, color="0.5")
    axis.set_yticks(range(len(shown)), [setting.label for setting in shown], fontsize=7)
    axis.invert_yaxis()
    axis.set_xlabel("mean held-out score minus that of uniform weights, by seed; bar: mean", fontsize=8)
    figure.savefig(out, dpi=120)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--directory", type=Path, default=Path("runs/signal_study"))
    parser.add_argument("--figure", type=Path, default=Path("runs/signal_study/signals.png"))
    parser.add_argument("--report-only", action="store_true", help="of the runs that are there")
    arguments = parser.parse_args()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    if not arguments.report_only:
        train_missing(arguments.seeds, arguments.workers, arguments.directory)
    client = MlflowClient(tracking_uri=Tracking().resolved_uri)
    runs = finished_runs(client)
    results: dict[Setting, dict[int, Measured]] = {}
    for setting in GRID:
        for seed in range(arguments.seeds):
            if run := runs.get(f"{setting.name}/seed={seed}"):
                results.setdefault(setting, {})[seed] = measure(client, run)
    print(report(results, arguments.figure))
    print(f"\nfigure: {arguments.figure}")


if __name__ == "__main__":
    main()
