"""Malformed examples of a run: counted once on any number of processes, said at its end, in training and in evaluation.

Started by torchrun, this file is one of the processes: `torchrun ... test_malformed.py DIRECTORY BINDINGS`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from recap.experiment.config import LoadedConfig, load_config
from recap.runs.checkpoint import read_state
from recap.runs.run import Run
from tests.processes import torchrun

ROOT = Path(__file__).resolve().parents[3]
THIN = {"question": "what?", "answer": "3", "image": "thin.png"}
EXPECTED = {"cannot be encoded: ValueError": 8, "cannot be encoded: TypeError": 2, "question is missing": 4}
"""Of 32 examples, twice all 16 rows."""


@pytest.fixture
def poisoned(tmp_path: Path) -> list[str]:
    """Four steps of eight examples. In the first and third, one process of two gets nothing that can be read."""
    rows: list[dict[str, Any]] = [{"question": f"{n}+1=?", "answer": str(n + 1)} for n in range(16)]
    rows[1:8:2] = [THIN] * 4
    rows[9] = {"question": "half \ud800", "answer": "3"}
    rows[4] = rows[12] = {"question": None, "answer": "3"}
    Image.new("RGB", (900, 3)).save(tmp_path / "thin.png")
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return [
        f"replay.jsonl.path = '{tmp_path}/rows.jsonl'",
        "replay.jsonl.shuffle = False",
        "train.mixture = @mixtures.uniform()",
        "train.domains = [@file/Domain()]",
        "file/Domain.source = @replay.jsonl()",
        "file/Domain.objectives = {'imitated': @next_token_prediction(), 'rewarded': @verifiers.answer_format()}",
        "train.steps = 4",
        "checkpoints.every = 2",
        "checkpoints.keep = 9",
        "checkpoints.save_model = False",
    ]


def train(config: LoadedConfig, directory: Path, resume: Path | None = None) -> dict[str, Any]:
    """What the last checkpoint says of the source."""
    Run(
        config.experiment, directory, operative_config=config.operative, command=config.command, resume=resume
    ).execute()
    source: dict[str, Any] = read_state(directory / "checkpoint-000004")["sources"]["file"]
    return source


def test_counts_of_a_resumed_run_are_those_of_one_left_alone(
    small: Callable[..., LoadedConfig], poisoned: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    alone = train(small(*poisoned), tmp_path / "run")
    assert alone["malformed"]["counts"] == EXPECTED
    resumed = train(small(*poisoned), tmp_path / "fork", tmp_path / "run" / "checkpoint-000002")
    assert resumed == alone
    said = " ".join(capfd.readouterr().out.split())
    assert "file: skipped 14 malformed examples: " in said
    assert "cannot be encoded: ValueError (x 8)" in said
    assert "rows.jsonl, line 2: cannot be encoded: ValueError: absolute aspect ratio" in said.replace(" /", "/")


@pytest.mark.slow
def test_counts_on_two_processes_resumed_on_two_and_on_one(
    small: Callable[..., LoadedConfig], poisoned: list[str], small_bindings: list[str], tmp_path: Path
) -> None:
    directory = tmp_path / "run"
    done = torchrun(__file__, str(directory), json.dumps([*small_bindings, *poisoned]))
    assert done.returncode == 0, done.stderr[-3000:]
    alone, on_two = json.loads((tmp_path / "found.json").read_text())
    on_one = train(small(*poisoned), tmp_path / "on_one", directory / "checkpoint-000002")
    assert alone["malformed"]["counts"] == EXPECTED
    for resumed in (on_two, on_one):
        assert resumed["position"] == alone["position"]
        assert resumed["malformed"]["counts"] == EXPECTED
        listed, expected = resumed["malformed"]["first"], alone["malformed"]["first"]
        assert {kind: sorted(set(found)) for kind, found in listed.items()} == {
            kind: sorted(set(found)) for kind, found in expected.items()
        }


def test_a_checkpoint_of_an_older_version_is_read(
    small: Callable[..., LoadedConfig], poisoned: list[str], tmp_path: Path
) -> None:
    train(small(*poisoned), tmp_path / "run")
    file = tmp_path / "run" / "checkpoint-000002" / "recap_state.json"
    state = json.loads(file.read_text())
    state["sources"]["file"]["malformed"] = {"rows.jsonl, line 5: question is missing": 2}
    file.write_text(json.dumps(state))
    resumed = train(small(*poisoned), tmp_path / "fork", file.parent)
    assert sum(resumed["malformed"]["counts"].values()) == 2 + 7


def test_an_evaluation_skips_them_too(
    small: Callable[..., LoadedConfig], poisoned: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Counted anew each time: twice evaluated, the same are not twice as many."""
    shutil.copy(tmp_path / "rows.jsonl", tmp_path / "held_out.jsonl")
    config = small(
        *poisoned,
        "train.capabilities = [@file/Capability()]",
        "file/Capability.source = @held_out/replay.jsonl()",
        f"held_out/replay.jsonl.path = '{tmp_path}/held_out.jsonl'",
        "file/Capability.verifier = @verifiers.answer_format()",
        "file/Capability.examples = 16",
        "file/Capability.batch_size = 4",
        "file/Capability.max_new_tokens = 4",
    )
    run = Run(config.experiment, tmp_path / "run")
    scores = run.execute()
    assert {step: found["file"].examples for step, found in scores.items()} == {0: 9, 4: 9}
    assert "capability file: skipped 7 malformed examples" in capfd.readouterr().out


if __name__ == "__main__":
    directory = Path(sys.argv[1])

    def config() -> LoadedConfig:
        return load_config(ROOT / "experiments" / "quickstart.gin", json.loads(sys.argv[2]), allow_unused=True)

    found = [train(config(), directory), train(config(), directory.parent / "on_two", directory / "checkpoint-000002")]
    if os.environ["RANK"] == "0":
        (directory.parent / "found.json").write_text(json.dumps(found))
