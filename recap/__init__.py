"""The engine; it finds the parts of `registry`, the package beside it, whatever else may be called `registry`."""

import importlib.util
import sys
from pathlib import Path


def _find_registry() -> None:
    """Imports the `registry` that belongs to this package.

    ``python -m recap`` looks into the working directory first, and so do worker processes: a file registry.py there would be
    taken for it.

    Raises:
        ImportError: another module was imported under that name before.
    """
    folder = Path(__file__).resolve().parent.parent / "registry"
    loaded = sys.modules.get("registry")
    if loaded is not None:
        file = getattr(loaded, "__file__", None)
        if file is None or Path(file).resolve().parent != folder:
            raise ImportError(
                f"recap needs its own package 'registry', but {file} was imported under that name: rename it"
            )
        return
    spec = importlib.util.spec_from_file_location("registry", folder / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["registry"] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules["registry"]
        raise


_find_registry()
