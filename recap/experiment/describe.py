"""Experiments and parts, described for a person."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from rich import box
from rich.table import Table
from rich.text import Text

from recap.data.domains import describe
from recap.data.endings import at_hand, course
from recap.data.objectives import objective_name
from recap.experiment.experiment import Experiment, kl_domains, loads_base
from recap.experiment.layout import Layout
from recap.experiment.load import PROMPT_TEXT
from recap.experiment.memory import GIB, estimate
from recap.experiment.source_examples import examples_alone, examples_in
from registry.core import Entry, Registry
from registry.replay.base import ReplaySource

FILLED = 0.95
"""Of a GPU's memory, what an estimate may take; assumed."""


def experiment_table(experiment: Experiment) -> Table:
    """Domains by objectives, with the first weight of each objective.

    Expected of a step: the prompts of each domain, and how many completions or targets an objective has seen of them.
    """
    policy = experiment.build_reweighting()
    weights = policy.weights
    expected = expected_prompts(experiment)
    adapter = "" if experiment.adapter is None else f" with {experiment.adapter}"
    title = f"{describe(type(experiment.model))}{adapter}, reweighting {describe(type(policy))}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for header in ("domain", "source", "prompts", "objective", "by", "seen", "signal", "λ"):
        table.add_column(header, overflow="fold", no_wrap=header in ("domain", "prompts", "objective", "seen"))
    for domain in experiment.domains:
        for row, (local, part) in enumerate(domain.objectives.items()):
            name = objective_name(domain.name, local, experiment.objective_scope)
            table.add_row(
                domain.name if row == 0 else "",
                describe(domain.source) if row == 0 else "",
                _share(expected, domain.name) if row == 0 else "",
                name,
                describe(part),
                _examples_a_step(experiment, expected, domain.name, supervised=local in domain.supervised),
                policy.signal_kinds[name],
                f"{weights[name]:.2f}",
            )
    return table


SIMULATED = 10_000
"""Steps of a run that are gone through for what to expect of them."""


def expected_prompts(experiment: Experiment) -> dict[str, float] | None:
    """Prompts of each domain in a step, the mean over the run; None where lengths are not known without a download."""
    if not experiment.lengths_at_hand:
        return None
    steps = list(_course(experiment))
    return {
        domain.name: sum(step[domain.name] for step in steps) / len(steps) for domain in experiment.domains if steps
    }


def _course(experiment: Experiment) -> Iterator[dict[str, int]]:
    steps = min(experiment.steps, SIMULATED)
    return course(experiment.domains, experiment.mixture, experiment.prompts_per_step, steps)


def _share(expected: dict[str, float] | None, domain: str) -> str:
    return "?" if expected is None else f"{expected.get(domain, 0.0):.4g}"


def _examples_a_step(
    experiment: Experiment, expected: dict[str, float] | None, domain: str, *, supervised: bool
) -> str:
    """What an objective sees of a domain in a step: completions that are judged, or targets that are imitated."""
    if expected is None:
        return "?"
    prompts = expected.get(domain, 0.0)
    return f"{prompts:.4g}" if supervised else f"{prompts * experiment.rollout.group_size:.4g}"


def ending(experiment: Experiment) -> str:
    """What is to be said of sources that end; empty where none does."""
    if not experiment.lengths_at_hand or all(domain.at_end == "repeat" for domain in experiment.domains):
        return ""
    unknown = [domain.name for domain in experiment.domains if domain.at_end != "repeat" and not at_hand(domain.source)]
    taken = sum(1 for _ in _course(experiment))
    early = taken < min(experiment.steps, SIMULATED)
    over = f"over after {taken} of {experiment.steps} steps" if early else f"after {experiment.steps} steps"
    text = f"{over}; at the end of their sources: " + ", ".join(
        f"{domain.name} {domain.at_end}" for domain in experiment.domains
    )
    return text + (f" (not known here: when {', '.join(unknown)} ends)" if unknown else "")


def summary(experiment: Experiment) -> Table:
    """What would be trained, measured and kept, a line each."""
    rollout, adamw, checkpoints = experiment.rollout, experiment.optimizer, experiment.checkpoints
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
        f" {experiment.kl_coefficient:g}{_where(experiment)}, weights act on {experiment.weights_act_on}, {gradients}",
        "measures": f"{examples}{when}" if examples else "no capability",
        "drift": _drift(experiment),
        "keeps": f"{checkpoints.keep} checkpoints, every {checkpoints.every} steps"
        if checkpoints.every
        else "a checkpoint when stopped, no schedule",
        "logs to": f"{experiment.tracking.experiment!r} at {experiment.tracking.resolved_uri}",
    }.items():
        table.add_row(name, Text(text))
    if said := ending(experiment):
        table.add_row("ends", Text(said))
    return table


def _drift(experiment: Experiment) -> str:
    """How the divergence from the base is measured, in words."""
    settings = experiment.drift
    if settings is None or not experiment.capabilities:
        return "not measured"
    base = "the base loaded again each time" if loads_base(experiment) else "the base that is there"
    return f"{settings.prompts} prompts of each kind x {settings.max_new_tokens} tokens, at every evaluation, against {base}"


