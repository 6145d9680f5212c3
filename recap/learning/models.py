"""The model in its roles: the one that is trained, the one that samples, and the one that a KL term refers to."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import torch
import transformers
from accelerate import Accelerator
from torch import Tensor

from recap.experiment.experiment import Experiment, loads_base, saves_activations
from recap.learning.microbatch import ReinforcementBatch
from recap.model.activations import checkpoint_activations
from recap.model.adapters import adapter_disabled
from recap.model.precision import hold_frozen
from recap.model.scoring import Scorer
from recap.model.weights import fingerprint
from recap.parallel.adapter_checkpoint import leave_frozen_out
from recap.parallel.processes import everywhere
from recap.parallel.replica import frozen_copy, refresh, replica_of
from recap.parallel.sharding import is_sharded, ready_sharded
from recap.sampling.first_use import Asked, settle_before_sampling
from recap.sampling.generators.sync import WeightSync


class Models:
    """Loads an experiment's model and readies it, its optimizer and what stands beside it for the processes of a launch.

    Attributes:
        loaded: the model that samples, is evaluated and exported; `scorer` holds the same weights, wrapped by Accelerate.
            Where Accelerate shards those, `loaded` is a copy that `refresh` brings up to date.
        scorer: what the loss is computed with.
        reference: None without a KL term, and under an adapter, whose base is the reference.
        held: the precision of weights that no optimizer moves (frozen ones, copies): that of the arithmetic; None: their own.
        weight_sync: sends weights to the generator and watches that they arrive; None without a generator.
        samplers_are_stale: whether who samples, the generator or the copy beside shards, lacks the weights as they are now;
            to be set by whoever changes those of the scorer.
        base_fingerprint: of the weights that training began with, where they are to be loaded again.
        agree: whether something holds on all processes; they must ask together.
        trained_parameters: those of the scorer that the optimizer moves.

    Raises:
        ValueError: the model, its adapter or the generator cannot be had, or not on these processes.
    """

    def __init__(self, experiment: Experiment, accelerator: Accelerator) -> None:
        self.experiment = experiment
        self.accelerator = accelerator
        transformers.utils.logging.disable_progress_bar()  # there is one progress display, ours
        generator = experiment.rollout.generator
        self.weight_sync = None if generator is None else WeightSync(generator, accelerator)
        self.samplers_are_stale = True
        if generator is not None:  # before minutes of loading
            generator.check()
            generator.connect()
        self.loaded = experiment.load_model()
        self.base_fingerprint = fingerprint(self.loaded.model) if loads_base(experiment) else None
        if generator is not None:
            generator.start(self.loaded, accelerator)
        if experiment.activation_checkpointing:
            checkpoint_activations(self.loaded.model)
        scorer = Scorer(self.loaded.model, self.loaded.forbidden_token_ids, experiment.scoring).train()
        self.sharded = is_sharded(accelerator)
        self.held = torch.bfloat16 if experiment.mixed_precision == "bf16" else None
        if self.held is not None and not self.sharded:  # shards are cast when they are gathered
            hold_frozen(self.loaded.model, self.held)
        self._stand_beside(scorer)
        optimizer, self.schedule = experiment.optimizer.build(scorer.parameters(), experiment.steps)
        self.scorer, self.optimizer = accelerator.prepare(scorer, optimizer)
        self.agree: Callable[[bool], bool] = partial(everywhere, accelerator) if accelerator.num_processes > 1 else bool
        scorer.agree = self.agree  # every process comes to its first pass: `Trainer.evened`
        if self.sharded:
            ready_sharded(self.scorer, self.agree)
        if experiment.adapter is not None:
            leave_frozen_out(accelerator)
        self.trained_parameters = [p for p in self.scorer.parameters() if p.requires_grad]

    def _stand_beside(self, scorer: Scorer) -> None:
        """Makes the copies that are kept beside the trained model, before Accelerate shards it."""
        experiment, device = self.experiment, self.accelerator.device
        self.reference: Scorer | None = None
        if experiment.copies_reference:
            self.reference = frozen_copy(scorer, device, self.held)
        if self.sharded:
            self.loaded = replica_of(self.loaded, device, self.held)
            if experiment.kl_coefficient > 0 and self.reference is None:
                # The copy's base, as a forward of the shards would need the other processes.
                self.reference = Scorer(self.loaded.model, self.loaded.forbidden_token_ids, experiment.scoring)

    def go_on_after(self, steps: int) -> None:
        """After a state was loaded or a step passed over: the optimizer has the experiment's settings, those of this step."""
        self.schedule = self.experiment.optimizer.schedule_after(steps, self.optimizer.optimizer, self.experiment.steps)

    def ready_to_sample(self) -> None:
        """Gives whoever samples the weights as they are now; on all processes together, nothing where it has them.

        The first time our own decoder's way of sharing prompts is settled, for what all processes can do.
        """
        if self.samplers_are_stale:
            self.refresh()
            if self.weight_sync is not None:
                self.weight_sync(self.loaded)
            self.samplers_are_stale = False
        if self.weight_sync is not None:
            return
        experiment, accelerator = self.experiment, self.accelerator
        asked: list[Asked] = [*(domain for domain in experiment.domains if domain.verifiers), *experiment.capabilities]
        if asked:
            with accelerator.autocast():
                settle_before_sampling(self.loaded, asked, accelerator.device, self.agree)

    def refresh(self) -> None:
        """Gives `loaded` the weights as they are now, on all processes together; nothing where it has the same ones.

        A generator still lacks them then.
        """
        if self.sharded and self.samplers_are_stale:
            refresh(self.loaded.model, self.scorer)

    @property
    def keeps_prefix(self) -> bool:
        """Whether prompts computed in the rollout serve the loss too.

        Not where the copy that samples is another than the one that is trained, nor with several micro-batches, whose
        purpose is that the activations of one are in memory at a time, nor where activations are not to be kept at all.
        """
        scorer: Scorer = self.accelerator.unwrap_model(self.scorer)
        return not self.sharded and not saves_activations(self.experiment) and scorer.wants_prefix

    @torch.no_grad()
    def reference_log_probs(self, item: ReinforcementBatch) -> Tensor:
        """Log-probs of completions under the reference model, a frozen copy or the adapter's base: [P * G, T]."""
        # Out of its wrapper, which counts forwards: a process may have more of these than another.
        scorer = self.reference or self.accelerator.unwrap_model(self.scorer)
        base = nullcontext() if self.experiment.adapter is None else adapter_disabled(self.loaded.model)
        with self.accelerator.autocast(), base:
            scores = scorer(
                item.encoded,
                item.completion_ids,
                item.completion_mask,
                temperature=self.experiment.rollout.temperature,
            )
        log_probs: Tensor = scores.log_probs
        return log_probs
