import importlib
import subprocess
import sys
import time

import pytest

import registry
from registry.answer_places import find_answer, is_well_placed
from registry.core import Registry
from registry.verifiers.tags import is_thought_and_answer

LONG = 100_000


def test_the_family_keeps_its_name_although_a_package_has_the_same() -> None:
    importlib.import_module("registry.verifiers.tags")
    assert isinstance(registry.verifiers, Registry)
    assert {"accuracy", "answer_format", "iou", "thinking_format"} <= set(registry.verifiers.names())


@pytest.mark.parametrize(
    ("completion", "text"),
    [
        ("<answer>4</answer>", "4"),
        ("<think>3</think><answer>4</answer> so", "4"),
        ("<answer>3</answer><answer>4</answer>", "4"),
        ("<answer>3</answer><answer>4", "3"),
        ("<answer>3</answer> 4</answer>", "3"),
        ("<answer>3<answer>4</answer>", "4"),
        ("<answer></answer>", ""),
        ("</answer><answer>", None),
        ("<answer>4", None),
        ("4</answer>", None),
        ("<ANSWER>4</ANSWER>", None),
        ("", None),
    ],
)
def test_the_answer_in_tags(completion: str, text: str | None) -> None:
    assert find_answer(completion, "tags") == text


@pytest.mark.parametrize(
    "hostile",
    [
        "<answer>" * LONG,
        "</answer>" * LONG,
        "<think>" + "</think><answer>" * LONG + "</answer>",
        "<think>" + ("</think>" + " " * 100) * (LONG // 100) + "</answer>",
        "<think></think>" + " " * LONG + "</answer>",
        "<" * LONG,
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_hostile_text_takes_linear_time(hostile: str, strict: bool) -> None:
    start = time.perf_counter()
    find_answer(hostile, "tags")
    is_well_placed(hostile, "tags", strict)
    is_thought_and_answer(hostile, strict)
    assert time.perf_counter() - start < 1  # takes milliseconds; quadratic time would be minutes


def test_looking_verifiers_up_imports_neither_torch_nor_sympy() -> None:
    code = "import registry, sys; registry.verifiers.names(); assert not {'torch', 'sympy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
