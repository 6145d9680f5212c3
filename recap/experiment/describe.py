"""Experiments and parts, described for a person."""

from __future__ import annotations

import inspect

from rich import box
from rich.table import Table
from rich.text import Text

from recap.data.domains import describe
from recap.data.objectives import objective_name
from recap.experiment.experiment import Experiment
from registry.core import Entry, Registry
from registry.replay.base import ReplaySource


def experiment_table(experiment: Experiment) -> Table:
    """Domains by objectives, with the share of each domain and the first weight of each objective."""
    policy = experiment.build_reweighting()
    weights = policy.weights
    allocation = experiment.mixture.allocate(experiment.domains, experiment.prompts_per_step, 0)
    adapter = "" if experiment.adapter is None else f" with {experiment.adapter}"
    title = f"{describe(type(experiment.model))}{adapter}, reweighting {describe(type(policy))}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for header in ("domain", "source", "prompts", "objective", "by", "signal", "λ"):
        table.add_column(header, overflow="fold", no_wrap=header in ("domain", "prompts", "objective"))
    for domain in experiment.domains:
        for row, (local, part) in enumerate(domain.objectives.items()):
            name = objective_name(domain.name, local, experiment.objective_scope)
            table.add_row(
                domain.name if row == 0 else "",
                describe(domain.source) if row == 0 else "",
                str(allocation[domain.name]) if row == 0 else "",
                name,
                describe(part),
                policy.signal_kinds[name],
                f"{weights[name]:.2f}",
            )
    return table


def summary(experiment: Experiment) -> Table:
    """What would be trained, measured and kept, a line each."""
    rollout, adamw, checkpoints = experiment.rollout, experiment.optimizer, experiment.checkpoints
    policy = experiment.build_reweighting()
    beta = experiment.grpo.kl_coefficient if policy.kl_coefficient is None else policy.kl_coefficient
    gradients = (
        f"{experiment.gradient_method} of the gradients" if experiment.gradient_method else "mean of the gradients"
    )
    examples = ", ".join(f"{capability.name} ({capability.examples})" for capability in experiment.capabilities)
    when = f", before and after and every {experiment.evaluate_every} steps" if experiment.evaluate_every else ""
    table = Table.grid(padding=(0, 2))
    for name, text in {
        "trains": ("all weights" if experiment.adapter is None else str(experiment.adapter))
        + f", mixed precision {experiment.mixed_precision}, seed {experiment.seed}",
        "steps": f"{experiment.steps}, each of {experiment.prompts_per_step} prompts by {describe(experiment.mixture)} x"
        f" {rollout.group_size} completions of up to {rollout.max_new_tokens} tokens",
        "updates": f"{experiment.grpo.iterations} a step, AdamW at {adamw.learning_rate:g} ({adamw.schedule}), KL term"
        f" {beta:g}, weights act on {experiment.weights_act_on}, {gradients}",
        "measures": f"{examples}{when}" if examples else "no capability",
        "keeps": f"{checkpoints.keep} checkpoints, every {checkpoints.every} steps"
        if checkpoints.every
        else "a checkpoint when stopped, no schedule",
        "logs to": f"{experiment.tracking.experiment!r} at {experiment.tracking.resolved_uri}",
    }.items():
        table.add_row(name, Text(text))
    return table


def describe_part(registry: Registry, entry: Entry) -> str:
    """Documentation, gin name, parameters and place of a part; three examples where it is a source that needs no data."""
    parameters = [
        f"  {registry.gin_module}.{entry.name}.{name}" + ("" if p.default is p.empty else f" = {p.default!r}")
        for name, p in entry.parameters.items()
    ]
    lines = [
        f"@{registry.gin_module}.{entry.name}    {entry.location}",
        "",
        inspect.getdoc(entry.original) or "",
        "",
        "parameters:" if parameters else "no parameters",
        *parameters,
    ]
    if isinstance(entry.original, type) and issubclass(entry.original, ReplaySource):
        lines += ["", *_examples(entry)]
    return "\n".join(lines)


def _examples(entry: Entry) -> list[str]:
    try:
        source: ReplaySource = entry.target()
        examples = [source.example(position) for position in range(3)]
    except TypeError:  # needs parameters: a file, a data set
        return ["examples: bind its parameters and use `recap check`"]
    except (ValueError, ImportError) as error:
        return [f"examples: {error}"]
    length = "endless" if source.length is None else f"{source.length} examples"
    return [f"{length}, for instance:"] + [
        f"  {example.id}: {example.question!r} -> {example.supervised_target!r}"
        + (f" ({len(example.images)} image, {example.images[0].size})" if example.images else "")
        for example in examples
    ]
