"""Builds sdist and wheel, installs the wheel in a clean environment, and works with it far from the checkout.

    python tools/check_wheel.py                # a new virtual environment with all dependencies: minutes, gigabytes
    python tools/check_wheel.py --reuse        # the wheel alone, in a new one that sees this one's packages: a minute, in CI

The wheel is built from the unpacked sdist, so that what the sdist lacks is missed. Then `recap` lists, checks and trains the
quick start by name for two steps, a file of the user's own includes a shipped one, and a part from `recap new` passes its test.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OWN = "include 'experiments/quickstart.gin'\ntrain.steps = 1\ntrain.capabilities = []\ntrain.prompts_per_step = 8\n"


def run(command: list[str], cwd: Path, environment: dict[str, str]) -> str:
    print("$", " ".join(command), flush=True)
    result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"{result.stdout}\n{result.stderr}\nfailed: {' '.join(command)}")
    return result.stdout


def build(folder: Path, environment: dict[str, str]) -> Path:
    """sdist of the checkout, wheel of that sdist. Needs setuptools."""
    script = (
        "import sys; from setuptools import build_meta as b; print(getattr(b, 'build_' + sys.argv[1])(sys.argv[2]))"
    )
    run([sys.executable, "-c", script, "sdist", str(folder)], ROOT, environment)
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = (path for path in folder.iterdir() if path.is_dir())
    run([sys.executable, "-c", script, "wheel", str(folder)], unpacked, environment)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path, environment: dict[str, str], reuse: bool) -> Path:
    """Installs the wheel in a new virtual environment. Returns the folder of its commands."""
    run(
        [sys.executable, "-m", "venv", *(["--without-pip"] if reuse else []), str(folder / "venv")], folder, environment
    )
    python = folder / "venv" / "bin" / "python"
    if reuse:
        (site,) = (folder / "venv").glob("lib/python*/site-packages")
        # A .pth adds the folder without reading the .pth files in it: an editable install of the checkout stays unseen.
        (site / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
        run([*pip, "--ignore-installed", str(wheel)], folder, environment)
    else:
        constraints = ["--constraint", str(ROOT / "constraints.txt")]
        wanted = [*constraints, f"{wheel}[quickstart]", "pytest"]
        run([str(python), "-m", "pip", "install", "--quiet", *wanted], folder, environment)
    return folder / "venv" / "bin"


def work(commands: Path, folder: Path, environment: dict[str, str]) -> None:
    """What a user does first, in an empty folder."""
    recap = [str(commands / "recap")]
    environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    where = run([*recap, "describe", "reweighting", "recap"], folder, environment).splitlines()[0]
    assert str(ROOT / "registry") not in where, f"the checkout was used, not the wheel: {where}"
    listed = run([*recap, "experiments"], folder, environment)
    assert "paper/hybrid_recap" in listed, listed
    run([*recap, "check", "paper/hybrid_recap"], folder, environment)
    for words in (["new", "reweighting", "mine"], ["new", "reweighting", "packaged", "--package"]):
        run([*recap, *words], folder, environment)
    run([*recap, "list", "reweighting", "--plugin", "mine.py"], folder, environment)
    test = [str(commands / "python"), "-m", "pytest", "-q", "packaged"]
    run(test, folder, {**environment, "PYTHONPATH": str(folder / "packaged")})
    small = ["train.steps = 2", "Capability.examples = 4"]
    run([*recap, "train", "quickstart", *(word for text in small for word in ("-b", text))], folder, environment)
    (started,) = (folder / "runs").iterdir()
    run([*recap, "report", str(started)], folder, environment)
    (folder / "own.gin").write_text(OWN + "train.evaluate_every = None\n")
    run([*recap, "check", "own.gin"], folder, environment)
    run([*recap, "init", "copied"], folder, environment)
    run([*recap, "check", "copied/quickstart.gin"], folder, environment)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--reuse", action="store_true", help="install the wheel alone, and take this environment's packages"
    )
    reuse = parser.parse_args().reuse
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel = build(folder, environment)
        commands = install(wheel, folder, environment, reuse)
        empty = folder / "empty"
        empty.mkdir()
        work(commands, empty, environment)
    print("the wheel works")


if __name__ == "__main__":
    main()
