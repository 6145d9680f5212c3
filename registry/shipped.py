"""Files that travel with the project: `experiments/`, beside the packages in a checkout, inside of recap when installed."""

from __future__ import annotations

from pathlib import Path

PACKAGES = Path(__file__).resolve().parent.parent


def shipped_root() -> Path:
    """The folder that holds `experiments/`."""
    installed = PACKAGES / "recap"
    return installed if (installed / "experiments").is_dir() else PACKAGES


def shipped_experiments() -> dict[str, Path]:
    """Whole experiments by name, e.g. ``paper/hybrid_recap``; not what is only there to be included."""
    folder = shipped_root() / "experiments"
    parts = {"adapters", "domains", "generation", "models", "reweighting"}
    files = [file for file in folder.rglob("[!_]*.gin") if file.relative_to(folder).parts[0] not in parts]
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in sorted(files)}


def located(name: str | Path) -> Path:
    """A file by its path, or one that travels with the project by its path or name; `name` itself where there is none.

    A file of the working directory comes first: ``quickstart`` and ``experiments/quickstart.gin`` are what was shipped only
    where nothing of that path is there.
    """
    path = Path(name)
    if path.exists() or path.is_absolute():
        return path
    root = shipped_root()
    for candidate in (root / path, root / "experiments" / path, root / "experiments" / f"{path}.gin"):
        if candidate.is_file():
            return candidate
    return path
