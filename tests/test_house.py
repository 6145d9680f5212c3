"""The house rules that a tool can hold: files, classes and functions of one idea, and a map that is true."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = [file.relative_to(ROOT) for folder in ("recap", "registry") for file in (ROOT / folder).rglob("*.py")]
MAX_LINES = {ast.ClassDef: 200, ast.FunctionDef: 55, ast.AsyncFunctionDef: 55}


@pytest.mark.parametrize("file", FILES, ids=str)
def test_files_classes_and_functions_are_read_in_one_sitting(file: Path) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if limit := MAX_LINES.get(type(node)):
            lines = node.end_lineno - node.lineno + 1  # type: ignore[attr-defined]
            assert lines <= limit, f"{node.name} has {lines} lines"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
)
def test_files_that_a_page_names_are_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(r"(?<![\w/])((?:recap|registry|tests|tools|experiments|docs)/[\w./-]+)", text))
    missing = {name for name in named if not (ROOT / name.rstrip("./")).exists() and not (ROOT / name).exists()}
    assert not missing


def test_the_map_and_the_contracts_name_the_same_floors() -> None:
    contracts = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    floors = re.search(r'containers = \["recap"\].*?layers = \[(.*?)\]', contracts, flags=re.DOTALL)
    assert floors is not None
    names = [name for name in re.findall(r'"(\w+)"', floors[1]) if name != "__main__"]
    table = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `recap/(\w+)[/.]", table, flags=re.MULTILINE) == names
    readme = (ROOT / "README.md").read_text(encoding="utf-8").split("## File tree")[1]
    assert re.findall(r"^  (\w+)(?:/|\.py)", readme, flags=re.MULTILINE) == names
