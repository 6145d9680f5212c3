"""Every built-in verifier keeps the contract."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry import verifiers
from registry.testing import check_verifier
from registry.verifiers.base import GroupVerifier


def _beside(name: str) -> ModuleType:
    """A module of this folder, under a name by which its objects can be pickled."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


cases = _beside("builtin_cases")
CASES: dict[str, Any] = cases.CASES
OURS = {
    "gate",
    "product",
    "regex_match",
    "tag_order",
    "text_similarity",
    "trl_function",
    "verifiers_taskset",
    "verl_function",
    "weighted_sum",
}
"""Follow no benchmark."""
UNBOUNDED = {"accuracy", "lm_eval", "reasoning_gym"}
"""What only the time limit of a worker stops: no place for random text; the corpus tries them in processes of their own."""
BOUNDED = sorted(name for name in CASES if not CASES[name].missing and name not in UNBOUNDED)


def test_all_of_them_are_here() -> None:
    ours = [entry.name for entry in verifiers.entries() if entry.original.__module__.startswith("registry.verifiers.")]
    assert sorted(CASES) == ours


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_contract(name: str) -> None:
    case = CASES[name]
    if name == "verifiers_taskset":
        pytest.skip("needs a taskset: tests/registry/replay/test_verifiers_taskset.py")
    if case.missing:
        pytest.skip(f"needs {case.extra}")
    example = cases.MADE[name]() if name in cases.MADE else case.example
    check_verifier(case.make(), example, right=case.right, wrong=case.wrong, hostile_reward=case.most, limit_s=3.0)


@pytest.mark.parametrize("name", sorted(CASES))
def test_it_says_what_it_is_and_shows_an_example(name: str) -> None:
    doc = verifiers.get(name).original.__doc__ or ""
    assert 20 < len(verifiers.get(name).summary) <= 120
    assert ">>> " in doc
    assert name in OURS or "Source" in doc or "arXiv" in doc


completions = st.one_of(
    st.text(max_size=60),
    st.text(alphabet='<>/answerthik 0123456789[](){}",.:-x\\boxed\n', max_size=120),
    st.text(max_size=40).map(lambda text: f"<answer>{text}</answer>"),
    st.text(alphabet='[](),.0123456789{}":xy-', max_size=40).map(
        lambda text: f"<think>.</think><answer>{text}</answer>"
    ),
)


@pytest.mark.parametrize("name", BOUNDED)
@settings(max_examples=50, deadline=None)
@given(completion=completions)
def test_rewards_lie_in_the_unit_interval(name: str, completion: str) -> None:
    case = CASES[name]
    judge = case.make()
    rewards = (
        judge.judge_group([completion] * 2, case.example)
        if isinstance(judge, GroupVerifier)
        else [judge(completion, case.example)]
    )
    assert all(reward is None or 0 <= reward <= 1 for reward in rewards)