REMEDIES = {
    "base model": "train.drift = None, or an adapter, whose base is there",
    "activations": "a smaller scoring.max_tokens, or more train.accumulation_steps",
    "logits": "a smaller scoring.chunk, or more train.accumulation_steps",
    "key/value cache": "a smaller rollout.batch_size: fewer prompts are decoded at a time",
    "vLLM": "a smaller gpu_memory_utilization",
    "copies": "the model that samples is whole on every process: a smaller model, or GPUs with more memory",
    "gathered by FSDP": "what runs is whole while it does: a smaller model, or GPUs with more memory",
    "gradients of the objectives": "train.gradient_method = None and a policy other than GradNorm: FSDP and LoRA help little",
}
"""What makes a part of an estimate smaller; the others are proportional to the parameters."""


def remedy(part: str, experiment: Experiment, layout: Layout) -> str:
    """What makes a part of an estimate smaller, and is not in force already."""
    if part == "activations" and not (experiment.activation_checkpointing or layout.activation_checkpointing):
        return f"train.activation_checkpointing = True, {REMEDIES[part]}"
    if part == "copies" and experiment.copies_reference:
        return "grpo.kl_coefficient = 0, or train.adapter = @lora(), whose base is the reference"
    if part in REMEDIES:
        return REMEDIES[part]
    shares = "shares weights, gradients and optimizer state out"
    config = "experiments/accelerate/fsdp2_8_gpus.yaml"
    share = f"more processes, as FSDP2 {shares}" if layout.sharded else f"FSDP2 {shares} ({config})"
    return share if experiment.adapter is not None else f"{share}; or train.adapter = @lora()"


def memory_lines(experiment: Experiment, layout: Layout, gpu: float | None) -> list[str]:
    """The memory that each process is estimated to take, what dominates, and whether it fits.

    Args:
        gpu: GiB of each GPU; None: of the smallest one here; where there is none, nothing is said of fitting.
    """
    gpu = gpu or _smallest_gpu()
    try:
        found = estimate(experiment, layout, gpu=gpu)
    except ValueError as error:
        return [f"note: memory was not estimated: {error}"]
    load, total = found.load, found.total / GIB
    parts = ", ".join(f"{name} {size / GIB:.1f}" for name, size in found.parts.items() if size > 0.005 * found.total)
    lines = [
        f"memory per process: {total:.1f} GiB, most in the {found.phase}: {parts}",
        f"  of {found.parameters / 1e9:.3f} B parameters ({found.trained / 1e9:.3f} B trained), with {load.prompts} prompts of"
        f" {load.prompt_length} tokens ({PROMPT_TEXT} of text: assumed) x {load.group_size} completions of"
        f" {load.completion_length} at a time; not measured on a GPU: docs/memory.md",
    ]
    if gpu is None:
        return lines
    if total <= FILLED * gpu:
        return [*lines, f"memory fits: {total:.1f} of {gpu:g} GiB"]
    most = next(iter(found.parts))
    return [
        *lines,
        f"note: memory does not fit: {total:.1f} GiB are more than {FILLED:.0%} of {gpu:g} GiB (the rest is lost to"
        f" fragmentation); most is {most}: {remedy(most, experiment, layout)}",
    ]


def _smallest_gpu() -> float | None:
    import torch

    sizes = [torch.cuda.get_device_properties(index).total_memory for index in range(torch.cuda.device_count())]
    return min(sizes) / GIB if sizes else None


def settings(experiment: Experiment) -> dict[str, str]:
    """The settings that runs are compared by, flat, for MLflow."""
    policy = experiment.build_reweighting()
    flat = {
        "reweighting": describe(type(policy)),
        "domains": ", ".join(domain.name for domain in experiment.domains),
        "objectives": ", ".join(objective.name for objective in experiment.objectives),
        "mixture": describe(experiment.mixture),
        "adapter": str(experiment.adapter),
    }
    for name in (
        "steps",
        "prompts_per_step",
        "accumulation_steps",
        "objective_scope",
        "weights_act_on",
        "gradient_method",
        "signal",
        "mixed_precision",
        "activation_checkpointing",
        "seed",
    ):
        flat[name] = getattr(experiment, name)
    parts = ("rollout", "scoring", "grpo", "optimizer", *(["adapter"] if experiment.adapter else []))
    for name in parts:
        flat |= {f"{name}.{key}": value for key, value in vars(getattr(experiment, name)).items()}
    return {name: str(value) for name, value in flat.items()}


def describe_part(registry: Registry, entry: Entry, experiment: Experiment | None = None) -> str:
    """Documentation, gin name, parameters and place of a part; of a source also three examples.

    Args:
        experiment: whose sources the examples come from; None: from one without settings.

    Raises:
        ValueError: the experiment has no such source, or it cannot be read.
    """
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
        lines += ["", *(examples_alone(entry) if experiment is None else examples_in(experiment, entry))]
    return "\n".join(lines)


def _where(experiment: Experiment) -> str:
    """The domains that a KL term acts on, where it does not act on all."""
    acts = zip(experiment.domains, kl_domains(experiment), strict=True)
    under = [domain.name for domain, acting in acts if acting and domain.verifiers]
    return "" if experiment.grpo.kl_on == "all" else f" on {', '.join(under)}"
