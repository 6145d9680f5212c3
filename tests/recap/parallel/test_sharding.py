"""FSDP2: two processes that share one model do the steps of a single one, and their checkpoint and model load.

Accelerate shards on GPUs only (`AcceleratorState`, which takes FSDP for several GPU processes and keeps plain data
parallelism on CPU ones). `fsdp_on_cpu` gives its state what it would have on GPUs; from there on everything, `prepare`,
clipping, saving and loading, is Accelerate's and torch's own FSDP2 on gloo.

Started by torchrun, this file is one of the processes: `torchrun ... test_sharding.py MODE DIRECTORY BINDINGS`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator, DistributedType
from accelerate.state import AcceleratorState, PartialState
from torch import nn

import recap.learning.models
import recap.model.scoring
from recap.experiment.config import load_config
from recap.learning.trainer import Trainer
from recap.model.decoding import decode
from recap.model.scoring import Scorer, Scoring
from recap.model.weights import whole, whole_parameters
from recap.parallel.replica import frozen_copy, refresh
from recap.parallel.sharding import fsdp_plugin
from recap.runs.run import Run
from registry.backends.base import LoadedModel
from registry.backends.huggingface import HuggingFace
from registry.example import Example
from registry.replay.arithmetic import Arithmetic
from registry.replay.grounding import Grounding
from tests.processes import torchrun

ROOT = Path(__file__).resolve().parents[3]
QUICKSTART = ROOT / "experiments" / "quickstart.gin"
FSDP = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
}
BINDINGS = [
    "rewards.workers = 1",
    "rollout.group_size = 4",
    "rollout.max_new_tokens = 24",
    "rollout.temperature = 1.5",
    "train.steps = 2",
    "train.prompts_per_step = 5",  # a picture on one process only, a supervised example on one process only
    "train.mixture = @mixtures.weighted()",
    "mixtures.weighted.rates = {'counting': 1, 'arithmetic': 2, 'grounding': 1, 'reading': 1}",
    "train.accumulation_steps = 2",
    "grpo.kl_coefficient = 0.05",
    "reweighting.recap.window = 1",
    "adamw.learning_rate = 1e-4",
]
RUN = [
    "grpo.iterations = 2",
    "train.capabilities = [@grounding/Capability()]",
    "Capability.examples = 3",
    "train.evaluate_every = None",
    "checkpoints.every = 1",
    "scoring.max_tokens = 150",  # micro-batches in parts, more of them on one process than on the other
]


def fsdp_on_cpu(mixed_precision: str) -> None:
    """What `AcceleratorState` does where it finds several GPU processes and ACCELERATE_USE_FSDP."""
    plugin = fsdp_plugin(mixed_precision)
    assert plugin is not None
    Accelerator(mixed_precision=mixed_precision, fsdp_plugin=plugin)
    AcceleratorState._shared_state["fsdp_plugin"] = plugin
    for state in (AcceleratorState, PartialState):
        state._shared_state["distributed_type"] = DistributedType.FSDP


def two_steps(bindings: list[str]) -> dict[str, Any]:
    trainer = Trainer(load_config(QUICKSTART, bindings).experiment)
    gathered = []

    def counted(*given: Any) -> None:
        gathered.append(trainer.step_number)
        refresh(*given)

    recap.learning.models.refresh = counted
    with trainer.experiment.rewards:
        metrics = [trainer.step().metrics for _ in range(2)]
    for _ in range(2):  # as for an evaluation, and then the next step
        trainer.models.ready_to_sample()
    trainer.models.refresh()
    weights = {name: value.detach() for name, value in trainer.loaded.model.named_parameters()}
    return {"metrics": metrics, "weights": weights, "sharded": trainer.models.sharded, "gathered": gathered}


def run_whole_and_resumed(directory: Path, bindings: list[str]) -> dict[str, Any]:
    """Two steps with evaluations, checkpoints and export; then the second one again, forked from the first checkpoint."""
    found: dict[str, Any] = {}
    for name, resume in (("whole", None), ("resumed", directory / "whole" / "checkpoint-000001")):
        run = Run(load_config(QUICKSTART, bindings).experiment, directory / name, resume=resume)
        step, metrics = run.trainer.step, []

        def recorded(step: Any = step, metrics: list[Any] = metrics) -> Any:
            metrics.append((result := step()).metrics)
            return result

        run.trainer.step = recorded  # type: ignore[method-assign]
        scores = run.execute()
        found[name] = {
            "metrics": metrics,
            "scores": {at: score["grounding"].score for at, score in scores.items()},
            "weights": {key: value.clone() for key, value in run.trainer.loaded.model.named_parameters()},
            "sharded": run.trainer.models.sharded,
        }
    return found


def dtypes_under_bf16(bindings: list[str]) -> dict[str, Any]:
    trainer = Trainer(load_config(QUICKSTART, bindings).experiment)
    seen: dict[str, Any] = {}
    trainer.models.scorer.register_forward_hook(
        lambda module, inputs, scores: seen.update(
            log_probs=scores.log_probs.dtype, compute=module.model.get_input_embeddings().weight.dtype
        )
    )
    optimizer_step = trainer.models.optimizer.step

    def recorded() -> None:
        seen["gradient"] = {p.grad.dtype for p in trainer.models.scorer.parameters()}
        optimizer_step()

    trainer.models.optimizer.step = recorded
    with trainer.experiment.rewards:
        result = trainer.step()
    scorer = trainer.models.scorer
    assert isinstance(scorer, Scorer)
    return seen | {
        "updated": result.updated,
        "settled": scorer.settled.way,
        "master": {p.dtype for p in scorer.parameters()},
        "replica": {p.dtype for p in trainer.loaded.model.parameters()},
        "buffers": {b.dtype for b in trainer.loaded.model.buffers() if b.is_floating_point()},
        "loss": result.metrics["loss"],
        "off": off_from_fp32(trainer),
    }


def off_from_fp32(trainer: Trainer) -> dict[str, dict[str, float]]:
    """How far log-probs (nats) and gradient (relative) of one batch are from those of one process in fp32.

    Of the sharded model, and of one process in bf16 autocast. Every process has the whole batch, so that their mean gradient is
    that of one.
    """
    scorer, alone = trainer.models.scorer, trainer.experiment.load_model()
    refresh(alone.model, scorer)
    examples = [source.example(position) for source in (Grounding(), Arithmetic()) for position in range(2)]
    prompts = alone.encode([example.question for example in examples], examples, torch.device("cpu"))
    uniforms = torch.rand(2 * len(examples), 24, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ids, mask, _ = decode(alone, prompts, 2, 24, 1.5, uniforms)

    def score(module: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
        module.zero_grad()
        log_probs = module(prompts, ids, mask).log_probs
        log_probs.sum().backward()
        gradients = [whole(p.grad).flatten() for p in module.parameters() if p.grad is not None]
        return log_probs.detach()[mask.bool()], torch.cat(gradients)

    one = Scorer(alone.model, alone.forbidden_token_ids)
    found = {"fp32": score(one), "sharded": score(scorer)}
    with torch.autocast("cpu", torch.bfloat16):
        found["alone"] = score(one)
    log_probs, gradient = found.pop("fp32")
    return {
        name: {
            "log_probs": float((own_log_probs - log_probs).square().mean().sqrt()),
            "gradient": float((own_gradient - gradient).norm() / gradient.norm()),
        }
        for name, (own_log_probs, own_gradient) in found.items()
    }


def refusal(bindings: list[str]) -> str:
    """What is said where the config would shard the blocks of the vision tower by themselves."""
    plugin = AcceleratorState().fsdp_plugin
    plugin.transformer_cls_names_to_wrap = ["Qwen2_5_VLDecoderLayer", "Qwen2_5_VLVisionBlock"]
    plugin.auto_wrap_policy = plugin.auto_wrap_policy.func
    with pytest.raises(ValueError, match="as units of their own") as error:
        Trainer(load_config(QUICKSTART, bindings).experiment)
    return str(error.value)


def launch(mode: str, processes: int, directory: Path, bindings: list[str]) -> list[dict[str, Any]]:
    """What each process found."""
    directory.mkdir(exist_ok=True)
    environment = {} if mode.startswith("plain") else dict(FSDP)
    if mode == "fsdp run":
        environment["FSDP_ACTIVATION_CHECKPOINTING"] = "true"  # as little does FSDP's own
    done = torchrun(__file__, mode, str(directory), json.dumps(bindings), processes=processes, **environment)
    assert done.returncode == 0, done.stderr[-5000:]
    return [torch.load(directory / f"found-{rank}", weights_only=False) for rank in range(processes)]


def assert_same_steps(ours: dict[str, Any], expected: dict[str, Any]) -> None:
    """Loss, weights λ, gradient norm and weights of the model after two steps."""
    for step, expected_step in zip(ours["metrics"], expected["metrics"], strict=True):
        for name, value in expected_step.items():
            if name.split("/")[0] in ("loss", "weight", "reward", "signal", "gradient_norm", "kl"):
                assert step[name] == pytest.approx(value, rel=2e-3, abs=1e-5), name
    # Adam moves a weight by about the learning rate (1e-4) per update, whose sign is noise where a gradient is near 0.
    for name, value in expected["weights"].items():
        torch.testing.assert_close(ours["weights"][name], value, rtol=0, atol=1e-4, msg=name)


def test_two_processes_that_share_a_model_do_the_steps_of_one(tmp_path: Path) -> None:
    (alone,) = launch("plain", 1, tmp_path, BINDINGS)
    checkpointed = [*BINDINGS, "train.activation_checkpointing = True"]  # changes nothing but the memory
    for rank in launch("fsdp", 2, tmp_path, checkpointed):
        assert rank["sharded"]
        assert_same_steps(rank, alone)
        assert rank["gathered"] == [0, 1, 2], "once after every update"
        assert "fsdp_transformer_layer_cls_to_wrap" in rank["refusal"]


@pytest.mark.slow
def test_a_sharded_run_evaluates_resumes_and_exports_as_a_plain_one(tmp_path: Path) -> None:
    bindings = [*BINDINGS, *RUN]
    (alone,) = launch("plain run", 1, tmp_path / "plain", bindings)
    ranks = launch("fsdp run", 2, tmp_path / "fsdp", bindings)
    for rank in ranks:
        assert_same_steps(rank["whole"], alone["whole"])
        assert rank["whole"]["scores"] == alone["whole"]["scores"]
        for name, value in rank["whole"]["weights"].items():
            torch.testing.assert_close(rank["resumed"]["weights"][name], value, rtol=0, atol=1e-6, msg=name)
        assert rank["resumed"]["metrics"][-1]["loss"] == pytest.approx(rank["whole"]["metrics"][-1]["loss"], rel=1e-5)
    exported = HuggingFace(str(tmp_path / "fsdp" / "whole" / "model"), dtype="float32").load().model
    for name, value in exported.named_parameters():
        assert torch.equal(value, ranks[0]["resumed"]["weights"][name]), name


@pytest.mark.slow
def test_an_adapter_on_a_sharded_model_is_trained_as_on_a_whole_one(tmp_path: Path) -> None:
    """Its base is the reference model, on the copy that samples."""
    bindings = [*BINDINGS, "train.adapter = @lora()"]
    (alone,) = launch("plain", 1, tmp_path, bindings)
    for rank in launch("fsdp lora", 2, tmp_path, bindings):
        assert rank["sharded"]
        assert_same_steps(rank, alone)


@pytest.mark.slow
def test_under_bf16_gradients_and_log_probs_stay_in_fp32(tmp_path: Path) -> None:
    bindings = [*BINDINGS, "train.mixed_precision = 'bf16'"]
    for rank in launch("bf16", 2, tmp_path / "bf16", bindings):
        assert rank["updated"]
        assert rank["compute"] == torch.bfloat16
        assert rank["log_probs"] == torch.float32
        assert rank["gradient"] == rank["master"] == {torch.float32}
        assert rank["replica"] == {torch.bfloat16}
        assert rank["buffers"] == {torch.float32}
        assert rank["settled"] == Scoring(), "rounding to bf16 is no reason to do without packing"
        for name, off in rank["off"]["sharded"].items():
            assert 0 < off < 2 * rank["off"]["alone"][name], "as one process in bf16"


def test_whole_parameters_of_a_plain_model_are_its_own(random_tiny: LoadedModel) -> None:
    """In its memory and under its names; the tied output head comes once."""
    own = random_tiny.model.state_dict(keep_vars=True)
    found = dict(whole_parameters(random_tiny.model))
    assert found.keys() == {name for name in own if name != "lm_head.weight"}
    assert all(found[name].data_ptr() == own[name].data_ptr() for name in found)
    assert not any(value.requires_grad for value in found.values())


def test_a_frozen_copy_in_another_precision_keeps_its_buffers(random_tiny: LoadedModel) -> None:
    twin = frozen_copy(random_tiny.model, torch.device("cpu"), torch.bfloat16)
    assert {p.dtype for p in twin.parameters()} == {torch.bfloat16}
    assert not any(p.requires_grad for p in twin.parameters())
    assert {b.dtype for b in twin.buffers() if b.is_floating_point()} == {torch.float32}
    assert random_tiny.model.dtype == torch.float32
    assert not twin.training


def encoded_with_completions(loaded: LoadedModel) -> tuple[Any, torch.Tensor, torch.Tensor]:
    encoded = loaded.encode(["1+1=?"], [Example(id="a", question="", answer="")], torch.device("cpu"))
    uniforms = torch.rand(2, 4, generator=torch.Generator().manual_seed(0))
    ids, mask, _ = decode(loaded, encoded, 2, 4, 1.0, uniforms)
    return encoded, ids, mask


def test_processes_settle_for_what_all_of_them_can_do(
    random_tiny: LoadedModel, caplog: pytest.LogCaptureFixture
) -> None:
    scorer = Scorer(random_tiny.model, random_tiny.forbidden_token_ids, Scoring())
    asked: list[bool] = []

    def another_process_cannot(stands: bool) -> bool:
        asked.append(stands)
        return len(asked) > 1

    scorer.agree = another_process_cannot
    scorer(*encoded_with_completions(random_tiny))
    assert asked == [True, True]
    assert scorer.settled is not None
    assert scorer.settled.way == Scoring(chunk=None)
    assert "another process" in caplog.text


def test_a_model_that_cannot_pack_is_not_sharded(random_tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recap.model.scoring, "why_not_packed", lambda model: "it has recurrent layers")
    scorer = Scorer(random_tiny.model, random_tiny.forbidden_token_ids, Scoring())
    scorer.one_forward = True
    with pytest.raises(ValueError, match=r"cannot be sharded here.*recurrent layers"):
        scorer(*encoded_with_completions(random_tiny))


def test_units_are_the_layers_of_the_language_model_only(random_tiny: LoadedModel) -> None:
    scorer: nn.Module = Scorer(random_tiny.model, [])
    assert scorer._no_split_modules == ["Qwen2_5_VLDecoderLayer"]


if __name__ == "__main__":
    mode, directory, bindings = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{directory}/mlflow.db"
    if not mode.startswith("plain"):
        fsdp_on_cpu("bf16" if mode == "bf16" else "no")
    if mode == "bf16":
        found = dtypes_under_bf16(bindings)
    else:
        found = run_whole_and_resumed(directory, bindings) if mode.endswith("run") else two_steps(bindings)
    if mode == "fsdp":
        found["refusal"] = refusal(bindings)
    torch.save(found, directory / f"found-{os.environ['RANK']}")
