"""Measures the memory of training steps on the CPU, and compares it with what `recap check` estimates.

    python tools/measure_memory.py            # all cases, a Markdown table; some minutes
    python tools/measure_memory.py --case tiny-full

Measured is what torch's own allocator gave out: the profiler reports every allocation and every release (Kineto's memory
events), and their running sum is what was alive. The peak of the resident set would be that of libraries, page cache and
malloc's habits as well. Everything is allocated while the profiler runs: parameters are copied once after loading, as
loaded ones may lie in a mapped file. Of two processes the first is measured.

The estimate is for the prompts' length that the steps had, and for completions at full length: their end token is made
impossible. `torchrun` starts this file again for two processes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.profiler import ProfilerActivity, profile

from registry import model_backends
from registry.backends.base import Backend, LoadedModel
from registry.backends.smollm2 import SmolLM2
from registry.backends.tiny_qwen2_5_vl import TinyQwen2_5_VL

if TYPE_CHECKING:
    from transformers import PretrainedConfig

ROOT = Path(__file__).resolve().parents[1]
MIB = 2**20


@model_backends.register("measured")
class Measured(Backend):
    """A model whose parameters are all in memory that torch has allocated, and whose completions never end.

    Args:
        size: 'tiny' (1.4 M parameters, sees), 'small' (32 M, random, grouped queries) or 'smollm2' (135 M).
    """

    def __init__(self, size: str) -> None:
        self.size = size
        self.dtype = "float32"

    @property
    def sees_images(self) -> bool:
        return self.size == "tiny"

    def configuration(self) -> PretrainedConfig | None:
        from transformers import LlamaConfig

        if self.size == "tiny":
            return TinyQwen2_5_VL().configuration()
        if self.size == "smollm2":
            return SmolLM2().configuration()
        return LlamaConfig(
            vocab_size=49_152,
            hidden_size=384,
            intermediate_size=1_024,
            num_hidden_layers=8,
            num_attention_heads=6,
            num_key_value_heads=2,
            tie_word_embeddings=True,
        )

    def load(self) -> LoadedModel:
        from transformers import LlamaForCausalLM

        loaded = TinyQwen2_5_VL().load() if self.size == "tiny" else SmolLM2().load()
        if self.size == "small":
            loaded.model = LlamaForCausalLM(self.configuration())
        for parameter in loaded.model.parameters():
            parameter.data = parameter.data.clone()
        loaded.forbidden_token_ids = sorted({*loaded.forbidden_token_ids, *loaded.eos_token_ids})
        return loaded


@dataclass(frozen=True)
class Case:
    """Bindings over the quick start, and how many processes train it."""

    bindings: tuple[str, ...]
    processes: int = 1


STEP = (
    "grpo.skip_zero_advantage = False",
    "train.evaluate_every = None",
    "train.capabilities = []",
    "rewards.workers = 1",
    "train.mixture = @mixtures.uniform()",
)
TINY = (
    "train.model = @backends.measured()",
    *STEP,
    "train.domains = [@grounding/Domain(), @counting/Domain()]",
    "rollout.max_new_tokens = 64",
    "backends.measured.size = 'tiny'",
    "train.prompts_per_step = 16",
)
TEXT = (
    "train.model = @backends.measured()",
    *STEP,
    "train.domains = [@arithmetic/Domain()]",
    "rollout.group_size = 4",
    "rollout.max_new_tokens = 128",
    "scoring.chunk = 128",
)
SMALL = (*TEXT, "backends.measured.size = 'small'", "train.prompts_per_step = 4")
SMOLLM2 = (
    *TEXT,
    "backends.measured.size = 'smollm2'",
    "train.prompts_per_step = 2",
    "rollout.max_new_tokens = 64",
)
LORA = ("train.adapter = @lora()",)
CHECKPOINTED = ("train.activation_checkpointing = True",)
QUICKSTART = "experiments/quickstart.gin"


def cases() -> dict[str, Case]:
    """Three sizes of model, each in full, with LoRA, checkpointed, on two processes, and under bf16."""
    found = {}
    for name, own in (("tiny", TINY), ("small", SMALL), ("smollm2", SMOLLM2)):
        found[f"{name}-full"] = Case(own)
        found[f"{name}-checkpointed"] = Case((*own, *CHECKPOINTED))
        found[f"{name}-lora"] = Case((*own, *LORA))
        found[f"{name}-kl-bf16"] = Case((*own, "grpo.kl_coefficient = 0.01", "train.mixed_precision = 'bf16'"))
        found[f"{name}-two-processes"] = Case(own, processes=2)
    return found


def measure(case: Case, steps: int = 2) -> dict[str, Any]:
    """Peak bytes of this process over the steps, and the load that they had."""
    from recap.experiment.config import load_config
    from recap.learning.trainer import Trainer

    experiment = load_config(ROOT / QUICKSTART, case.bindings).experiment
    length = prompts = patches = 0
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        trainer = Trainer(experiment)
        with experiment.rewards:
            for _ in range(steps):
                rollout = trainer.step().batch.rollouts[0]
                length = max(length, int(rollout.encoded.attention_mask.shape[1]))
                prompts = max(prompts, len(rollout.prompts))
                grid = rollout.encoded.inputs.get("image_grid_thw")
                patches = max(patches, 0 if grid is None else int(grid.prod(dim=1).sum()))
    alive = peak = 0
    assert profiler.profiler is not None
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        alive += event.nbytes()
        peak = max(peak, alive)
    return {"peak": peak, "prompts": prompts, "length": length, "patches": patches}


def estimated(case: Case, found: dict[str, Any]) -> Any:
    """What `recap check` estimates for the load that was found."""
    from recap.experiment.config import load_config
    from recap.experiment.layout import Layout
    from recap.experiment.load import Load
    from recap.experiment.memory import estimate

    experiment = load_config(ROOT / QUICKSTART, case.bindings).experiment
    layout = Layout(kind="MULTI_CPU" if case.processes > 1 else "NO", processes=case.processes, on_cpu=True)
    load = Load(
        prompts=found["prompts"],
        decoded=found["prompts"],
        group_size=experiment.rollout.group_size,
        prompt_length=found["length"],
        completion_length=experiment.rollout.max_new_tokens,
        patches=found["patches"],
    )
    return estimate(experiment, layout, load)


def in_processes(name: str, case: Case) -> dict[str, Any]:
    """`measure`, in processes of its own."""
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "found.json"
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(case.processes)]
        command = [sys.executable, *(launch if case.processes > 1 else []), __file__, "--measure", name, str(output)]
        environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr[-3000:])
        found: dict[str, Any] = json.loads(output.read_text())
        return found


def compare(name: str) -> tuple[int, Any]:
    """Measured bytes, and the estimate."""
    case = cases()[name]
    found = in_processes(name, case)
    return int(found["peak"]), estimated(case, found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=list(cases()), help="default: all")
    parser.add_argument("--measure", nargs=2, metavar=("CASE", "OUTPUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        found = measure(cases()[arguments.measure[0]])
        if os.environ.get("RANK", "0") == "0":
            Path(arguments.measure[1]).write_text(json.dumps(found))
        return
    print("| case | prompts × group × tokens (prompt) | measured, MiB | estimated, MiB | ratio | most of it |")
    print("|---|---|---|---|---|---|")
    for name in arguments.case or cases():
        measured, estimate = compare(name)
        load = estimate.load
        most = ", ".join(f"{part} {size / MIB:.0f}" for part, size in list(estimate.parts.items())[:4])
        print(
            f"| {name} | {load.prompts} × {load.group_size} × {load.completion_length} ({load.prompt_length})"
            f" | {measured / MIB:.0f} | {estimate.total / MIB:.0f} | {estimate.total / measured:.2f}"
            f" | {estimate.phase}: {most} |",
            flush=True,
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
