"""`recap prepare`, as a user types it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recap.cli import app

QUICKSTART = str(Path(__file__).resolve().parents[3] / "experiments" / "quickstart.gin")


GATE = ("gate.condition = @verifiers.answer_format()", "gate.verifier = @verifiers.reasoning_gym()")


def prepare(*bindings: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["prepare", QUICKSTART, *(part for b in bindings for part in ("-b", b))])
    return result.exit_code, result.output


def test_a_line_for_every_source_of_training_and_evaluation() -> None:
    code, output = prepare()
    assert code == 0, output
    parts = [f"{name}/{kind}" for kind in ("Domain", "Capability") for name in ("counting", "arithmetic", "grounding")]
    for part in parts:
        assert f"{part}.source: no known end, the first 16 read, " in output
    assert output.endswith("quickstart.gin: ready\n")


def test_all_that_cannot_be_used_is_said_at_once(tmp_path: Path) -> None:
    sources = [f"{name}/Domain.source = @{name}/replay.jsonl()" for name in ("counting", "reading")]
    paths = [f"{name}/replay.jsonl.path = '{tmp_path}/{name}.jsonl'" for name in ("counting", "reading")]
    (tmp_path / "reading.jsonl").write_text('{"question": "?"}\n')
    code, output = prepare(*sources, *paths)
    assert code == 2
    assert "arithmetic/Domain.source: no known end" in output
    assert "counting/Domain.source: cannot be used" in output
    assert "error: counting/Domain.source: replay.jsonl: no file" in output
    assert "reading/Domain.source: replay.jsonl: " in output


def test_a_verifier_whose_package_is_missing_is_found_before_anything_is_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "reasoning_gym" else find(name, *rest)
    )
    code, output = prepare("counting/Domain.objectives = {'puzzle': @verifiers.gate()}", *GATE)
    assert code == 2
    assert "counting/Domain.objectives['puzzle']: the package reasoning_gym is missing" in output


def test_whether_the_model_is_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    model = "train.model = @backends.huggingface()"
    code, output = prepare(model, "backends.huggingface.path = 'nobody/nothing'")
    assert code == 0, output
    assert "train.model: not on this machine yet: downloaded when a run starts" in output
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "config.json").write_text("{}")
    (tmp_path / "own" / "model.safetensors").touch()
    code, output = prepare(model, f"backends.huggingface.path = '{tmp_path}/own'")
    assert code == 0, output
    assert "train.model: on this machine" in output
