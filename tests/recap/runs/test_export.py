"""What a run leaves behind loads in transformers and peft, and computes what the trained model computes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText
from typer.testing import CliRunner

from recap.cli import app
from recap.experiment.config import LoadedConfig, load_config
from recap.learning.trainer import Trainer
from recap.runs.export import export_run
from recap.runs.run import Run
from recap.runs.run_directory import RunRecord
from registry.backends.huggingface import HuggingFace
from registry.backends.tiny_qwen2_5_vl import TinyQwen2_5_VL

peft = pytest.importorskip("peft", reason='pip install "recap-rlvr[lora]"')

Small = Callable[..., LoadedConfig]
QUICKSTART = Path(__file__).resolve().parents[3] / "experiments" / "quickstart.gin"
IDS = torch.arange(2, 20)[None]
LORA = ("train.adapter = @lora()", "lora.rank = 4", "lora.alpha = 8", "adamw.learning_rate = 1e-2", "train.steps = 2")


@torch.no_grad()
def logits(model: nn.Module) -> Tensor:
    found: Tensor = model.eval()(input_ids=IDS).logits
    return found


def base() -> nn.Module:
    return TinyQwen2_5_VL(weights="random").load().model


@pytest.fixture(scope="module")
def finished(small_bindings: list[str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A LoRA run that has ended; it has moved away from its base."""
    directory = tmp_path_factory.mktemp("finished")
    bindings = [*small_bindings, *LORA, "checkpoints.every = 2", f"tracking.uri = 'sqlite:///{directory}/mlflow.db'"]
    config = load_config(QUICKSTART, bindings)
    run = Run(config.experiment, directory / "run", command=config.command)
    run.execute()
    assert (logits(run.trainer.loaded.model) - logits(base())).abs().max() > 1e-2
    return run


def test_the_merged_model_is_a_plain_directory(finished: Run) -> None:
    directory, expected = finished.directory / "model", logits(finished.trainer.loaded.model)
    assert not (directory / "adapter_config.json").exists()
    ours = HuggingFace(str(directory), dtype="float32").load()
    assert ours.sees_images
    for model in (AutoModelForImageTextToText.from_pretrained(directory), ours.model):
        assert not any("lora" in name for name, _ in model.named_parameters())
        torch.testing.assert_close(logits(model), expected, atol=1e-5, rtol=0)


def test_the_adapter_loads_onto_its_base_with_peft_and_with_transformers(finished: Run) -> None:
    directory, expected = finished.directory / "adapter", logits(finished.trainer.loaded.model)
    assert {file.name for file in directory.iterdir()} >= {"adapter_config.json", "adapter_model.safetensors"}
    torch.testing.assert_close(logits(peft.PeftModel.from_pretrained(base(), directory)), expected, atol=1e-6, rtol=0)
    model = base()
    model.load_adapter(str(directory))
    torch.testing.assert_close(logits(model), expected, atol=1e-6, rtol=0)


def test_an_adapter_names_the_base_that_it_was_loaded_from(small: Small, finished: Run, tmp_path: Path) -> None:
    """A second run, on the first one's merged model."""
    merged = str(finished.directory / "model")
    config = small(*LORA, f"backends.huggingface.path = '{merged}'", "train.model = @backends.huggingface()")
    Run(config.experiment, tmp_path / "second").execute()
    described = json.loads((tmp_path / "second" / "adapter" / "adapter_config.json").read_text())
    assert described["base_model_name_or_path"] == merged
    from_both = AutoModelForImageTextToText.from_pretrained(tmp_path / "second" / "adapter")
    from_merged = AutoModelForImageTextToText.from_pretrained(tmp_path / "second" / "model")
    torch.testing.assert_close(logits(from_both), logits(from_merged), atol=1e-5, rtol=0)


@pytest.mark.parametrize("chosen", ["merged", "adapter"])
def test_only_what_is_asked_for_is_written(small: Small, tmp_path: Path, chosen: str) -> None:
    experiment = small(*LORA, f"lora.export = ['{chosen}']").experiment
    export_run(experiment, experiment.load_model(), tmp_path / "run", Accelerator())
    names = {"merged": "model", "adapter": "adapter"}
    assert {path.name for path in (tmp_path / "run").iterdir()} == {names[chosen]}


def test_training_goes_on_after_an_export(small: Small, tmp_path: Path) -> None:
    """As after none: the export has changed nothing."""
    losses = []
    for exporting in (False, True):
        trainer = Trainer(small(*LORA).experiment)
        trainer.step()
        if exporting:
            export_run(trainer.experiment, trainer.loaded, tmp_path, trainer.accelerator)
        losses.append(trainer.step().metrics["loss"])
    assert losses[0] == losses[1]


def command(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["export", *arguments])
    return result.exit_code, result.output


def test_a_checkpoint_is_exported_by_a_command(finished: Run, tmp_path: Path) -> None:
    expected = logits(finished.trainer.loaded.model)
    code, output = command(str(finished.directory), "--output", str(tmp_path / "merged"))
    assert code == 0, output
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(model), expected, atol=1e-5, rtol=0)
    checkpoint = str(finished.directory / "checkpoint-000002")
    code, output = command(checkpoint, "--output", str(tmp_path / "alone"), "--adapter")
    assert code == 0, output
    model = peft.PeftModel.from_pretrained(base(), tmp_path / "alone")
    torch.testing.assert_close(logits(model), expected, atol=1e-6, rtol=0)


def test_an_export_asks_for_the_weights_alone(finished: Run, tmp_path: Path) -> None:
    """On a machine without the data, without the generator's server, and without the moments of the optimizer."""
    checkpoint = tmp_path / "run" / "checkpoint-000002"
    shutil.copytree(finished.directory, tmp_path / "run", symlinks=True)
    (checkpoint / "optimizer.bin").unlink()
    elsewhere = (
        "counting/Domain.source = @replay.jsonl()",
        f"replay.jsonl.path = '{tmp_path}/gone.jsonl'",
        "rollout.generator = @vllm_server()",
        "vllm_server.url = 'http://127.0.0.1:9'",
        f"vllm_server.weights_directory = '{tmp_path}'",
    )
    bindings = [part for binding in elsewhere for part in ("-b", binding)]
    code, output = command(str(checkpoint), "--output", str(tmp_path / "merged"), *bindings)
    assert code == 0, output
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(model), logits(finished.trainer.loaded.model), atol=1e-5, rtol=0)


def test_a_command_that_cannot_export_says_so_in_one_line(small: Small, tmp_path: Path) -> None:
    code, output = command(str(tmp_path), "--output", str(tmp_path / "out"))
    assert code == 2
    assert f"error: {tmp_path}: no run there" in output.replace("\n", "")
    config = small()
    RunRecord(None, config.command).write(tmp_path, config.operative)
    code, output = command(str(tmp_path), "--output", str(tmp_path / "out"))
    assert code == 2
    assert output.startswith("error: no complete checkpoint under")
    code, output = command(str(tmp_path), "--output", str(tmp_path / "out"), "--adapter")
    assert code == 2
    assert "the experiment has no adapter" in output
    (tmp_path / "checkpoint-000002").mkdir()
    code, output = command(str(tmp_path), "--output", str(tmp_path / "out"))
    assert code == 2
    assert "checkpoint-000002 is damaged" in output.replace("\n", "")
    (tmp_path / "run.json").write_text("{")
    code, output = command(str(tmp_path), "--output", str(tmp_path / "out"))
    assert code == 2
    assert f"error: {tmp_path}/run.json is damaged" in output.replace("\n", "")
