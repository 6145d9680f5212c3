"""What harnesses of benchmarks have in common."""

from __future__ import annotations

import sys

import pytest
from typer.testing import CliRunner

from recap.cli import app
from recap.integrations.harness import HARNESSES, Request, exported_model, measure_of, scores_of


def test_a_place_without_a_model_is_told_how_to_get_one(tmp_path):
    with pytest.raises(ValueError, match="recap export"):
        exported_model(tmp_path)


def test_scores_are_the_numbers_of_the_results():
    results = {"results": {"t": {"alias": "t", "acc,none": 0.5, "acc_stderr,none": "N/A", "em,strict": 0.25, "n": 3}}}
    assert scores_of(results) == {"t": {"acc": 0.5, "em,strict": 0.25}}


def test_an_unknown_harness_is_refused_with_a_way_out():
    result = CliRunner().invoke(app, ["eval", "a", "--tasks", "t", "--harness", "helm"])
    assert result.exit_code == 2
    assert "lm-eval and lmms-eval are known" in " ".join(result.output.split())
    assert "recap export" in result.output


@pytest.mark.parametrize("harness", HARNESSES)
def test_a_missing_package_is_named(tmp_path, monkeypatch, harness):
    package = harness.replace("-", "_")
    for module in ("", ".tasks", ".evaluator", ".models"):
        monkeypatch.setitem(sys.modules, package + module, None)
    with pytest.raises(ValueError, match=rf"pip install \"recap-rlvr\[{harness}\]\""):
        measure_of(harness)(Request(tmp_path, ["t"]))
