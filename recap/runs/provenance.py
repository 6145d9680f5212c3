"""Where a run comes from: who started what, on which machine, with which code and versions."""

from __future__ import annotations

import getpass
import importlib.metadata
import os
import platform
import re
import shlex
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recap.experiment.config import Command

VERSIONS = ("recap-rlvr", "torch", "transformers", "accelerate", "mlflow")


def origin_tags(command: Command | None, directory: Path) -> dict[str, str]:
    """Tags of a run: source and user as MLflow shows them, host, command, run directory, revision and versions."""
    tags = {
        "mlflow.source.type": "LOCAL",
        "mlflow.user": _user(),
        "host": socket.gethostname(),
        "run_directory": str(directory.resolve()),
        **source_tags(),
        **{f"version.{package}": version for package in VERSIONS if (version := _version(package)) is not None},
    }
    if command is not None:
        tags |= {"mlflow.source.name": command.file, "command": command_line(command)}
    return tags


def command_line(command: Command) -> str:
    """What to type for the same run."""
    words = ["recap", "train", command.file]
    words += [word for binding in command.bindings for word in ("-b", binding)]
    words += [word for plugin in command.plugins for word in ("--plugin", plugin)]
    return without_passwords(shlex.join(words))


def without_passwords(text: str) -> str:
    """`text` with the passwords of addresses (``https://name:password@host``) struck out."""
    return re.sub(r"(://[^\s/:@]+:)[^\s/@]+@", r"\1***@", text)


def source_tags() -> dict[str, str]:
    """The git revision of the working directory, where there is one."""
    revision = _git("rev-parse", "HEAD")
    if revision is None:
        return {}
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return {"mlflow.source.git.commit": revision, "git.dirty": str(bool(changed)).lower()}


def environment() -> Mapping[str, Any]:
    """Python, machine, accelerator and the version of every installed package."""
    import torch

    devices = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    packages = {dist.metadata["Name"]: dist.version for dist in importlib.metadata.distributions()}
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "devices": devices,
        "git": source_tags(),
        "packages": dict(sorted(packages.items(), key=lambda item: str(item[0]).lower())),
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    try:
        result = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
