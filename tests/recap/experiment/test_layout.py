"""What `recap check --accelerate` and the start of `recap train` say about the processes of a launch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
from typer.testing import CliRunner

from recap.cli import app
from recap.experiment.config import LoadedConfig
from recap.experiment.layout import Layout, check_layout, conflicts, layout_of_file, live_layout, notes

Small = Callable[..., LoadedConfig]
ROOT = Path(__file__).resolve().parents[3]
CONFIGS = ROOT / "experiments" / "accelerate"
QUICKSTART = str(ROOT / "experiments" / "quickstart.gin")
SHARDED = Layout(kind="FSDP", processes=8, fsdp_version=2)

CANNOT: dict[str, tuple[tuple[str, ...], Layout]] = {
    "DeepSpeed is not supported": ((), Layout(kind="DEEPSPEED", processes=8)),
    "MEGATRON_LM is not supported": ((), Layout(kind="MEGATRON_LM", processes=8)),
    "would train by itself": ((), Layout(kind="MULTI_CPU", processes=2, alone=True)),
    "splits the model by tp, cp": ((), Layout(kind="FSDP", processes=8, fsdp_version=2, model_parallel=("tp", "cp"))),
    "mixed_precision is 'bf16', train.mixed_precision is 'no'": ((), Layout(launcher_precision="bf16")),
    "'no' and 'bf16' are supported": ((), Layout(launcher_precision="fp16")),
    "gradient_accumulation_steps is 4": ((), Layout(accumulation=4)),
    "fsdp_version is 1": ((), Layout(kind="FSDP", processes=8, fsdp_version=1)),
    "would quietly keep whole models": ((), Layout(kind="FSDP", processes=2, fsdp_version=2, fsdp_ignored=True)),
    "fsdp_cpu_ram_efficient_loading": ((), Layout(kind="FSDP", processes=8, fsdp_version=2, only_main_loads=True)),
    "would be computed three times": (
        ("train.activation_checkpointing = True",),
        Layout(kind="FSDP", processes=8, fsdp_version=2, activation_checkpointing=True),
    ),
    "train.gradient_method = 'upgrad' needs the whole gradient": (("train.gradient_method = 'upgrad'",), SHARDED),
    "GradNorm needs the whole gradient": (("train.reweighting = @reweighting.gradnorm",), SHARDED),
    "scoring.shared_prefix = False": (("scoring.shared_prefix = False",), SHARDED),
}
WORKS: dict[str, tuple[tuple[str, ...], Layout]] = {
    "one process": ((), Layout()),
    "eight GPUs": (("train.prompts_per_step = 16",), Layout(kind="MULTI_GPU", processes=8)),
    "sharded": (("train.prompts_per_step = 16", "train.mixed_precision = 'bf16'"), SHARDED),
    "precision said twice": (("train.mixed_precision = 'bf16'",), Layout(launcher_precision="bf16")),
    "precision said in the gin file": (("train.mixed_precision = 'bf16'",), Layout(launcher_precision="no")),
    "gradient methods on whole models": (
        ("train.gradient_method = 'upgrad'", "train.prompts_per_step = 8"),
        Layout(kind="MULTI_GPU", processes=8),
    ),
}
NOTED: dict[str, tuple[tuple[str, ...], Layout]] = {
    "leaves 8 of 16 processes x train.accumulation_steps = 1 micro-batches empty": (
        (),
        Layout(kind="MULTI_GPU", processes=16),
    ),
    "no multiple of 6 (3 processes x train.accumulation_steps = 2)": (
        ("train.accumulation_steps = 2",),
        Layout(kind="MULTI_GPU", processes=3),
    ),
    "a whole copy of the model in bf16 to sample from:": (("train.mixed_precision = 'bf16'",), SHARDED),
    "to sample from and one as the reference of the KL term": (("grpo.kl_coefficient = 0.1",), SHARDED),
    "2 machines need a file system": ((), Layout(kind="MULTI_GPU", processes=16, machines=2)),
    "under the adapter the frozen base is held in bfloat16": (
        ("train.adapter = @lora()", "train.mixed_precision = 'bf16'"),
        Layout(),
    ),
    "the weights that are trained are bfloat16": (
        (
            "train.model = @backends.huggingface()",
            "backends.huggingface.path = 'org/name'",
            "backends.huggingface.dtype = 'bfloat16'",
        ),
        Layout(),
    ),
}


@pytest.mark.parametrize("said", CANNOT)
def test_what_cannot_work(small: Small, said: str) -> None:
    bindings, layout = CANNOT[said]
    experiment = small(*bindings).experiment
    (found,) = conflicts(experiment, layout)
    assert said in found
    with pytest.raises(ValueError, match=said.split("=")[0].split("(")[0]):
        check_layout(experiment, layout)


@pytest.mark.parametrize("name", WORKS)
def test_what_works(small: Small, name: str) -> None:
    bindings, layout = WORKS[name]
    check_layout(small(*bindings).experiment, layout)


@pytest.mark.parametrize("said", NOTED)
def test_what_works_but_perhaps_not_as_meant(small: Small, said: str) -> None:
    bindings, layout = NOTED[said]
    assert any(said in note for note in notes(small(*bindings).experiment, layout))
    assert not conflicts(small(*bindings).experiment, layout)


def test_an_even_share_needs_no_note(small: Small) -> None:
    experiment = small("train.prompts_per_step = 16", "train.accumulation_steps = 2").experiment
    assert notes(experiment, Layout(kind="MULTI_GPU", processes=8)) == []


def test_the_cpu_is_noted_where_there_are_gpus(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    assert any("has 8 GPUs" in note for note in notes(small().experiment, Layout(on_cpu=True)))


SHIPPED = {
    "one_gpu": Layout(),
    "ddp_8_gpus": Layout(kind="MULTI_GPU", processes=8),
    "fsdp2_8_gpus": SHARDED,
    "two_nodes": Layout(kind="MULTI_GPU", processes=16, machines=2),
}


def test_every_shipped_config_is_known_here() -> None:
    assert {path.stem for path in CONFIGS.iterdir()} == set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_config_loads_and_works_with_the_papers_experiment(name: str) -> None:
    file = CONFIGS / f"{name}.yaml"
    assert isinstance(load_config_from_file(str(file)), ClusterConfig)
    assert layout_of_file(file) == SHIPPED[name]
    result = CliRunner().invoke(
        app, ["check", str(ROOT / "experiments/paper/hybrid_recap.gin"), "--accelerate", str(file)]
    )
    assert result.exit_code == 0, result.output
    assert f"valid with {file}" in result.output


def test_what_accelerate_would_start_is_read_from_its_config(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    head = "compute_environment: LOCAL_MACHINE\nnum_machines: 1\n"
    file.write_text(
        head + "distributed_type: FSDP\nnum_processes: 4\nmixed_precision: fp16\nfsdp_config: {fsdp_version: 1}\n"
    )
    assert layout_of_file(file) == Layout(
        kind="FSDP", processes=4, launcher_precision="fp16", fsdp_version=1, only_main_loads=True
    )
    file.write_text(head + "distributed_type: DEEPSPEED\nnum_processes: 4\ndeepspeed_config: {zero_stage: 3}\n")
    assert layout_of_file(file).kind == "DEEPSPEED"
    file.write_text(head + "distributed_type: MULTI_CPU\nuse_cpu: true\nnum_processes: 4\n")
    assert layout_of_file(file) == Layout(kind="MULTI_CPU", processes=4, on_cpu=True, alone=True)


def test_a_file_that_is_no_accelerate_config(tmp_path: Path) -> None:
    code = CliRunner().invoke(app, ["check", QUICKSTART, "--accelerate", str(tmp_path / "nowhere.yaml")])
    assert code.exit_code == 2
    assert "is no Accelerate config" in code.output
    (tmp_path / "other.yaml").write_text("something: else\n")
    with pytest.raises(ValueError, match="is no Accelerate config"):
        layout_of_file(tmp_path / "other.yaml")


def test_check_fails_on_a_conflict(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text((CONFIGS / "fsdp2_8_gpus.yaml").read_text())
    gradnorm = ["-b", "train.reweighting = @reweighting.gradnorm"]
    result = CliRunner().invoke(app, ["check", QUICKSTART, *gradnorm, "--accelerate", str(file)])
    assert result.exit_code == 2
    assert "error: GradNorm needs the whole gradient" in result.output


def test_deepspeed_is_refused_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    result = CliRunner().invoke(app, ["train", QUICKSTART])
    assert result.exit_code == 2
    assert "fsdp2_8_gpus.yaml" in result.output


def test_the_layout_of_a_running_process(monkeypatch: pytest.MonkeyPatch) -> None:
    accelerator = Accelerator()
    layout = live_layout(accelerator)
    assert (layout.kind, layout.processes, layout.machines) == ("NO", 1, 1)
    assert not layout.alone
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert live_layout(accelerator).alone
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert live_layout(accelerator).fsdp_ignored


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ddp_8_gpus", "two_nodes"])
def test_a_shipped_config_launches_on_cpu_processes(name: str, small_bindings: list[str], tmp_path: Path) -> None:
    """Two processes instead of its eight or sixteen; as two machines, two launches on this one."""
    binds = [part for binding in [*small_bindings, "train.steps = 1"] for part in ("-b", binding)]
    command = [
        str(Path(sys.executable).parent / "accelerate"),
        "launch",
        "--config_file",
        str(CONFIGS / f"{name}.yaml"),
    ]
    command += ["--num_processes", "2", "--main_process_port", "29761"]
    places = [[]] if name != "two_nodes" else [["--machine_rank", r, "--main_process_ip", "127.0.0.1"] for r in "01"]
    train = ["-m", "recap", "train", QUICKSTART, *binds, "--output", str(tmp_path / "run")]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [*command, *place, *train],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for place in places
    ]
    said = "".join(process.communicate(timeout=240)[0] for process in started)
    assert all(process.returncode == 0 for process in started), said[-3000:]
    assert "on 2 x cpu" in said
    assert (tmp_path / "run" / "model" / "config.json").is_file()
