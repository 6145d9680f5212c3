"""`recap eval --harness lmms-eval` with a task that is made here, against what transformers itself generates."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import datasets
import pytest
import torch
import transformers as hf
from mlflow import MlflowClient
from PIL import Image
from typer.testing import CliRunner

from recap.cli import app
from recap.experiment.run_settings import Tracking
from recap.runs.tracking import Tracker

pytestmark = pytest.mark.vision
LENGTH = 6
SIZE = 560, 448  # qwen-vl-utils and the processor both leave it alone
PIXELS = {"min_pixels": 256 * 28 * 28, "max_pixels": 1_605_632}  # what lmms-eval's class for Qwen2.5-VL scales to
TASK = """
task: recap_colours
dataset_path: parquet
dataset_kwargs: {{data_files: {{test: {folder}/rows.parquet}}}}
test_split: test
output_type: generate_until
doc_to_visual: !function colours.doc_to_visual
doc_to_text: question
doc_to_target: answer
generation_kwargs: {{max_new_tokens: {length}}}
process_results: !function colours.process_results
metric_list: [{{metric: same, aggregation: mean, higher_is_better: true}}]
"""
FUNCTIONS = """
def doc_to_visual(doc):
    return [doc["image"].convert("RGB")]


def process_results(doc, results):
    return {"same": float(results[0] == doc["answer"])}
"""


@pytest.fixture
def louder(checkpoint: Path, tmp_path: Path) -> Path:
    """The checkpoint with larger weights in its layers: what it says depends on more than the last word that it read."""
    directory = tmp_path / "run" / "model"
    shutil.copytree(checkpoint, directory)
    model = hf.Qwen2_5_VLForConditionalGeneration.from_pretrained(checkpoint)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.mul_(8 if "layers" in name and weight.ndim > 1 else 1)
    model.save_pretrained(directory)
    return directory


def generated(checkpoint: Path, image: Image.Image, question: str) -> str:
    """Greedily, by transformers alone."""
    processor = hf.AutoProcessor.from_pretrained(checkpoint, **PIXELS)
    model = hf.Qwen2_5_VLForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.bfloat16).eval()
    turns = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]},
    ]
    text = processor.apply_chat_template(turns, add_generation_prompt=True)
    asked = processor(text=[text], images=[image], return_tensors="pt")
    said = model.generate(**asked, max_new_tokens=LENGTH, do_sample=False)[:, asked["input_ids"].shape[1] :]
    return str(processor.batch_decode(said, skip_special_tokens=True)[0]).strip()


def test_a_run_keeps_what_lmms_eval_measured(louder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lmms_eval")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    run, folder = tmp_path / "run", tmp_path / "tasks"
    folder.mkdir()
    images = [Image.effect_noise(SIZE, spread).convert("RGB") for spread in (20, 60, 100)]
    questions = ["Which colour?", "How many are there?", "What is left of it?"]
    answers = [generated(louder, *asked) for asked in zip(images, questions, strict=True)]
    assert len(set(answers)) == 3
    rows = {"image": images, "question": questions, "answer": [*answers[:2], f"not {answers[2]}"]}
    text = datasets.Value("string")
    columns = datasets.Features({"image": datasets.Image(), "question": text, "answer": text})
    datasets.Dataset.from_dict(rows, features=columns).to_parquet(folder / "rows.parquet")
    (folder / "colours.yaml").write_text(TASK.format(folder=folder, length=LENGTH))
    (folder / "colours.py").write_text(FUNCTIONS)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    tracker = Tracker(Tracking(uri=uri), "mine", run)
    tracker.finish("FINISHED")
    asked = ["eval", str(run), "--harness", "lmms-eval", "--tasks", "recap_colours", "--include", str(folder)]
    result = CliRunner().invoke(app, [*asked, "--device", "cpu", "--batch-size", "1"])
    assert result.exit_code == 0, result.output
    kept = json.loads((run / "lmms-eval" / "results.json").read_text())
    assert kept["config"]["model_backend"].startswith("lmms_eval.models.chat.qwen2_5_vl")
    assert kept["results"]["recap_colours"]["same,none"] == pytest.approx(2 / 3)
    logged = MlflowClient(uri).get_run(str(tracker.run_id)).data.metrics
    assert logged["lmms-eval/recap_colours/same"] == pytest.approx(2 / 3)


def test_what_lmms_eval_does_not_have_is_named(checkpoint: Path) -> None:
    pytest.importorskip("lmms_eval")
    asked = ["eval", str(checkpoint), "--harness", "lmms-eval", "--device", "cpu", "--tasks"]
    for words, error in (
        (["none_such"], "--tasks: lmms-eval has no none_such"),
        (["none_such", "--model-type", "none_such"], "--model-type: lmms-eval has no none_such"),
    ):
        result = CliRunner().invoke(app, [*asked, *words])
        assert result.exit_code == 2
        assert error in " ".join(result.output.split())
