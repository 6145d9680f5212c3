"""What a shell completes beside commands and options: experiments, families, parts; `recap --install-completion` sets it up."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator

import typer

from registry import FAMILIES
from registry.shipped import shipped_experiments


def experiments(incomplete: str) -> Iterator[str]:
    """Names of those that come with recap, and gin files and folders; the shell would add none of its own."""
    yield from (name for name in shipped_experiments() if name.startswith(incomplete))
    for path in sorted(glob.glob(f"{glob.escape(incomplete)}*")):
        if os.path.isdir(path):
            yield f"{path}/"
        elif path.endswith(".gin"):
            yield path


def families(incomplete: str) -> list[str]:
    return [family.gin_module for family in FAMILIES if family.gin_module.startswith(incomplete)]


def parts(context: typer.Context, incomplete: str) -> list[str]:
    """Of the family that was named before."""
    named = [family for family in FAMILIES if family.gin_module == context.params.get("family")]
    return [name for family in named for name in family.names() if name.startswith(incomplete)]
