"""How a generator's weights are made those of the model in training, and how it is known that they are."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from accelerate.utils import gather_object
from torch import nn

from recap.model.weights import whole_parameters
from recap.parallel.local_work import FailedTogether
from recap.sampling.generators.base import Generator, GeneratorError
from recap.sampling.generators.probe import Probe
from registry.backends.base import LoadedModel

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)

GROWTH = 4.0
"""How many times the first difference a later one may be: rounding varies with the weights."""
SLACK = 1e-3
"""What a later one may be beyond that, in nats: with equal precision the first is next to 0."""
HIGHEST_FLOOR = 0.5
"""The largest first difference that can be rounding, in nats; other weights altogether differ by more."""


class SyncError(GeneratorError, FailedTogether):
    """Weights did not arrive as they are; an error of another library is the cause on the process that had it."""


class WeightSync:
    """Sends weights, and stops the run where they did not arrive as they are.

    Each time a fixed prompt is scored by the generator and by the model; other kernels and another precision give other
    log-probs, but not ever more different ones. What the difference is after the first sync, before any update, is the
    measure of later ones. Costs one request of some 80 tokens and one forward over them, where weights are sent.

    Attributes:
        difference: after the last sync, in nats, the largest of all processes; see `Probe.difference`.
        floor: after the first one; None before.
    """

    def __init__(self, generator: Generator, accelerator: Accelerator) -> None:
        self.generator = generator
        self.accelerator = accelerator
        self.difference = 0.0
        self.floor: float | None = None
        self._probe: Probe | None = None

    def __call__(self, loaded: LoadedModel) -> None:
        """Gives the generator the weights of `loaded`; called by every process. None samples in the meantime.

        Raises:
            SyncError: on every process, where they did not arrive on one, for whatever reason.
        """
        difference, failure = 0.0, ""
        cause: Exception | None = None
        try:
            send_weights(self.generator, loaded.model, self.accelerator)
            if has_generator(self.generator, self.accelerator):
                difference = self._compare(loaded)
        except GeneratorError as error:
            failure = str(error)
        except Exception as error:  # an engine's, or a full device's at the probe: the others wait to hear of it
            cause, failure = error, f"{self.generator.where}: {type(error).__name__}: {error}"
        outcomes: list[tuple[float, str]] = gather_object([(difference, failure)])  # also: nobody samples before this
        for _, failure in outcomes:
            if failure:
                raise SyncError(failure) from cause
        self._judge([found for found, _ in outcomes])

    def _compare(self, loaded: LoadedModel) -> float:
        device, autocast = self.accelerator.device, self.accelerator.autocast
        if self._probe is None and loaded.sees_images:
            probe = Probe(loaded, device, picture=True)
            try:
                difference = probe.difference(loaded, self.generator, autocast())
            except GeneratorError as error:  # it may not have been set up for pictures, and never be asked about one
                logger.warning("whether a vision tower's weights arrive is not watched: %s", error)
            else:
                self._probe = probe
                return difference
        if self._probe is None:
            self._probe = Probe(loaded, device, picture=False)
        return self._probe.difference(loaded, self.generator, autocast())

    def _judge(self, differences: list[float]) -> None:
        """The same on every process."""
        first = self.floor is None
        limit = HIGHEST_FLOOR if self.floor is None else GROWTH * self.floor + SLACK
        wrong = [found for found in differences if not found <= limit]  # NaN too
        self.difference = wrong[0] if wrong else max(differences)
        if first:
            self.floor = self.difference
        if not wrong:
            return
        before = (
            "before any update, where rounding is all that may differ"
            if first
            else f"where it was {self.floor:.2g} before the first update"
        )
        raise SyncError(
            f"{self.generator.where}: weights were sent, but did not arrive as they are: the log-probs of a fixed prompt differ"
            f" by {self.difference:.2g} nats from those of the model in training ({before}; at most {limit:.2g} is taken for"
            " rounding). Completions would come from another model than the one that is trained. Is the server used by"
            " somebody else, or was it started with another model, RoPE scaling or quantization? If not, this version of vLLM"
            " does not take over some tensor: try another one, or the other way of sending (vllm_server.weights_directory)."
            " docs/generation.md says which were run"
        )


def has_generator(generator: Generator, accelerator: Accelerator) -> bool:
    """Whether this process is one that sends weights."""
    return generator.syncs_on_every_process or bool(accelerator.is_main_process)


def send_weights(generator: Generator, model: nn.Module, accelerator: Accelerator) -> None:
    """Gives a generator the weights of the model, unseen whether they arrive; called by every process.

    Raises:
        GeneratorError: on a process that sends; it could not.
    """
    accelerator.wait_for_everyone()
    parameters = whole_parameters(model, every_name=generator.wants_every_name)
    try:
        if has_generator(generator, accelerator):
            generator.sync(parameters)
    finally:
        for _ in parameters:  # a process that sends nothing, or no more, still takes part in gathering
            pass
