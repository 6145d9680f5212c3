"""`Domain`: a replay source, its prompt template and the objectives that its examples serve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import gin
import torch
from torch import Tensor

from recap.data.names import check_name
from recap.data.objectives import NextTokenPrediction
from recap.data.prompts import Asking
from registry.answer_places import AnswerPlaces, check_places
from registry.example import Example
from registry.replay.base import ReplaySource
from registry.verifiers.base import Judge


def scope_name(kind: str) -> str:
    """The innermost gin scope, which names a domain or a capability: ``@grounding/Domain()`` -> ``grounding``.

    Raises:
        ValueError: no scope and so no name.
    """
    scopes = gin.config.current_scope()
    if not scopes:
        raise ValueError(f"a {kind} needs a name: write @grounding/{kind}(), or bind {kind}.name")
    return str(scopes[-1])


AtEnd = Literal["repeat", "drop_out", "end_run"]


@gin.configurable("Domain", module="recap")
@dataclass(frozen=True, kw_only=True)
class Domain(Asking):
    """Examples of one kind, how they are asked, and what they are trained on.

    Args:
        source: where the examples come from.
        objectives: objective name -> verifier (trained by reinforcement) or `@next_token_prediction()` (trained on the
            reference). Domains that use one name share that objective, unless the scope is per domain.
        answer: where a completion's answer stands: 'tags', 'boxed', 'after:####' (any marker), 'last', 'whole', or several
            that are tried in order; all verifiers read it there.
        target: what is imitated, around ``{answer}``, of an example that has no target of its own; None: the answer in its
            place, such as ``<answer>{answer}</answer>``. Replayed chat text is imitated as it is with '{answer}'.
        replayed: whether the domain is replay, there so that the model keeps what it could do before, and not what it is to
            learn: `grpo.kl_on` and drift ask.
        at_end: when all of a source with a length was drawn once: 'repeat' it, 'drop_out' and leave the steps to the other
            domains, or 'end_run' before its time. The run also ends where those that are left cannot fill a step.
        name: the gin scope, unless given.
        prompt, system, shots, chat_arguments, max_prompt_tokens, long_prompts: how they are asked, see
            `recap.data.prompts.Asking`.

    Raises:
        ValueError: no objectives, a prompt without ``{question}``, an unknown place, a target without ``{answer}``,
            something that is no verifier, or a name that cannot be logged.
    """

    source: ReplaySource
    objectives: Mapping[str, Judge | NextTokenPrediction]
    answer: AnswerPlaces = "tags"
    target: str | None = None
    replayed: bool = False
    at_end: AtEnd = "repeat"
    name: str = field(default_factory=lambda: scope_name("Domain"))

    def __post_init__(self) -> None:
        if not self.objectives:
            raise ValueError(
                f"{self.name}/Domain.objectives is empty: name at least one verifier or next_token_prediction"
            )
        check_name(self.name, f"{self.name}/Domain.name")
        for name, objective in self.objectives.items():
            check_name(name, f"{self.name}/Domain.objectives[{name!r}]")
            if not callable(objective) and not isinstance(objective, NextTokenPrediction):
                raise ValueError(
                    f"{self.name}/Domain.objectives[{name!r}] is {objective!r}: write a verifier such as @verifiers.iou(),"
                    " or @next_token_prediction()"
                )
            if isinstance(objective, type):
                raise ValueError(
                    f"{self.name}/Domain.objectives[{name!r}] is the class {objective.__name__}: it lacks its parentheses,"
                    " write @verifiers.name()"
                )
        if self.at_end not in get_args(AtEnd):
            raise ValueError(
                f"{self.name}/Domain.at_end must be one of {', '.join(get_args(AtEnd))}; it is {self.at_end!r}"
            )
        self.check_asking(f"{self.name}/Domain")
        check_places(self.answer, f"{self.name}/Domain.answer")
        if self.target is not None and "{answer}" not in self.target:
            raise ValueError(
                f"{self.name}/Domain.target must contain {{answer}}, the place of the example's answer; it is {self.target!r}"
            )

    def fill(self, example: Example) -> Example:
        """The example with what the domain says of its answer: where it stands, and what is imitated."""
        target = example.target
        if target is None and self.target is not None:
            target = self.target.replace("{answer}", example.answer)
        return replace(example, answer_in=self.answer, target=target)

    @property
    def verifiers(self) -> dict[str, Judge]:
        return {name: judge for name, judge in self.objectives.items() if not isinstance(judge, NextTokenPrediction)}

    @property
    def supervised(self) -> dict[str, NextTokenPrediction]:
        return {name: loss for name, loss in self.objectives.items() if isinstance(loss, NextTokenPrediction)}


def domain_indices(domains: Sequence[Domain], all_domains: Sequence[Domain], device: torch.device) -> Tensor:
    """[P], where each of P domains stands among those of the experiment."""
    index = {domain.name: n for n, domain in enumerate(all_domains)}
    return torch.tensor([index[domain.name] for domain in domains], device=device)


def describe(value: Any) -> str:
    """Short name of a part, for tables: the class of an object, the name of a function."""
    return str(getattr(value, "__name__", type(value).__name__))
