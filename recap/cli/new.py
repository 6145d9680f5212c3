"""`recap new`: a part of one's own to start from, which runs as written."""

from __future__ import annotations

import keyword
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated, NamedTuple

import typer

from recap.cli.application import app
from recap.cli.common import cannot_write, fail
from registry import FAMILIES
from registry.core import Registry, near_matches


class Kind(NamedTuple):
    """What can be made: how messages call it, what its test imports, and the family that has its names."""

    what: str
    imports: str
    family: str | None = None


CONTRACT = "from registry.testing import check_{}\n"
KINDS = {
    "reweighting": Kind(
        "reweighting policy",
        "from registry import reweighting_policies\n" + CONTRACT.format("reweighting_policy"),
        "reweighting",
    ),
    "verifier": Kind(
        "verifier",
        "import pickle\n\nfrom registry import verifiers\nfrom registry.example import Example\n",
        "verifiers",
    ),
    "replay": Kind(
        "replay source", "from registry import replay_sources\n" + CONTRACT.format("replay_source"), "replay"
    ),
    "backend": Kind("model backend", "from registry import model_backends\n", "backends"),
    "mixture": Kind("mixture", "import gin\n"),
    "study": Kind("study", ""),
}


@app.command(epilog="Example:  recap new reweighting my_policy && recap list reweighting --plugin my_policy.py")
def new(
    kind: Annotated[str, typer.Argument(help=", ".join(KINDS))],
    name: Annotated[str, typer.Argument(help="letters, digits and underscores, e.g. my_policy")],
    package: Annotated[
        bool, typer.Option("--package", help="an installable package, with a test, a gin file and a README")
    ] = False,
    directory: Annotated[Path, typer.Option(help="where to put it")] = Path(),
) -> None:
    """Writes a part of your own to start from: NAME.py, or with --package a folder NAME that can be installed."""
    try:
        for path, text in written(kind, name, package).items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            with open(directory / path, "x", encoding="utf-8") as file:
                file.write(text)
            print(f"wrote {directory / path}")
    except FileExistsError as error:
        fail(ValueError(f"{error.filename} is there already; choose another name, or another --directory"))
    except OSError as error:
        fail(cannot_write("--directory", directory, error))
    except ValueError as error:
        fail(error)
    place = directory / (name if package else f"{name}.py")
    print(f"go on with: {directory / name / 'README.md' if package else f'the first lines of {place}'}")


def written(kind: str, name: str, package: bool) -> dict[str, str]:
    """Path -> text of what `recap new` writes.

    Raises:
        ValueError: an unknown kind, or a name that cannot be used.
    """
    if kind not in KINDS:
        near = near_matches(kind, KINDS)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"there is no template for {kind!r}{hint} (templates: {', '.join(KINDS)})")
    what, imports, family = KINDS[kind]
    if name in ("registry", "recap"):
        raise ValueError(f"{name!r} cannot be the name of a {what}: it is a package of this project; e.g. my_policy")
    if not name.isidentifier() or keyword.iskeyword(name):
        raise ValueError(
            f"{name!r} cannot be the name of a {what}: use letters, digits and underscores, e.g. my_policy"
        )
    if family is not None and name in _family(family).names():
        raise ValueError(f"there is a {what} {name!r} already: recap describe {family} {name}")
    values = {
        "name": name,
        "class_name": "".join(part.capitalize() for part in name.split("_")) or name,
        "plugin": name if package else f"{name}.py",
        "distribution": name.replace("_", "-"),
        "what": what,
        "try": f"python {name}/__init__.py" if kind == "study" else "recap train experiment.gin -b 'train.steps = 5'",
    }
    part = _filled(f"{kind}.py.txt", values)
    if not package:
        return {f"{name}.py": part}
    if kind == "study":
        part = part.replace(f"python {name}", f"python {name}/__init__.py")
    head = f"{imports}\nimport {name}  # noqa: F401  registers it\n"
    if kind == "study":
        head = f"from {name} import score, sign_flip_p\n"
    test = f'"""What `{name}` promises."""\n\n{head}\n\n' + _filled(f"{kind}.test.txt", values)
    found = {
        f"{name}/pyproject.toml": _filled("package/pyproject.toml.txt", values),
        f"{name}/README.md": _filled("package/README.md.txt", values),
        f"{name}/{name}/__init__.py": part,
        f"{name}/tests/test_{name}.py": test,
    }
    if kind != "study":
        found[f"{name}/experiment.gin"] = _filled(f"{kind}.gin", values)
    return found


def _filled(template: str, values: dict[str, str]) -> str:
    text = (files("recap") / "templates" / template).read_text(encoding="utf-8")
    return Template(text).substitute(values)


def _family(gin_module: str) -> Registry:
    return next(family for family in FAMILIES if family.gin_module == gin_module)
