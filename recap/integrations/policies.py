"""A reweighting policy as users of other trainers name it, and what of it goes into their logs and checkpoints."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from typing import Any

from registry import RegistryError, load_entry_points, reweighting_policies
from registry.reweighting.base import ReweightingPolicy, SignalKind

BuildPolicy = Callable[[Mapping[str, SignalKind]], ReweightingPolicy]
"""A policy's class, or whatever builds one for a mapping objective -> signal kind."""


def build_policy(
    policy: str | BuildPolicy, kinds: Mapping[str, SignalKind], parameters: Mapping[str, Any] | None = None
) -> ReweightingPolicy:
    """A new policy for these objectives.

    Args:
        policy: a registered name, also one of an installed plugin, or what builds one.
        kinds: objective -> signal kind.
        parameters: of the policy, beside the objectives.

    Raises:
        ValueError: an unknown name (with near matches), or a parameter out of its range.
        TypeError: a policy that was built already, or an unknown parameter.
    """
    if isinstance(policy, ReweightingPolicy):
        name = type(policy).__name__
        raise TypeError(
            f"give the class {name}, or a function that builds one: its objectives are named by the trainer"
        )
    if not isinstance(policy, str):
        return policy(kinds, **(parameters or {}))
    if policy not in reweighting_policies.names():
        load_entry_points()
    built = reweighting_policies.build(policy, kinds, **(parameters or {}))
    if not isinstance(built, ReweightingPolicy):
        raise RegistryError(
            f"reweighting policy {policy!r} builds {type(built).__name__}, which is no ReweightingPolicy"
        )
    return built


def series(weights: Mapping[str, float], diagnostics: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Weights and diagnostics, flat, under the names that `recap train` logs: ``weight/iou``, ``convergence/iou``."""
    flat = {f"weight/{name}": weight for name, weight in weights.items()}
    for quantity, values in diagnostics.items():
        flat.update({f"{quantity}/{name}": value for name, value in values.items()})
    return flat


def pack(policy: ReweightingPolicy) -> str:
    """The state of a policy as text, for a JSON file."""
    import torch

    buffer = io.BytesIO()
    torch.save(policy.state_dict(), buffer)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def unpack(policy: ReweightingPolicy, packed: str) -> None:
    """Puts a policy into a state that `pack` gave; only plain containers and numbers are read, no code.

    Raises:
        ValueError: the state is of another policy or other objectives.
    """
    import torch

    policy.load_state_dict(torch.load(io.BytesIO(base64.b64decode(packed)), weights_only=True))
