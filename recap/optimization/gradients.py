"""Gradient methods: how the gradients of several objectives become one direction, by name, through TorchJD."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from registry.core import near_matches

if TYPE_CHECKING:
    from torchjd.aggregation import Aggregator

MISSING = 'gradient methods need an optional extra: pip install "recap-rlvr[gradients]"'

AGGREGATORS: dict[str, Callable[[Any, int], Aggregator]] = {
    "aligned_mtl": lambda jd, _: jd.AlignedMTL(),
    "cagrad": lambda jd, _: jd.CAGrad(c=0.5),  # c of the two-task example of its paper's code
    "config": lambda jd, _: jd.ConFIG(),
    "dualproj": lambda jd, _: jd.DualProj(),
    "fairgrad": lambda jd, _: jd.FairGrad(alpha=2.0),  # 1 would be Nash-MTL
    "graddrop": lambda jd, _: jd.GradDrop(),
    "gradvac": lambda jd, _: jd.GradVac(),
    "imtl_g": lambda jd, _: jd.IMTLG(),
    "mgda": lambda jd, _: jd.MGDA(),
    "nash_mtl": lambda jd, objectives: jd.NashMTL(n_tasks=objectives),
    "pcgrad": lambda jd, _: jd.PCGrad(),
    "upgrad": lambda jd, _: jd.UPGrad(),
}
"""Name -> (module `torchjd.aggregation`, number of objectives) -> aggregator, with its paper's or TorchJD's settings."""

REMEMBERED = {"nash_mtl": ("prvs_alpha", "normalization_factor", "step"), "gradvac": ("_phi_t",)}
"""Method -> attributes of its weighting that hold what it remembers of earlier steps; no other method remembers."""


def build_aggregator(name: str, objectives: int) -> Aggregator:
    """A new aggregator: gradients [objectives, parameters] -> direction [parameters].

    Source: TorchJD (arXiv 2406.16232), whose documentation names the paper of each. Some keep a state, so that every
    model needs one of its own.

    Args:
        name: one of `AGGREGATORS`.
        objectives: K >= 1, the number of gradients.

    Raises:
        ValueError: an unknown name, or a package of the extra ``gradients`` is not installed.
    """
    if name not in AGGREGATORS:
        near = near_matches(name, AGGREGATORS)
        hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(AGGREGATORS)}"
        raise ValueError(f"no gradient method {name!r}; {hint}")
    try:
        from torchjd import aggregation

        return AGGREGATORS[name](aggregation, objectives)
    except ImportError as error:
        raise ValueError(f"{name}: {MISSING} ({error})") from error


class GradientAggregator:
    """One direction from the gradients of the objectives: by a gradient method, or their mean.

    An objective without gradient (absent from the step, or with advantages of 0 alone) is left out: to MGDA and its kin
    it would mean that no direction is left. Where a gradient is not finite no method is asked: the mean is not finite
    either, and no optimizer's step is taken along it.

    Args:
        method: one of `AGGREGATORS`, or None for the mean, (1/K) Σ λ_k ∇L_k.

    Raises:
        ValueError: as `build_aggregator`.
    """

    def __init__(self, method: str | None) -> None:
        self.method = method
        self._by_number: dict[int, Aggregator] = {}
        if method is not None:
            self._built(2)

    def __call__(self, gradients: Tensor) -> Tensor:
        """[K, parameters] -> [parameters]."""
        largest = gradients.abs().amax(dim=1)
        present = gradients[largest > 0]  # never NaN
        if self.method is None or len(present) < 2 or not bool(largest.isfinite().all()):
            return gradients.mean(0)
        direction: Tensor = self._built(len(present))(present)
        return direction

    def state_dict(self) -> dict[str, Tensor]:
        """What the method remembers of earlier steps, as plain tensors: ``"2.step"`` is that of two gradients."""
        return {
            f"{number}.{name}": torch.as_tensor(value).clone()
            for number, aggregator in self._by_number.items()
            for name in REMEMBERED.get(str(self.method), ())
            if (value := getattr(_weighting(aggregator), name)) is not None
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes what `state_dict` gave, of the same method.

        Raises:
            ValueError: it is of another method.
        """
        self._by_number = {}
        for key, value in state.items():
            number, _, name = key.partition(".")
            if name not in REMEMBERED.get(str(self.method), ()):
                raise ValueError(f"the gradient method {self.method!r} does not remember a {name!r}")
            weighting = _weighting(self._built(int(number)))
            before = getattr(weighting, name)
            kept = value.clone() if before is None or isinstance(before, Tensor) else value.numpy().copy()
            setattr(weighting, name, float(kept) if isinstance(before, float) else kept)
        for aggregator in self._by_number.values():
            _take_up(_weighting(aggregator))

    def _built(self, number: int) -> Aggregator:
        if number not in self._by_number:
            assert self.method is not None
            self._by_number[number] = build_aggregator(self.method, number)
        return self._by_number[number]


def _weighting(aggregator: Aggregator) -> Any:
    """The part of an aggregator that remembers."""
    return getattr(aggregator, "gramian_weighting", None) or getattr(aggregator, "weighting", None)


def _take_up(weighting: Any) -> None:
    """Makes what a weighting builds at its first call only, now that its state says that there was one."""
    if hasattr(weighting, "_init_optim_problem") and weighting.step:  # Nash-MTL
        weighting._init_optim_problem()
    if getattr(weighting, "_phi_t", None) is not None:  # GradVac
        weighting._state_key = (len(weighting._phi_t), weighting._phi_t.dtype)


def add_gradients(jacobian: Tensor, losses: Tensor, parameters: Sequence[nn.Parameter]) -> None:
    """Adds the gradient of each loss, [K], to its row of [K, parameters], in place; one backward pass each."""
    for k, row in enumerate(jacobian):
        # Not under a name, which would hold them through the next backward pass.
        for part, gradient in zip(
            _by_parameter(row, parameters),
            torch.autograd.grad(losses[k], parameters, retain_graph=k + 1 < len(losses), allow_unused=True),
            strict=True,
        ):
            if gradient is not None:
                part += gradient


def set_gradient(direction: Tensor, parameters: Sequence[nn.Parameter]) -> None:
    """Makes a direction, [parameters], the gradient that the optimizer sees."""
    for parameter, part in zip(parameters, _by_parameter(direction, parameters), strict=True):
        parameter.grad = part.to(parameter.dtype)


def _by_parameter(row: Tensor, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """Views into a row, [parameters], each in the shape of its parameter."""
    parts = torch.split(row, [parameter.numel() for parameter in parameters])
    return [part.view_as(parameter) for part, parameter in zip(parts, parameters, strict=True)]
