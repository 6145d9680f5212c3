"""docs/anatomy.md shows the quick start as it is, and all of it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/anatomy.md").read_text(encoding="utf-8")
WALK = PAGE.partition("## Look, change, keep")[0]
BLOCKS = re.findall(r"^```\n(.*?)^```", WALK, flags=re.MULTILINE | re.DOTALL)


def lines_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def test_what_is_shown_stands_in_the_files_in_one_piece() -> None:
    names = ["experiments/quickstart.gin", *re.findall(r"`(experiments/domains/[\w/]+\.gin)`", PAGE)]
    files = [(ROOT / name).read_text(encoding="utf-8") for name in names]
    assert len(BLOCKS) == 10
    for block in BLOCKS:
        assert any(block in text for text in files), block


def test_no_binding_of_the_quick_start_is_left_out() -> None:
    shown = [line for block in BLOCKS for line in lines_of(block)]
    said = lines_of((ROOT / "experiments/quickstart.gin").read_text(encoding="utf-8"))
    assert [line for line in said if not line.startswith("#") and line not in shown] == []
