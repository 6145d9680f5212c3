"""The site of the docs holds together, as far as that can be seen without MkDocs: `make docs` checks the rest.

A code host and the site give headings the same anchors, and resolve relative links alike, as every page keeps its path.
"""

from __future__ import annotations

import ast
import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from registry import reweighting_policies

ROOT = Path(__file__).resolve().parents[2]
NAV = yaml.safe_load((ROOT / "tools/site/mkdocs.yml").read_text(encoding="utf-8"))["nav"]
BESIDE_DOCS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "experiments/README.md"]
PAGES = [*BESIDE_DOCS, *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))]
ON_THE_SITE = {*PAGES, *(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.*"))}


def in_nav(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [page for part in (nav.values() if isinstance(nav, dict) else nav) for page in in_nav(part)]


def prose(page: str) -> str:
    """The page without its blocks of code and its spans of code, in which nothing is a link or a heading."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(page: str) -> set[str]:
    """What headings can be linked by: lower case, spaces as hyphens, punctuation left out."""
    headings = re.findall(r"^#+ +(.+?)\s*$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_every_page_is_in_the_navigation_once() -> None:
    assert sorted(in_nav(NAV)) == sorted(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_pages_of_the_site_and_to_headings_that_are_there(page: str) -> None:
    text = re.sub(r"`[^`\n]*`", "", prose(page))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = ((ROOT / page).parent / path).resolve().relative_to(ROOT).as_posix() if path else page
        assert target in ON_THE_SITE, f"{page}: {link} is not on the site: name the file in backticks, without a link"
        assert not anchor or anchor in anchors(target), f"{page}: {target} has no heading #{anchor}"


@pytest.mark.parametrize("page", PAGES)
def test_a_table_has_the_line_that_makes_it_one(page: str) -> None:
    tables = re.findall(r"(?:^[ >]*\|.*\n)+", prose(page), flags=re.MULTILINE)
    for table in tables:
        first, second, *_ = [*(line.strip(" >") for line in table.splitlines()), ""]
        assert re.fullmatch(r"\|(\s*:?-+:?\s*\|)+", second), f"{page}: {second!r} under {first!r}"
        columns = [len(re.findall(r"(?<!\\)\|", line)) for line in (re.sub(r"`[^`]*`", "", first), second)]
        assert columns[0] == columns[1], f"{page}: {first!r}"


def read_differently(text: str) -> list[str]:
    """Lines that end a list, or begin none, on the site alone: Python-Markdown asks for blank lines, and for four spaces."""
    item = re.compile(r" *(?:[-*]|\d+\.) ")
    found = []
    for before, line in itertools.pairwise(["", *text.splitlines()]):
        shallow = not before.strip() and re.match(r" {1,3}\S", line)
        part = not before.strip() or item.match(before) or re.match(r"#| {2,3}\S", before)
        unparted = item.match(line) and not part
        if shallow or unparted:
            found.append(line)
    return found


@pytest.mark.parametrize("page", PAGES)
def test_lists_are_read_alike_by_a_code_host_and_by_the_site(page: str) -> None:
    assert read_differently(prose(page)) == []


def test_what_would_be_read_differently_is_found() -> None:
    assert read_differently("1. one\n\n   ![](a.png)\n") == ["   ![](a.png)"]
    assert read_differently("1. one\n\n    ![](a.png)\n2. two\n") == ["2. two"]
    assert read_differently("Parts:\n- one\n") == ["- one"]
    assert read_differently("Parts:\n\n- one\n  goes on\n- two\n\n    more\n\n- three\n") == []


def defined(module: str) -> set[str]:
    """The names at the top of a module, read without importing it."""
    path = ROOT / module.replace(".", "/")
    tree = ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8"))
    found = {
        alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    return found | {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}


def test_what_the_reference_shows_is_there() -> None:
    shown = {name for page in PAGES for name in re.findall(r"^::: (\S+)$", prose(page), flags=re.MULTILINE)}
    for name in shown:
        module, _, last = name.rpartition(".")
        is_module = (ROOT / name.replace(".", "/")).with_suffix(".py").is_file()
        assert is_module or last in defined(module), f"::: {name}"
    policies = [entry.original for entry in reweighting_policies.entries()]
    ours = {f"{policy.__module__}.{policy.__qualname__}" for policy in policies}
    assert {name for name in ours if name.startswith("registry.")} <= shown
