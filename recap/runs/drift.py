"""The drift of a run from its base model: measured at every evaluation, and what the base says of the prompts kept for that.

```
RUN/drift/base_completions.json    sampled from the base at the first evaluation, the same at every later one
```
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from recap.evaluation.drift import Completions, Divergence, DriftMeter, mean_divergence
from recap.evaluation.drift_prompts import KINDS, DriftPrompt, drift_prompts
from recap.evaluation.evaluate import evaluation_seed
from recap.experiment.experiment import loads_base
from recap.learning.trainer import Trainer
from recap.parallel.local_work import local_work
from recap.runs.base_model import NoBase, base_model

FOLDER, FILE = "drift", "base_completions.json"


@dataclass(frozen=True)
class DriftResult:
    """What was found at one evaluation.

    Attributes:
        found: kind of prompt -> direction -> divergence.
        why_not: why nothing was measured; empty where it was.
    """

    found: Mapping[str, Mapping[str, Divergence]]
    why_not: str = ""

    @property
    def metrics(self) -> dict[str, float]:
        """Under the names that they are logged with."""
        metrics = {}
        for kind, directions in self.found.items():
            for direction, value in directions.items():
                metrics[f"drift/{kind}/{direction}"] = value.mean
                metrics[f"drift_standard_error/{kind}/{direction}"] = value.standard_error
        return metrics

    @property
    def lines(self) -> list[str]:
        """For a person."""
        if self.why_not:
            return [f"note: drift was not measured: {self.why_not}"]
        kinds = [
            f"{kind} " + " / ".join(f"{value.mean:.4f} ± {value.standard_error:.4f}" for value in directions.values())
            for kind, directions in self.found.items()
        ]
        return ["  drift in nats per token, KL(model‖base) / KL(base‖model): " + "  ".join(kinds)] if kinds else []

    def as_json(self) -> dict[str, Any]:
        """For the record of the evaluation."""
        return {
            kind: {direction: asdict(value) for direction, value in directions.items()}
            for kind, directions in self.found.items()
        }


class DriftRecord:
    """Measures the drift of a run's model, on the main process alone: a few hundred tokens are not worth sharing out, and
    one process holds a second model instead of all.

    Args:
        trainer: whose model it is.
        directory: of the run.
    """

    def __init__(self, trainer: Trainer, directory: Path) -> None:
        self.trainer = trainer
        self.file = directory / FOLDER / FILE
        self._prompts: list[DriftPrompt] | None = None

    def measure(self) -> DriftResult:
        """To be called on all processes together; empty on those that wait."""
        accelerator = self.trainer.accelerator
        result = DriftResult({})
        with local_work(accelerator):
            if self.trainer.experiment.drift is not None and accelerator.is_main_process:
                try:
                    result = self._measure()
                except (NoBase, torch.OutOfMemoryError) as error:
                    result = DriftResult({}, str(error))
        return result

    def inherit(self, other: Path) -> None:
        """Takes over what the base has said in another run, for a run that begins there."""
        if (other / FOLDER / FILE).is_file() and self.trainer.accelerator.is_main_process:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(other / FOLDER / FILE, self.file)

    def _measure(self) -> DriftResult:
        trainer, experiment, loaded = self.trainer, self.trainer.experiment, self.trainer.loaded
        assert experiment.drift is not None
        if self._prompts is None:
            parts = (experiment.domains, experiment.capabilities)
            replayed = [*experiment.drift.replayed, *(one.name for one in experiment.domains if one.replayed)]
            self._prompts = drift_prompts(*parts, replayed, experiment.drift.prompts)
        was_training = loaded.model.training
        loaded.model.eval()
        try:
            with trainer.accelerator.autocast(), base_model(trainer.models) as base:
                meter = DriftMeter(
                    self._prompts,
                    experiment.drift,
                    model=lambda: nullcontext(loaded),
                    base=base,
                    temperature=experiment.rollout.temperature,
                    seed=evaluation_seed(experiment.seed, "drift"),
                    device=trainer.accelerator.device,
                    shared_prefix=self._shares_prefixes,
                )
                by_base = self._kept(meter)
                # Before the first step, a model that is its own base loaded once more says what the base says.
                same = trainer.step_number == 0 and loads_base(experiment)
                tokens = meter.divergence(by_base if same else meter.sample(meter.model), by_base)
        finally:
            loaded.model.train(was_training)
        return DriftResult(summary(self._prompts, tokens))

    @property
    def _shares_prefixes(self) -> bool:
        """Whether the loss has been seen to; not before its first use."""
        settled = self.trainer.accelerator.unwrap_model(self.trainer.models.scorer).settled
        return settled is not None and settled.way.shared_prefix and settled.way.chunk is not None

    def _kept(self, meter: DriftMeter) -> Completions:
        """The base's completions: those of the first evaluation, unless other ones are asked for by now."""
        asked = {
            "prompts": [prompt.digest for prompt in meter.prompts],
            "max_new_tokens": meter.settings.max_new_tokens,
            "temperature": meter.temperature,
            "seed": meter.seed,
            "model": self.trainer.loaded.description,
        }
        if self.file.is_file():
            kept = json.loads(self.file.read_text())
            if kept["asked"] == asked:
                return {int(place): ids for place, ids in kept["completions"].items()}
        completions = meter.sample(meter.base)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        partial = self.file.with_name(f".{self.file.name}")
        partial.write_text(json.dumps({"asked": asked, "completions": completions}))
        os.replace(partial, self.file)
        return completions


def summary(
    prompts: list[DriftPrompt], tokens: Mapping[str, Mapping[int, list[float]]]
) -> dict[str, dict[str, Divergence]]:
    """Kind of prompt -> direction -> divergence, of kinds that have prompts."""
    found: dict[str, dict[str, Divergence]] = {}
    for kind in KINDS:
        for direction, values in tokens.items():
            own = [values[place] for place, prompt in enumerate(prompts) if prompt.kind == kind and place in values]
            if own:
                found.setdefault(kind, {})[direction] = mean_divergence(own)
    return found
