"""`recap eval` with a task and a model that are made here, against the log-probabilities of the model itself."""

from __future__ import annotations

import json
import os

import pytest
import torch
from mlflow import MlflowClient
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from typer.testing import CliRunner

from recap.cli import app
from recap.experiment.run_settings import Tracking
from recap.runs.tracking import Tracker

WORDS = ["red", "green", "blue", "Question:", "Answer:", "<s>", "</s>"]


@pytest.mark.slow
def test_a_run_keeps_what_the_harness_measured(tmp_path, monkeypatch):
    pytest.importorskip("lm_eval")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    run, folder = tmp_path / "run", tmp_path / "tasks"
    words = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<s>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>", pad_token="</s>")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    model = LlamaForCausalLM(config).eval()
    model.save_pretrained(run / "model")
    tokenizer.save_pretrained(run / "model")
    rows = [{"q": f"Question: {word} Answer:", "label": index} for index, word in enumerate(WORDS[:3])]
    folder.mkdir()
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "colours.yaml").write_text(
        f"task: recap_colours\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    test: {folder}/rows.jsonl\n"
        "test_split: test\noutput_type: multiple_choice\ndoc_to_text: '{{q}}'\ndoc_to_target: label\n"
        "doc_to_choice: ['red', 'green', 'blue']\nmetric_list:\n  - metric: acc\n"
    )
    tracker = Tracker(Tracking(), "mine", run)
    tracker.finish("FINISHED")
    words_of = ["eval", str(run), "--tasks", "recap_colours", "--include", str(folder), "--device", "cpu"]
    result = CliRunner().invoke(app, words_of)
    assert result.exit_code == 0, result.output
    with torch.no_grad():
        last = [
            model(torch.tensor([tokenizer(r["q"], add_special_tokens=False).input_ids])).logits[0, -1] for r in rows
        ]
    right = [int(logits[:3].argmax()) == row["label"] for logits, row in zip(last, rows, strict=True)]
    kept = json.loads((run / "lm-eval" / "results.json").read_text())
    assert kept["results"]["recap_colours"]["acc,none"] == pytest.approx(sum(right) / 3)
    client = MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    logged = client.get_run(str(tracker.run_id))
    measured = {name: value for name, value in logged.data.metrics.items() if name.startswith("lm-eval/")}
    assert measured == {
        f"lm-eval/recap_colours/{name}": kept["results"]["recap_colours"][f"{name},none"]
        for name in ("acc", "acc_stderr")
    }
    assert logged.info.status == "FINISHED"
    assert [item.path for item in client.list_artifacts(str(tracker.run_id), "lm-eval")] == ["lm-eval/results.json"]
