"""docs/verifiers.md is true: its table and its gin, as written."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gin
import pytest

import recap.data.domains  # noqa: F401  (Domain, for gin)
from recap.rewards.requests import ScoreRequest
from recap.rewards.workers import RewardWorkers
from registry import replay_sources, verifiers
from registry.example import Example

PAGE = (Path(__file__).parents[2] / "docs" / "verifiers.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `(\w+)` \|(.*)\|$", PAGE, flags=re.MULTILINE))
SHOWN = re.compile(r"`([^`]+)` for `([^`]+)` → ([\d.]+)")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def _no_bindings() -> Iterator[None]:
    yield
    gin.clear_config()


def test_the_table_has_every_verifier() -> None:
    ours = [entry.name for entry in verifiers.entries() if entry.original.__module__.startswith("registry.verifiers.")]
    assert sorted(ROWS) == ours


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if SHOWN.search(row) and name != "regex_match"])
def test_the_examples_of_the_table(name: str) -> None:
    answer, reference, reward = SHOWN.search(ROWS[name]).groups()  # type: ignore[union-attr]
    example = Example(id="1", question="?", answer=reference)
    assert verifiers.build(name)(f"<answer>{answer}</answer>", example) == pytest.approx(float(reward), abs=0.005)


@gin.configurable("holder_of_a_domain", module="test")
def holder(domain: Any) -> Any:
    return domain


@pytest.mark.parametrize("block", [text for language, text in BLOCKS if not language])
def test_the_gin_of_the_page(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rewards.py").write_text(
        "def my_reward(completions, solution, **kwargs):\n"
        "    return [1 if turns[0]['content'] == s else -1 for turns, s in zip(completions, solution)]\n"
    )
    replay_sources.load_builtins()
    gin.parse_config(
        block + "\nsums/Domain.source = @replay.arithmetic()\ntest.holder_of_a_domain.domain = @sums/Domain()"
    )
    (judge,) = holder().verifiers.values()
    example = Example(id="1", question="2 + 2?", answer="4")
    right = "4" if "trl" in block else "<think>2 and 2</think><answer>4</answer>"
    with RewardWorkers() as workers:
        result = workers.score([ScoreRequest(judge, text, example) for text in (right, "<answer>4</answer>")])
    assert result.rewards == [1, 0]
