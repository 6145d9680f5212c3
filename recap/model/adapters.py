"""Adapters: a few trained weights beside a frozen model."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import gin
import torch
from torch import nn
from transformers import PreTrainedModel

from registry.core import near_matches

ADAPTER_NAME = "default"  # peft's own; it stands in the names of the adapter's parameters
Export = Literal["merged", "adapter"]


@gin.configurable("lora", module="recap")
@dataclass(frozen=True, kw_only=True)
class LoRA:
    """Low-rank adaptation: linear layers compute W x + (alpha / rank) B A x; A and B are trained, all else is frozen.

    Source: Hu et al. (arXiv 2106.09685), as peft has it: A starts at random, B at 0, so that the model starts as it is.
    Its base is also the reference model of a KL term: no copy of the weights is held for that.

    A and B are float32 whatever the precision of W: in bfloat16 most steps of Adam would be lost to rounding. W is held in
    bfloat16 under `train.mixed_precision` = 'bf16' (a sharded one as it was loaded): exact where it was published so. The
    merged model then is bfloat16, B A rounded with it; the adapter by itself is exact.

    Args:
        rank: r, of B A.
        alpha: the update is scaled by alpha / rank.
        dropout: of the updates' inputs, in [0, 1). Only where nothing is trained by reinforcement: completions are
            sampled without dropout, and scored with it they would be off their own policy, unseen by the importance ratio.
        target_modules: which linear layers: a list of names, or ends of names (`['q_proj', 'v_proj']`); or a regular
            expression of whole names; None: all of the language model, not the vision tower, not the output head.
        export: what a run writes at its end: 'merged' into RUN/model, a plain model; 'adapter' into RUN/adapter, alone.

    Raises:
        ValueError: a value out of its range.
    """

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    target_modules: str | Sequence[str] | None = None
    export: Sequence[Export] = get_args(Export)

    def __post_init__(self) -> None:
        for name in ("rank", "alpha"):
            if getattr(self, name) < 1:
                raise ValueError(f"lora.{name} must be at least 1; it is {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"lora.dropout must lie in [0, 1); it is {self.dropout}")
        if isinstance(self.target_modules, str):
            try:
                re.compile(self.target_modules)
            except re.error as error:
                raise ValueError(
                    f"lora.target_modules is not a regular expression: {self.target_modules!r} ({error})"
                ) from error
        elif self.target_modules is not None and not self.target_modules:
            raise ValueError("lora.target_modules is empty: name layers, or leave it at None")
        if isinstance(self.export, str) or not self.export or set(self.export) - set(get_args(Export)):
            raise ValueError(
                f"lora.export must be a list of {' or '.join(map(repr, get_args(Export)))}; it is {self.export!r}"
            )

    def check(self) -> None:
        """Raises ValueError where peft, the extra ``lora``, is not installed."""
        if importlib.util.find_spec("peft") is None:
            raise ValueError('train.adapter = @lora() needs peft: pip install "recap-rlvr[lora]"')

    def attach(self, model: PreTrainedModel, seed: int) -> None:
        """Puts the adapter into the model, in place, and freezes everything else.

        The model keeps its class and its interface: peft replaces the linear layers only.

        Args:
            model: anything of transformers, on any device.
            seed: of A; the same on every process.

        Raises:
            ValueError: peft is not installed, or `target_modules` names what the model does not have.
        """
        self.check()
        from peft import LoraConfig
        from peft.functional import cast_adapter_dtype

        config = LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=self.targets(model),
            task_type="CAUSAL_LM",
        )
        # The rest of the run draws what it would draw without an adapter. Not torch.manual_seed, which seeds GPUs too.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            model.add_adapter(config, ADAPTER_NAME)
        cast_adapter_dtype(model, ADAPTER_NAME)

    def targets(self, model: PreTrainedModel) -> list[str]:
        """Names of the layers that get an adapter; raises ValueError as `attach` does."""
        layers = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
        head = model.get_output_embeddings()
        if self.target_modules is None:
            inside = set(model.get_decoder().modules())
            return [name for name, module in layers.items() if module in inside and module is not head]
        if isinstance(self.target_modules, str):
            found = [name for name in layers if re.fullmatch(self.target_modules, name)]
            if not found:
                raise ValueError(
                    f"lora.target_modules = {self.target_modules!r} matches no linear layer; it must match whole names,"
                    f" e.g. {next(iter(layers), None)!r}. Ends of names go into a list, e.g. ['q_proj']"
                )
        else:
            found = [name for name in layers if any(_ends_with(name, end) for end in self.target_modules)]
            for end in self.target_modules:
                if not any(_ends_with(name, end) for name in found):
                    ends = sorted({name.rpartition(".")[2] for name in layers})
                    near = near_matches(end, ends)
                    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(ends)}"
                    raise ValueError(f"lora.target_modules: no linear layer {end!r}; {hint}")
        if heads := [name for name in found if layers[name] is head]:
            raise ValueError(
                f"lora.target_modules takes in the output head, {heads[0]!r}; leave it out: it may share its weights with"
                " the embedding, and then no merged model could hold its update"
            )
        return found

    def __str__(self) -> str:
        return f"LoRA of rank {self.rank}"


def _ends_with(name: str, end: str) -> bool:
    return name == end or name.endswith(f".{end}")


def has_adapter(model: nn.Module) -> bool:
    """Whether an adapter was attached."""
    return bool(getattr(model, "peft_config", None))


def adapted_layers(model: nn.Module) -> dict[str, Any]:
    """The layers that carry an update, by the names they have in the model without: peft's `lora.Linear`."""
    if not has_adapter(model):
        return {}
    from peft.tuners.lora import Linear

    return {name: module for name, module in model.named_modules() if isinstance(module, Linear)}


@contextmanager
def adapter_disabled(model: PreTrainedModel) -> Iterator[None]:
    """The base model for a while; the adapter is back afterwards, also after an error.

    Safe between a forward and its backward: nothing of the graph changes, and the adapter's parameters, which peft
    freezes meanwhile, are trained again before backward asks.
    """
    was_training = model.training
    model.disable_adapters()
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
        model.enable_adapters()


def trained_share(model: nn.Module) -> str:
    """How much of the model is trained, in words."""
    counts = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    trained = sum(count for count, requires_grad in counts if requires_grad)
    return f"{trained:,} of {sum(count for count, _ in counts):,} parameters trained"
