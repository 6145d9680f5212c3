"""docs/write_a_policy.md and docs/write_a_verifier.md are ways that can be gone: from an empty folder to MLflow and TRL."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[list[str]]:
    lines = "".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines]


POLICY, VERIFIER = commands("write_a_policy.md"), commands("write_a_verifier.md")
UPDATE, CHECK = blocks("write_a_policy.md", "python")
WRITTEN, CHECK_VERIFIER = blocks("write_a_verifier.md", "python")
SHORT = ["-b", "Capability.examples = 4", "-b", "train.steps = 2"]
"""What the runs of the pages are cut down by."""


def call(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    python = os.pathsep.join([str(ROOT), str(ROOT / "tests/recap/integrations")])
    tracking = f"sqlite:///{folder}/mlflow.db"
    environment = {**os.environ, "PYTHONPATH": python, "OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": tracking}
    command = [sys.executable, *(["-m", *words] if words[0] == "recap" else words[1:])]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=280, check=False
    )


def go(*words: str, folder: Path) -> str:
    result = call(*words, folder=folder)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def write_policy(folder: Path) -> Path:
    """What the reader has after the third step of docs/write_a_policy.md."""
    go(*POLICY[0], folder=folder)
    file = folder / "my_policy.py"
    scaffold = file.read_text()
    own = re.search(r"    def update\(.*?(?=\n    @property)", scaffold, flags=re.DOTALL)
    assert own is not None
    file.write_text(scaffold.replace(own[0], UPDATE))
    (folder / "check.py").write_text(CHECK)
    return file


def logged(folder: Path) -> Any:
    """The one run that was logged."""
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    (run,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    return run


def test_the_policy_keeps_the_contract_and_a_broken_one_is_told_what_the_page_says(tmp_path: Path) -> None:
    policy = write_policy(tmp_path)
    assert go(*POLICY[1], folder=tmp_path) == "the contract holds\n"
    policy.write_text(policy.read_text().replace("        self.check_known(signals)\n", ""))
    (message,) = blocks("write_a_policy.md", "text")
    assert message in call(*POLICY[1], folder=tmp_path).stderr.replace(f"{tmp_path}/", "")


@pytest.mark.slow
def test_the_policy_trains_and_is_in_mlflow_under_its_name(tmp_path: Path) -> None:
    write_policy(tmp_path)
    _, check, look, train, show = POLICY
    for words in (check, look, [*train, *SHORT]):
        go(*words, folder=tmp_path)
    assert show == ["recap", "ui", train[-1]]  # a server: tests/recap/cli/test_ui.py starts it
    run = logged(tmp_path)
    assert run.info.run_name == "quickstart-mypolicy"
    assert run.data.tags["policy"] == "MyPolicy"
    assert run.data.params["my_policy.memory"] == "0.8"
    assert {"weight/accuracy", "mean_signal/next_token"} <= set(run.data.metrics)


TRL = """
import my_policy
from recap.integrations.trl import Reweighting
from tiny_trl import model, rows, tokenizer
from trl import GRPOConfig, GRPOTrainer

def brevity(completions, **columns):
    return [1 / (1 + len(text)) for text in completions]

arguments = GRPOConfig(output_dir="trl", max_steps=2, per_device_train_batch_size=4, num_generations=4, max_completion_length=4,
                       report_to=[], use_cpu=True, bf16=False, logging_steps=1, save_strategy="no")
trainer = GRPOTrainer(model=model(), args=arguments, train_dataset=rows(), processing_class=tokenizer(), reward_funcs=[brevity])
trainer.add_callback(Reweighting(trainer, "my_policy", memory=0.5))
trainer.train()
assert "mean_signal/brevity" in trainer.state.log_history[1], trainer.state.log_history
"""


@pytest.mark.slow
def test_the_policy_runs_in_trl(tmp_path: Path) -> None:
    pytest.importorskip("trl")
    write_policy(tmp_path)
    (tmp_path / "mine.py").write_text(TRL)
    go("python", "mine.py", folder=tmp_path)


def test_the_verifier_keeps_the_contract_and_pays_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "my_verifier.py").write_text(WRITTEN)
    texts = '[judge(f"<answer>{text}</answer>", example) for text in ("42", "41", "46", "many")]'
    more = f"\njudge = MyVerifier(reach=4)\nassert {texts} == [1, 0.75, 0, 0]\n"
    (tmp_path / "check_my_verifier.py").write_text(CHECK_VERIFIER + more)
    assert go(*VERIFIER[1], folder=tmp_path) == "the contract holds\n"


@pytest.mark.slow
def test_the_verifier_trains_and_is_in_mlflow_under_its_name(tmp_path: Path) -> None:
    new, _, look, train = VERIFIER
    go(*new, folder=tmp_path)
    (tmp_path / "my_verifier.py").write_text(WRITTEN)
    for words in (look, [*train, *SHORT]):
        go(*words, folder=tmp_path)
    assert {"reward/near", "reward/counting/near", "weight/near", "informative/counting/near"} <= set(
        logged(tmp_path).data.metrics
    )
