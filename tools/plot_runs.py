"""Draws the capability scores, rewards and weights of MLflow runs: python tools/plot_runs.py OUT.png RUN_NAME [RUN_NAME ...].

The newest finished run of each name is taken.
"""

from __future__ import annotations

import argparse
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from mlflow import MlflowClient

from recap.experiment.run_settings import Tracking

Series = tuple[list[int], list[float]]


def newest_run(client: MlflowClient, experiment: str, name: str) -> Any:
    """Raises: ValueError: no finished run of that name."""
    found = client.get_experiment_by_name(experiment)
    if found is None:
        raise ValueError(f"no MLflow experiment {experiment!r}")
    runs = client.search_runs(
        [found.experiment_id],
        f"attributes.run_name = '{name}' and attributes.status = 'FINISHED'",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    if not runs:
        raise ValueError(f"no finished run {name!r} in the MLflow experiment {experiment!r}")
    return runs[0]


def series(client: MlflowClient, run: Any, prefix: str) -> dict[str, Series]:
    """Every metric under a prefix, by what follows it; `reward/domain/objective` is left out."""
    names = [key for key in run.data.metrics if key.startswith(f"{prefix}/") and key.count("/") == 1]
    found = {}
    for name in sorted(names):
        points = client.get_metric_history(run.info.run_id, name)
        found[name.split("/", 1)[1]] = ([point.step for point in points], [point.value for point in points])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out")
    parser.add_argument("names", nargs="+")
    parser.add_argument("--experiment", default="recap quickstart")
    arguments = parser.parse_args()
    client = MlflowClient(tracking_uri=Tracking().resolved_uri)
    runs = {name: newest_run(client, arguments.experiment, name) for name in arguments.names}

    scores = {name: series(client, run, "capability") for name, run in runs.items()}
    errors = {name: series(client, run, "capability_standard_error") for name, run in runs.items()}
    capabilities = sorted({capability for run in scores.values() for capability in run})
    first = next(iter(runs.values()))
    figure, axes = plt.subplots(2, max(2, len(capabilities)), figsize=(3.1 * len(capabilities), 5.6), squeeze=False)
    for column, capability in enumerate(capabilities):
        axis = axes[0][column]
        for name, run in scores.items():
            steps, values = run[capability]
            axis.errorbar(steps, values, yerr=errors[name][capability][1], marker="o", ms=3, capsize=2, label=name)
        axis.set(title=capability, xlabel="step", ylim=(0, 1.05))
    axes[0][0].set_ylabel("held-out score ± s.e.")
    axes[0][-1].legend(fontsize=7, loc="lower left")
    panels = [
        ("reward", "batch mean reward"),
        ("weight", "weight λ"),
        ("convergence", "convergence c"),
        ("instability", "instability i"),
    ]
    colours = {objective: f"C{index}" for index, objective in enumerate(series(client, first, "weight"))}
    for axis, (prefix, label) in zip(axes[1], panels, strict=False):
        for objective, (steps, values) in series(client, first, prefix).items():
            axis.plot(steps, values, lw=1, label=objective, color=colours[objective])
        axis.set(title=f"{label} ({next(iter(runs))})", xlabel="step")
        axis.title.set_fontsize(9)
    axes[1][1].legend(fontsize=6, loc="upper left")
    for axis in axes[1][len(panels) :]:
        axis.set_visible(False)
    figure.tight_layout()
    figure.savefig(arguments.out, dpi=130)
    print(arguments.out)


if __name__ == "__main__":
    main()
