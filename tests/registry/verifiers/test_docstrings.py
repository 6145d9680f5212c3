"""The examples in the docstrings of the verifiers are true."""

import doctest
import importlib
import importlib.util
import pkgutil
import sys

import pytest

from registry import verifiers

verifiers.load_builtins()
FOLDER = sys.modules["registry.verifiers"].__path__
NEEDS = {"json_schema": "jsonschema", "language": "py3langid", "trl_function": "trl", "reasoning_gym": "reasoning_gym"}


@pytest.mark.parametrize("name", sorted(module.name for module in pkgutil.iter_modules(FOLDER)))
def test_examples(name: str) -> None:
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        pytest.skip(f"needs {NEEDS[name]}")
    assert doctest.testmod(importlib.import_module(f"registry.verifiers.{name}")).failed == 0
