"""Every launch line that the repository shows works, and fits GPUs of 80 GB, as far as `recap check` can say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recap.cli import app

ROOT = Path(__file__).resolve().parents[2]
SHOWN = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "experiments").rglob("*.*")]
LINE = re.compile(r"accelerate launch (?P<options>[^`\n]*)-m recap train (?P<file>[\w./]+\.gin)")


def launch_lines() -> dict[tuple[str, str], list[str]]:
    """Accelerate config ('' for a line without) and experiment -> where such a line stands."""
    found: dict[tuple[str, str], list[str]] = {}
    for path in sorted(SHOWN):
        if path.suffix in (".md", ".gin", ".yaml"):
            text = re.sub(r"\\\n#?\s*", "", path.read_text(encoding="utf-8"))
            for line in LINE.finditer(text):
                config = re.search(r"--config_file (\S+)", line["options"])
                found.setdefault((config[1] if config else "", line["file"]), []).append(str(path.relative_to(ROOT)))
    return found


LINES = launch_lines()


def test_lines_are_found() -> None:
    assert sum(map(len, LINES.values())) >= 9


@pytest.mark.parametrize(("config", "file"), LINES, ids=["-".join(line) for line in LINES])
def test_it_fits(config: str, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    shown = LINES.get((config, file))
    assert config, f"{shown}: a launch line without --config_file leaves the layout to chance"
    result = CliRunner().invoke(app, ["check", file, "--accelerate", config, "--gpu-memory", "80"])
    assert result.exit_code == 0, (shown, result.output)
    assert "memory fits" in result.output, (shown, result.output[-1000:])


RECIPES = sorted((ROOT / "experiments" / "paper").rglob("[!_]*.gin"))


@pytest.mark.slow
@pytest.mark.parametrize("file", RECIPES, ids=[str(file.relative_to(ROOT / "experiments")) for file in RECIPES])
def test_every_row_of_the_paper_fits_where_it_is_sharded(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test_it_fits("experiments/accelerate/fsdp2_8_gpus.yaml", str(file), monkeypatch)
