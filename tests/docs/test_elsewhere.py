"""Every Python block of docs/elsewhere.md runs, with a small model and data in the place of the reader's."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch import nn
from torch.utils.data import DataLoader
from transformers import LlamaConfig, LlamaForCausalLM, TrainingArguments

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/elsewhere.md").read_text(encoding="utf-8")
SECTIONS = {part.partition("\n")[0]: part for part in PAGE.split("\n## ")[1:]}

sys.path.insert(0, str(ROOT / "tests/recap/integrations"))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(section: str, **given: Any) -> dict[str, Any]:
    (block,) = re.findall(r"^```python\n(.*?)^```", SECTIONS[section], flags=re.DOTALL | re.MULTILINE)
    names = {"torch": torch, "__name__": "elsewhere", **given}
    exec(compile(block, f"docs/elsewhere.md, {section}", "exec"), names)
    return names


def two_outputs() -> dict[str, Any]:
    torch.manual_seed(0)
    network = nn.Linear(3, 2)
    rows = [{"x": torch.rand(4, 3), "depth": torch.rand(4), "normals": torch.rand(4)} for _ in range(30)]
    return {
        "network": network,
        "loader": DataLoader(rows, batch_size=None),
        "optimizer": torch.optim.Adam(network.parameters()),
    }


def test_every_block_is_run() -> None:
    assert PAGE.count("```python") == 5
    assert len(SECTIONS) == 7  # one is a command, one a gin file


def test_trl() -> None:
    pytest.importorskip("trl")
    from tiny_trl import model, rows, tokenizer
    from trl import GRPOConfig

    def brevity(completions: list[str], **columns: Any) -> list[float]:
        return [1 / (1 + len(text)) for text in completions]

    arguments = GRPOConfig(
        output_dir="run",
        max_steps=2,
        per_device_train_batch_size=4,
        num_generations=4,
        max_completion_length=4,
        report_to=[],
        use_cpu=True,
        bf16=False,
        logging_steps=1,
        save_strategy="no",
    )
    given = {"model": model(), "arguments": arguments, "data": rows(), "tokenizer": tokenizer(), "brevity": brevity}
    log = run("TRL", **given)["trainer"].state.log_history
    assert {"weight/accuracy", "weight/brevity"} <= set(log[0])


def test_verl() -> None:
    names = run("verl")
    assert names["compute_score"]("sums", "<answer>4</answer>", "4", {"index": 0}) == 1.0
    (row,) = names["reweighted"](["sums"], ["<answer>4</answer>"], ["4"], [{"index": 0}])
    assert (row["accuracy"], row["format"], row["score"]) == (1.0, 0.0, 1.0)
    assert Path("checkpoints/recap.state").is_file()


def test_trainer() -> None:
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=20, **sizes))
    data = Dataset.from_list([{"input_ids": [i % 20, 3, 4], "labels": [i % 20, 3, 4]} for i in range(50)])
    arguments = TrainingArguments(
        "run",
        max_steps=25,
        per_device_train_batch_size=2,
        use_cpu=True,
        report_to=[],
        logging_steps=1,
        save_strategy="no",
    )
    log = run("Hugging Face's Trainer", model=model, arguments=arguments, data=data)["trainer"].state.log_history
    assert "convergence/answer" in log[24]


def test_lightning() -> None:
    pytest.importorskip("lightning")
    from registry import reweighting_policies

    policy = reweighting_policies.build("recap", ["depth", "normals"], window=3)
    run("Lightning", policy=policy, **two_outputs())
    assert policy.weights["depth"] != 1.0


def test_a_loop() -> None:
    assert run("A loop of your own", **two_outputs())["policy"].weights["depth"] != 1.0
