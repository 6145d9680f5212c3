"""Rebuilds the weights of the built-in tiny model from experiments/pretrain_tiny.gin, with its measured scores."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

from recap.experiment.config import load_config
from recap.runs.run import Run
from registry.backends.tiny_qwen2_5_vl import SHIPPED_WEIGHTS

RECIPE = Path(__file__).resolve().parent.parent / "experiments" / "pretrain_tiny.gin"


def main() -> None:
    config = load_config(RECIPE)
    run = Run(config.experiment, Path("runs/tiny-model"), name="pretrain-tiny", operative_config=config.operative)
    scores = run.execute()[config.experiment.steps]
    shutil.copytree("runs/tiny-model/model", SHIPPED_WEIGHTS, dirs_exist_ok=True)
    facts = {
        "recipe": "experiments/pretrain_tiny.gin",
        "steps": config.experiment.steps,
        "seed": config.experiment.seed,
        "held_out_scores": {name: asdict(score) for name, score in scores.items()},
    }
    (SHIPPED_WEIGHTS / "measured.json").write_text(json.dumps(facts, indent=2) + "\n")
    print(json.dumps(facts, indent=2))


if __name__ == "__main__":
    main()
