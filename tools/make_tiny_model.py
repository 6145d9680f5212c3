"""Rebuilds the weights of the built-in tiny model, with their measured scores: the two halves of its pretraining."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

from recap.evaluation.scores import CapabilityScore
from recap.experiment.config import load_config
from recap.runs.run import Run
from registry.backends.tiny_qwen2_5_vl import SHIPPED_WEIGHTS

ROOT = Path(__file__).resolve().parent.parent
RECIPES = ["experiments/pretrain_tiny.gin", "experiments/pretrain_tiny_mixed.gin"]
OUTPUT = Path("runs/tiny-model")


def train(recipe: str, weights: str) -> tuple[Path, dict[str, CapabilityScore]]:
    """Trains from `weights`; returns the model's directory and its scores."""
    config = load_config(ROOT / recipe, [f"backends.tiny_qwen2_5_vl.weights = {weights!r}"])
    name = Path(recipe).stem
    run = Run(config.experiment, OUTPUT / name, name=name, operative_config=config.operative, command=config.command)
    return OUTPUT / name / "model", run.execute()[config.experiment.steps]


def main() -> None:
    model = "random"
    scores: dict[str, CapabilityScore] = {}
    for recipe in RECIPES:
        directory, scores = train(recipe, model)
        model = str(directory)
    shutil.copytree(model, SHIPPED_WEIGHTS, dirs_exist_ok=True)
    facts = {"recipes": RECIPES, "held_out_scores": {name: asdict(score) for name, score in scores.items()}}
    (SHIPPED_WEIGHTS / "measured.json").write_text(json.dumps(facts, indent=2) + "\n")
    print(json.dumps(facts, indent=2))


if __name__ == "__main__":
    main()
